"""The wild cluster bootstrap of one coefficient, many regressions at once, from cluster scores alone.

A draw gives every cluster g a weight v_g, multiplies its residuals by it, adds them to what the null model
fits, and estimates the regression again. With M the inverse Gram matrix, a = M c the coefficient's column of
it, u_g the residuals under the null, P_g = X_g' W_g u_g and q_g = a' P_g, the draw's effect, less its value
under the null, and its score of cluster g are

    sum over g of v_g q_g    and    v_g q_g - (X_g' W_g X_g a)' M sum over h of v_h P_h,

and its squared standard error is the sum of squared scores, the factor of CR1 cancelling between study and
draws. The vectors X_g' W_g X_g a span few dimensions: two for two arms, or for two groups at the same
occasions; never more than there are columns. With U an orthonormal basis of what tells clusters apart in
them, and L such that the second term is U_g L' times the sum of v_h P_h, the sum of squares is

    sum of v_g^2 q_g^2 - |U' (v q)|^2 + |L' (P v) - U' (v q)|^2,

so that one matrix product of scores, two rows to a dimension, with the weights of all draws serves a
replicate. Residuals under the null that the effect is b are those of the full model plus (effect - b) times
X a / a_c. So P and q are linear in b, the numerator is too, the squared standard error is quadratic, and the
same product serves every null value: that is what inverting the test lives on.

Units: the study's standard error before the factor of CR1, so that its t statistic for the null value b is
(effect - b) itself, here called the distance of b.

Source: Cameron, Gelbach and Miller (2008), Review of Economics and Statistics 90, 414-427; Roodman, Nielsen,
MacKinnon and Webb (2019), Stata Journal 19, 4-60; MacKinnon (2023), Econometrics and Statistics 26, 52-71.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from design_sim.arrays import Batch, Floats, Ints
from design_sim.numerics.bootstrap_weights import BootstrapWeights
from design_sim.numerics.cluster_variance import ContrastPlan
from design_sim.numerics.false_position import find_crossing
from design_sim.numerics.least_squares import NormalEquations

_CHUNK = 2**18
"""Products of scores and weights held at a time, over replicates and draws."""
_NULL = 1e-13
"""A dimension of this share of the largest or less is none."""
_TIE = 1e-12
"""What is rounding in a draw's statistic, as a share of what its parts add up to in size."""
_SAME = 1e-9
"""A draw's statistic that falls short of the study's by this share or less equals it at any null value."""
_FARTHEST = 1_024.0
"""A limit further than this from the estimate, in standard errors, is taken to be infinite."""
_BEYOND = 1.25
"""Where a limit is looked for first, as a multiple of what it would be without the null imposed."""


@dataclass(frozen=True, slots=True)
class Scores(Batch):
    """What the weights of a draw multiply.

    Parameters
    ----------
    own : float array, (replicate, cluster)
        q_g, whose weighted sum is the draw's effect.
    shared : float array, (replicate, cluster, dimension)
        L' P_g, whose weighted sum refits the regression.
    """

    own: Annotated[Floats, "replicate cluster"]
    shared: Annotated[Floats, "replicate cluster dimension"]

    def chunk(self, at: slice) -> "Scores":
        """Some of the replicates; all where they do not vary."""
        return self if self.own.shape[0] == 1 else Scores(self.own[at], self.shared[at])

    def scaled(self, factor: Floats) -> "Scores":
        """These scores times a factor, (replicate,)."""
        return Scores(self.own * factor[:, np.newaxis], self.shared * factor[:, np.newaxis, np.newaxis])

    def shifted(self, distance: Floats, by: "Scores") -> "Scores":
        """These scores plus a distance, (replicate,), times others."""
        own = self.own + distance[:, np.newaxis] * by.own
        return Scores(own, self.shared + distance[:, np.newaxis, np.newaxis] * by.shared)


@dataclass(frozen=True, slots=True)
class BootstrapPlan(Batch):
    """What the draws need of the regressors; replicate axis 1 where those are fixed.

    Parameters
    ----------
    direction : float array, (replicate, column)
        a, the coefficient's column of the inverse Gram matrix.
    basis : float array, (replicate, cluster, dimension)
        U.
    loading : float array, (replicate, column, dimension)
        L.
    shift : Scores
        What scores change by where the null value is a unit further below the effect.
    """

    direction: Annotated[Floats, "replicate column"]
    basis: Annotated[Floats, "replicate cluster dimension"]
    loading: Annotated[Floats, "replicate column dimension"]
    shift: Scores

    def scores(self, moments: Floats) -> Scores:
        """The scores of residuals, from X_g' W_g u_g: (replicate, cluster, column)."""
        return Scores(np.einsum("rgk,rk->rg", moments, self.direction), moments @ self.loading)

    def chunk(self, at: slice) -> "BootstrapPlan":
        """Some of the replicates; all where they do not vary."""
        if self.basis.shape[0] == 1:
            return self
        return BootstrapPlan(self.direction[at], self.basis[at], self.loading[at], self.shift.chunk(at))


def plan_bootstrap(contrast: ContrastPlan, equations: NormalEquations, column: int) -> BootstrapPlan:
    """Plan the bootstrap of one coefficient.

    Parameters
    ----------
    contrast : ContrastPlan
        Of the coefficient, with CR0, CR1 or CR1S.
    equations : NormalEquations
        Of the regression.
    column : int
        The coefficient.
    """
    direction = equations.inverse[:, :, column]
    crossing = contrast.crossing
    basis, size, axes = np.linalg.svd(crossing @ equations.root, full_matrices=False)
    rank = max(1, int((size > _NULL * size[:, :1]).any(axis=0).sum()))
    scaled = axes[:, :rank].swapaxes(1, 2) * size[:, np.newaxis, :rank]
    loading = equations.root @ scaled
    precision = direction[:, column]
    moments = crossing / np.where(precision > 0, precision, 1.0)[:, np.newaxis, np.newaxis]
    own = np.einsum("rgk,rk->rg", moments, direction)
    return BootstrapPlan(direction, basis[:, :, :rank], loading, Scores(own, moments @ loading))


@dataclass(frozen=True, slots=True)
class Forms:
    """Numerator and squared standard error of every draw, as polynomials of the distance.

    Parameters
    ----------
    numerator, variance : tuples of float arrays, (replicate, draw)
        Coefficients, the constant first, which is all there is where one null value alone is asked about.
    """

    numerator: tuple[Floats, ...]
    variance: tuple[Floats, ...]

    def at(self, distance: Floats) -> tuple[Floats, Floats]:
        """Numerator and squared standard error, (replicate, draw) each, at a distance, (replicate,)."""
        return _polynomial(self.numerator, distance), _polynomial(self.variance, distance)


@dataclass(frozen=True, slots=True)
class BootstrapTest(Batch):
    """What a bootstrap says of a batch of regressions.

    Parameters
    ----------
    p_value : float array, (replicate,)
        Two-sided.
    below, above : float arrays, (replicate,)
        How far the interval reaches below the effect and above it, in units of the study's standard
        error; infinite where the test rejects nothing on that side, nan where no interval was asked for.
    """

    p_value: Annotated[Floats, "replicate"]
    below: Annotated[Floats, "replicate"]
    above: Annotated[Floats, "replicate"]


def bootstrap_test(
    plan: BootstrapPlan,
    scores: Scores,
    statistic: Floats,
    weights: BootstrapWeights,
    *,
    imposed: bool,
    alpha: float | None,
) -> BootstrapTest:
    """Test that the effect is 0, and the interval of the effects that the same test does not reject.

    Parameters
    ----------
    plan : BootstrapPlan
    scores : Scores
        Of the residuals of the full model; their squares sum to 1.
    statistic : float array, (replicate,)
        The effect in units of the study's standard error.
    weights : BootstrapWeights
    imposed : bool
        Whether residuals are those under the null (restricted) or of the full model (unrestricted).
    alpha : float, optional
        1 less the coverage of the interval; none is computed where it is not given.

    Returns
    -------
    BootstrapTest
        The p-value is the share of |t*| at or above |t|, ties and the study itself (`weights.observed`)
        included; a draw whose standard error is 0 counts as above. A null value is in the interval
        where its p-value is above alpha. Unrestricted, draws are the same for every null value, and the
        interval is the symmetric percentile-t one. Restricted, its limits are where the p-value crosses
        alpha, searched for from the effect outwards.
    """
    n_replicates, n_draws = statistic.shape[0], weights.values.shape[1]
    step = max(1, _CHUNK // max(1, 2 * plan.basis.shape[2] * n_draws))
    parts = []
    for first in range(0, n_replicates, step):
        at = slice(first, first + step)
        own_plan, own_scores = plan.chunk(at), scores.chunk(at)
        parts.append(_test_chunk(own_plan, own_scores, statistic[at], weights, imposed=imposed, alpha=alpha))
    p_value, below, above = (np.concatenate(part) for part in zip(*parts, strict=True))
    return BootstrapTest(p_value, below, above)


def _test_chunk(
    plan: BootstrapPlan,
    scores: Scores,
    statistic: Floats,
    weights: BootstrapWeights,
    *,
    imposed: bool,
    alpha: float | None,
) -> tuple[Floats, Floats, Floats]:
    """p-values and reaches of some replicates."""
    if not imposed:
        terms: tuple[Scores, ...] = (scores,)
    elif alpha is None:
        terms = (scores.shifted(statistic, plan.shift),)
    else:
        terms = (scores, plan.shift)
    forms = draw_forms(plan, terms, weights)
    reached = scores.shifted(statistic, plan.shift) if imposed else scores
    as_large = count_as_large(forms, statistic, rounding(reached))
    p_value = (as_large + weights.observed) / weights.count
    if alpha is None:
        nothing = np.full(statistic.shape, np.nan)
        return p_value, nothing, nothing
    rank = weights.rank(alpha)
    if rank <= 0:
        everything = np.full(statistic.shape, np.inf)
        return p_value, everything, everything
    if not imposed:
        reach = rank_draws(forms, np.zeros_like(statistic), rank)
        return p_value, reach, reach
    # The null value lies below the effect where the distance is above 0.
    above, below = (_reach(forms, rank, sign, statistic.size) for sign in (-1.0, 1.0))
    return p_value, below, above


def rounding(scores: Scores) -> tuple[Floats, Floats]:
    """What is rounding in a draw's numerator, and in its squared standard error, (replicate, 1) each."""
    size = np.abs(scores.own)
    return _TIE * size.sum(axis=1, keepdims=True), _TIE * (size**2).sum(axis=1, keepdims=True)


def count_as_large(forms: Forms, statistic: Floats, slack: tuple[Floats, Floats]) -> Ints:
    """How many draws have |t*| at or above |t|, up to rounding, (replicate,).

    Parameters
    ----------
    forms : Forms
    statistic : float array, (replicate,)
        t, which is the distance of the null value too.
    slack : pair of float arrays, (replicate, 1)
        What is rounding in numerator and squared standard error; where it is below 0, ties do not count.
    """
    numerator, variance = forms.at(statistic)
    limit = np.maximum(np.abs(statistic)[:, np.newaxis] - slack[0], 0.0)
    counts: Ints = (numerator**2 >= limit**2 * (variance - slack[1])).sum(axis=1)
    return counts


def rank_draws(forms: Forms, distance: Floats, rank: int) -> Floats:
    """|t*| of the draw of that rank, largest first, at a distance of the null value, (replicate,)."""
    numerator, variance = forms.at(distance)
    squares = numerator**2
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(variance > _TIE, squares / variance, np.inf)
    place = squares.shape[1] - rank
    squares.partition(place, axis=1)
    ranked: Floats = np.sqrt(squares[:, place])
    return ranked


def _reach(forms: Forms, rank: int, sign: float, n_replicates: int) -> Floats:
    """The distance from which the study's statistic exceeds the ranked one, (replicate,); or infinity."""

    def gap(size: Floats) -> Floats:
        return rank_draws(forms, sign * size, rank) - size * (1 - _SAME)

    near = np.zeros(n_replicates)
    gap_near = gap(near)
    far = np.where(np.isfinite(gap_near), np.maximum(_BEYOND * gap_near, 1.0), 2.0)
    gap_far = gap(far)
    while (inside := (gap_far >= 0) & (far < _FARTHEST)).any():
        near, gap_near = np.where(inside, far, near), np.where(inside, gap_far, gap_near)
        far = np.where(inside, 2 * far, far)
        gap_far = gap(far)
    endless = gap_far >= 0
    return np.where(endless, np.inf, find_crossing(gap, (near, gap_near), (far, gap_far), ~endless))


def draw_forms(plan: BootstrapPlan, terms: tuple[Scores, ...], weights: BootstrapWeights) -> Forms:
    """The numerators and squared standard errors of all draws.

    Parameters
    ----------
    plan : BootstrapPlan
    terms : tuple of Scores
        The scores under the null, as a polynomial of the null value's distance: themselves, or a constant
        and a slope.
    weights : BootstrapWeights
    """
    products = [_products(plan.basis, term, weights.values) for term in terms]
    dimension = plan.basis.shape[2]
    sums = np.concatenate([plan.basis.sum(axis=1)] * 2, axis=1)
    signs = np.repeat([-1.0, 1.0], dimension)
    numerator = tuple(np.einsum("rk,rkd->rd", sums, product) for product in products)
    variance = []
    for power in range(2 * len(terms) - 1):
        total = np.zeros((1, 1))
        for i in range(max(0, power - len(terms) + 1), min(power, len(terms) - 1) + 1):
            j = power - i
            total = total + _squares(terms[i], terms[j], weights)
            total = total + np.einsum("k,rkd,rkd->rd", signs, products[i], products[j])
        variance.append(total)
    return Forms(numerator, tuple(variance))


def _products(basis: Floats, scores: Scores, weights: Floats) -> Floats:
    """U' (v q) and L' (P v) - U' (v q), (replicate, 2 dimensions, draw)."""
    along = scores.own[:, np.newaxis, :] * basis.swapaxes(1, 2)
    rows = np.concatenate([along, scores.shared.swapaxes(1, 2) - along], axis=1)
    products: Floats = (rows.reshape(-1, rows.shape[2]) @ weights).reshape(*rows.shape[:2], -1)
    return products


def _squares(left: Scores, right: Scores, weights: BootstrapWeights) -> Floats:
    """The sum over clusters of squared weights times two scores, (replicate, draw or 1)."""
    both = left.own * right.own
    total: Floats = both.sum(axis=1, keepdims=True) if weights.squares is None else both @ weights.squares
    return total


def _polynomial(coefficients: tuple[Floats, ...], at: Floats) -> Floats:
    """The value of a polynomial, (replicate, draw), by Horner's rule."""
    value = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = value * at[:, np.newaxis] + coefficient
    return value
