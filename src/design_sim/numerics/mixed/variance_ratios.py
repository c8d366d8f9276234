"""The search for several variance ratios by REML: Newton's method for many replicates at once.

It starts from one step of Fisher scoring in the variances (MIVQUE), which in a balanced design leads to REML
itself, and runs in `coordinates` that are like the ratios near 0 and like their logarithms far from it. A
coordinate at its bound stays there where the deviance rises from it; where the Hessian of the
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
from design_sim.numerics.mixed.coordinates import FARTHEST, Coordinates
from design_sim.numerics.mixed.effect_test import Local, with_residual
from design_sim.numerics.mixed.intercept_model import Verdict
from design_sim.numerics.mixed.products import Solved
from design_sim.numerics.mixed.sweep import inverse, swept

_STEPS = 100
_TOLERANCE = 1e-6
"""A last step of this length leaves an error of about its square."""
_LONGEST = 3.0
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
    def coordinates(self) -> Coordinates:
        """Where its ratios are searched."""
        ...

    def at(self, ratio: Floats, which: Ints | slice) -> Solved:
        """The model at ratios, (ratio, replicate), of the replicates `which`."""
        ...


def search_ratios(profile: Profile, verdict: Ints) -> tuple[Floats, Ints]:
    """The coordinates of least deviance, (coordinate, replicate), and how the search ended.

    Parameters
    ----------
    profile : Profile
        The model.
    verdict : int array, (replicate,)
        A `Verdict`; only replicates that are `FITTED` so far are searched.
    """
    coordinates = profile.coordinates
    start, verdict = _scored(profile, verdict)
    point, low = coordinates.points(start), np.where(coordinates.bounded, 0.0, -np.inf)
    value = np.full(verdict.size, np.inf)
    step = np.zeros_like(point)
    active = np.flatnonzero(verdict == Verdict.FITTED)
    verdict[active] = Verdict.NOT_CONVERGED
    for _ in range(_STEPS):
        if active.size == 0:
            break
        trial = np.maximum(point[:, active] + step[:, active], low)
        local = deviance(profile, trial, slice(None) if active.size == verdict.size else active)
        better = local.value <= value[active] + _ROUNDING * (1 + np.abs(local.value))
        step[:, active[~better]] *= _SHORTER
        moved = active[better]
        point[:, moved], value[moved] = trial[:, better], local.value[better]
        step[:, moved] = _descent(
            trial[:, better], low, local.gradient[:, better], local.hessian[..., better]
        )
        length = np.abs(step[:, active]).max(axis=0)
        arrived = better & (length < _TOLERANCE)
        done = active[arrived]
        point[:, done] = np.maximum(point[:, done] + step[:, done], low)
        verdict[done] = Verdict.FITTED
        lost = (np.abs(point[:, active]).max(axis=0) > FARTHEST) | ~(length > _TOLERANCE**2)
        active = active[~(arrived | lost)]
    edge = (verdict == Verdict.FITTED) & coordinates.singular(point)
    return point, np.where(edge, Verdict.BOUNDARY, verdict)


def _scored(profile: Profile, verdict: Ints) -> tuple[Floats, Ints]:
    """One step of Fisher scoring in the variances, and which replicates cannot be fitted."""
    prior = profile.coordinates.prior
    at = profile.at(prior, slice(None))
    information = -with_residual(at.log_det, prior, profile.df, degree=0).hessian
    squares = -with_residual(at.squares, prior, -at.squares.value, degree=-1).gradient
    done, pivots = swept(information, information.shape[0])
    n = profile.df + at.coefficients.shape[0]
    known = -with_residual(at.products.log_det, prior, n, degree=0).hessian
    told = (pivots > _IDENTIFIED * np.einsum("kkr->kr", known)).all(axis=0)
    variances = (done * squares).sum(axis=1)
    ratio = variances[:-1] / variances[-1]
    sound = (variances[-1] > 0) & np.isfinite(ratio)
    unfit = np.where(at.aliased, Verdict.SINGULAR, np.where(told, Verdict.FITTED, Verdict.TOO_FEW))
    verdict = np.where(verdict == Verdict.FITTED, unfit, verdict).astype(np.int64)
    return np.where(sound, ratio, prior), verdict


def deviance(profile: Profile, point: Floats, which: Ints | slice) -> Local:
    """The profiled deviance up to a constant, as a function of the coordinates."""
    coordinates, df = profile.coordinates.of_replicates(which), profile.df[which]
    at = profile.at(coordinates.ratios(point), which)
    relative = at.squares.gradient / at.squares.value
    bend = at.squares.hessian / at.squares.value - relative[:, np.newaxis] * relative
    value = df * np.log(at.squares.value) + at.log_det.value
    gradient = df * relative + at.log_det.gradient
    return coordinates.pull(Local(value, gradient, df * bend + at.log_det.hessian), point)


def _descent(point: Floats, low: Floats, gradient: Floats, hessian: Floats) -> Floats:
    """The step to the least value of the quadratic, or one like it, with no coordinate below its bound."""
    held = (point <= low) & (gradient >= 0)
    step = np.zeros_like(point)
    hessian = _upwards(hessian, held)
    for _ in range(point.shape[0]):
        across = (hessian * np.where(held, step, 0.0)).sum(axis=1)
        newton = -(inverse(_free(hessian, held)) * np.where(held, 0.0, gradient + across)).sum(axis=1)
        step = np.where(held, step, newton)
        below = ~held & (point + step < low)
        if not below.any():
            break
        step = np.where(below, low - point, step)
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
