"""Shares: how a total divides among exchangeable units, each with a gamma weight of the same shape.

Gamma weights divided by their sum are Dirichlet and independent of it: so durations divide given their sum,
and events with negative binomial counts given their number. Without overdispersion the weights are equal.
"""

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator

from design_sim.arrays import Bools, Floats, Ints

SLICE = 2**21
"""Numbers that are drawn at a time where units are drawn singly, so that memory does not grow."""
TINY = 1e-300
"""The shape in the place of one that is 0."""


def share_of_takers(takers: Floats, n: Floats, shape: Floats | float, rng: Generator) -> Floats:
    """Share of a total that falls to those who take part, Beta(takers x shape, (n - takers) x shape).

    Parameters
    ----------
    takers, n : float arrays, of the same axes
        Units that take part, and all units.
    shape : float array or float
        Shape of each unit's weight; infinity where weights are equal.
    """
    everybody = np.divide(takers, n, out=np.zeros(takers.shape), where=n > 0)
    if np.isinf(shape).all():
        return everybody
    some = (takers > 0) & (takers < n)
    of_takers = np.where(some, np.maximum(takers * shape, TINY), 1.0)
    of_others = np.where(some, np.maximum((n - takers) * shape, TINY), 1.0)
    return np.where(some, rng.beta(of_takers, of_others), everybody)


def shares_of_units(units: Ints, shape: Floats, rng: Generator) -> Floats:
    """Share of each unit of cells in a total, (cell, place); the units of a cell stand in its last places.

    Parameters
    ----------
    units : int array, (cell,)
        Units of each cell, at least 1.
    shape : float array, (cell,)
        Shape of a unit's weight; infinity where weights are equal.

    Notes
    -----
    A weight of a small shape a is smaller than any number there is, so weights are drawn as logarithms: that
    of shape a + 1, plus the logarithm of a uniform number over a.
    """
    real = units_in_places(units)
    if np.isinf(shape).all():
        return real / units[:, np.newaxis]
    each = np.broadcast_to(np.maximum(shape, TINY)[:, np.newaxis], real.shape)
    if shape.min() > 0.1:
        weight = rng.standard_gamma(each)
        weight *= real
    else:
        log = np.log(rng.standard_gamma(each + 1)) + np.log1p(-rng.random(real.shape)) / each
        log = np.where(real, log, -np.inf)
        weight = np.exp(log - log.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    return weight


def units_in_places(units: Ints) -> Bools:
    """Which of so many places as the largest cell has units hold one, (cell, place): the last ones."""
    longest = int(units.max())
    real: Bools = np.arange(longest) >= longest - units[:, np.newaxis]
    return real


def in_slices(units: Ints) -> Iterator[Ints]:
    """The cells from the smallest to the largest, so many at a time that their units fit in memory.

    Yields
    ------
    int array, (cell,)
        Places of the cells among all.
    """
    order = np.argsort(units, kind="stable")
    first = 0
    while first < order.size:
        fits = units[order[first:]] * np.arange(1, order.size - first + 1) <= SLICE
        last = first + max(int(fits.sum()), 1)
        yield order[first:last]
        first = last


def squared_shares(units: Floats, shape: float, rng: Generator) -> Floats:
    """Sum over the units of each cell of their squared shares in its total; 0 where there are none.

    Parameters
    ----------
    units : float array, any shape
        Units of each cell.
    shape : float
        Shape of a unit's weight.
    """
    squares = (units > 0).astype(np.float64)
    several = units > 1
    counted = units[several].astype(np.int64)
    found = np.empty(counted.size)
    for cells in in_slices(counted):
        shares = shares_of_units(counted[cells], np.full(cells.size, shape), rng)
        found[cells] = (shares**2).sum(axis=1)
    squares[several] = found
    return squares


def singly(of_cells: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Units of cells as rows of their own: whether there is one, and its number.

    Parameters
    ----------
    of_cells : float array, (cell, place)
        A number of each unit, as from `shares_of_units`; cells in the order of `n`.
    n : float array, (replicate, slot, occasion)
        Units of each cell.

    Returns
    -------
    two float arrays, (replicate, slot x place, occasion)
    """
    n_replicates, n_slots, n_occasions = n.shape
    longest = of_cells.shape[1]
    real = units_in_places(n.astype(np.int64).ravel()).astype(np.float64)
    n_rows, rows = (
        np.moveaxis(part.reshape(n_replicates, n_slots, n_occasions, longest), 3, 2).reshape(
            n_replicates, n_slots * longest, n_occasions
        )
        for part in (real, of_cells)
    )
    return n_rows, rows
