"""Tests for trends before the start: how often they pass, and what is left of a bias when they have.

An event study that is reported only if its coefficients before the start are insignificant is a selected
one. With little power such a test passes biased studies; and since coefficients are correlated, those that
pass may be more biased than all.

Decision: the normal probability of a box is an iterated integral, by Gauss-Legendre quadrature of one
coefficient after the other given those before, the last one in closed form. It is exact to about 1e-10 for up
to six coefficients; SciPy's own draws points at random.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from design_sim.arrays import Floats
from design_sim.theory.power import critical_value
from design_sim.theory.ranges import require_covariance, require_inside

MOST_COEFFICIENTS = 6
"""Coefficients before the start that the quadrature is good for."""
FARTHEST = 8.5
"""Standard deviations beyond which a normal is taken to have nothing."""
_MOST_NODES = 1_000_000


class PassedPretest(NamedTuple):
    """How often an event study passes its test for trends, and the mean of its coefficients then."""

    probability: float
    mean: Floats


def pass_pretest(bias: Floats, covariance: Floats, n_pre: int, alpha: float = 0.05) -> PassedPretest:
    """Probability that no coefficient before the start is significant, and all coefficients' mean then.

    Parameters
    ----------
    bias : float array, (coefficient,)
        True means of the event-study coefficients without any effect: those before the start first, then
        those after it; a difference in linear trends is slope x (relative time - reference time).
    covariance : float array, (coefficient, coefficient)
        Covariance of their estimates, taken as known and normal.
    n_pre : int
        Coefficients before the start, 1 to 6.
    alpha : float
        Two-sided level of the z test of each of them.

    Returns
    -------
    PassedPretest
        `probability`, and `mean`, (coefficient,). The power of the test is 1 - probability; the probability
        over that without bias is the likelihood ratio of a pass. After the start,
        `mean` - `bias` is what selection adds.

    References
    ----------
    Roth (2022), American Economic Review: Insights 4, 305-322; Genz (1992), Journal of Computational and
    Graphical Statistics 1, 141-149.

    Examples
    --------
    >>> correlated = np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> passed = pass_pretest(np.array([1.0, -1.0]), correlated, n_pre=1)
    >>> round(passed.probability, 3), passed.mean.round(2)
    (0.83, array([ 0.7 , -1.15]))
    """
    means, matrix = np.asarray(bias, dtype=float), np.asarray(covariance, dtype=float)
    require_covariance("covariance", matrix)
    if means.shape != matrix.shape[:1]:
        raise ValueError(f"{means.size} biases do not fit a covariance of shape {matrix.shape}")
    if not 1 <= n_pre <= min(means.size, MOST_COEFFICIENTS):
        raise ValueError(f"n_pre must lie within 1 to {min(means.size, MOST_COEFFICIENTS)}: {n_pre}")
    before = matrix[:n_pre, :n_pre]
    bound = critical_value(np.inf, alpha) * np.sqrt(np.diag(before))
    probability, deviation = _box(before, -bound - means[:n_pre], bound - means[:n_pre])
    shift = matrix[:, :n_pre] @ np.linalg.solve(before, deviation)
    return PassedPretest(probability, means + shift)


def slope_for_pretest_power(
    power: float, relative_time: Floats, reference: float, covariance: Floats, n_pre: int, alpha: float = 0.05
) -> float:
    """The difference in linear trends that a test for trends detects with the stated power.

    Parameters
    ----------
    power : float
        Between the probability of rejection without any trend, and 1.
    relative_time : float array, (coefficient,)
        Time from the start that each coefficient stands for, in the order of `covariance`.
    reference : float
        Time from the start of the occasion left out.
    covariance, n_pre, alpha
        As in `pass_pretest`.

    Returns
    -------
    float
        Above 0, for each unit of time.
    """
    from scipy.optimize import brentq

    require_inside("power", power, 0, 1)
    elapsed = np.asarray(relative_time, dtype=float) - reference

    def shortfall(slope: float) -> float:
        return 1 - pass_pretest(slope * elapsed, covariance, n_pre, alpha).probability - power

    if shortfall(0.0) >= 0:
        raise ValueError(
            f"without any trend the test already rejects with a probability of {power + shortfall(0.0)}"
        )
    upper = float(np.sqrt(np.diag(covariance)[:n_pre]).min())
    while shortfall(upper) < 0:
        upper *= 2
    return float(brentq(shortfall, 0.0, upper, xtol=1e-12, rtol=1e-12))


def _box(covariance: Floats, low: Floats, high: Floats) -> tuple[float, Floats]:
    """Probability that a normal vector with mean 0 lies in a box, and its mean there."""
    last = low.size - 1
    root = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    n_nodes = min(48, int(_MOST_NODES ** (1 / max(1, last))))
    node, weight = np.polynomial.legendre.leggauss(n_nodes)
    # Independent standard normal coordinates, (coordinate, point): the vector is root @ them.
    points, mass = np.zeros((last, 1)), np.ones(1)
    for i in range(last):
        first, end = _ends(root, points, low, high, i)
        spread = first + (end - first) * (node[:, np.newaxis] + 1) / 2
        mass = (mass * _density(spread) * (end - first) * weight[:, np.newaxis] / 2).ravel()
        points = np.tile(points, n_nodes)
        points[i] = spread.ravel()
    first, end = _ends(root, points, low, high, last)
    inside = special.ndtr(end) - special.ndtr(first)
    probability = float(inside @ mass)
    mean = np.append(points @ (mass * inside), (_density(first) - _density(end)) @ mass)
    return probability, root @ mean / probability


def _ends(root: Floats, points: Floats, low: Floats, high: Floats, i: int) -> tuple[Floats, Floats]:
    """Where the box begins and ends for coordinate i, given those before, at every point."""
    centre = root[i, :i] @ points[:i]
    first, end = ((side[i] - centre) / root[i, i] for side in (low, high))
    return np.clip(first, -FARTHEST, FARTHEST), np.clip(end, -FARTHEST, FARTHEST)


def _density(x: Floats) -> Floats:
    return np.asarray(np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))
