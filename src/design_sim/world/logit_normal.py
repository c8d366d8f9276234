"""Logit-normal distributions solved for a mean and standard deviations stated on the 0..1 scale.

Expectations over a standard normal are trapezoidal sums over (-9, 9). For the inverse logit of a spread s
their error falls as exp(-2 pi^2 / (step s)): below 1e-12 up to a spread of 14, and 1e-5 at the widest, 30.

Decision: roots are found by the Illinois rule (Dowell and Jarratt 1971, BIT 11, 168-174) with a bisection
every fourth step, since importing an optimiser would take longer than all else that a scenario needs.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import special

from design_sim.arrays import Floats

_Z = np.linspace(-9.0, 9.0, 361)
_WEIGHT = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()
_WIDEST = 30.0

EDGE = 1e-6
"""The smallest mean, and its distance from 1, that is solved for."""


class LogitNormal(NamedTuple):
    """Inverse logit of centre + spread x standard normal."""

    centre: float
    spread: float


class FidelityScale(NamedTuple):
    """Fidelity on the logit scale: centre, spread between authorities, spread of their workers."""

    centre: float
    authority: float
    worker: float


def _expectation(values: Floats) -> float:
    return float(values @ _WEIGHT)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising or falling function that changes sign between low and high is 0, to 1e-13."""
    ends, values = [low, high], [function(low), function(high)]
    last = None
    for step in range(400):
        middle = (ends[0] * values[1] - ends[1] * values[0]) / (values[1] - values[0])
        if step % 4 == 3:
            middle = (ends[0] + ends[1]) / 2
        value = function(middle)
        side = int((value > 0) == (values[1] > 0))
        ends[side], values[side] = middle, value
        if value == 0 or abs(ends[1] - ends[0]) < 1e-13 * max(1.0, abs(middle)):
            break
        if side == last:
            values[1 - side] /= 2
        last = side
    return middle


def _centre(mean: float, spread: float) -> float:
    bound = 40.0 + 10 * spread
    return _root(lambda c: _expectation(special.expit(c + spread * _Z)) - mean, -bound, bound)


def _sd(centre: float, spread: float) -> float:
    values = special.expit(centre + spread * _Z)
    return float(np.sqrt(_expectation((values - _expectation(values)) ** 2)))


@cache
def solve_logit_normal(mean: float, sd: float) -> LogitNormal:
    """The logit-normal with a stated mean and standard deviation.

    Parameters
    ----------
    mean : float
        Within `EDGE` to 1 - `EDGE`.
    sd : float
        At least 0, and below sqrt(mean (1 - mean)), the largest that a variable on 0..1 can have.

    Raises
    ------
    ValueError
        If the two cannot be had together; the message gives the largest standard deviation.
    """
    if not EDGE <= mean <= 1 - EDGE:
        raise ValueError(f"with any spread, a mean of {mean:g} is not within {EDGE:g} to 1 - {EDGE:g}")
    if sd == 0:
        return LogitNormal(float(special.logit(mean)), 0.0)
    largest = _sd(_centre(mean, _WIDEST), _WIDEST)
    if sd >= largest:
        raise ValueError(
            f"a mean of {mean:g} cannot be had with a standard deviation of {sd:g}; "
            f"below {largest:.3f} it can"
        )
    spread = _root(lambda s: _sd(_centre(mean, s), s) - sd, 1e-9, _WIDEST)
    return LogitNormal(_centre(mean, spread), spread)


@cache
def fidelity_scale(mean: float, authority_sd: float, worker_sd: float) -> FidelityScale | None:
    """The logit scale on which fidelity has a stated mean and standard deviations at two levels.

    Parameters
    ----------
    mean : float
        Mean fidelity, 0 to 1.
    authority_sd : float
        Standard deviation between authorities of the mean over their workers.
    worker_sd : float
        Root of the mean variance between the workers of an authority.

    Returns
    -------
    FidelityScale or None
        None where both standard deviations are 0: fidelity is then the mean itself, 0 and 1 included.

    Raises
    ------
    ValueError
        If they cannot be had together.

    Notes
    -----
    By the law of total variance the variance over all workers is authority_sd^2 + worker_sd^2, which
    fixes the total spread; the share between authorities is then found by bisection.
    """
    if authority_sd == 0 and worker_sd == 0:
        return None
    centre, total = solve_logit_normal(mean, float(np.hypot(authority_sd, worker_sd)))
    if worker_sd == 0:
        return FidelityScale(centre, total, 0.0)
    if authority_sd == 0:
        return FidelityScale(centre, 0.0, total)

    def gap(share: float) -> float:
        means = mean_over_workers(centre + total * np.sqrt(share) * _Z, total * np.sqrt(1 - share))
        return float(np.sqrt(_expectation((means - _expectation(means)) ** 2))) - authority_sd

    share = _root(gap, 0.0, 1.0)
    return FidelityScale(centre, total * float(np.sqrt(share)), total * float(np.sqrt(1 - share)))


def mean_over_workers(authority: Floats, worker_spread: float) -> Floats:
    """Mean fidelity of the workers of authorities that stand at given places on the logit scale.

    Parameters
    ----------
    authority : float array, any shape
        Places on the logit scale.
    worker_spread : float
        Standard deviation of the workers around them, on that scale.
    """
    if worker_spread == 0:
        result: Floats = special.expit(authority)
        return result
    mean: Floats = special.expit(authority[..., np.newaxis] + worker_spread * _Z) @ _WEIGHT
    return mean


def shift_for_difference(distribution: LogitNormal, difference: float) -> float:
    """The shift on the logit scale that moves the mean by a stated difference.

    Raises
    ------
    ValueError
        If the mean moved by the difference would leave 0..1.
    """
    place = distribution.centre + distribution.spread * _Z
    mean = _expectation(special.expit(place))
    if not 0 < mean + difference < 1:
        raise ValueError(f"a mean of {mean:.3g} moved by {difference:g} would leave 0 to 1")
    bound = 80.0 + 20 * distribution.spread
    return _root(lambda b: _expectation(special.expit(place + b)) - mean - difference, -bound, bound)
