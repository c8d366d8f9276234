"""Who belongs to whom: each row's authority, team and worker; `spread` down and `pool` up."""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from design_sim.arrays import Bools, Floats, Ints

Values = TypeVar("Values", Floats, Ints, Bools)
Level = Literal["authority", "team", "worker", "row"]


@dataclass(frozen=True, slots=True)
class Roster:
    """The nesting of a study's rows, the same in every replicate.

    A row is as deep as exposure or risk varies: an authority, a worker or a single family. Units are
    numbered from 0 without gaps, and rows of a unit lie together.

    Parameters
    ----------
    authority, team, worker : int arrays, (row,)
        The unit of each level that a row belongs to. Where rows are authorities, the three agree.

    Raises
    ------
    ValueError
        If a level's numbers do not rise from 0 in steps of 0 or 1.
    """

    authority: Ints
    team: Ints
    worker: Ints

    def __post_init__(self) -> None:
        """Check that the rows of each unit lie together."""
        for level in ("authority", "team", "worker"):
            index = getattr(self, level)
            steps = np.diff(index)
            if index.size == 0 or index[0] != 0 or ((steps != 0) & (steps != 1)).any():
                raise ValueError(f"the rows of each {level} must lie together, numbered from 0")

    @classmethod
    def of_authorities(cls, n_authorities: int) -> "Roster":
        """The roster whose rows are the authorities themselves."""
        index = np.arange(n_authorities)
        return cls(index, index, index)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.authority.size)

    def n_units(self, level: Level) -> int:
        """Number of units at a level."""
        return self.n_rows if level == "row" else int(getattr(self, level)[-1]) + 1

    def spread(self, values: Values, level: Level) -> Values:
        """Give every row its unit's value: (replicate, unit, ...) to (replicate, row, ...)."""
        if self.n_units(level) == self.n_rows:
            return values
        return values[:, getattr(self, level)]

    def pool(self, values: Floats, level: Level) -> Floats:
        """Sum over the rows of every unit: (replicate, row, ...) to (replicate, unit, ...)."""
        n_units = self.n_units(level)
        if n_units == self.n_rows:
            return values
        if values.shape[1] != self.n_rows:
            raise ValueError(f"{values.shape[1]} rows given, {self.n_rows} in the roster")
        if self.regular(level):
            shape = (values.shape[0], n_units, self.n_rows // n_units, *values.shape[2:])
            total: Floats = values.reshape(shape).sum(axis=2)
            return total
        return np.add.reduceat(values, self._starts(level), axis=1)

    def above(self, level: Level) -> "Roster":
        """The roster whose rows are the units of a level, one row for each."""
        if self.n_units(level) == self.n_rows:
            return self
        first = self._starts(level)
        return Roster(*(self._renumbered(getattr(self, of)[first]) for of in ("authority", "team", "worker")))

    def repeated(self, times: int) -> "Roster":
        """The roster with so many rows in the place of each."""
        return Roster(*(np.repeat(getattr(self, of), times) for of in ("authority", "team", "worker")))

    @staticmethod
    def _renumbered(index: Ints) -> Ints:
        """Numbers that rise from 0 in steps of 0 or 1, of units that may stand above a level below."""
        return np.cumsum(np.diff(index, prepend=index[0]) != 0)

    def regular(self, level: Level) -> bool:
        """Whether every unit of a level has the same number of rows."""
        n_units = self.n_units(level)
        length = self.n_rows // n_units
        return n_units * length == self.n_rows and bool(
            np.array_equal(self._starts(level), np.arange(n_units) * length)
        )

    def _starts(self, level: Level) -> Ints:
        """The first row of every unit."""
        if level == "row":
            return np.arange(self.n_rows)
        return np.flatnonzero(np.diff(getattr(self, level), prepend=-1))
