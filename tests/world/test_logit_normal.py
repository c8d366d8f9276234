"""The logit-normal solver, against numerical integration and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from design_sim.world.logit_normal import (
    fidelity_scale,
    mean_over_workers,
    shift_for_difference,
    solve_logit_normal,
)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0.02, 0.9))
def test_solved_scale_has_the_stated_mean_and_sd(mean: float, share: float) -> None:
    """The scale is found for the stated moments, which integration by quadrature confirms."""
    sd = share * np.sqrt(mean * (1 - mean))
    centre, spread = solve_logit_normal(mean, sd)
    moments = [
        integrate.quad(
            lambda z, k=k: special.expit(centre + spread * z) ** k * stats.norm.pdf(z), -9, 9, limit=500
        )[0]
        for k in (1, 2)
    ]
    assert moments[0] == pytest.approx(mean, abs=1e-6)
    assert np.sqrt(moments[1] - moments[0] ** 2) == pytest.approx(sd, abs=1e-5)


def test_a_spread_that_no_distribution_has_is_refused_with_the_largest() -> None:
    """Nothing on 0 to 1 with mean .6 can have a standard deviation of .5."""
    with pytest.raises(ValueError, match=r"below 0\.4"):
        solve_logit_normal(0.6, 0.5)


def test_fidelity_has_the_stated_spread_at_both_levels() -> None:
    """A large drawn population has the stated mean, and the stated SDs between and within authorities."""
    scale = fidelity_scale(0.6, 0.15, 0.2)
    assert scale is not None
    rng = np.random.default_rng(2)
    place = scale.centre + scale.authority * rng.standard_normal((4_000, 1))
    drawn = special.expit(place + scale.worker * rng.standard_normal((4_000, 500)))
    authority = mean_over_workers(place[:, 0], scale.worker)
    assert authority.mean() == pytest.approx(0.6, abs=4 * 0.15 / np.sqrt(4_000))
    assert authority.std() == pytest.approx(0.15, abs=4 * 0.15 / np.sqrt(8_000))
    assert drawn.var(axis=1).mean() ** 0.5 == pytest.approx(0.2, abs=0.002)
    assert np.abs(drawn.mean(axis=1) - authority).max() < 6 * 0.2 / np.sqrt(500)


def test_fidelity_without_spread_may_be_perfect() -> None:
    """Fidelity of exactly 1 has no logit, and needs none."""
    assert fidelity_scale(1.0, 0.0, 0.0) is None


def test_shift_moves_the_mean_by_the_stated_difference() -> None:
    """The effect on the logit scale is that whose mean risk difference is stated."""
    risks = solve_logit_normal(0.209, 0.056)
    shift = shift_for_difference(risks, -0.03)
    z = np.linspace(-9, 9, 20_001)
    weight = stats.norm.pdf(z) / stats.norm.pdf(z).sum()
    moved = special.expit(risks.centre + risks.spread * z + shift) @ weight
    assert moved == pytest.approx(0.209 - 0.03, abs=1e-9)
