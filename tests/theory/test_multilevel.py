"""Trials of nested units against PowerUp!, powertools and the generalised least squares of full data."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]

LEVELS = ("n", "J", "K", "L")
TREATED = {"ira": 1, "bira2": 1, "bira3": 1, "cra2": 2, "bcra3r2": 2, "cra3": 3, "cra4": 4}
"""Level that each of PowerUp!'s designs treats, counted from families."""


def powerup(case: Case) -> tuple[float, float]:
    """Standard error and degrees of freedom of a design stated as PowerUp! states it, families first."""
    given, treated = case["inputs"], TREATED[case["id"].split("_")[1]]
    depth = sum(level in given for level in LEVELS)
    shares = [given.get(f"rho{level}", 0) for level in range(2, depth + 1)]
    shares = [1 - sum(shares), *shares]
    spread = [given.get(f"omega{level}", 0) * shares[level - 1] for level in range(treated + 1, depth + 1)]
    explained = [given.get(f"r2{level}", 0) for level in range(1, depth + 1)]
    numbers = [given[level] for level in LEVELS[:depth]][::-1]
    variance = theory.nested_trial_variance(
        shares[::-1],
        numbers,
        depth - treated,
        effect_variances=spread[::-1],
        share_treated=given.get("p", 0.5),
        explained=explained[::-1],
    )
    df = theory.nested_trial_df(numbers, depth - treated, n_covariates=given.get(f"g{depth}", 0))
    return variance**0.5, df


@pytest.mark.reference("packages", "mdes_(?!.*_pn)")
def test_mdes_of_nested_trials_agrees_with_powerup(case: Case, agree: Agree) -> None:
    """Individuals, blocks and clusters treated at two to four levels; the multiplier is the customary one."""
    std_error, df = powerup(case)
    agree(case, {"mdes": theory.mdes_multiplier(df) * std_error})


@pytest.mark.reference("packages", "power_")
def test_power_of_nested_trials_agrees_with_powerup(case: Case, agree: Agree) -> None:
    """The same designs, by the noncentral t."""
    std_error, df = powerup(case)
    agree(case, {"power": theory.t_test_power(case["inputs"]["es"], std_error, df)})


@pytest.mark.reference("packages", "pt_multisite$")
def test_power_of_multisite_trials_agrees_with_powertools(case: Case, agree: Agree) -> None:
    """Its `icc1` is of the effect's half, arms being coded -1/2 and 1/2 of a slope: four times that between sites."""
    given = case["inputs"]
    shares = [given["icc0"], 1 - given["icc0"] - given["icc1"]]
    numbers = [given["J"], given["m"]]
    variance = theory.nested_trial_variance(shares, numbers, 1, effect_variances=[4 * given["icc1"]])
    df = theory.nested_trial_df(numbers, 1)
    agree(case, {"value": theory.t_test_power(given["delta"] / given["sd"], variance**0.5, df)})


@pytest.mark.parametrize("treated_level", [0, 1, 2])
def test_variance_is_that_of_the_full_covariance_matrix(treated_level: int) -> None:
    """Every family of 4 x 2 x 4 written out, half of the units of one level treated within the one above."""
    components, effects = np.array([0.2, 0.3, 0.5]), np.array([0.11, 0.07])[:treated_level]
    units = np.array([np.repeat(np.arange(4), 8), np.repeat(np.arange(8), 4), np.arange(32)])
    treated = units[treated_level] % 2 == 1
    same = units[:, :, np.newaxis] == units[:, np.newaxis]
    covariance = np.tensordot(components, same, axes=1)
    # Blocks differ in the effect: treated families of a block share its deviation.
    covariance += np.tensordot(effects, same[:treated_level], axes=1) * np.outer(treated, treated)
    weights = np.where(treated, 1 / 16, -1 / 16)
    expected = weights @ covariance @ weights
    found = theory.nested_trial_variance(components, [4, 2, 4], treated_level, effect_variances=list(effects))
    assert found == pytest.approx(expected, rel=1e-12)


def test_fixed_blocks_leave_degrees_of_freedom_to_the_units_treated() -> None:
    """Six blocks of ten teams each with its own effect: 60 teams less 12 means."""
    assert theory.nested_trial_df([6, 10, 20], 1, random_blocks=False) == 48
    assert theory.nested_trial_df([6, 10, 20], 1) == 5


def test_designs_that_do_not_fit_are_refused() -> None:
    """Each level has a variance and a number, each block level an effect variance, or none has."""
    with pytest.raises(ValueError, match="2 variances need 2 numbers"):
        theory.nested_trial_variance([0.1, 0.9], [10], 0)
    with pytest.raises(ValueError, match="treated_level"):
        theory.nested_trial_variance([0.1, 0.9], [10, 20], 2)
    with pytest.raises(ValueError, match="1 effect_variances needed"):
        theory.nested_trial_variance([0.1, 0.9], [10, 20], 1, effect_variances=[0.1, 0.2])
    with pytest.raises(ValueError, match="shares explained"):
        theory.nested_trial_variance([0.1, 0.9], [10, 20], 1, explained=[0.5])
    with pytest.raises(ValueError, match="share_treated"):
        theory.nested_trial_variance([0.1, 0.9], [10, 20], 0, share_treated=1.0)
    with pytest.raises(ValueError, match="degrees of freedom"):
        theory.nested_trial_df([3], 0, n_covariates=1)
    with pytest.raises(ValueError, match="treated_level"):
        theory.nested_trial_df([3], 1)
