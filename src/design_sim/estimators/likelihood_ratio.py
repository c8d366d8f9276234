"""Likelihood-ratio test: random-intercept models fitted by maximum likelihood, with and without treatment.

What `anova` of two lme4 models prints, and what published simulations of fidelity in cluster trials used. It
refers twice the gain in log-likelihood to chi-square with one degree of freedom, which holds for many
authorities only: with six in all it rejects a true null in about one study of nine. Kept because people run
it, and should see what happens; `mixed_model` with Satterthwaite's df is the test to choose.

Source: Pinheiro and Bates (2000), Mixed-Effects Models in S and S-PLUS, section 2.4.1 (and its warning about
tests of fixed effects).
"""

from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from design_sim.arrays import Floats
from design_sim.estimators.base import Estimates, Needs, Status
from design_sim.estimators.family_moments import Families
from design_sim.numerics.mixed.intercept_model import ClusterMoments
from design_sim.panel import Panel
from design_sim.stated import Stated

_GRID = np.linspace(0.0, 14.0, 57)
_GOLDEN = (np.sqrt(5) - 1) / 2
_STEPS = 45


class LikelihoodRatio(Stated):
    """Treatment effect by maximum likelihood, tested by the likelihood ratio."""

    estimator: Literal["likelihood_ratio"] = "likelihood_ratio"

    covariates: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Needs] = "cells"
    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = False
    within: ClassVar[bool] = False
    needs_before: ClassVar[bool] = False

    @property
    def convention(self) -> str:
        """What it does, in words."""
        return (
            "random intercept of the cluster by maximum likelihood; likelihood-ratio test against chi-square "
            "with 1 df (rejects too often where clusters are few)"
        )

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """None: it takes no covariates."""
        return {}

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing.

        Returns
        -------
        Estimates
            Without standard error, degrees of freedom and interval, which the test has none of.
            `TOO_FEW_CLUSTERS` where an arm is empty or no authority has two families, `NO_VARIATION` where
            outcomes do not vary within authorities.
        """
        from scipy import stats

        moments = Families.after_start(panel, ()).moments("authority")
        treated = moments.regressors[:, :, -1]
        seen = moments.n > 0
        few = ~((seen & (treated == 1)).any(axis=1) & (seen & (treated == 0)).any(axis=1))
        few = few | (moments.n.sum(axis=1) <= seen.sum(axis=1))
        scale = np.where(seen, np.nan_to_num(moments.mean) ** 2, 0.0).sum(axis=1)
        flat = ~(moments.within > 1e-14 * scale)
        with np.errstate(all="ignore"):
            full, estimate = fit_by_likelihood(moments, treated)
            null, _ = fit_by_likelihood(moments, np.zeros((1, treated.shape[1])))
            gain = np.maximum(null - full, 0.0)
        status = np.where(few, Status.TOO_FEW_CLUSTERS, np.where(flat, Status.NO_VARIATION, Status.OK))
        failed = status != Status.OK
        p_value = np.where(failed, np.nan, stats.chi2.sf(gain, 1))
        nothing = np.full(1, np.nan)
        return Estimates(
            estimate=np.where(failed, np.nan, estimate),
            std_error=nothing,
            df=nothing,
            p_value=p_value,
            ci_low=np.full(p_value.shape, np.nan),
            ci_high=np.full(p_value.shape, np.nan),
            p_floor=np.zeros(1),
            status=np.broadcast_to(status, p_value.shape).astype(np.int64),
        )


def fit_by_likelihood(moments: ClusterMoments, treated: Floats) -> tuple[Floats, Floats]:
    """Minus twice the maximised log-likelihood, and the difference between arms there: (replicate,) each.

    Parameters
    ----------
    moments : ClusterMoments
        Numbers, means and squares within clusters.
    treated : float array, (replicate or 1, cluster)
        1 or 0; all 0 for the model without treatment.

    Notes
    -----
    With ratio r of the variances and weights w = n / (1 + r n) the means of the arms are weighted means, the
    residual variance is (squares within + sum of w x residual^2) / N, and the criterion N (log(2 pi variance)
    + 1) + sum of log(1 + r n). It is searched on a grid of log(1 + r x largest n) and then by golden section
    between the best place's neighbours (Kiefer 1953, Proceedings of the AMS 4, 502-506).
    """
    largest = moments.n.max(axis=1, keepdims=True)
    grid = [_criterion(moments, treated, np.full(largest.shape, place), largest)[0] for place in _GRID]
    best = np.argmin(np.broadcast_arrays(*grid), axis=0)
    step = _GRID[1] - _GRID[0]
    low = np.maximum(_GRID[best] - step, 0.0)[:, np.newaxis]
    high = (_GRID[best] + step)[:, np.newaxis]
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        better = (
            _criterion(moments, treated, left, largest)[0] < _criterion(moments, treated, right, largest)[0]
        )[:, np.newaxis]
        low, high = np.where(better, low, left), np.where(better, right, high)
    inside, estimate = _criterion(moments, treated, (low + high) / 2, largest)
    at_zero, least_squares = _criterion(moments, treated, np.zeros_like(low), largest)
    boundary = at_zero <= inside
    return np.where(boundary, at_zero, inside), np.where(boundary, least_squares, estimate)


def _criterion(
    moments: ClusterMoments, treated: Floats, place: Floats, largest: Floats
) -> tuple[Floats, Floats]:
    """The criterion and the difference between arms at given places, (replicate,) each."""
    n = moments.n
    ratio = np.expm1(place) / largest
    weight = n / (1 + ratio * n)
    mean = np.where(n > 0, moments.mean, 0.0)
    arms = [weight * (1 - treated), weight * treated]
    totals = [arm.sum(axis=1, keepdims=True) for arm in arms]
    means = [
        np.where(total > 0, (arm * mean).sum(axis=1, keepdims=True) / np.where(total > 0, total, 1.0), 0.0)
        for arm, total in zip(arms, totals, strict=True)
    ]
    residual = mean - np.where(treated > 0, means[1], means[0])
    squares = moments.within + (weight * residual**2).sum(axis=1)
    size = n.sum(axis=1)
    deviance = size * (np.log(2 * np.pi * squares / size) + 1) + np.log1p(ratio * n).sum(axis=1)
    return deviance, (means[1] - means[0])[:, 0] + np.zeros_like(deviance)
