"""Attenuation and partial uptake against stored references and simulation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
REFERENCE = Path(__file__).parents[1] / "reference"
FORMULAS = "closed_form/formulas.json"


def load(name: str) -> dict[str, Any]:
    """A stored reference file."""
    stored: dict[str, Any] = json.loads((REFERENCE / name).read_text())
    return stored


def cases(name: str, start: str) -> list[Any]:
    """The cases of a file whose id begins with `start`, as test parameters."""
    chosen = [case for case in load(name)["cases"] if case["id"].startswith(start)]
    assert chosen, f"no case {start} in {name}"
    return [pytest.param(case, id=case["id"]) for case in chosen]


@pytest.mark.parametrize("case", cases(FORMULAS, "cace_"))
def test_partial_uptake_dilutes_as_the_reference_says(case: Case) -> None:
    """Only compliers carry the effect, so that the offer's effect is theirs times their share."""
    given, expected, tolerance = case["inputs"], case["expected"], case["tolerance"]
    std_error = given["sigma"] * np.sqrt(2 / given["n_per_arm"])
    itt = theory.intention_to_treat_effect(given["cace"], given["compliance"])
    power = theory.t_test_power(itt, std_error, np.inf, given["alpha"])
    inflation = theory.sample_inflation(given["compliance"])
    assert itt == pytest.approx(expected["itt"], abs=tolerance)
    assert power == pytest.approx(expected["power_itt"], abs=tolerance)
    assert inflation == pytest.approx(expected["n_inflation"], abs=tolerance)
    # The reference multiplies by z(.975) + z(.80): one tail, which shifts the MDES by 1e-6.
    smallest = theory.mdes(std_error, np.inf) / given["compliance"]
    assert smallest == pytest.approx(expected["mde_cace_80"], abs=2e-6)


def test_a_third_taking_up_life_story_work_needs_two_thirds_of_an_sd() -> None:
    """270 v 498 with one-third take-up: MDES .21 SD of the offer, .64 SD among recipients."""
    smallest = float(theory.mdes(np.sqrt(1 / 270 + 1 / 498), np.inf))
    assert smallest == pytest.approx(0.21, abs=0.005)
    assert smallest * 3 == pytest.approx(0.64, abs=0.01)
    assert theory.intention_to_treat_effect(smallest * 3, 1 / 3) == pytest.approx(smallest)


@pytest.mark.parametrize("case", cases(FORMULAS, "attenuation_"))
def test_attenuation_agrees_with_the_reference(case: Case) -> None:
    """Classical error shrinks a slope by the partial reliability."""
    given, expected, tolerance = case["inputs"], case["expected"], case["tolerance"]
    reliability, r_squared = given["reliability"], given["R2_of_observed_regressor_on_covariates"]
    slope = theory.attenuated_slope(given["true_slope"], reliability, r_squared)
    partial = theory.attenuated_slope(1.0, reliability, r_squared)
    inflation = theory.sample_inflation(np.sqrt(reliability))
    assert slope == pytest.approx(expected["plim_ols_slope"], abs=tolerance)
    assert partial == pytest.approx(expected["partial_reliability"], abs=tolerance)
    assert inflation == pytest.approx(expected["n_inflation_simple_correlation"], abs=tolerance)


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
