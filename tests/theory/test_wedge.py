"""Stepped wedges against two packages, published closed forms, dense regressions and simulation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]
RNG = np.random.default_rng(11)


def planned(given: Case) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The wedge of a case of swCRTdesign."""
    sequences = given["clusters_per_sequence"]
    return theory.wedge_design(sequences, after=given["periods"] - len(sequences))


@pytest.mark.reference("packages", "sw_")
def test_wedges_agree_with_swcrtdesign(case: Case, agree: Agree) -> None:
    """Risks and means; random effects of time, treatment and family; more periods; effects by exposure."""
    given = case["inputs"]
    treated = planned(given)
    mean = (given["mu0"] + given["mu1"]) / 2
    noise = mean * (1 - mean) if given["distn"] == "binomial" else given["sigma"] ** 2
    if "icc" in given:
        lasting, of_cluster = given["cac"], given["icc"] * noise / (1 - given["icc"])
    else:
        of_cluster = given["tau"] ** 2 + given["gamma"] ** 2
        lasting = given["tau"] ** 2 / of_cluster
    of_family = given.get("zeta", 0) ** 2
    covariance = theory.cell_mean_covariance(
        given["n"],
        of_cluster,
        noise + of_family,
        n_periods=given["periods"],
        cluster_autocorrelation=lasting,
        family_autocorrelation=of_family / (noise + of_family),
    )
    if given.get("eta"):
        covariance = covariance + theory.random_effect_covariance(
            treated, given["eta"], given["rho"], given["tau"]
        )
    variance = theory.wedge_variance(treated, covariance, given.get("H"))
    power = theory.t_test_power(given["mu1"] - given["mu0"], variance**0.5, np.inf, given["alpha"])
    agree(case, {"power": power, "var_theta": variance})


@pytest.mark.reference("formulas", "hh_closed_")
def test_hussey_and_hughes_agree_with_the_reference(case: Case, agree: Agree) -> None:
    """The closed form, and generalised least squares on the same model."""
    given = case["inputs"]
    treated = theory.wedge_design([given["clusters_per_sequence"]] * given["sequences"])
    cell = given["sigma2_individual"] / given["n_per_cell"]
    variance = theory.hussey_hughes_variance(treated, cell, given["tau2"])
    power = theory.t_test_power(given["effect"], variance**0.5, np.inf, given["alpha"])
    agree(case, {"var_theta": variance, "power": power})
    covariance = theory.cell_mean_covariance(1, given["tau2"], cell, n_periods=treated.shape[1])
    assert theory.wedge_variance(treated, covariance) == pytest.approx(variance, rel=1e-10)


@pytest.mark.reference("formulas", "woertman_")
def test_design_effect_of_a_wedge_agrees_with_the_reference(case: Case, agree: Agree) -> None:
    """The published formula, and the variance that it stands for."""
    given = case["inputs"]
    n, icc, steps = given["n"], given["icc"], given["steps"]
    effect = theory.woertman_design_effect(steps, n, icc, given["baseline"], given["per_step"])
    agree(case, {"design_effect": effect})
    treated = theory.wedge_design([2] * steps, given["baseline"], given["per_step"], given["per_step"])
    variance = theory.hussey_hughes_variance(treated, (1 - icc) / n, icc)
    # Individually randomised families, as many in both arms as all clusters have in a period.
    assert variance == pytest.approx(effect * 4 / (n * 2 * steps), rel=1e-10)


@pytest.mark.reference("packages", "swd_gauss_cohort$")
def test_a_closed_cohort_agrees_with_swdpwr(case: Case, agree: Agree) -> None:
    """Correlations within and between periods and within families, as estimating equations have them."""
    given = case["inputs"]
    treated = theory.wedge_design([4, 4])
    between, across, within = (given[name] for name in ("alpha0", "alpha1", "alpha2"))
    covariance = given["sigma2"] * theory.cell_mean_covariance(
        given["K"],
        between,
        1 - between,
        n_periods=3,
        cluster_autocorrelation=across / between,
        family_autocorrelation=(within - across) / (1 - between),
    )
    variance = theory.wedge_variance(treated, covariance)
    effect = given["meanresponse_end1"] - given["meanresponse_end0"]
    agree(case, {"power": theory.t_test_power(effect, variance**0.5, np.inf, given["typeIerror"])})
    assert variance == pytest.approx(
        li_variance(treated, given["K"], given["sigma2"], between, across, within)
    )


def li_variance(
    treated: np.ndarray[Any, np.dtype[np.float64]],
    n: int,
    variance: float,
    between: float,
    across: float,
    within: float,
) -> float:
    """Li, Turner and Preisser (2018), Biometrics 74, 1450-1458: block exchangeable correlation, by eigenvalues."""
    n_clusters, n_periods = treated.shape
    total, by_period = treated.sum(), (treated.sum(axis=0) ** 2).sum()
    by_cluster = (treated.sum(axis=1) ** 2).sum()
    third = 1 + (n - 1) * (between - across) - within
    fourth = 1 + (n - 1) * between + (n_periods - 1) * (n - 1) * across + (n_periods - 1) * within
    information = (
        total**2 + n_clusters * n_periods * total - n_periods * by_period - n_clusters * by_cluster
    ) * fourth - (total**2 - n_clusters * by_cluster) * third
    return float(variance / n * n_clusters * n_periods * third * fourth / information)


def test_variance_is_that_of_the_dense_regression_on_families() -> None:
    """Every family of an incomplete cohort written out, with decay, and the effect of each exposure time."""
    treated = theory.wedge_design([2, 1, 2])
    treated[0, 3] = treated[4, 0] = np.nan
    n, (n_clusters, n_periods) = 3, treated.shape
    lag = np.abs(np.subtract.outer(np.arange(n_periods), np.arange(n_periods)))
    of_cluster = 0.2 * 0.7**lag
    of_family = 0.9 * 0.4**lag
    one = np.kron(of_cluster, np.ones((n, n))) + np.kron(of_family, np.eye(n))
    cluster, period = np.divmod(np.repeat(np.arange(n_clusters * n_periods), n), n_periods)
    seen = ~np.isnan(treated[cluster, period])
    exposure = np.cumsum(np.nan_to_num(treated), axis=1)[cluster, period]
    dense = np.kron(np.eye(n_clusters), one)[np.ix_(seen, seen)]
    time = (period[:, np.newaxis] == np.arange(n_periods)).astype(float)
    covariance = theory.cell_mean_covariance(
        n,
        0.2,
        0.9,
        n_periods=n_periods,
        cluster_autocorrelation=0.7,
        family_autocorrelation=0.4,
        structure="decay",
    )
    for weights in (None, [0.5, 0.3, 0.2]):
        levels = np.array([1, 2, 3]) if weights else np.array([1])
        x = exposure[:, np.newaxis] == levels if weights else (exposure > 0)[:, np.newaxis]
        design = np.hstack([time, x])[seen]
        variances = np.linalg.inv(design.T @ np.linalg.solve(dense, design))
        contrast = np.concatenate([np.zeros(n_periods), weights or [1.0]])
        expected = contrast @ variances @ contrast
        assert theory.wedge_variance(treated, covariance, weights) == pytest.approx(expected, rel=1e-10)


def test_variance_is_that_of_generalised_least_squares_on_simulated_means() -> None:
    """Cluster-period means drawn with the covariance, and the effect estimated in each trial."""
    treated = theory.wedge_design([2, 2, 2])
    n_clusters, n_periods = treated.shape
    covariance = theory.cell_mean_covariance(
        10, 0.06, 1.0, n_periods=n_periods, cluster_autocorrelation=0.6, structure="decay"
    )
    covariance = covariance + theory.random_effect_covariance(treated, 0.2, 0.3, np.sqrt(0.06))
    n_trials = 20_000
    noise = RNG.standard_normal((n_trials, n_clusters, n_periods))
    means = np.einsum("cij,tcj->tci", np.linalg.cholesky(covariance), noise) + 0.5 * treated
    design = np.stack([np.hstack([np.eye(n_periods), row[:, np.newaxis]]) for row in treated])
    weighted = np.linalg.solve(covariance, design)
    information = np.einsum("cij,cik->jk", design, weighted)
    effects = np.linalg.solve(information, np.einsum("cij,tci->jt", weighted, means))[-1]
    variance = theory.wedge_variance(treated, covariance)
    assert effects.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / n_trials))
    assert effects.mean() == pytest.approx(0.5, abs=4 * np.sqrt(variance / n_trials))


@pytest.mark.parametrize("seed", range(4))
def test_closed_form_is_generalised_least_squares_for_any_complete_design(seed: int) -> None:
    """Hussey and Hughes's formula does not need a wedge."""
    treated = np.random.default_rng(seed).integers(0, 2, (6, 4)).astype(float)
    covariance = theory.cell_mean_covariance(8, 0.1, 1.0, n_periods=4)
    expected = theory.hussey_hughes_variance(treated, 1 / 8, 0.1)
    assert theory.wedge_variance(treated, covariance) == pytest.approx(expected, rel=1e-9)


def test_one_period_is_a_parallel_trial() -> None:
    """Nothing is known of clusters but their means."""
    treated = np.repeat([[1.0], [0.0]], [3, 5], axis=0)
    covariance = theory.cell_mean_covariance(20, 0.05, 0.95, n_periods=1)
    expected = theory.variance_of_authority_mean([0.05, 0.95], [20]) * (1 / 3 + 1 / 5)
    assert theory.wedge_variance(treated, covariance) == pytest.approx(expected, rel=1e-12)


def test_transition_leaves_out_the_first_treated_periods() -> None:
    """Not observed in the period of the start, treated from the next on."""
    expected = [[0, np.nan, 1, 1, 1], [0, 0, 0, np.nan, 1]]
    np.testing.assert_array_equal(theory.wedge_design([1, 1], every=2, after=2, transition=1), expected)


def test_an_empty_cell_is_one_not_observed() -> None:
    """Whether by its treatment or by its size; a smaller cell of a cohort is part of the larger one."""
    treated = theory.wedge_design([2, 2])
    sizes = np.full(treated.shape, 10.0)
    sizes[1, 2], sizes[3, 0] = 0, 6
    model = {"cluster_autocorrelation": 0.8, "family_autocorrelation": 0.5}
    covariance = theory.cell_mean_covariance(sizes, 0.1, 1.0, **model)
    hidden = treated.copy()
    hidden[1, 2] = np.nan
    filled = theory.cell_mean_covariance(np.where(sizes == 0, 10, sizes), 0.1, 1.0, **model)
    assert theory.wedge_variance(treated, covariance) == theory.wedge_variance(hidden, filled)
    # Six of ten families seen again: the covariance of the means is .5 x 6 / (6 x 10).
    assert covariance[3, 0, 1] == pytest.approx(0.08 + 0.5 / 10)
    assert covariance[3, 0, 0] == pytest.approx(0.1 + 1 / 6)


def test_part_of_a_treatment_counts_as_part() -> None:
    """Half the treatment throughout has a quarter of the information, as a regressor half as large."""
    treated = theory.wedge_design([2, 2, 2])
    covariance = theory.cell_mean_covariance(10, 0.1, 1.0, n_periods=4)
    whole = theory.wedge_variance(treated, covariance)
    assert theory.wedge_variance(treated / 2, covariance) == pytest.approx(4 * whole, rel=1e-10)


def test_impossible_wedges_are_refused() -> None:
    """What cannot be estimated or is no covariance is said before a number is given."""
    treated = theory.wedge_design([2, 2])
    covariance = theory.cell_mean_covariance(10, 0.1, 1.0, n_periods=3)
    with pytest.raises(ValueError, match="cannot be told"):
        theory.wedge_variance(np.ones((4, 3)), covariance)
    with pytest.raises(ValueError, match="cannot be told"):
        theory.hussey_hughes_variance(np.ones((4, 3)), 0.1, 0.1)
    with pytest.raises(ValueError, match="0 and 1"):
        theory.hussey_hughes_variance(treated / 2, 0.1, 0.1)
    with pytest.raises(ValueError, match="does not fit"):
        theory.wedge_variance(treated, covariance[:2, :2])
    with pytest.raises(ValueError, match="treated"):
        theory.wedge_variance(treated * 100, covariance)
    with pytest.raises(ValueError, match="eigenvalue"):
        theory.wedge_variance(treated, np.ones((3, 3)) - 2 * np.eye(3))
    with pytest.raises(ValueError, match="2 exposure_weights"):
        theory.wedge_variance(treated, covariance, [1.0])
    with pytest.raises(ValueError, match="stay treated"):
        theory.wedge_variance(np.array([[0.0, 1, 0], [0, 0, 1], [0, 0, 1]]), covariance, [1.0])
    with pytest.raises(ValueError, match="0 or 1"):
        theory.wedge_variance(treated / 2, covariance, [0.5, 0.5])
    with pytest.raises(ValueError, match="n_periods"):
        theory.cell_mean_covariance(10, 0.1, 1.0)
    with pytest.raises(ValueError, match="exchangeable, decay"):
        theory.cell_mean_covariance(10, 0.1, 1.0, n_periods=3, structure="ar1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="autocorrelation"):
        theory.cell_mean_covariance(10, 0.1, 1.0, n_periods=3, cluster_autocorrelation=1.2)
    with pytest.raises(ValueError, match="correlation"):
        theory.random_effect_covariance(treated, 0.1, correlation=2)
    with pytest.raises(ValueError, match="n_steps"):
        theory.woertman_design_effect(1, 20, 0.05)
    with pytest.raises(ValueError, match="clusters_per_sequence"):
        theory.wedge_design([2, 0])
