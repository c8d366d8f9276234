"""A nested mixed model with everything but its variance ratios solved for, whatever its leaves hold."""

from dataclasses import dataclass

import numpy as np

from design_sim.arrays import Floats, Ints
from design_sim.numerics.mixed.coordinates import Logarithms
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
    coordinates: Logarithms
    """Where its ratios are searched: on the scale of observations in an average unit of each level."""
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
        observations = moments.n.sum(axis=1)
        return cls(
            df=np.broadcast_to(observations - moments.n_regressors, moments.n_replicates),
            coordinates=Logarithms(
                np.broadcast_to(
                    observations / observed(moments.n, moments.parents),
                    (moments.n_ratios, moments.n_replicates),
                )
            ),
            leaves=Leaves.of(moments.n, columns_of(moments), moments.parents[0]),
            above=moments.parents[1:],
            constant=np.moveaxis(moments.constant, 2, 0),
            within=within_of(moments),
        )

    def at(self, ratio: Floats, which: Ints | slice) -> Solved:
        """The model at ratios, (ratio, replicate), of the replicates `which`."""
        log_det = no_log_det(ratio)
        units = self.leaves.of_replicates(which).absorb(ratio[0], log_det)
        for level, parent in enumerate(self.above, start=1):
            units = units.absorb(ratio[level], log_det).pool(parent)
        units = units.absorb(ratio[-1], log_det)
        constant = self.constant if self.constant.shape[1] == 1 else self.constant[:, which]
        products = units.total(constant, log_det)
        first = constant.shape[0]
        products.value[first:, first:] += self.within[..., which]
        return Solved.of(products)


def columns_of(moments: LeafMoments, *extra: Floats) -> Floats:
    """Means in leaves: the intercept's ones, extra columns, varying regressors, outcome.

    (column, replicate, leaf).
    """
    shape = moments.n_replicates, moments.n.shape[1]
    varying = np.moveaxis(moments.varying, 2, 0)
    return np.stack([np.broadcast_to(x, shape) for x in (np.ones((1, 1)), *extra, *varying, moments.mean)])


def within_of(moments: LeafMoments) -> Floats:
    """Cross-products within leaves of varying regressors and outcome, (column, column, replicate)."""
    size = moments.varying.shape[2] + 1
    within = np.zeros((size, size, moments.n_replicates))
    within[:-1, :-1] = np.moveaxis(moments.within_squares, 0, 2)
    within[:-1, -1] = within[-1, :-1] = moments.within_products.T
    within[-1, -1] = moments.within
    return within


def no_log_det(ratio: Floats) -> Local:
    """log|V| before any random effect, to be added to: ratio is (ratio, replicate)."""
    return Local(np.zeros(ratio.shape[1]), np.zeros(ratio.shape), np.zeros((ratio.shape[0], *ratio.shape)))


def observed(n: Floats, parents: tuple[Ints, ...]) -> Floats:
    """Units of every level in which somebody was observed, at least 1: (ratio, replicate or 1)."""
    counts = [(n > 0).sum(axis=1)]
    for parent in parents:
        n = pooled(n, starts_of(parent))
        counts.append((n > 0).sum(axis=1))
    units: Floats = np.maximum(np.stack(counts), 1).astype(np.float64)
    return units
