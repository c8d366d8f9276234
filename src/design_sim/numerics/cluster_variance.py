"""Cluster-robust variances of one coefficient, and their degrees of freedom, many regressions at once.

All five members of the family have the form V = sum over clusters of (p_g' e_g)^2, where e_g are the
weighted residuals of cluster g and p_g = A_g X_g M c with M the inverse Gram matrix and c the
coefficient asked about:

- CR0: A_g = I. CR1 is CR0 times G/(G-1); CR1S, Stata's, also times (N-1)/(N-k).
- CR2: A_g = (I - H_gg)^(-1/2), Bell and McCaffrey's bias-reduced linearisation.
- CR3: A_g = (I - H_gg)^(-1), close to the jackknife.

A_g maps the column space of X_g to itself, so with M = R R' the vector is p_g = X_g a_g,
a_g = R f(R' G_g R) R' c, where G_g = X_g' X_g and f(x) = 1, (1-x)^(-1/2) or (1-x)^(-1): matrices as
large as the number of columns, however many families a cluster holds. Families with equal regressors
need only be known by their number and mean. Effects of the clusters themselves may be absorbed first (X
demeaned within clusters): p_g is orthogonal to them, and nothing else changes.

Working model: families independent, with variance inverse to their weight (equal weights: identity).

Decision: a direction of X_g that only this cluster knows has leverage 1 and residuals of 0. Where the
coefficient does not rest on it (a covariate that moves in one cluster), it is left out, as a generalised
inverse would. Where the coefficient does (one treated cluster), CR2 and CR3 have no unbiased version
and the answer is nan, while software with a generalised inverse returns a standard error that is silent
about that cluster.

Source: Bell and McCaffrey (2002), Survey Methodology 28, 169-181; Pustejovsky and Tipton (2018), Journal
of Business and Economic Statistics 36, 672-683; Cameron and Miller (2015), Journal of Human Resources 50,
317-372.
"""

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Annotated, Literal

import numpy as np
from numpy.polynomial import chebyshev

from design_sim.arrays import Batch, Bools, Floats
from design_sim.numerics.least_squares import NormalEquations

ClusterRobust = Literal["CR0", "CR1", "CR1S", "CR2", "CR3"]
DegreesOfFreedom = Literal["satterthwaite", "clusters", "normal"]

_POWER = {"CR0": 0.0, "CR1": 0.0, "CR1S": 0.0, "CR2": 0.5, "CR3": 1.0}
_FITTED = 1e-10
"""A direction whose leverage is above 1 less this has no residual."""
_SERIES = 0.5
"""Leverages summing to no more than this are handled by a polynomial, others by their spectrum."""

_FEW = 64
"""As many matrices or fewer have their spectrum computed in any case."""


@dataclass(frozen=True, slots=True)
class WorkingMoments(Batch):
    """How the variance estimator is distributed under the working model, whose variance is 1.

    Parameters
    ----------
    size : float array, (replicate,)
        What it would expect if residuals were errors: the sum of |p_g|^2.
    expected : float array, (replicate,)
        Its expectation: the trace of P, where P_gh = p_g' (I - H)_gh p_h.
    squares : float array, (replicate,)
        The sum of squares of P; its variance is twice that.
    """

    size: Annotated[Floats, "replicate"]
    expected: Annotated[Floats, "replicate"]
    squares: Annotated[Floats, "replicate"]

    @property
    def void(self) -> Bools:
        """Whether the estimator is 0 whatever the outcome, or undefined: no information is left."""
        return ~((self.expected > _FITTED * self.size) & (self.squares > 0))

    @property
    def satterthwaite(self) -> Floats:
        """Degrees of freedom of the chi-square that has these two moments; nan where void."""
        squares = np.where(self.void, np.nan, self.squares)
        df: Floats = self.expected**2 / squares
        return df

    def df(self, rule: DegreesOfFreedom, n_clusters: Floats) -> Floats:
        """Degrees of freedom by a rule: Bell and McCaffrey's, clusters less 1, or infinite."""
        if rule == "satterthwaite":
            return self.satterthwaite
        return n_clusters - 1 if rule == "clusters" else np.full(1, np.inf)


@dataclass(frozen=True, slots=True)
class ContrastPlan(Batch):
    """What a cluster-robust variance of one coefficient needs beside the outcome.

    Parameters
    ----------
    direction : float array, (replicate, cluster, column)
        a_g, of which p_g = X_g a_g.
    crossing : float array, (replicate, cluster, column)
        X_g' p_g.
    """

    direction: Annotated[Floats, "replicate cluster column"]
    crossing: Annotated[Floats, "replicate cluster column"]

    def variance(self, own: Floats, coefficients: Floats) -> Floats:
        """Sum of squared scores, (replicate,), before small-sample factors.

        Parameters
        ----------
        own : float array, (replicate, cluster)
            p_g' y_g, which is also a_g' X_g' W y_g.
        coefficients : float array, (replicate, column)
            The fitted coefficients.
        """
        scores = own - np.einsum("rgk,rk->rg", self.crossing, coefficients)
        variance: Floats = np.einsum("rg,rg->r", scores, scores)
        return variance

    def moments(self, equations: NormalEquations) -> WorkingMoments:
        """The first two moments of the variance estimator under the working model."""
        size = np.einsum("rgk,rgk->rg", self.direction, self.crossing)
        whitened = self.crossing @ equations.root
        lost = np.einsum("rgk,rgk->rg", whitened, whitened)
        between = whitened.swapaxes(1, 2) @ whitened
        return WorkingMoments(
            size=size.sum(axis=1),
            expected=(size - lost).sum(axis=1),
            squares=(size * (size - 2 * lost)).sum(axis=1) + (between**2).sum(axis=(1, 2)),
        )


def default_df(kind: ClusterRobust) -> DegreesOfFreedom:
    """The degrees of freedom that usually go with a variance: Satterthwaite's for CR2 and CR3."""
    return "satterthwaite" if kind in ("CR2", "CR3") else "clusters"


def small_sample_factor(kind: ClusterRobust, n_clusters: Floats, n: Floats, rank: Floats) -> Floats:
    """What the variance is multiplied by: G/(G-1) for CR1, Stata's factor for CR1S, else 1.

    Parameters
    ----------
    n_clusters, n, rank : float arrays, (replicate,)
        Clusters, observations and coefficients.
    """
    if kind not in ("CR1", "CR1S"):
        return np.ones(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor: Floats = n_clusters / (n_clusters - 1)
        return factor * (n - 1) / (n - rank) if kind == "CR1S" else factor


def contrast_direction(
    grams: Floats, equations: NormalEquations, column: int, kind: ClusterRobust, *, alike: bool = False
) -> Floats:
    """a_g, of which p_g = X_g a_g: (replicate, cluster, column), or cluster axis 1 for CR0 to CR1S.

    Parameters
    ----------
    grams : float array, (replicate, cluster, column, column)
        X_g' W_g X_g; after absorption, where effects of the clusters are absorbed. Not looked at for
        CR0, CR1 and CR1S.
    equations : NormalEquations
        Solved for the sum of such matrices over all clusters.
    column : int
        The coefficient asked about.
    kind : {"CR0", "CR1", "CR1S", "CR2", "CR3"}
        The variance; the small-sample factor is not part of the plan.
    alike : bool
        Whether all of a cluster has the same regressors. Its Gram matrix then has rank 1, and its
        leverage is a trace.
    """
    if _POWER[kind] == 0:
        return equations.inverse[:, np.newaxis, :, column]
    return adjusted_direction(grams, equations, equations.root[:, column, :], _POWER[kind], alike=alike)


def adjusted_direction(
    grams: Floats, equations: NormalEquations, target: Floats, power: float, *, alike: bool = False
) -> Floats:
    """R f(R' G_g R) target with f(x) = (1 - x)^-power, (replicate, cluster, column).

    Parameters
    ----------
    grams, equations, alike
        As in `contrast_direction`.
    target : float array, (replicate, direction)
        R' c, c being the contrast of coefficients asked about.
    power : float
        1/2 for CR2, 1 for CR3.
    """
    root = equations.root[:, np.newaxis]
    whitened = root.swapaxes(2, 3) @ grams @ root
    target = np.broadcast_to(target[:, np.newaxis, :], whitened.shape[:3])
    adjust = _by_trace if alike else _adjusted
    adjusted = adjust(_flat(whitened, 2), _flat(target, 1), power).reshape(target.shape)
    direction: Floats = adjusted @ equations.root.swapaxes(1, 2)
    return direction


def plan_contrast(
    grams: Floats, equations: NormalEquations, column: int, kind: ClusterRobust, *, alike: bool = False
) -> ContrastPlan:
    """Plan the variance of one coefficient; parameters as in `contrast_direction`."""
    direction = contrast_direction(grams, equations, column, kind, alike=alike)
    direction = np.broadcast_to(direction, (equations.rank.size, *grams.shape[1:3]))
    return ContrastPlan(direction, np.einsum("rgij,rgj->rgi", grams, direction))


def plan_two_arms(
    shares: Floats, treated: Bools, totals: tuple[Floats, Floats], kind: ClusterRobust
) -> tuple[Floats, WorkingMoments]:
    """Plan the variance of a difference between two arms, in closed form and linear in clusters.

    Parameters
    ----------
    shares : float array, (replicate, cluster)
        h_j, the cluster's share of its arm's weight.
    treated : bool array, (replicate, cluster)
        The cluster's arm.
    totals : pair of float arrays, (replicate,)
        Weight of the treated arm, and of the comparison arm.
    kind : {"CR0", "CR1", "CR1S", "CR2", "CR3"}
        The variance.

    Returns
    -------
    float array, (replicate, cluster)
        What the squared deviation of a cluster's mean from its arm's counts in the variance:
        h_j^2 for CR0, h_j^2 / (1 - h_j) for CR2.
    WorkingMoments
        Under the working model; for CR2 they give
        df = (sum over arms of 1/N)^2 / sum over arms of [sum h_j^2 + (sum t_j)^2 - sum t_j^2] / N^2
        with t_j = h_j^2 / (1 - h_j).
    """
    factor = _inverse_power(shares, np.ones((1, 1), dtype=bool), _POWER[kind])
    per_weight = shares * factor**2
    counts = shares * per_weight
    size = expected = squares = np.zeros(1)
    for arm, total in zip((treated, ~treated), totals, strict=True):
        own = np.where(arm, per_weight, 0.0)
        left = own * (1 - shares)
        cross = np.where(arm, counts, 0.0)
        size = size + own.sum(axis=1) / total
        expected = expected + left.sum(axis=1) / total
        apart = (left**2).sum(axis=1) + cross.sum(axis=1) ** 2 - (cross**2).sum(axis=1)
        squares = squares + apart / total**2
    return counts, WorkingMoments(size, expected, squares)


def _inverse_power(leverage: Floats, rests: Bools, power: float) -> Floats:
    """f of a leverage; at leverage 1 it is nan if the coefficient rests on it, and 0 if not."""
    if power == 0:
        return np.ones_like(leverage)
    left = 1 - leverage
    fitted = left <= _FITTED
    if not fitted.any():
        factor: Floats = left**-power
        return factor
    return np.where(fitted, np.where(rests, np.nan, 0.0), np.where(fitted, 1.0, left) ** -power)


def _flat(values: Floats, n_axes: int) -> Floats:
    """Replicates and clusters as one axis, before the last axes."""
    flat: Floats = values.reshape(-1, *values.shape[-n_axes:])
    return flat


def _adjusted(matrices: Floats, vectors: Floats, power: float) -> Floats:
    """f(B) v for every B: (n, column)."""
    if len(matrices) <= _FEW:
        return _by_spectrum(matrices, vectors, power)
    trace = np.einsum("nii->n", matrices)
    small = trace <= _SERIES
    if small.all():
        return _by_series(matrices, vectors, power, float(trace.max()))
    adjusted = np.empty_like(vectors)
    adjusted[~small] = _by_spectrum(matrices[~small], vectors[~small], power)
    if small.any():
        bound = float(trace[small].max())
        adjusted[small] = _by_series(matrices[small], vectors[small], power, bound)
    return adjusted


def _by_trace(matrices: Floats, vectors: Floats, power: float) -> Floats:
    """f(B) v for B of rank 1, whose eigenvalue is its trace: (n, column)."""
    leverage = np.einsum("nii->n", matrices)
    image = np.einsum("nij,nj->ni", matrices, vectors)
    divisor = np.where(leverage > 0, leverage, 1.0)
    part = np.einsum("ni,ni->n", vectors, image) / divisor
    rests = part > 1e-12 * np.einsum("ni,ni->n", vectors, vectors)
    change = (_inverse_power(leverage, rests, power) - 1) / divisor
    adjusted: Floats = vectors + change[:, np.newaxis] * image
    return adjusted


def _by_spectrum(matrices: Floats, vectors: Floats, power: float) -> Floats:
    """f(B) v by the eigenvalues of B: (n, column)."""
    leverage, axes = np.linalg.eigh(matrices)
    parts = np.einsum("nij,ni->nj", axes, vectors)
    rests = parts**2 > 1e-12 * (parts**2).sum(axis=1, keepdims=True)
    adjusted: Floats = np.einsum("nij,nj->ni", axes, _inverse_power(leverage, rests, power) * parts)
    return adjusted


def _by_series(matrices: Floats, vectors: Floats, power: float, bound: float) -> Floats:
    """f(B) v by a Chebyshev polynomial on [0, bound], bound well below 1, to machine precision.

    The coefficients fall by a factor rho in each degree, rho belonging to the pole at 1; a product with
    B costs a hundredth of its spectrum. Summed by Clenshaw's recurrence.
    """
    if bound <= np.finfo(float).eps:
        return vectors
    pole = 2 / bound - 1
    degree = ceil(37 / log(pole + sqrt(pole**2 - 1))) + 1
    nodes = chebyshev.chebpts1(degree + 1)
    values = (1 - bound * (nodes + 1) / 2) ** -power
    terms = values @ chebyshev.chebvander(nodes, degree) * (2 / (degree + 1))
    terms[0] /= 2
    later, last = np.zeros_like(vectors), np.zeros_like(vectors)
    for term in terms[:0:-1]:
        mapped = (2 / bound) * np.einsum("nij,nj->ni", matrices, last) - last
        later, last = last, term * vectors + 2 * mapped - later
    mapped = (2 / bound) * np.einsum("nij,nj->ni", matrices, last) - last
    total: Floats = terms[0] * vectors + mapped - later
    return total
