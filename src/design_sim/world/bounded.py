"""Normal scores held within bounds, solved for a mean and a standard deviation stated on the bounded scale.

A latent score is normal; what would lie beyond a bound stands at it, as on a scale with a floor and a
ceiling. All moments are closed forms of the normal density and distribution function.

Source: Greene (2012), Econometric Analysis, 7th edition, section 19.3.1 (the censored normal distribution).
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import special

from design_sim.arrays import Floats
from design_sim.numerics.root import find_root

Bounds = tuple[float, float]

EDGE = 1e-6
"""The smallest distance of a mean from a bound that is solved for, as a share of the range."""
_NARROWEST = 1e-9
"""The smallest standard deviation that is solved for, in ranges."""
_WIDEST = 1e3
"""The largest spread that is tried, in ranges: nearly all scores then stand at a bound."""


class HeldNormal(NamedTuple):
    """The latent scale of a bounded score: its mean and its standard deviation."""

    centre: float
    spread: float


def hold(scores: Floats, bounds: Bounds | None) -> Floats:
    """Scores with those beyond a bound at it; as they are where there are no bounds."""
    return scores if bounds is None else scores.clip(*bounds)


def held_mean(centre: Floats | float, spread: float, bounds: Bounds) -> Floats:
    """Mean of normal scores held within bounds.

    Parameters
    ----------
    centre : float array or float
        Means of the latent scores.
    spread : float
        Their standard deviation, above 0.

    Notes
    -----
    E = a + s [psi((m - a) / s) - psi((m - b) / s)] with psi(x) = x Phi(x) + phi(x), the mean of the positive
    part of a normal variable with mean x: the integral of P(score > y) from a to b.
    """
    low, high = bounds
    centre = np.asarray(centre, dtype=np.float64)
    mean: Floats = low + spread * (_psi((centre - low) / spread) - _psi((centre - high) / spread))
    return mean.clip(low, high)


def held_sd(centre: float, spread: float, bounds: Bounds) -> float:
    """Standard deviation of normal scores held within bounds.

    Notes
    -----
    In latent standard deviations from the latent mean the score is a standard normal held within l and u,
    with mean l Phi(l) + phi(l) - phi(u) + u Phi(-u) and mean square
    Phi(u) - Phi(l) + l phi(l) - u phi(u) + l^2 Phi(l) + u^2 Phi(-u).
    """
    at = (np.array(bounds) - centre) / spread
    low, high = at
    below, above = special.ndtr(at * [1, -1])
    of_low, of_high = _density(at)
    mean = low * below + of_low - of_high + high * above
    square = 1 - above - below + low * of_low - high * of_high + low**2 * below + high**2 * above
    return float(spread * np.sqrt(np.maximum(square - mean**2, 0.0)))


@cache
def solve_held_normal(mean: float, sd: float, bounds: Bounds) -> HeldNormal:
    """The latent scale on which a score held within bounds has a stated mean and standard deviation.

    Raises
    ------
    ValueError
        If the mean is not within the bounds, or the two cannot be had together; the message gives the
        largest standard deviation, which is below the root of (mean - low) (high - mean).
    """
    low, high = bounds
    if sd < _NARROWEST * (high - low):
        raise ValueError(f"a standard deviation of {sd:g} is too small for a range of {high - low:g}")
    widest = _WIDEST * (high - low)
    largest = held_sd(centre_of_mean(mean, widest, bounds), widest, bounds)
    if sd >= largest:
        raise ValueError(
            f"within {low:g} to {high:g}, a mean of {mean:g} cannot be had with a standard deviation of "
            f"{sd:g}; below {largest:.4g} it can"
        )

    def gap(log_spread: float) -> float:
        spread = float(np.exp(log_spread))
        return held_sd(centre_of_mean(mean, spread, bounds), spread, bounds) / sd - 1

    # A latent score varies more than what is held of it, so that the root is not below the stated one.
    least, most = float(np.log(sd)), float(np.log(widest))
    spread = sd if gap(least) > -1e-12 else float(np.exp(find_root(gap, least, most)))
    return HeldNormal(centre_of_mean(mean, spread, bounds), spread)


@cache
def centre_of_mean(mean: float, spread: float, bounds: Bounds) -> float:
    """The latent mean for which scores of a latent spread, held within bounds, have a stated mean.

    Raises
    ------
    ValueError
        If the mean is not within the bounds, or closer to one than `EDGE` of their range.
    """
    low, high = bounds
    span = high - low
    if not EDGE <= (mean - low) / span <= 1 - EDGE:
        closely = " by a millionth of their range" if low < mean < high else ""
        raise ValueError(f"a mean of {mean:g} is not within the bounds, {low:g} to {high:g}{closely}")
    wanted, scaled = (mean - low) / span, spread / span
    reach = 2 + 8 * scaled
    place = find_root(lambda at: float(held_mean(at, scaled, (0.0, 1.0))) - wanted, -reach, reach)
    return low + span * place


def spread_of_means(centre: float, between: float, within: float, bounds: Bounds) -> float:
    """Standard deviation of the mean held scores of units whose latent means differ.

    Parameters
    ----------
    centre : float
        Mean of the units' latent means.
    between, within : float
        Standard deviations of latent means between units, and of latent scores within a unit.
    """
    places, weights = np.polynomial.hermite_e.hermegauss(80)
    means = held_mean(centre + between * places, within, bounds)
    weights = weights / weights.sum()
    return float(np.sqrt(weights @ (means - weights @ means) ** 2))


def _psi(x: Floats) -> Floats:
    """Mean of the positive part of a normal variable with mean x and standard deviation 1."""
    psi: Floats = x * special.ndtr(x) + _density(x)
    return psi


def _density(x: Floats | float) -> Floats:
    density: Floats = np.exp(-np.square(x) / 2) / np.sqrt(2 * np.pi)
    return density
