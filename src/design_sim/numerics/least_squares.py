"""Least squares, many regressions at once: normal equations over (replicate, column, column).

Regressions are solved through their Gram matrices, so that cost does not grow with the number of
families. Columns should come centred or on like scales (`standardise`), since a Gram matrix squares the
condition number. Collinear columns are not an error: the generalised inverse drops their null space, and
`estimable` says of which coefficients the data still speak.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from design_sim.arrays import Batch, Bools, Floats

_NULL = 1e-11
"""Eigenvalues of a Gram matrix below this share of the largest count as zero."""
_CONSTANT = 1e-20
"""A column whose variance is below this share of its mean square is constant."""


@dataclass(frozen=True, slots=True)
class NormalEquations(Batch):
    """The solved normal equations of a batch of regressions.

    Parameters
    ----------
    inverse : float array, (replicate, column, column)
        Generalised inverse of the Gram matrix.
    root : float array, (replicate, column, direction)
        A root of it, `inverse = root @ root.T`; directions of the null space are 0.
    rank : float array, (replicate,)
        Number of coefficients that can be told apart.
    estimable : bool array, (replicate, column)
        Whether a column can be told from the others.
    """

    inverse: Annotated[Floats, "replicate column column"]
    root: Annotated[Floats, "replicate column column"]
    rank: Annotated[Floats, "replicate"]
    estimable: Annotated[Bools, "replicate column"]

    def coefficients(self, moments: Floats) -> Floats:
        """The coefficients that belong to X'Wy: (replicate, column) to the same."""
        solved: Floats = np.einsum("rij,rj->ri", self.inverse, moments)
        return solved


def solve_normal(gram: Floats) -> NormalEquations:
    """Invert the Gram matrices X'WX of a batch of regressions, whatever their rank.

    Parameters
    ----------
    gram : float array, (replicate, column, column)
        X'WX, symmetric and finite; replicate axis 1 where it does not vary.

    Examples
    --------
    >>> equations = solve_normal(np.array([[[2.0, 0.0, 2.0], [0.0, 1.0, 0.0], [2.0, 0.0, 2.0]]]))
    >>> equations.rank, equations.estimable
    (array([2.]), array([[False,  True, False]]))
    """
    values, vectors = np.linalg.eigh(gram)
    kept = values > _NULL * values[:, -1:]
    root = vectors * (kept / np.sqrt(np.where(kept, values, 1.0)))[:, np.newaxis, :]
    spoken_for = np.einsum("rij,rj->ri", vectors**2, kept.astype(float))
    return NormalEquations(
        inverse=root @ root.swapaxes(1, 2),
        root=root,
        rank=kept.sum(axis=1).astype(float),
        estimable=spoken_for > 1 - 1e-6,
    )


def standardise(values: Floats, weights: Floats) -> Floats:
    """A regressor with weighted mean 0 and variance 1, or 0 throughout where it is constant.

    With an intercept in the model this changes no other coefficient than the intercept and its own.

    Parameters
    ----------
    values, weights : float arrays, (replicate, row)
        The regressor, and weights not below 0.
    """
    share = weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    mean = np.einsum("rg,rg->r", share, values)[:, np.newaxis]
    scaled: Floats = values - mean
    variance = np.einsum("rg,rg,rg->r", share, scaled, scaled)[:, np.newaxis]
    varies = variance > _CONSTANT * (variance + mean**2)
    scaled *= varies / np.sqrt(np.where(varies, variance, 1.0))
    return scaled


def scale_of(values: Floats, weights: Floats) -> Floats:
    """The weighted standard deviation that `standardise` divides a regressor by, (replicate,).

    Parameters
    ----------
    values, weights : float arrays, (replicate, row)
        The regressor, and weights not below 0.
    """
    share = weights / weights.sum(axis=1, keepdims=True)
    mean = (share * values).sum(axis=1, keepdims=True)
    scale: Floats = np.sqrt((share * (values - mean) ** 2).sum(axis=1))
    return scale


def cluster_grams(columns: Sequence[Floats], weights: Floats, pool: Callable[[Floats], Floats]) -> Floats:
    """Every cluster's own X'WX: (replicate, cluster, column, column).

    Parameters
    ----------
    columns : sequence of float arrays, (replicate, row)
        The regressors; each with a replicate axis of 1 where it does not vary.
    weights : float array, (replicate, row)
        Weight of each row.
    pool : callable
        Sums over the rows of every cluster, (replicate, row) to (replicate, cluster).
    """
    weighted = [weights * column for column in columns]
    pairs = [(i, j, pool(weighted[i] * columns[j])) for i in range(len(columns)) for j in range(i + 1)]
    n_replicates = max(product.shape[0] for _, _, product in pairs)
    grams = np.empty((n_replicates, pairs[0][2].shape[1], len(columns), len(columns)))
    for i, j, product in pairs:
        grams[:, :, i, j] = product
        grams[:, :, j, i] = product
    return grams


def cluster_moments(
    columns: Sequence[Floats], weighted_outcome: Floats, pool: Callable[[Floats], Floats]
) -> Floats:
    """Every cluster's own X'Wy: (replicate, cluster, column).

    Parameters
    ----------
    columns : sequence of float arrays, (replicate, row)
        The regressors.
    weighted_outcome : float array, (replicate, row)
        Weight times outcome.
    pool : callable
        Sums over the rows of every cluster.
    """
    return np.stack([pool(column * weighted_outcome) for column in columns], axis=2)
