"""Serially correlated panels against stored references, the full regression and simulation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]


def mean_covariance(block: NDArray[np.float64], *, with_itself: bool) -> float:
    """Mean of the covariances in a block, those of an occasion with itself left out; 0 if none is left."""
    if with_itself:
        return float(block.mean())
    n = block.shape[0]
    return float((block.sum() - np.trace(block)) / (n * (n - 1))) if n > 1 else 0.0


@pytest.mark.reference("formulas", "scr_did_")
def test_did_variance_under_serial_correlation_agrees_with_the_reference(case: Case, agree: Agree) -> None:
    """The true variance, what conventional errors report of it, and the size that follows."""
    given, n_pre = case["inputs"], case["inputs"]["pre"]
    covariance = theory.serial_covariance(n_pre + given["post"], given["sigma2"] ** 0.5, given["ar1"])
    n_treated = round(given["units"] * given["share_treated"])
    design = (covariance, n_pre, n_treated, given["units"] - n_treated)
    true, conventional = theory.did_variance(*design), theory.conventional_did_variance(*design)
    found = {
        "var_did": true,
        "psi_B": mean_covariance(covariance[:n_pre, :n_pre], with_itself=False),
        "psi_A": mean_covariance(covariance[n_pre:, n_pre:], with_itself=False),
        "psi_X": mean_covariance(covariance[:n_pre, n_pre:], with_itself=True),
        "mde_z": theory.mdes_multiplier(np.inf, given["alpha"], given["power"]) * true**0.5,
        "expected_conventional_twfe_variance": conventional,
        "variance_ratio_conventional_over_true": conventional / true,
        "approx_rejection_rate_of_conventional_z_under_null": theory.size_with_misstated_variance(
            conventional / true
        ),
    }
    agree(case, found)
    # Our MDES counts both tails.
    assert theory.mdes(true**0.5, np.inf) == pytest.approx(found["mde_z"], rel=2e-6)


def two_way_fixed_effects(n_treated: int, n_units: int, n_pre: int, n_occasions: int) -> NDArray[np.float64]:
    """The regressors of two-way fixed effects, treatment first, written out for every unit-occasion."""
    unit, occasion = np.divmod(np.arange(n_units * n_occasions), n_occasions)
    treated = (unit < n_treated) & (occasion >= n_pre)
    dummies = [unit == u for u in range(n_units)] + [occasion == t for t in range(1, n_occasions)]
    return np.column_stack([treated, *dummies]).astype(float)


def test_did_variances_are_those_of_the_full_regression() -> None:
    """The sandwich of the dense regression, and the expectation of its conventional variance."""
    n_treated, n_units, n_pre, n_occasions = 3, 8, 2, 5
    covariance = theory.serial_covariance(n_occasions, 1.4, 0.6, 0.3)
    design = two_way_fixed_effects(n_treated, n_units, n_pre, n_occasions)
    errors = np.kron(np.eye(n_units), covariance)
    bread = np.linalg.inv(design.T @ design)
    true = (bread @ design.T @ errors @ design @ bread)[0, 0]
    residual = np.eye(len(errors)) - design @ bread @ design.T
    conventional = np.trace(residual @ errors) / np.trace(residual) * bread[0, 0]
    found = (covariance, n_pre, n_treated, n_units - n_treated)
    assert theory.did_variance(*found) == pytest.approx(true, rel=1e-10)
    assert theory.conventional_did_variance(*found) == pytest.approx(conventional, rel=1e-10)


def test_re_referral_changes_by_what_the_authorities_show() -> None:
    """SD of the two-year change 4.3 points; of the estimate 2.0 at 9 v 9 and 1.5 at 9 v 130."""
    covariance = theory.serial_covariance(4, 5.6, 0.62, 0.28)
    assert theory.variance_of_change(covariance, 2) ** 0.5 == pytest.approx(4.3, abs=0.05)
    for n_comparison, std_error in ((9, 2.0), (130, 1.5)):
        found = theory.did_variance(covariance, 2, 9, n_comparison) ** 0.5
        assert found == pytest.approx(std_error, abs=0.15)


def test_permanent_differences_do_not_touch_a_did() -> None:
    """What never changes is in both means of a unit and cancels."""
    moving = theory.serial_covariance(6, 1.0, 0.5)
    assert theory.did_variance(moving + 9.0, 2, 4, 7) == pytest.approx(theory.did_variance(moving, 2, 4, 7))


def test_a_panel_without_both_sides_of_the_start_is_refused() -> None:
    """A change needs an occasion before and one after."""
    for n_pre in (0, 4):
        with pytest.raises(ValueError, match="occasions"):
            theory.variance_of_change(np.eye(4), n_pre)


def test_conventional_variance_without_degrees_of_freedom_is_nan() -> None:
    """One unit an arm and two occasions leave nothing to estimate the variance from."""
    assert np.isnan(theory.conventional_did_variance(np.eye(2), 1, 1, 1))


@pytest.mark.reference("formulas", "did_trend_bias_")
def test_trend_bias_agrees_with_the_reference(case: Case, agree: Agree) -> None:
    """Diverging lines part by the slope times the distance between the two periods' middles."""
    given = case["inputs"]
    bias = theory.did_trend_bias(given["slope_difference"], given["pre"], given["post"])
    agree(case, {"bias_two_group_did": bias})


def test_worst_quartile_returns_towards_the_mean_as_simulated() -> None:
    """3.1 points in two years for re-referral, and what draws from the same process give."""
    covariance = theory.serial_covariance(3, 5.6, 0.62, 0.28)
    fall = theory.regression_to_the_mean(5.6, covariance[0, 2] / covariance[0, 0], 0.25)
    assert fall == pytest.approx(3.1, abs=0.1)
    n = 400_000
    rates = np.random.default_rng(5).multivariate_normal(np.zeros(3), covariance, n)
    worst = rates[rates[:, 0] >= np.quantile(rates[:, 0], 0.75)]
    falls = worst[:, 0] - worst[:, 2]
    assert falls.mean() == pytest.approx(fall, abs=4 * falls.std() / np.sqrt(len(falls)))


def test_selecting_everybody_regresses_nowhere() -> None:
    """The mean of all units is the mean."""
    assert theory.regression_to_the_mean(5.0, 0.4, 1.0) == 0.0
