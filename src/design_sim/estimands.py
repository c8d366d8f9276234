"""Estimands: the quantities asked about, computed from the potential outcomes of the drawn world.

A ladder of contrasts (rungs), each for a set of authorities, weighted by family or by authority, over a
window after the start. The truth is each replicate's own: the expected outcome of every authority under
both sides of the contrast, given its state. It is never a constant of the scenario file.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from design_sim.allocation import Allocation
from design_sim.arrays import Floats
from design_sim.stated import Stated
from design_sim.world.draw import World, enrolled
from design_sim.world.fidelity import maturity

Rung = Literal["offered", "full_fidelity", "per_fidelity"]
Average = Literal["sample", "adopters", "national"]
Weights = Literal["family", "authority"]

RUNGS: dict[str, str] = {
    "offered": "offered to everybody and implemented as it would be here, against no study "
    "(informal use goes on)",
    "full_fidelity": "practised at fidelity 1 with a family that takes part, against no framework",
    "per_fidelity": "for each unit of fidelity: mean effect x slope of the response to fidelity, "
    "for a family that takes part",
}
"""The rungs of the ladder and what each contrasts."""
AVERAGES: dict[str, str] = {
    "sample": "the authorities enrolled in the study",
    "adopters": "the authorities that would adopt unprompted (world.adoption)",
    "national": "all authorities",
}
"""The sets that an estimand can be averaged over."""


class Estimand(Stated):
    """A true quantity: a rung, whose average, and how authorities are weighted: by children, or alike."""

    rung: Rung
    average: Average = "sample"
    weights: Weights = "family"


def true_value(
    estimand: Estimand, world: World, allocation: Allocation, outcome: str, window: Sequence[int]
) -> Floats:
    """The estimand's value in every replicate.

    Parameters
    ----------
    outcome : str
        Name of the outcome.
    window : sequence of two int
        Whole years after the start, from and to; (1, 2) is months 12 to 24.

    Returns
    -------
    float array, (replicate,)
        On the outcome's scale (a risk difference for a binary outcome); axis 1 where every replicate has
        the same.
    """
    effects = authority_effects(estimand.rung, world, outcome, window)
    if effects.shape == (1, 1):
        return effects[:, 0]
    weights = world.children if estimand.weights == "family" else np.ones(world.n_authorities)
    if estimand.average == "national":
        national: Floats = effects @ (weights / weights.sum())
        return national
    unit = allocation.unit if estimand.average == "sample" else world.adopters
    weight = weights[unit]
    value: Floats = (enrolled(effects, unit) * weight).sum(axis=1) / weight.sum(axis=1)
    return value


def authority_effects(rung: Rung, world: World, outcome: str, window: Sequence[int]) -> Floats:
    """Mean effect on the families of every authority over the window: (replicate, authority).

    Both axes 1 where the effect is the same everywhere. `offered` contrasts the fidelity reached in the
    window with that of informal use, both with the uptake of the world; `full_fidelity` contrasts fidelity
    1 with none, for a family that takes part. Since the response to fidelity is linear its slope is 1, and
    `per_fidelity` has the value of `full_fidelity`.
    """
    settings, what = world.settings, world.outcomes[outcome]
    at = np.arange(settings.time.start + window[0], settings.time.start + window[1])
    if rung not in ("offered", "full_fidelity", "per_fidelity"):
        raise ValueError(f"{rung} is not a rung of the ladder; there are {', '.join(RUNGS)}")
    if rung != "offered":
        full: Floats = what.effect_of(world, outcome, at, np.ones((1, 1, 1)), 1.0).mean(axis=2)
        return full
    implemented = world.mature_fidelity[:, :, np.newaxis] * maturity(world)[at]
    informal = world.informal_fidelity[:, :, np.newaxis]
    with_study, without = (
        what.effect_of(world, outcome, at, fidelity, settings.uptake).mean(axis=2)
        for fidelity in (implemented, informal)
    )
    offered: Floats = with_study - without
    return offered
