"""Deviations: how far authorities stand from the national mean of each outcome, over time.

An outcome's deviation is made of quality, of deprivation, and of a part of its own with its own memory, in
shares that give the stated correlations; on top come an authority's own trend and how a shock hits it.

Decision: outcomes are correlated by correlating the normals that their own parts are made of, in the order of
the file, so that an outcome added at its end moves no other. What quality and deprivation make of a
stated correlation is taken off first. Where two memories differ, equal normals still leave the two
processes less than perfectly correlated in the same year, on average over the occasions by a factor that is
divided out.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from design_sim.arrays import Floats
from design_sim.world.memory import memory_root, occasion_variance
from design_sim.world.outcome import Deviations, Outcome, in_shock
from design_sim.world.settings import WorldSettings

if TYPE_CHECKING:
    from design_sim.world.draw import World


def draw_deviations(world: "World", name: str) -> Deviations:
    """The deviations of an outcome, at every occasion.

    Parameters
    ----------
    name : str
        Name of the outcome.
    """
    outcome, time = world.outcomes[name], world.settings.time
    quality, deprivation = outcome.quality_correlation, outcome.deprivation_correlation
    deviation = _own_part(world, name)
    if quality or deprivation:
        deviation = np.sqrt(max(1 - quality**2 - deprivation**2, 0.0)) * deviation
        if quality:
            deviation = quality * world.quality + deviation
        if deprivation:
            deviation = deprivation * world.deprivation[:, :, np.newaxis] + deviation
    deviation = _with_slope_and_shock(world, name, deviation)
    return Deviations(deviation, time.years, occasion_sd(outcome, world.settings))


def occasion_sd(outcome: Outcome, world: WorldSettings) -> float:
    """Standard deviation of an occasion's deviation, where that of an annual mean is 1."""
    if world.time.per_year == 1:
        return 1.0
    of_quality = occasion_variance(world.quality, world.time.per_year)
    of_own = occasion_variance(outcome.memory or world.quality, world.time.per_year)
    quality, deprivation = outcome.quality_correlation**2, outcome.deprivation_correlation**2
    return float(np.sqrt(quality * of_quality + deprivation + (1 - quality - deprivation) * of_own))


def _own_part(world: "World", name: str) -> Floats:
    """What an outcome shares with neither quality nor deprivation, (replicate, authority, occasion or 1)."""
    tied = correlated_outcomes(world.outcomes)
    if name not in tied:
        return world.process("record", name, world.outcomes[name].memory)
    mixing = np.linalg.cholesky(own_correlations(world.outcomes, world.settings))
    time, place = world.settings.time, tied.index(name)
    shape = (world.n_replicates, world.n_authorities, time.occasions)
    normals: Floats = np.zeros((1, 1, 1))
    for other, share in zip(tied, mixing[place], strict=True):
        if share:
            normals = normals + share * world.streams.rng("record", other).standard_normal(shape)
    own: Floats = normals @ _whole_root(world.outcomes[name], world.settings)
    return own


def _with_slope_and_shock(world: "World", name: str, deviation: Floats) -> Floats:
    """Deviations with the authorities' own trends, and with how a shock hits each of them."""
    outcome, years = world.outcomes[name], world.settings.time.years
    shape = (world.n_replicates, world.n_authorities, 1)
    if outcome.slope_sd:
        slope = outcome.slope_sd * world.streams.rng("slope", name).standard_normal(shape)
        deviation = deviation + slope * years
    if outcome.shock and outcome.shock.authority_sd:
        hit = outcome.shock.authority_sd * world.streams.rng("shock", name).standard_normal(shape)
        deviation = deviation + hit * in_shock(outcome.shock, years)
    return deviation


def correlated_outcomes(outcomes: Mapping[str, Outcome]) -> list[str]:
    """The outcomes that are correlated with another, in the file's order."""
    pairs = [(name, other) for name, outcome in outcomes.items() for other in outcome.correlations]
    tied = {name for pair in pairs if pair[1] in outcomes for name in pair}
    return [name for name in outcomes if name in tied]


def own_correlations(outcomes: Mapping[str, Outcome], world: WorldSettings) -> Floats:
    """Correlations of the normals behind the own parts of the correlated outcomes, (outcome, outcome)."""
    tied = correlated_outcomes(outcomes)
    correlation = np.eye(len(tied))
    for i, first in enumerate(tied):
        for j, second in enumerate(tied[:i]):
            stated = outcomes[first].correlations.get(second, outcomes[second].correlations.get(first, 0.0))
            correlation[i, j] = correlation[j, i] = _own(outcomes[first], outcomes[second], stated, world)
    return correlation


def correlation_faults(outcomes: Mapping[str, Outcome], world: WorldSettings) -> list[str]:
    """What is wrong with the stated correlations between outcomes, a line for each fault."""
    faults = []
    for name, outcome in outcomes.items():
        for other in outcome.correlations:
            at = f"outcomes.{name}.correlations.{other}"
            if other == name:
                faults.append(f"{at}: an outcome's correlation with itself is 1")
            elif other not in outcomes:
                faults.append(f"{at}: there is no outcome of that name")
            elif name in outcomes[other].correlations and list(outcomes).index(name) < list(outcomes).index(
                other
            ):
                faults.append(f"{at}: is stated at both outcomes; state each pair once")
    if faults or not correlated_outcomes(outcomes):
        return faults
    least = float(np.linalg.eigvalsh(own_correlations(outcomes, world))[0])
    if least <= 1e-9:
        tied = ", ".join(correlated_outcomes(outcomes))
        faults.append(
            f"outcomes: the correlations of {tied} cannot be had together (with those with quality and "
            "deprivation, and the memories, as stated); smaller ones can"
        )
    return faults


def _own(first: Outcome, second: Outcome, stated: float, world: WorldSettings) -> float:
    """The correlation of the normals of two own parts that gives the stated one of the deviations."""
    shared = first.quality_correlation * second.quality_correlation
    shared += first.deprivation_correlation * second.deprivation_correlation
    left = [1 - of.quality_correlation**2 - of.deprivation_correlation**2 for of in (first, second)]
    if min(left) <= 0:
        return 0.0 if np.isclose(stated, shared) else 2.0
    roots = [_whole_root(of, world) for of in (first, second)]
    scale = [np.sqrt((root**2).sum(axis=0)) for root in roots]
    same_year = float(((roots[0] * roots[1]).sum(axis=0) / (scale[0] * scale[1])).mean())
    return float((stated - shared) / np.sqrt(left[0] * left[1]) / same_year)


def _whole_root(outcome: Outcome, world: WorldSettings) -> Floats:
    """The root of an outcome's memory with a normal for every occasion, (occasion, occasion)."""
    occasions = world.time.occasions
    root = memory_root(outcome.memory or world.quality, occasions, world.time.per_year)
    if root.size > 1 or occasions == 1:
        return root
    whole = np.zeros((occasions, occasions))
    whole[0] = 1.0
    return whole
