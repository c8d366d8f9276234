"""Cross-products of regressors and outcome for every replicate, and their elimination column by column."""

from typing import TypeVar

import numpy as np

from design_sim.arrays import Bools, Floats
from design_sim.numerics.mixed.intercept_model import ClusterMoments
from design_sim.numerics.mixed.jet import Jet

ALIASED = 1e-10
"""A regressor of which a smaller share is left is a combination of those before it."""


def pairs(moments: ClusterMoments) -> Floats:
    """Products of the cluster means of regressors and outcome, (replicate, cluster, pair)."""
    n_replicates, n_clusters = moments.mean.shape
    rows, columns = np.triu_indices(moments.regressors.shape[2] + 1)
    means = [
        np.broadcast_to(values, (n_replicates, n_clusters))
        for values in [*np.moveaxis(moments.regressors, 2, 0), moments.mean]
    ]
    pairs = np.empty((n_replicates, n_clusters, rows.size))
    for pair, (row, column) in enumerate(zip(rows, columns, strict=True)):
        np.multiply(means[row], means[column], out=pairs[:, :, pair])
    return pairs


def within_pairs(moments: ClusterMoments) -> Floats:
    """Cross-products within clusters in the order of `pairs`, (replicate, pair)."""
    size = moments.regressors.shape[2] + 1
    products = np.zeros((moments.within.size, size, size))
    products[:, :-1, :-1] = moments.within_squares
    products[:, :-1, -1] = moments.within_products
    products[:, -1, -1] = moments.within
    rows, columns = np.triu_indices(size)
    pairs: Floats = products[:, rows, columns]
    return pairs


def triangle(products: Floats) -> dict[tuple[int, int], Floats]:
    """The upper triangle of cross-product matrices by row and column, from (..., pair)."""
    size = int(np.sqrt(2 * products.shape[-1]))
    ordered = zip(*np.triu_indices(size), strict=True)
    return {(int(row), int(column)): products[..., pair] for pair, (row, column) in enumerate(ordered)}


def log_product(values: Floats) -> Floats:
    """Logarithm of the product along the last axis, by eights: logarithms are dear, products may overflow."""
    eights = np.multiply.reduceat(values, np.arange(0, values.shape[-1], 8), axis=-1)
    logarithm: Floats = np.log(eights).sum(axis=-1)
    return logarithm


Number = TypeVar("Number", Floats, Jet)


def eliminate(
    triangle: dict[tuple[int, int], Number], n_regressors: int
) -> tuple[list[Number], Number, Number]:
    """Gaussian elimination of the regressors: their pivots, the last coefficient, the residual squares."""
    left = dict(triangle)
    outcome = n_regressors
    for pivot in range(n_regressors):
        for row in range(pivot + 1, n_regressors + 1):
            slope = left[pivot, row] / left[pivot, pivot]
            for column in range(row, n_regressors + 1):
                left[row, column] = left[row, column] - slope * left[pivot, column]
    pivots = [left[k, k] for k in range(n_regressors)]
    return pivots, left[n_regressors - 1, outcome] / pivots[-1], left[outcome, outcome]


def aliased(pivots: list[Floats], triangle: dict[tuple[int, int], Floats]) -> Bools:
    """Whether a regressor is a combination of those before it, (replicate,)."""
    shares = [pivot > ALIASED * triangle[k, k] for k, pivot in enumerate(pivots)]
    aliased: Bools = ~np.all(shares, axis=0)
    return aliased
