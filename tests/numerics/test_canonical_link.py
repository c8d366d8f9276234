"""Families and their canonical links."""

from typing import get_args

import numpy as np
import pytest

from design_sim.numerics.canonical_link import Family, at_edge, expected, held_within, linked, variance

FAMILIES: tuple[Family, ...] = get_args(Family)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_variance_is_the_slope_of_the_mean(family: Family) -> None:
    """That is what makes a link canonical; the link undoes the mean."""
    predictor = np.linspace(-3, 3, 13)
    slope = (expected(family, predictor + 1e-6) - expected(family, predictor - 1e-6)) / 2e-6
    np.testing.assert_allclose(
        np.broadcast_to(variance(family, expected(family, predictor)), 13), slope, rtol=1e-8
    )
    np.testing.assert_allclose(linked(family, expected(family, predictor)), predictor, atol=1e-12)


def test_only_means_at_the_edge_of_their_range_are_at_the_edge() -> None:
    """A rate is judged beside the typical one, whatever its unit; a Gaussian mean has no edge."""
    risks = np.array([0.0, 1e-12, 1e-4, 0.5, 1 - 1e-12, 1.0, -0.3, 1.4])
    typical = np.full(8, 0.5)
    assert at_edge("binomial", risks, typical).tolist() == [True, True, False, False, True, True, True, True]
    assert at_edge("poisson", risks, typical).tolist() == [True, True, *[False] * 4, True, False]
    assert not at_edge("poisson", 1e-9 * risks[2:4], 1e-9 * typical[2:4]).any()
    assert not at_edge("gaussian", risks, typical).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_search_can_start_from_any_mean(family: Family) -> None:
    """A mean outcome of 0, or one that no risk could have, still gives a predictor to start from."""
    means = np.array([-2.0, 0.0, 0.3, 1.0, 5.0])
    assert np.isfinite(linked(family, held_within(family, means))).all()
    assert held_within(family, means)[2] == 0.3
