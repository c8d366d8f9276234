"""Leavers: what an analyst makes of pilots that left the framework.

They are kept as they are, dropped whole, censored from when they left, or replaced. The estimand's set stays
as enrolled, whatever the rule.

Decision: a pilot is replaced from hindsight, and for all occasions, by an authority outside the study that
would have had the framework since the study's start and has it still: first those that used it informally
anyway, among them those whose quality has risen most over the years on record. In the second evaluation of
Signs of Safety a pilot that had left was replaced by an authority that had gone from 'requires improvement'
in 2014 to 'outstanding' in 2018 (Baginsky et al. 2021). Its slot is delivered with the reserve standing in
it, on the draws that the pilot would have met: so the study differs from that which keeps the pilot by the
replacement alone.
"""

from dataclasses import replace

import numpy as np

from design_sim.allocation import NEVER, Allocation
from design_sim.arrays import Bools, Floats, Ints
from design_sim.world.draw import World, enrolled
from design_sim.world.practice import last_practised
from design_sim.world.settings import WorldSettings


def stops_of(world: World, allocation: Allocation) -> Ints:
    """First occasion that a pilot is without the framework again: (replicate or 1, slot).

    `NEVER` for those that stay, and for authorities that do not start.
    """
    stops = np.full((1, allocation.n_slots), NEVER)
    for first in np.unique(allocation.start[allocation.start < NEVER]):
        stop = enrolled(last_practised(world, int(first))[0], allocation.unit)
        stops = np.where(allocation.start == first, stop, stops)
    return stops


def left_out(rule: str, world: World, allocation: Allocation, occasions: Ints) -> Bools:
    """What the analyst leaves out because a pilot left: (replicate or 1, slot, occasion).

    Parameters
    ----------
    rule : str
        `drop` for all occasions of a pilot that left, `censor` for those without the framework.
    occasions : int array, (occasion,)
        The occasions observed.
    """
    stops = stops_of(world, allocation)[:, :, np.newaxis]
    if rule == "censor":
        return np.asarray(occasions >= stops)
    left = stops <= occasions[-1]
    return np.broadcast_to(left, (*left.shape[:2], occasions.size))


def with_replacements(world: World, allocation: Allocation, last: int) -> Allocation:
    """The allocation with a reserve in the slot of every pilot that left by the last occasion observed.

    The first pilot that left, in the order of slots, has the first reserve, and so on.

    Parameters
    ----------
    last : int
        The last occasion observed.
    """
    left = np.broadcast_to(stops_of(world, allocation) <= last, allocation.unit.shape)
    if not left.any():
        return allocation
    rank = np.maximum(left.cumsum(axis=1) - 1, 0)
    reserve = np.take_along_axis(reserves(world, allocation, last), rank, axis=1)
    return replace(allocation, unit=np.where(left, reserve, allocation.unit))


def reserves(world: World, allocation: Allocation, last: int) -> Ints:
    """All authorities, first those that may replace a pilot, in their order: (replicate, authority).

    Outside the study first; then those that would not have left themselves by the last occasion observed;
    then those that use the framework informally; then by the rise of quality from the first to the last year
    on record; ties by chance.
    """
    shape = (world.n_replicates, world.n_authorities)
    inside = np.zeros(shape, dtype=np.bool_)
    np.put_along_axis(inside, allocation.unit, True, axis=1)
    left = last_practised(world)[0] <= last
    rise: Floats = world.quality_in(world.settings.time.n_years - 1) - world.quality_in(0)
    keys = (world.uniform("replacement"), -rise, ~world.uses_informally, left, inside)
    order: Ints = np.lexsort([np.broadcast_to(key, shape) for key in keys], axis=1)
    return order


def replacement_faults(n_enrolled: int, n_treated: int, world: WorldSettings) -> list[str]:
    """Too few authorities outside a study to replace all its pilots, `key: reason`."""
    outside = world.authorities - n_enrolled
    if outside >= n_treated:
        return []
    return [
        f"leavers: 'replace' needs {n_treated} authorities outside the study, one for each pilot; "
        f"the world leaves {max(outside, 0)}"
    ]
