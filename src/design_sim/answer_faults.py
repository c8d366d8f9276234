"""What an answer needs of its study and of the world, and does not find: faults by path."""

from collections.abc import Iterator

from design_sim.clusters import cluster_faults, level_faults
from design_sim.cohorts import cohort_answer_faults, is_followed
from design_sim.designs.base import assigned_unit
from design_sim.estimands import estimand_faults
from design_sim.estimators.base import needs_fidelity_score, outcomes_of
from design_sim.faults import nearest
from design_sim.measurement import COVARIATES, OF_COHORTS, OF_FAMILIES, OF_WORKERS
from design_sim.study import Answer, Study, asks_of_families, needs_families
from design_sim.world.outcomes import Outcome
from design_sim.world.settings import WorldSettings


def answer_faults(
    world: WorldSettings,
    outcome: Outcome | None,
    path: str,
    study: Study,
    answer: Answer,
    resolution: str,
) -> Iterator[str]:
    """What an answer does not find, each fault with its path.

    Parameters
    ----------
    outcome : Outcome or None
        The study's; None where it has faults of its own.
    path : str
        Of the answer.
    resolution : {"auto", "cell", "unit"}
        As stated.
    """
    yield from _study_faults(world, path, study, answer)
    yield from _worker_faults(outcome, path, study, answer)
    yield from _family_faults(outcome, path, study, answer, resolution)
    yield from _outcome_faults(outcome, path, study, answer)


def _study_faults(world: WorldSettings, path: str, study: Study, answer: Answer) -> Iterator[str]:
    """What an answer needs of the world, of occasions and of clusters."""
    _, follow_up = study.design.occasions(world.time)
    estimator = answer.estimator
    for name in estimator.covariates:
        if name not in COVARIATES:
            yield f"{path}.covariates: {name!r} is not a covariate{nearest(name, COVARIATES)}"
    if "fidelity_score" in estimator.covariates and world.audit is None:
        yield (
            f"{path}.covariates: 'fidelity_score' needs the table world.audit, which says how it is scored"
        )
    if needs_fidelity_score(estimator) and world.audit is None:
        yield (
            f"{path}.estimator: {estimator.estimator!r} needs the table world.audit, which says how fidelity "
            "is scored"
        )
    elif needs_fidelity_score(estimator) and assigned_unit(study.design) != "authority":
        yield (
            f"{path}.estimator: {estimator.estimator!r} needs a score of fidelity in each authority, and the "
            f"design assigns each {assigned_unit(study.design)}"
        )
    baselines = {"baseline", *OF_COHORTS}.intersection(estimator.covariates)
    before = study.design.staggered and not baselines
    if follow_up.all() and not before and (estimator.needs_before or baselines):
        yield (
            f"{path}: needs the outcome before the start, and the design observes none "
            "(baseline_years or years_before)"
        )
    if study.design.staggered and not estimator.staggered:
        yield (
            f"{path}.estimator: {estimator.estimator!r} compares arms at one follow-up, and this design's "
            "units start at different occasions"
        )
    clusters = study.clusters_of(answer)
    occasions = int(follow_up.size if estimator.needs_before else follow_up.sum())
    yield from (f"{path}.{fault}" for fault in cohort_answer_faults(estimator, study.design))
    yield from (
        f"{path}.levels: {fault}"
        for fault in level_faults(estimator, study.design.sample, occasions, clusters)
    )
    yield from (f"{path}.{fault}" for fault in estimand_faults(answer.estimand, world))


def _worker_faults(outcome: Outcome | None, path: str, study: Study, answer: Answer) -> Iterator[str]:
    """What an answer needs of workers, and does not get."""
    asked, measurement = OF_WORKERS.intersection(answer.estimator.covariates), study.design.measurement
    if not asked:
        return
    if outcome is not None and outcome.source != "survey":
        yield (
            f"{path}.covariates: {min(asked)!r} is known of workers whose families are surveyed, and "
            f"{study.design.outcome!r} is recorded for whole authorities"
        )
    elif measurement is None or measurement.competence_reliability is None:
        yield (
            f"{path}.covariates: {min(asked)!r} needs measurement.competence_reliability, which says how "
            "well it is measured"
        )


def _family_faults(
    outcome: Outcome | None, path: str, study: Study, answer: Answer, resolution: str
) -> Iterator[str]:
    """What an answer needs of families, and does not get."""
    estimator, name = answer.estimator, study.design.outcome
    asked = OF_FAMILIES.intersection(estimator.covariates)
    if asked and outcome is not None and not outcome.has_covariate:
        table = f"outcomes.{name}.covariate"
        can = "add it" if outcome.source == "survey" else "surveyed outcomes can have it"
        yield f"{path}.covariates: {min(asked)!r} needs the table {table}; {can}"
    if resolution == "cell" and needs_families(study, answer):
        reads = asked or estimator.needs == "families"
        key = "covariates" if asked else "estimator" if reads else "clusters"
        yield f"{path}.{key}: needs single families, which resolution cell does not draw"
    if estimator.needs == "families" and outcome is not None and outcome.has_siblings:
        yield (
            f"{path}.estimator: needs observations one by one, and families of {name!r} are several "
            "(children_per_family)"
        )


def _outcome_faults(outcome: Outcome | None, path: str, study: Study, answer: Answer) -> Iterator[str]:
    """What an estimator needs of the outcome and of what is known of families, and does not find."""
    estimator, measurement = answer.estimator, study.design.measurement
    kinds = outcomes_of(estimator)
    if outcome is not None and kinds is not None:
        if outcome.kind not in kinds:
            yield (
                f"{path}.estimator: outcome {study.design.outcome!r} is {outcome.kind}, and "
                f"{estimator.estimator} needs one that is {' or '.join(kinds)}"
            )
        elif measurement is not None and measurement.observer_bias:
            yield (
                f"{path}.estimator: {estimator.estimator} counts events, which "
                "measurement.observer_bias moves off whole numbers"
            )
    clusters, unit = study.clusters_of(answer), assigned_unit(study.design)
    found_faults = cluster_faults(
        estimator,
        clusters,
        unit,
        outcome,
        followed=is_followed(study.design),
        beside_covariate=asks_of_families(study),
    )
    yield from (f"{path}.{fault}" for fault in found_faults)
