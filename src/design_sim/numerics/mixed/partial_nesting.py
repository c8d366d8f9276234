"""Many partially nested models at once: clusters in the treated arm, independent observations in the other.

y = X beta + (intercept of the cluster, in the treated arm only) + e, with one residual variance for both arms
or one for either. Given the variances' ratios to the treated arm's residual variance everything else has a
closed form: with r the ratio of clusters and q that of the comparison arm's residual variance, the
cross-products of regressors and outcome weighted by V^-1 are

    within treated clusters + sum over clusters of n / (1 + r n) x those of their means + comparison / q,

and log|V| is the sum of log(1 + r n) plus log q for every comparison observation. All variances enter V
linearly, so that both ways of `effect_test` to judge a coefficient hold without a change.

Decision: both models are searched by `search_ratios`, from one start as lme4 does. Against a grid of starts
the optimum is the global one in trials of eight clusters of six; in up to three hundredths of trials of ten
observations with covariates it is a local one.

Unadjusted, clusters of one size and r > 0: the arms' means, and the unequal-variance t test of Welch on
cluster means against single observations, its df included.

Source: Roberts and Roberts (2005), Clinical Trials 2, 152-162; Moerbeek and Wong (2008), Statistics in
Medicine 27, 2850-2864; Patterson and Thompson (1971), Biometrika 58, 545-554 (REML).
"""

from dataclasses import dataclass, replace

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.numerics.mixed.coordinates import FARTHEST, Coordinates, Logarithms
from design_sim.numerics.mixed.cross_products import pairs, within_pairs
from design_sim.numerics.mixed.effect_test import Local, SmallSample
from design_sim.numerics.mixed.fitting import fit_profile
from design_sim.numerics.mixed.intercept_model import ClusterMoments, Verdict
from design_sim.numerics.mixed.nested_model import MixedFits
from design_sim.numerics.mixed.products import Products, Solved

_ORIGIN = np.array([[1.0], [0.0]])
"""exp of the coordinate where a ratio is 0: of clusters, and of the comparison arm."""


def fit_partially_nested(
    treated: ClusterMoments,
    comparison: ClusterMoments,
    effect: int,
    small_sample: SmallSample = "satterthwaite",
    *,
    by_arm: bool,
) -> MixedFits:
    """Fit the model to every replicate by REML.

    Parameters
    ----------
    treated : ClusterMoments
        The treated arm by cluster.
    comparison : ClusterMoments
        The comparison arm as one cluster, with the same regressors.
    effect : int
        The regressor asked about.
    small_sample : {"satterthwaite", "kenward_roger"}
        How standard error and degrees of freedom allow for few units. At the boundary, clusters being
        alike, Satterthwaite's df are those of the model without them; Kenward and Roger's are not.
    by_arm : bool
        Whether either arm has a residual variance of its own.

    Returns
    -------
    MixedFits
        `residual` is that of the treated arm; ratios to it are those of the variance between clusters and,
        by arm, of the comparison arm's residual variance. `TOO_FEW` with fewer than two treated clusters, or
        where an arm has nothing to estimate one of its variances from.

    Examples
    --------
    Two clusters of two against three: cluster means 1 and 3, comparison mean 0.

    >>> treated = ClusterMoments(
    ...     n=np.full((1, 2), 2.0), mean=np.array([[1.0, 3.0]]), within=np.array([1.0]),
    ...     regressors=np.ones((1, 2, 2)),
    ...     within_squares=np.zeros((1, 2, 2)), within_products=np.zeros((1, 2)))
    >>> comparison = ClusterMoments(
    ...     n=np.full((1, 1), 3.0), mean=np.array([[0.0]]), within=np.array([2.0]),
    ...     regressors=np.array([[[1.0, 0.0]]]),
    ...     within_squares=np.zeros((1, 2, 2)), within_products=np.zeros((1, 2)))
    >>> fits = fit_partially_nested(treated, comparison, effect=1, by_arm=True)
    >>> [float(x[0].round(6)) for x in (fits.estimate, fits.std_error**2, fits.df, fits.residual)]
    [2.0, 1.333333, 1.684211, 0.5]
    """
    with np.errstate(all="ignore"):
        verdict = _countable(treated, comparison, by_arm=by_arm)
        level = np.where(comparison.n > 0, comparison.mean, 0.0)
        treated, comparison = (
            replace(arm, mean=np.where(arm.n > 0, arm.mean - level, 0.0)) for arm in (treated, comparison)
        )
        profile = PartialNesting.of(treated, comparison, by_arm=by_arm)
        return fit_profile(profile, effect, verdict, small_sample)


def _countable(treated: ClusterMoments, comparison: ClusterMoments, *, by_arm: bool) -> Ints:
    """Which replicates have units to estimate every variance from, and variation to estimate."""
    clusters, families = (treated.n > 0).sum(axis=1), treated.n.sum(axis=1)
    others = comparison.n[:, 0]
    few = (clusters < 2) | (others < 1)
    flat: Bools = treated.flat() & comparison.flat()
    if by_arm:
        few = few | (families <= clusters) | (others < 2)
        flat = treated.flat() | comparison.flat()
    verdict = np.where(few, Verdict.TOO_FEW, np.where(flat, Verdict.NO_VARIATION, Verdict.FITTED))
    return np.broadcast_to(verdict, treated.mean.shape[:1]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ArmLogarithms:
    """log(1 + scale x ratio) for the variance between clusters, log ratio for that of the comparison arm.

    Parameters
    ----------
    scale : float array, (ratio, replicate)
        Observations in a treated cluster, roughly, and 1.
    """

    scale: Floats

    @property
    def prior(self) -> Floats:
        """Ratios of a moderate size."""
        return 1 / self.scale

    @property
    def bounded(self) -> Bools:
        """The variance between clusters alone may be 0."""
        return np.array([[True], [False]])

    def of_replicates(self, which: Ints | slice) -> "ArmLogarithms":
        """Those of some replicates."""
        return ArmLogarithms(self.scale[:, which])

    def points(self, ratio: Floats) -> Floats:
        """The point nearest to ratios that may be out of range; any for a residual variance below 0."""
        inside = np.where(ratio > 0, ratio, 1.0 - _ORIGIN)
        return np.clip(np.log(_ORIGIN + self.scale * inside), -FARTHEST / 2, FARTHEST / 2)

    def ratios(self, point: Floats) -> Floats:
        """The ratios at a point."""
        return np.stack([np.expm1(point[0]), np.exp(point[1])]) / self.scale

    def pull(self, function: Local, point: Floats) -> Local:
        """A function of the ratios as one of the coordinates, with its derivatives."""
        return Logarithms(self.scale).pull(function, point)

    def singular(self, point: Floats) -> Bools:
        """Whether clusters do not differ, (replicate,)."""
        singular: Bools = point[0] == 0
        return singular


@dataclass(frozen=True, slots=True)
class PartialNesting:
    """The model with everything but its variance ratios solved for.

    Parameters
    ----------
    df : float array, (replicate,)
        Observations less regressors.
    coordinates : Coordinates
        Where its ratios are searched.
    n : float array, (replicate, cluster)
        Observations in treated clusters.
    between, within, comparison : float arrays, (replicate, cluster, pair) and twice (replicate, pair)
        Cross-products of the clusters' means, within clusters, and of the comparison arm.
    n_comparison : float array, (replicate,)
        Observations in the comparison arm.
    """

    df: Floats
    coordinates: Coordinates
    n: Floats
    between: Floats
    within: Floats
    comparison: Floats
    n_comparison: Floats

    @classmethod
    def of(cls, treated: ClusterMoments, comparison: ClusterMoments, *, by_arm: bool) -> "PartialNesting":
        """Collect the cross-products of every replicate."""
        between, within = pairs(treated), within_pairs(treated)
        n = np.broadcast_to(treated.n, between.shape[:2])
        others = np.broadcast_to(comparison.n[:, 0], n.shape[:1])
        scale = n.sum(axis=1) / np.maximum((n > 0).sum(axis=1), 1)
        scales = np.stack([scale, np.ones_like(scale)])
        return cls(
            df=n.sum(axis=1) + others - treated.regressors.shape[2],
            coordinates=ArmLogarithms(scales) if by_arm else Logarithms(scales[:1]),
            n=n,
            between=between,
            within=within,
            comparison=within_pairs(comparison) + others[:, np.newaxis] * pairs(comparison)[:, 0],
            n_comparison=others,
        )

    def at(self, ratio: Floats, which: Ints | slice) -> Solved:
        """The model at ratios, (ratio, replicate), of the replicates `which`."""
        n, others = self.n[which], self.comparison[which]
        weight = n / (1 + ratio[0][:, np.newaxis] * n)
        squared = weight**2
        products = np.stack([weight, -squared, 2 * squared * weight], axis=1) @ self.between[which]
        products[:, 0] += self.within[which]
        size, n_ratios = int(np.sqrt(2 * others.shape[1])), ratio.shape[0]
        log_det = Local(
            np.log1p(ratio[0][:, np.newaxis] * n).sum(axis=1),
            np.zeros_like(ratio),
            np.zeros((n_ratios, *ratio.shape)),
        )
        log_det.gradient[0], log_det.hessian[0, 0] = weight.sum(axis=1), -squared.sum(axis=1)
        slopes = np.zeros((n_ratios, size, size, ratio.shape[1]))
        curves = np.zeros((n_ratios, *slopes.shape))
        slopes[0], curves[0, 0] = _square(products[:, 1]), _square(products[:, 2])
        inverse = np.ones(ratio.shape[1])
        if n_ratios > 1:
            inverse, count = 1 / ratio[1], self.n_comparison[which]
            log_det = log_det._replace(value=log_det.value + count * np.log(ratio[1]))
            log_det.gradient[1], log_det.hessian[1, 1] = count * inverse, -count * inverse**2
            slopes[1] = -_square(others) * inverse**2
            curves[1, 1] = 2 * _square(others) * inverse**3
        value = _square(products[:, 0]) + _square(others) * inverse
        return Solved.of(Products(value, slopes, curves, log_det))


def _square(products: Floats) -> Floats:
    """Symmetric matrices, (column, column, replicate), from their upper triangles, (replicate, pair)."""
    size = int(np.sqrt(2 * products.shape[1]))
    place = np.empty((size, size), dtype=np.int64)
    rows, columns = np.triu_indices(size)
    place[rows, columns] = place[columns, rows] = np.arange(rows.size)
    return np.moveaxis(products[:, place], 0, 2)
