"""Balanced nested mixed models: orthogonal strata of contrasts, each with one variance.

Where all leaves hold as many observations and all units as many members, V has a few eigenspaces: contrasts
within leaves with variance 1, between the leaves of a unit with 1 + leaf ratio x observations in a leaf, and
so on upwards, variances that may only rise. Cross-products are then taken once by stratum. A regressor that
lies in one stratum alone is swept out there beforehand, whatever the variances.

If all regressors do, generalised least squares is least squares in the effect's stratum, and REML estimates
the strata's variances by their mean squares, those of neighbours pooled where they are out of order.

Source: Nelder (1965), Proceedings of the Royal Society A 283, 147-162 (strata); Thompson (1962), Annals of
Mathematical Statistics 33, 273-289 (pooling).
"""

from dataclasses import dataclass

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.numerics.mixed.coordinates import Logarithms
from design_sim.numerics.mixed.cross_products import ALIASED
from design_sim.numerics.mixed.effect_test import Local, SmallSample
from design_sim.numerics.mixed.intercept_model import Verdict
from design_sim.numerics.mixed.nested_model import LeafMoments, MixedFits
from design_sim.numerics.mixed.products import Products, Solved
from design_sim.numerics.mixed.sweep import swept

_ABSENT = 1e-12
"""A regressor with a smaller share of its squares in a stratum is not in it."""


@dataclass(frozen=True, slots=True)
class Strata:
    """A balanced model by strata, from within leaves up to authorities.

    Parameters
    ----------
    squares : float array, (stratum, column, column, replicate)
        Cross-products of regressors and outcome, those `left` being what the others leave of them.
    sizes : float array, (ratio,)
        Observations in a leaf, in a unit above, and so on.
    dimensions : float array, (stratum,)
        Contrasts, less the regressors swept out.
    home : int array, (regressor,)
        The stratum in which a regressor was swept out, -1 for one that was not.
    log_pivots : float array, (replicate,)
        What the regressors swept out add to log|X'X|.
    singular : bool array, (replicate,)
        Whether one of them is a combination of others.
    effect : int
        The column asked about.
    """

    squares: Floats
    sizes: Floats
    dimensions: Floats
    home: Ints
    log_pivots: Floats
    singular: Bools
    effect: int

    @property
    def left(self) -> Ints:
        """The columns not swept out; the outcome is the last."""
        return np.append(np.flatnonzero(self.home < 0), self.home.size)

    @property
    def df(self) -> Floats:
        """Observations less regressors, (replicate,)."""
        return np.full(self.log_pivots.size, self.dimensions.sum() - self.left.size + 1)

    @property
    def coordinates(self) -> Logarithms:
        """Where its ratios are searched."""
        return Logarithms(np.repeat(self.sizes[:, np.newaxis], self.log_pivots.size, axis=1))

    @property
    def place(self) -> int:
        """Where the effect is among the columns left."""
        return int(np.searchsorted(self.left, self.effect))

    def at(self, ratio: Floats, which: Ints | slice) -> Solved:
        """The model at ratios, (ratio, replicate), of the replicates `which`."""
        rises = np.concatenate([np.ones((1, ratio.shape[1])), self.sizes[:, np.newaxis] * ratio])
        inverse = 1 / rises.cumsum(axis=0)
        squares = self.squares[np.ix_(np.arange(inverse.shape[0]), self.left, self.left)][..., which]
        parts = [squares * (inverse**power)[:, np.newaxis, np.newaxis] for power in (1, 2, 3)]
        counts = [self.dimensions[:, np.newaxis] * inverse**power for power in (1, 2)]
        n_ratios, shape = self.sizes.size, squares.shape[1:3] + ratio.shape[1:]
        slopes, curves = np.empty((n_ratios, *shape)), np.empty((n_ratios, n_ratios, *shape))
        log_det = Local(
            self.log_pivots[which] - self.dimensions @ np.log(inverse),
            np.empty(ratio.shape),
            np.empty((n_ratios, *ratio.shape)),
        )
        for k, size in enumerate(self.sizes):
            # A ratio raises the variances of the strata above its units alone.
            slopes[k] = -size * parts[1][k + 1 :].sum(axis=0)
            log_det.gradient[k] = size * counts[0][k + 1 :].sum(axis=0)
            for other in range(k, n_ratios):
                both = size * self.sizes[other]
                curves[k, other] = curves[other, k] = 2 * both * parts[2][other + 1 :].sum(axis=0)
                bend = -both * counts[1][other + 1 :].sum(axis=0)
                log_det.hessian[k, other] = log_det.hessian[other, k] = bend
        return Solved.of(Products(parts[0].sum(axis=0), slopes, curves, log_det))

    def fit_by_mean_squares(self, small_sample: SmallSample) -> MixedFits:
        """REML where every regressor lies in a stratum of its own, the effect's being `home`.

        The effect's variance is linear in its stratum's, so that Kenward and Roger adjust nothing and count
        that stratum's contrasts, also where it is pooled with others.
        """
        home = int(self.home[self.effect])
        variances = _rising(self.squares[:, -1, -1] / self.dimensions[:, np.newaxis], self.dimensions)
        pooled = variances == variances[home]
        df = self.dimensions @ pooled if small_sample == "satterthwaite" else self.dimensions[home]
        total = self.dimensions.sum()
        log_variances = self.dimensions @ np.log(variances)
        rises = np.diff(variances, axis=0)
        verdict = np.where((rises == 0).any(axis=0), Verdict.BOUNDARY, Verdict.FITTED)
        verdict = np.where(self.singular, Verdict.SINGULAR, verdict)
        verdict = np.where((self.dimensions <= 0).any(), Verdict.TOO_FEW, verdict)
        return MixedFits(
            estimate=self.squares[home, self.effect, -1],
            std_error=np.sqrt(variances[home] * self.squares[home, self.effect, self.effect]),
            df=np.broadcast_to(df, verdict.shape),
            ratios=(rises / self.sizes[:, np.newaxis] / variances[0]).T,
            residual=variances[0],
            criterion=total * (1 + np.log(2 * np.pi)) + log_variances + self.log_pivots,
            verdict=verdict,
        )


def _rising(means: Floats, weights: Floats) -> Floats:
    """Weighted isotonic regression, (stratum, replicate): the least values, pooled, that never fall."""
    totals = np.cumsum(weights[:, np.newaxis] * means, axis=0)
    counts = np.cumsum(weights)
    n = weights.size
    pooled = np.full((n, n, means.shape[1]), -np.inf)
    for first in range(n):
        for last in range(first, n):
            below = (totals[first - 1], counts[first - 1]) if first else (0.0, 0.0)
            pooled[first, last] = (totals[last] - below[0]) / (counts[last] - below[1])
    # The mean from a to b, the least over b not before the place, the largest over a not after it.
    return np.stack(
        [np.max([pooled[a, place:].min(axis=0) for a in range(place + 1)], axis=0) for place in range(n)]
    )


def balanced(moments: LeafMoments) -> bool:
    """Whether leaves hold as many observations, and units of every level as many members."""
    n = moments.n
    if n.shape[0] > 1 or n.min() <= 0 or n.max() > n.min():
        return False
    return all(np.ptp(np.bincount(parent)) == 0 for parent in moments.parents)


def strata_of(moments: LeafMoments) -> Strata:
    """Take a balanced model apart, and sweep out what lies in one stratum alone.

    The effect is swept out only where all regressors are, and last.
    """
    squares, dimensions, sizes = _cross_products(moments)
    effect, diagonal = moments.effect, np.einsum("siir->sir", squares)[:, :-1]
    lies = (diagonal > _ABSENT * diagonal.sum(axis=0)).any(axis=2)
    home = np.where(lies.sum(axis=0) == 1, lies.argmax(axis=0), -1)
    if (home < 0).any():
        home[effect] = -1
    log_pivots, singular = (
        np.zeros(moments.n_replicates),
        np.full(moments.n_replicates, not lies.any(axis=0).all()),
    )
    for stratum in range(dimensions.size):
        gone = np.flatnonzero(home == stratum)
        gone = np.append(gone[gone != effect], gone[gone == effect])
        order = np.append(gone, np.setdiff1d(np.arange(squares.shape[1]), gone))
        at = np.ix_(order, order)
        swept_out, pivots = swept(squares[stratum][at], gone.size)
        squares[stratum][at] = swept_out
        dimensions[stratum] -= gone.size
        log_pivots += np.log(pivots).sum(axis=0)
        singular |= (pivots <= ALIASED * diagonal[stratum, gone]).any(axis=0)
    return Strata(squares, sizes, dimensions, home, log_pivots, singular, effect)


def _cross_products(moments: LeafMoments) -> tuple[Floats, Floats, Floats]:
    """Cross-products by stratum of regressors and outcome, less their means; dimensions; sizes."""
    n_columns, rest = moments.n_regressors + 1, slice(moments.constant.shape[2], None)
    squares = np.zeros((moments.n_ratios + 1, n_columns, n_columns, moments.n_replicates))
    within = squares[0, rest, rest]
    within[:-1, :-1] = np.moveaxis(moments.within_squares, 0, 2)
    within[:-1, -1] = within[-1, :-1] = moments.within_products.T
    within[-1, -1] = moments.within
    columns = [_less_mean(moments.varying), _less_mean(moments.mean[..., np.newaxis])]
    sizes, counts = [moments.n[0, 0]], [moments.n.size * moments.n[0, 0], moments.n.size]
    for stratum, parent in enumerate(moments.parents, start=1):
        shape = parent[-1] + 1, parent.size // (parent[-1] + 1)
        members = [column.reshape(*column.shape[:2], *shape) for column in columns]
        means = [each.mean(axis=3) for each in members]
        deviations = [
            (each - mean[..., np.newaxis]).reshape(column.shape)
            for each, mean, column in zip(members, means, columns, strict=True)
        ]
        squares[stratum, rest, rest] = sizes[-1] * _crossed(deviations)
        columns = means
        sizes.append(sizes[-1] * shape[1])
        counts.append(shape[0])
    ones = np.ones((1, 1, counts[-1]))
    squares[-1] = sizes[-1] * _crossed([ones, _less_mean(moments.constant[..., 1:]), *columns])
    dimensions = np.array([*(-np.diff(counts)), counts[-1]], dtype=np.float64)
    return squares, dimensions, np.array(sizes)


def _less_mean(columns: Floats) -> Floats:
    """Columns less their means over units: (replicate, unit, column) to (column, replicate, unit)."""
    ordered = np.moveaxis(columns, 2, 0)
    centred: Floats = ordered - ordered.mean(axis=2, keepdims=True)
    return centred


def _crossed(groups: list[Floats]) -> Floats:
    """Cross-products over units of columns (column, replicate or 1, unit): (column, column, replicate)."""
    n_replicates = max(group.shape[1] for group in groups)
    rows = []
    for first in groups:
        blocks = [_product(first, second) for second in groups]
        rows.append(
            np.concatenate([np.broadcast_to(b, (*b.shape[:2], n_replicates)) for b in blocks], axis=1)
        )
    return np.concatenate(rows)


def _product(first: Floats, second: Floats) -> Floats:
    """The same of two groups, either of which may be the same in all replicates."""
    if second.shape[1] == 1 and first.shape[1] > 1:
        return _product(second, first).swapaxes(0, 1)
    if first.shape[1] == 1:
        return np.moveaxis(second @ first[:, 0].T, 2, 0)
    product: Floats = np.einsum("iru,jru->ijr", first, second)
    return product
