"""Allocation: which authority stands in which slot of a study, treated from when until when.

Everything that a design decides goes through it, and the law by which it could have been otherwise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from math import comb, prod
from typing import Annotated, Protocol

import numpy as np
from numpy.random import Generator

from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.roster import Level

NEVER = 2**31
"""The `start` of a slot that is never treated, later than any occasion."""


@dataclass(frozen=True, slots=True)
class Arrangements(Batch):
    """How the starts of a study's units could have been dealt out.

    Parameters
    ----------
    start : int array, (arrangement, unit)
        First treated occasion of every unit.
    identity : int
        1 where the arrangement as it was is to be counted beside these, 0 where it is one of them.
    floor : float array, (replicate,)
        The smallest share of them that can be as large as the largest in any statistic that changes no more
        than its sign when arms are exchanged.
    allowed : bool array or None, (replicate, arrangement)
        Which of them a replicate's law could have made; None for all.
    """

    start: Annotated[Ints, "arrangement unit"]
    identity: int
    floor: Annotated[Floats, "replicate"]
    allowed: Annotated[Bools, "replicate arrangement"] | None = None


class Law(Protocol):
    """By what chance the starts of a study's units were dealt out."""

    @property
    def randomised(self) -> bool:
        """Whether chance did decide; if not, inference by the law is "as if randomised"."""
        ...

    def arrangements(self, most: int, rng: Generator) -> Arrangements:
        """All equally likely arrangements where there are at most `most` + 1, or so many drawn by chance."""
        ...


@dataclass(frozen=True, slots=True)
class Randomisation:
    """The law under which every exchange of starts between units of a stratum was as likely.

    Parameters
    ----------
    start : tuple of int, (unit,)
        First treated occasion of every unit, as it was.
    stratum : tuple of int, (unit,)
        Stratum within which chance dealt the starts out; pairs are strata of two.
    randomised : bool
        Whether chance did decide.
    """

    start: tuple[int, ...]
    stratum: tuple[int, ...]
    randomised: bool = True

    @property
    def n_arrangements(self) -> int:
        """Number of different arrangements, all equally likely."""
        return prod(_multinomial([self.start[i] for i in members]) for members in self._strata())

    @property
    def mirrored(self) -> bool:
        """Whether exchanging the arms of an arrangement of two arms gives another one."""
        two = len(set(self.start)) == 2
        return two and all(
            2 * sum(self.start[i] == self.start[members[0]] for i in members) == len(members)
            for members in self._strata()
        )

    def arrangements(self, most: int, rng: Generator) -> Arrangements:
        """All of them, or `most` drawn by chance where there are more; the same for every replicate.

        Of two mirror images, which any difference between two arms tells apart by its sign only, one is
        given where all are.
        """
        if self.n_arrangements <= most + 1:
            floor = (2 if self.mirrored else 1) / self.n_arrangements
            return Arrangements(_every(self), 0, np.full(1, floor))
        return Arrangements(self.draw(rng, most), 1, np.full(1, 1 / (most + 1)))

    def draw(self, rng: Generator, n: int) -> Ints:
        """Deal the starts out again, n times: (arrangement, unit)."""
        drawn = np.empty((n, len(self.start)), dtype=np.int64)
        for members in self._strata():
            order = rng.random((n, len(members))).argsort(axis=1)
            drawn[:, members] = np.array([self.start[i] for i in members])[order]
        return drawn

    def _strata(self) -> list[list[int]]:
        """The units of each stratum."""
        members: dict[int, list[int]] = {one: [] for one in sorted(set(self.stratum))}
        for i, stratum in enumerate(self.stratum):
            members[stratum].append(i)
        return list(members.values())


@dataclass(frozen=True, slots=True)
class ConstrainedRandomisation:
    """The law of a choice by chance among the best balanced of some candidate arrangements.

    Parameters
    ----------
    candidates : int array, (arrangement, unit)
        First treated occasion of every unit in every candidate.
    allowed : bool array, (replicate, arrangement)
        Which of them were balanced enough in a replicate.
    mirrored : bool
        Whether with every candidate its mirror image is one too.
    """

    candidates: Ints
    allowed: Bools
    mirrored: bool
    randomised: bool = True

    def arrangements(self, most: int, rng: Generator) -> Arrangements:
        """All candidates, whatever `most` is, and which of them each replicate's law could have made."""
        least = (2 if self.mirrored else 1) / self.allowed.sum(axis=1)
        return Arrangements(self.candidates, 0, least, self.allowed)


@lru_cache(maxsize=4)
def _every(law: Randomisation) -> Ints:
    """Every arrangement of a law, (arrangement, unit); of mirror images one."""
    strata = law._strata()
    choices = [list(_orders([law.start[i] for i in members])) for members in strata]
    if law.mirrored:
        # The first stratum's later half treats what its first half does not.
        choices[0] = choices[0][: len(choices[0]) // 2]
    every = np.empty((prod(map(len, choices)), len(law.start)), dtype=np.int64)
    for row, chosen in enumerate(product(*choices)):
        for members, starts in zip(strata, chosen, strict=True):
            every[row, members] = starts
    every.setflags(write=False)
    return every


def _orders(starts: Sequence[int]) -> Iterator[list[int]]:
    """Every different order of some starts, those that give the earliest to the first units first."""
    kinds = sorted(set(starts))
    if len(kinds) == 1:
        yield list(starts)
        return
    n_first = sum(start == kinds[0] for start in starts)
    rest = [start for start in starts if start != kinds[0]]
    for places in combinations(range(len(starts)), n_first):
        others = [place for place in range(len(starts)) if place not in places]
        for order in _orders(rest):
            dealt = [kinds[0]] * len(starts)
            for place, start in zip(others, order, strict=True):
                dealt[place] = start
            yield dealt


def _multinomial(labels: Sequence[int]) -> int:
    """Number of different orders of some labels."""
    counts = [sum(label == kind for label in labels) for kind in set(labels)]
    return prod(comb(sum(counts[: i + 1]), count) for i, count in enumerate(counts))


@dataclass(frozen=True, slots=True)
class Allocation(Batch):
    """The outcome of a design: who stands in the study's slots, those that start first in the first ones.

    Parameters
    ----------
    unit : int array, (replicate, slot)
        The authority of the world that stands in the slot.
    start, stop : int arrays, (replicate, assigned)
        First treated occasion, and the first one no longer treated, as assigned; `NEVER` where there
        is none. Replicate axis 1 where starts are tied to slots. Of every slot, or of the teams, workers or
        rows that a study has in each slot in turn.
    stratum : int array, (replicate, assigned)
        Stratum within which chance allocated; -1 for a unit of a sample that is not there.
    law : Law
        The law of the allocation: what permutation inference draws from.
    observed : bool array or None, (replicate, slot, occasion)
        Whether a slot is observed at an occasion of the study; None for all.
    assigned : {"authority", "team", "worker", "row"}
        The level whose units were assigned. Where families are, the rows are cells: of every sampled worker
        the families that start, and those that do not.
    families : int array or None, (replicate, worker)
        Where families are assigned, how many of each sampled worker's start.
    own_workers : int
        Where families are assigned: the last so many workers of each slot have one family each, of the
        comparison arm, and all families of the others start. 0 where every worker may have both arms.
    """

    unit: Annotated[Ints, "replicate slot"]
    start: Annotated[Ints, "replicate assigned"]
    stop: Annotated[Ints, "replicate assigned"]
    stratum: Annotated[Ints, "replicate assigned"]
    law: Law
    observed: Annotated[Bools, "replicate slot occasion"] | None = None
    assigned: Level = "authority"
    families: Annotated[Ints, "replicate worker"] | None = None
    own_workers: int = 0

    @property
    def n_slots(self) -> int:
        """Number of authorities in the study."""
        return int(self.unit.shape[1])


def two_arms(unit: Ints, n_treated: int, start: int, *, randomised: bool) -> Allocation:
    """An allocation whose first slots are treated from one occasion on and whose others never are.

    Parameters
    ----------
    unit : int array, (replicate, slot)
        The authority in each slot, treated slots first.
    n_treated : int
        How many slots are treated.
    start : int
        The first treated occasion.
    randomised : bool
        Whether chance decided who is treated.
    """
    n_slots = unit.shape[1]
    starts = np.full((1, n_slots), NEVER, dtype=np.int64)
    starts[:, :n_treated] = start
    return Allocation(
        unit=unit,
        start=starts,
        stop=np.full((1, n_slots), NEVER, dtype=np.int64),
        stratum=np.zeros((1, n_slots), dtype=np.int64),
        law=Randomisation(tuple(starts[0].tolist()), (0,) * n_slots, randomised),
    )


def complete_randomisation(n_units: int, n_treated: int, start: int = 0) -> Randomisation:
    """The law under which every choice of so many treated units was as likely."""
    starts = (start,) * n_treated + (NEVER,) * (n_units - n_treated)
    return Randomisation(starts, (0,) * n_units)
