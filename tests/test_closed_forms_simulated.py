"""Closed forms of trials against the package's own estimators on simulated data, within Monte Carlo error.

The other closed forms of trials are met by simulated worlds: stepped wedges and clustering in one arm beside
their designs, presets in their own tests.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from design_sim import theory
from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators import ESTIMATORS, Estimates
from design_sim.estimators.base import t_estimates
from design_sim.estimators.cluster_means import compare_cluster_means
from design_sim.numerics.mixed.pooling import pool_cells
from design_sim.numerics.mixed.random_slopes import fit_random_slopes
from design_sim.panel import Panel
from design_sim.roster import Roster

STORED = Path(__file__).parent / "reference" / "closed_form"
SIZES = {
    case["id"]: case
    for case in json.loads((STORED / "formulas.json").read_text())["cases"]
    if case["id"].startswith("unequal_sizes")
}
GROWTH = {
    case["id"]: case for case in json.loads((STORED / "longitudinal_powerlmm.json").read_text())["cases"]
}
REPLICATES = 20_000


def panel_of(sizes: list[int], icc: float, copies: int) -> Panel:
    """Two arms, each with the clusters of these sizes so many times, and no effect."""
    rng = np.random.default_rng(7)
    arm = np.tile(np.array(sizes, dtype=np.float64), copies)
    n = np.concatenate([arm, arm])
    between = rng.standard_normal((REPLICATES, n.size)) * icc**0.5
    mean = between + rng.standard_normal(between.shape) * ((1 - icc) / n) ** 0.5
    ss = (1 - icc) * rng.chisquare(n - 1, size=mean.shape)
    start = np.repeat([0, NEVER], arm.size)[np.newaxis]
    return Panel(
        roster=Roster.of_authorities(n.size),
        cells=Cells(n[np.newaxis, :, np.newaxis], mean[:, :, np.newaxis], ss[:, :, np.newaxis]),
        start=start,
        occasions=np.zeros(1, dtype=np.int64),
        follow_up=np.ones(1, dtype=np.bool_),
        law=complete_randomisation(n.size, arm.size),
    )


def check_variance(estimates: Estimates, variance: float, slack: float = 0.0) -> None:
    """The estimates' variance, to four Monte Carlo standard errors and so much above."""
    found = estimates.estimate[~np.isnan(estimates.estimate)]
    error = found.var() * (2 / found.size) ** 0.5
    assert variance - 4 * error < found.var(ddof=1) < variance * (1 + slack) + 4 * error


@pytest.mark.parametrize("case", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize(
    ("estimator", "weights"),
    [("cluster_means", "equal"), ("clustered_regression", "size"), ("mixed_model", "optimal")],
)
def test_unequal_clusters_have_the_variance_of_their_weights(
    case: dict[str, Any], estimator: str, weights: Any
) -> None:
    """Each cluster alike, each family alike, or as well as can be: a mixed model loses little by estimating how."""
    sizes, icc = case["inputs"]["sizes"], case["inputs"]["icc"]
    copies = 2 if estimator == "mixed_model" else 1
    of_arm = theory.variance_of_arm_mean(sizes * copies, icc, weights)
    found = ESTIMATORS[estimator]().estimate(panel_of(sizes, icc, copies), np.random.default_rng(0))
    check_variance(found, 2 * of_arm, slack=0.08 if weights == "optimal" else 0.0)


def subjects(case: dict[str, Any], n_clusters: int, replicates: int) -> tuple[Floats, Floats, float]:
    """Outcomes (replicate, arm, cluster, subject, time) of a growth model, the times, and the effect on slopes."""
    given, resolved = case["inputs"], case["inputs"]["resolved"]
    rng = np.random.default_rng(11)
    times = np.linspace(0, resolved["T_end"], given["n1"])
    shape = (replicates, 2, n_clusters, given["n2"])
    spread = resolved["sigma_subject_intercept"], resolved["sigma_subject_slope"]
    correlation = resolved["cor_subject"]
    first, second = rng.standard_normal((2, *shape))
    level = spread[0] * first
    slope = spread[1] * (correlation * first + (1 - correlation**2) ** 0.5 * second)
    of_cluster = resolved["sigma_cluster_slope"] or 0.0
    slope += of_cluster * rng.standard_normal((*shape[:3], 1))
    slope[:, 1] += resolved["slope_diff"]
    y = level[..., np.newaxis] + slope[..., np.newaxis] * times
    y += resolved["sigma_error"] * rng.standard_normal(y.shape)
    return y, times, float(resolved["slope_diff"])


def rejections(estimates: Estimates) -> tuple[float, float]:
    """Share of p-values at or below 5 %, and its standard error."""
    share = float((estimates.p_value <= 0.05).mean())
    return share, float((share * (1 - share) / estimates.p_value.size) ** 0.5)


def test_clusters_of_growing_families_have_the_power_of_their_slopes() -> None:
    """With complete data the three-level model is the t test on clusters' mean slopes, on 2 (c - 1) df."""
    case = GROWTH["plmm_3lvl_nodrop"]
    y, times, _ = subjects(case, case["inputs"]["n3"], REPLICATES)
    centred = times - times.mean()
    slopes = (y @ centred / (centred @ centred)).mean(axis=3)
    means = np.concatenate([slopes[:, 1], slopes[:, 0]], axis=1)
    treated = np.repeat([True, False], case["inputs"]["n3"])[np.newaxis]
    found = compare_cluster_means(means, treated)
    expected = case["expected"]["between"]
    check_variance(found, expected["se"] ** 2)
    power, error = rejections(found)
    assert power == pytest.approx(expected["power"], abs=4 * error)


def test_families_with_slopes_of_their_own_have_the_power_of_the_growth_model() -> None:
    """Random intercepts and slopes, correlated, by REML: estimate, standard error, df and power of powerlmm."""
    case, replicates = GROWTH["plmm_2lvl"], 1_500
    y, times, effect = subjects(case, 1, replicates)
    n_subjects = case["inputs"]["n2"]
    outcome = y.reshape(replicates, -1)
    subject = np.repeat(np.arange(2 * n_subjects), times.size)
    time = np.tile(times, 2 * n_subjects)
    treated = (subject >= n_subjects).astype(np.float64)
    regressors = [column[np.newaxis] for column in (np.ones(time.size), time, treated, treated * time)]
    moments = pool_cells(
        np.ones((1, time.size)), outcome, np.zeros(replicates), regressors, np.arange(time.size)
    )
    fits = fit_random_slopes(moments, subject, time, correlated=True, by_occasion=False)
    found = t_estimates(fits.estimate, fits.std_error, fits.df, 0.05)
    expected = case["expected"]["satterthwaite"]
    check_variance(found, expected["se"] ** 2)
    assert found.estimate.mean() == pytest.approx(effect, abs=4 * expected["se"] / replicates**0.5)
    assert np.mean(found.std_error**2) == pytest.approx(expected["se"] ** 2, rel=0.02)
    assert np.median(fits.df) == pytest.approx(expected["df"], rel=0.01)
    power, error = rejections(found)
    assert power == pytest.approx(expected["power"], abs=4 * error)
