"""The exchangeable working correlation of estimating equations: its moment estimator, and the search for it.

With e = (y - mu) / s the Pearson residuals, N observations in clusters of m, and p coefficients,

    phi = sum of e^2 / (N - p),   a = sum over pairs of a cluster of e e' / phi / (pairs - p),

as in statsmodels and the R package gee; geepack has no p in them. The pairs of a cluster are half of
(sum e)^2 - sum e^2. As the residuals depend on the correlation that the coefficients were fitted with, a
is a fixed point, which is searched for by the secant method and not by going round, which is slow where
clusters are few and unequal.

Decision: a must leave every cluster's correlation matrix positive definite, -1 / (largest m - 1) < a < 1.
Where the estimate from independent observations does not, 0 stands in its place. That is not rare with few
and unequal clusters (at a true correlation of .02, two in five replicates of 4 clusters of 6 to 30, and one
in ten of 10 clusters of 3 to 25). Other software stops, or goes on with a matrix that is none and gives the
largest cluster a negative weight, for which the corrections of `gee_variance` mostly do not exist; just
within the range, the largest cluster has nearly all the weight.

Source: Liang and Zeger (1986), Biometrika 73, 13-22, section 4.
"""

import numpy as np

from design_sim.arrays import Bools, Floats, Ints

_INSIDE = 1e-6
"""How far within its range a correlation must lie."""
_NEAR = 1e-4
"""How near to the edge of its range the search gives up, as a share."""
_MATCHED = 1e-10
"""How near to its estimate the correlation in use must be, as a share of what would tell."""
_STEEP, _FLAT = -20.0, -0.05
"""Between these slopes of the gap between estimate and correlation in use a secant is trusted."""


def estimate_correlation(size: Floats, pooled: Floats, squares: Floats, lost: Floats) -> Floats:
    """The moment estimate of the correlation, (replicate,).

    It is 0 where no cluster has two observations, and nan where pairs or observations are no more than what
    is taken off.

    Parameters
    ----------
    size : float array, (replicate, cluster)
        Observations in every cluster.
    pooled : float array, (replicate, cluster)
        Sum of e in every cluster.
    squares : float array, (replicate,)
        Sum of e^2 over all.
    lost : float array, (replicate,)
        What is taken off the divisors: p or 0.
    """
    pairs = (size * (size - 1)).sum(axis=1) / 2
    products = (np.einsum("rg,rg->r", pooled, pooled) - squares) / 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = squares / (size.sum(axis=1) - lost)
        estimate = np.where((pairs > lost) & (scale > 0), products / scale / (pairs - lost), np.nan)
    return np.where(pairs > 0, estimate, 0.0)


class CorrelationSearch:
    """The correlations in use, one for each replicate, on their way to a fixed point from 0.

    Parameters
    ----------
    n_replicates : int
        Number of replicates.
    largest : float array, (replicate,)
        Observations in the largest cluster; replicate axis 1 where that is fixed.
    """

    def __init__(self, n_replicates: int, largest: Floats) -> None:
        self.value = np.zeros(n_replicates)
        self.held = np.zeros(n_replicates, dtype=np.bool_)
        """Where there is none, and the correlation stays at 0."""
        self._largest = np.broadcast_to(np.maximum(largest, 2.0), n_replicates)
        self._before = np.full(n_replicates, np.nan)
        self._gap = np.full(n_replicates, np.nan)

    def update(self, which: Ints, estimate: Floats) -> None:
        """Take in estimates, from coefficients that were fitted with the correlations in use.

        The next correlation is that of the secant or else the estimate; where that is none, it is halfway to
        the edge, and 0 for good once the edge is near.

        Parameters
        ----------
        which : int array, (replicate,)
            The replicates that they are of.
        estimate : float array, (replicate,)
            Moment estimates.
        """
        value, gap = self.value[which], estimate - self.value[which]
        possible = self._possible(which, estimate)
        edge = np.where(estimate > value, 1.0, -1 / (self._largest[which] - 1))
        near = np.abs(value - edge) < _NEAR * np.abs(edge)
        self.held[which] |= ~possible & (near | (value == 0) | np.isnan(estimate))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            slope = (gap - self._gap[which]) / (value - self._before[which])
            secant = value - gap / slope
            trusted = (slope > _STEEP) & (slope < _FLAT) & self._possible(which, secant)
        self._before[which], self._gap[which] = value, gap
        new = np.where(trusted, secant, np.where(possible, estimate, (value + edge) / 2))
        self.value[which] = np.where(self.held[which], 0.0, new)

    def reached(self, which: Ints, value: Floats) -> Bools:
        """Whether the correlations in use are these but for a negligible difference, or are held."""
        near = np.abs(self.value[which] - value) <= _MATCHED * (1 / self._largest[which] + np.abs(value))
        reached: Bools = self.held[which] | near
        return reached

    def _possible(self, which: Ints, value: Floats) -> Bools:
        """Whether a correlation leaves every cluster's matrix positive definite."""
        possible: Bools = (value < 1 - _INSIDE) & (1 + (self._largest[which] - 1) * value > _INSIDE)
        return possible
