"""The partially nested model agrees with nlme and lmer, keeps its size, and fails as it says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.random import default_rng

import design_sim
from design_sim.allocation import NEVER, complete_randomisation
from design_sim.analysis import Analysis
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.cli import execute
from design_sim.errors import ScenarioError
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.family_moments import Families
from design_sim.estimators.mixed_model import MixedModel
from design_sim.estimators.partially_nested_model import PartiallyNestedModel, moments_of_arms
from design_sim.numerics.mixed.partial_nesting import fit_partially_nested
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
MODELS: dict[str, tuple[str, ...]] = {"unadjusted": (), "adjusted": ("x",), "adjusted_xw": ("x", "w")}
SETS = [("irgt_a", "unadjusted"), ("irgt_a", "adjusted"), *(("irgt_unb", model) for model in MODELS)]
EQUAL, UNEQUAL = [6] * 8, [2, 10, 4, 8, 3, 9, 5, 7]


def expected_of(name: str) -> dict[str, Any]:
    """What other software gives."""
    found: dict[str, Any] = json.loads((REFERENCE / "point" / f"{name}.json").read_text())
    return found


def analysed(name: str, model: str, **options: str) -> Analysis:
    """A reference set as a person analyses a table; every comparison family has a cluster of its own."""
    return design_sim.analyse(
        REFERENCE / "data" / f"{name}.csv",
        "partially_nested_model",
        outcome="y",
        treated="treat",
        authority="cl_single",
        covariates=MODELS[model],
        options=options,
    )


def panel_of(
    y: Floats,
    sizes: list[int],
    n_comparison: int,
    covariates: dict[str, Floats] | None = None,
    alpha: float = 0.05,
) -> Panel:
    """Families, (replicate, row): those of comparison, then treated clusters of these sizes."""
    cluster = np.concatenate(
        [np.arange(n_comparison), n_comparison + np.repeat(np.arange(len(sizes)), sizes)]
    )
    n = np.ones((1, cluster.size, 1))
    start = np.repeat([NEVER, 0], [n_comparison, len(sizes)])
    return Panel(
        roster=Roster(cluster, cluster, np.arange(cluster.size)),
        cells=Cells(n, y[:, :, np.newaxis], np.zeros_like(n)),
        start=start[np.newaxis],
        occasions=np.array([0]),
        follow_up=np.array([True]),
        law=complete_randomisation(start.size, len(sizes)),
        alpha=alpha,
        covariates=covariates or {},
    )


def fitted(name: str, model: str, *, by_arm: bool) -> tuple[list[float], float]:
    """Variances of clusters and of either arm's residuals, and minus twice the REML log-likelihood."""
    data = np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)
    treated = data["treat"] == 1
    sizes = np.unique(data["cl_single"][treated], return_counts=True)[1].tolist()
    covariates = {of: data[of][np.newaxis] for of in MODELS[model]}
    panel = panel_of(data["y"][np.newaxis], sizes, int((~treated).sum()), covariates)
    families = Families.after_start(panel, MODELS[model])
    fits = fit_partially_nested(*moments_of_arms(families), len(covariates) + 1, by_arm=by_arm)
    variances = fits.residual[0] * np.insert(fits.ratios[0], 1, 1.0)
    return variances.tolist(), float(fits.criterion[0])


def simulated(
    n_replicates: int, sizes: list[int], n_comparison: int, icc: float, seed: int, comparison_sd: float = 1.0
) -> Panel:
    """Trials without an effect, the treated arm's variance 1."""
    rng = default_rng(seed)
    shared = np.repeat(rng.normal(size=(n_replicates, len(sizes))), sizes, axis=1)
    treated = np.sqrt(icc) * shared + np.sqrt(1 - icc) * rng.normal(size=shared.shape)
    comparison = comparison_sd * rng.normal(size=(n_replicates, n_comparison))
    return panel_of(np.concatenate([comparison, treated], axis=1), sizes, n_comparison)


def estimates_of(panel: Panel, **settings: object) -> Estimates:
    """The analysis of a panel."""
    return PartiallyNestedModel.model_validate(settings).estimate(panel, default_rng(0))


@pytest.mark.parametrize(("name", "model"), SETS)
def test_residual_variances_by_arm_are_those_of_nlme(name: str, model: str) -> None:
    """lme with varIdent, its search carried on until it stands: six digits, in standard errors."""
    found = analysed(name, model)
    expected = expected_of("irgt_a_converged" if name == "irgt_a" else name)["by_arm"][model]
    std_error = expected["se"]
    assert found.estimate == pytest.approx(expected["estimate"]["treat"], abs=1e-6 * std_error["treat"])
    assert found.std_error == pytest.approx(std_error["treat"], rel=1e-6)
    for covariate in MODELS[model]:
        stated = expected["estimate"][covariate]
        assert found.coefficients[covariate] == pytest.approx(stated, abs=1e-6 * std_error[covariate])
    variances, criterion = fitted(name, model, by_arm=True)
    residuals = [expected["resid_var"][arm] for arm in ("treated", "comparison")]
    assert variances == pytest.approx([expected["var_cluster"], *residuals], rel=5e-6)
    assert criterion == pytest.approx(-2 * expected["reml_loglik"], rel=1e-10)


@pytest.mark.parametrize("model", ["unadjusted", "adjusted"])
def test_residual_variances_by_arm_are_those_of_nlme_as_it_comes(model: str) -> None:
    """nlme's default stopping rule leaves it a few millionths, and never above our likelihood."""
    found, expected = analysed("irgt_a", model), expected_of("irgt_a")["lme_heteroscedastic"][model]
    assert found.estimate == pytest.approx(expected["estimate"]["treat"], rel=1e-8)
    assert found.std_error == pytest.approx(expected["se"]["treat"], rel=3e-6)
    variances, criterion = fitted("irgt_a", model, by_arm=True)
    residuals = [expected["resid_var"][arm] for arm in ("treat1", "treat0")]
    assert variances == pytest.approx([expected["var_therapist"], *residuals], rel=3e-5)
    assert -2 * expected["reml_loglik"] >= criterion - 1e-9
    assert criterion == pytest.approx(-2 * expected["reml_loglik"], rel=1e-10)


def test_clusters_of_one_size_give_welchs_test_of_cluster_means() -> None:
    """Its difference, standard error, degrees of freedom and p-value, from R's t.test."""
    found = analysed("irgt_a", "unadjusted")
    expected = expected_of("irgt_a")["welch_therapist_means_vs_individuals"]
    assert found.estimate == pytest.approx(expected["diff"], rel=1e-10)
    assert found.std_error == pytest.approx(expected["se"], rel=1e-10)
    assert found.df == pytest.approx(expected["df"], rel=1e-8)
    assert found.p_value == pytest.approx(expected["p"], rel=1e-8)


@pytest.mark.parametrize("model", ["unadjusted", "adjusted"])
@pytest.mark.parametrize("df", ["satterthwaite", "kenward_roger"])
def test_one_residual_variance_is_that_of_lmer(model: str, df: str) -> None:
    """Its estimates, variances, and the tests of lmerTest and pbkrtest."""
    found = analysed("irgt_a", model, residuals="common", df=df)
    expected = expected_of("irgt_a")["lmer_homoscedastic"][model]
    judged = expected[df]
    assert found.estimate == pytest.approx(expected["estimate"]["treat"], rel=1e-8)
    assert found.std_error == pytest.approx(judged.get("se", expected["se"])["treat"], rel=1e-6)
    assert found.df == pytest.approx(judged["df"]["treat"], rel=1e-6)
    assert found.p_value == pytest.approx(judged["p"]["treat"], rel=1e-6)
    variances, criterion = fitted("irgt_a", model, by_arm=False)
    components = expected["varcomp"]
    assert variances == pytest.approx([components["cl_single:treat"], components["Residual"]], rel=1e-6)
    assert criterion == pytest.approx(expected["reml_criterion"], rel=1e-10)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("df", ["satterthwaite", "kenward_roger"])
def test_unequal_clusters_and_one_residual_variance_are_lmers(model: str, df: str) -> None:
    """Clusters of one to nine families, with a covariate that does not differ within them."""
    found = analysed("irgt_unb", model, residuals="common", df=df)
    expected = expected_of("irgt_unb")["common"][model]
    assert found.estimate == pytest.approx(expected["estimate"]["treat"], rel=1e-6)
    assert found.std_error == pytest.approx(expected[df]["se"], rel=1e-6)
    assert found.df == pytest.approx(expected[df]["df"], rel=1e-4 if df == "satterthwaite" else 1e-5)
    variances, _ = fitted("irgt_unb", model, by_arm=False)
    assert variances == pytest.approx([expected["var_cluster"], expected["resid_var"]], rel=1e-5)


def test_the_command_analyses_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """With the options and the convention in words."""
    table = str(REFERENCE / "data" / "irgt_a.csv")
    columns = ["--outcome", "y", "--treated", "treat", "--authority", "cl_single", "--covariate", "x"]
    asked = ["--estimator", "partially_nested_model", "--option", "residuals=common", "--json"]
    assert execute(["analyse", table, *columns, *asked]) == 0
    said = json.loads(capsys.readouterr().out)
    expected = expected_of("irgt_a")["lmer_homoscedastic"]["adjusted"]
    assert said["std_error"] == pytest.approx(expected["se"]["treat"], rel=1e-6)
    assert "clusters in the treated arm only, one residual variance" in said["convention"]
    assert said["n_clusters"] == 56


def test_families_of_a_cluster_may_come_as_cells() -> None:
    """Nothing is lost in their number, mean and sum of squares, wherever the arm."""
    panel = simulated(20, UNEQUAL, 30, 0.2, seed=2)
    whole = panel.cells.pool(panel.roster, "authority")
    # Comparison families in cells of three: none shares anything, so that cells may hold any of them.
    index = np.concatenate([np.repeat(np.arange(10), 3), 10 + np.arange(len(UNEQUAL))])
    roster = Roster(index, index, index)
    cells = whole.pool(roster, "authority")
    pooled = replace(
        panel,
        roster=Roster.of_authorities(18),
        cells=cells,
        start=np.repeat([NEVER, 0], [10, 8])[np.newaxis],
        law=complete_randomisation(18, 8),
    )
    for residuals in ("by_arm", "common"):
        families, of_cells = (estimates_of(each, residuals=residuals) for each in (panel, pooled))
        for name in ("estimate", "std_error", "df"):
            assert getattr(of_cells, name) == pytest.approx(getattr(families, name), rel=1e-8)


def test_arms_that_differ_between_replicates_are_analysed_one_by_one() -> None:
    """Where chance gives the clusters to another arm each time, as if each replicate were alone."""
    rng = default_rng(4)
    cluster = np.repeat(np.arange(10), 4)
    y = rng.normal(size=(6, 40, 1)) + rng.normal(size=(6, 10, 1))[:, cluster]
    start = np.where(rng.random((6, 10)).argsort(axis=1) < 5, 0, NEVER)
    panel = replace(
        panel_of(y[:, :, 0], [4] * 10, 0),
        roster=Roster(cluster, cluster, np.arange(40)),
        start=start,
        covariates={"x": rng.normal(size=(6, 40))},
    )
    many = estimates_of(panel, covariates=["x"])
    for at in range(6):
        alone = replace(
            panel,
            cells=Cells(panel.cells.n, y[at : at + 1], panel.cells.ss),
            start=start[at : at + 1],
            covariates={"x": panel.covariates["x"][at : at + 1]},
        )
        one = estimates_of(alone, covariates=["x"])
        for name in ("estimate", "std_error", "df"):
            assert getattr(many, name)[at] == pytest.approx(getattr(one, name)[0], rel=1e-7)


def test_normal_df_change_the_test_alone() -> None:
    """Estimates and standard errors stay."""
    panel = simulated(10, EQUAL, 48, 0.3, seed=3)
    normal, usual = estimates_of(panel, df="normal"), estimates_of(panel)
    assert np.isinf(normal.df).all()
    assert np.array_equal(normal.std_error, usual.std_error)


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("icc", [0.05, 0.3])
def test_the_size_is_near_the_stated_one(sizes: list[int], icc: float) -> None:
    """From 4 to 5.5 % and Monte Carlo error: no exact test, but one that knows how few clusters there are.

    Below 5 % where clusters hardly differ, since their variance cannot be estimated as less than 0.
    """
    n = 4_000
    error = 4 * np.sqrt(0.05 * 0.95 / n)
    panel = simulated(n, sizes, 48, icc, seed=11, comparison_sd=1.3)
    found = estimates_of(panel)
    assert not found.failed.any()
    size = float((found.p_value < 0.05).mean())
    assert 0.04 - error < size < 0.055 + error, size
    covered = float(((found.ci_low <= 0) & (found.ci_high >= 0)).mean())
    assert covered == pytest.approx(1 - size, abs=1e-12)


def test_two_clusters_that_differ_much_need_kenward_and_rogers_df() -> None:
    """Two in five trials estimate their variance as 0: Satterthwaite's df are then those of families."""
    n = 4_000
    panel = simulated(n, [6, 6], 48, 0.3, seed=13)
    sizes = {
        df: float((estimates_of(panel, df=df).p_value < 0.05).mean())
        for df in ("normal", "satterthwaite", "kenward_roger")
    }
    assert sizes["normal"] > sizes["satterthwaite"] > 0.07
    assert sizes["kenward_roger"] < 0.05 + 4 * np.sqrt(0.05 * 0.95 / n)


def test_standard_errors_are_right_on_average_and_others_are_not() -> None:
    """Many clusters: the mean squared standard error is the variance; leaving out what is shared halves it."""
    panel = simulated(2_000, [6] * 30, 180, 0.3, seed=12, comparison_sd=1.3)
    found = estimates_of(panel)
    variance = found.estimate.var()
    error = 4 * np.sqrt(2 / 2_000)
    assert (found.std_error**2).mean() == pytest.approx(variance, rel=error)
    assert variance == pytest.approx((0.3 + 0.7 / 6) / 30 + 1.69 / 180, rel=error)
    common = estimates_of(panel, residuals="common")
    both = MixedModel().estimate(panel, default_rng(0))
    for other in (common, both):
        assert abs((other.std_error**2).mean() / variance - 1) > 0.03


def test_few_clusters_empty_arms_and_treatment_that_ends_up_elsewhere_have_their_status() -> None:
    """One treated cluster; nobody treated; a covariate that is the treatment."""
    few = estimates_of(simulated(3, [12], 20, 0.2, seed=5))
    assert (few.status == Status.TOO_FEW_CLUSTERS).all()
    panel = simulated(3, EQUAL, 20, 0.2, seed=5)
    nobody = replace(panel, start=np.full_like(panel.start, NEVER))
    assert (estimates_of(nobody).status == Status.TOO_FEW_CLUSTERS).all()
    arm = np.repeat([0.0, 1.0], [20, sum(EQUAL)])[np.newaxis]
    same = estimates_of(replace(panel, covariates={"arm": arm}), covariates=["arm"])
    assert (same.status == Status.SINGULAR).all()
    alike = estimates_of(simulated(40, EQUAL, 20, 0.0, seed=6))
    assert set(alike.status) == {Status.OK, Status.BOUNDARY}


def test_a_table_with_one_treated_cluster_is_refused_with_the_reason() -> None:
    """An analysis that gives no result says why."""
    frame = {"y": [1.0, 2.0, 4.0, 3.0, 5.0], "treat": [0, 0, 0, 1, 1], "who": [1, 2, 3, 4, 4]}
    with pytest.raises(ScenarioError, match="too few clusters for this method"):
        design_sim.analyse(
            pd.DataFrame(frame), "partially_nested_model", outcome="y", treated="treat", authority="who"
        )
