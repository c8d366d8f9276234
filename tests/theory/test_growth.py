"""Growth models against powerlmm, longpower, a textbook's table and the dense mixed model."""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

import numpy as np
import pytest

from design_sim import theory
from design_sim.theory.growth import GrowthArm, GrowthModel

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]
RNG = np.random.default_rng(15)


def covariance(sd_intercept: float, sd_slope: float, correlation: float = 0.0) -> Any:
    """Covariance of an intercept and a slope."""
    between = correlation * sd_intercept * sd_slope
    return np.array([[sd_intercept**2, between], [between, sd_slope**2]])


def one_family(n_occasions: int) -> GrowthArm:
    """An arm of a single family that stays throughout."""
    return GrowthArm(theory.followed_families([1], np.ones(n_occasions)), clustered=False)


def powerlmm(given: Case) -> tuple[GrowthModel, list[int]]:
    """The model of a case of powerlmm, and the sizes of clusters in an arm."""
    resolved, n_occasions = given["resolved"], given["n1"]
    spread = [resolved["sigma_cluster_slope"] or 0.0, resolved["sigma_cluster_intercept"]]
    model = GrowthModel(
        np.linspace(0, resolved["T_end"], n_occasions),
        covariance(
            resolved["sigma_subject_intercept"], resolved["sigma_subject_slope"], resolved["cor_subject"]
        ),
        covariance(0.0 if spread[1] == "NA" else spread[1], spread[0]),
        resolved["sigma_error"] ** 2,
    )
    return model, given.get("cluster_sizes_per_arm") or [given["n2"]] * given.get("n3", 1)


def solved(model: GrowthModel, treated: GrowthArm, comparison: GrowthArm, effect: float) -> dict[str, Any]:
    """Standard error, degrees of freedom and power by both methods."""
    std_error = theory.slope_difference_variance(model, treated, comparison) ** 0.5
    dfs = {
        "between": theory.between_degrees_of_freedom(model, treated, comparison),
        "satterthwaite": theory.satterthwaite_degrees_of_freedom(model, treated, comparison),
    }
    return {
        how: {"se": std_error, "df": df, "power": theory.t_test_power(effect, std_error, df)}
        for how, df in dfs.items()
    }


@pytest.mark.reference("longitudinal_powerlmm", "plmm_(?!.*_dropout)")
def test_growth_models_agree_with_powerlmm(case: Case, agree: Agree) -> None:
    """Two and three levels, unequal clusters, and clusters in the treated arm only."""
    given = case["inputs"]
    model, sizes = powerlmm(given)
    followed = theory.followed_families(sizes, np.ones(model.times.size))
    treated = GrowthArm(followed)
    comparison = GrowthArm(followed, clustered=not given.get("partially_nested", False))
    agree(case, solved(model, treated, comparison, given["resolved"]["slope_diff"]))


@pytest.mark.reference("longitudinal_powerlmm", "plmm_3lvl_dropout$")
def test_growth_model_with_dropout_agrees_with_powerlmm(case: Case) -> None:
    """powerlmm draws by chance who drops out, anew for each method: its numbers must lie where such draws do."""
    given, expected = case["inputs"], case["expected"]
    effect = given["resolved"]["slope_diff"]
    model, sizes = powerlmm(given)
    retentions = [theory.weibull_retention(model.times, lost, 2.0) for lost in (0.2, 0.3)]
    arms = [theory.followed_families(sizes, retention) for retention in retentions]
    found = solved(model, GrowthArm(arms[0]), GrowthArm(arms[1]), effect)
    for how in ("between", "satterthwaite"):
        for name in ("se", "power"):
            assert found[how][name] == pytest.approx(expected[how][name], abs=case["tolerance"])
    assert found["between"]["df"] == expected["between"]["df"]
    drawn = [
        solved(model, *(GrowthArm(shuffled(arm)) for arm in arms), effect)["satterthwaite"] for _ in range(25)
    ]
    for name in ("se", "df", "power"):
        values = [each[name] for each in drawn]
        assert min(values) < expected["satterthwaite"][name] < max(values)


def shuffled(last_seen: Any) -> Any:
    """The same families leaving at the same times, from clusters drawn by chance."""
    n_clusters, n_occasions = last_seen.shape
    cluster = np.repeat(np.arange(n_clusters), last_seen.sum(axis=1))
    last = np.repeat(np.arange(n_occasions), last_seen.sum(axis=0))
    counts = np.zeros_like(last_seen)
    np.add.at(counts, (RNG.permutation(cluster), last), 1)
    return counts


@pytest.mark.reference("formulas", "diggle_table$")
def test_numbers_for_a_difference_in_slopes_are_those_of_the_textbook(case: Case, agree: Agree) -> None:
    """Equal correlations are a permanent level and noise; one-sided 5 % is two-sided 10 %."""
    times = np.array(case["inputs"]["times"], dtype=float)
    arm = one_family(times.size)
    found = {}
    for share in (0.2, 0.5, 0.8):
        for variance in (100, 200, 300):
            family = covariance((share * variance) ** 0.5, 0.0)
            model = GrowthModel(times, family, np.zeros((2, 2)), (1 - share) * variance)
            of_one = theory.slope_difference_variance(model, arm, arm)
            multiplier = theory.mdes_multiplier(np.inf, alpha=0.1)
            n_arm = of_one * (multiplier / case["inputs"]["slope_difference"]) ** 2
            found[f"rho{share}_sigma2_{variance}"] = ceil(n_arm)
    agree(case, found)


@pytest.mark.reference("formulas", "longpower_adas$")
def test_number_for_random_slopes_agrees_with_longpower(case: Case, agree: Agree) -> None:
    """Each family with its own line, as in a trial of Alzheimer's disease."""
    given = case["inputs"]
    family = np.array(
        [[given["var_intercept"], given["cov"]], [given["cov"], given["var_slope"]]], dtype=float
    )
    model = GrowthModel(np.array(given["times"]), family, np.zeros((2, 2)), given["var_error"])
    arm = one_family(model.times.size)
    multiplier = theory.mdes_multiplier(np.inf, given["alpha"], given["power"])
    n_arm = theory.slope_difference_variance(model, arm, arm) * (multiplier / given["slope_difference"]) ** 2
    agree(case, {"n_per_group_z": n_arm})


@pytest.mark.reference("formulas", "slopes_constrained_baseline$")
def test_one_baseline_for_both_arms_agrees_with_the_reference(case: Case, agree: Agree) -> None:
    """Leaving out the arms' difference at time 0, which is 0 by design, sharpens slopes; upper tails."""
    given = case["inputs"]
    family = covariance(given["var_intercept"] ** 0.5, given["var_slope"] ** 0.5, given["corr"])
    model = GrowthModel(np.arange(11.0), family, np.zeros((2, 2)), given["var_error"])
    arm = GrowthArm(theory.followed_families([given["n_per_arm"]], np.ones(11)))
    free = theory.slope_difference_variance(model, arm, arm) ** 0.5
    constrained = theory.slope_difference_variance(model, arm, arm, same_baseline=True) ** 0.5
    effect, df = given["slope_difference"], theory.between_degrees_of_freedom(model, arm, arm)
    found = {
        "se_constrained": constrained,
        "se_unconstrained": free,
        "power_z_constrained": theory.t_test_power(effect, constrained, np.inf, 0.025, one_sided=True),
        "power_t78_unconstrained": theory.t_test_power(effect, free, df, 0.025, one_sided=True),
    }
    agree(case, found)


@pytest.mark.parametrize("clustered", [True, False])
@pytest.mark.parametrize("same_baseline", [True, False])
def test_variance_and_degrees_of_freedom_are_those_of_the_dense_mixed_model(
    clustered: bool, same_baseline: bool
) -> None:
    """Every outcome of unequal clusters with dropout written out, and the restricted information by its P."""
    model = GrowthModel(
        np.array([0.0, 0.5, 2.0, 3.0]), covariance(1.0, 0.4, -0.3), covariance(0.5, 0.3, 0.2), 0.8
    )
    arms = [
        GrowthArm(np.array([[0, 1, 1, 2], [1, 0, 0, 2], [0, 0, 2, 3]]), clustered),
        GrowthArm(np.array([[0, 0, 1, 3], [0, 1, 0, 2], [1, 0, 1, 1], [0, 0, 0, 2]])),
    ]
    rows = [
        (a, a * 10 + c, (a, c, last, k), model.times[t])
        for a, arm in enumerate(arms)
        for c, counts in enumerate(arm.last_seen)
        for last, n in enumerate(counts)
        for k in range(n)
        for t in range(last + 1)
    ]
    arm_of, cluster, time = (np.array([row[i] for row in rows]) for i in (0, 1, 3))
    family = np.array([hash(row[2]) for row in rows])
    z = np.column_stack([np.ones(time.size), time])
    same_family = family[:, np.newaxis] == family
    same_cluster = (cluster[:, np.newaxis] == cluster) & (clustered | (arm_of == 1))[:, np.newaxis]
    pieces = [np.array(m, dtype=float) for m in ([[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]])]
    slopes = [(z @ m @ z.T) * same for same in (same_family, same_cluster) for m in pieces] + [
        np.eye(time.size)
    ]
    values = [m[i] for m in (model.family, model.cluster) for i in ((0, 0), (0, 1), (1, 1))] + [
        model.residual
    ]
    dense = np.tensordot(values, np.array(slopes), axes=1)
    columns = [z[:, 0], z[:, 1], arm_of * time] if same_baseline else [*z.T, arm_of, arm_of * time]
    x = np.column_stack(columns)
    weights = np.linalg.inv(dense)
    variances = np.linalg.inv(x.T @ weights @ x)
    found = theory.slope_difference_variance(model, arms[1], arms[0], same_baseline=same_baseline)
    assert found == pytest.approx(variances[-1, -1], rel=1e-10)
    if same_baseline:
        return
    projection = weights - weights @ x @ variances @ x.T @ weights
    moved = [projection @ slope for slope in slopes]
    information = np.array([[np.sum(a * b.T) / 2 for b in moved] for a in moved])
    hat = variances @ x.T @ weights
    gradient = np.array([(hat @ slope @ hat.T)[-1, -1] for slope in slopes])
    expected = 2 * variances[-1, -1] ** 2 / (gradient @ np.linalg.solve(information, gradient))
    df = theory.satterthwaite_degrees_of_freedom(model, arms[1], arms[0])
    assert df == pytest.approx(expected, rel=1e-8)


def test_variance_of_a_balanced_design_is_the_textbook_formula() -> None:
    """Slopes of families and clusters, and noise over the spread of time, each divided by their numbers."""
    model = GrowthModel(np.arange(6.0), covariance(2.0, 0.5, 0.4), covariance(1.0, 0.3), 1.7)
    arm = GrowthArm(theory.followed_families([8] * 5, np.ones(6)))
    spread = ((model.times - model.times.mean()) ** 2).sum()
    expected = 2 / 5 * (0.3**2 + (0.5**2 + 1.7 / spread) / 8)
    assert theory.slope_difference_variance(model, arm, arm) == pytest.approx(expected, rel=1e-10)


def test_families_leave_as_retention_says_and_evenly() -> None:
    """The arm's numbers on each occasion are the rounded shares, and clusters lose alike."""
    retention = theory.weibull_retention(np.arange(5.0), 0.4, 2.0)
    np.testing.assert_allclose(retention, 0.6 ** (np.arange(5) ** 2 / 16))
    last_seen = theory.followed_families([10, 10, 20], retention)
    still = last_seen[:, ::-1].cumsum(axis=1)[:, ::-1]
    np.testing.assert_array_equal(still.sum(axis=0), np.rint(40 * retention))
    assert abs(still[:2, -1] - 6).max() <= 1
    assert abs(still[2, -1] - 12) <= 1


def test_degrees_of_freedom_are_counted_in_units() -> None:
    """Clusters less two; families less two without any; in one arm only, its clusters less one."""
    followed = theory.followed_families([5, 5, 5], np.ones(4))
    clustered = GrowthModel(np.arange(4.0), covariance(1, 1), covariance(1, 1), 1.0)
    flat = GrowthModel(np.arange(4.0), covariance(1, 1), np.zeros((2, 2)), 1.0)
    arm, loose = GrowthArm(followed), GrowthArm(followed, clustered=False)
    assert theory.between_degrees_of_freedom(clustered, arm, arm) == 4
    assert theory.between_degrees_of_freedom(clustered, arm, loose) == 2
    assert theory.between_degrees_of_freedom(flat, arm, arm) == 28
    assert theory.between_degrees_of_freedom(clustered, loose, loose) == 28


def test_impossible_growth_models_are_refused() -> None:
    """No covariance, no time, nobody seen twice, too little to estimate variances from."""
    flat, times = np.zeros((2, 2)), np.arange(4.0)
    model = GrowthModel(times, covariance(1, 1), covariance(1, 1), 1.0)
    with pytest.raises(ValueError, match="eigenvalue"):
        GrowthModel(times, covariance(1, 1, 1.5), flat, 1.0)
    with pytest.raises(ValueError, match="rise"):
        GrowthModel(times[::-1], flat, flat, 1.0)
    with pytest.raises(ValueError, match="residual"):
        GrowthModel(times, flat, flat, 0.0)
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        GrowthModel(times, np.eye(3), flat, 1.0)
    with pytest.raises(ValueError, match="last_seen"):
        GrowthArm(np.zeros((2, 4), dtype=int))
    with pytest.raises(ValueError, match="3 occasions, the model 4"):
        theory.slope_difference_variance(model, one_family(3), one_family(3))
    once = GrowthArm(np.array([[5, 0, 0, 0]]))
    with pytest.raises(ValueError, match="no slope"):
        theory.slope_difference_variance(model, once, once)
    with pytest.raises(ValueError, match="too few"):
        theory.satterthwaite_degrees_of_freedom(model, one_family(4), one_family(4))
    with pytest.raises(ValueError, match="retention"):
        theory.followed_families([5], np.array([1.0, 0.8, 0.9]))
    with pytest.raises(ValueError, match="dropout"):
        theory.weibull_retention(times, 1.0)
