"""The exchangeable working correlation: its estimate from every pair, and the search for the one that fits."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from design_sim.arrays import Bools, Floats
from design_sim.numerics.working_correlation import CorrelationSearch, estimate_correlation


@pytest.mark.parametrize("lost", [0.0, 3.0])
def test_the_estimate_is_the_mean_product_of_pairs(lost: float) -> None:
    """Sums over clusters and of squares are a shorter way of going through all pairs."""
    rng = np.random.default_rng(1)
    sizes = np.array([4, 1, 6, 3])
    residuals = [rng.normal(size=m) for m in sizes]
    products = [a * b for e in residuals for a, b in combinations(e, 2)]
    squares = sum(float(e @ e) for e in residuals)
    expected = sum(products) / (squares / (sizes.sum() - lost)) / (len(products) - lost)
    found = estimate_correlation(
        sizes[np.newaxis].astype(float),
        np.array([[e.sum() for e in residuals]]),
        np.array([squares]),
        np.array([lost]),
    )
    assert found[0] == pytest.approx(expected, rel=1e-12)


def test_without_pairs_the_estimate_is_0_and_with_too_few_there_is_none() -> None:
    """Single observations need no correlation; two pairs less three coefficients would turn the sign."""
    residuals = np.array([[1.0, -2.0, 0.5]])
    found = estimate_correlation(np.ones((1, 3)), residuals, (residuals**2).sum(axis=1), np.zeros(1))
    assert found.tolist() == [0.0]
    found = estimate_correlation(np.array([[2.0, 2, 1]]), residuals, np.array([9.0]), np.full(1, 3.0))
    assert np.isnan(found).all()


def searched(estimate: Callable[[Floats], Floats], n: int, largest: float) -> tuple[CorrelationSearch, int]:
    """A search among n replicates, given what would be estimated with a correlation in use; and its rounds."""
    search, everyone = CorrelationSearch(n, np.array([largest])), np.arange(n)
    for rounds in range(1, 60):
        before = search.value.copy()
        search.update(everyone, estimate(before))
        reached: Bools = search.reached(everyone, before)
        if reached.all():
            return search, rounds
    raise AssertionError("the search did not end")


def test_the_search_finds_the_fixed_point_also_where_going_round_would_not() -> None:
    """Slopes near 1 take hundreds of rounds, one below -1 runs away from it."""
    slopes = np.array([0.0, 0.3, 0.9, -0.5, -1.5])
    search, rounds = searched(lambda a: 0.05 + slopes * (a - 0.05) + 0.1 * slopes * (a - 0.05) ** 2, 5, 20.0)
    np.testing.assert_allclose(search.value, 0.05, rtol=1e-9)
    assert not search.held.any()
    assert rounds < 12


def test_an_estimate_that_is_no_correlation_holds_the_search_at_0() -> None:
    """Below -1 / 19 a cluster of 20 has no such matrix; nan says nothing at all."""
    search, _ = searched(lambda a: np.array([-0.06, 1.2, np.nan, -0.05]) + 0 * a, 4, 20.0)
    assert search.held.tolist() == [True, True, True, False]
    np.testing.assert_allclose(search.value, [0.0, 0.0, 0.0, -0.05])


def test_a_search_that_is_led_out_of_range_turns_back_or_gives_up() -> None:
    """The first overshoots and has its fixed point at -.045; the second's would be at -.1, out of range."""

    def estimate(a: Floats) -> Floats:
        return np.array([-0.045 - 2.0 * (a[0] + 0.045) * (a[0] < -0.02), -0.05 + 0.5 * a[1]])

    search, _ = searched(estimate, 2, 20.0)
    assert search.held.tolist() == [False, True]
    np.testing.assert_allclose(search.value, [-0.045, 0.0], rtol=1e-9)
