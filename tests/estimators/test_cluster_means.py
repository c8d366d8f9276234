"""The t test on cluster means has its textbook values, size and power, and counts what it cannot do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Bools, Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Status
from design_sim.estimators.cluster_means import ClusterMeans, compare_cluster_means
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
NAMES = ("crt_bal10", "crt_unb10", "crt_bal4", "crt_unb6", "crt_unb20_imb")
RNG = np.random.default_rng(0)
EXACT = [
    case
    for case in json.loads((REFERENCE / "exact_size" / "cluster_tests.json").read_text())["cases"]
    if "cluster_mean_t_pooled" in case["expected"]["rejection"]
]


def panel_of(n: Floats, mean: Floats, treated: Bools, roster: Roster, follow_up: Bools) -> Panel:
    """A panel; n and mean (replicate, row, occasion), treated (authority,)."""
    return Panel(
        roster=roster,
        cells=Cells(n, mean),
        start=np.where(treated, int(np.argmax(follow_up)), NEVER)[np.newaxis],
        occasions=np.arange(follow_up.size),
        follow_up=follow_up,
        law=complete_randomisation(treated.size, int(treated.sum())),
    )


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_reference(name: str) -> None:
    """R's t.test on the same cluster means, from a row for each family."""
    data = np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)
    expected = json.loads((REFERENCE / "point" / f"{name}.json").read_text())["cluster_means"]["t_equal"]
    authority = data["cluster"].astype(np.int64) - 1
    treated = np.array([data["treat"][authority == label][0] == 1 for label in np.unique(authority)])
    roster = Roster(authority, authority, np.arange(authority.size))
    n, mean = np.ones((1, data.size, 1)), data["y"][np.newaxis, :, np.newaxis]
    answer = ClusterMeans().estimate(panel_of(n, mean, treated, roster, np.array([True])), RNG)
    assert answer.estimate[0] == pytest.approx(expected["diff"], rel=1e-8)
    assert answer.std_error[0] == pytest.approx(expected["se"], rel=1e-8)
    assert np.broadcast_to(answer.df, 1)[0] == expected["df"]
    assert answer.p_value[0] == pytest.approx(expected["p"], rel=1e-8)
    assert [answer.ci_low[0], answer.ci_high[0]] == pytest.approx(expected["ci"], rel=1e-8)


@pytest.mark.parametrize("case", EXACT, ids=lambda case: case["id"])
def test_rejection_rates_are_exact(case: dict[str, Any]) -> None:
    """Size and power by numerical integration, for any numbers of authorities: four Monte Carlo errors."""
    n, inputs = 20_000, case["inputs"]
    n_treated, n_control = int(inputs["treated_clusters"]), int(inputs["control_clusters"])
    treated = np.arange(n_treated + n_control) < n_treated
    spread = np.sqrt(inputs["variance_of_cluster_mean_treated"])
    means = spread * np.random.default_rng(1).normal(size=(n, treated.size)) + inputs["effect"] * treated
    answer = compare_cluster_means(means, treated[np.newaxis])
    rate, stated = (answer.p_value <= 0.05).mean(), case["expected"]["rejection"]["cluster_mean_t_pooled"]
    assert rate == pytest.approx(stated, abs=4 * np.sqrt(stated * (1 - stated) / n))
    covered = (answer.ci_low <= inputs["effect"]) & (inputs["effect"] <= answer.ci_high)
    assert covered.mean() == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / n))


@pytest.mark.parametrize(("n_treated", "n_control", "effect"), [(4, 4, 0.8), (3, 9, 0.6), (10, 10, 0.4)])
def test_power_is_that_of_the_noncentral_t(n_treated: int, n_control: int, effect: float) -> None:
    """The statistic's distribution is known exactly: four Monte Carlo errors."""
    n, spread = 20_000, 0.45
    treated = np.arange(n_treated + n_control) < n_treated
    means = spread * np.random.default_rng(2).normal(size=(n, treated.size)) + effect * treated
    rate = (compare_cluster_means(means, treated[np.newaxis]).p_value <= 0.05).mean()
    df = n_treated + n_control - 2
    critical = stats.t.ppf(0.975, df)
    shift = effect / (spread * np.sqrt(1 / n_treated + 1 / n_control))
    power = stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift)
    assert rate == pytest.approx(power, abs=4 * np.sqrt(power * (1 - power) / n))


def test_an_authority_without_families_does_not_count() -> None:
    """A test of the other authorities, with their degrees of freedom."""
    rng = np.random.default_rng(3)
    means = rng.normal(size=(4, 8))
    treated = np.arange(8) < 4
    gaps = means.copy()
    gaps[2, 1] = np.nan
    answer = compare_cluster_means(gaps, treated[np.newaxis])
    seen = ~np.isnan(gaps[2])
    by_scipy = stats.ttest_ind(gaps[2, treated & seen], gaps[2, ~treated & seen])
    assert answer.p_value[2] == pytest.approx(by_scipy.pvalue)
    assert np.broadcast_to(answer.df, 4).tolist() == [6, 6, 5, 6]
    np.testing.assert_allclose(
        answer.p_value[[0, 1, 3]], compare_cluster_means(means, treated[np.newaxis]).p_value[[0, 1, 3]]
    )


def test_failed_comparisons_are_statuses() -> None:
    """An empty arm, two authorities, or means without spread: results to be counted, not exceptions."""
    treated = np.array([[True, True, False, False]])
    nan = np.nan
    means = np.array([[1.0, 2, 3, 4], [nan, nan, 3, 4], [1, nan, 3, nan], [1, 1, 2, 2], [nan] * 4])
    answer = compare_cluster_means(means, treated)
    few = Status.TOO_FEW_CLUSTERS
    assert answer.status.tolist() == [Status.OK, few, few, Status.NO_VARIATION, few]
    for field in ("estimate", "std_error", "df", "p_value", "ci_low", "ci_high"):
        assert np.isnan(getattr(answer, field)).tolist() == [False, True, True, True, True]


def test_arms_may_differ_between_replicates() -> None:
    """A replicate axis on the arms is a matter of who stands where, not of the test."""
    means = np.random.default_rng(4).normal(size=(5, 7))
    treated = np.random.default_rng(5).permuted(np.tile(np.arange(7) < 3, (5, 1)), axis=1)
    answer = compare_cluster_means(means, treated)
    for replicate in range(5):
        arm = treated[replicate]
        expected = stats.ttest_ind(means[replicate, arm], means[replicate, ~arm])
        assert answer.p_value[replicate] == pytest.approx(expected.pvalue)


def test_families_count_alike_whatever_their_row_and_occasion() -> None:
    """An authority's mean is over all families seen after the start, and before it for a change."""
    rng = np.random.default_rng(6)
    n = rng.integers(0, 4, (3, 12, 3)).astype(float)
    mean = np.where(n > 0, rng.normal(size=n.shape), np.nan)
    authority = np.repeat(np.arange(4), 3)
    roster = Roster(authority, authority, np.arange(12))
    treated, follow_up = np.arange(4) < 2, np.array([False, True, True])
    panel = panel_of(n, mean, treated, roster, follow_up)
    totals = np.where(n > 0, n * mean, 0.0).reshape(3, 4, 3, 3).sum(axis=2)
    counts = n.reshape(3, 4, 3, 3).sum(axis=2)
    after = totals[:, :, 1:].sum(axis=2) / counts[:, :, 1:].sum(axis=2)
    change = after - totals[:, :, 0] / counts[:, :, 0]
    for values, estimator in ((after, ClusterMeans()), (change, ClusterMeans(change=True))):
        answer = estimator.estimate(panel, RNG)
        np.testing.assert_allclose(answer.estimate, values[:, :2].mean(axis=1) - values[:, 2:].mean(axis=1))


def test_a_change_needs_an_occasion_before_the_start() -> None:
    """Nothing to subtract is a mistake of the study, not of a replicate."""
    panel = panel_of(
        np.ones((1, 4, 1)), np.zeros((1, 4, 1)), np.arange(4) < 2, Roster.of_authorities(4), np.array([True])
    )
    with pytest.raises(ValueError, match="before the start"):
        ClusterMeans(change=True).estimate(panel, RNG)
