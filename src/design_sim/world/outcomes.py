"""Outcomes: what a person states of each kind, and what they are without any framework."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator
from scipy import special

from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.stated import Correlation, NotNegative, Positive, Stated
from design_sim.world.logit_normal import EDGE, LogitNormal, shift_for_difference, solve_logit_normal

Better = Literal["lower", "higher"]


class ICC(Stated):
    """Share of a surveyed outcome's variance at each level above the family."""

    authority: Annotated[float, Field(ge=0, lt=1)] = 0.02
    team: Annotated[float, Field(ge=0, lt=1)] = 0.0
    worker: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def family(self) -> float:
        """Share of the variance between the families of a worker."""
        return 1 - self.authority - self.team - self.worker

    @model_validator(mode="after")
    def _leaves_families_some(self) -> Self:
        if self.family <= 0:
            raise ValueError(f"the shares sum to {1 - self.family:g}; they must leave families some")
        return self


class SurveyedOutcome(Stated):
    """A continuous outcome that a study collects from the families it samples."""

    kind: Literal["continuous"]
    source: Literal["survey"]
    mean: float = 0.0
    """Mean without any framework at the start, in the outcome's units."""
    sd: Positive = 1.0
    """Standard deviation over families and authorities."""
    effect: float
    """Effect of the framework at fidelity 1 on a family that takes part, in the outcome's units."""
    trend: float = 0.0
    """National change a year, in the outcome's units."""
    icc: ICC = ICC()
    quality_correlation: Correlation = 0.0
    """Correlation of an authority's mean with its quality in the same year."""
    competence_correlation: Correlation = 0.0
    """Correlation of a worker's mean with competence, within an authority."""
    better: Better = "higher"

    @model_validator(mode="after")
    def _competence_needs_workers(self) -> Self:
        if self.competence_correlation != 0 and self.icc.worker == 0:
            raise ValueError("competence_correlation has no effect while icc.worker is 0")
        if self.quality_correlation != 0 and self.icc.authority == 0:
            raise ValueError("quality_correlation has no effect while icc.authority is 0")
        return self

    @property
    def authority_sd(self) -> float:
        """Standard deviation of the authority part."""
        return float(self.sd * np.sqrt(self.icc.authority))


class RecordedContinuous(Stated):
    """A continuous outcome on the authorities' own records, for every authority and year."""

    kind: Literal["continuous"]
    source: Literal["record"]
    mean: float = 0.0
    effect: float
    trend: float = 0.0
    authority_sd: NotNegative
    """Standard deviation between authorities of a year's true mean."""
    family_sd: Positive
    """Standard deviation between the families of an authority and year."""
    per_10000_children: Annotated[float, Field(ge=0.01, le=10_000)] = 540.0
    """Families on record in a year, for each 10,000 children."""
    quality_correlation: Correlation = 0.0
    better: Better = "higher"


class RecordedBinary(Stated):
    """A yes or no on the authorities' own records, such as re-referral, for every authority and year.

    The risks of authorities and years are logit-normal, with the stated mean and standard deviation on
    the probability scale.
    """

    kind: Literal["binary"]
    source: Literal["record"]
    mean: Annotated[float, Field(ge=EDGE, le=1 - EDGE)]
    """Mean risk over authorities, without any framework, at the start."""
    effect: Annotated[float, Field(gt=-1, lt=1)]
    """Mean risk difference of the framework at fidelity 1, over families that take part."""
    trend: Annotated[float, Field(gt=-1, lt=1)] = 0.0
    """National change of the mean risk in a year."""
    authority_sd: NotNegative = 0.056
    """Standard deviation of the risk between authorities in a year."""
    per_10000_children: Annotated[float, Field(ge=0.01, le=10_000)] = 540.0
    """Families on record in a year (the denominator), for each 10,000 children."""
    quality_correlation: Correlation = 0.0
    effect_scale: Literal["logit", "probability"] = "logit"
    """The scale on which the effect is the same for everyone."""
    better: Better = "lower"

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        risks = solve_logit_normal(self.mean, self.authority_sd)
        shift_for_difference(risks, self.effect)
        if self.effect_scale == "probability" and self.effect != 0:
            edge = -self.effect if self.effect < 0 else 1 - self.effect
            place = (special.logit(edge) - risks.centre) / max(risks.spread, 1e-12)
            share = special.ndtr(place) if self.effect < 0 else special.ndtr(-place)
            if share > 0.001:
                raise ValueError(
                    f"an effect of {self.effect:g} on the probability scale would push {share:.2%} of risks "
                    'out of 0 to 1 (0.1 % is allowed); use effect_scale = "logit"'
                )
        return self

    def risks(self, years_from_start: int) -> LogitNormal:
        """Distribution of the authorities' risks in a year counted from the start."""
        return solve_logit_normal(self.mean + self.trend * years_from_start, self.authority_sd)

    @property
    def shift(self) -> float:
        """The effect on the logit scale."""
        return shift_for_difference(self.risks(0), self.effect)


RecordedOutcome = RecordedContinuous | RecordedBinary
Outcome = SurveyedOutcome | RecordedContinuous | RecordedBinary

OUTCOMES: dict[tuple[str, str], type[Outcome]] = {
    ("continuous", "survey"): SurveyedOutcome,
    ("continuous", "record"): RecordedContinuous,
    ("binary", "record"): RecordedBinary,
}
"""Every kind of outcome, by its `kind` and `source`."""


@dataclass(frozen=True, slots=True)
class Record:
    """A recorded outcome of every authority and year, without any framework.

    Parameters
    ----------
    cells : Cells
        As recorded, chance included, (replicate, authority, occasion).
    expected : float array, (replicate, authority, occasion)
        The mean or risk behind it.
    """

    cells: Cells
    expected: Floats


def denominators(outcome: RecordedOutcome, children: Floats) -> Floats:
    """Families on record in a year in each authority, whole and at least 1: (authority,)."""
    n: Floats = np.maximum(np.rint(children * outcome.per_10000_children / 10_000), 1.0)
    return n


def draw_record(
    outcome: RecordedOutcome,
    n: Floats,
    deviation: Floats,
    start: int,
    occasions: int,
    rng: Generator,
) -> Record:
    """Draw what authorities have on record.

    Parameters
    ----------
    n : float array, (authority,)
        Families on record in a year.
    deviation : float array, (replicate, authority, occasion)
        The authorities' standardised deviations; occasion axis 1 where they never change.
    start, occasions : int
        The first occasion after the start, and how many there are.
    rng : Generator
        For the chance with which families fall on either side.

    Returns
    -------
    Record
        Its cells carry the within sum of squares for a binary outcome, where it follows from the mean;
        for a continuous one `ss` is left to be drawn where an answer asks for it.
    """
    years = np.arange(occasions) - start
    n_all = np.broadcast_to(n[:, np.newaxis], (1, n.size, occasions))
    if isinstance(outcome, RecordedContinuous):
        expected = outcome.mean + outcome.trend * years + outcome.authority_sd * deviation
        shape = (deviation.shape[0], n.size, occasions)
        noise = rng.standard_normal(shape)
        noise *= outcome.family_sd / np.sqrt(n)[:, np.newaxis]
        return Record(Cells(n_all, noise + expected), expected)
    scales = [outcome.risks(int(year)) for year in years]
    centre = np.array([scale.centre for scale in scales])
    spread = np.array([scale.spread for scale in scales])
    expected = special.expit(centre + spread * deviation)
    events = rng.binomial(n_all.astype(np.int64), expected)
    return Record(binary_cells(n_all, events.astype(np.float64)), expected)


def binary_cells(n: Floats, events: Floats) -> Cells:
    """The cells of a yes-or-no outcome: mean and sum of squares follow from the events."""
    rate = events / n
    return Cells(n, rate, n * rate * (1 - rate))
