"""From cells to clusters: the moments that a mixed model reads, whatever depth the cells have."""

import numpy as np

from design_sim.arrays import Floats, Ints
from design_sim.numerics.mixed.intercept_model import ClusterMoments
from design_sim.numerics.mixed.members import pooled, spread, starts_of

_NEGLIGIBLE = 1e-12
"""Deviations within clusters that are a smaller share of a regressor's size are rounding."""


def pool_cells(
    n: Floats, mean: Floats, within: Floats, regressors: list[Floats], cluster: Ints
) -> ClusterMoments:
    """Pool cells by cluster.

    Parameters
    ----------
    n, mean : float arrays, (replicate, cell)
        Observations and their mean outcome, 0 where n = 0. Replicate axis 1 where fixed.
    within : float array, (replicate,)
        Sum of squared deviations of outcomes from their cell's mean, over all cells.
    regressors : list of float arrays, (replicate, cell)
        Their values, the intercept's ones first, finite throughout. Replicate axis 1 where fixed.
    cluster : int array, (cell,)
        The cluster of every cell, numbered from 0, cells of a cluster together.
    """
    starts, size, n_cells = starts_of(cluster), len(regressors), cluster.size
    if starts.size == n_cells:
        none = np.zeros((1, size, size)), np.zeros((1, size))
        return ClusterMoments(n, mean, within, _stacked(regressors), *none)
    count = pooled(n, starts)
    share = n / spread(np.maximum(count, 1.0), starts, n_cells)
    centre = pooled(share * mean, starts)
    deviation = mean - spread(centre, starts, n_cells)
    weighted = n * deviation
    within = within + np.einsum("rc,rc->r", weighted, deviation)
    centres, deviations = [], {}
    for at, regressor in enumerate(regressors):
        about = regressor[:, starts]
        if (regressor != spread(about, starts, n_cells)).any():
            about = pooled(share * regressor, starts)
            left = np.where(n > 0, regressor - spread(about, starts, n_cells), 0.0)
            if np.abs(left).max() > _NEGLIGIBLE * np.abs(regressor).max():
                deviations[at] = left
        centres.append(about)
    squares, products = _within(n, weighted, deviations, size)
    return ClusterMoments(count, centre, within, _stacked(centres), squares, products)


def _within(n: Floats, outcome: Floats, deviations: dict[int, Floats], size: int) -> tuple[Floats, Floats]:
    """Cross-products within clusters of regressors, and of regressors with the outcome, both by regressor."""
    axis = max([n.shape[0], *(left.shape[0] for left in deviations.values())]) if deviations else 1
    squares, products = np.zeros((axis, size, size)), np.zeros((outcome.shape[0] if deviations else 1, size))
    fixed = [at for at, left in deviations.items() if left.shape[0] == 1]
    if fixed:
        products[:, fixed] = outcome @ np.concatenate([deviations[at] for at in fixed]).T
    for i, left in deviations.items():
        if i not in fixed:
            products[:, i] = np.einsum("rc,rc->r", left, outcome)
        for j, other in deviations.items():
            if i <= j:
                squares[:, i, j] = squares[:, j, i] = _row_products(n * left, other)
    return squares, products


def _row_products(first: Floats, second: Floats) -> Floats:
    """Sums over cells of products, (replicate or 1,)."""
    if first.shape[0] == 1:
        fixed: Floats = second @ first[0]
        return fixed
    if second.shape[0] == 1:
        return _row_products(second, first)
    varying: Floats = np.einsum("rc,rc->r", first, second)
    return varying


def _stacked(columns: list[Floats]) -> Floats:
    """Columns (replicate or 1, cluster) as one array (replicate or 1, cluster, column)."""
    axis = max(column.shape[0] for column in columns)
    return np.stack([np.broadcast_to(column, (axis, column.shape[1])) for column in columns], axis=2)
