"""Occupancy: how many units have one event, two, three and so on, given the events of all.

What a within-cell sum of squares needs of counts is the sum over units of the squared count. Given their
sum, the counts of independent units that are Poisson are multinomial, and negative binomial ones
Dirichlet-multinomial.

Decision: where events are rarer than units, the numbers of units with k events are drawn, in the time of
a few Poisson numbers however many units there are. Free numbers M_k would be multinomial; the law of
M_2, M_3, ... given that all numbers sum to n and all events to E is that of independent Poisson numbers of
means n p_k weighted by a^M_1 / M_1! x b^M_0 / M_0! with a = n p_1 and b = n p_0, where M_1 and M_0 are what
is then left. A proposal is kept with the weight over its largest value: exact. Where that is no gain, since
units are few, have many events each, or hardly any of them can have one, units are drawn singly.
"""

import numpy as np
from numpy.random import Generator
from scipy import special

from design_sim.arrays import Bools, Floats, Ints
from design_sim.world.shares import in_slices, shares_of_units

FEW = 64
"""Units that are drawn singly as fast as their numbers with two, three and more Poisson events are."""


def squared_counts(events: Floats, units: Floats, shape: Floats, rng: Generator) -> Floats:
    """Sum over the units of each cell of their squared numbers of events.

    Parameters
    ----------
    events : float array, any shape
        Events of each cell.
    units : float array, of the same shape
        Units of each cell, among whom the events fall.
    shape : float array, of the same shape
        Shape of a unit's negative binomial count; infinity where counts are Poisson.
    """
    squares = np.where(units > 1, events, events**2)
    drawn = (units > 1) & (events > 1)
    sparse = drawn & (events <= units) & (units > FEW)
    sparse[sparse] = _is_sparse(events[sparse], units[sparse], shape[sparse])
    single = drawn & ~sparse
    squares[sparse] = sparse_squares(events[sparse], units[sparse], shape[sparse], rng)
    squares[single] = single_squares(
        events[single].astype(np.int64), units[single].astype(np.int64), shape[single], rng
    )
    return squares


def _is_sparse(events: Floats, units: Floats, shape: Floats) -> Bools:
    """Whether so many units have so few events that it pays not to draw each, (cell,)."""
    sparse: Bools = (units * shape >= 1) & (units > FEW * (1 + events / (units * shape)))
    return sparse


def single_squares(events: Ints, units: Ints, shape: Floats, rng: Generator) -> Floats:
    """The same by drawing every unit's count, in slices: (cell,)."""
    squares = np.empty(events.size)
    for cells in in_slices(units):
        counts = counts_of_units(events[cells], units[cells], shape[cells], rng)
        squares[cells] = (counts**2).sum(axis=1)
    return squares


def counts_of_units(events: Ints, units: Ints, shape: Floats, rng: Generator) -> Floats:
    """Events of each unit of cells, (cell, place); the units of a cell stand in its last places."""
    return rng.multinomial(events, shares_of_units(units, shape, rng)).astype(np.float64)


def sparse_squares(events: Floats, units: Floats, shape: Floats, rng: Generator) -> Floats:
    """The same by drawing the numbers of units with two events, three, and so on: (cell,)."""
    squares, left = events.copy(), np.arange(events.size)
    while left.size:
        coincidences, kept = _proposal(events[left], units[left], 1 / shape[left], rng)
        squares[left[kept]] += coincidences[kept]
        left = left[~kept]
    return squares


def _proposal(events: Floats, units: Floats, inverse: Floats, rng: Generator) -> tuple[Floats, Bools]:
    """Sum over units of k^2 - k for proposed numbers of units with k events, and whether they are kept.

    Notes
    -----
    With x = E / n and c the inverse shape, p_0 = (1 + c x)^(-1/c), exp(-x) where c = 0, and
    p_(k+1) / p_k = (1 + c k) x / ((1 + c x) (k + 1)).
    """
    x = events / units
    log_none = np.where(inverse > 0, -np.log1p(inverse * x) / np.where(inverse > 0, inverse, 1.0), -x)
    none, step = np.exp(log_none), x / (1 + inverse * x)
    one = chance = none * step
    taken, over, coincidences = (np.zeros(events.shape) for _ in range(3))
    for k in range(2, int(events.max()) + 1):
        chance = chance * step * (1 + inverse * (k - 1)) / k
        if (units * chance).max() < 1e-15:
            break
        number = rng.poisson(np.where(k <= events, units * chance, 0.0))
        taken += k * number
        over += (k - 1) * number
        coincidences += k * (k - 1) * number
    weight = _log_weight(events - taken, units * one) + _log_weight(units - events + over, units * none)
    kept: Bools = np.log(rng.random(events.shape)) < weight
    return coincidences, kept


def _log_weight(number: Floats, mean: Floats) -> Floats:
    """Log of mean^number / number! over its largest value; minus infinity for a number below 0."""
    best, possible = np.floor(mean), np.maximum(number, 0.0)
    log = (possible - best) * np.log(mean) - special.gammaln(possible + 1) + special.gammaln(best + 1)
    return np.where(number >= 0, log, -np.inf)
