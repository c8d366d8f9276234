"""Generalised estimating equations, many at once, from cells of observations with equal regressors.

With D the derivative of the means of a cluster by the coefficients and V their working covariance, the
coefficients solve sum over clusters of D' V^-1 (y - mu) = 0. Here V = phi S R S, where S^2 holds the family's
variances, the link is canonical, and R has 1 on its diagonal and a beside it. As

    R^-1 = (I - J / m) / (1 - a) + J / m / (1 + (m - 1) a)

for a cluster of m observations, everything is sums over cells: with n, y and x the number, mean outcome and
regressors of a cell, s the root of its variance and r = y - mu,

    b = sum n s x,   t = sum n r / s,   k = 1 / (m (1 + (m - 1) a))
    D' V^-1 D = (sum n s^2 x x' - b b' / m) / (1 - a) + k b b'
    D' V^-1 (y - mu) = (sum n r x - b t / m) / (1 - a) + k b t

but for phi, which cancels from coefficients and robust variances. The first terms vanish where a cluster is
one cell. Fisher scoring starts with a = 0; once it has settled, every step takes the next correlation (see
`working_correlation`), until both the step and the difference between correlation and estimate are
negligible. Replicates that have ended are dropped.

Source: Liang and Zeger (1986), Biometrika 73, 13-22.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, Self

import numpy as np

from design_sim.arrays import Batch, Floats, Ints
from design_sim.numerics.canonical_link import Family, variance


class Ending(IntEnum):
    """How the search for the coefficients of a replicate ended."""

    FITTED = 0
    INDEPENDENT = 1
    """Fitted with correlation 0, as the estimated one is none."""
    SEPARATED = 2
    """A fitted risk or rate has run off to the edge of its range."""
    NOT_CONVERGED = 3


@dataclass(frozen=True, slots=True)
class Working:
    """The working model: the family, whether observations correlate, and whether moments lose p."""

    family: Family
    exchangeable: bool
    corrected: bool


@dataclass(frozen=True, slots=True)
class ClusteredCells(Batch):
    """Observations in cells that share their regressors, the cells of a cluster lying together.

    Parameters
    ----------
    n, mean, ss : float arrays, (replicate, cell)
        Their number, mean outcome (0 where there are none) and sum of squares about it.
    regressors : tuple of float arrays, (replicate, cell)
        The columns, the intercept first; replicate axis 1 where a column does not vary.
    pool : callable
        Sums over the cells of every cluster, (replicate, cell) to (replicate, cluster).
    """

    n: Annotated[Floats, "replicate cell"]
    mean: Annotated[Floats, "replicate cell"]
    ss: Annotated[Floats, "replicate cell"]
    regressors: tuple[Floats, ...]
    pool: Callable[[Floats], Floats]

    def of(self, which: Ints) -> Self:
        """Some of the replicates."""
        if which.size == self.mean.shape[0]:
            return self
        columns = tuple(some(column, which) for column in self.regressors)
        return replace(
            self, n=some(self.n, which), mean=self.mean[which], ss=some(self.ss, which), regressors=columns
        )

    @property
    def typical(self) -> Floats:
        """Mean outcome of all observations, (replicate,)."""
        total = row_sums(self.n, self.mean) / np.maximum(self.n.sum(axis=1), 1.0)
        return np.broadcast_to(total, self.mean.shape[:1])

    @property
    def mean_square(self) -> Floats:
        """Mean squared outcome of all observations, (replicate,)."""
        squares = self.ss.sum(axis=1) + row_sums(self.n, self.mean**2)
        return np.broadcast_to(squares / np.maximum(self.n.sum(axis=1), 1.0), self.mean.shape[:1])

    def gram(self, weight: Floats | None = None) -> Floats:
        """X'WX over all observations, (replicate, column, column); weights of cells are n if not given."""
        weight = self.n if weight is None else weight
        pairs = {}
        for i, first in enumerate(self.regressors):
            weighted = weight * first
            for j, second in enumerate(self.regressors[: i + 1]):
                pairs[i, j] = row_sums(weighted, second)
        size, n_columns = max(pair.size for pair in pairs.values()), len(self.regressors)
        gram = np.empty((size, n_columns, n_columns))
        for (i, j), pair in pairs.items():
            gram[:, i, j] = gram[:, j, i] = pair
        return gram

    def predictor(self, coefficients: Floats) -> Floats:
        """The linear predictor of every cell, (replicate, cell), from (replicate, column)."""
        total = coefficients[:, :1] * self.regressors[0]
        for column, values in enumerate(self.regressors[1:], start=1):
            total += coefficients[:, column, np.newaxis] * values
        return total


@dataclass(frozen=True, slots=True)
class Design(Batch):
    """What the equations need of the fitted means; constant over the search for a Gaussian outcome.

    Parameters
    ----------
    size : float array, (replicate, cluster)
        m.
    root : float array, (replicate, cell)
        s.
    scaled : float array, (replicate, cluster, column)
        b.
    within : float array, (replicate, column, column) or None
        Sum over clusters of the first term of D' V^-1 D, times 1 - a; None where every cluster is a cell.
    """

    size: Annotated[Floats, "replicate cluster"]
    root: Annotated[Floats, "replicate cell"]
    scaled: Annotated[Floats, "replicate cluster column"]
    within: Annotated[Floats, "replicate column column"] | None

    def weight(self, correlation: Floats) -> Floats:
        """k, (replicate, cluster), 0 for a cluster that nobody was observed in."""
        divisor = self.size * (1 + (self.size - 1) * correlation[:, np.newaxis])
        return np.divide(1.0, divisor, out=np.zeros_like(divisor), where=self.size > 0)


@dataclass(frozen=True, slots=True)
class Residuals(Batch):
    """What the equations need of the residuals.

    Parameters
    ----------
    raw : float array, (replicate, cell)
        n r.
    pooled : float array, (replicate, cluster)
        t.
    squares : float array, (replicate,)
        Sum of squared Pearson residuals.
    """

    raw: Annotated[Floats, "replicate cell"]
    pooled: Annotated[Floats, "replicate cluster"]
    squares: Annotated[Floats, "replicate"]


def some(values: Floats, which: Ints) -> Floats:
    """The values of some replicates, where they vary."""
    return values if values.shape[0] == 1 else values[which]


def row_sums(first: Floats, second: Floats) -> Floats:
    """Sums over cells of products, (replicate,), either replicate axis being 1 or full."""
    if first.shape[0] == 1:
        first, second = second, first
    if second.shape[0] == 1:
        fixed: Floats = first @ second[0]
        return fixed
    varying: Floats = np.einsum("rc,rc->r", first, second)
    return varying


def design_of(cells: ClusteredCells, mean: Floats, family: Family) -> Design:
    """What the equations need of the fitted means, (replicate, cell)."""
    spread = variance(family, mean)
    root = np.sqrt(spread)
    weight = cells.n * root
    columns = [cells.pool(weight * column) for column in cells.regressors]
    axis = max(column.shape[0] for column in columns)
    scaled = np.empty((axis, columns[0].shape[1], len(columns)))
    for k, column in enumerate(columns):
        scaled[:, :, k] = column
    size, within = cells.pool(cells.n), None
    if scaled.shape[1] < cells.mean.shape[1]:
        share = scaled / np.maximum(size, 1.0)[:, :, np.newaxis]
        within = cells.gram(weight * root) - share.swapaxes(1, 2) @ scaled
    return Design(size, root, scaled, within)


def residuals_of(cells: ClusteredCells, mean: Floats, design: Design) -> Residuals:
    """What the equations need of the residuals from fitted means, (replicate, cell)."""
    residual = cells.mean - mean
    raw = cells.n * residual
    standardised = raw / design.root
    squares = row_sums(cells.ss, 1 / design.root**2) if design.root.size > 1 else cells.ss.sum(axis=1)
    squares = squares + row_sums(standardised, residual / design.root)
    return Residuals(raw, cells.pool(standardised), squares)


def total_gram(design: Design, correlation: Floats) -> Floats:
    """D' V^-1 D over all clusters, (replicate, column, column)."""
    weighted = design.weight(correlation)[:, :, np.newaxis] * design.scaled
    gram: Floats = weighted.swapaxes(1, 2) @ design.scaled
    if design.within is not None:
        gram += design.within / (1 - correlation)[:, np.newaxis, np.newaxis]
    return gram


def total_score(cells: ClusteredCells, design: Design, residuals: Residuals, correlation: Floats) -> Floats:
    """D' V^-1 (y - mu) over all clusters, (replicate, column)."""
    pooled = design.weight(correlation) * residuals.pooled
    if design.within is not None:
        left = 1 / (1 - correlation)[:, np.newaxis]
        pooled -= left * residuals.pooled / np.maximum(design.size, 1.0)
    score: Floats = np.einsum(
        "rgk,rg->rk", np.broadcast_to(design.scaled, (*pooled.shape, design.scaled.shape[2])), pooled
    )
    if design.within is not None:
        raw = [row_sums(residuals.raw, column) for column in cells.regressors]
        score += left * np.stack(raw, axis=1)
    return score


def cluster_scores(
    cells: ClusteredCells, design: Design, residuals: Residuals, correlation: Floats
) -> Floats:
    """D' V^-1 (y - mu) of every cluster, (replicate, cluster, column)."""
    between: Floats = design.scaled * (design.weight(correlation) * residuals.pooled)[:, :, np.newaxis]
    if design.within is None:
        return between
    within = np.stack([cells.pool(residuals.raw * column) for column in cells.regressors], axis=2)
    within -= design.scaled * (residuals.pooled / np.maximum(design.size, 1.0))[:, :, np.newaxis]
    between += within / (1 - correlation)[:, np.newaxis, np.newaxis]
    return between


def cluster_grams(cells: ClusteredCells, design: Design, correlation: Floats) -> Floats:
    """D' V^-1 D of every cluster, (replicate, cluster, column, column)."""
    products = design.scaled[:, :, :, np.newaxis] * design.scaled[:, :, np.newaxis, :]
    between: Floats = products * design.weight(correlation)[:, :, np.newaxis, np.newaxis]
    if design.within is None:
        return between
    weight = cells.n * design.root**2
    within = -products / np.maximum(design.size, 1.0)[:, :, np.newaxis, np.newaxis]
    for i, first in enumerate(cells.regressors):
        weighted = weight * first
        for j, second in enumerate(cells.regressors[: i + 1]):
            own = cells.pool(weighted * second)
            within[:, :, i, j] += own
            if i != j:
                within[:, :, j, i] += own
    between += within / (1 - correlation)[:, np.newaxis, np.newaxis, np.newaxis]
    return between
