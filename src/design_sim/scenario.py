"""Scenario: one fully stated comparison of studies on one world, checked whole before anything runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from design_sim.designs import Design
from design_sim.errors import ScenarioError
from design_sim.estimands import Estimand
from design_sim.estimators import Estimator
from design_sim.faults import nearest
from design_sim.measurement import COVARIATES
from design_sim.world.delivery import Resolution
from design_sim.world.outcomes import Outcome, RecordedBinary, SurveyedOutcome
from design_sim.world.settings import WorldSettings


@dataclass(frozen=True, slots=True)
class Answer:
    """An estimator together with the estimand that it is judged against; always a pair."""

    estimator: Estimator
    estimand: Estimand


@dataclass(frozen=True, slots=True)
class Study:
    """A design and its answers, by name."""

    design: Design
    answers: Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A world, and the studies compared on it.

    Parameters
    ----------
    world : WorldSettings
        The authorities.
    outcomes : mapping of outcomes by name
        What the studies are about.
    studies : mapping of Study by name
        All of them run on the same drawn worlds.
    seed : int
        Root seed, 0 or above.
    alpha : float
        Two-sided level of every test.
    window : tuple of two int
        Months after the start that estimands are about, whole years: from and to.
    resolution : {"auto", "cell", "unit"}
        `auto` draws cells wherever every answer of a study can work with them.

    Raises
    ------
    ScenarioError
        With every fault by its path, before anything is drawn.
    """

    world: WorldSettings
    outcomes: Mapping[str, Outcome]
    studies: Mapping[str, Study]
    seed: int = 1
    alpha: float = 0.05
    window: tuple[int, int] = (12, 24)
    resolution: Literal["auto", "cell", "unit"] = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        faults = list(_faults(self))
        if faults:
            raise ScenarioError(faults)

    @property
    def window_years(self) -> tuple[int, int]:
        """The window in whole years after the start."""
        return self.window[0] // 12, self.window[1] // 12

    def resolution_of(self, study: Study) -> Resolution:
        """Whether a study draws cells, or single families because an answer or the user wants them."""
        if self.resolution != "auto":
            return self.resolution
        families = any(answer.estimator.needs == "families" for answer in study.answers.values())
        return "unit" if families else "cell"


def _faults(scenario: Scenario) -> Iterator[str]:
    yield from _run_faults(scenario)
    yield from _world_faults(scenario)
    for name, study in scenario.studies.items():
        yield from _design_faults(scenario, f"designs.{name}", study)
        for answer_name, answer in study.answers.items():
            yield from _answer_faults(scenario, f"designs.{name}.answers.{answer_name}", study, answer)


def _run_faults(scenario: Scenario) -> Iterator[str]:
    if not 0 <= scenario.seed < 2**63:
        yield f"seed: {scenario.seed} is not within 0 to 2^63 - 1"
    if not 0 < scenario.alpha < 1:
        yield f"alpha: {scenario.alpha} is not strictly between 0 and 1"
    start, end = scenario.window
    last = 12 * scenario.world.time.years_after
    if start % 12 or end % 12 or not 0 <= start < end <= last:
        yield (
            f"window: found [{start}, {end}]; allowed: two rising multiples of 12 months within 0 to {last}, "
            "12 x world.time.years_after"
        )
    if not scenario.studies:
        yield "designs: none given; at least one design is needed"


def _world_faults(scenario: Scenario) -> Iterator[str]:
    adoption, time = scenario.world.adoption, scenario.world.time
    used = {study.design.outcome for study in scenario.studies.values()}
    if adoption and adoption.bad_year_outcome:
        used.add(adoption.bad_year_outcome)
        recorded = {name for name, what in scenario.outcomes.items() if not isinstance(what, SurveyedOutcome)}
        if adoption.bad_year_outcome not in recorded:
            yield (
                f"world.adoption.bad_year_outcome: {adoption.bad_year_outcome!r} is not a recorded outcome"
                f"{nearest(adoption.bad_year_outcome, recorded)}"
            )
        if time.years_before == 0:
            yield "world.adoption.bad_year_weight: needs world.time.years_before of at least 1"
    for name, outcome in scenario.outcomes.items():
        if name not in used:
            yield f"outcomes.{name}: no design uses it; remove it, or name it in a design's `outcome`"
        if isinstance(outcome, RecordedBinary):
            for year in (-time.years_before, time.years_after - 1):
                try:
                    outcome.risks(year)
                except ValueError as reason:
                    yield f"outcomes.{name}.trend: in year {year} from the start, {reason}"


def _design_faults(scenario: Scenario, path: str, study: Study) -> Iterator[str]:
    design = study.design
    if not study.answers:
        yield f"{path}.answers: none given; at least one answer is needed"
    outcome = scenario.outcomes.get(design.outcome)
    if outcome is None:
        yield (
            f"{path}.outcome: {design.outcome!r} is not one of the outcomes"
            f"{nearest(design.outcome, scenario.outcomes)}"
        )
    elif isinstance(outcome, SurveyedOutcome):
        if design.sample is None:
            yield f"{path}.sample: missing; outcome {design.outcome!r} is surveyed and needs a sample"
        elif design.sample.workers > scenario.world.workers.per_team:
            yield (
                f"{path}.sample.workers: {design.sample.workers} is above world.workers.per_team, "
                f"{scenario.world.workers.per_team}"
            )
    elif design.sample is not None:
        yield f"{path}.sample: has no effect, since outcome {design.outcome!r} is recorded for everyone"
    yield from (f"{path}.{fault}" for fault in design.faults(scenario.world))


def _answer_faults(scenario: Scenario, path: str, study: Study, answer: Answer) -> Iterator[str]:
    _, follow_up = study.design.occasions(scenario.world.time)
    estimator = answer.estimator
    for name in estimator.covariates:
        if name not in COVARIATES:
            yield f"{path}.covariates: {name!r} is not a covariate{nearest(name, COVARIATES)}"
    if follow_up.all() and (estimator.needs_before or "baseline" in estimator.covariates):
        yield (
            f"{path}: needs the outcome before the start, and the design observes none "
            "(baseline_years or years_before)"
        )
    if answer.estimand.average == "adopters" and scenario.world.adoption is None:
        yield f"{path}.average: 'adopters' needs the table world.adoption, which says who would adopt"
    if scenario.resolution == "cell" and estimator.needs == "families":
        yield f"{path}.estimator: needs single families, which resolution cell does not draw"
