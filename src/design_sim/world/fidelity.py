"""Fidelity of implementation: how far practice is delivered as intended, by authority and by worker.

Decision: maturity multiplies fidelity on the 0..1 scale, fidelity(t) = (1 - exp(-t ln 5 / y)) x mature
fidelity, with y the years to 80 % of the mature value. On the logit scale "80 % of the asymptote" would
mean something else for every worker; here it holds for each of them, and the mean and both standard
deviations grow together.
"""

import numpy as np
from scipy import special

from design_sim.arrays import Floats, Ints
from design_sim.world.draw import World, enrolled
from design_sim.world.logit_normal import fidelity_scale


def maturity(world: World) -> Floats:
    """Share of mature fidelity reached in the middle of each year, 0 before the start: (occasion,)."""
    time = world.settings.time
    years = np.arange(time.occasions) - time.start + 0.5
    to_80_percent = world.settings.fidelity.years_to_80_percent
    if to_80_percent == 0:
        return (years > 0).astype(np.float64)
    reached: Floats = 1 - np.exp(-np.log(5) * np.maximum(years, 0) / to_80_percent)
    return reached


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
        Inverse logit of the authority's readiness, the worker's competence where it is linked, and the
        worker's own deviation, on the scale that gives the stated mean and standard deviations.
    """
    fidelity = world.settings.fidelity
    scale = fidelity_scale(fidelity.mean, fidelity.authority_sd, fidelity.worker_sd)
    if scale is None:
        return np.full((1, unit.shape[1], workers.size), fidelity.mean)
    place = np.full((1, unit.shape[1], 1), scale.centre)
    if scale.authority:
        place = place + scale.authority * enrolled(world.readiness, unit)[:, :, np.newaxis]
    if scale.worker:
        own = worker_deviation(world, unit, workers, "worker_fidelity", fidelity.competence_correlation)
        place = place + scale.worker * own
    mature: Floats = special.expit(place)
    return np.broadcast_to(mature, (*mature.shape[:2], workers.size))


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
