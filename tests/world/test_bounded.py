"""Normal scores held within bounds: moments by quadrature, and scales solved for stated ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from design_sim.world.bounded import (
    centre_of_mean,
    held_mean,
    held_sd,
    hold,
    solve_held_normal,
    spread_of_means,
)

SCALE = (0.0, 95.0)


def quadrature(centre: float, spread: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Mean and standard deviation by numerical integration of the held score itself."""

    def expectation(power: int, around: float) -> float:
        def integrand(z: float) -> float:
            held = min(max(centre + spread * z, bounds[0]), bounds[1])
            return float((held - around) ** power * stats.norm.pdf(z))

        kinks = [z for z in ((bound - centre) / spread for bound in bounds) if abs(z) < 10]
        return float(integrate.quad(integrand, -10, 10, points=kinks or None, limit=200)[0])

    mean = expectation(1, 0.0)
    return mean, float(np.sqrt(expectation(2, mean)))


@pytest.mark.parametrize(
    ("centre", "spread"), [(66.0, 16.8), (90.0, 20.0), (-10.0, 30.0), (200.0, 90.0), (50.0, 1.0)]
)
def test_moments_are_those_of_numerical_integration(centre: float, spread: float) -> None:
    """Closed forms against the definition, in the middle, near either bound and beyond one."""
    mean, sd = quadrature(centre, spread, SCALE)
    assert float(held_mean(centre, spread, SCALE)) == pytest.approx(mean, abs=1e-7)
    assert held_sd(centre, spread, SCALE) == pytest.approx(sd, abs=1e-7)


@settings(deadline=None, max_examples=60)
@given(
    mean=st.floats(0.001, 0.999),
    part=st.floats(0.001, 0.98),
    low=st.sampled_from([-1e3, 0.0, 1.0]),
    span=st.sampled_from([1e-3, 1.0, 95.0, 1e6]),
)
def test_the_solved_scale_has_the_stated_moments(mean: float, part: float, low: float, span: float) -> None:
    """Whatever the range and wherever in it, up to nearly the largest standard deviation there is."""
    bounds = (low, low + span)
    stated = low + mean * span
    sd = part * span * np.sqrt(mean * (1 - mean))
    centre, spread = solve_held_normal(stated, sd, bounds)
    assert float(held_mean(centre, spread, bounds)) == pytest.approx(stated, abs=1e-9 * span)
    assert held_sd(centre, spread, bounds) == pytest.approx(sd, rel=1e-6)
    assert spread >= sd * (1 - 1e-9)


def test_far_from_the_bounds_a_score_is_normal() -> None:
    """Nothing is cut off, so that the latent scale is the stated one."""
    assert solve_held_normal(50.0, 2.0, SCALE) == pytest.approx((50.0, 2.0), rel=1e-12)


@pytest.mark.parametrize(
    ("mean", "sd", "said"),
    [
        (95.0, 1.0, "a mean of 95 is not within the bounds, 0 to 95"),
        (-3.0, 1.0, "a mean of -3 is not within the bounds"),
        (90.0, 22.0, "cannot be had with a standard deviation of 22; below 21.2"),
    ],
)
def test_what_cannot_be_had_is_refused(mean: float, sd: float, said: str) -> None:
    """A mean outside the bounds, or more spread than two points at them have."""
    with pytest.raises(ValueError, match=said):
        solve_held_normal(mean, sd, SCALE)


def test_a_shift_near_the_ceiling_moves_the_mean_less() -> None:
    """What is pushed beyond the bound is lost: equal shifts, smaller differences."""
    places = np.array([50.0, 65.0, 80.0, 110.0])
    moved = held_mean(places + 5, 15.0, SCALE) - held_mean(places, 15.0, SCALE)
    inside = stats.norm.cdf((95 - places - 2.5) / 15)
    assert (np.diff(moved) < 0).all()
    assert moved == pytest.approx(5 * inside, rel=0.02)


def test_the_centre_of_a_mean_is_found_again() -> None:
    """The inverse of the mean in the centre."""
    mean = float(held_mean(88.0, 17.0, SCALE))
    assert centre_of_mean(mean, 17.0, SCALE) == pytest.approx(88.0, abs=1e-9)


def test_the_spread_of_means_is_that_of_many_units() -> None:
    """Means of held scores over units, by simulation."""
    rng = np.random.default_rng(1)
    latent = 85 + 6 * rng.standard_normal((20_000, 1)) + 15 * rng.standard_normal((20_000, 50))
    held = hold(latent, SCALE)
    between = held.mean(axis=1).var() - held.var(axis=1, ddof=1).mean() / 50
    found = spread_of_means(85.0, 6.0, 15.0, SCALE)
    assert found == pytest.approx(np.sqrt(between), rel=0.03)
    assert spread_of_means(50.0, 2.0, 3.0, SCALE) == pytest.approx(2.0, rel=1e-9)
