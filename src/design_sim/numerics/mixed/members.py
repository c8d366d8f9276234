"""Members of units that lie together along the last axis: their sums, and their units' values."""

import numpy as np

from design_sim.arrays import Floats, Ints


def starts_of(parent: Ints) -> Ints:
    """The first member of every unit, from each member's unit; units are numbered from 0."""
    return np.flatnonzero(np.diff(parent, prepend=-1))


def summed(values: Floats) -> Floats:
    """Sums along the last axis; for few members the fastest way."""
    sums: Floats = values @ np.ones(values.shape[-1])
    return sums


def pooled(values: Floats, starts: Ints) -> Floats:
    """Sums over the members of every unit: (..., member) to (..., unit)."""
    size = values.shape[-1]
    if starts.size == size:
        return values
    length = _length(size, starts)
    if length:
        return summed(values.reshape(*values.shape[:-1], starts.size, length))
    return np.add.reduceat(values, starts, axis=-1)


def spread(values: Floats, starts: Ints, size: int) -> Floats:
    """Give every member its unit's value: (..., unit) to (..., member), of whom there are `size`."""
    counts: Ints | int = _length(size, starts) or np.diff(starts, append=size)
    return np.repeat(values, counts, axis=-1)


def _length(size: int, starts: Ints) -> int:
    """How many members every unit has, 0 where they differ in that."""
    length = size // starts.size
    regular = size == starts.size * length and np.array_equal(starts, np.arange(starts.size) * length)
    return length if regular else 0
