"""Spillover: what the treated of a study practise reaches comparison workers and families of the same study.

A comparison worker picks up a share of what treated colleagues of the same team have gained, in proportion to
how many of the team are treated; a worker whose families are randomised lets a share of her gain slip
into her work with the others. Nobody would have it without the study, so that it belongs to no estimand.
"""

import numpy as np

from design_sim.arrays import Bools, Floats


def reaches_colleagues(
    dose: Floats, usual: Floats, treated: Bools, per_team: int, contamination: float
) -> Floats:
    """Dose of sampled workers once comparison ones have what reaches them: (replicate, worker, occasion).

    Parameters
    ----------
    dose : float array, (replicate, worker, occasion)
        Dose of each, the workers of a team one after another.
    usual : float array, of the same axes
        Dose without the study.
    treated : bool array, (replicate or 1, worker)
        Who is treated.
    per_team : int
        Workers of a team.
    contamination : float
        Share of the mean gain of the treated that would reach a worker if all others were treated.

    Notes
    -----
    The share of the team that is treated times the mean gain of the treated is the sum of their gains over
    the number of workers of the team.
    """
    gained = np.where(treated[:, :, np.newaxis], dose - usual, 0.0)
    teams = gained.reshape(gained.shape[0], -1, per_team, gained.shape[2])
    reaching = np.repeat(contamination * teams.mean(axis=2), per_team, axis=1)
    return np.where(treated[:, :, np.newaxis], dose, dose + reaching)
