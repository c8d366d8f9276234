"""Sums of squared counts given their total have the law of units drawn one by one."""

from collections import Counter
from itertools import product
from math import factorial, prod

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import special, stats

from design_sim.world.occupancy import single_squares, sparse_squares, squared_counts

REPLICATES = 40_000


def law_of_squares(events: int, units: int, shape: float) -> dict[int, float]:
    """Chance of every sum of squared counts, by listing how the events can fall.

    Dirichlet-multinomial, prod of (shape)_k / k!; multinomial, prod of 1 / k!, where shape is infinite.
    """

    def weight(count: int) -> float:
        rising = 1.0 if np.isinf(shape) else float(special.poch(shape, count))
        return rising / factorial(count)

    chances: Counter[int] = Counter()
    for counts in product(range(events + 1), repeat=units):
        if sum(counts) == events:
            chances[sum(count**2 for count in counts)] += prod(map(weight, counts))
    total = sum(chances.values())
    return {square: chance / total for square, chance in chances.items()}


@pytest.mark.parametrize("shape", [np.inf, 2.0, 0.3], ids=["Poisson", "mild", "overdispersed"])
@pytest.mark.parametrize(
    ("draw", "events", "units"),
    [(draw, *of) for draw in (sparse_squares, single_squares) for of in ((2, 2), (3, 4), (5, 5))]
    + [(single_squares, 4, 2)],
)
def test_sums_of_squares_have_the_law_of_listed_outcomes(
    shape: float,
    draw: object,
    events: int,
    units: int,
) -> None:
    """Both ways to draw them are exact: the chance of every value is that of the list."""
    kind = np.float64 if draw is sparse_squares else np.int64
    given = (np.full(REPLICATES, number, dtype=kind) for number in (events, units))
    found = draw(*given, np.full(REPLICATES, shape), default_rng(3))  # type: ignore[operator]
    law = law_of_squares(events, units, shape)
    assert set(np.unique(found)) <= set(law)
    for square, chance in law.items():
        error = np.sqrt(chance * (1 - chance) / REPLICATES)
        assert (found == square).mean() == pytest.approx(chance, abs=4 * error + 1e-12)


@pytest.mark.parametrize(
    ("events", "units", "shape"),
    [(216, 80_000, np.inf), (4_300, 80_000, np.inf), (216, 80_000, 0.0054), (120, 150, 1.0), (90, 300, 5.0)],
)
def test_many_units_have_the_mean_of_algebra(events: int, units: int, shape: float) -> None:
    """The sum of squares is E + the number of ordered pairs of events of one unit.

    The second of two events falls on the first one's unit with the chance 1 / n, or (shape + 1) /
    (n shape + 1) where counts are overdispersed.
    """
    found = squared_counts(*(np.full(4_000, float(of)) for of in (events, units, shape)), default_rng(4))
    together = 1 / units if np.isinf(shape) else (shape + 1) / (units * shape + 1)
    expected = events + events * (events - 1) * together
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(found.size))
    assert (found >= events).all()


@pytest.mark.parametrize("shape", [np.inf, 0.5])
def test_counting_and_drawing_singly_agree_where_both_can(shape: float) -> None:
    """Two ways to the same law, beyond its mean."""
    events, units = np.full(20_000, 60), np.full(20_000, 90)
    counted = sparse_squares(
        events.astype(float), units.astype(float), np.full(20_000, shape), default_rng(5)
    )
    singly = single_squares(events, units, np.full(20_000, shape), default_rng(6))
    assert stats.ks_2samp(counted, singly).pvalue > 1e-3


def test_nothing_to_draw_draws_nothing() -> None:
    """Nobody, a single unit and a single event have one value each."""
    events, units = np.array([0.0, 0.0, 7.0, 1.0]), np.array([0.0, 9.0, 1.0, 500.0])
    found = squared_counts(events, units, np.full(4, 0.2), default_rng(7))
    assert found.tolist() == [0, 0, 49, 1]


def test_hardly_any_rate_puts_all_events_on_one_unit() -> None:
    """With a shape near 0 the events of a cell are one unit's; the draw ends, and is finite."""
    found = squared_counts(np.full(50, 9.0), np.full(50, 3_000.0), np.full(50, 1e-12), default_rng(8))
    assert (found == 81).all()
