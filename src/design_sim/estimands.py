"""Estimands: the quantities asked about, computed from the potential outcomes of the drawn world.

A ladder of contrasts (rungs), each for a set of authorities, weighted by family or by authority, over a
window after the start. The truth is each replicate's own: the expected outcome of every authority under
both sides of the contrast, given its state. It is never a constant of the scenario file.
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import Literal, Self

import numpy as np
from pydantic import model_validator

from design_sim.allocation import Allocation, two_arms
from design_sim.arrays import Bools, Floats, Ints
from design_sim.stated import Group, Stated
from design_sim.streams import Streams
from design_sim.world.draw import World, draw_world, enrolled
from design_sim.world.fidelity import authority_mean, years_since
from design_sim.world.outcome import Outcome
from design_sim.world.practice import (
    component_dose,
    dose_with_exits,
    full_dose,
    last_practised,
    offered_dose,
    offered_doses,
    over_groups,
    rival_dose,
    usual_dose,
)
from design_sim.world.response import Response
from design_sim.world.settings import Time, WorldSettings, block_size

Rung = Literal["offered", "delivered", "full_fidelity", "per_fidelity", "versus_rival", "one_component"]
Average = Literal["sample", "adopters", "national", "superpopulation"]
Weights = Literal["family", "authority"]
Exit = Literal["treatment_policy", "no_exit", "while_in"]

RUNGS: dict[str, str] = {
    "offered": "offered to everybody and implemented as it would be here, against no study "
    "(informal use and rivals go on)",
    "delivered": "implemented as it would be here, on families who take part, against no study",
    "full_fidelity": "practised at fidelity 1 with a family that takes part, against no framework",
    "per_fidelity": "for each unit of fidelity: mean effect x slope of the response over the fidelities "
    "of the set's workers, for a family that takes part",
    "versus_rival": "offered and implemented as it would be here, against the rival as it would be "
    "implemented here (world.rival)",
    "one_component": "one component practised at fidelity 1 and the others not, with a family that takes "
    "part, against no framework (world.fidelity.components)",
}
"""The rungs of the ladder and what each contrasts."""
AVERAGES: dict[str, str] = {
    "sample": "the authorities enrolled in the study",
    "adopters": "the authorities that would adopt unprompted (world.adoption)",
    "national": "all authorities",
    "superpopulation": "all authorities of all the worlds that could have been drawn",
}
"""The sets that an estimand can be averaged over."""
EXITS: dict[str, str] = {
    "treatment_policy": "whatever happens, leaving the framework included",
    "no_exit": "had nobody left the framework",
    "while_in": "over the years of the window in which an authority that starts would still be practising",
}
"""What an estimand makes of authorities that leave (world.leaving)."""
IMPLEMENTED = ("offered", "delivered", "versus_rival")
"""The rungs that are about the framework as authorities would implement it."""
Doses = Sequence[tuple[Floats | float, Floats]]
"""Shares of an authority's workers, and the dose of each share."""
REFERENCE_BLOCK = 2**32 - 1
"""The block of worlds over which the superpopulation's mean is taken: beyond any that a run draws."""


class Estimand(Stated):
    """A true quantity: a rung, whose average, and how authorities are weighted: by children, or alike."""

    rung: Rung
    average: Average = "sample"
    weights: Weights = "family"
    exit: Exit = "treatment_policy"
    """What is made of authorities that leave the framework."""
    component: str | None = None
    """For the rung `one_component`: which one."""

    @model_validator(mode="after")
    def _component_of_the_rung(self) -> Self:
        if (self.component is not None) != (self.rung == "one_component"):
            raise ValueError("component belongs to the rung one_component, which needs it, and to no other")
        if self.exit != "treatment_policy" and self.rung not in IMPLEMENTED:
            raise ValueError(f"exit has no effect on {self.rung}, which is about practice as stated")
        return self


def estimand_faults(estimand: Estimand, world: WorldSettings) -> list[str]:
    """What an estimand needs of the world and does not find, `key: reason` each."""
    faults = []
    if estimand.average == "adopters" and world.adoption is None:
        faults.append("average: 'adopters' needs the table world.adoption, which says who would adopt")
    if estimand.rung == "versus_rival" and world.rival is None:
        faults.append("estimand: 'versus_rival' needs the table world.rival")
    if estimand.exit != "treatment_policy" and world.leaving is None:
        faults.append(f"exit: {estimand.exit!r} needs the table world.leaving; without it nobody leaves")
    if estimand.component is not None:
        components = world.fidelity.components
        known = components.shares if components else {}
        if estimand.component not in known:
            there = ", ".join(known) or "none, since world.fidelity.components is not stated"
            faults.append(f"component: {estimand.component!r} is not a component; there are {there}")
    return faults


def true_value(
    estimand: Estimand, world: World, allocation: Allocation, outcome: str, window: Sequence[int]
) -> Floats:
    """The estimand's value in every replicate.

    Parameters
    ----------
    outcome : str
        Name of the outcome.
    window : sequence of two int
        Months after the start, from and to, whole occasions.

    Returns
    -------
    float array, (replicate,)
        On the outcome's scale (a risk difference for a binary outcome); axis 1 where every replicate has
        the same.
    """
    if estimand.average == "superpopulation":
        settings, group = world.settings, "all"
        if world.part:
            settings, group = world.part.whole.settings, world.part.group
        about = (outcome, world.outcomes[outcome])
        return _superpopulation(estimand, settings, about, world.streams.seed, tuple(window), group)
    weights = world.children if estimand.weights == "family" else np.ones(world.n_authorities)
    if estimand.average == "national":
        unit = np.arange(world.n_authorities)[np.newaxis]
    else:
        unit = allocation.unit if estimand.average == "sample" else world.adopters
    if estimand.rung == "per_fidelity":
        return _per_fidelity(world, outcome, window, unit, weights[unit])
    effects = authority_effects(estimand, world, outcome, window)
    if estimand.exit == "while_in":
        weight = weights[unit] * enrolled(_share_in(world, window), unit)
        return _weighted(enrolled(effects, unit), weight)
    if effects.shape == (1, 1):
        return effects[:, 0]
    if estimand.average == "national":
        national: Floats = effects @ (weights / weights.sum())
        return national
    return _weighted(enrolled(effects, unit), weights[unit])


def authority_effects(estimand: Estimand, world: World, outcome: str, window: Sequence[int]) -> Floats:
    """Mean effect on the families of every authority over the window: (replicate, authority).

    Both axes 1 where the effect is the same everywhere. For `offered` the framework as it would be
    implemented, with the uptake of the world, against what the authority does of its own; `delivered` is
    that of families who take part; `versus_rival` sets the rival, as it would be implemented, in the place
    of what the authority does of its own. The other rungs are about practice that is as stated.
    """
    settings, what = world.settings, world.outcomes[outcome]
    at = occasions_in(settings.time, window)

    def effect(doses: Doses, uptake: float) -> Floats:
        by_year = np.asarray(
            sum(share * what.effect_of(world, outcome, at, dose, uptake) for share, dose in doses)
        )
        if estimand.exit != "while_in":
            return np.asarray(by_year.mean(axis=2))
        counted = _still_in(world, at)
        total = (by_year * counted).sum(axis=2)
        return np.asarray(total / np.maximum(counted.sum(axis=2), 1))

    if estimand.rung in ("full_fidelity", "per_fidelity"):
        return effect([(1.0, full_dose(world)[:, :, np.newaxis])], 1.0)
    if estimand.rung == "one_component":
        return effect([(1.0, component_dose(world, str(estimand.component))[:, :, np.newaxis])], 1.0)
    uptake = 1.0 if estimand.rung == "delivered" else settings.uptake
    instead = rival_dose(world) if estimand.rung == "versus_rival" else usual_dose(world)
    exits = estimand.exit == "treatment_policy"
    if what.curved:
        offered: Doses = offered_doses(world, at, exits=exits)
    else:
        offered = [(1.0, dose_with_exits(world, at) if exits else offered_dose(world, at))]
    return effect(offered, uptake) - effect([(1.0, instead[:, :, np.newaxis])], uptake)


def occasions_in(time: Time, window: Sequence[int]) -> Ints:
    """The occasions of a window, in months after the start, from and to; (12, 24) is the second year."""
    first, end = (time.start + month * time.per_year // 12 for month in window)
    return np.arange(first, end)


def _still_in(world: World, at: Ints) -> Bools:
    """Whether an authority that starts would still practise, (replicate, authority, occasion)."""
    stop, _ = last_practised(world)
    return np.asarray(at < stop[:, :, np.newaxis])


def _share_in(world: World, window: Sequence[int]) -> Floats:
    """Share of the window in which an authority would still practise, (replicate, authority).

    Where a whole set would have left before the window its value is nan: there is nothing to estimate.
    """
    share: Floats = _still_in(world, occasions_in(world.settings.time, window)).mean(axis=2)
    return share


def _per_fidelity(world: World, outcome: str, window: Sequence[int], unit: Ints, weight: Floats) -> Floats:
    """Mean effect at full fidelity of a set x least-squares slope of the response over its workers.

    The slope is Cov(g(f), f) / Var(f) over the workers of the set's authorities in the window, each
    authority with its weight; 1 for a linear response. Where fidelity does not vary it is g(f) / f.
    """
    settings = world.settings
    full = enrolled(authority_effects(Estimand(rung="full_fidelity"), world, outcome, window), unit)
    mean = full[:, 0] if full.shape == (1, 1) else _weighted(full, weight)
    if settings.response.shape == "linear":
        return mean
    at = occasions_in(settings.time, window)
    moments = []
    for response, power in ((Response(), 0), (Response(), 1), (settings.response, 0), (settings.response, 1)):
        moment = over_groups(world, partial(_moment, at=at, response=response, power=power))
        moments.append(_weighted(enrolled(moment, unit), weight) if moment.size > 1 else moment[:, 0])
    fidelity, square, answer, product = moments
    variance = square - fidelity**2
    varies = variance > 1e-9
    slope = np.where(
        varies, (product - answer * fidelity) / np.where(varies, variance, 1.0), answer / fidelity
    )
    per_fidelity: Floats = mean * slope
    return per_fidelity


def _moment(world: World, *, at: Ints, response: Response, power: int) -> Floats:
    """Mean over the workers of authorities and over occasions of g(fidelity) x fidelity^power."""
    years = years_since(world.settings.time)[at]
    moment = authority_mean(world, years, response, power)
    if world.settings.fidelity.shock:
        lower = authority_mean(world, years, response, power, shocked=True)
        moment = np.where(world.events.inadequate_at(at), lower, moment)
    mean: Floats = moment.mean(axis=2)
    return mean


def _weighted(values: Floats, weight: Floats) -> Floats:
    """Weighted mean over the authorities of a set, (replicate,)."""
    total = np.broadcast_to(weight, np.broadcast_shapes(weight.shape, values.shape)).sum(axis=1)
    counted = (values * weight).sum(axis=1)
    mean: Floats = np.divide(counted, total, out=np.full(counted.shape, np.nan), where=total > 0)
    return mean


@cache
def _superpopulation(
    estimand: Estimand,
    settings: WorldSettings,
    outcome: tuple[str, Outcome],
    seed: int,
    window: tuple[int, ...],
    group: Group,
) -> Floats:
    """The mean national truth over a block of worlds of its own, (1,).

    Its own Monte Carlo error is that of a block of worlds: with 151 authorities over 77,000 of them.
    """
    name, what = outcome
    world = draw_world(settings, {name: what}, block_size(settings), Streams(seed, REFERENCE_BLOCK))
    world = world.of_group(group)
    national = estimand.model_copy(update={"average": "national"})
    nobody = two_arms(np.zeros((1, 2), dtype=np.int64), 1, settings.time.start, randomised=False)
    value: Floats = true_value(national, world, nobody, name, window).mean(keepdims=True)
    return value
