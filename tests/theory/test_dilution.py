"""Attenuation and partial uptake against stored references and simulation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]


@pytest.mark.reference("formulas", "cace_")
def test_partial_uptake_dilutes_as_the_reference_says(case: Case, agree: Agree) -> None:
    """Only compliers carry the effect, so that the offer's effect is theirs times their share."""
    given = case["inputs"]
    std_error = given["sigma"] * np.sqrt(2 / given["n_per_arm"])
    itt = theory.intention_to_treat_effect(given["cace"], given["compliance"])
    found = {
        "itt": itt,
        "power_itt": theory.t_test_power(itt, std_error, np.inf, given["alpha"]),
        "n_inflation": theory.sample_inflation(given["compliance"]),
        "mde_cace_80": theory.mdes_multiplier(np.inf) * std_error / given["compliance"],
    }
    agree(case, found)


def test_a_third_taking_up_life_story_work_needs_two_thirds_of_an_sd() -> None:
    """270 v 498 with one-third take-up: MDES .21 SD of the offer, .64 SD among recipients."""
    smallest = float(theory.mdes(np.sqrt(1 / 270 + 1 / 498), np.inf))
    assert smallest == pytest.approx(0.21, abs=0.005)
    assert smallest * 3 == pytest.approx(0.64, abs=0.01)
    assert theory.intention_to_treat_effect(smallest * 3, 1 / 3) == pytest.approx(smallest)


@pytest.mark.reference("formulas", "attenuation_")
def test_attenuation_agrees_with_the_reference(case: Case, agree: Agree) -> None:
    """Classical error shrinks a slope by the partial reliability."""
    given = case["inputs"]
    reliability, r_squared = given["reliability"], given["R2_of_observed_regressor_on_covariates"]
    found = {
        "partial_reliability": theory.attenuated_slope(1.0, reliability, r_squared),
        "plim_ols_slope": theory.attenuated_slope(given["true_slope"], reliability, r_squared),
        "n_inflation_simple_correlation": theory.sample_inflation(np.sqrt(reliability)),
    }
    agree(case, found)


def test_attenuation_is_what_least_squares_gives_on_simulated_data() -> None:
    """With a covariate that explains part of the measured regressor, the slope shrinks further."""
    n, reliability, r_squared = 200_000, 0.8, 0.3
    rng = np.random.default_rng(2)
    covariate = rng.standard_normal(n)
    true = np.sqrt(r_squared) * covariate + np.sqrt(reliability - r_squared) * rng.standard_normal(n)
    measured = true + np.sqrt(1 - reliability) * rng.standard_normal(n)
    outcome = 0.5 * true + rng.standard_normal(n)
    design = np.column_stack([measured, covariate])
    coefficients, rss = np.linalg.lstsq(design, outcome, rcond=None)[:2]
    std_error = np.sqrt(rss[0] / n * np.linalg.inv(design.T @ design)[0, 0])
    expected = theory.attenuated_slope(0.5, reliability, r_squared)
    assert coefficients[0] == pytest.approx(expected, abs=4 * std_error)
