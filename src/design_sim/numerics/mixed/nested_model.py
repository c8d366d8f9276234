"""What goes into a mixed model with nested random intercepts, and what comes out.

Observations lie in leaves, leaves in units, and those in authorities. A leaf is what its observations share
of the random effects: a worker, say, or an authority at an occasion.
"""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.numerics.mixed.intercept_model import ClusterMoments

_CONSTANT = 1e-12
"""A regressor whose range within authorities is a smaller share of its size is constant there."""


@dataclass(frozen=True, slots=True)
class LeafMoments(Batch):
    """The data of a model whose random intercepts are nested.

    Regressors come in two groups, those that are constant in every authority, the intercept's ones first,
    and those that are not; columns are numbered in this order.

    Parameters
    ----------
    n : float array, (replicate, leaf)
        Observations. Replicate axis 1 where fixed.
    mean : float array, (replicate, leaf)
        Mean outcome; 0 where n = 0.
    within : float array, (replicate,)
        Sum of squared deviations of outcomes from their leaf's mean, over all leaves.
    constant : float array, (replicate, authority, column)
        Regressors that are constant in authorities. Replicate axis 1 where fixed.
    varying : float array, (replicate, leaf, column)
        Means in the leaves of regressors that are not. Replicate axis 1 where fixed.
    within_squares : float array, (replicate, column, column)
        Cross-products of the varying regressors' deviations from their leaf means.
    within_products : float array, (replicate, column)
        Cross-products of those deviations with the outcome.
    parents : tuple of int arrays
        The unit that every leaf belongs to, then the unit of the next level that every such unit belongs
        to, and so on to the authorities; numbered from 0, the members of a unit lying together.
    effect : int
        The column asked about.
    """

    n: Annotated[Floats, "replicate leaf"]
    mean: Annotated[Floats, "replicate leaf"]
    within: Annotated[Floats, "replicate"]
    constant: Annotated[Floats, "replicate authority column"]
    varying: Annotated[Floats, "replicate leaf other"]
    within_squares: Annotated[Floats, "replicate other other"]
    within_products: Annotated[Floats, "replicate other"]
    parents: tuple[Ints, ...]
    effect: int

    @classmethod
    def of(cls, moments: ClusterMoments, parents: tuple[Ints, ...]) -> "LeafMoments":
        """Tell regressors that are constant in authorities from others.

        The clusters are the leaves, with their outcomes centred.
        """
        authority = parents[0]
        for parent in parents[1:]:
            authority = parent[authority]
        regressors, last = moments.regressors, moments.regressors.shape[2] - 1
        values, constant = _by_authority(regressors, moments.n > 0, authority)
        constant &= ~np.einsum("rkk->rk", moments.within_squares).any(axis=0)
        varies = np.flatnonzero(~constant)
        return cls(
            n=moments.n,
            mean=moments.mean,
            within=moments.within,
            constant=values[:, :, constant],
            varying=regressors[:, :, varies],
            within_squares=moments.within_squares[:, varies[:, np.newaxis], varies],
            within_products=moments.within_products[:, varies],
            parents=parents,
            effect=int(constant.sum()) - 1 if constant[last] else last,
        )

    @property
    def n_replicates(self) -> int:
        """Number of replicates."""
        return int(self.mean.shape[0])

    @property
    def n_regressors(self) -> int:
        """Number of regressors, the intercept included."""
        return int(self.constant.shape[2] + self.varying.shape[2])

    @property
    def n_ratios(self) -> int:
        """Number of variance ratios: of leaves, of the units above, and so on to authorities."""
        return len(self.parents) + 1

    def of_replicates(self, which: slice) -> "LeafMoments":
        """Those of some replicates."""
        parts = ("n", "mean", "within", "constant", "varying", "within_squares", "within_products")
        arrays = {part: getattr(self, part) for part in parts}
        return replace(self, **{part: x[which] for part, x in arrays.items() if x.shape[0] > 1})


def _by_authority(regressors: Floats, seen: Bools, authority: Ints) -> tuple[Floats, Bools]:
    """Regressors' values in authorities, 0 where nobody was observed; which of them are constant there."""
    starts = np.flatnonzero(np.diff(authority, prepend=-1))
    there = seen[:, :, np.newaxis]
    high = np.maximum.reduceat(np.where(there, regressors, -np.inf), starts, axis=1)
    low = np.minimum.reduceat(np.where(there, regressors, np.inf), starts, axis=1)
    known = np.isfinite(high)
    spread = np.where(known, high - np.where(known, low, 0.0), 0.0).max(axis=(0, 1))
    constant: Bools = spread <= _CONSTANT * np.abs(regressors).max(axis=(0, 1))
    return np.where(known, high, 0.0), constant


@dataclass(frozen=True, slots=True)
class MixedFits(Batch):
    """The fits, one entry for each replicate; numbers of a failed one mean nothing.

    Parameters
    ----------
    estimate, std_error, df : float arrays, (replicate,)
        The coefficient of the last regressor, its standard error and degrees of freedom.
    ratios : float array, (replicate, ratio)
        Variances of the random effects over that of the residual: of leaves first, of authorities last.
    residual : float array, (replicate,)
        Residual variance.
    criterion : float array, (replicate,)
        Minus twice the REML log-likelihood, as lme4 counts it.
    verdict : int array, (replicate,)
        A `Verdict`; `BOUNDARY` where a ratio is 0.
    """

    estimate: Annotated[Floats, "replicate"]
    std_error: Annotated[Floats, "replicate"]
    df: Annotated[Floats, "replicate"]
    ratios: Annotated[Floats, "replicate ratio"]
    residual: Annotated[Floats, "replicate"]
    criterion: Annotated[Floats, "replicate"]
    verdict: Annotated[Ints, "replicate"]
