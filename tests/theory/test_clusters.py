"""Design effects and exact sizes against stored references, full matrices and simulation."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]
AgreeOnNumber = Callable[[Case, Callable[[float], float]], None]
EXACT = Path(__file__).parents[1] / "reference" / "exact_size" / "cluster_tests.json"
LEVELS = ("authority", "team", "worker", "family", "occasion")


def monte_carlo_error(rate: float, n: int) -> float:
    """Four Monte Carlo standard errors of a rejection rate."""
    return 4 * float(np.sqrt(rate * (1 - rate) / n))


@pytest.mark.reference("formulas", "unequal_sizes_")
def test_unequal_clusters_agree_with_the_reference(case: Case, agree: Agree) -> None:
    """Design effect, exact variances of an arm's mean and two efficiencies of unequal sizes."""
    sizes, icc = np.array(case["inputs"]["sizes"], dtype=float), case["inputs"]["icc"]
    mean, cv = sizes.mean(), sizes.std() / sizes.mean()
    effect = theory.design_effect(mean, icc, cv)
    effective = 1 / theory.variance_of_arm_mean(sizes, icc, "optimal")
    found = {
        "mean": mean,
        "cv_population": cv,
        "design_effect_eldridge": effect,
        "variance_unweighted_cluster_means": theory.variance_of_arm_mean(sizes, icc, "equal"),
        "variance_size_weighted": theory.variance_of_arm_mean(sizes, icc, "size"),
        "effective_n_optimal_weights": effective,
        "relative_efficiency_optimal": effective / (sizes.sum() / theory.design_effect(mean, icc)),
        "relative_efficiency_van_breukelen": theory.unequal_size_efficiency(mean, icc, cv),
    }
    agree(case, found)
    # Eldridge's design effect is exact for size weights.
    assert effect / sizes.sum() == pytest.approx(found["variance_size_weighted"], rel=1e-12)


@pytest.mark.reference("packages", "pt_re_clustsize$")
def test_efficiency_of_unequal_sizes_agrees_with_powertools(case: Case, agree: Agree) -> None:
    """The same approximation, from the standard deviation of sizes."""
    given = case["inputs"]
    agree(
        case, {"value": theory.unequal_size_efficiency(given["m"], given["icc"], given["m.sd"] / given["m"])}
    )


@pytest.mark.parametrize("weights", ["equal", "size", "optimal"])
def test_variance_of_an_arm_with_unequal_clusters_is_that_of_simulated_means(
    weights: theory.clusters.Weighting,
) -> None:
    """Every family drawn, and the weighted mean of each simulated arm."""
    sizes, icc, n_arms = np.array([2, 5, 9, 24]), 0.1, 20_000
    rng = np.random.default_rng(6)
    cluster = np.repeat(np.arange(4), sizes)
    outcome = np.sqrt(icc) * rng.standard_normal((n_arms, 4))[:, cluster]
    outcome += np.sqrt(1 - icc) * rng.standard_normal((n_arms, sizes.sum()))
    means = np.add.reduceat(outcome, np.cumsum(sizes) - sizes, axis=1) / sizes
    weight = {"equal": np.ones(4), "size": sizes, "optimal": 1 / (icc + (1 - icc) / sizes)}[weights]
    simulated = (means @ weight / weight.sum()).var()
    expected = theory.variance_of_arm_mean(sizes, icc, weights)
    assert simulated == pytest.approx(expected, rel=4 * np.sqrt(2 / n_arms))


@pytest.mark.parametrize("weights", ["equal", "size", "optimal"])
def test_variance_of_arm_mean_is_that_of_the_full_covariance_matrix(
    weights: theory.clusters.Weighting,
) -> None:
    """Written out for every family, the variance of a weighted mean is w' V w."""
    sizes, icc = np.array([2, 3, 7]), 0.15
    cluster = np.repeat(np.arange(3), sizes)
    covariance = icc * (cluster[:, None] == cluster) + (1 - icc) * np.eye(12)
    if weights == "optimal":
        expected = 1 / np.linalg.inv(covariance).sum()
    else:
        each = np.full(12, 1 / 12) if weights == "size" else 1 / (3 * sizes[cluster])
        expected = each @ covariance @ each
    assert theory.variance_of_arm_mean(sizes, icc, weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.reference("formulas", "nested5_")
def test_balanced_nested_design_agrees_with_the_reference(case: Case, agree: Agree) -> None:
    """Authority means of a balanced design are independent and normal, so that their t test is exact."""
    given = case["inputs"]
    per_unit = ("teams_per_authority", "workers_per_team", "families_per_worker", "occasions_per_family")
    numbers = [given[name] for name in per_unit]
    variance = theory.variance_of_authority_mean([given["variance"][level] for level in LEVELS], numbers)
    n_arm = given["authorities_per_arm"]
    found = {
        "var_authority_mean": variance,
        "df": theory.nested_trial_df([2 * n_arm], 0),
        "ncp": given["effect"] / np.sqrt(2 * variance / n_arm),
        "power": theory.authority_mean_power(given["effect"], variance, n_arm, n_arm, given["alpha"]),
    }
    agree(case, found)


@pytest.mark.reference("packages", "power_cra[23]$")
def test_power_of_cluster_trials_agrees_with_powerup(case: Case, agree: Agree) -> None:
    """PowerUp! uses the noncentral t with clusters less two degrees of freedom, as here."""
    given = case["inputs"]
    shares = [given[name] for name in ("rho3", "rho2") if name in given]
    numbers = [given[name] for name in ("J", "n")[2 - len(shares) :]]
    variance = theory.variance_of_authority_mean([*shares, 1 - sum(shares)], numbers)
    n_arm = given.get("K", given["J"]) // 2
    agree(case, {"power": theory.authority_mean_power(given["es"], variance, n_arm, n_arm)})


@pytest.mark.reference("packages", "pt_crt_cont")
def test_power_of_cluster_trials_agrees_with_powertools(case: Case, agree: Agree) -> None:
    """Arms with their own ICC, unequal numbers and sizes, a covariate of clusters, and a one-sided test."""
    given = case["inputs"]
    n_first = given["J1"]
    n_second = n_first * given.get("J.ratio", 1)
    iccs = (given["icc1"], given["icc2"])
    left = 1 - given.get("RsqB", 0)
    variance = sum(
        theory.variance_of_authority_mean([icc * left, 1 - icc], [given["m"]]) / n
        for icc, n in zip(iccs, (n_first, n_second), strict=True)
    )
    cv = given.get("m.sd", 0) / given["m"]
    variance /= theory.unequal_size_efficiency(given["m"], sum(iccs) / 2, cv)
    df = theory.nested_trial_df([n_first + n_second], 0, n_covariates=given.get("ncov", 0))
    one_sided = given.get("sides") == 1
    agree(case, {"value": theory.t_test_power(given["delta"], variance**0.5, df, one_sided=one_sided)})


@pytest.mark.reference("packages", "cp_(normal|binary)_(?!K)")
def test_power_of_cluster_trials_agrees_with_clusterpower(case: Case, agree: Agree) -> None:
    """Means and risks, the clusters weighted by their size; clusterPower counts the upper tail alone."""
    given = case["inputs"]
    agree(case, {"value": clusterpower(given, given["nclusters"])})


@pytest.mark.reference("packages", "cp_(normal|binary)_K")
def test_number_of_clusters_agrees_with_clusterpower(case: Case, agree_on_number: AgreeOnNumber) -> None:
    """The number of clusters an arm at which power is reached, before rounding up."""
    agree_on_number(case, lambda n: clusterpower(case["inputs"], n))


def clusterpower(given: Case, n_arm: float) -> float:
    """Upper tail of the two-sided test on `n_arm` clusters in each arm, all families alike within arms."""
    if "p1" in given:
        variance = sum(given[risk] * (1 - given[risk]) for risk in ("p1", "p2"))
        effect = abs(given["p1"] - given["p2"])
    else:
        total = given["vart"] if "vart" in given else given["sigma_sq"] / (1 - given["ICC"])
        variance, effect = 2 * total, given["d"]
    inflated = variance * theory.design_effect(given["nsubjects"], given["ICC"], given.get("CV", 0))
    std_error = np.sqrt(inflated / (n_arm * given["nsubjects"]))
    df = 2 * (n_arm - 1) if given.get("tdist", True) else np.inf
    return float(theory.t_test_power(effect, std_error, df, given["alpha"] / 2, one_sided=True))


def test_numbers_that_do_not_fit_the_levels_are_refused() -> None:
    """Each level but the first has its number of units in a unit above."""
    with pytest.raises(ValueError, match="numbers"):
        theory.variance_of_authority_mean([0.1, 0.9], [3, 4])


@pytest.mark.reference("formulas", "ignored_cluster_")
def test_ignored_clustering_with_known_variances_agrees_with_the_reference(case: Case, agree: Agree) -> None:
    """The naive variance is short by the design effect."""
    given = case["inputs"]
    icc = given["var_between"] / (given["var_between"] + given["var_within"])
    effect = theory.design_effect(given["m"], icc)
    size = theory.size_with_misstated_variance(1 / effect)
    agree(case, {"design_effect": effect, "type1": size, "coverage_95": 1 - size})


@pytest.mark.parametrize(
    ("families", "size", "authority", "naive"), [(20, 0.12, 26.6, 10.5), (50, 0.21, 21.1, 6.7)]
)
def test_two_by_two_contrast_has_its_size_and_mdes(
    families: int, size: float, authority: float, naive: float
) -> None:
    """2 v 2 authorities, engagement SD 16.8, ICC .03: the figures of the round-2 contrast study."""
    assert theory.naive_t_size(2, 2, families, 0.03) == pytest.approx(size, abs=0.01)
    known = theory.size_with_misstated_variance(1 / theory.design_effect(families, 0.03))
    assert known == pytest.approx(size, abs=0.01)
    of_mean = 16.8**2 * theory.variance_of_authority_mean([0.03, 0.97], [families])
    assert theory.mdes(np.sqrt(of_mean), 2) == pytest.approx(authority, rel=0.02)
    assert theory.mdes(16.8 * np.sqrt(1 / families), np.inf) == pytest.approx(naive, rel=0.02)
    assert theory.smallest_permutation_p(2, 2) == pytest.approx(1 / 3)
    assert theory.smallest_permutation_p(2, 2, two_sided=False) == pytest.approx(1 / 6)


def test_naive_t_test_has_its_size_without_clustering() -> None:
    """With ICC 0 families are independent and the naive test is exact."""
    assert theory.naive_t_size(2, 3, 12, 0.0) == pytest.approx(0.05, abs=1e-10)
    assert theory.naive_t_size(3, 3, 1, 0.2) == pytest.approx(0.05, abs=1e-10)


@pytest.mark.parametrize(("n_treated", "n_comparison", "cluster_size"), [(2, 2, 20), (3, 7, 10)])
def test_naive_t_size_is_the_rejection_rate_of_simulated_trials(
    n_treated: int, n_comparison: int, cluster_size: int
) -> None:
    """Every family drawn, and the textbook t test that ignores the clusters."""
    from scipy import stats

    n_trials, icc = 20_000, 0.05
    rng = np.random.default_rng(3)
    shape = (n_trials, n_treated + n_comparison)
    outcome = np.sqrt(icc) * rng.standard_normal((*shape, 1))
    outcome = outcome + np.sqrt(1 - icc) * rng.standard_normal((*shape, cluster_size))
    arms = [outcome[:, :n_treated].reshape(n_trials, -1), outcome[:, n_treated:].reshape(n_trials, -1)]
    rate = float((stats.ttest_ind(*arms, axis=1).pvalue < 0.05).mean())
    size = theory.naive_t_size(n_treated, n_comparison, cluster_size, icc)
    assert rate == pytest.approx(size, abs=monte_carlo_error(size, n_trials))


@pytest.mark.reference("cluster_tests", "size_")
def test_cluster_robust_tests_have_their_exact_rejection_rates(case: Case) -> None:
    """Ten tests by arm sizes, unequal variances and effects; values from a Beta integral."""
    given, expected = case["inputs"], case["expected"]
    n_treated, n_comparison, m = (given[k] for k in ("treated_clusters", "control_clusters", "cluster_size"))
    n_clusters = n_treated + n_comparison
    reference_df = {
        "z": np.inf,
        "t(G-1)": n_clusters - 1,
        "t(G-2)": n_clusters - 2,
        "t(N-2)": n_clusters * m - 2,
        "satterthwaite": expected["satterthwaite_df_CR2"],
    }
    if expected["satterthwaite_df_CR2"] is not None:
        df = theory.cr2_degrees_of_freedom(n_treated, n_comparison)
        assert df == pytest.approx(expected["satterthwaite_df_CR2"], abs=1e-10)
    for test, rate in expected["rejection"].items():
        robust, _, reference = test.replace("cluster_mean_t_pooled", "pooled_t(G-2)").partition("_")
        found = theory.cluster_robust_rejection(
            robust,
            n_treated,
            n_comparison,
            reference_df[reference],
            effect=given["effect"],
            variances=(given["variance_of_cluster_mean_treated"], given["variance_of_cluster_mean_control"]),
            cluster_size=m,
            alpha=given["alpha"],
        )
        assert found == pytest.approx(rate, abs=case["tolerance"]), test


def test_cluster_robust_size_is_the_rejection_rate_of_simulated_trials() -> None:
    """CR2 with normal cluster means, its sandwich written out, 3 v 7 clusters of unlike spread."""
    n_trials = 200_000
    rng = np.random.default_rng(4)
    treated, comparison = 2 * rng.standard_normal((n_trials, 3)), rng.standard_normal((n_trials, 7))
    variance = treated.var(axis=1, ddof=1) / 3 + comparison.var(axis=1, ddof=1) / 7
    statistic = (treated.mean(axis=1) - comparison.mean(axis=1)) / np.sqrt(variance)
    df = theory.cr2_degrees_of_freedom(3, 7)
    rate = float((2 * special.stdtr(df, -np.abs(statistic)) < 0.05).mean())
    size = theory.cluster_robust_rejection("CR2", 3, 7, df, variances=(4.0, 1.0))
    assert rate == pytest.approx(size, abs=monte_carlo_error(size, n_trials))


def test_what_one_cluster_in_an_arm_leaves_undefined_is_refused() -> None:
    """CR2 and CR3 divide by one less than an arm's clusters; CR1S needs the number of families."""
    with pytest.raises(ValueError, match="two clusters"):
        theory.cluster_robust_rejection("CR2", 1, 9, 9)
    with pytest.raises(ValueError, match="two clusters"):
        theory.cr2_degrees_of_freedom(1, 9)
    with pytest.raises(ValueError, match="cluster size"):
        theory.cluster_robust_rejection("CR1S", 3, 9, 11)


def test_permutation_tests_have_their_smallest_p_and_size() -> None:
    """Counted over all arrangements, the mirror image included where arms are equal."""
    for entry in json.loads(EXACT.read_text())["attainable_p_values"]["randomisation_test"]:
        arms = (entry["treated"], entry["G"] - entry["treated"])
        assert theory.smallest_permutation_p(*arms) == pytest.approx(entry["min_p"], abs=1e-12)
        assert theory.permutation_size(*arms) == pytest.approx(entry["exact_size"], abs=1e-12)


def test_one_treated_unit_among_donors_has_the_smallest_p_and_size_of_a_placebo_test() -> None:
    """Each unit's turn at being treated is an arrangement, and none is the mirror image of another."""
    for entry in json.loads(EXACT.read_text())["attainable_p_values"]["synthetic_control_placebo"]:
        assert theory.smallest_permutation_p(1, entry["donors"]) == pytest.approx(entry["min_p"], abs=1e-12)
        assert theory.permutation_size(1, entry["donors"]) == pytest.approx(entry["exact_size"], abs=1e-12)
