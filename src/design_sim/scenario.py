"""Scenario: one fully stated comparison of studies on one world, checked whole before anything runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from design_sim.answer_faults import answer_faults
from design_sim.cohorts import cohort_faults, is_followed
from design_sim.designs.base import assigned_unit, own_workers_of
from design_sim.errors import ScenarioError
from design_sim.faults import found, nearest
from design_sim.leavers import replacement_faults
from design_sim.measurement import measurement_faults
from design_sim.study import Study, asks_of_families, asks_of_workers, drawn_resolution, wanted_resolution
from design_sim.world.delivery import LARGEST, Resolution
from design_sim.world.deviations import correlation_faults
from design_sim.world.outcomes import Outcome
from design_sim.world.settings import WorldSettings, block_size


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
        Months after the start that estimands are about, whole occasions: from and to.
    resolution : {"auto", "cell", "unit"}
        `auto` draws cells wherever every answer of a study can work with them.
    average_twin : bool
        Whether every study has its average null twin too, in which effects differ about a mean of nothing.

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
    average_twin: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        faults = scenario_faults(
            self.world, self.outcomes, self.studies, self.seed, self.alpha, self.window, self.resolution
        )
        if faults:
            raise ScenarioError(faults)

    def resolution_of(self, study: Study) -> Resolution:
        """Whether answers get cells, or single families because one of them or the user wants them."""
        return wanted_resolution(study, self.resolution)

    def drawn_resolution_of(self, study: Study) -> Resolution:
        """Whether a study draws cells or single families, which are pooled where its answers get cells."""
        return drawn_resolution(study, self.outcomes[study.design.outcome], self.resolution)


def scenario_faults(
    world: WorldSettings,
    outcomes: Mapping[str, Outcome | None],
    studies: Mapping[str, Study | None],
    seed: int,
    alpha: float,
    window: tuple[int, int],
    resolution: str,
) -> list[str]:
    """What does not fit together in a scenario, a line for each fault.

    An outcome or a study that is None is there but has faults of its own; nothing is said of it here.
    """
    sound = {name: study for name, study in studies.items() if study is not None}
    faults = [*_run_faults(world, seed, alpha, window), *_world_faults(world, outcomes)]
    if not studies:
        faults.append("designs: none given; at least one design is needed")
    if len(sound) == len(studies):
        faults += _unused_faults(world, outcomes, sound)
        faults += _competence_faults(world, sound)
        faults += cohort_faults(outcomes, {name: study.design for name, study in sound.items()}, world)
    for name, study in sound.items():
        path = f"designs.{name}"
        faults += _design_faults(world, outcomes, path, study)
        faults += _size_faults(world, outcomes.get(study.design.outcome), path, study, resolution)
        for answer_name, answer in study.answers.items():
            at = f"{path}.answers.{answer_name}"
            outcome = outcomes.get(study.design.outcome)
            faults += answer_faults(world, outcome, at, study, answer, resolution)
    return faults


def _run_faults(world: WorldSettings, seed: int, alpha: float, window: tuple[int, int]) -> Iterator[str]:
    if not 0 <= seed < 2**63:
        yield f"seed: {found(seed)} is not within 0 to 2^63 - 1"
    if not 0.0001 <= alpha <= 0.5:
        yield f"alpha: {alpha:g} is not within 0.0001 to 0.5"
    start, end = window
    last, step = 12 * world.time.years_after, 12 // world.time.per_year
    if start % step or end % step or not 0 <= start < end <= last:
        rising = f"two rising multiples of {step} months" if step > 1 else "two rising months"
        yield (
            f"window: found [{found(start)}, {found(end)}]; allowed: {rising} "
            f"within 0 to {last}, 12 x world.time.years_after"
        )


def _world_faults(world: WorldSettings, outcomes: Mapping[str, Outcome | None]) -> Iterator[str]:
    adoption, time = world.adoption, world.time
    if adoption and adoption.bad_year_outcome:
        recorded = {name for name, what in outcomes.items() if what is None or what.source == "record"}
        if adoption.bad_year_outcome not in recorded:
            yield (
                f"world.adoption.bad_year_outcome: {adoption.bad_year_outcome!r} is not a recorded outcome"
                f"{nearest(adoption.bad_year_outcome, recorded)}"
            )
        needed = 2 if adoption.worsening_weight else 1
        if time.years_before < needed:
            key = "worsening_weight" if adoption.worsening_weight else "bad_year_weight"
            yield f"world.adoption.{key}: needs world.time.years_before of at least {needed}"
    sound = {name: outcome for name, outcome in outcomes.items() if outcome is not None}
    if len(sound) == len(outcomes):
        yield from correlation_faults(sound, world)
    for name, outcome in sound.items():
        yield from (f"outcomes.{name}.{fault}" for fault in outcome.faults(world))
        if outcome.shock and not -time.years_before <= outcome.shock.year < time.years_after:
            yield (
                f"outcomes.{name}.shock.year: {outcome.shock.year} has no effect; allowed: "
                f"{-time.years_before} to {time.years_after - 1}, the years of world.time"
            )


def _unused_faults(
    world: WorldSettings, outcomes: Mapping[str, Outcome | None], studies: Mapping[str, Study]
) -> Iterator[str]:
    used = {study.design.outcome for study in studies.values()}
    if world.adoption:
        used.add(str(world.adoption.bad_year_outcome))
    if None not in outcomes.values():
        used |= {
            other
            for name in used & set(outcomes)
            for other in outcomes
            if other in outcomes[name].correlations or name in outcomes[other].correlations  # type: ignore[union-attr]
        }
    adjusted = {study.design.outcome for study in studies.values() if asks_of_families(study)}
    for name, outcome in outcomes.items():
        if name not in used:
            yield f"outcomes.{name}: no design uses it; remove it, or name it in a design's `outcome`"
        elif outcome is not None and outcome.has_covariate and name not in adjusted:
            yield f"outcomes.{name}.covariate: has no effect, since no answer has it among its covariates"


def _competence_faults(world: WorldSettings, studies: Mapping[str, Study]) -> Iterator[str]:
    """Settings of workers' competence that no answer reads."""
    asked = {name for name, study in studies.items() if asks_of_workers(study)}
    without = "has no effect, since no answer has 'competence' among its covariates"
    if world.workers.competence_icc and not asked:
        yield f"world.workers.competence_icc: {without}"
    for name, study in studies.items():
        measurement = study.design.measurement
        if measurement and measurement.competence_reliability is not None and name not in asked:
            yield f"designs.{name}.measurement.competence_reliability: {without}"


def _design_faults(
    world: WorldSettings, outcomes: Mapping[str, Outcome | None], path: str, study: Study
) -> Iterator[str]:
    design = study.design
    if not study.answers:
        yield f"{path}.answers: none given; at least one answer is needed"
    if design.outcome not in outcomes:
        yield f"{path}.outcome: {design.outcome!r} is not an outcome{nearest(design.outcome, outcomes)}"
    outcome = outcomes.get(design.outcome)
    if outcome is not None and outcome.source == "survey":
        if design.sample is None:
            yield f"{path}.sample: missing; outcome {design.outcome!r} is surveyed and needs a sample"
        elif design.sample.workers > world.workers.per_team:
            yield (
                f"{path}.sample.workers: {design.sample.workers} is above world.workers.per_team, "
                f"{world.workers.per_team}"
            )
    elif outcome is not None and design.sample is not None:
        yield f"{path}.sample: has no effect, since outcome {design.outcome!r} is recorded for everyone"
    if outcome is not None and design.measurement is not None:
        whole = assigned_unit(design) == "authority"
        found_faults = measurement_faults(design.measurement, outcome, world, whole=whole)
        if design.measurement.leavers == "replace":
            found_faults += replacement_faults(design.n_enrolled(world), design.n_treated, world)
        yield from (f"{path}.measurement.{fault}" for fault in found_faults)
    unit = assigned_unit(design)
    if outcome is not None and outcome.source != "survey" and unit != "authority":
        yield (
            f"{path}.outcome: the design assigns each {unit}, and {design.outcome!r} is recorded for whole "
            "authorities; a surveyed outcome is needed"
        )
    balance = getattr(design, "balance", None)
    known = {"balance.on": balance.on if balance else (), "match_on": getattr(design, "match_on", ())}
    for key in (key for key, names in known.items() if "baseline" in names):
        if outcome is not None and outcome.source != "record":
            yield f"{path}.{key}: 'baseline' needs a recorded outcome; {design.outcome!r} is surveyed"
        elif world.time.years_before == 0:
            yield f"{path}.{key}: 'baseline' needs world.time.years_before of at least 1"
    if design.group != "all" and world.subgroup is None:
        yield f"{path}.group: {design.group!r} needs the table world.subgroup"
    yield from (f"{path}.{fault}" for fault in design.faults(world))


def _size_faults(
    world: WorldSettings, outcome: Outcome | None, path: str, study: Study, resolution: str
) -> Iterator[str]:
    """A study whose arrays would not fit in memory, with the number."""
    if outcome is None:
        return
    design, families = study.design, drawn_resolution(study, outcome, resolution) == "unit"
    rows = outcome.most_rows(world, design.sample, families=families)
    if own_workers_of(design):
        rows += own_workers_of(design)
    elif assigned_unit(design) == "family" and not families:
        rows *= 2
    if asks_of_families(study) and not is_followed(design):
        rows *= design.occasions(world.time)[0].size
    slots = min(design.n_enrolled(world), world.authorities)
    members = design.sample.teams * world.workers.per_team + own_workers_of(design) if design.sample else 1
    depth = max(slots * rows * design.occasions(world.time)[0].size, world.authorities * members)
    if depth * block_size(world) > LARGEST:
        remedy = "use resolution cell, or" if families else "use"
        yield (
            f"{path}: would hold {depth * block_size(world):,} numbers in one array, above {LARGEST:,}; "
            f"{remedy} fewer authorities, years, teams, workers or families"
        )
