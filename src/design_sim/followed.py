"""Families that a table follows: their own baselines, their changes, and what such a table must hold."""

from dataclasses import replace

import numpy as np

from design_sim.allocation import NEVER
from design_sim.arrays import Bools, Ints
from design_sim.cohorts import follows_families
from design_sim.errors import ScenarioError
from design_sim.estimators import Estimator
from design_sim.estimators.base import changes_families
from design_sim.observations import Observations, chosen, starts_of_units, units_of

OWN_BASELINE = "own_baseline"
"""The covariate that is computed where a table has no column of this name."""


def followed(of: Observations, model: Estimator, where: str, *, computed: bool) -> Observations:
    """The observations that an analysis which follows families reads; as they are for any other.

    Parameters
    ----------
    of : Observations
        The complete rows of the table.
    model : Estimator
        The planned analysis.
    where : str
        What to call the table.
    computed : bool
        Whether `own_baseline` is to be computed, and no column.

    Raises
    ------
    ScenarioError
        If families or occasions are not named, no family is seen at two of them, a covariate changes within
        a family whose changes or level are asked for, or families have no baseline in common.
    """
    if not follows_families(model) or (OWN_BASELINE in of.covariates and not _reads_families(model)):
        return of
    asked = OWN_BASELINE if computed else "change" if changes_families(model) else "levels"
    if "family" not in of.unit or int(of.occasion.max()) == 0:
        raise ScenarioError(
            [f"{asked}: {model.estimator} follows families, and needs the columns of family and occasion"],
            where,
        )
    family = units_of(of)["row"]
    if np.bincount(family).max() == 1:
        raise ScenarioError(
            [f"family: no family stands there at more than one occasion, and {asked} follows families"], where
        )
    if computed and model.needs_before:
        raise ScenarioError(
            [
                f"covariate: {OWN_BASELINE!r} is the mean of outcomes that {model.estimator} reads anyway, "
                "before the start; leave it out"
            ],
            where,
        )
    if _reads_families(model):
        _refuse_changing(of, family, where)
    if not computed and not changes_families(model):
        return of
    before = _before_start(of, where, asked)
    seen_before, seen_after = (np.bincount(family, side)[family] > 0 for side in (before, ~before))
    if not computed:
        return chosen(of, seen_before & seen_after)
    baseline = np.bincount(family, of.outcome * before) / np.maximum(np.bincount(family, before), 1)
    known = replace(of, covariates={**of.covariates, OWN_BASELINE: baseline[family]})
    return chosen(known, seen_before)


def _reads_families(model: Estimator) -> bool:
    """Whether an analysis reads families singly, because it tells them apart."""
    return model.needs == "families" and follows_families(model)


def _refuse_changing(of: Observations, family: Ints, where: str) -> None:
    """Covariates that differ between the occasions of a family, as faults."""
    first = np.unique(family, return_index=True)[1]
    faults = [
        f"covariate: {name!r} differs between the occasions of a family; its value before the start would do"
        for name, values in of.covariates.items()
        if (values != values[first][family]).any()
    ]
    if faults:
        raise ScenarioError(faults, where)


def _before_start(of: Observations, where: str, asked: str) -> Bools:
    """Which observations lie before the start that all who are treated have in common."""
    starts = np.unique(starts_of_units(of, where))
    starts = starts[starts < NEVER]
    if starts.size != 1:
        raise ScenarioError(
            [f"treated: units start at different occasions, or never; {asked} needs one start for all"], where
        )
    if starts[0] == 0:
        raise ScenarioError([f"occasion: {asked} needs an occasion before treatment begins"], where)
    return np.asarray(of.occasion < starts[0])
