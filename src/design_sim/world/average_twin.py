"""The average null twin: effects that differ as they do, about a mean of nothing.

In the sharp null twin nobody's effect is other than 0. Here the study's authorities keep their differences:
each one's effect of being offered the framework is centred, so that over the authorities enrolled, counted
alike, it is 0 at every occasion. A test that holds its size in the first and not here takes a spread of
effects for an effect. Frameworks that authorities have of their own have no effect, as in the sharp twin.

Source: the two hypotheses are those of Fisher and of Neyman; Ding (2017), Statistical Science 32, 331-345.
"""

from collections.abc import Callable

import numpy as np

from design_sim.allocation import NEVER, Allocation
from design_sim.arrays import Floats, Ints
from design_sim.world.draw import World, enrolled
from design_sim.world.practice import delivered_dose

_STEPS = 6
"""Newton steps: one is exact for an effect that is linear in the dose, and four leave nothing of a risk's."""


def centred_dose(
    world: World,
    allocation: Allocation,
    outcome: str,
    occasions: Ints,
    dose_of: Callable[[Ints], Floats],
) -> Floats:
    """Dose of every row in the average null twin, (replicate, row, occasion).

    Parameters
    ----------
    outcome : str
        Name of the outcome whose effect is centred.
    dose_of : callable
        Gives the dose of every row by the start of each slot, or of its teams or workers, (1 or replicate,
        assigned).

    Returns
    -------
    float array, (replicate, row, occasion)
        0 where a slot has not started; from then on what the framework adds there, less the shift that
        makes the mean effect over the slots 0, had all of them started.
    """
    start = allocation.start
    never = np.full_like(start, NEVER)
    added = dose_of(start) - dose_of(never)
    rows = added.shape[1] // start.shape[1]
    lead = world.settings.time.per_year if world.settings.anticipation else 0
    begun = np.repeat(start, rows, axis=1)[:, :, np.newaxis] - lead <= occasions
    shift = _shift(world, allocation.unit, int(start.min()), outcome, occasions)
    return np.where(begun, added - shift, 0.0)


def _shift(world: World, unit: Ints, start: int, outcome: str, occasions: Ints) -> Floats:
    """What to take off every dose for the mean effect over the slots to be 0, (replicate, 1, occasion)."""
    everybody = np.broadcast_to(np.arange(world.n_authorities), (world.n_replicates, world.n_authorities))
    starts, never = (np.full((1, world.n_authorities), first) for first in (start, NEVER))
    added = delivered_dose(world, everybody, starts, occasions)
    added = added - delivered_dose(world, everybody, never, occasions)

    def mean_effect(shift: Floats) -> Floats:
        effect = world.outcomes[outcome].effect_of(
            world, outcome, occasions, added - shift, world.settings.uptake
        )
        mean: Floats = enrolled(effect, unit).mean(axis=1, keepdims=True)
        return mean

    shift: Floats = enrolled(added, unit).mean(axis=1, keepdims=True)
    for _ in range(_STEPS):
        effect = mean_effect(shift)
        slope = (mean_effect(shift + 1e-4) - mean_effect(shift - 1e-4)) / 2e-4
        if (np.abs(effect) <= 1e-13).all():
            break
        shift = shift - np.divide(effect, slope, out=np.zeros_like(effect), where=slope != 0)
    return shift
