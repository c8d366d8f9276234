"""Mixed model: families within authorities, a random intercept of the authority, by REML.

The analysis to choose where authorities differ in their numbers of families or families in covariates: it
weighs authorities by what they tell, and with equal numbers and no covariates equals the t test on cluster
means unless the variance between authorities is estimated as 0. It targets an average between the average
authority and the average family. It is biased where who is treated is not random; with few authorities its
normal test rejects far too often, its Satterthwaite test roughly as often as it should.

Source: Kuznetsova, Brockhoff and Christensen (2017), lmerTest, Journal of Statistical Software 82(13); Li and
Redden (2015), Statistics in Medicine 34, 3531-3545 (degrees of freedom where clusters are few).
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from design_sim.arrays import Bools, Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Needs, Status, t_estimates
from design_sim.numerics.intercept_model import ClusterMoments, Verdict
from design_sim.numerics.random_intercept import fit_random_intercept
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.stated import Stated

_STATUS_OF = {
    Verdict.FITTED: Status.OK,
    Verdict.BOUNDARY: Status.BOUNDARY,
    Verdict.TOO_FEW: Status.TOO_FEW_CLUSTERS,
    Verdict.SINGULAR: Status.SINGULAR,
    Verdict.NO_VARIATION: Status.NO_VARIATION,
    Verdict.NOT_CONVERGED: Status.NOT_CONVERGED,
}


class MixedModel(Stated):
    """Effect of assigned treatment in a random-intercept model of the families observed after the start."""

    estimator: Literal["mixed_model"] = "mixed_model"
    df: Literal["satterthwaite", "normal"] = "satterthwaite"
    """Degrees of freedom of the test and interval; `normal` is what much software reports, and rejects too
    often where authorities are few."""
    covariates: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Covariates of the panel to adjust for, by name."""

    needs: ClassVar[Needs] = "cells"
    by_allocation: ClassVar[bool] = False
    within: ClassVar[bool] = False
    staggered: ClassVar[bool] = False
    needs_before: ClassVar[bool] = False

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing.

        Returns
        -------
        Estimates
            `BOUNDARY` where the variance between authorities is estimated as 0: the answer is then that of
            least squares, with families less regressors as df, as lmerTest has it. `TOO_FEW_CLUSTERS` where
            an arm is empty, authorities are no more than the regressors that are constant in an authority,
            or there are not enough families to tell variation within authorities. `SINGULAR` where a
            regressor is a combination of the others, `NO_VARIATION` where families of an authority do not
            differ at all, `NOT_CONVERGED` where the search failed or the variance ratio has no bound.
        """
        moments = cluster_moments(panel, self.covariates)
        fits = fit_random_intercept(moments)
        status = np.array([_STATUS_OF[verdict] for verdict in Verdict], dtype=np.int64)[fits.verdict]
        status = np.where(_both_arms(moments), status, Status.TOO_FEW_CLUSTERS)
        df = np.full(1, np.inf) if self.df == "normal" else fits.df
        return t_estimates(fits.estimate, fits.std_error, df, panel.alpha, status)


def cluster_moments(panel: Panel, covariates: tuple[str, ...]) -> ClusterMoments:
    """What the model of the families observed after the start reads of a panel.

    Families of several occasions count as different ones. Rows may be authorities, workers or single
    families; covariates enter by their means and cross-products in an authority. A row without a
    covariate (nan) does not count.

    Raises
    ------
    ValueError
        If the panel's cells carry no sums of squares, or a covariate is not in the panel.
    """
    missing = [name for name in covariates if name not in panel.covariates]
    if missing:
        raise ValueError(f"the panel has no covariate {', '.join(missing)}")
    values = [panel.covariates[name] for name in covariates]
    rows = _complete(panel.cells.over(panel.follow_up), values)
    families = rows.pool(panel.roster, "authority")
    if families.ss is None:
        raise ValueError("a mixed model needs the sums of squares within cells, and the panel has none")
    n, mean = families.n[:, :, 0], families.mean[:, :, 0]
    ss = families.ss[:, :, 0]
    within = np.where(n > 0, ss, 0.0).sum(axis=1) if (n == 0).any() else ss.sum(axis=1)
    treated = panel.treated_authority.astype(np.float64)
    means, squares, products = _covariate_moments(rows, panel.roster, values)
    regressors = _stacked([np.ones_like(treated), *means, treated])
    return ClusterMoments(n, mean, within, regressors, squares, products)


def _complete(rows: Cells, covariates: list[Floats]) -> Cells:
    """The rows with nobody in those of which a covariate is not known."""
    unknown = [np.isnan(x)[:, :, np.newaxis] for x in covariates if np.isnan(x).any()]
    if not unknown or rows.ss is None:
        return rows
    known = ~np.logical_or.reduce(np.broadcast_arrays(*unknown))
    return Cells(np.where(known, rows.n, 0.0), rows.mean, np.where(known, rows.ss, 0.0))


def _covariate_moments(
    rows: Cells, roster: Roster, covariates: list[Floats]
) -> tuple[list[Floats], Floats, Floats]:
    """Means of covariates by authority, and their cross-products within authorities with each other and y.

    The cross-products have the intercept's place first and the treatment's last, both 0.
    """
    n, outcome = rows.n[:, :, 0], rows.mean[:, :, 0]
    size = len(covariates) + 2
    if not covariates or roster.n_units("authority") == roster.n_rows:
        means = [np.where(np.isnan(x), 0.0, x) for x in covariates]
        return means, np.zeros((1, size, size)), np.zeros((1, size))
    seen = n > 0
    outcome = np.where(seen, outcome, 0.0)
    outcome = outcome - outcome.mean(axis=1, keepdims=True)
    count = np.maximum(roster.pool(n, "authority"), 1.0)
    means, deviations = [], []
    for x in covariates:
        known = np.where(seen, x, 0.0)
        means.append(roster.pool(n * known, "authority") / count)
        deviations.append(_deviation(known, n, roster.spread(means[-1], "authority")))
    axis = max(deviation.shape[0] for deviation in deviations)
    squares, products = np.zeros((axis, size, size)), np.zeros((outcome.shape[0], size))
    for i, first in enumerate(deviations, start=1):
        weighted = n * first
        if weighted.any():
            products[:, i] = _row_sums(weighted, outcome)
            for j, second in enumerate(deviations, start=1):
                squares[:, i, j] = _row_sums(weighted, second)
    return means, squares, products


def _deviation(values: Floats, n: Floats, means: Floats) -> Floats:
    """Deviations from the authority's mean; exactly 0 where a covariate does not vary but for rounding."""
    deviation: Floats = np.where(n > 0, values - means, 0.0)
    negligible = np.abs(deviation).max() <= 1e-12 * np.abs(values).max()
    return np.zeros_like(deviation) if negligible else deviation


def _row_sums(first: Floats, second: Floats) -> Floats:
    """Sums over rows of products, (replicate,), either replicate axis being 1 or full."""
    if first.shape[0] == 1:
        fixed: Floats = second @ first[0]
        return fixed
    varying: Floats = np.einsum("rc,rc->r", first, np.broadcast_to(second, first.shape))
    return varying


def _stacked(columns: list[Floats]) -> Floats:
    """Columns (replicate or 1, authority) as one array (replicate or 1, authority, column)."""
    axis = max(column.shape[0] for column in columns)
    return np.stack([np.broadcast_to(column, (axis, column.shape[1])) for column in columns], axis=2)


def _both_arms(moments: ClusterMoments) -> Bools:
    """Whether somebody was observed in either arm, (replicate or 1,)."""
    seen, treated = moments.n > 0, moments.regressors[:, :, -1] == 1
    both: Bools = (seen & treated).any(axis=1) & (seen & ~treated).any(axis=1)
    return both
