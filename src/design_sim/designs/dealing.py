"""Dealing: chance among teams, workers or families below the authorities enrolled.

An authority with fewer teams than a sample asks for deals out those that it has, their number rounded by a
lot so that the stated share holds on average.

Decision: where units of a stratum are exchangeable before they are drawn, as the teams of an authority and
the workers of a team are, chance could only give other names to them: the first of each stratum start, so
that what follows is planned once. Otherwise arms are dealt out in every replicate.
"""

from typing import Literal

import numpy as np
from numpy.random import Generator

from design_sim.allocation import NEVER, Allocation, Randomisation
from design_sim.arrays import Bools, Floats, Ints
from design_sim.world.delivery import Sample
from design_sim.world.draw import World
from design_sim.world.families import teams_present

Within = Literal["study", "authority", "team", "worker"]
"""Within what chance deals arms out, each with its share of both."""


def quotas(sizes: Ints, share: float) -> Ints:
    """How many of each stratum start: whole, and in all the share of all, as near as can be.

    Examples
    --------
    >>> quotas(np.array([5, 5, 5, 4]), 0.5).tolist()
    [3, 2, 3, 2]
    """
    ends = np.floor(np.cumsum(sizes) * share + 0.5).astype(np.int64)
    each: Ints = np.diff(ends, prepend=0)
    return each


def strata_of(n_slots: int, sample: Sample, level: Literal["team", "worker"], within: Within) -> Ints:
    """The stratum of every team or worker that a study samples, (unit,)."""
    each = sample.teams * (sample.workers if level == "worker" else 1)
    per_stratum = {"study": n_slots * each, "authority": each, "team": sample.workers}[within]
    return np.arange(n_slots * each) // per_stratum


def deal(
    world: World,
    unit: Ints,
    sample: Sample,
    chance: tuple[Literal["team", "worker"], Within, float],
    rng: Generator,
) -> Allocation:
    """Deal out to the sampled teams or workers of enrolled authorities whether they start with the world.

    Parameters
    ----------
    unit : int array, (replicate, slot)
        The authorities enrolled.
    chance : level, within and share
        What is randomised, within what, and the share that starts.
    rng : Generator
        For the lots.
    """
    level, within, share = chance
    n_slots, each = unit.shape[1], sample.workers if level == "worker" else 1
    stratum = strata_of(n_slots, sample, level, within)
    sizes = np.bincount(stratum)
    dealt = np.arange(stratum.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    first = dealt < np.repeat(quotas(sizes, share), sizes)
    there = units_there(world, unit, sample.teams, each)
    exchangeable = (level, within) in (("team", "authority"), ("worker", "team"))
    treated = first[np.newaxis]
    if not exchangeable or not there.all():
        shape = (world.n_replicates, stratum.size)
        treated = _by_lot(np.broadcast_to(there, shape), sizes, share, rng)
    start = world.settings.time.start
    starts = np.where(first, start, NEVER)
    return Allocation(
        unit=unit,
        start=np.where(treated, start, NEVER),
        stop=np.full((1, stratum.size), NEVER),
        stratum=np.where(there, stratum, -1),
        law=Randomisation(tuple(starts.tolist()), tuple(stratum.tolist())),
        assigned=level,
    )


def units_there(world: World, unit: Ints, teams: int, each: int) -> Bools:
    """Whether sampled teams, or so many workers of each, are there at all: (1 or replicate, unit)."""
    present = teams_present(world, unit, teams)[:, :, np.newaxis] > np.arange(teams)
    return np.repeat(present.reshape(present.shape[0], -1), each, axis=1)


def _by_lot(there: Bools, sizes: Ints, share: float, rng: Generator) -> Bools:
    """Who starts, among the units that are there: (replicate, unit). Strata are of one size."""
    shape = (there.shape[0], sizes.size, int(sizes[0]))
    lots: Floats = np.where(there.reshape(shape), rng.random(shape), 2.0)
    rank = lots.argsort(axis=2).argsort(axis=2)
    n = there.reshape(shape).sum(axis=2)
    by_chance = np.floor(share * n + rng.random(n.shape)).astype(np.int64)
    quota = np.where(n == sizes, quotas(sizes, share), by_chance)
    return (rank < quota[:, :, np.newaxis]).reshape(there.shape)


def families_dealt(
    world: World, unit: Ints, sample: Sample, chance: tuple[Ints, float], rng: Generator
) -> Ints:
    """How many families of each sampled worker start: (1 or replicate, slot x worker).

    Parameters
    ----------
    chance : int array, (worker,), and float
        The stratum within which each worker's families are dealt out, and the share of them that starts.
    """
    stratum, share = chance
    there = units_there(world, unit, sample.teams, sample.workers)
    sizes = np.bincount(stratum) * sample.families
    if sizes.size == stratum.size:
        return np.where(there, quotas(sizes, share), 0)
    n = np.broadcast_to(there * sample.families, (world.n_replicates, stratum.size))
    n = n.reshape(world.n_replicates, sizes.size, -1)
    total = n.sum(axis=2)
    by_chance = np.floor(share * total + rng.random(total.shape)).astype(np.int64)
    treated = np.where(total == sizes, quotas(sizes, share), by_chance)
    return shared_out(treated, n, rng).reshape(world.n_replicates, -1)


def shared_out(drawn: Ints, sizes: Ints, rng: Generator) -> Ints:
    """Multivariate hypergeometric numbers: how many of those drawn belong to each part.

    Parameters
    ----------
    drawn : int array, (...)
        How many are drawn.
    sizes : int array, (..., part)
        Sizes of the parts that they are drawn from.

    Notes
    -----
    By halves: how many belong to the first half of the parts is hypergeometric, and so on in each half.
    """
    n_parts = sizes.shape[-1]
    lacking = (1 << (n_parts - 1).bit_length()) - n_parts
    empty = np.zeros((*sizes.shape[:-1], lacking), dtype=np.int64)
    levels = [np.concatenate([sizes, empty], axis=-1)]
    while levels[-1].shape[-1] > 1:
        levels.append(levels[-1][..., ::2] + levels[-1][..., 1::2])
    shares = drawn[..., np.newaxis]
    for parts in levels[-2::-1]:
        first = rng.hypergeometric(parts[..., ::2], parts[..., 1::2], shares)
        shares = np.stack([first, shares - first], axis=-1).reshape(parts.shape)
    return shares[..., :n_parts]
