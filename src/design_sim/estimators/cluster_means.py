"""Cluster means: the t test on one number for each authority.

The analysis to choose where clusters are few: each authority counts once, however many families it
holds, so that its size is right whatever the ICC, and the answer targets the average authority. It is
biased where who is treated is not random. With `change`, the number is the authority's change from
before the start to after it: a difference-in-differences on authority means.

Source: Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials in Health Research;
for `change`, Bertrand, Duflo and Mullainathan (2004), Quarterly Journal of Economics 119, 249-275,
section IV.C (ignoring time-series information).
"""

from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from design_sim.arrays import Bools, Floats
from design_sim.estimators.base import Estimates, Needs, Status, t_estimates
from design_sim.panel import Panel
from design_sim.stated import Stated


class ClusterMeans(Stated):
    """Difference between arms in the mean of authority means, with its t test."""

    estimator: Literal["cluster_means"] = "cluster_means"
    change: bool = False
    """Compare changes from before the start to after it, in place of levels after it."""

    needs: ClassVar[Needs] = "means"
    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = False
    covariates: ClassVar[tuple[str, ...]] = ()

    @property
    def needs_before(self) -> bool:
        """A change needs an occasion before the start."""
        return self.change

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing."""
        means = authority_means(panel, change=self.change)
        return compare_cluster_means(means, panel.treated_authority, panel.alpha)


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
