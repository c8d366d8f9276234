"""Fidelity of implementation: how far practice is delivered as intended, by authority and by worker.

Decision: time multiplies fidelity on the 0..1 scale, fidelity(t) = progress(t) x mature fidelity, with
progress made of the ramp, drift, and what an inadequate judgement takes. On the logit scale "80 % of the
asymptote" would mean something else for every worker; here it holds for each of them, and the mean and the
standard deviations grow together.

Decision: an authority's effect is the mean of the response g over its workers, not g of their mean. Where
workers are not drawn it is the expectation over them given the authority's readiness, read off a table.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy import special

from design_sim.arrays import Floats, Ints
from design_sim.world.draw import World, enrolled
from design_sim.world.logit_normal import FidelityScale
from design_sim.world.response import Response
from design_sim.world.settings import Fidelity, Time


def ramp(fidelity: Fidelity, years: Floats) -> Floats:
    """Share of mature fidelity reached some years after the start, drift and turnover left out.

    Parameters
    ----------
    fidelity : Fidelity
        The settings.
    years : float array
        Years since the start; 0 is returned before it.

    Notes
    -----
    With y the years to 80 %: 1 - exp(-t ln 5 / y) (fast); 0.8 t / y up to 1 (linear); 1 - exp(-ln 5
    (t / y)^2) (slow). `starts_at` s makes it s + (1 - s) times a ramp that reaches (0.8 - s) / (1 - s) at y.
    """
    since = np.maximum(years, 0.0)
    after = years > 0
    if fidelity.years_to_80_percent == 0:
        return after.astype(np.float64)
    at_start = fidelity.starts_at
    target = (0.8 - at_start) / (1 - at_start)
    rate = np.log(5) if at_start == 0 else -np.log(1 - target)
    part = since / fidelity.years_to_80_percent
    if fidelity.ramp == "linear":
        share = np.minimum(target * part, 1.0)
    else:
        share = -np.expm1(-rate * (part**2 if fidelity.ramp == "slow" else part))
    reached: Floats = np.where(after, at_start + (1 - at_start) * share, 0.0)
    return reached


def progress(fidelity: Fidelity, years: float) -> tuple[Floats, Floats]:
    """The multiples of mature fidelity that workers have reached, and the share of workers at each.

    Parameters
    ----------
    years : float
        Years since the start, to the middle of an occasion; nobody practises before it.

    Returns
    -------
    two float arrays, (place,)
        One place without turnover. With it the worker who came k whole years ago has been there for k and
        a half, as a share (1 - turnover)^k x turnover of workers has; the rest since the start.
    """
    if years <= 0:
        return np.zeros(1), np.ones(1)
    tenure, share = np.array([years]), np.ones(1)
    if fidelity.turnover:
        whole = int(years)
        came = np.arange(whole)
        left = fidelity.turnover
        tenure = np.append(came + years - whole, years)
        share = np.append(left * (1 - left) ** came, (1 - left) ** whole)
    reached: Floats = ramp(fidelity, tenure) * (1 - fidelity.drift) ** years
    return reached, share


def maturity(world: World) -> Floats:
    """Mean share of mature fidelity in the middle of each year, 0 before the start: (occasion,)."""
    return progress_of_all(world.settings.fidelity, years_since(world.settings.time))


def years_since(time: Time, start: int | None = None) -> Floats:
    """Years from a start, the world's if not given, to the middle of every occasion: (occasion,)."""
    first = time.start if start is None else start
    years: Floats = (np.arange(time.occasions) - first + 0.5) / time.per_year
    return years


def progress_of_all(fidelity: Fidelity, years: Floats) -> Floats:
    """Mean multiple of mature fidelity over the workers of an authority, (occasion,)."""
    places = [progress(fidelity, float(year)) for year in years]
    return np.array([float(reached @ share) for reached, share in places])


def authority_mean(
    world: World,
    years: Floats,
    response: Response,
    power: int = 0,
    *,
    degree: int = 1,
    shocked: bool = False,
) -> Floats:
    """Mean over an authority's workers of g(fidelity)^degree x fidelity^power.

    (replicate, authority, occasion).

    Parameters
    ----------
    world : World
        The drawn world.
    years : float array, (occasion,)
        Years since the start of the framework; 0 is returned where it has not begun.
    response : Response
        The response g; a linear one with power 0 gives mean fidelity itself.
    power : int
        0, or 1 and 2 for the moments that a slope over fidelity is made of.
    degree : int
        1, or 2 and 3 for the moments that the spread of doses is known by.
    shocked : bool
        Whether the loss after an inadequate judgement applies.
    """
    fidelity = world.settings.fidelity
    factor = 1 - fidelity.shock if shocked else 1.0
    if response.shape == "linear" and power == 0 and degree == 1:
        return world.mature_fidelity[:, :, np.newaxis] * (progress_of_all(fidelity, years) * factor)
    columns = [_mean_at(world, float(year), response, (degree, power), factor) for year in years]
    return np.stack(np.broadcast_arrays(*columns), axis=2)


def _mean_at(
    world: World, years: float, response: Response, powers: tuple[int, int], factor: float
) -> Floats:
    """One occasion of `authority_mean`, (replicate, authority)."""
    if years <= 0:
        return np.zeros((1, 1))
    settings = world.settings.fidelity
    total: Floats = np.zeros((1, 1))
    for reached, share in zip(*progress(settings, years), strict=True):
        multiple = float(reached * factor)
        scale = settings.scale
        if scale is None or scale.authority == scale.within == 0:
            fidelity = np.full((1, 1), settings.mean * multiple)
            mean = response.of(fidelity) ** powers[0] * fidelity ** powers[1]
        else:
            components = settings.components
            weights = tuple(components.shares.values()) if components else (1.0,)
            correlation = components.correlation if components else 0.0
            places, means = _response_table(scale, weights, correlation, response, powers, multiple)
            at = world.readiness if scale.authority else np.zeros((1, 1))
            mean = np.interp(at, places, means)
        total = total + share * mean
    return total


_PLACES = np.linspace(-8.0, 8.0, 801)
"""Places of readiness at which means over workers are known."""


@lru_cache(maxsize=256)
def _response_table(
    scale: FidelityScale,
    weights: tuple[float, ...],
    correlation: float,
    response: Response,
    powers: tuple[int, int],
    multiple: float,
) -> tuple[Floats, Floats]:
    """Mean over workers of g(multiple x f)^degree (multiple x f)^power at 801 places of readiness.

    `powers` are the degree and the power. Over 4,096 workers, which is accurate to about 1e-3 for a step and
    far better for a smooth response.
    """
    means = np.empty(_PLACES.size)
    of_workers = _workers_of_places(scale, weights, correlation)
    for first, last in pairwise(range(0, _PLACES.size + 89, 89)):
        fidelity = multiple * of_workers[first:last]
        values = response.of(fidelity) ** powers[0]
        means[first:last] = (values * fidelity ** powers[1] if powers[1] else values).mean(axis=1)
    return _PLACES, means


@lru_cache(maxsize=4)
def _workers_of_places(scale: FidelityScale, weights: tuple[float, ...], correlation: float) -> Floats:
    """Mature fidelity of 4,096 workers at each place of readiness, (place, worker).

    A single component stands at 4,096 equal shares of the normal. Several stand at 4,096 points of a
    Kronecker lattice (Niederreiter 1992, Random Number Generation and Quasi-Monte Carlo Methods, chapter 3)
    of what the components share and of each one's own.
    """
    n = 4_096
    dimensions = 1 if len(weights) == 1 else 1 + len(weights)
    rates = np.sqrt(np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37][: dimensions - 1])) % 1
    index = np.arange(n)
    even = ((index + 0.5) / n)[:, np.newaxis]
    normals = special.ndtri(np.hstack([even, (index[:, np.newaxis] + 1) * rates % 1]))
    if dimensions == 1:
        parts = scale.within * normals
    else:
        shared = np.hypot(scale.team, scale.worker * np.sqrt(correlation))
        parts = shared * normals[:, :1] + scale.worker * np.sqrt(1 - correlation) * normals[:, 1:]
    of_workers = np.empty((_PLACES.size, n))
    for first, last in pairwise(range(0, _PLACES.size + 89, 89)):
        centre = scale.centre + scale.authority * _PLACES[first:last, np.newaxis, np.newaxis]
        of_workers[first:last] = special.expit(centre + parts) @ np.array(weights)
    of_workers.setflags(write=False)
    return of_workers


def worker_fidelity(world: World, unit: Ints, workers: Ints) -> Floats:
    """Mature fidelity of sampled workers: (replicate, slot, worker).

    Parameters
    ----------
    world : World
        The drawn world.
    unit : int array, (replicate, slot)
        The authority in each slot.
    workers : int array, (worker,)
        Which workers of an authority are sampled.

    Returns
    -------
    float array, (replicate, slot, worker)
        Weighted mean over components of the inverse logit of the authority's readiness, the team's
        deviation, the worker's competence where it is linked, and the worker's own deviation, on the scale
        that gives the stated mean and standard deviations.
    """
    fidelity = world.settings.fidelity
    scale = fidelity.scale
    if scale is None:
        return np.full((1, unit.shape[1], workers.size), fidelity.mean)
    place = np.full((1, unit.shape[1], 1), scale.centre)
    if scale.authority:
        place = place + scale.authority * enrolled(world.readiness, unit)[:, :, np.newaxis]
    if scale.team:
        team = workers // world.settings.workers.per_team
        deviations = world.members("team_fidelity", int(team[-1]) + 1)
        place = place + scale.team * enrolled(deviations, unit)[:, :, team]
    mature: Floats = np.zeros((1, 1, 1))
    own = np.zeros((1, 1, 1))
    if scale.worker:
        own = worker_deviation(world, unit, workers, "worker_fidelity", fidelity.competence_correlation)
    if fidelity.components is None:
        mature = special.expit(place + scale.worker * own if scale.worker else place)
    else:
        shared = np.sqrt(fidelity.components.correlation) * own
        apart = np.sqrt(1 - fidelity.components.correlation)
        for name, weight in fidelity.components.shares.items():
            single = world.members("component_fidelity", int(workers[-1]) + 1, name)
            single = apart * enrolled(single, unit)[:, :, workers]
            mature = mature + weight * special.expit(place + scale.worker * (shared + single))
    return np.broadcast_to(mature, (*mature.shape[:2], workers.size))


def worker_progress(world: World, unit: Ints, workers: Ints, years: Floats) -> Floats:
    """Multiple of mature fidelity that sampled workers have reached: (replicate, slot, worker, occasion).

    Parameters
    ----------
    years : float array, (occasion,)
        Years since the start.

    Notes
    -----
    At the end of every year since the start a worker leaves with the chance `turnover`, and a successor
    begins the ramp; a worker's place keeps its deviation from the authority. The first three axes are 1
    without turnover.
    """
    fidelity = world.settings.fidelity
    if fidelity.turnover == 0:
        return progress_of_all(fidelity, years)[np.newaxis, np.newaxis, np.newaxis]
    n, ends = int(workers[-1]) + 1, int(max(years.max(), 0.0))
    tenure = np.zeros((1, 1, 1, years.size)) + years
    for end in range(1, ends + 1):
        normals = world.members("turnover", n, f"year {end}")
        left = special.ndtr(enrolled(normals, unit)[:, :, workers]) < fidelity.turnover
        later = left[..., np.newaxis] & (years > end)
        tenure = np.where(later, years - end, tenure)
    reached: Floats = ramp(fidelity, tenure) * (1 - fidelity.drift) ** np.maximum(years, 0)
    return reached


def worker_deviation(
    world: World, unit: Ints, workers: Ints, component: str, competence: float, name: str = ""
) -> Floats:
    """Workers' standardised deviations with a stated correlation with competence.

    Competence is a worker's own, relative to the authority's mean: the part that authorities differ in
    travels with their quality.

    Returns
    -------
    float array, (replicate, slot, worker)
    """
    asked = int(workers[-1]) + 1
    own = enrolled(world.members(component, asked, name), unit)[:, :, workers]
    if competence == 0:
        return own
    shared = enrolled(world.members("competence", asked), unit)[:, :, workers]
    deviation: Floats = competence * shared + np.sqrt(1 - competence**2) * own
    return deviation
