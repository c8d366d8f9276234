"""What the program says of its own certificate: to an estimator, and to the answers of a scenario.

It reads the copy in the package, `cited.csv`, which `design-sim certify --cite` writes.

Decision: an answer is told of the situation nearest to its study, and only if each arm of that has no less
than half and no more than twice the authorities of the study's arm; a wedge is told of the wedge. A test
that is liberal with 3 against 3 may hold with 20 against 20, and the certificate does not say. Nearest is
by the sum over arms of the absolute logarithms of the ratios. The numbers are those of the situation,
which is named.

Decision: the range over sizes of authorities and ICCs is told, not the nearest of them: what makes them
liberal is mostly the number of authorities, and the ICC of a study is not known.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, cast

from design_sim.certificate.entries import AS_IT_STANDS, SITUATIONS, Situation, settings_words
from design_sim.certificate.page import size_range
from design_sim.certificate.verdicts import WORST_FIRST, Verdict, worst
from design_sim.estimators import ESTIMATORS

if TYPE_CHECKING:
    from design_sim.estimators import Estimator
    from design_sim.scenario import Scenario
    from design_sim.study import Study
    from design_sim.sweep import Sweep

CITED = Path(__file__).with_name("cited.csv")
"""The packaged copy."""
COLUMNS = (
    "estimator",
    "settings",
    "outcome",
    "situation",
    "sizes",
    "icc",
    "replicates",
    "size",
    "size_average",
    "verdict",
    "verdict_average",
)
"""What the packaged copy has of the table."""
FARTHEST = 2.0
"""The ratio of authorities beyond which a situation says nothing of a study."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the certificate says of an answer in a situation, over sizes and ICCs.

    Parameters
    ----------
    verdict, verdict_average : str
        The worst, in the sharp and in the average null twin.
    size, size_average : tuple of float
        The lowest and highest size in per cent; empty where there is none.
    """

    verdict: Verdict
    verdict_average: Verdict
    size: tuple[float, ...]
    size_average: tuple[float, ...]


@cache
def certified(path: Path = CITED) -> dict[tuple[str, str], dict[str, Found]]:
    """By estimator and settings, and then by situation, what was found; empty without a packaged copy."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    grouped: dict[tuple[str, str], dict[str, list[dict[str, str]]]] = {}
    for row in rows:
        by_situation = grouped.setdefault((row["estimator"], row["settings"]), {})
        by_situation.setdefault(row["situation"], []).append(row)
    return {
        key: {situation: _found(group) for situation, group in by_situation.items()}
        for key, by_situation in grouped.items()
    }


def _found(rows: Sequence[dict[str, str]]) -> Found:
    verdicts = ([cast(Verdict, row[name]) for row in rows] for name in ("verdict", "verdict_average"))
    sharp, average = (worst(each) for each in verdicts)
    return Found(sharp, average, _ends(rows, "size"), _ends(rows, "size_average"))


def _ends(rows: Sequence[dict[str, str]], name: str) -> tuple[float, ...]:
    known = [100 * float(row[name]) for row in rows if row[name]]
    return (min(known), max(known)) if known else ()


def verdicts_in_words(estimator: str) -> str:
    """What the certificate says of an estimator as it stands, in short; empty where it says nothing.

    Such as "holds with 2 v 2, 3 v 3; liberal with 10 of 151".
    """
    found = certified().get((estimator, AS_IT_STANDS), {})
    groups = {
        verdict: [name for name, each in found.items() if each.verdict == verdict]
        for verdict in reversed(WORST_FIRST)
        if verdict != "not applicable"
    }
    return "; ".join(f"{verdict} with {', '.join(names)}" for verdict, names in groups.items() if names)


def nearest_situation(treated: int, comparison: int, *, staggered: bool) -> Situation | None:
    """The situation of the certificate that is nearest to a study; None where none is near.

    Examples
    --------
    >>> nearest_situation(9, 142, staggered=False).name
    '10 of 151'
    >>> nearest_situation(20, 20, staggered=False) is None
    True
    """
    arms = (treated,) if staggered else (treated, comparison)

    def distances(at: Situation) -> list[float]:
        of = (at.treated,) if staggered else (at.treated, at.comparison)
        return [abs(log(n / its)) for n, its in zip(arms, of, strict=True)]

    near = [
        at
        for at in SITUATIONS
        if at.staggered == staggered and min(arms) > 0 and max(distances(at)) <= log(FARTHEST) + 1e-9
    ]
    return min(near, key=lambda at: sum(distances(at)), default=None)


def warnings(sweep: "Sweep") -> dict[str, list[str]]:
    """What the certificate warns of in a scenario: each warning, with the answers that it is about.

    Returns
    -------
    dict of list of str
        By warning, a whole sentence without its full stop: designs and answers, as "design / answer".
    """
    about: dict[str, list[str]] = {}
    for case in sweep.cases:
        for where, warning in _of_scenario(case.scenario):
            if where not in about.setdefault(warning, []):
                about[warning].append(where)
    return about


def _of_scenario(scenario: "Scenario") -> Iterator[tuple[str, str]]:
    for name, study in scenario.studies.items():
        for answer_name, answer in study.answers.items():
            if study.clusters_of(answer) != "authority":
                continue
            warning = warning_of(scenario, study, answer.estimator)
            if warning:
                yield f"{name} / {answer_name}", warning


def warning_of(scenario: "Scenario", study: "Study", estimator: "Estimator") -> str:
    """What the certificate warns of in an answer; empty where it does not, or has nothing of the kind."""
    at, seen = _looked_up(scenario, study, estimator)
    if at is None or seen is None:
        return ""
    settings = settings_words(estimator)
    which = estimator.estimator + (f" ({settings})" if settings else "")
    if seen.verdict == "liberal":
        rate = size_range(*seen.size)
        return f"With {at.words} the test of {which} rejected a true null in {rate} of trials, not in 5 %"
    if seen.verdict_average == "liberal" and scenario.world.effect_sd > 0:
        return (
            f"With {at.words} and effects that differ about a mean of nothing the test of {which} rejected "
            f"in {size_range(*seen.size_average)} of trials, not in 5 %"
        )
    return ""


def verdict_on(scenario: "Scenario", study: "Study", estimator: "Estimator") -> str:
    """What the certificate says of an answer, such as "holds with 3 treated and 3 comparison authorities"."""
    at, seen = _looked_up(scenario, study, estimator)
    if at is None or seen is None or seen.verdict == "not applicable":
        return ""
    rate = f" (size {size_range(*seen.size)})" if seen.size else ""
    return f"{seen.verdict} with {at.words}{rate}"


def _looked_up(
    scenario: "Scenario", study: "Study", estimator: "Estimator"
) -> tuple[Situation | None, Found | None]:
    """The situation nearest to a study, and what was found there of an answer."""
    if type(estimator) is not ESTIMATORS.get(estimator.estimator):
        return None, None
    design = study.design
    comparison = design.n_enrolled(scenario.world) - design.n_treated
    at = nearest_situation(design.n_treated, comparison, staggered=design.staggered)
    found = certified().get((estimator.estimator, settings_words(estimator) or AS_IT_STANDS), {})
    return at, None if at is None else found.get(at.name)
