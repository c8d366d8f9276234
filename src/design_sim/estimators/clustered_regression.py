"""Clustered regression: least squares on families, with a variance that knows of authorities.

The standard analysis of a cluster-randomised trial in economics and social policy. The outcome after the
start is regressed on the assigned arm and covariates; families of an authority may be alike. CR2 with
Satterthwaite degrees of freedom is the choice where authorities are few; CR0, CR1 and CR1S reject too
often there, and `naive`, which takes families as independent, always does. The estimate is biased where
who is treated is not random, given the covariates. It targets the average family, or with
`weights = "authority"` the average authority.

Where families are followed from before the start, the covariate `own_baseline` makes it the analysis of
covariance on the family's own baseline, and `change` that of change scores; of families' changes the second
takes away all of the baseline where the first takes what it predicts, which is never less precise in large
trials.

Decision: with `weights = "authority"` a family has weight 1 over the families of its authority, and the
working model of CR2 gives families variances inverse to their weights. The answer is then the same
whether an authority comes as one row or as many, and without covariates it is least squares on authority
means. N in the factor of CR1S counts families under either weighting.

Source: Bell and McCaffrey (2002), Survey Methodology 28, 169-181; Cameron and Miller (2015), Journal of
Human Resources 50, 317-372; Imbens and Kolesar (2016), Review of Economics and Statistics 98, 701-712.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from design_sim.arrays import Batch, Bools, Floats
from design_sim.cells import Cells
from design_sim.estimators.base import TEST_WORDS, Estimates, Needs, Status
from design_sim.estimators.covariates import covariates_of
from design_sim.estimators.family_change import family_changes
from design_sim.estimators.regression_fit import Fit, arms_status, follow_up_arm
from design_sim.numerics.cluster_variance import (
    DegreesOfFreedom,
    default_df,
    plan_contrast,
    plan_two_arms,
)
from design_sim.numerics.least_squares import (
    NormalEquations,
    cluster_grams,
    cluster_moments,
    scale_of,
    solve_normal,
    standardise,
)
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.stated import Stated

Variance = Literal["naive", "CR0", "CR1", "CR1S", "CR2", "CR3"]
Weights = Literal["family", "authority"]

TREATED = 1
"""The column of the treatment, after the intercept."""


class ClusteredRegression(Stated):
    """Least squares of the outcome after the start on arm and covariates, clustered by authority."""

    estimator: Literal["clustered_regression"] = "clustered_regression"
    variance: Variance = "CR2"
    """The standard error: of independent families, or robust to clustering in one of five ways."""
    df: DegreesOfFreedom | None = None
    """Degrees of freedom; where not stated, satterthwaite for CR2 and CR3, clusters (G - 1) for CR0, CR1
    and CR1S. `naive` has its own, N - k."""
    weights: Weights = "family"
    """Whether every family or every authority counts alike."""
    change: bool = False
    """Compare the changes of families that are followed (`sample.cohort`) from before the start to after it,
    in place of levels after it; families that were not observed on both sides do not count."""
    covariates: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Names of covariates of the panel to adjust for."""

    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = False
    within: ClassVar[bool] = True

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.variance == "naive" and self.df is not None:
            raise ValueError("df has no effect with variance = 'naive', whose df are N - k")
        if len(set(self.covariates)) < len(self.covariates):
            raise ValueError("a covariate is named twice")
        return self

    @property
    def needs(self) -> Needs:
        """What of a cell it reads: families for their changes, and else for `naive` sums of squares."""
        if self.change:
            return "families"
        return "cells" if self.variance == "naive" else "means"

    @property
    def needs_before(self) -> bool:
        """A change needs an occasion before the start."""
        return self.change

    @property
    def convention(self) -> str:
        """What it does, in words."""
        what = " on families' changes from before treatment to after it" if self.change else ""
        count = "every family alike" if self.weights == "family" else "every cluster alike"
        if self.variance == "naive":
            return f"least squares{what}, {count}; families as independent, t with N - k df"
        rule = self.df or default_df(self.variance)
        return f"least squares{what}, {count}; {self.variance} standard error, clustered; {TEST_WORDS[rule]}"

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """What each covariate adds for each of its units, (replicate,) by name."""
        read = family_changes(panel) if self.change else panel
        return coefficients_of(read, self.covariates, self.weights)

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing.

        Raises
        ------
        ValueError
            If an arm is not constant over the follow-up, a covariate is not in the panel, the naive standard
            error is asked of cells without their sum of squares, or `change` of rows of several families.
        """
        panel = family_changes(panel) if self.change else panel
        cells = panel.cells if self.variance == "naive" else Cells(panel.cells.n, panel.cells.mean)
        cells = cells.over(panel.follow_up)
        treated = follow_up_arm(panel)
        if self.covariates or panel.assigned != "authority":
            values = covariates_of(panel, self.covariates)
            return adjusted_regression(self, panel.roster, cells, treated, values, panel.alpha)
        first = np.searchsorted(panel.roster.authority, np.arange(panel.n_authorities))
        clusters = cells.pool(panel.roster, "authority")
        return compare_arms(self, clusters, treated[:, first], panel.alpha)


def compare_arms(model: ClusteredRegression, cells: Cells, treated: Bools, alpha: float) -> Estimates:
    """Difference between arms, from one cell for each cluster, in closed form.

    Parameters
    ----------
    model : ClusteredRegression
        Its variance, degrees of freedom and weights; its covariates are not looked at.
    cells : Cells, (replicate, cluster, 1)
        The outcome of each cluster; one with n = 0 does not count.
    treated : bool array, (replicate, cluster)
        The clusters' arms; replicate axis 1 where they are fixed.
    alpha : float
        Two-sided level of the interval.

    Returns
    -------
    Estimates
        `TOO_FEW_CLUSTERS` where an arm is empty, where there are two clusters in all, and with CR2 and
        CR3 where an arm has one.
    """
    n, mean = cells.n[:, :, 0], cells.mean[:, :, 0]
    seen = n > 0
    if not seen.all():
        mean = np.where(seen, mean, 0.0)
    weights = n if model.weights == "family" else seen.astype(float)
    arms = (np.where(treated, weights, 0.0), np.where(treated, 0.0, weights))
    totals = tuple(arm.sum(axis=1) for arm in arms)
    filled = (totals[0] > 0) & (totals[1] > 0)
    totals = tuple(np.where(total > 0, total, 1.0) for total in totals)
    shares = [arm / total[:, np.newaxis] for arm, total in zip(arms, totals, strict=True)]
    centres = [np.einsum("rg,rg->r", mean, share) for share in shares]
    residual = mean - np.where(treated, centres[0][:, np.newaxis], centres[1][:, np.newaxis])
    n_clusters = seen.sum(axis=1).astype(float)
    fit = Fit(
        effect=centres[0] - centres[1],
        level=np.einsum("rg,rg,rg->r", mean, mean, weights) / n_clusters.clip(1),
        n=n.sum(axis=1),
        n_clusters=n_clusters,
        rank=np.full(1, 2.0),
        status=np.where(filled, Status.OK, Status.TOO_FEW_CLUSTERS),
    )
    if model.variance == "naive":
        squares = _residual_squares(residual, weights, cells)
        return fit.naive(squares, 1 / totals[0] + 1 / totals[1], alpha)
    counts, moments = plan_two_arms(shares[0] + shares[1], treated, totals, model.variance)
    squares = np.einsum("rg,rg,rg->r", residual, residual, counts)
    return fit.robust(squares, moments, model.variance, model.df, alpha)


def adjusted_regression(
    model: ClusteredRegression,
    roster: Roster,
    cells: Cells,
    treated: Bools,
    covariates: list[Floats],
    alpha: float,
) -> Estimates:
    """Effect of the arm given covariates, from rows of any depth.

    Parameters
    ----------
    model : ClusteredRegression
        Its variance, degrees of freedom and weights.
    roster : Roster
        Which authority a row belongs to.
    cells : Cells, (replicate, row, 1)
        The outcome of each row.
    treated : bool array, (replicate, row)
        The rows' arms; replicate axis 1 where they are fixed.
    covariates : list of float arrays, (replicate, row)
        The covariates; a row in which one is nan does not count.
    alpha : float
        Two-sided level of the interval.

    Returns
    -------
    Estimates
        A collinear covariate is dropped; `SINGULAR` where the covariates determine the arm.
    """
    rows = regress_rows(model.weights, roster, cells, treated, covariates)
    if model.variance == "naive":
        squares = _residual_squares(rows.residual(), rows.weights, rows.cells)
        return rows.fit.naive(squares, rows.equations.inverse[:, TREATED, TREATED], alpha)
    alike = roster.n_rows == rows.cross.shape[1]
    plan = plan_contrast(rows.grams, rows.equations, TREATED, model.variance, alike=alike)
    squares = plan.variance(np.einsum("rgk,rgk->rg", plan.direction, rows.cross), rows.coefficients)
    return rows.fit.robust(squares, plan.moments(rows.equations), model.variance, model.df, alpha)


@dataclass(frozen=True, slots=True)
class RowRegression(Batch):
    """Least squares of the outcome of rows on intercept, treatment and covariates, without a test.

    Parameters
    ----------
    columns : list of float arrays, (replicate, row)
        The regressors, the treatment at `TREATED`; covariates standardised.
    cells : Cells, (replicate, row, 1)
        The outcome, 0 where nobody was observed or a covariate is missing.
    weights : float array, (replicate, row)
    grams : float array, (replicate, cluster, column, column)
        Every cluster's X'WX.
    cross : float array, (replicate, cluster, column)
        Every cluster's X'Wy.
    coefficients : float array, (replicate, column)
    """

    columns: list[Floats]
    cells: Cells
    weights: Annotated[Floats, "replicate row"]
    grams: Annotated[Floats, "replicate cluster column column"]
    cross: Annotated[Floats, "replicate cluster column"]
    equations: NormalEquations
    coefficients: Annotated[Floats, "replicate column"]
    fit: Fit

    def residual(self) -> Floats:
        """What the regression leaves of every row's outcome, (replicate, row)."""
        residual: Floats = self.cells.mean[:, :, 0].copy()
        for position, column in enumerate(self.columns):
            residual -= self.coefficients[:, position, np.newaxis] * column
        return residual


def regress_rows(
    weighting: Weights, roster: Roster, cells: Cells, treated: Bools, covariates: list[Floats]
) -> RowRegression:
    """Regress rows of any depth; parameters as in `adjusted_regression`."""
    cells = _complete(cells, covariates)
    n, mean = cells.n[:, :, 0], cells.mean[:, :, 0]
    cluster_n = roster.pool(n, "authority")
    weights = n
    if weighting == "authority":
        weights = n / roster.spread(np.where(cluster_n > 0, cluster_n, 1.0), "authority")
    columns = [np.ones((1, roster.n_rows)), treated.astype(float)]
    columns += [standardise(np.nan_to_num(values), weights) for values in covariates]
    pool = partial(roster.pool, level="authority")
    grams = cluster_grams(columns, weights, pool)
    equations = solve_normal(grams.sum(axis=1))
    cross = cluster_moments(columns, weights * mean, pool)
    coefficients = equations.coefficients(cross.sum(axis=1))
    n_clusters = (cluster_n > 0).sum(axis=1).astype(float)
    fit = Fit(
        effect=coefficients[:, TREATED],
        level=np.einsum("rg,rg,rg->r", mean, mean, weights) / n_clusters.clip(1),
        n=n.sum(axis=1),
        n_clusters=n_clusters,
        rank=equations.rank,
        status=arms_status(weights, treated, equations.estimable[:, TREATED]),
    )
    return RowRegression(columns, cells, weights, grams, cross, equations, coefficients, fit)


def coefficients_of(panel: Panel, covariates: tuple[str, ...], weights: Weights) -> dict[str, Floats]:
    """What each covariate adds to the outcome for each of its units, (replicate,) by name."""
    if not covariates:
        return {}
    values = covariates_of(panel, covariates)
    cells = Cells(panel.cells.n, panel.cells.mean).over(panel.follow_up)
    rows = regress_rows(weights, panel.roster, cells, follow_up_arm(panel), values)
    return {
        name: rows.coefficients[:, TREATED + 1 + place] / scale_of(np.nan_to_num(values[place]), rows.weights)
        for place, name in enumerate(covariates)
    }


def _residual_squares(residual: Floats, weights: Floats, cells: Cells) -> Floats:
    """Weighted residual sum of squares of all families, between cells and within them, (replicate,)."""
    between: Floats = np.einsum("rg,rg,rg->r", residual, residual, weights)
    n = cells.n[:, :, 0]
    if cells.ss is None:
        if (n > 1).any():
            raise ValueError("the naive standard error needs the sum of squares within cells")
        return between
    per_family = weights / np.where(n > 0, n, 1.0)
    within: Floats = np.einsum("rg,rg->r", cells.ss[:, :, 0], per_family)
    return between + within


def _complete(cells: Cells, covariates: list[Floats]) -> Cells:
    """The cells, without those that lack a covariate; an outcome of 0 where nobody is observed."""
    n, mean, ss = cells.n, cells.mean, cells.ss
    for values in covariates:
        missing = np.isnan(values)[:, :, np.newaxis]
        if missing.any():
            n = np.where(missing, 0.0, n)
    if (n == 0).any():
        mean = np.where(n > 0, mean, 0.0)
        ss = None if ss is None else np.where(n > 0, ss, 0.0)
    return Cells(n, mean, ss)
