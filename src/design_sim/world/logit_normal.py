"""Logit-normal distributions solved for a mean and standard deviations stated on the 0..1 scale.

Expectations over a standard normal are trapezoidal sums over (-9, 9). For the inverse logit of a spread s
their error falls as exp(-2 pi^2 / (step s)): below 1e-12 up to a spread of 14, and 1e-5 at the widest, 30.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import special

from design_sim.arrays import Floats
from design_sim.numerics.root import find_root

_Z = np.linspace(-9.0, 9.0, 361)
_WEIGHT = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()
_WIDEST = 30.0
NORMAL_POINTS = _Z, _WEIGHT
"""Places and weights over which expectations over a standard normal are taken."""

EDGE = 1e-6
"""The smallest mean, and its distance from 1, that is solved for."""


class LogitNormal(NamedTuple):
    """Inverse logit of centre + spread x standard normal."""

    centre: float
    spread: float


class FidelityScale(NamedTuple):
    """Fidelity on the logit scale: centre, spread between authorities, between workers, between teams."""

    centre: float
    authority: float
    worker: float
    team: float = 0.0

    @property
    def within(self) -> float:
        """Spread between the workers of an authority, whatever their team."""
        return float(np.hypot(self.worker, self.team)) if self.team else self.worker


def _expectation(values: Floats) -> float:
    return float(values @ _WEIGHT)


def _centre(mean: float, spread: float) -> float:
    bound = 40.0 + 10 * spread
    return find_root(lambda c: _expectation(special.expit(c + spread * _Z)) - mean, -bound, bound)


def centre_for(mean: float, places: Floats, weights: Floats) -> float:
    """The centre for which the weighted mean of inverse logit(centre + places) is a stated one.

    Parameters
    ----------
    mean : float
        Above 0 and below 1.
    places, weights : float arrays, (place,)
        A distribution on the logit scale; weights sum to 1.
    """
    bound = 40.0 + float(np.abs(places).max())
    return find_root(lambda c: float(special.expit(c + places) @ weights) - mean, -bound, bound)


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
    spread = find_root(lambda s: _sd(_centre(mean, s), s) - sd, 1e-9, _WIDEST)
    return LogitNormal(_centre(mean, spread), spread)


@cache
def fidelity_scale(
    mean: float,
    authority_sd: float,
    worker_sd: float,
    team_sd: float = 0.0,
    concentration: float = 1.0,
    correlation: float = 0.0,
) -> FidelityScale | None:
    """The logit scale on which fidelity has a stated mean and standard deviations at its levels.

    Parameters
    ----------
    mean : float
        Mean fidelity, 0 to 1.
    authority_sd : float
        Standard deviation between authorities of the mean over their workers.
    worker_sd : float
        Root of the mean variance between the workers of a team.
    team_sd : float
        Root of the mean variance between the teams of an authority.
    concentration : float
        Sum of the squared weights of the components that fidelity is the mean of; 1 for a single one.
    correlation : float
        Correlation of two components' worker parts.

    Returns
    -------
    FidelityScale or None
        None where all standard deviations are 0: fidelity is then the mean itself, 0 and 1 included.

    Raises
    ------
    ValueError
        If they cannot be had together.

    Notes
    -----
    With total spread s on the logit scale, two places correlated rho there have the covariance
    C(rho) = variance of E[inverse logit | shared part] on the 0..1 scale. Members of an authority share
    rho_a, with C(rho_a) = authority_sd^2; members of a team rho_a + rho_t, with C = authority_sd^2 +
    team_sd^2. For a single component the total variance C(1) is the sum of all three squares (law of total
    variance), which fixes s; for several it is concentration C(1) + (1 - concentration) C(rho), with rho
    what two components of a worker share, and s is solved for.
    """
    if authority_sd == team_sd == worker_sd == 0:
        return None
    squares = np.array([authority_sd, team_sd, worker_sd]) ** 2
    centre, total = solve_logit_normal(mean, float(np.sqrt(squares.sum())))
    if concentration < 1:
        total = _spread_of_components(mean, squares, total, concentration, correlation)
        centre = _centre(mean, total)
    shares = _level_shares(centre, total, squares)
    authority, team, worker = (float(total * np.sqrt(share)) for share in shares)
    return FidelityScale(centre, authority, worker, team)


def _level_shares(centre: float, total: float, squares: Floats) -> tuple[float, float, float]:
    """Shares of the squared spread of authorities, teams and workers, from their variances on 0..1."""
    authority, team, worker = squares
    if team == worker == 0:
        return 1.0, 0.0, 0.0
    of_authority = 0.0 if authority == 0 else _shared(centre, total, authority)
    if team == 0:
        return of_authority, 0.0, 1 - of_authority
    of_team = 1.0 if worker == 0 else _shared(centre, total, authority + team)
    return of_authority, of_team - of_authority, 1 - of_team


def _shared(centre: float, total: float, covariance: float) -> float:
    """The correlation on the logit scale that gives a covariance on the 0..1 scale."""
    sd = float(np.sqrt(covariance))

    def gap(share: float) -> float:
        return float(np.sqrt(_covariance(centre, total, share))) - sd

    if gap(0.0) >= 0:
        return 0.0
    return find_root(gap, 0.0, 1.0) if gap(1.0) > 0 else 1.0


def _covariance(centre: float, total: float, share: float) -> float:
    """Covariance on the 0..1 scale of two places with a correlation on the logit scale."""
    means = mean_over_workers(centre + total * np.sqrt(share) * _Z, total * np.sqrt(1 - share))
    return _expectation((means - _expectation(means)) ** 2)


def _spread_of_components(
    mean: float, squares: Floats, least: float, concentration: float, correlation: float
) -> float:
    """Total spread of each component for which their mean varies as stated, at least a single one's."""

    def gap(total: float) -> float:
        centre = _centre(mean, total)
        of_authority, of_team, of_worker = _level_shares(centre, total, squares)
        common = _covariance(centre, total, of_authority + of_team + of_worker * correlation)
        variance = concentration * _sd(centre, total) ** 2 + (1 - concentration) * common
        return float(np.sqrt(variance) - np.sqrt(squares.sum()))

    if gap(_WIDEST) < 0:
        raise ValueError(
            f"a mean of {mean:g} cannot be had with a worker_sd of {np.sqrt(squares[2]):g} over components "
            f"that correlate by {correlation:g}; a smaller worker_sd or a higher correlation can"
        )
    return find_root(gap, least, _WIDEST)


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
    return find_root(lambda b: _expectation(special.expit(place + b)) - mean - difference, -bound, bound)
