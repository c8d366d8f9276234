"""Competence: how able workers are whatever the framework, as it is and as a study measures it.

In the contrast study of Signs of Safety what observers saw went with the general competence of social
workers, and not with the framework (Baginsky et al. 2021).

Decision: a worker's competence is root(s) x the authority's quality + root(1 - s) x the worker's own, with s
the stated share between authorities. The own part raises fidelity and outcomes where their settings link
them (`competence_correlation`); what authorities differ in goes with quality, which raises both by links of
its own (`quality_correlation`). So an analyst who adjusts for competence takes out some of what purposive
choice of pilots brings in, and the less of it the worse competence is measured.
"""

import numpy as np

from design_sim.arrays import Floats, Ints
from design_sim.world.draw import World, enrolled


def competence(world: World, unit: Ints, workers: Ints) -> Floats:
    """Competence of sampled workers, of mean 0 and standard deviation 1: (replicate, slot, worker).

    Parameters
    ----------
    unit : int array, (replicate, slot)
        The authority in each slot.
    workers : int array, (worker,)
        Which workers of an authority are sampled.
    """
    own = enrolled(world.members("competence", int(workers[-1]) + 1), unit)[:, :, workers]
    share = world.settings.workers.competence_icc
    if share == 0:
        return own
    # of the first year after the start, as readiness is
    quality = enrolled(world.quality_in(world.settings.time.years_before), unit)[:, :, np.newaxis]
    both: Floats = np.sqrt(share) * quality + np.sqrt(1 - share) * own
    return both


def measured_competence(world: World, unit: Ints, workers: Ints, reliability: float) -> Floats:
    """Competence as an instrument of a stated reliability gives it, standardised: (replicate, slot, worker).

    Root(reliability) x competence + root(1 - reliability) x error, independent between workers.
    """
    true = competence(world, unit, workers)
    if reliability == 1:
        return true
    error = enrolled(world.members("competence_error", int(workers[-1]) + 1), unit)[:, :, workers]
    measured: Floats = np.sqrt(reliability) * true + np.sqrt(1 - reliability) * error
    return measured
