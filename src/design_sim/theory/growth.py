"""Growth models: families followed over time in clusters, compared in the slope of their outcome.

A family has its own random intercept and slope, with covariance G, and shares its cluster's, with covariance
H. With Z = (1, t) over the occasions that it is seen on, and s^2 the variance around its line, its estimates
of both have precision M = Z' (Z G Z' + s^2 I)^-1 Z, and its cluster has the information
(sum M) (I + H sum M)^-1. The variance follows from these two-by-two matrices, whatever the sizes of clusters
and whoever drops out.

Satterthwaite's degrees of freedom are those of the mixed model with unstructured G and H fitted by restricted
maximum likelihood, from the expected information: what `lmerTest` would find on average.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from design_sim.arrays import Floats, Ints
from design_sim.theory.ranges import require_above, require_at_least, require_covariance, require_inside


@dataclass(frozen=True, slots=True)
class GrowthModel:
    """Occasions and variances of a growth model with families in clusters.

    Attributes
    ----------
    times : float array, (occasion,)
        Time of each occasion, rising.
    family : float array, (2, 2)
        Covariance G of a family's intercept and slope around its cluster's; the intercept is at time 0.
    cluster : float array, (2, 2)
        Covariance H of a cluster's; 0 throughout where families are not clustered.
    residual : float
        Variance around a family's own line, above 0.
    """

    times: Floats
    family: Floats
    cluster: Floats
    residual: float

    def __post_init__(self) -> None:
        """Refuse what is no growth model."""
        require_covariance("family", self.family)
        require_covariance("cluster", self.cluster)
        require_above("residual", self.residual, 0)
        if self.family.shape != (2, 2) or self.cluster.shape != (2, 2):
            raise ValueError("family and cluster must be covariances of an intercept and a slope, (2, 2)")
        if self.times.ndim != 1 or self.times.size < 2 or not (np.diff(self.times) > 0).all():
            raise ValueError(f"times must rise over two occasions or more: {self.times}")


@dataclass(frozen=True, slots=True)
class GrowthArm:
    """One arm of a trial: who is followed for how long.

    Attributes
    ----------
    last_seen : int array, (cluster, occasion)
        Families of each cluster that are last seen on an occasion: all in the last column if nobody drops
        out, as from `followed_families`.
    clustered : bool
        Whether the arm's clusters have effects of their own. Without (in a partially nested trial) it does
        not matter how families are divided among them.
    """

    last_seen: Ints
    clustered: bool = True

    def __post_init__(self) -> None:
        """Refuse counts that are none."""
        if self.last_seen.ndim != 2 or not (self.last_seen >= 0).all() or not self.last_seen.any():
            raise ValueError("last_seen must hold numbers of families, (cluster, occasion), not all 0")


def followed_families(cluster_sizes: Sequence[int], retention: Floats) -> Ints:
    """Occasion on which the families of each cluster are last seen, dropout being spread evenly.

    Parameters
    ----------
    cluster_sizes : sequence of int
        Families enrolled in each cluster.
    retention : float array, (occasion,)
        Share of the arm's families still followed on each occasion: 1 at first, and never rising. Numbers
        are rounded for the arm as a whole, and drawn from clusters in turn.

    Returns
    -------
    int array, (cluster, occasion)

    Examples
    --------
    >>> followed_families([3, 3], np.array([1.0, 0.67, 0.5]))
    array([[1, 1, 1],
           [1, 0, 2]])
    """
    sizes = np.asarray(cluster_sizes)
    require_at_least("cluster_sizes", sizes, 1)
    if retention[0] != 1 or (np.diff(retention) > 0).any() or not (retention >= 0).all():
        raise ValueError(f"retention must begin at 1 and never rise: {retention}")
    still = np.rint(retention * sizes.sum()).astype(int)
    # One place for each family, by rank within its cluster, so that neighbours are of different clusters.
    rank = np.concatenate([(np.arange(size) + 0.5) / size for size in sizes])
    cluster = np.repeat(np.arange(sizes.size), sizes)[np.argsort(rank, kind="stable")]
    last = (np.arange(cluster.size)[:, np.newaxis] >= cluster.size - still).sum(axis=1) - 1
    counts = np.zeros((sizes.size, retention.size), dtype=int)
    np.add.at(counts, (cluster, last), 1)
    return counts


def weibull_retention(times: Floats, dropout: float, shape: float = 1.0) -> Floats:
    """Share still followed on each occasion, with dropout at a rate that is constant or changes steadily.

    (1 - dropout)^((t / last t)^shape): a shape of 1 is a constant rate, above 1 a rising one.

    Parameters
    ----------
    times : float array, (occasion,)
        From 0, rising.
    dropout : float
        Share lost by the last occasion, below 1.
    shape : float
        Above 0.

    References
    ----------
    Galbraith and Marschner (2002), Controlled Clinical Trials 23, 257-273.
    """
    require_at_least("dropout", dropout, 0)
    require_inside("dropout", dropout, -1, 1)
    require_above("shape", shape, 0)
    return np.asarray((1 - dropout) ** ((times / times[-1]) ** shape))


def slope_difference_variance(
    model: GrowthModel, treated: GrowthArm, comparison: GrowthArm, *, same_baseline: bool = False
) -> float:
    """Variance of the difference between arms in the mean slope, by generalised least squares.

    Parameters
    ----------
    model : GrowthModel
        Occasions and variances, taken as known.
    treated, comparison : GrowthArm
        Who is followed for how long.
    same_baseline : bool
        Whether both arms are given one mean at time 0, as randomisation makes true where it is before the
        start; otherwise each has its own.

    References
    ----------
    Raudenbush and Liu (2001), Psychological Methods 6, 387-401; Heo and Leon (2009), Statistics in Medicine
    28, 1017-1027, for three levels; Liang and Zeger (2000), Sankhya B 62, 134-148, for the same baseline.

    Examples
    --------
    >>> flat = np.zeros((2, 2))
    >>> model = GrowthModel(np.arange(11.0), np.diag([100.0, 2.0]), flat, residual=100.0)
    >>> arm = GrowthArm(followed_families([40], np.ones(11)))
    >>> round(slope_difference_variance(model, arm, arm) ** 0.5, 3)
    0.381
    """
    first, second = (_arm_information(model, arm) for arm in (comparison, treated))
    if not same_baseline:
        return float(_inverse(first)[1, 1] + _inverse(second)[1, 1])
    # Parameters: the common intercept, the comparison arm's slope and the treated arm's.
    into_first, into_second = np.eye(3)[[0, 1]], np.eye(3)[[0, 2]]
    variance = _inverse(into_first.T @ first @ into_first + into_second.T @ second @ into_second)
    contrast = np.array([0.0, -1.0, 1.0])
    return float(contrast @ variance @ contrast)


def between_degrees_of_freedom(model: GrowthModel, treated: GrowthArm, comparison: GrowthArm) -> float:
    """Degrees of freedom counted in units: clusters less two, or families less two without clusters.

    With clusters in the treated arm only, the number of them less one, which is too few: the comparison
    arm's families help to estimate the variance too.
    """
    arms = (treated, comparison)
    if not model.cluster.any() or not any(arm.clustered for arm in arms):
        return float(sum(arm.last_seen.sum() for arm in arms) - 2)
    n_clusters = [np.count_nonzero(arm.last_seen.sum(axis=1)) for arm in arms if arm.clustered]
    return float(n_clusters[0] - 1 if len(n_clusters) == 1 else sum(n_clusters) - 2)


def satterthwaite_degrees_of_freedom(model: GrowthModel, treated: GrowthArm, comparison: GrowthArm) -> float:
    """Satterthwaite's degrees of freedom of the difference in slopes, each arm with its own baseline.

    2 v^2 / (g' A^-1 g): v is the variance of the difference, g its gradient in the variance parameters, and A
    their expected restricted information, A_rs = tr(P V_r P V_s) / 2. The parameters are the residual
    variance and the unstructured covariances of families and, where there are any, of clusters.

    References
    ----------
    Giesbrecht and Burns (1985), Biometrics 41, 477-486; Kuznetsova, Brockhoff and Christensen (2017), Journal
    of Statistical Software 82 (13).
    """
    with_clusters = bool(model.cluster.any()) and (treated.clustered or comparison.clustered)
    # The arms share no family and no fixed effect, so that their information adds up.
    first, second = (_arm_pieces(model, arm, with_clusters) for arm in (comparison, treated))
    variance = first.slope_variance + second.slope_variance
    gradient = first.gradient + second.gradient
    information = first.information + second.information
    diagonal = np.diag(information)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1))
    if np.linalg.eigvalsh(information / np.outer(scale, scale))[0] < 1e-10:
        raise ValueError("too few occasions or clusters to estimate every variance from")
    return float(2 * variance**2 / (gradient @ np.linalg.solve(information, gradient)))


class _ArmPieces(NamedTuple):
    """What an arm adds to Satterthwaite's degrees of freedom."""

    slope_variance: float
    gradient: Floats
    information: Floats


_SYMMETRIC = (np.diag([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]]), np.diag([0.0, 1.0]))
"""Derivatives of a covariance in its intercept's variance, its covariance and its slope's variance."""


def _arm_pieces(model: GrowthModel, arm: GrowthArm, with_clusters: bool) -> _ArmPieces:
    """Variance of an arm's slope, its gradient and the expected restricted information, (parameter, ...)."""
    clustered = with_clusters and arm.clustered
    # Unclustered families are blocks of their own, one for each occasion of being last seen.
    rows = arm.last_seen if clustered else np.diag(np.minimum(arm.last_seen.sum(axis=0), 1))
    blocks, repeats = np.unique(rows[rows.any(axis=1)], axis=0, return_counts=True)
    if not clustered:
        repeats = (blocks @ arm.last_seen.sum(axis=0)).astype(int)
    p = 7 if with_clusters else 4
    fixed, traces = np.zeros((2, 2)), np.zeros((p, p))
    once, twice = np.zeros((p, 2, 2)), np.zeros((p, p, 2, 2))
    for block, repeat in zip(blocks, repeats, strict=True):
        regressors, covariance, slopes = _block(model, block, clustered, p)
        weights = np.linalg.inv(covariance)
        projected = weights @ regressors
        weighted = weights @ slopes
        fixed += repeat * regressors.T @ projected
        traces += repeat * np.einsum("rij,sji->rs", weighted, weighted)
        moved = slopes @ projected
        once += repeat * projected.T @ moved
        twice += repeat * np.einsum("rif,ij,sjg->rsfg", moved, weights, moved, optimize=True)
    variances = _inverse(fixed)
    spread = variances @ once
    information = traces - 2 * np.einsum("fg,rsgf->rs", variances, twice)
    information += np.einsum("rfg,sgf->rs", spread, spread)
    return _ArmPieces(float(variances[1, 1]), (spread @ variances)[:, 1, 1], information / 2)


def _block(
    model: GrowthModel, last_seen: Ints, clustered: bool, n_parameters: int
) -> tuple[Floats, Floats, Floats]:
    """Regressors, covariance and its derivatives of the outcomes of families that may be correlated."""
    n_seen = np.repeat(np.arange(last_seen.size), last_seen) + 1
    family = np.repeat(np.arange(n_seen.size), n_seen)
    time = np.concatenate([model.times[:n] for n in n_seen])
    regressors = np.column_stack([np.ones(time.size), time])
    outer = [regressors @ each @ regressors.T for each in _SYMMETRIC]
    same = family[:, np.newaxis] == family
    slopes = [each * same for each in outer]
    if n_parameters == 7:
        slopes += [each * clustered for each in outer]
    slopes.append(np.eye(time.size))
    values = [model.family[0, 0], model.family[0, 1], model.family[1, 1]]
    if n_parameters == 7:
        values += [model.cluster[0, 0], model.cluster[0, 1], model.cluster[1, 1]]
    stacked = np.stack(slopes)
    return regressors, np.tensordot([*values, model.residual], stacked, axes=1), stacked


def _arm_information(model: GrowthModel, arm: GrowthArm) -> Floats:
    """Information on the mean intercept and slope of an arm, (2, 2)."""
    each = np.empty((model.times.size, 2, 2))
    for n in range(1, model.times.size + 1):
        seen = np.column_stack([np.ones(n), model.times[:n]])
        covariance = seen @ model.family @ seen.T + model.residual * np.eye(n)
        each[n - 1] = seen.T @ np.linalg.solve(covariance, seen)
    if arm.last_seen.shape[1] != model.times.size:
        raise ValueError(f"last_seen has {arm.last_seen.shape[1]} occasions, the model {model.times.size}")
    precision = np.tensordot(arm.last_seen.astype(float), each, axes=1)
    if not arm.clustered:
        return np.asarray(precision.sum(axis=0))
    return np.asarray((precision @ np.linalg.inv(np.eye(2) + model.cluster @ precision)).sum(axis=0))


def _inverse(information: Floats) -> Floats:
    """Inverse of an information matrix, refused where slopes cannot be told."""
    if np.linalg.matrix_rank(information, hermitian=True) < information.shape[0]:
        raise ValueError("nobody is seen on two occasions in an arm: there is no slope")
    return np.asarray(np.linalg.inv(information))
