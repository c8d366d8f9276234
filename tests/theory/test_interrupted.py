"""Interrupted series against stored references and simulation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]


@pytest.mark.reference("formulas", "its_")
def test_variances_of_interrupted_series_agree_with_the_reference(case: Case, agree: Agree) -> None:
    """Generalised and ordinary least squares, and what the latter reports of itself."""
    given = case["inputs"]
    covariance = theory.serial_covariance(given["T"], 1.0, given["rho"])
    gls, ols, reported = (
        theory.interrupted_variances(covariance, given["pre"], fit)
        for fit in ("gls", "ols", "reported")  # type: ignore[arg-type]
    )
    found = {
        "se_gls_level": gls.level**0.5,
        "se_gls_slope": gls.slope**0.5,
        "se_ols_true_level": ols.level**0.5,
        "se_ols_true_slope": ols.slope**0.5,
        "expected_conventional_ols_var_level": reported.level,
        "ratio_conventional_over_true_level": reported.level / ols.level,
        "power_gls_level_1sd": theory.t_test_power(1.0, gls.level**0.5, np.inf),
    }
    agree(case, found)


def test_least_squares_varies_and_reports_as_simulated() -> None:
    """Series drawn with the covariance, the regression done in each."""
    n_series, n_pre = 20_000, 8
    covariance = theory.serial_covariance(20, 1.0, 0.5)
    rng = np.random.default_rng(12)
    series = rng.standard_normal((n_series, 20)) @ np.linalg.cholesky(covariance).T
    time, after = np.arange(20.0), (np.arange(20) >= n_pre).astype(float)
    design = np.column_stack([np.ones(20), time, after, after * (time - n_pre)])
    coefficients = series @ np.linalg.pinv(design).T
    residuals = series - coefficients @ design.T
    per_series = (residuals**2).sum(axis=1) / 16
    unit = np.linalg.inv(design.T @ design)
    true = theory.interrupted_variances(covariance, n_pre, "ols")
    reported = theory.interrupted_variances(covariance, n_pre, "reported")
    for k, name in ((2, "level"), (3, "slope")):
        spread = coefficients[:, k].var()
        assert spread == pytest.approx(getattr(true, name), rel=4 * np.sqrt(2 / n_series))
        means = per_series * unit[k, k]
        error = 4 * means.std() / np.sqrt(n_series)
        assert means.mean() == pytest.approx(getattr(reported, name), abs=error)


def test_impossible_series_are_refused() -> None:
    """A line needs two occasions on either side, and a variance a fifth."""
    with pytest.raises(ValueError, match="needs two"):
        theory.interrupted_variances(np.eye(6), 1)
    with pytest.raises(ValueError, match="four occasions"):
        theory.interrupted_variances(np.eye(4), 2, "reported")
    with pytest.raises(ValueError, match="gls, ols, reported"):
        theory.interrupted_variances(np.eye(6), 3, "arima")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="square"):
        theory.interrupted_variances(np.ones((3, 4)), 2)
