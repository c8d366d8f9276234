"""A fitted regression on authorities' arms, ready to be judged by any of its variances."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.estimators.base import Estimates, Status, t_estimates
from design_sim.numerics.cluster_variance import (
    ClusterRobust,
    DegreesOfFreedom,
    WorkingMoments,
    default_df,
    small_sample_factor,
)
from design_sim.panel import Panel

_ROUNDING = 1e-13
"""A standard error below this share of the outcome's level is rounding."""


@dataclass(frozen=True, slots=True)
class Fit(Batch):
    """A fitted least squares effect, before its standard error.

    Parameters
    ----------
    effect : float array, (replicate,)
        The coefficient of the treatment.
    level : float array, (replicate,)
        Weighted sum of squared outcomes of a cluster, averaged: the scale of rounding errors.
    n, n_clusters, rank : float arrays, (replicate,)
        Observations, clusters that hold any, and coefficients.
    status : int array, (replicate,)
        A `Status`; known so far.
    """

    effect: Annotated[Floats, "replicate"]
    level: Annotated[Floats, "replicate"]
    n: Annotated[Floats, "replicate"]
    n_clusters: Annotated[Floats, "replicate"]
    rank: Annotated[Floats, "replicate"]
    status: Annotated[Ints, "replicate"]

    def robust(
        self,
        squares: Floats,
        moments: WorkingMoments,
        kind: ClusterRobust,
        rule: DegreesOfFreedom | None,
        alpha: float,
    ) -> Estimates:
        """Test and interval from the sum of squared scores of the clusters."""
        factor = small_sample_factor(kind, self.n_clusters, self.n, self.rank)
        df = moments.df(rule or default_df(kind), self.n_clusters)
        void = (self.status == Status.OK) & moments.void
        status = np.where(void, Status.TOO_FEW_CLUSTERS, self.status)
        with np.errstate(invalid="ignore"):
            variance = factor * squares
        return self._tested(variance, moments.size, df, status, alpha)

    def naive(self, squares: Floats, inverse: Floats, alpha: float) -> Estimates:
        """Test and interval from the residual sum of squares, observations being independent."""
        df = self.n - self.rank
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = squares / df * inverse
        status = np.where((self.status == Status.OK) & ~(df > 0), Status.TOO_FEW_CLUSTERS, self.status)
        return self._tested(variance, inverse, df, status, alpha)

    def _tested(self, variance: Floats, size: Floats, df: Floats, status: Ints, alpha: float) -> Estimates:
        with np.errstate(invalid="ignore"):
            varies = variance > _ROUNDING**2 * self.level * size
            std_error = np.where(varies, np.sqrt(variance), 0.0)
        status = np.broadcast_to(status, self.effect.shape).astype(np.int64)
        return t_estimates(self.effect, std_error, df, alpha, status)


def follow_up_arm(panel: Panel) -> Bools:
    """Whether a row is assigned to treatment during the follow-up, (replicate, row).

    Raises
    ------
    ValueError
        If that changes during the follow-up, as in a stepped wedge: two arms are then not the question.
    """
    treated = panel.treated[:, :, panel.follow_up]
    if (treated != treated[:, :, :1]).any():
        raise ValueError("clustered_regression needs arms that stay as they are during the follow-up")
    arm: Bools = treated[:, :, 0]
    return arm


def arms_status(weights: Floats, treated: Bools, estimable: Bools) -> Ints:
    """Whether both arms hold anybody, and the effect can be told from the other columns, (replicate,).

    Parameters
    ----------
    weights : float array, (replicate, ...)
        Weight of each cell, 0 where nobody was observed.
    treated : bool array, (replicate, ...)
        Whether the cell is treated.
    estimable : bool array, (replicate,)
        Whether the regressors speak of the effect.
    """
    axes = tuple(range(1, weights.ndim))
    both = np.ones(1, dtype=bool)
    for arm in (treated, ~treated):
        both = both & ((weights > 0) & arm).any(axis=axes)
    status: Ints = np.where(estimable, Status.OK, Status.SINGULAR)
    return np.where(both, status, Status.TOO_FEW_CLUSTERS)
