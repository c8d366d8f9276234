"""Practice: the share of the framework's full effect that families receive, with a study and without.

A dose is g(fidelity) x the authority's own effect, 1 where the framework is practised at fidelity 1 in
the average authority. Without a study an authority is in one of three states: it has no framework (dose 0),
uses this one informally (with a response of its own), or has a rival (whose effect is stated as a multiple
of this framework's).
"""

from collections.abc import Callable

import numpy as np
from scipy import special

from design_sim.allocation import NEVER
from design_sim.arrays import Bools, Floats, Ints
from design_sim.world.draw import World, enrolled
from design_sim.world.fidelity import authority_mean, worker_fidelity, worker_progress, years_since


def over_groups(world: World, dose_of: Callable[[World], Floats]) -> Floats:
    """Mean over the groups of families of what `dose_of` gives for each, weighted by their shares."""
    subgroup = world.settings.subgroup
    if subgroup is None:
        return dose_of(world)
    others, own = (dose_of(world.of_group(group)) for group in ("others", "subgroup"))
    return (1 - subgroup.share) * others + subgroup.share * own


def offered_dose(world: World, at: Ints, start: int | None = None) -> Floats:
    """Dose of the framework as each authority would implement it: (replicate, authority, occasion).

    Parameters
    ----------
    world : World
        The drawn world.
    at : int array, (occasion,)
        The occasions.
    start : int, optional
        The first occasion with the framework; the world's start if not given.
    """
    if world.settings.subgroup:
        return over_groups(world, lambda group: offered_dose(group, at, start))
    years = years_since(world.settings.time, start)[at]
    dose = authority_mean(world, years, world.settings.response)
    if world.settings.fidelity.shock:
        lower = authority_mean(world, years, world.settings.response, shocked=True)
        dose = np.where(world.events.inadequate_at(at), lower, dose)
    return _with_own_effect(world, dose)


def offered_doses(world: World, at: Ints, *, exits: bool) -> list[tuple[Floats, Floats]]:
    """The doses of an authority's workers as shares of workers and the dose that each share gives.

    Two doses with the mean, variance and third moment of the workers' (Gaussian quadrature): the mean of any
    cubic function of the dose over the two is that over all workers, and of any function at all where a
    threshold leaves only two doses.

    Parameters
    ----------
    at : int array, (occasion,)
        The occasions.
    exits : bool
        Whether authorities may leave, as in `dose_with_exits`.

    Returns
    -------
    list of two float arrays, (replicate, authority, occasion)
        Share and dose; more of them where there is a subgroup. Shares sum to 1.
    """
    subgroup = world.settings.subgroup
    if subgroup is not None:
        groups = [(1 - subgroup.share, "others"), (subgroup.share, "subgroup")]
        return [
            (weight * share, dose)
            for weight, group in groups
            for share, dose in offered_doses(world.of_group(group), at, exits=exits)  # type: ignore[arg-type]
        ]
    years = years_since(world.settings.time)[at]
    nodes = _two_doses(world, years, shocked=False)
    if world.settings.fidelity.shock:
        inadequate = world.events.inadequate_at(at)
        lower = _two_doses(world, years, shocked=True)
        nodes = [
            (np.where(inadequate, low[0], node[0]), np.where(inadequate, low[1], node[1]))
            for low, node in zip(lower, nodes, strict=True)
        ]
    nodes = [(share, _with_own_effect(world, dose)) for share, dose in nodes]
    stop, switched = last_practised(world)
    if not exits or stop.size == 1:
        return nodes
    stays, then = at < stop[:, :, np.newaxis], _afterwards(world, switched)
    return [(share, np.where(stays, dose, then)) for share, dose in nodes]


def _two_doses(world: World, years: Floats, *, shocked: bool) -> list[tuple[Floats, Floats]]:
    """Shares and doses with the first three moments of g(fidelity) over an authority's workers."""
    first, second, third = (
        authority_mean(world, years, world.settings.response, degree=degree, shocked=shocked)
        for degree in (1, 2, 3)
    )
    variance = second - first**2
    varies = variance > 1e-9
    sd = np.sqrt(np.where(varies, variance, 1.0))
    skewness = np.where(varies, (third - 3 * first * second + 2 * first**3) / sd**3, 0.0)
    half, reach = skewness / 2, np.sqrt(1 + skewness**2 / 4)
    spread = np.where(varies, sd, 0.0)
    upper = (reach - half) / (2 * reach)
    return [(upper, first + spread * (half + reach)), (1 - upper, first + spread * (half - reach))]


def usual_dose(world: World) -> Floats:
    """Dose that families receive without any study, the same in every year: (replicate, authority).

    Both axes 1 where no authority has a framework of its own.
    """
    settings = world.settings
    if settings.subgroup:
        return over_groups(world, usual_dose)
    dose = world.informal_fidelity
    if settings.informal is not None:
        dose = np.where(world.uses_informally, settings.informal.response.of(dose), 0.0)
    if settings.rival is not None:
        dose = np.where(world.has_rival, rival_dose(world), dose)
    if (world.effect_multiple == 1).all():
        return dose
    return dose * np.where(world.has_rival, 1.0, world.effect_multiple)


def rival_dose(world: World) -> Floats:
    """Dose of the rival as each authority would implement it: (replicate, authority)."""
    rival = world.settings.rival
    if rival is None:
        raise ValueError("the world has no rival framework")
    components = world.settings.fidelity.components
    shared = sum(components.shares[name] for name in rival.shares) if components else 0.0
    dose: Floats = world.rival_fidelity * (rival.effect + shared)
    return dose


def last_practised(world: World, start: int | None = None) -> tuple[Ints, Bools]:
    """When authorities that start would have stopped again, and which of them by a switch.

    Returns
    -------
    stop : int array, (replicate, authority)
        The first occasion without the framework; `NEVER` for those that stay. Axes 1 where nobody leaves.
    switched : bool array, (replicate, authority)
        Whether they stopped for another framework: the rival where there is one, else none.
    """
    time = world.settings.time
    first = time.start if start is None else start
    departures, switches = world.events.departures
    year = int(time.year_of(first))
    leaves = departures[:, :, year : time.n_years - 1]
    if not leaves.any():
        return np.full((1, 1), NEVER), np.zeros((1, 1), dtype=np.bool_)
    at = leaves.argmax(axis=2)
    left = leaves.any(axis=2)
    switched = np.take_along_axis(switches[:, :, year:], at[:, :, np.newaxis], axis=2)[:, :, 0] & left
    return np.where(left, time.per_year * (year + 1 + at), NEVER), switched


def dose_with_exits(world: World, at: Ints) -> Floats:
    """Dose of an authority that starts with the world and may leave: (replicate, authority, occasion)."""
    stop, switched = last_practised(world)
    if stop.size == 1:
        return offered_dose(world, at)
    return np.where(at < stop[:, :, np.newaxis], offered_dose(world, at), _afterwards(world, switched))


def _afterwards(world: World, switched: Bools) -> Floats:
    """Dose once an authority has left, (replicate, authority, 1): as before, or of what it switched to."""
    other = rival_dose(world) if world.settings.rival else np.zeros((1, 1))
    return np.where(switched, other, usual_dose(world))[:, :, np.newaxis]


def full_dose(world: World) -> Floats:
    """Dose at fidelity 1, (replicate, authority): both axes 1 where the effect is the same everywhere."""
    return over_groups(world, lambda group: _with_own_effect(group, np.ones((1, 1, 1)))[:, :, 0])


def component_dose(world: World, name: str) -> Floats:
    """Dose where one component is practised at fidelity 1 and the others are not, (replicate, authority)."""
    components = world.settings.fidelity.components
    if components is None:
        raise ValueError("fidelity is of one piece: world.fidelity.components is not stated")
    dose = world.settings.response.of(np.full((1, 1, 1), components.shares[name]))
    return over_groups(world, lambda group: _with_own_effect(group, dose)[:, :, 0])


def delivered_dose(world: World, unit: Ints, start: Ints, occasions: Ints) -> Floats:
    """Dose in the authorities of a study, rows being authorities: (replicate, slot, occasion).

    Parameters
    ----------
    unit : int array, (replicate, slot)
        The authority in each slot.
    start : int array, (1 or replicate, slot)
        First occasion with the framework, `NEVER` where there is none.
    occasions : int array, (occasion,)
        The occasions to observe.
    """

    def offered(first: int, at: Ints) -> Floats:
        return enrolled(offered_dose(world, at, first), unit)

    return _dose_of_slots(world, unit, start, occasions, offered, 1)


def worker_dose(world: World, unit: Ints, start: Ints, occasions: Ints, workers: Ints) -> Floats:
    """Dose of the families of sampled workers: (replicate, slot x worker, occasion).

    Parameters
    ----------
    start : int array, (1 or replicate, slot, or slot x team, or slot x worker)
        First occasion with the framework of every slot, or of the teams or workers in each in turn.
    workers : int array, (worker,)
        Which workers of each authority are sampled; rows are the workers of each slot in turn.
    """
    if world.settings.subgroup:
        groups = [world.of_group("others"), world.of_group("subgroup")]
        others, own = (worker_dose(group, unit, start, occasions, workers) for group in groups)
        belongs = in_subgroup(world, unit, workers).reshape(world.n_replicates, -1, 1)
        return np.where(belongs, own, others)
    mature = worker_fidelity(world, unit, workers)

    def offered(first: int, at: Ints) -> Floats:
        years = years_since(world.settings.time, first)[at]
        fidelity = mature[..., np.newaxis] * worker_progress(world, unit, workers, years)
        if world.settings.fidelity.shock:
            shocked = enrolled(world.events.inadequate_at(at), unit)[:, :, np.newaxis]
            fidelity = fidelity * np.where(shocked, 1 - world.settings.fidelity.shock, 1.0)
        dose = world.settings.response.of(fidelity)
        dose = np.where(years > 0, dose, 0.0)
        if (world.effect_multiple != 1).any():
            own_effect = enrolled(world.effect_multiple, unit)
            dose = dose * own_effect[:, :, np.newaxis, np.newaxis]
        rows: Floats = dose.reshape(dose.shape[0], -1, at.size)
        return rows

    return _dose_of_slots(world, unit, start, occasions, offered, workers.size)


def practised_at(world: World, unit: Ints, start: Ints, occasions: Ints) -> Bools:
    """When a study's rows have the framework that it put there: (replicate or 1, row, occasion).

    Parameters
    ----------
    start : int array, (1 or replicate, row)
        First occasion with the framework of every row, as many of them in each slot.
    """
    practised: Bools = start[:, :, np.newaxis] <= occasions
    for first in np.unique(start[start < NEVER]):
        stop = enrolled(last_practised(world, int(first))[0], unit)
        if stop.size > 1:
            stop = np.repeat(stop, start.shape[1] // unit.shape[1], axis=1)
            gone = (start == first)[:, :, np.newaxis] & (occasions >= stop[:, :, np.newaxis])
            practised = practised & ~gone
    return practised


def in_subgroup(world: World, unit: Ints, workers: Ints) -> Bools:
    """Whether the team of a sampled worker is one of the subgroup's, (replicate, slot, worker)."""
    subgroup = world.settings.subgroup
    if subgroup is None:
        return np.zeros((1, unit.shape[1], workers.size), dtype=np.bool_)
    team = workers // world.settings.workers.per_team
    place = enrolled(world.members("subgroup", int(team[-1]) + 1), unit)[:, :, team]
    belongs: Bools = special.ndtr(place) < subgroup.share
    return belongs


def _dose_of_slots(
    world: World,
    unit: Ints,
    start: Ints,
    occasions: Ints,
    offered: Callable[[int, Ints], Floats],
    rows: int,
) -> Floats:
    """The usual dose until an authority starts, the offered one from then on, and what follows if it leaves.

    A slot has so many rows, which start with it or with the part of it that they belong to; `offered` gives
    the dose of all rows by the occasion that they start at.
    """

    def spread(values: Floats | Ints | Bools) -> Floats:
        there = enrolled(values, unit)
        return there if there.shape[1] == 1 or rows == 1 else np.repeat(there, rows, axis=1)

    usual = spread(usual_dose(world))[:, :, np.newaxis]
    starts = np.repeat(start, unit.shape[1] * rows // start.shape[1], axis=1)[:, :, np.newaxis]
    dose = np.broadcast_to(usual, (*usual.shape[:2], occasions.size))
    for first in np.unique(start[start < NEVER]):
        practised = offered(int(first), occasions)
        stop, switched = last_practised(world, int(first))
        if stop.size > 1:
            stays = occasions < spread(stop)[:, :, np.newaxis]
            practised = np.where(
                stays, practised, spread(_afterwards(world, switched)[:, :, 0])[:, :, np.newaxis]
            )
        dose = np.where((starts == first) & (occasions >= first), practised, dose)
        year = world.settings.time.per_year
        soon = (occasions < first) & (occasions >= first - year)
        if world.settings.anticipation and soon.any():
            share = world.settings.anticipation
            a_year_on = np.minimum(occasions[soon] + year, world.settings.time.occasions - 1)
            coming = offered(int(first), a_year_on)
            ahead = dose.copy()
            ahead[:, :, soon] = usual + share * (coming - usual)
            dose = np.where((starts == first) & soon, ahead, dose)
    return dose


def _with_own_effect(world: World, dose: Floats) -> Floats:
    """A dose times the authority's own effect, where authorities differ in it."""
    if (world.effect_multiple == 1).all():
        return dose
    return dose * world.effect_multiple[:, :, np.newaxis]
