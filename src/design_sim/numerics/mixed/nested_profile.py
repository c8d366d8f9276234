"""A nested mixed model with everything but its variance ratios solved for, whatever its leaves hold."""

from dataclasses import dataclass

import numpy as np

from design_sim.arrays import Floats, Ints
from design_sim.numerics.mixed.effect_test import Local
from design_sim.numerics.mixed.members import pooled, starts_of
from design_sim.numerics.mixed.nested_model import LeafMoments
from design_sim.numerics.mixed.nested_products import Leaves
from design_sim.numerics.mixed.products import Solved


@dataclass(frozen=True, slots=True)
class NestedProfile:
    """The data of every replicate, collected by the units above the leaves."""

    df: Floats
    """Observations less regressors, (replicate,)."""
    scale: Floats
    """Observations in an average unit of each level, (ratio, replicate)."""
    leaves: Leaves
    above: tuple[Ints, ...]
    """The parents of the units above the leaves, level by level."""
    constant: Floats
    """Regressors constant in authorities, (column, replicate or 1, authority)."""
    within: Floats
    """Cross-products within leaves of varying regressors and outcome, (column, column, replicate)."""

    @classmethod
    def of(cls, moments: LeafMoments) -> "NestedProfile":
        """Collect what the model reads of the data."""
        n, n_replicates = moments.n, moments.n_replicates
        n_varying = moments.varying.shape[2]
        columns = np.ones((n_varying + 2, n_replicates, n.shape[1]))
        columns[1:-1] = np.moveaxis(moments.varying, 2, 0)
        columns[-1] = np.where(n > 0, moments.mean, 0.0) if (n == 0).any() else moments.mean
        within = np.zeros((n_varying + 1, n_varying + 1, n_replicates))
        within[:-1, :-1] = np.moveaxis(moments.within_squares, 0, 2)
        within[:-1, -1] = within[-1, :-1] = moments.within_products.T
        within[-1, -1] = moments.within
        observations = np.broadcast_to(n.sum(axis=1), n_replicates)
        return cls(
            df=observations - moments.n_regressors,
            scale=observations / observed(n, moments.parents),
            leaves=Leaves.of(n, columns, moments.parents[0]),
            above=moments.parents[1:],
            constant=np.moveaxis(moments.constant, 2, 0),
            within=within,
        )

    def at(self, ratio: Floats, which: Ints | slice) -> Solved:
        """The model at ratios, (ratio, replicate), of the replicates `which`."""
        log_det = Local(np.zeros(ratio.shape[1]), np.zeros(ratio.shape), np.zeros((len(ratio), *ratio.shape)))
        units = self.leaves.of_replicates(which).absorb(ratio[0], log_det)
        for level, parent in enumerate(self.above, start=1):
            units = units.absorb(ratio[level], log_det).pool(parent)
        units = units.absorb(ratio[-1], log_det)
        constant = self.constant if self.constant.shape[1] == 1 else self.constant[:, which]
        products = units.total(constant, log_det)
        first = constant.shape[0]
        products.value[first:, first:] += self.within[..., which]
        return Solved.of(products)


def observed(n: Floats, parents: tuple[Ints, ...]) -> Floats:
    """Units of every level in which somebody was observed, at least 1: (ratio, replicate or 1)."""
    counts = [(n > 0).sum(axis=1)]
    for parent in parents:
        n = pooled(n, starts_of(parent))
        counts.append((n > 0).sum(axis=1))
    units: Floats = np.maximum(np.stack(counts), 1).astype(np.float64)
    return units
