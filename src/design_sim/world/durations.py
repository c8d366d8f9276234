"""Durations: gamma distributed around an authority's mean, on records and in surveys.

The ratio of the standard deviation between an authority's families to their mean is the same everywhere.
Practice multiplies the duration of a family that takes part. The sum of n durations of shape a is gamma of
shape n a, and the share of those who take part in it is beta and independent of the sum; so cells are exact
without drawing families. Only where an answer reads the spread within cells are families drawn, as
shares in the sum.
"""

from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from numpy.random import Generator

from design_sim.arrays import Batch, Floats
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.world.delivery import Delivery, Fieldwork, uptake_of
from design_sim.world.outcome import Outcome
from design_sim.world.proportional import practice_factor, refuse_too_many_times, sd_of_means
from design_sim.world.shares import share_of_takers, squared_shares


class DurationOutcome(Outcome, Protocol):
    """An outcome of gamma distributed durations."""

    @property
    def family_shape(self) -> float:
        """Shape of the durations of an authority's families."""
        ...


@dataclass(frozen=True, slots=True)
class Lasted(Batch):
    """The durations of a study's rows without any framework.

    Parameters
    ----------
    roster : Roster
        What the rows are.
    n : float array, (replicate, row, occasion)
        Families.
    mean : float array, (replicate, row, occasion)
        Their mean duration, of any value where there are none.
    dose : float array, (replicate, row, occasion)
        Dose of those who take part.
    """

    roster: Roster
    n: Annotated[Floats, "replicate row occasion"]
    mean: Annotated[Floats, "replicate row occasion"]
    dose: Annotated[Floats, "replicate row occasion"]


def gamma_shape(mean: float, sd: float, log_sd: float) -> float:
    """Shape of gamma durations around lognormal means that gives a standard deviation over all families.

    Raises
    ------
    ValueError
        If the means alone vary more than that, or it is more than twenty times the mean.

    Notes
    -----
    The mean square is mean^2 exp(log_sd^2) (1 + 1 / shape).
    """
    between = sd_of_means(mean, log_sd)
    if sd <= between * (1 + 1e-9):
        raise ValueError(
            f"an sd of {sd:g} over all families cannot be had with a log_sd of {log_sd:g} between "
            f"authorities, whose means alone have one of {between:.3g}; above that it can"
        )
    refuse_too_many_times("an sd", sd, mean)
    return float(1 / ((1 + (sd / mean) ** 2) / np.exp(log_sd**2) - 1))


def draw_mean_durations(n: Floats, expected: Floats, shape: float, rng: Generator) -> Floats:
    """Mean durations of so many families each, whose expected one is given; 0 where there are none."""
    size = np.broadcast_shapes(n.shape, expected.shape)
    total = rng.standard_gamma(np.broadcast_to(n * shape, size))
    mean: Floats = expected * total / np.maximum(n * shape, 1e-300)
    return mean


def deliver_durations(work: Fieldwork, outcome: DurationOutcome, lasted: Lasted) -> Delivery:
    """The durations of a study's rows with the framework, and without its effect."""
    uptake, shape = work.world.settings.uptake, lasted.mean.shape
    n, dose = (np.broadcast_to(part, shape) for part in (lasted.n, lasted.dose))
    taken = uptake_of(work, n, shape)
    streams, name = work.world.streams, work.outcome
    takers, share = np.zeros(shape), np.zeros(shape)
    squares: tuple[Floats | None, ...] = (None, None)
    if outcome.effect != 0:
        takers = n
        if uptake < 1:
            takers = streams.rng("uptake", name).binomial(n.astype(np.int64), uptake).astype(np.float64)
        share = share_of_takers(takers, n, outcome.family_shape, streams.rng("uptake_spread", name))
    factor = practice_factor(outcome, dose)
    moved = lasted.mean * (1 + share * (factor - 1))
    if work.spread:
        rng = streams.rng("family_spread", name)
        of_takers = share**2 * squared_shares(takers, outcome.family_shape, rng)
        of_others = (1 - share) ** 2 * squared_shares(n - takers, outcome.family_shape, rng)
        squares = tuple((n * lasted.mean) ** 2 * (q**2 * of_takers + of_others) for q in (1.0, factor))
    null, stated = (
        duration_cells(n, mean, of) for mean, of in zip((lasted.mean, moved), squares, strict=True)
    )
    return Delivery(lasted.roster, work.occasions, uptake * dose, stated, null, uptake=taken)


def duration_cells(n: Floats, mean: Floats, squares: Floats | None) -> Cells:
    """Cells of durations, from the sum of their squares; nan where there is nobody."""
    known = np.where(n > 0, mean, np.nan)
    if squares is None:
        return Cells(n, known)
    if (n <= 1).all():
        return Cells(n, known, np.zeros((1, *n.shape[1:])))
    return Cells(n, known, np.where(n > 1, np.maximum(squares - n * mean**2, 0.0), 0.0))
