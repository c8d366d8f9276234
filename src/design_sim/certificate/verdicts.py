"""What the numbers of a certified test come to: it holds, or which way it does not.

Decision: a test is liberal from the size on from which the headline of an answer is size-adjusted, 1.5
alpha, and conservative below half of alpha. Either needs the Wilson interval of the size to exclude alpha
too, so that few replicates cannot condemn a test that is right. Power lost by a conservative test is no
false claim: only `liberal` is warned of.
"""

from dataclasses import dataclass
from math import isnan, nan
from typing import Literal

from design_sim.performance import OVERSIZED_FROM, wilson_interval
from design_sim.tally import ROUNDING, Moments, Tally

Verdict = Literal["liberal", "no result", "cannot reject", "conservative", "holds", "not applicable"]
WORST_FIRST: tuple[Verdict, ...] = (
    "liberal",
    "no result",
    "cannot reject",
    "conservative",
    "holds",
    "not applicable",
)
CONSERVATIVE_BELOW = 0.5
"""The size below which a test is conservative, in alphas."""
RULES: dict[Verdict, str] = {
    "holds": "its size is within 2.5 to 7.5 %, or its interval holds 5 %",
    "liberal": "its size is above 7.5 %, and its interval excludes 5 %",
    "conservative": "its size is below 2.5 %, and its interval excludes 5 %",
    "cannot reject": "its p-value cannot be as small as 5 %, whatever the data",
    "no result": "more than half of its analyses failed",
    "not applicable": "it does not take the study, for the reason given, and was not tried",
}
"""Each verdict at a nominal 5 %, in words."""


@dataclass(frozen=True, slots=True)
class Size:
    """How often a test rejected where there was nothing to find.

    Parameters
    ----------
    rejected, analysed : int
        Of the analyses that did not fail.
    """

    rejected: int
    analysed: int

    @classmethod
    def of(cls, twin: Moments) -> "Size":
        """That of a null twin."""
        return cls(int(twin.count_of("rejected")) if twin.count else 0, twin.count)

    @property
    def value(self) -> float:
        """The share; nan of nothing."""
        return self.rejected / self.analysed if self.analysed else nan

    @property
    def interval(self) -> tuple[float, float]:
        """Its Wilson interval of 95 %."""
        return wilson_interval(self.rejected, self.analysed)


def verdict(size: Size, asked: int, p_floor: float, alpha: float = 0.05) -> Verdict:
    """What a size comes to.

    Parameters
    ----------
    asked : int
        Analyses, failed ones included.
    p_floor : float
        The smallest p-value that the test could have given; nan where every analysis failed.
    alpha : float
        Two-sided level of the test.

    Examples
    --------
    >>> verdict(Size(500, 10_000), 10_000, 0.0), verdict(Size(751, 10_000), 10_000, 0.0)
    ('holds', 'liberal')
    >>> verdict(Size(0, 10_000), 10_000, 1 / 3)
    'cannot reject'
    """
    if 2 * size.analysed < asked or size.analysed == 0:
        return "no result"
    if not isnan(p_floor) and p_floor > alpha * (1 + ROUNDING):
        return "cannot reject"
    low, high = size.interval
    if size.value > OVERSIZED_FROM * alpha * (1 + ROUNDING) and low > alpha:
        return "liberal"
    if size.value < CONSERVATIVE_BELOW * alpha * (1 - ROUNDING) and high < alpha:
        return "conservative"
    return "holds"


def verdicts_of(tally: Tally) -> tuple[Verdict, Verdict]:
    """The verdicts on a tally: in the sharp null twin, and in the average one."""
    sharp, average = (
        verdict(Size.of(twin), tally.asked, tally.p_floor, tally.alpha)
        for twin in (tally.null, tally.average)
    )
    return sharp, average


def worst(verdicts: "list[Verdict]") -> Verdict:
    """The worst of several verdicts; "not applicable" of none."""
    return min(verdicts, key=WORST_FIRST.index, default="not applicable")
