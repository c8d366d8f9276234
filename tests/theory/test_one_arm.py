"""Clusters in one arm only, against three packages and simulation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]


@pytest.mark.reference("formulas", "irgt_")
def test_power_with_one_arm_clustered_agrees_with_the_reference(case: Case, agree: Agree) -> None:
    """Standard error, Welch's degrees of freedom and power by t and z."""
    given = case["inputs"]
    arms = (given["var_treated_total"], given["var_control"])
    variance = theory.one_arm_clustered_variance(
        given["groups"],
        given["m"],
        given["n_control"],
        given["icc"],
        variance_treated=arms[0],
        variance_comparison=arms[1],
    )
    of_group = arms[0] * theory.variance_of_authority_mean([given["icc"], 1 - given["icc"]], [given["m"]])
    df = theory.welch_degrees_of_freedom((of_group, arms[1]), (given["groups"], given["n_control"]))
    found = {
        "se": variance**0.5,
        "satterthwaite_df": df,
        "power_satterthwaite": theory.t_test_power(given["effect"], variance**0.5, df),
        "power_z": theory.t_test_power(given["effect"], variance**0.5, np.inf),
    }
    agree(case, found)


@pytest.mark.reference("packages", "cp_irgtt_normal")
def test_power_with_one_arm_clustered_agrees_with_clusterpower(case: Case, agree: Agree) -> None:
    """Stated as variance components; clusterPower counts the upper tail of the z test."""
    given = case["inputs"]
    total = given["varu"] + given["vare"]
    variance = theory.one_arm_clustered_variance(
        given["nclusters"],
        given["nsubjects"],
        given["ncontrols"],
        given["varu"] / total,
        variance_treated=total,
        variance_comparison=given["varr"],
    )
    power = theory.t_test_power(given["d"], variance**0.5, np.inf, 0.025, one_sided=True)
    agree(case, {"value": power})


@pytest.mark.reference("packages", "(cp_irgtt_binary|pt_irgtt_bin)$")
def test_power_of_a_risk_difference_with_one_arm_clustered_agrees_with_two_packages(
    case: Case, agree: Agree
) -> None:
    """Both call the treated arm's risk p2, and count the upper tail of the z test."""
    given = case["inputs"]
    risks = (given["p2"], given["p1"])
    variance = theory.one_arm_clustered_variance(
        given.get("nclusters", given.get("J")),
        given.get("nsubjects", given.get("m")),
        given.get("ncontrols", given.get("n")),
        given.get("ICC", given.get("icc")),
        variance_treated=risks[0] * (1 - risks[0]),
        variance_comparison=risks[1] * (1 - risks[1]),
    )
    effect = abs(risks[0] - risks[1])
    agree(case, {"value": theory.t_test_power(effect, variance**0.5, np.inf, 0.025, one_sided=True)})


@pytest.mark.reference("packages", "pt_irgtt$")
def test_power_with_one_arm_clustered_agrees_with_powertools_at_its_degrees_of_freedom(
    case: Case, agree: Agree
) -> None:
    """powertools leaves the product of the arms out of the numerator of its degrees of freedom: 14.9, not 30.1."""
    given = case["inputs"]
    variance = theory.one_arm_clustered_variance(given["J"], given["m"], given["n"], given["icc"])
    treated = theory.design_effect(given["m"], given["icc"]) / (given["J"] * given["m"])
    squares = np.array([treated, 1 / given["n"]]) ** 2
    counts = np.array([given["J"], given["n"]])
    inflated = squares * (counts + 1) / (counts - 1)
    df = inflated.sum() / (inflated / (counts - 1)).sum()
    agree(case, {"value": theory.t_test_power(given["delta"], variance**0.5, df)})


@pytest.mark.reference("packages", "mdes_(ira|cra2)_pn$")
def test_mdes_of_partially_nested_trials_agrees_with_powerup(case: Case, agree: Agree) -> None:
    """Families, or clusters of families, of whom the treated are served in groups; in comparison-arm SDs."""
    given = case["inputs"]
    group, half = given.get("ic_size", 1), given.get("J", given["n"]) / 2
    # PowerUp!'s defaults for what a case leaves out.
    of_group, of_cluster = given.get("rho_ic", 0.2), given.get("rho2_trt", 0.0)
    rest = 1 - of_group - of_cluster
    if "J" in given:
        size = given["n"]
        treated = theory.variance_of_authority_mean([of_cluster, of_group, rest], [size / group, group])
        arms = (treated, theory.variance_of_authority_mean([of_cluster, rest], [size]))
        numbers = (half, half)
    else:
        arms, numbers = ((of_group + rest / group), rest), (half / group, half)
    arms = (arms[0] / (1 - of_group), arms[1] / (1 - of_group))
    df = theory.welch_degrees_of_freedom(arms, numbers)
    std_error = np.sqrt(arms[0] / numbers[0] + arms[1] / numbers[1])
    agree(case, {"mdes": theory.mdes_multiplier(df) * std_error})


def test_variance_with_one_arm_clustered_is_that_of_simulated_trials() -> None:
    """Every family drawn; Welch's test on group means and families keeps its level within a point."""
    from scipy import stats

    n_trials, groups, m, n_comparison, icc = 20_000, 8, 6, 60, 0.15
    rng = np.random.default_rng(7)
    of_group = np.sqrt(icc) * rng.standard_normal((n_trials, groups))
    means = of_group + np.sqrt((1 - icc) / m) * rng.standard_normal((n_trials, groups))
    comparison = 1.3 * rng.standard_normal((n_trials, n_comparison))
    differences = means.mean(axis=1) - comparison.mean(axis=1)
    expected = theory.one_arm_clustered_variance(groups, m, n_comparison, icc, variance_comparison=1.69)
    assert differences.var() == pytest.approx(expected, rel=4 * np.sqrt(2 / n_trials))
    size = float((stats.ttest_ind(means, comparison, axis=1, equal_var=False).pvalue < 0.05).mean())
    assert size == pytest.approx(0.05, abs=0.01)


def test_degrees_of_freedom_are_those_that_fit_the_variance_estimate() -> None:
    """Satterthwaite matches the variance of the estimate: 2 / df is its squared coefficient of variation."""
    variances, numbers = (0.3, 1.0), (6, 50)
    rng = np.random.default_rng(8)
    n_draws = 200_000
    estimate = sum(
        v / n * rng.chisquare(n - 1, n_draws) / (n - 1) for v, n in zip(variances, numbers, strict=True)
    )
    relative = estimate.var() / estimate.mean() ** 2
    kurtosis = ((estimate - estimate.mean()) ** 4).mean() / estimate.var() ** 2
    df = theory.welch_degrees_of_freedom(variances, numbers)
    assert relative == pytest.approx(2 / df, rel=4 * np.sqrt((kurtosis - 1) / n_draws))


def test_impossible_arms_are_refused() -> None:
    """A percentage for an ICC, a single group's degrees of freedom, an arm without variance."""
    with pytest.raises(ValueError, match="icc"):
        theory.one_arm_clustered_variance(8, 6, 48, icc=5)
    with pytest.raises(ValueError, match="numbers"):
        theory.welch_degrees_of_freedom((0.1, 1.0), (1, 50))
    with pytest.raises(ValueError, match="above 0"):
        theory.welch_degrees_of_freedom((0.0, 0.0), (5, 50))
