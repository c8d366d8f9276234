"""Binary outcomes in clusters against stored quadrature, powertools and simulation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from scipy import special

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]
AgreeOnNumber = Callable[[Case, Callable[[float], float]], None]


@pytest.mark.reference("formulas", "logistic_normal_")
def test_marginal_effects_agree_with_the_reference(case: Case, agree: Agree) -> None:
    """200 points of Gauss-Hermite quadrature there, the trapezoid rule here."""
    given = case["inputs"]
    ratio, sd = given["conditional_log_or"], given["sd_cluster"]
    marginal = theory.marginal_risks(given["intercept"], ratio, sd)
    found = {
        "p_control": marginal.comparison,
        "p_treated": marginal.treated,
        "marginal_log_or": marginal.log_odds_ratio,
        "zeger_approximation": theory.approximate_marginal_log_odds_ratio(ratio, sd),
        "latent_icc": theory.latent_icc(sd),
    }
    agree(case, found)


@pytest.mark.reference("packages", "pt_crt_bin$")
def test_number_of_clusters_for_an_odds_ratio_agrees_with_powertools(
    case: Case, agree_on_number: AgreeOnNumber
) -> None:
    """It adds a fifth to the first-order variance, and counts the upper tail of the z test."""
    given = case["inputs"]
    effect = abs(special.logit(given["pt"]) - special.logit(given["pc"]))

    def power(n: float) -> float:
        variance = 1.2 * theory.log_odds_ratio_variance(
            given["pt"], given["pc"], n, given["m"], given["sigma_u"]
        )
        return float(theory.t_test_power(effect, variance**0.5, np.inf, 0.025, one_sided=True))

    agree_on_number(case, power)


def test_marginal_risk_is_the_share_of_simulated_families() -> None:
    """Clusters' log odds drawn, and the mean of their risks."""
    rng = np.random.default_rng(14)
    risks = special.expit(-1.2 + 0.9 * rng.standard_normal(400_000))
    error = 4 * risks.std() / np.sqrt(risks.size)
    assert risks.mean() == pytest.approx(float(theory.marginal_risk(-1.2, 0.9)), abs=error)


def test_without_spread_marginal_and_conditional_are_one() -> None:
    """Where all clusters are alike, each is as all are."""
    marginal = theory.marginal_risks(-1.0, 0.6, 0.0)
    assert marginal.log_odds_ratio == pytest.approx(0.6, abs=1e-12)
    assert theory.approximate_marginal_log_odds_ratio(0.6, 0.0) == 0.6
    assert theory.latent_icc(0.0) == 0.0


def test_impossible_clusters_are_refused() -> None:
    """No spread is negative, no risk certain."""
    for function in (theory.latent_icc, lambda sd: theory.marginal_risk(0.0, sd)):
        with pytest.raises(ValueError, match="sd_cluster"):
            function(-0.1)
    with pytest.raises(ValueError, match="risks"):
        theory.log_odds_ratio_variance(0.3, 0.0, 20, 30, 0.5)
