"""The search for a random-intercept model's variance ratio by REML, and all that follows from it.

A profile is the model with everything but the ratio solved for. The search is Newton's in log(1 + ratio x
scale), kept between the neighbours of the best point of a grid; see `random_intercept` for why.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.numerics.mixed.effect_test import Reml, SmallSample, kenward_roger, satterthwaite_df
from design_sim.numerics.mixed.intercept_model import InterceptFits, Verdict
from design_sim.numerics.mixed.jet import Jet

_GRID = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 11.0, 15.0, 20.0, 25.0])
_STEPS = 60
_TOLERANCE = 1e-7


@dataclass(frozen=True, slots=True)
class Profiled:
    """At given ratios: weighted residual squares, log determinants, and the effect with its unit variance."""

    squares: Jet
    log_det: Jet
    estimate: Floats
    unit_variance: Jet


class Profile(Protocol):
    """A model with everything but the variance ratio solved for."""

    @property
    def singular(self) -> Bools:
        """Whether the treatment cannot be told from the other regressors, (replicate,)."""
        ...

    @property
    def df(self) -> Floats:
        """Observations less regressors, (replicate,)."""
        ...

    @property
    def scale(self) -> Floats:
        """The largest cluster, (replicate,)."""
        ...

    def deviances(self, growths: Floats) -> Floats:
        """Profiled deviances up to a constant at ratios growths / scale, (replicate, growth)."""
        ...

    def at(self, ratio: Floats, which: Ints | slice) -> Profiled:
        """The model at one ratio for each of the replicates `which`."""
        ...


def search_ratio(profile: Profile, verdict: Ints) -> tuple[Floats, Ints]:
    """The variance ratio of least deviance for every replicate, and how the search ended."""
    deviances = profile.deviances(np.expm1(_GRID))
    deviances = np.where(np.isnan(deviances), np.inf, deviances)
    best = np.argmin(deviances, axis=1)
    points = _GRID[best]
    open_fits = np.flatnonzero(verdict == Verdict.FITTED)
    points[open_fits], verdict[open_fits] = _descend(profile, best[open_fits], open_fits)
    rivals = _rival_valleys(deviances, best)
    doubtful = np.flatnonzero((rivals >= 0) & (verdict <= Verdict.BOUNDARY))
    if doubtful.size:
        others, ends = _descend(profile, rivals[doubtful], doubtful)
        better = _deviance(profile, others, doubtful) < _deviance(profile, points[doubtful], doubtful)
        points[doubtful[better]], verdict[doubtful[better]] = others[better], ends[better]
    return np.expm1(points) / profile.scale, verdict


def _rival_valleys(deviances: Floats, best: Ints) -> Ints:
    """The grid's second lowest valley, which may be the deeper one between grid points; -1 for none."""
    left = np.pad(deviances[:, :-1], ((0, 0), (1, 0)), constant_values=np.inf)[:, :-1]
    inner, right = deviances[:, :-1], deviances[:, 1:]
    valley = (inner < left) & (inner <= right) & (np.arange(_GRID.size - 1) != best[:, np.newaxis])
    return np.where(valley.any(axis=1), np.argmin(np.where(valley, inner, np.inf), axis=1), -1)


def _deviance(profile: Profile, points: Floats, which: Ints) -> Floats:
    """The profiled deviance up to a constant, at one point for each of the replicates `which`."""
    at = profile.at(np.expm1(points) / profile.scale[which], which)
    deviance: Floats = profile.df[which] * np.log(at.squares.value) + at.log_det.value
    return deviance


def _descend(profile: Profile, starts: Ints, which: Ints) -> tuple[Floats, Ints]:
    """Newton's search of the replicates `which` from points of the grid, within the neighbouring points."""
    found = _GRID[starts]
    ends = np.where(starts == _GRID.size - 1, Verdict.NOT_CONVERGED, Verdict.FITTED).astype(np.int64)
    active = np.flatnonzero(ends == Verdict.FITTED)
    low, high = _GRID[np.maximum(starts[active] - 1, 0)], _GRID[starts[active] + 1]
    point = found[active]
    for _ in range(_STEPS):
        if active.size == 0:
            break
        everyone = active.size == profile.df.size
        slope, curve = _derivatives(profile, point, slice(None) if everyone else which[active])
        edge = (point == 0) & (slope >= 0)
        low, high = np.where(slope < 0, point, low), np.where(slope < 0, high, point)
        step = np.where(curve > 0, point - slope / curve, np.nan)
        new = np.where((step >= low) & (step <= high), step, (low + high) / 2)
        new = np.where(edge, 0.0, new)
        done = edge | (np.abs(new - point) < _TOLERANCE)
        found[active] = new
        ends[active[edge]] = Verdict.BOUNDARY
        active, point, low, high = active[~done], new[~done], low[~done], high[~done]
    ends[active] = Verdict.NOT_CONVERGED
    return found, ends


def _derivatives(profile: Profile, point: Floats, which: Ints | slice) -> tuple[Floats, Floats]:
    """First two derivatives of the profiled deviance with respect to log(1 + scale x ratio)."""
    scale = profile.scale[which]
    at = profile.at(np.expm1(point) / scale, which)
    df = profile.df[which]
    relative = at.squares.slope / at.squares.value
    slope = df * relative + at.log_det.slope
    curve = df * (at.squares.curve / at.squares.value - relative**2) + at.log_det.curve
    rate = np.exp(point) / scale
    return slope * rate, curve * rate**2 + slope * rate


def fits_at(profile: Profile, ratio: Floats, verdict: Ints, small_sample: SmallSample) -> InterceptFits:
    """Everything reported, from the variance ratio."""
    at = profile.at(ratio, slice(None))
    residual = at.squares.value / profile.df
    fit = Reml(at.squares.local(), at.log_det.local(), at.unit_variance.local(), profile.df)
    if small_sample == "kenward_roger":
        variance, df = kenward_roger(fit, ratio[np.newaxis])
    else:
        variance, df = at.unit_variance.value, satterthwaite_df(fit, ratio[np.newaxis] > 0)
    return InterceptFits(
        estimate=at.estimate,
        std_error=np.sqrt(residual * variance),
        df=df,
        between=ratio * residual,
        residual=residual,
        criterion=profile.df * (1 + np.log(2 * np.pi * residual)) + at.log_det.value,
        verdict=verdict,
    )
