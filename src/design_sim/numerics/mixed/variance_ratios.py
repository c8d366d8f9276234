"""The search for several variance ratios by REML: Newton's method for many replicates at once.

The search runs in log(1 + scale x ratio), which is like the ratio itself near 0 and like its logarithm far
from it. It starts from one step of Fisher scoring in the variances (MIVQUE), which in a balanced design
leads to REML itself. A ratio of 0 stays where the deviance rises from there; where the Hessian of the
others does not lead downwards, its eigenvalues are taken by their size; a step that loses is shortened.
A replicate leaves once it has converged.

Decision: unlike the search for a single ratio this one descends from one start, as lme4 does, and so may end
in a local minimum where there are several.

Source: Rao (1971), Journal of Multivariate Analysis 1, 445-456 (MIVQUE); Bertsekas (1982), SIAM Journal on
Control and Optimization 20, 221-246 (projected Newton).
"""

from typing import Protocol

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.numerics.mixed.effect_test import Local, with_residual
from design_sim.numerics.mixed.intercept_model import Verdict
from design_sim.numerics.mixed.products import Solved
from design_sim.numerics.mixed.sweep import inverse, swept

_STEPS = 100
_TOLERANCE = 1e-6
"""A last step of this length leaves an error of about its square."""
_LONGEST = 3.0
_FARTHEST = 25.0
_ROUNDING = 1e-12
_SHORTER = 0.3
_IDENTIFIED = 1e-9
"""A variance of whose information regressors and other variances leave a smaller share is not told apart."""


class Profile(Protocol):
    """A mixed model with everything but the variance ratios solved for."""

    @property
    def df(self) -> Floats:
        """Observations less regressors, (replicate,)."""
        ...

    @property
    def scale(self) -> Floats:
        """Observations in a unit of each ratio, roughly, (ratio, replicate)."""
        ...

    def at(self, ratio: Floats, which: Ints | slice) -> Solved:
        """The model at ratios, (ratio, replicate), of the replicates `which`."""
        ...


def search_ratios(profile: Profile, verdict: Ints) -> tuple[Floats, Ints]:
    """The variance ratios of least deviance, (ratio, replicate), and how the search ended.

    Parameters
    ----------
    profile : Profile
        The model.
    verdict : int array, (replicate,)
        A `Verdict`; only replicates that are `FITTED` so far are searched.
    """
    start, verdict = _scored(profile, verdict)
    point = np.log1p(profile.scale * start)
    value = np.full(verdict.size, np.inf)
    step = np.zeros_like(point)
    active = np.flatnonzero(verdict == Verdict.FITTED)
    verdict[active] = Verdict.NOT_CONVERGED
    for _ in range(_STEPS):
        if active.size == 0:
            break
        trial = np.maximum(point[:, active] + step[:, active], 0.0)
        local = _deviance(profile, trial, slice(None) if active.size == verdict.size else active)
        better = local.value <= value[active] + _ROUNDING * (1 + np.abs(local.value))
        step[:, active[~better]] *= _SHORTER
        moved = active[better]
        point[:, moved], value[moved] = trial[:, better], local.value[better]
        step[:, moved] = _descent(trial[:, better], local.gradient[:, better], local.hessian[..., better])
        length = np.abs(step[:, active]).max(axis=0)
        arrived = better & (length < _TOLERANCE)
        done = active[arrived]
        point[:, done] = np.maximum(point[:, done] + step[:, done], 0.0)
        verdict[done] = np.where((point[:, done] == 0).any(axis=0), Verdict.BOUNDARY, Verdict.FITTED)
        lost = (point[:, active].max(axis=0) > _FARTHEST) | ~(length > _TOLERANCE**2)
        active = active[~(arrived | lost)]
    return np.expm1(point) / profile.scale, verdict


def _scored(profile: Profile, verdict: Ints) -> tuple[Floats, Ints]:
    """One step of Fisher scoring in the variances, and which replicates cannot be fitted."""
    prior = 1 / profile.scale
    at = profile.at(prior, slice(None))
    information = -with_residual(at.log_det, prior, profile.df, degree=0).hessian
    squares = -with_residual(at.squares, prior, -at.squares.value, degree=-1).gradient
    done, pivots = swept(information, information.shape[0])
    n = profile.df + at.coefficients.shape[0]
    known = -with_residual(at.products.log_det, prior, n, degree=0).hessian
    told = (pivots > _IDENTIFIED * np.einsum("kkr->kr", known)).all(axis=0)
    variances = (done * squares).sum(axis=1)
    ratio = np.maximum(variances[:-1] / variances[-1], 0.0)
    sound = (variances[-1] > 0) & np.isfinite(ratio)
    ratio = np.minimum(np.where(sound, ratio, prior), np.expm1(_FARTHEST / 2) * prior)
    unfit = np.where(at.aliased, Verdict.SINGULAR, np.where(told, Verdict.FITTED, Verdict.TOO_FEW))
    return ratio, np.where(verdict == Verdict.FITTED, unfit, verdict).astype(np.int64)


def _deviance(profile: Profile, point: Floats, which: Ints | slice) -> Local:
    """The profiled deviance up to a constant, as a function of log(1 + scale x ratio)."""
    scale, df = profile.scale[:, which], profile.df[which]
    at = profile.at(np.expm1(point) / scale, which)
    relative = at.squares.gradient / at.squares.value
    bend = at.squares.hessian / at.squares.value - relative[:, np.newaxis] * relative
    rate = np.exp(point) / scale
    gradient = (df * relative + at.log_det.gradient) * rate
    hessian = (df * bend + at.log_det.hessian) * rate[:, np.newaxis] * rate
    diagonal = np.arange(rate.shape[0])
    hessian[diagonal, diagonal] += gradient
    return Local(df * np.log(at.squares.value) + at.log_det.value, gradient, hessian)


def _descent(point: Floats, gradient: Floats, hessian: Floats) -> Floats:
    """The step to the least value of the quadratic, or one like it, where no coordinate is below 0."""
    held = (point == 0) & (gradient >= 0)
    step = np.zeros_like(point)
    hessian = _upwards(hessian, held)
    for _ in range(point.shape[0]):
        across = (hessian * np.where(held, step, 0.0)).sum(axis=1)
        newton = -(inverse(_free(hessian, held)) * np.where(held, 0.0, gradient + across)).sum(axis=1)
        step = np.where(held, step, newton)
        below = ~held & (point + step < 0)
        if not below.any():
            break
        step = np.where(below, -point, step)
        held = held | below
    length = np.abs(step).max(axis=0)
    return step * np.minimum(1.0, _LONGEST / np.where(length > 0, length, 1.0))


def _free(hessian: Floats, held: Bools) -> Floats:
    """The Hessian, with the rows and columns of held coordinates those of the unit matrix."""
    free = ~held
    return np.where(free & free[:, np.newaxis], hessian, np.eye(hessian.shape[0])[:, :, np.newaxis])


def _upwards(hessian: Floats, held: Bools) -> Floats:
    """The Hessian, with the eigenvalues of its free part by their size where they are not above 0."""
    free = _free(hessian, held)
    _, pivots = swept(free, free.shape[0])
    wrong = np.flatnonzero(~(pivots > 0).all(axis=0) & np.isfinite(free).all(axis=(0, 1)))
    if wrong.size == 0:
        return hessian
    values, vectors = np.linalg.eigh(np.moveaxis(free[..., wrong], 2, 0))
    size = np.maximum(np.abs(values), 1e-6 * np.abs(values).max(axis=1, keepdims=True))
    hessian = hessian.copy()
    hessian[..., wrong] = np.moveaxis((vectors * size[:, np.newaxis]) @ vectors.swapaxes(1, 2), 0, 2)
    return hessian
