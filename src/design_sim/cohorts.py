"""Cohorts: studies that follow the same families, and answers that need them to; what cannot be had.

An answer follows families where it compares each with what it was before, or tells families from their
observations: by `change` of families, the covariate `own_baseline`, or the level `family`.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from design_sim.designs import Design
from design_sim.estimators import Estimator
from design_sim.estimators.base import changes_families, levels_below
from design_sim.measurement import OF_COHORTS
from design_sim.world.outcomes import Outcome
from design_sim.world.settings import WorldSettings
from design_sim.world.surveyed import Surveyed

KINDS = ("continuous", "binary")
"""The kinds of surveyed outcome whose families can be followed."""


def is_followed(design: Design) -> bool:
    """Whether a study observes the same families at every occasion."""
    return design.sample is not None and design.sample.cohort


def follows_families(estimator: Estimator) -> bool:
    """Whether an estimator needs the same families at several occasions."""
    asked = not OF_COHORTS.isdisjoint(estimator.covariates) or "family" in levels_below(estimator)
    return asked or changes_families(estimator)


def cohort_faults(
    outcomes: Mapping[str, Outcome | None], designs: Mapping[str, Design], world: WorldSettings
) -> Iterator[str]:
    """Cohorts that cannot be had, and settings of theirs without effect, a line each."""
    followed = {name: design for name, design in designs.items() if is_followed(design)}
    of_outcomes = {design.outcome for design in followed.values()}
    for name, outcome in outcomes.items():
        stated = isinstance(outcome, Surveyed) and "family_autocorrelation" in outcome.model_fields_set
        if stated and name not in of_outcomes:
            yield (
                f"outcomes.{name}.family_autocorrelation: has no effect, since no design follows the "
                "families of this outcome (sample.cohort)"
            )
    for name, design in followed.items():
        outcome = outcomes.get(design.outcome)
        if design.occasions(world.time)[0].size == 1:
            yield (
                f"designs.{name}.sample.cohort: has no effect, since the design observes one occasion; "
                "baseline_years, or more years of follow-up, would add some"
            )
        if outcome is not None and outcome.source == "survey":
            yield from (f"designs.{name}.sample.cohort: {why}" for why in _unfollowed(outcome, design))


def _unfollowed(outcome: Outcome, design: Design) -> Iterator[str]:
    """Why the families of a surveyed outcome cannot be followed as stated."""
    if not isinstance(outcome, Surveyed):
        yield (
            f"{design.outcome!r} is a {outcome.kind}, of which families cannot be followed; allowed for "
            f"outcomes that are {' or '.join(KINDS)}"
        )
        return
    if outcome.has_siblings:
        yield (
            f"families of {design.outcome!r} are several (children_per_family); only families observed as a "
            "whole can be followed"
        )
    most = float(np.sqrt(outcome.family_autocorrelation))
    if outcome.covariate is not None and abs(outcome.covariate.correlation.family) > most:
        yield (
            f"outcomes.{design.outcome}.covariate.correlation.family, "
            f"{outcome.covariate.correlation.family:g}, is more than what a family keeps allows; the root of "
            f"family_autocorrelation is {most:.3g}"
        )


def cohort_answer_faults(estimator: Estimator, design: Design) -> Iterator[str]:
    """What an answer needs of families that are followed, and does not find; `key: reason` each."""
    asked = OF_COHORTS.intersection(estimator.covariates)
    if asked and not is_followed(design):
        yield (
            f"covariates: {min(asked)!r} is of families that are followed, and the design observes other "
            "families at every occasion (sample.cohort is false)"
        )
    if changes_families(estimator) and not is_followed(design):
        yield (
            "change: needs the same families before the start and after it, and the design observes other "
            "families at every occasion (sample.cohort is false)"
        )
    if asked and estimator.needs_before:
        yield (
            f"covariates: {min(asked)!r} is the mean of outcomes that {estimator.estimator} reads anyway, "
            "before the start; leave it out"
        )
