"""Balance: chance within strata, within pairs, or among the best balanced of many arrangements.

What is balanced is what a trialist can know before the start. Balance on what moves the outcome takes the
chance imbalance of a small trial out of the estimate; inference has to follow the law that made it
(permutation does; a t test on means is then conservative unless it adjusts for the same).

Source: Moulton (2004), Clinical Trials 1, 297-305 (covariate-constrained randomisation); Li, Lokhnygina,
Murray, Heagerty and DeLong (2016), Statistics in Medicine 35, 1565-1579; Imai, King and Nall (2009),
Statistical Science 24, 29-53 (matched pairs).
"""

from typing import Annotated, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from design_sim.allocation import NEVER, Allocation, ConstrainedRandomisation, Randomisation
from design_sim.arrays import Floats, Ints
from design_sim.stated import OpenShare, Stated
from design_sim.world.draw import World, enrolled

Known = Literal["size", "deprivation", "rating", "baseline"]
KNOWN: dict[Known, str] = {
    "size": "children living in the authority, on the logarithmic scale",
    "deprivation": "deprivation of the authority",
    "rating": "last inspection rating before the start",
    "baseline": "mean of the recorded outcome in the years before the start",
}
"""What a trialist can know of authorities before the start, by name."""


class Balance(Stated):
    """How chance is held in check when authorities are allocated."""

    method: Literal["strata", "pairs", "constrained"]
    """`strata`: chance within groups that are alike; `pairs`: within pairs of neighbours; `constrained`:
    among the best balanced of many arrangements."""
    on: Annotated[tuple[Known, ...], Field(strict=False)]
    """What is balanced: size, deprivation, rating, baseline. Strata and pairs are neighbours in the mean of
    the standardised values."""
    strata: Annotated[int, Field(ge=2, le=1_000)] | None = None
    """For `strata`: how many of them, as equal as can be; 2 if not given."""
    candidates: Annotated[int, Field(ge=20, le=100_000)] | None = None
    """For `constrained`: arrangements drawn by chance to choose among, the same in every replicate; 1,000 if
    not given."""
    share: OpenShare | None = None
    """For `constrained`: the share of them that are balanced enough; 0.1 if not given."""

    @model_validator(mode="after")
    def _belongs_to_the_method(self) -> Self:
        if not self.on or len(set(self.on)) < len(self.on):
            raise ValueError("on: name what is balanced, each once")
        of = {"strata": ("strata",), "pairs": (), "constrained": ("candidates", "share")}
        for key in ("strata", "candidates", "share"):
            if getattr(self, key) is not None and key not in of[self.method]:
                raise ValueError(f"{key} has no effect with method {self.method!r}")
        return self


def balance_faults(balance: Balance, authorities: int, treated: int) -> list[str]:
    """Why so many authorities cannot be balanced so, `balance.key: reason` each."""
    if balance.method == "pairs" and (authorities % 2 or 2 * treated != authorities):
        return ["balance.method: pairs need an even number of authorities, half of them treated"]
    strata = balance.strata or 2
    if balance.method == "strata" and 2 * strata > authorities:
        return [f"balance.strata: {strata} strata need at least {2 * strata} authorities, two in each"]
    return []


def balanced(
    balance: Balance, world: World, outcome: str, unit: Ints, treated: int, rng: Generator
) -> Allocation:
    """Allocate enrolled authorities to two arms in balance.

    Parameters
    ----------
    outcome : str
        The design's outcome, for its baseline.
    unit : int array, (replicate, slot)
        The authorities enrolled, in an order of chance.
    treated : int
        How many are to be treated.
    rng : Generator
        For the lots.
    """
    known = np.stack(
        [standardised(enrolled(known_of(world, outcome, name), unit)) for name in balance.on], axis=2
    )
    start = world.settings.time.start
    if balance.method == "constrained":
        return _constrained(balance, known, unit, (treated, start), rng)
    n_strata = unit.shape[1] // 2 if balance.method == "pairs" else balance.strata or 2
    return _within_strata(n_strata, known.mean(axis=2), unit, (treated, start), rng)


def _within_strata(
    n_strata: int, score: Floats, unit: Ints, arm: tuple[int, int], rng: Generator
) -> Allocation:
    """Treated slots first, stratum by stratum, then the comparison slots, stratum by stratum."""
    treated, start = arm
    ends = np.linspace(0, unit.shape[1], n_strata + 1).round().astype(np.int64)
    sizes: Ints = ends[1:] - ends[:-1]
    n_treated = _shared_out(treated, sizes)
    order = np.argsort(score, axis=1, kind="stable")
    stratum = np.repeat(np.arange(n_strata), sizes)
    lot = rng.random(unit.shape)
    within = np.lexsort((lot, np.broadcast_to(stratum, unit.shape)), axis=1)
    place = np.arange(unit.shape[1]) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    is_treated = place < np.repeat(n_treated, sizes)
    slots = np.concatenate([np.flatnonzero(is_treated), np.flatnonzero(~is_treated)])
    ordered = np.take_along_axis(np.take_along_axis(unit, order, axis=1), within, axis=1)
    starts = np.where(is_treated[slots], start, NEVER)
    return Allocation(
        unit=ordered[:, slots],
        start=starts[np.newaxis],
        stop=np.full((1, slots.size), NEVER),
        stratum=stratum[slots][np.newaxis],
        law=Randomisation(tuple(starts.tolist()), tuple(stratum[slots].tolist())),
    )


def _constrained(
    balance: Balance, known: Floats, unit: Ints, arm: tuple[int, int], rng: Generator
) -> Allocation:
    """One by chance of each replicate's best balanced candidates."""
    treated, start = arm
    n_slots = unit.shape[1]
    law = Randomisation((start,) * treated + (NEVER,) * (n_slots - treated), (0,) * n_slots)
    candidates = law.draw(rng, balance.candidates or 1_000)
    weights = np.where(candidates < NEVER, 1 / treated, -1 / (n_slots - treated))
    imbalance = np.zeros((unit.shape[0], candidates.shape[0]))
    for variable in range(known.shape[2]):
        imbalance += (known[:, :, variable] @ weights.T) ** 2
    kept = max(round((balance.share or 0.1) * candidates.shape[0]), 2)
    limit = np.partition(imbalance, kept - 1, axis=1)[:, kept - 1 : kept]
    allowed = imbalance <= limit
    lot = np.where(allowed, rng.random(allowed.shape), -1.0)
    starts = candidates[lot.argmax(axis=1)]
    return Allocation(
        unit=unit,
        start=starts,
        stop=np.full((1, n_slots), NEVER),
        stratum=np.zeros((1, n_slots), dtype=np.int64),
        law=ConstrainedRandomisation(candidates, allowed, mirrored=False),
    )


def _shared_out(treated: int, sizes: Ints) -> Ints:
    """How many are treated in each stratum, by largest remainders: whole, and so many in all."""
    exact = treated * sizes / sizes.sum()
    whole: Ints = np.floor(exact).astype(np.int64)
    for place in np.argsort(whole - exact, kind="stable")[: treated - whole.sum()]:
        whole[place] += 1
    return whole


def known_of(world: World, outcome: str, name: str) -> Floats:
    """One thing that is known of every authority, (replicate or 1, authority).

    Parameters
    ----------
    outcome : str
        A recorded outcome, for its baseline.
    name : str
        A key of `KNOWN`.
    """
    if name == "size":
        return np.log(world.children)[np.newaxis]
    if name == "deprivation":
        return world.deprivation
    if name == "rating":
        return world.events.rating.astype(np.float64)
    before: Floats = world.record(outcome).mean[:, :, : world.settings.time.start].mean(axis=2)
    return before


def standardised(values: Floats) -> Floats:
    """Standardised over authorities, (replicate, authority); 0 where they do not differ."""
    centred = values - values.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    standardised: Floats = centred / np.where(spread > 0, spread, 1.0)
    return standardised
