"""Tests for trends against the pretrends package's example, other integration and simulation."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]
HE_WANG = Path(__file__).parents[3] / "shared" / "validation" / "data" / "he_wang_event_study.json"
RNG = np.random.default_rng(16)


def correlated(n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Covariance of n coefficients, all measured against one reference occasion."""
    return (
        0.01 * (np.eye(n) + 0.8 * np.ones((n, n))) * np.linspace(1, 1.4, n) * np.linspace(1, 1.4, n)[:, None]
    )


if HE_WANG.exists():  # a published estimate, which the package does not distribute

    @pytest.mark.reference("formulas", "pretest_he_wang_")
    def test_example_agrees_with_pretrends(case: Case, agree: Agree) -> None:
        """The slope found with the stated power, and what is left of its bias in studies that pass."""
        given, n_pre = case["inputs"], 3
        covariance = np.array(json.loads(HE_WANG.read_text())["sigma"])
        time = np.array(given["relative_time"], dtype=float)
        slope = theory.slope_for_pretest_power(
            given["target_power"], time, given["reference"], covariance, n_pre
        )
        bias = slope * (time - given["reference"])
        passed, without = (theory.pass_pretest(each, covariance, n_pre) for each in (bias, 0 * bias))
        found = {
            "slope": slope,
            "rejection_under_parallel_trends": 1 - without.probability,
            "bayes_factor": passed.probability / without.probability,
            "mean_pre_given_pass": passed.mean[:n_pre],
            "mean_post_given_pass": passed.mean[n_pre:],
            "unconditional_post_bias": bias[n_pre:],
        }
        agree(case, found)


@pytest.mark.parametrize("n_pre", [1, 2, 4])
def test_probability_of_a_pass_is_the_normal_one_of_a_box(n_pre: int) -> None:
    """By SciPy's own integration, random beyond two coefficients."""
    from scipy import stats

    covariance, bias = correlated(n_pre + 1), np.linspace(-0.1, 0.2, n_pre + 1)
    bound = 1.959964 * np.sqrt(np.diag(covariance))[:n_pre]
    law = stats.multivariate_normal(bias[:n_pre], covariance[:n_pre, :n_pre], seed=1)
    expected = law.cdf(bound, lower_limit=-bound)
    assert theory.pass_pretest(bias, covariance, n_pre).probability == pytest.approx(expected, abs=1e-5)


def test_passing_studies_have_the_mean_of_those_simulated() -> None:
    """Event studies drawn with a trend, and those kept in which no early coefficient is significant."""
    n_pre, n_studies = 3, 400_000
    time = np.array([-4.0, -3, -2, 0, 1, 2])
    covariance, bias = correlated(6), 0.06 * (time + 1)
    drawn = bias + RNG.standard_normal((n_studies, 6)) @ np.linalg.cholesky(covariance).T
    significant = np.abs(drawn[:, :n_pre]) > 1.959964 * np.sqrt(np.diag(covariance))[:n_pre]
    kept = drawn[~significant.any(axis=1)]
    passed = theory.pass_pretest(bias, covariance, n_pre)
    error = np.sqrt(passed.probability * (1 - passed.probability) / n_studies)
    assert len(kept) / n_studies == pytest.approx(passed.probability, abs=4 * error)
    difference = np.abs(kept.mean(axis=0) - passed.mean)
    assert (difference < 4 * kept.std(axis=0) / np.sqrt(len(kept))).all()


def test_slope_found_has_the_power_asked_for() -> None:
    """It is the root of the power."""
    time, covariance = np.array([-3.0, -2, 0, 1]), correlated(4)
    slope = theory.slope_for_pretest_power(0.7, time, -1.0, covariance, 2)
    passed = theory.pass_pretest(slope * (time + 1), covariance, 2)
    assert 1 - passed.probability == pytest.approx(0.7, abs=1e-9)


def test_six_coefficients_are_integrated_as_well_as_independent_ones() -> None:
    """Independent coefficients pass one by one, which the quadrature must multiply up to."""
    bias = np.linspace(0, 1.5, 6)
    each = [theory.pass_pretest(np.array([b]), np.eye(1), 1) for b in bias]
    together = theory.pass_pretest(bias, np.eye(6), 6)
    assert together.probability == pytest.approx(np.prod([one.probability for one in each]), rel=1e-9)
    np.testing.assert_allclose(together.mean, [one.mean[0] for one in each], atol=1e-9)


def test_impossible_pretests_are_refused() -> None:
    """A test needs coefficients before the start, a covariance of them, and more power than its level."""
    covariance = correlated(4)
    with pytest.raises(ValueError, match="n_pre"):
        theory.pass_pretest(np.zeros(4), covariance, 0)
    with pytest.raises(ValueError, match="within 1 to 6"):
        theory.pass_pretest(np.zeros(9), np.eye(9), 7)
    with pytest.raises(ValueError, match="do not fit"):
        theory.pass_pretest(np.zeros(3), covariance, 2)
    with pytest.raises(ValueError, match="already rejects"):
        theory.slope_for_pretest_power(0.05, np.arange(4.0), -1.0, covariance, 3)
    with pytest.raises(ValueError, match="power"):
        theory.slope_for_pretest_power(80, np.arange(4.0), -1.0, covariance, 3)
