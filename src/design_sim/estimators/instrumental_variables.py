"""Instrumental variables: the effect of taking part on those who do so because assigned, in two stages.

The analysis to choose where many families do not take part and the question is what taking part does: the
complier average causal effect. Assignment is the instrument of a family's taking part. The effect is the
difference between arms in outcomes over their difference in uptake, given the covariates; it is biased where
assignment is not random, or moves outcomes by another way than a family's own taking part.

Where arms hardly differ in uptake the instrument is weak: the estimate is biased towards least squares and
its distribution is far from normal, so that test and interval cannot be trusted whatever the standard
error. The test of Anderson and Rubin of no effect on compliers does not suffer from that; with one
instrument it is the test of the difference between arms in outcomes, which `clustered_regression` gives.

Decision: with one instrument, the estimate b is the coefficient of assignment in the regression of outcomes,
divided by that in the regression of uptake. Its cluster-robust variances are those of the coefficient of
assignment in the regression of outcome - b uptake, divided by the square of the latter. CR2 and the
Satterthwaite degrees of freedom are so those of clubSandwich: the adjustment rests on the regressors of
the second stage, uptake replaced by what the first stage predicts, and these span what assignment and
covariates span. All regressors are constant in a cell, so that cell means of outcome and uptake are enough.

Source: Imbens and Angrist (1994), Econometrica 62, 467-475 (compliers); Anderson and Rubin (1949), Annals of
Mathematical Statistics 20, 46-63; Staiger and Stock (1997), Econometrica 65, 557-586 (weak instruments);
Pustejovsky and Tipton (2018), Journal of Business and Economic Statistics 36, 672-683 (CR2).
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from design_sim.arrays import Batch, Bools, Floats
from design_sim.estimators.base import Estimates, Needs, Status
from design_sim.estimators.covariates import complete_cells, covariates_of, spread_of
from design_sim.estimators.regression_fit import Fit, follow_up_arm
from design_sim.numerics.cluster_variance import DegreesOfFreedom, WorkingMoments, default_df, plan_contrast
from design_sim.numerics.least_squares import (
    NormalEquations,
    cluster_grams,
    cluster_moments,
    solve_normal,
    standardise,
)
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.stated import Stated

_ASSIGNED = 1
"""The column of the instrument, after the intercept."""
_NO_UPTAKE = 1e-12
"""A difference in uptake, a share, below which it is rounding."""


class InstrumentalVariables(Stated):
    """Effect of taking part on families who do so because assigned, clustered by authority."""

    estimator: Literal["instrumental_variables"] = "instrumental_variables"
    variance: Literal["CR0", "CR1", "CR1S", "CR2"] = "CR2"
    """The standard error, robust to clustering in one of four ways."""
    df: DegreesOfFreedom | None = None
    """Degrees of freedom; where not stated, satterthwaite for CR2, clusters (G - 1) for CR0, CR1 and CR1S."""
    covariates: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Covariates of the panel to adjust for in both stages, by name."""

    needs: ClassVar[Needs] = "means"
    needs_uptake: ClassVar[bool] = True
    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = False
    within: ClassVar[bool] = True
    needs_before: ClassVar[bool] = False

    @property
    def convention(self) -> str:
        """What it does, in words."""
        df = self.df or default_df(self.variance)
        return (
            "two-stage least squares on families, assignment the instrument of uptake; "
            f"{self.variance} standard error, clustered; df: {df}"
        )

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing.

        Returns
        -------
        Estimates
            `TOO_FEW_CLUSTERS` where an arm is empty, `SINGULAR` where arms do not differ in uptake, or
            covariates determine the arm.

        Raises
        ------
        ValueError
            If the panel has no uptake or lacks a covariate, or an arm is not constant over the follow-up.
        """
        roster, data, covariates = instrumented_cells(panel, self.covariates)
        return two_stage_least_squares(self, roster, data, covariates, panel.alpha)

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """What each covariate adds for each of its units, uptake being the same: (replicate,) by name."""
        roster, data, covariates = instrumented_cells(panel, self.covariates)
        second = _Stages.of(roster, data, covariates).second
        return {
            name: second[:, place] / spread_of(values, data.n)
            for place, (name, values) in enumerate(
                zip(self.covariates, covariates, strict=True), start=_ASSIGNED + 1
            )
        }


@dataclass(frozen=True, slots=True)
class InstrumentedCells(Batch):
    """What two-stage least squares reads of families whose instrument and covariates are the same.

    Parameters
    ----------
    n : float array, (replicate, row)
        Families; 0 for a row that does not count.
    outcome, uptake : float arrays, (replicate, row)
        Their mean outcome, and the share that took part.
    instrument : float array, (replicate, row)
        Assignment, or another instrument.
    """

    n: Annotated[Floats, "replicate row"]
    outcome: Annotated[Floats, "replicate row"]
    uptake: Annotated[Floats, "replicate row"]
    instrument: Annotated[Floats, "replicate row"]


def instrumented_cells(
    panel: Panel, names: tuple[str, ...]
) -> tuple[Roster, InstrumentedCells, list[Floats]]:
    """The families of the follow-up, in as few cells as assignment and covariates allow, and the covariates.

    Raises
    ------
    ValueError
        If the panel has no uptake or lacks a covariate, or an arm is not constant over the follow-up.
    """
    if panel.uptake is None:
        raise ValueError("instrumental_variables needs the families' uptake, and the panel has none")
    treated, covariates, roster = follow_up_arm(panel), covariates_of(panel, names), panel.roster
    n, every = panel.cells.n[:, :, panel.follow_up], np.ones(int(panel.follow_up.sum()), dtype=bool)
    outcome, uptake = (
        complete_cells(n, values[:, :, panel.follow_up], covariates).over(every)
        for values in (panel.cells.mean, panel.uptake)
    )
    first = np.searchsorted(roster.authority, np.arange(panel.n_authorities))
    if not covariates and (treated == treated[:, first[roster.authority]]).all():
        outcome, uptake = outcome.pool(roster, "authority"), uptake.pool(roster, "authority")
        treated, roster = treated[:, first], Roster.of_authorities(panel.n_authorities)
    n = outcome.n[:, :, 0]
    seen = n > 0
    data = InstrumentedCells(
        n=n,
        outcome=np.where(seen, outcome.mean[:, :, 0], 0.0),
        uptake=np.where(seen, uptake.mean[:, :, 0], 0.0),
        instrument=treated.astype(np.float64),
    )
    return roster, data, covariates


@dataclass(frozen=True, slots=True)
class _Stages(Batch):
    """The regressions of outcome and of uptake on instrument and covariates, and what follows.

    grams, left : by cluster, X'X, and X'(outcome - effect x uptake)
    moved : what the instrument does to uptake, 1 where that is nothing
    second : coefficients of the outcome less effect x uptake
    """

    equations: NormalEquations
    grams: Annotated[Floats, "replicate cluster column other"]
    left: Annotated[Floats, "replicate cluster column"]
    effect: Annotated[Floats, "replicate"]
    moved: Annotated[Floats, "replicate"]
    second: Annotated[Floats, "replicate column"]
    known: Annotated[Bools, "replicate"]

    @classmethod
    def of(cls, roster: Roster, data: InstrumentedCells, covariates: list[Floats]) -> "_Stages":
        n, pool = data.n, partial(roster.pool, level="authority")
        columns = [np.ones((1, roster.n_rows)), data.instrument]
        columns += [standardise(np.nan_to_num(values), n) for values in covariates]
        grams = cluster_grams(columns, n, pool)
        equations = solve_normal(grams.sum(axis=1))
        reduced, first = (
            cluster_moments(columns, n * values, pool)
            for values in np.broadcast_arrays(data.outcome, data.uptake)
        )
        outcome, uptake = (equations.coefficients(cross.sum(axis=1)) for cross in (reduced, first))
        known = equations.estimable[:, _ASSIGNED] & (np.abs(uptake[:, _ASSIGNED]) > _NO_UPTAKE)
        moved = np.where(known, uptake[:, _ASSIGNED], 1.0)
        effect = outcome[:, _ASSIGNED] / moved
        left = reduced - effect[:, np.newaxis, np.newaxis] * first
        return cls(equations, grams, left, effect, moved, outcome - effect[:, np.newaxis] * uptake, known)


def two_stage_least_squares(
    model: InstrumentalVariables,
    roster: Roster,
    data: InstrumentedCells,
    covariates: list[Floats],
    alpha: float,
) -> Estimates:
    """Effect of uptake by one instrument, given covariates, from rows of any depth.

    Parameters
    ----------
    model : InstrumentalVariables
        Its variance and degrees of freedom.
    roster : Roster
        Which authority a row belongs to.
    data : InstrumentedCells
        Outcome, uptake and instrument, finite throughout.
    covariates : list of float arrays, (replicate, row)
        The covariates.
    alpha : float
        Two-sided level of the interval.

    Returns
    -------
    Estimates
        `TOO_FEW_CLUSTERS` where the instrument is the same for everybody, `SINGULAR` where it is a
        combination of the covariates, or does not move uptake.
    """
    stages, n = _Stages.of(roster, data, covariates), data.n
    equations, left, moved = stages.equations, stages.left, stages.moved
    alike = roster.n_rows == left.shape[1]
    plan = plan_contrast(stages.grams, equations, _ASSIGNED, model.variance, alike=alike)
    own = np.einsum("rgk,rgk->rg", *np.broadcast_arrays(plan.direction, left))
    moments = plan.moments(equations)
    n_clusters = (roster.pool(n, "authority") > 0).sum(axis=1).astype(float)
    status = np.where(stages.known, Status.OK, Status.SINGULAR)
    fit = Fit(
        effect=stages.effect,
        level=np.einsum("rg,rg,rg->r", data.outcome, data.outcome, n) / n_clusters.clip(1),
        n=n.sum(axis=1),
        n_clusters=n_clusters,
        rank=equations.rank,
        status=np.where(_varies(data), status, Status.TOO_FEW_CLUSTERS),
    )
    scaled = WorkingMoments(moments.size / moved**2, moments.expected / moved**2, moments.squares / moved**4)
    squares = plan.variance(own, stages.second) / moved**2
    return fit.robust(squares, scaled, model.variance, model.df, alpha)


def _varies(data: InstrumentedCells) -> Bools:
    """Whether the instrument differs between any rows that hold families, (replicate or 1,)."""
    seen, values = np.broadcast_arrays(data.n > 0, data.instrument)
    highest = np.max(values, axis=1, where=seen, initial=-np.inf)
    lowest = np.min(values, axis=1, where=seen, initial=np.inf)
    return np.asarray(highest > lowest)
