"""Generalised estimating equations of two arms and nothing else, in closed form but for the correlation.

Where the regressors are the arm alone, the equations of every family with canonical link are solved by the
arms' weighted means of cluster means, with weights w = m / (1 + (m - 1) a) for a cluster of m observations.
With W the sum of w in an arm, h = w / W the leverage of a cluster, r its mean less that of its arm, and v 1
for the difference of fitted means, or the arm's variance function for the difference on the link's scale, the
variances of `gee_variance` are the sum over clusters of (h r f / v)^2, with

    f = 1 (robust), (1 - h)^-1/2 (kauermann_carroll), (1 - h)^-1 (mancl_derouen).

Fay and Graubard's depends on the coding, here an intercept and the treatment: f = (1 - min(b, h))^-1/2, but a
treated cluster's h r f / v becomes w r (f / (W v) + (f - 1) / (W0 v0)), with W0 and v0 of the comparison.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np

from design_sim.arrays import Batch, Floats, Ints
from design_sim.numerics.canonical_link import Family, at_edge, variance
from design_sim.numerics.estimating_equations import Ending, Working, row_sums, some
from design_sim.numerics.gee_variance import BOUND, ROUNDING, ContrastVariance, GeeVariance
from design_sim.numerics.working_correlation import CorrelationSearch, estimate_correlation

_MOST_ROUNDS = 100
_ALONE = 1e-10
"""A cluster whose leverage is above 1 less this is its arm."""
_POWER = {"robust": 0.0, "kauermann_carroll": 0.5, "mancl_derouen": 1.0, "fay_graubard": 0.5}


@dataclass(frozen=True, slots=True)
class TwoArms(Batch):
    """Clusters in two arms.

    Parameters
    ----------
    n, mean, ss : float arrays, (replicate, cluster)
        Number of observations, their mean outcome (0 where there are none) and sum of squares about it.
    treated : float array, (replicate, cluster)
        1 in the treated arm, else 0; replicate axis 1 where arms are fixed.
    """

    n: Annotated[Floats, "replicate cluster"]
    mean: Annotated[Floats, "replicate cluster"]
    ss: Annotated[Floats, "replicate cluster"]
    treated: Annotated[Floats, "replicate cluster"]

    def of(self, which: Ints) -> Self:
        """Some of the replicates."""
        if which.size == self.mean.shape[0]:
            return self
        n, ss, treated = (some(values, which) for values in (self.n, self.ss, self.treated))
        return replace(self, n=n, mean=self.mean[which], ss=ss, treated=treated)


@dataclass(frozen=True, slots=True)
class ArmMeans(Batch):
    """The fitted means.

    Parameters
    ----------
    comparison, treated : float arrays, (replicate,)
        Weighted means of the arms.
    total_comparison, total_treated : float arrays, (replicate,)
        Their W; 1 for an arm that nobody was observed in.
    weight : float array, (replicate, cluster)
        w.
    residual : float array, (replicate, cluster)
        r.
    """

    comparison: Annotated[Floats, "replicate"]
    treated: Annotated[Floats, "replicate"]
    total_comparison: Annotated[Floats, "replicate"]
    total_treated: Annotated[Floats, "replicate"]
    weight: Annotated[Floats, "replicate cluster"]
    residual: Annotated[Floats, "replicate cluster"]


@dataclass(frozen=True, slots=True)
class TwoArmFit(Batch):
    """Fitted estimating equations of two arms.

    Parameters
    ----------
    means : ArmMeans
        The fit.
    correlation : float array, (replicate,)
        The working correlation.
    ending : int array, (replicate,)
        An `Ending`.
    """

    means: ArmMeans
    correlation: Annotated[Floats, "replicate"]
    ending: Annotated[Ints, "replicate"]


def fit_two_arms(arms: TwoArms, working: Working, typical: Floats) -> TwoArmFit:
    """Solve the estimating equations of every replicate.

    Parameters
    ----------
    arms : TwoArms
        The clusters. A replicate in which an arm is empty gets numbers without meaning.
    working : Working
        The working model.
    typical : float array, (replicate,)
        The mean outcome: what a small rate is compared with.
    """
    n_replicates = arms.mean.shape[0]
    search = CorrelationSearch(n_replicates, arms.n.max(axis=1))
    lost = np.full(1, 2.0 if working.corrected else 0.0)
    active = np.arange(n_replicates if working.exchangeable else 0)
    left = arms
    for _ in range(_MOST_ROUNDS):
        if not active.size:
            break
        before = search.value[active]
        means = arm_means(left, before)
        search.update(active, _estimate(left, means, working.family, lost))
        going = ~search.reached(active, before)
        if not going.all():
            active, left = active[going], left.of(np.flatnonzero(going))
    ending = np.where(search.held, Ending.INDEPENDENT, Ending.FITTED)
    ending[active] = Ending.NOT_CONVERGED
    means = arm_means(arms, search.value)
    for mean in (means.comparison, means.treated):
        ending[at_edge(working.family, mean, typical)] = Ending.SEPARATED
    return TwoArmFit(means, search.value, ending)


def arm_means(arms: TwoArms, correlation: Floats) -> ArmMeans:
    """The means that solve the equations with given correlations, (replicate,)."""
    weight = arms.n / (1 + (arms.n - 1) * correlation[:, np.newaxis])
    weighted = weight * arms.mean
    total, total_treated = weight.sum(axis=1), row_sums(weight, arms.treated)
    treated = row_sums(weighted, arms.treated)
    comparison = weighted.sum(axis=1) - treated
    total_comparison = total - total_treated
    total_treated = np.where(total_treated > 0, total_treated, 1.0)
    total_comparison = np.where(total_comparison > 0, total_comparison, 1.0)
    treated, comparison = treated / total_treated, comparison / total_comparison
    residual = arms.mean - by_arm(comparison, treated, arms.treated)
    return ArmMeans(comparison, treated, total_comparison, total_treated, weight, residual)


def by_arm(comparison: Floats, treated: Floats, arm: Floats) -> Floats:
    """Give every cluster its arm's value, (replicate, cluster), from (replicate,) of each."""
    return np.where(arm > 0, treated[:, np.newaxis], comparison[:, np.newaxis])


def arm_variance(
    arms: TwoArms, means: ArmMeans, kind: GeeVariance, divisors: tuple[Floats, Floats], unit: Floats
) -> ContrastVariance:
    """Variance of the difference between arms.

    Parameters
    ----------
    arms : TwoArms
        The clusters.
    means : ArmMeans
        The fit.
    kind : GeeVariance
        The estimator.
    divisors : pair of float arrays, (replicate,)
        v of the comparison arm, and of the treated arm.
    unit : float array, (replicate,)
        The scale of rounding errors, as in `EquationFit`.
    """
    total = by_arm(means.total_comparison, means.total_treated, arms.treated)
    share = means.weight / total
    alone = share > 1 - _ALONE
    leverage = np.minimum(share, BOUND) if kind == "fay_graubard" else np.where(alone, 0.0, share)
    factor = (1 - leverage) ** -_POWER[kind] if _POWER[kind] else np.ones((1, 1))
    score = share * means.residual
    level = unit * (1 / means.total_comparison + 1 / means.total_treated)
    rounding = row_sums(score, score) <= ROUNDING**2 * level
    score = score * factor / by_arm(*divisors, arms.treated)
    if kind == "fay_graubard":
        across = 1 / (means.total_comparison * divisors[0])
        score += arms.treated * (factor - 1) * means.weight * means.residual * across[:, np.newaxis]
    if kind in ("robust", "fay_graubard"):
        void = (alone & (arms.treated > 0)).any(axis=1) & (alone & (arms.treated == 0)).any(axis=1)
    else:
        void = alone.any(axis=1)
    return ContrastVariance(np.where(rounding, 0.0, row_sums(score, score)), void)


def _estimate(arms: TwoArms, means: ArmMeans, family: Family, lost: Floats) -> Floats:
    """The moment estimate of the correlation, (replicate,)."""
    pooled = arms.n * means.residual
    squares = arms.ss + pooled * means.residual
    if family == "gaussian":
        return estimate_correlation(arms.n, pooled, squares.sum(axis=1), lost)
    spread = by_arm(variance(family, means.comparison), variance(family, means.treated), arms.treated)
    return estimate_correlation(arms.n, pooled / np.sqrt(spread), (squares / spread).sum(axis=1), lost)
