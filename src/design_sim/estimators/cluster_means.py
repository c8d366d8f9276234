"""Cluster means: the t test on one number for each authority.

The analysis to choose where clusters are few: each authority counts once, however many families it
holds, so that its size is right whatever the ICC, and the answer targets the average authority. It is
biased where who is treated is not random. With `change`, the number is the authority's change from
before the start to after it: a difference-in-differences on authority means. With covariates it is an
analysis of covariance on means; with `weights = "family"` means count by their families, which targets the
average family and is right only where families, not authorities, make the scatter.

Source: Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials in Health Research;
for `change`, Bertrand, Duflo and Mullainathan (2004), Quarterly Journal of Economics 119, 249-275,
section IV.C (ignoring time-series information); for covariates of clusters, Hayes and Moulton (2017), Cluster
Randomised Trials, 2nd edition, chapter 10.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from design_sim.arrays import Bools, Floats, Ints
from design_sim.estimators.base import Estimates, Needs, Status, t_estimates
from design_sim.numerics.least_squares import NormalEquations, scale_of, solve_normal, standardise
from design_sim.panel import Panel
from design_sim.stated import Stated

_TREATED = 1
"""The column of the treatment, after the intercept."""


class ClusterMeans(Stated):
    """Difference between arms in the mean of authority means, with its t test."""

    estimator: Literal["cluster_means"] = "cluster_means"
    change: bool = False
    """Compare changes from before the start to after it, in place of levels after it."""
    weights: Literal["authority", "family"] = "authority"
    """Whether every authority's mean counts alike, or by its families after the start."""
    covariates: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Names of covariates of the panel to adjust for, by their means in an authority."""

    needs: ClassVar[Needs] = "means"
    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = False
    within: ClassVar[bool] = False

    @property
    def needs_before(self) -> bool:
        """A change needs an occasion before the start."""
        return self.change

    @property
    def convention(self) -> str:
        """What it does, in words."""
        what = (
            "changes of cluster means from before treatment to after it" if self.change else "cluster means"
        )
        count = (
            "every cluster alike" if self.weights == "authority" else "clusters weighted by their families"
        )
        adjusted = ", adjusted for cluster means of covariates" if self.covariates else ""
        return f"least squares on {what}, {count}{adjusted}; pooled t test, df = clusters - coefficients"

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing."""
        means = authority_means(panel, change=self.change)
        if self.weights == "authority" and not self.covariates:
            return compare_cluster_means(means, panel.treated_authority, panel.alpha)
        equations, coefficients, tested = self._regressed(panel, means)
        residual_squares, n_clusters, status = tested
        with np.errstate(divide="ignore", invalid="ignore"):
            df = n_clusters - equations.rank
            variance = residual_squares / df * equations.inverse[:, _TREATED, _TREATED]
        df = np.broadcast_to(df, means.shape[:1])
        return t_estimates(coefficients[:, _TREATED], np.sqrt(variance), df, panel.alpha, status)

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """What each covariate adds for each of its units, (replicate,) by name."""
        if not self.covariates:
            return {}
        means = authority_means(panel, change=self.change)
        _, coefficients, _ = self._regressed(panel, means)
        weights = self._weights(panel, means)
        scales = [scale_of(np.nan_to_num(x), weights) for x in self._covariate_means(panel)]
        return {
            name: coefficients[:, _TREATED + 1 + place] / scale
            for place, (name, scale) in enumerate(zip(self.covariates, scales, strict=True))
        }

    def _regressed(
        self, panel: Panel, means: Floats
    ) -> tuple[NormalEquations, Floats, tuple[Floats, Floats, Ints]]:
        """Weighted least squares on cluster means: equations, coefficients, and what a test needs."""
        weights, treated = self._weights(panel, means), panel.treated_authority
        covariates = [standardise(np.nan_to_num(x), weights) for x in self._covariate_means(panel)]
        columns = [np.ones_like(weights), treated.astype(np.float64), *covariates]
        shape = np.broadcast_shapes(weights.shape, *(column.shape for column in columns))
        design = np.stack([np.broadcast_to(column, shape) for column in columns], axis=2)
        outcome = np.where(weights > 0, np.nan_to_num(means), 0.0)
        weighted = design * weights[:, :, np.newaxis]
        equations = solve_normal(np.einsum("rgi,rgj->rij", weighted, design))
        coefficients = equations.coefficients(np.einsum("rgi,rg->ri", weighted, outcome))
        residual = outcome - np.einsum(
            "rgi,ri->rg", np.broadcast_to(design, (outcome.shape[0], *design.shape[1:])), coefficients
        )
        n_clusters = (weights > 0).sum(axis=1).astype(np.float64)
        both = [((weights > 0) & arm).any(axis=1) for arm in (treated, ~treated)]
        enough = both[0] & both[1] & (n_clusters > equations.rank)
        status = np.where(equations.estimable[:, _TREATED], Status.OK, Status.SINGULAR)
        status = np.broadcast_to(np.where(enough, status, Status.TOO_FEW_CLUSTERS), means.shape[:1])
        squares = np.einsum("rg,rg->r", np.broadcast_to(weights, residual.shape), residual**2)
        return equations, coefficients, (squares, n_clusters, status.astype(np.int64))

    def _weights(self, panel: Panel, means: Floats) -> Floats:
        """Weight of every authority, 0 where its mean or a covariate is not known: (replicate, authority)."""
        weights: Floats = np.ones((1, means.shape[1]))
        if self.weights == "family":
            weights = panel.roster.pool(panel.cells.n[:, :, panel.follow_up].sum(axis=2), "authority")
        for values in [means, *self._covariate_means(panel)]:
            if np.isnan(values).any():
                weights = np.where(np.isnan(values), 0.0, weights)
        return weights

    def _covariate_means(self, panel: Panel) -> list[Floats]:
        """Means of the covariates over the families of an authority after the start."""
        n = panel.cells.n[:, :, panel.follow_up].sum(axis=2)
        total = np.maximum(panel.roster.pool(n, "authority"), 1e-300)
        return [
            panel.roster.pool(np.where(n > 0, n * panel.covariates[name], 0.0), "authority") / total
            for name in self.covariates
        ]


def authority_means(panel: Panel, *, change: bool) -> Floats:
    """The mean outcome after the start of each authority, or its change: (replicate, authority).

    Families of an authority count alike. nan where nobody was observed.

    Raises
    ------
    ValueError
        If `change` is asked of a panel that was not observed before the start.
    """
    by_authority = panel.cells.pool(panel.roster, "authority")
    after = by_authority.over(panel.follow_up).mean[:, :, 0]
    if not change:
        return after
    if panel.follow_up.all():
        raise ValueError("change needs an occasion before the start, and the panel has none")
    before: Floats = by_authority.over(~panel.follow_up).mean[:, :, 0]
    return after - before


def compare_cluster_means(means: Floats, treated: Bools, alpha: float = 0.05) -> Estimates:
    """Difference between arms in the mean of cluster means, with its pooled t test.

    Parameters
    ----------
    means : float array, (replicate, cluster)
        Mean outcome of each cluster, on the outcome's scale; nan for a cluster that nobody was
        observed in, which then does not count.
    treated : bool array, (replicate, cluster)
        Whether the cluster was allocated to the intervention; replicate axis 1 where that is fixed.
    alpha : float
        Two-sided level of the interval.

    Returns
    -------
    Estimates
        Treated minus comparison, pooled standard error, n - 2 degrees of freedom. A replicate with an
        empty arm or fewer than three clusters gets nan throughout: a failed analysis is a result to be
        counted, not an exception.

    References
    ----------
    Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials in Health Research: the
    unweighted cluster-level t test.

    Examples
    --------
    >>> means = np.array([[0.1, 0.3, 0.6, 0.8]])
    >>> treated = np.array([[False, False, True, True]])
    >>> compare_cluster_means(means, treated).estimate.round(3)
    array([0.5])
    """
    seen = ~np.isnan(means)
    if seen.all():
        seen = np.ones((1, means.shape[1]), dtype=bool)
    else:
        means = np.where(seen, means, 0.0)
    arms = [(treated & seen).astype(float), (~treated & seen).astype(float)]
    sizes = [arm.sum(axis=1) for arm in arms]
    with np.errstate(divide="ignore", invalid="ignore"):
        centres = [(means * arm).sum(axis=1) / size for arm, size in zip(arms, sizes, strict=True)]
        df = sizes[0] + sizes[1] - 2
        squares = sum(
            (arm * (means - centre[:, np.newaxis]) ** 2).sum(axis=1)
            for arm, centre in zip(arms, centres, strict=True)
        )
        std_error = np.sqrt(squares / df * (1 / sizes[0] + 1 / sizes[1]))
    status = np.where((sizes[0] > 0) & (sizes[1] > 0) & (df > 0), Status.OK, Status.TOO_FEW_CLUSTERS)
    status = np.broadcast_to(status, std_error.shape).astype(np.int64)
    return t_estimates(centres[0] - centres[1], std_error, df, alpha, status)
