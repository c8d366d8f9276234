"""Allocation: which authority stands in which slot of a study, treated from when until when.

Everything that a design decides goes through it, and the law by which it could have been otherwise.
"""

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Annotated

import numpy as np
from numpy.random import Generator

from design_sim.arrays import Batch, Ints

NEVER = 2**31
"""The `start` of a slot that is never treated, later than any occasion."""


@dataclass(frozen=True, slots=True)
class CompleteRandomisation:
    """The law under which every choice of the same number of treated slots was as likely.

    Parameters
    ----------
    n_slots, n_treated : int
        Slots of the study, and how many of them are treated.
    randomised : bool
        Whether chance did decide. False for a design without random allocation: inference by this law
        is then "as if randomised".
    """

    n_slots: int
    n_treated: int
    randomised: bool = True

    @property
    def n_arrangements(self) -> int:
        """Number of equally likely choices of the treated slots."""
        return comb(self.n_slots, self.n_treated)

    def arrangements(self) -> Ints:
        """Every choice of the treated slots, (arrangement, treated slot); the first one as it was."""
        chosen = combinations(range(self.n_slots), self.n_treated)
        return np.array(list(chosen), dtype=np.int64)

    def draw(self, rng: Generator, n: int) -> Ints:
        """Choose the treated slots again, n times: (arrangement, treated slot)."""
        order = rng.random((n, self.n_slots)).argpartition(self.n_treated - 1, axis=1)
        return np.sort(order[:, : self.n_treated], axis=1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Allocation(Batch):
    """The outcome of a design: who stands in the study's slots, the treated slots first.

    Parameters
    ----------
    unit : int array, (replicate, slot)
        The authority of the world that stands in the slot.
    start, stop : int arrays, (replicate, slot)
        First treated occasion, and the first one no longer treated, as assigned; `NEVER` where there
        is none. Replicate axis 1: arms are tied to slots.
    stratum : int array, (replicate, slot)
        Stratum within which chance allocated.
    law : CompleteRandomisation
        The law of the allocation: what permutation inference draws from.
    """

    unit: Annotated[Ints, "replicate slot"]
    start: Annotated[Ints, "replicate slot"]
    stop: Annotated[Ints, "replicate slot"]
    stratum: Annotated[Ints, "replicate slot"]
    law: CompleteRandomisation

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
        law=CompleteRandomisation(n_slots, n_treated, randomised),
    )
