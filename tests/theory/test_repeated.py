"""What a baseline buys, against published formulas, two packages and simulation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]
AgreeOnNumber = Callable[[Case, Callable[[float], float]], None]
ANALYSES: tuple[theory.repeated.Analysis, ...] = ("post", "change", "ancova")


@pytest.mark.reference("formulas", "frison_pocock_")
def test_repeated_measures_agree_with_frison_and_pocock(case: Case, agree: Agree) -> None:
    """A permanent part and independent noise are compound symmetry."""
    given = case["inputs"]
    covariance = theory.serial_covariance(given["pre"] + given["post"], 1.0, 0.0, given["rho"])
    factor = {
        how.upper(): theory.variance_of_analysed_outcome(covariance, given["pre"], how) for how in ANALYSES
    }
    multiplier = theory.mdes_multiplier(np.inf, given["alpha"], given["power"])
    found = {
        "variance_factor": factor,
        "n_per_arm_z": {
            how: 2 * value * (multiplier / given["delta_over_sigma"]) ** 2 for how, value in factor.items()
        },
        "ratio_CHANGE_over_ANCOVA": factor["CHANGE"] / factor["ANCOVA"],
    }
    agree(case, found)


@pytest.mark.reference("formulas", "ancova_crt_")
def test_baselines_of_cluster_trials_agree_with_the_reference(case: Case, agree: Agree) -> None:
    """The correlation of cluster means, and what change scores and analysis of covariance make of it."""
    given = case["inputs"]
    design = (
        given["m"],
        given["icc"],
        given["cluster_autocorrelation"],
        given["subject_autocorrelation"],
    )
    post, change, ancova = (theory.baseline_design_effect(*design, how) for how in ANALYSES)
    found = {
        "r_cluster_means": theory.cluster_mean_correlation(*design),
        "design_effect": post,
        "factor_ANCOVA": ancova / post,
        "factor_CHANGE": change / post,
        "total_inflation_ANCOVA": ancova,
    }
    agree(case, found)


@pytest.mark.reference("packages", "pt_crt_means_r$")
def test_correlation_of_cluster_means_agrees_with_powertools(case: Case, agree: Agree) -> None:
    """The same correlation, by another author."""
    given = case["inputs"]
    r = theory.cluster_mean_correlation(given["m"], given["icc"], given["cac"], given["sac"])
    agree(case, {"value": r})


@pytest.mark.reference("packages", "pt_crt_long$")
def test_power_with_a_baseline_agrees_with_powertools(case: Case, agree: Agree) -> None:
    """Analysis of covariance of cluster means, with clusters less two degrees of freedom."""
    given = case["inputs"]
    effect = theory.baseline_design_effect(given["m"], given["icc"], given["cac"], given["sac"])
    std_error = np.sqrt(2 * effect / (given["J1"] * given["m"]))
    df = theory.nested_trial_df([2 * given["J1"]], 0)
    agree(case, {"value": theory.t_test_power(given["delta"], std_error, df)})


@pytest.mark.reference("packages", "pt_crt_xo$")
def test_power_of_a_crossover_agrees_with_powertools(case: Case, agree: Agree) -> None:
    """Its degrees of freedom are those of the cluster-periods less the three means."""
    given = case["inputs"]
    n = given["J.arm"]
    variance = theory.crossover_variance(n, n, given["m"], given["icc"], given["cac"], given["sac"])
    agree(case, {"value": theory.t_test_power(given["delta"], variance**0.5, 4 * n - 3)})


@pytest.mark.reference("packages", "cp_did_")
def test_number_of_clusters_for_a_change_agrees_with_clusterpower(
    case: Case, agree_on_number: AgreeOnNumber
) -> None:
    """Changes of means or risks, cross-sectional or of a cohort; clusterPower counts the upper tail alone."""
    given = case["inputs"]
    total = given["p"] * (1 - given["p"]) if "p" in given else given["vart"]
    correlations = (given["rho_c"], given["rho_s"])
    effect = theory.baseline_design_effect(given["nsubjects"], given["ICC"], *correlations, "change")

    def power(n: float) -> float:
        std_error = np.sqrt(2 * total * effect / (n * given["nsubjects"]))
        return float(theory.t_test_power(given["d"], std_error, 2 * (n - 1), 0.025, one_sided=True))

    agree_on_number(case, power)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_analyses_of_a_baseline_have_the_variance_of_simulated_trials(
    analysis: theory.repeated.Analysis,
) -> None:
    """Eight units an arm, two occasions before and three after; ANCOVA's slope is estimated, and costs."""
    n_trials, n_arm, n_pre = 20_000, 8, 2
    covariance = theory.serial_covariance(5, 1.0, 0.6, 0.3)
    rng = np.random.default_rng(9)
    drawn = rng.standard_normal((n_trials, 2, n_arm, 5)) @ np.linalg.cholesky(covariance).T
    before, after = drawn[..., :n_pre].mean(axis=-1), drawn[..., n_pre:].mean(axis=-1)
    slope = np.zeros((n_trials, 1, 1)) if analysis == "post" else np.ones((n_trials, 1, 1))
    inflation = 1.0
    if analysis == "ancova":
        x, y = (side - side.mean(axis=-1, keepdims=True) for side in (before, after))
        slope = ((x * y).sum(axis=(1, 2)) / (x * x).sum(axis=(1, 2)))[:, np.newaxis, np.newaxis]
        inflation = theory.ancova_inflation(2 * n_arm)
    means = (after - slope * before).mean(axis=-1)
    differences = means[:, 1] - means[:, 0]
    expected = 2 * inflation * theory.variance_of_analysed_outcome(covariance, n_pre, analysis) / n_arm
    kurtosis = ((differences - differences.mean()) ** 4).mean() / differences.var() ** 2
    assert differences.var() == pytest.approx(expected, rel=4 * np.sqrt((kurtosis - 1) / n_trials))


@pytest.mark.parametrize("n_covariates", [1, 2])
def test_estimated_slopes_inflate_the_variance_as_in_dense_regressions(n_covariates: int) -> None:
    """Given the covariates, treatment's entry of (X'X)^-1 over that without them; its mean over draws."""
    n_draws, n_arm = 20_000, 6
    covariates = np.random.default_rng(10).standard_normal((n_draws, 2 * n_arm, n_covariates))
    arms = np.repeat([[1.0, 0.0], [0.0, 1.0]], n_arm, axis=0)
    design = np.concatenate([np.broadcast_to(arms, (n_draws, *arms.shape)), covariates], axis=2)
    inverse = np.linalg.inv(np.swapaxes(design, 1, 2) @ design)
    ratios = (inverse[:, 0, 0] + inverse[:, 1, 1] - 2 * inverse[:, 0, 1]) / (2 / n_arm)
    expected = theory.ancova_inflation(2 * n_arm, n_covariates)
    assert ratios.mean() == pytest.approx(expected, abs=4 * ratios.std() / np.sqrt(n_draws))


def test_ancova_is_never_worse_than_either_alternative() -> None:
    """It chooses the best weight on the baseline, of which 0 and 1 are the others'."""
    for share in (0.0, 0.2, 0.5, 0.9):
        covariance = theory.serial_covariance(4, 2.0, 0.5, share)
        post, change, ancova = (theory.variance_of_analysed_outcome(covariance, 2, how) for how in ANALYSES)
        assert ancova <= min(post, change) + 1e-12


def test_cluster_means_correlate_as_their_covariance_written_out() -> None:
    """Four families of a cluster on two occasions, every covariance entered."""
    m, icc, cac, sac = 4, 0.2, 0.6, 0.3
    same = np.eye(m)
    within = icc + (1 - icc) * same
    across = icc * cac + (1 - icc) * sac * same
    expected = across.mean() / within.mean()
    assert theory.cluster_mean_correlation(m, icc, cac, sac) == pytest.approx(expected, rel=1e-12)


def test_crossover_variance_is_that_of_least_squares_on_cell_means() -> None:
    """Clusters and periods as fixed effects, the dense regression of 3 + 5 clusters' two means."""
    n_first, n_second, m, icc, cac, sac = 3, 5, 12, 0.1, 0.7, 0.4
    n = n_first + n_second
    treated = np.repeat([[1.0, 0.0], [0.0, 1.0]], [n_first, n_second], axis=0)
    covariance = theory.cell_mean_covariance(
        m, icc, 1 - icc, n_periods=2, cluster_autocorrelation=cac, family_autocorrelation=sac
    )
    design = np.column_stack(
        [treated.ravel(), np.kron(np.eye(n), np.ones((2, 1))), np.kron(np.ones((n, 1)), [[0.0], [1.0]])]
    )
    hat = np.linalg.pinv(design)
    expected = (hat @ np.kron(np.eye(n), covariance) @ hat.T)[0, 0]
    found = theory.crossover_variance(n_first, n_second, m, icc, cac, sac)
    assert found == pytest.approx(expected, rel=1e-10)


def test_impossible_baselines_are_refused() -> None:
    """An analysis needs the occasions that it compares, and a name."""
    covariance = np.eye(3)
    with pytest.raises(ValueError, match="occasions"):
        theory.variance_of_analysed_outcome(covariance, 0, "ancova")
    assert theory.variance_of_analysed_outcome(covariance, 0, "post") == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="post, change, ancova"):
        theory.variance_of_analysed_outcome(covariance, 1, "anova")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="symmetric"):
        theory.variance_of_analysed_outcome(np.array([[1.0, 0.3], [0.2, 1.0]]), 1, "post")
    with pytest.raises(ValueError, match="eigenvalue"):
        theory.variance_of_analysed_outcome(np.array([[1.0, 2.0], [2.0, 1.0]]), 1, "post")
    with pytest.raises(ValueError, match="n_units"):
        theory.ancova_inflation(4)
    with pytest.raises(ValueError, match="autocorrelation"):
        theory.cluster_mean_correlation(20, 0.05, 70)
    with pytest.raises(ValueError, match="n_treated_first"):
        theory.crossover_variance(0, 4, 20, 0.05, 0.8)


@pytest.mark.reference("formulas", "frison_pocock_")
def test_families_that_are_clusters_make_a_cohort_of_frison_and_pocock(case: Case) -> None:
    """With one family in every cluster its own baseline is its cluster's."""
    given = case["inputs"]
    occasions = given["pre"], given["post"]
    for how in (*ANALYSES, "own_baseline"):
        expected = case["expected"]["variance_factor"]["ANCOVA" if how == "own_baseline" else how.upper()]
        found = theory.cohort_variance((20, 30), occasions, 1, 0.0, 1.0, given["rho"], how)  # type: ignore[arg-type]
        assert found == pytest.approx(expected * (1 / 20 + 1 / 30), rel=1e-12)


@pytest.mark.reference("formulas", "ancova_crt_")
def test_cohorts_of_clusters_agree_with_the_reference(case: Case) -> None:
    """One baseline and one follow-up are the design effects of Teerenstra et al. over families in all."""
    given = case["inputs"]
    design = given["m"], given["icc"], given["cluster_autocorrelation"], given["subject_autocorrelation"]
    found = theory.cohort_variance((8, 8), (1, 1), *design, "ancova")
    assert found == pytest.approx(2 * case["expected"]["total_inflation_ANCOVA"] / (8 * given["m"]), rel=1e-8)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("cluster_autocorrelation", [1.0, 0.6])
def test_constrained_baselines_have_the_variance_of_generalised_least_squares(
    before: int, after: int, cluster_autocorrelation: float
) -> None:
    """Every observation in a row, arms alike before the start: (X'V^-1 X)^-1 in dense matrices."""
    n_clusters, m, icc, own = (3, 2), 4, 0.15, 0.5
    occasions, clusters = before + after, sum(n_clusters)

    def alike(r: float) -> Any:
        return np.full((occasions, occasions), r) + (1 - r) * np.eye(occasions)

    of_cluster = np.kron(np.ones((m, m)), icc * alike(cluster_autocorrelation))
    of_cluster += np.kron(np.eye(m), (1 - icc) * alike(own))
    covariance = np.kron(np.eye(clusters), of_cluster)
    periods = np.tile(np.eye(occasions), (clusters * m, 1))
    treated = np.repeat(np.arange(clusters) < n_clusters[0], m * occasions)
    effect = treated & np.tile(np.arange(occasions) >= before, clusters * m)
    design = np.column_stack([periods, effect])
    variance = np.linalg.inv(design.T @ np.linalg.solve(covariance, design))[-1, -1]
    found = theory.cohort_variance(
        n_clusters, (before, after), m, icc, cluster_autocorrelation, own, "ancova"
    )
    assert found == pytest.approx(variance, rel=1e-10)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 3)])
def test_a_slope_on_families_own_baselines_leaves_what_simulated_trials_have(before: int, after: int) -> None:
    """Least squares with one slope for all levels, in large trials, whose slope hardly varies."""
    n_trials, clusters, m, icc, stay, own = 2_000, 40, 6, 0.2, 0.5, 0.7
    rng = np.random.default_rng(12)

    def parts(shape: tuple[int, ...], r: float) -> Any:
        kept = rng.standard_normal((*shape, 1))
        return np.sqrt(r) * kept + np.sqrt(1 - r) * rng.standard_normal((*shape, before + after))

    y = np.sqrt(icc) * parts((n_trials, clusters, 1), stay)
    y = y + np.sqrt(1 - icc) * parts((n_trials, clusters, m), own)
    x, y = y[..., :before].mean(axis=-1), y[..., before:].mean(axis=-1)
    x, y = (side.reshape(n_trials, 2, -1) for side in (x, y))
    within = [side - side.mean(axis=2, keepdims=True) for side in (x, y)]
    slope = (within[0] * within[1]).sum(axis=(1, 2)) / (within[0] ** 2).sum(axis=(1, 2))
    left = (y - slope[:, np.newaxis, np.newaxis] * x).mean(axis=2)
    found = (left[:, 1] - left[:, 0]).var()
    expected = theory.cohort_variance((20, 20), (before, after), m, icc, stay, own, "own_baseline")
    assert found == pytest.approx(expected, rel=4 * np.sqrt(2 / n_trials))


def test_a_cohort_without_a_side_is_refused() -> None:
    """Its own baseline needs an occasion before the start and one after it."""
    for occasions in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="each side needs one"):
            theory.cohort_variance((5, 5), occasions, 10, 0.1, 1.0, 0.5, "own_baseline")
