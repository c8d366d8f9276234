"""Clustered regression: other software, exact sizes, dense matrices, and what must not matter."""

import csv
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.random import Generator
from pydantic import ValidationError

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Bools, Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.clustered_regression import ClusteredRegression, Variance
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
TRIALS = ("crt_bal10", "crt_unb10", "crt_bal4", "crt_unb6", "crt_unb20_imb")
MODELS = {"unadjusted": (), "adjusted": ("x",), "adjusted_xw": ("x", "w")}
VARIANCES: tuple[Variance, ...] = get_args(Variance)
EXACT = json.loads((REFERENCE / "exact_size" / "cluster_tests.json").read_text())["cases"]


def read_point(trial: str) -> dict[str, Any]:
    """What other software found in a stored trial."""
    stored: dict[str, Any] = json.loads((REFERENCE / "point" / f"{trial}.json").read_text())
    return stored


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(22)


def make_panel(cells: Cells, treated: Bools, roster: Roster, **covariates: Floats) -> Panel:
    """A panel of one follow-up occasion."""
    return Panel(
        roster=roster,
        cells=cells,
        start=np.where(treated, 0, NEVER),
        occasions=np.arange(1),
        follow_up=np.ones(1, dtype=bool),
        law=complete_randomisation(treated.shape[1], int(treated[0].sum())),
        covariates=covariates,
    )


def read_trial(name: str) -> Panel:
    """A stored trial with every family as a row."""
    with (REFERENCE / "data" / f"{name}.csv").open() as file:
        lines = sorted(csv.DictReader(file), key=lambda line: int(line["cluster"]))
    column = {key: np.array([float(line[key]) for line in lines]) for key in ("treat", "x", "w", "y")}
    _, first, cluster = np.unique(
        [int(line["cluster"]) for line in lines], return_index=True, return_inverse=True
    )
    family = np.arange(cluster.size)
    shape = (1, family.size, 1)
    cells = Cells(np.ones(shape), column["y"].reshape(shape), np.zeros(shape))
    treated = column["treat"][np.newaxis, first] == 1
    x, w = column["x"][np.newaxis], column["w"][np.newaxis]
    return make_panel(cells, treated, Roster(cluster, family, family), x=x, w=w)


def pooled(panel: Panel) -> Panel:
    """The same trial with every authority as a row."""
    cells = panel.cells.pool(panel.roster, "authority")
    return make_panel(cells, panel.treated_authority, Roster.of_authorities(panel.n_authorities))


def draw_panel(rng: Generator, n_replicates: int = 4, *, empty: bool = True) -> Panel:
    """Workers as rows, sizes and a covariate that vary by replicate, one authority unseen."""
    authority = np.repeat(np.arange(8), [1, 3, 2, 4, 2, 3, 1, 2])
    n_rows = authority.size
    n = rng.integers(0, 6, (n_replicates, n_rows, 1)).astype(float)
    n[:, 0] = n[:, -3] = 3.0
    if empty:
        n[:, 4:6] = 0.0
    mean = np.where(n > 0, rng.normal(1.0, 1.0, n.shape), np.nan)
    ss = rng.random(n.shape) * np.maximum(n - 1, 0)
    treated = np.arange(8)[np.newaxis] < 4
    index = np.arange(n_rows)
    x = rng.normal(size=(n_replicates, n_rows))
    return make_panel(Cells(n, mean, ss), treated, Roster(authority, index, index), x=x)


def oracle(panel: Panel, model: ClusteredRegression, replicate: int) -> tuple[float, float, float]:
    """Effect, standard error and df of one replicate from single families and dense matrices."""
    n = panel.cells.n[replicate, :, 0].astype(int)
    row = np.repeat(np.arange(n.size), n)
    cluster = panel.roster.authority[row]
    treated = panel.treated[0, :, 0][row]
    columns = [np.ones(row.size), treated, *(panel.covariates[c][replicate][row] for c in model.covariates)]
    counts = np.bincount(cluster)[cluster]
    scale = np.sqrt(1.0 / counts if model.weights == "authority" else np.ones(row.size))
    design = np.column_stack(columns).astype(float) * scale[:, np.newaxis]
    outcome = panel.cells.mean[replicate, row, 0] * scale
    inverse = np.linalg.inv(design.T @ design)
    effect = (inverse @ design.T @ outcome)[1]
    annihilator = np.eye(row.size) - design @ inverse @ design.T
    residual = annihilator @ outcome
    if model.variance == "naive":
        assert panel.cells.ss is not None
        within = np.where(n > 0, panel.cells.ss[replicate, :, 0] / np.maximum(n, 1), 0.0)
        df = row.size - design.shape[1]
        squares = residual @ residual + (within[row] * scale**2).sum()
        return effect, np.sqrt(squares / df * inverse[1, 1]), df
    power = {"CR2": -0.5, "CR3": -1.0}.get(model.variance, 0.0)
    members = np.unique(cluster)
    loadings = np.zeros((members.size, row.size))
    for position, member in enumerate(members):
        rows = cluster == member
        values, vectors = np.linalg.eigh(annihilator[np.ix_(rows, rows)])
        loadings[position, rows] = vectors @ (values**power * (vectors.T @ design[rows] @ inverse[:, 1]))
    form = loadings @ annihilator @ loadings.T
    factor = members.size / (members.size - 1) if model.variance in ("CR1", "CR1S") else 1.0
    if model.variance == "CR1S":
        factor *= (row.size - 1) / (row.size - design.shape[1])
    std_error = np.sqrt(factor * ((loadings @ residual) ** 2).sum())
    return effect, std_error, np.trace(form) ** 2 / (form**2).sum()


def same(found: Estimates, expected: Estimates, rtol: float = 1e-9) -> None:
    for name in ("estimate", "std_error", "p_value", "ci_low", "ci_high", "status"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize(
    ("trial", "model"), [(trial, model) for trial in TRIALS for model in read_point(trial)["ols"]]
)
def test_agrees_with_r_on_stored_trials(trial: str, model: str, variance: Variance, rng: Generator) -> None:
    """lm, clubSandwich and dfadjust must give the same effect, standard error and df."""
    stored = read_point(trial)
    expected: dict[str, Any] = stored["ols"][model]
    panel = read_trial(trial)
    naive = variance == "naive"
    df = None if naive else "satterthwaite"
    answer = ClusteredRegression(variance=variance, df=df, covariates=MODELS[model])
    found = answer.estimate(panel, rng)
    std_error = expected["se_classical" if naive else f"se_{variance}"]["treat"]
    np.testing.assert_allclose(found.estimate, expected["coef"]["treat"], rtol=1e-8)
    np.testing.assert_allclose(found.std_error, std_error, rtol=1e-8)
    if naive:
        np.testing.assert_allclose(found.df, expected["n"] - expected["k"])
    elif f"satt_df_{variance}" in expected:
        np.testing.assert_allclose(found.df, expected[f"satt_df_{variance}"]["treat"], rtol=1e-8)
        np.testing.assert_allclose(found.p_value, expected[f"satt_p_{variance}"]["treat"], rtol=1e-7)
    if variance == "CR2":
        adjusted = stored["dfadjust"][model]
        np.testing.assert_allclose(found.std_error, adjusted["CR2_se"]["treat"], rtol=1e-8)
        np.testing.assert_allclose(found.df, adjusted["BM_df"]["treat"], rtol=1e-8)
    if not MODELS[model]:
        same(answer.estimate(pooled(panel), rng), found)


@pytest.mark.parametrize(("variance", "name"), [("CR0", "CR0"), ("CR1S", "stata"), ("CR2", "CR2")])
@pytest.mark.parametrize("trial", TRIALS)
def test_agrees_with_estimatr_by_default(trial: str, variance: Variance, name: str, rng: Generator) -> None:
    """The default df of a variance are those that its users expect: G - 1, or Satterthwaite's."""
    stored = read_point(trial)["estimatr"]
    for model, expected in stored.items():
        answer = ClusteredRegression(variance=variance, covariates=MODELS[model])
        found = answer.estimate(read_trial(trial), rng)
        for ours, theirs in (("estimate", "estimate"), ("std_error", "se"), ("df", "df"), ("p_value", "p")):
            value = expected[name][theirs]["treat"]
            np.testing.assert_allclose(getattr(found, ours), value, rtol=1e-7 if ours == "p_value" else 1e-8)


@pytest.mark.parametrize("case", EXACT, ids=lambda case: case["id"])
def test_rejection_rate_is_the_exact_one(case: dict[str, Any]) -> None:
    """With normal cluster means the size is a known integral, met within four Monte Carlo errors."""
    rng = np.random.default_rng(23)
    inputs, n_replicates = case["inputs"], 8192
    n_treated, n_comparison = inputs["treated_clusters"], inputs["control_clusters"]
    variance = np.repeat(
        [inputs["variance_of_cluster_mean_treated"], inputs["variance_of_cluster_mean_control"]],
        [n_treated, n_comparison],
    )
    n_clusters = n_treated + n_comparison
    treated = np.arange(n_clusters)[np.newaxis] < n_treated
    mean = np.sqrt(variance) * rng.normal(size=(n_replicates, n_clusters)) + inputs["effect"] * treated
    n = np.full((1, n_clusters, 1), float(inputs["cluster_size"]))
    panel = make_panel(Cells(n, mean[:, :, np.newaxis]), treated, Roster.of_authorities(n_clusters))
    rules = {"z": "normal", "t(G-1)": "clusters", "satterthwaite": "satterthwaite"}
    compared = 0
    for name, expected in case["expected"]["rejection"].items():
        kind, _, rule = name.partition("_")
        if kind not in VARIANCES or rule not in rules or expected is None:
            continue
        model = ClusteredRegression.model_validate({"variance": kind, "df": rules[rule]})
        rate = (model.estimate(panel, rng).p_value <= inputs["alpha"]).mean()
        assert abs(rate - expected) < 4 * np.sqrt(expected * (1 - expected) / n_replicates), name
        compared += 1
    assert compared >= 3
    if case["expected"]["satterthwaite_df_CR2"] is not None:
        df = ClusteredRegression().estimate(panel, rng).df
        np.testing.assert_allclose(df, case["expected"]["satterthwaite_df_CR2"], rtol=1e-9)


@pytest.mark.parametrize("covariates", [(), ("x",)])
@pytest.mark.parametrize("weights", ["family", "authority"])
@pytest.mark.parametrize("variance", VARIANCES)
def test_equals_dense_matrices_of_families(
    variance: Variance, weights: str, covariates: tuple[str, ...], rng: Generator
) -> None:
    """Cells are only a shorter way of writing the families in them."""
    panel = draw_panel(rng)
    df = None if variance == "naive" else "satterthwaite"
    stated = {"variance": variance, "weights": weights, "covariates": covariates, "df": df}
    model = ClusteredRegression.model_validate(stated)
    found = model.estimate(panel, rng)
    for replicate in range(4):
        expected = oracle(panel, model, replicate)
        actual = [getattr(found, name)[replicate] for name in ("estimate", "std_error", "df")]
        np.testing.assert_allclose(actual, expected, rtol=1e-9)


@pytest.mark.parametrize("weights", ["family", "authority"])
@pytest.mark.parametrize("variance", VARIANCES)
def test_general_regression_equals_the_closed_form(variance: Variance, weights: str, rng: Generator) -> None:
    """A covariate that never varies is dropped, which leaves the difference between arms."""
    panel = draw_panel(rng)
    constant = make_panel(
        panel.cells, panel.treated_authority, panel.roster, c=np.full((1, panel.roster.n_rows), 7.0)
    )
    stated = {"variance": variance, "weights": weights}
    closed = ClusteredRegression.model_validate(stated).estimate(panel, rng)
    general = ClusteredRegression.model_validate(stated | {"covariates": ["c"]}).estimate(constant, rng)
    same(general, closed)


@pytest.mark.parametrize("variance", VARIANCES)
def test_authorities_as_rows_give_the_answer_of_workers_as_rows(variance: Variance, rng: Generator) -> None:
    """How deep rows go is a matter of storage, for a covariate of authorities too."""
    panel = draw_panel(rng)
    z = rng.normal(size=(4, 8))
    deep = make_panel(
        panel.cells, panel.treated_authority, panel.roster, z=panel.roster.spread(z, "authority")
    )
    cells = panel.cells.pool(panel.roster, "authority")
    flat = make_panel(cells, panel.treated_authority, Roster.of_authorities(8), z=z)
    for weights in ("family", "authority"):
        stated = {"variance": variance, "weights": weights, "covariates": ["z"]}
        model = ClusteredRegression.model_validate(stated)
        same(model.estimate(flat, rng), model.estimate(deep, rng))


@pytest.mark.parametrize("covariates", [(), ("x",)])
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_replicate_alone_gives_its_answer_in_the_batch(
    variance: Variance, covariates: tuple[str, ...], rng: Generator
) -> None:
    """Replicates are separate studies."""
    panel = draw_panel(rng, 6)
    model = ClusteredRegression(variance=variance, covariates=covariates)
    together = model.estimate(panel, rng)
    for replicate in range(6):
        at = slice(replicate, replicate + 1)
        assert panel.cells.ss is not None
        cells = Cells(panel.cells.n[at], panel.cells.mean[at], panel.cells.ss[at])
        x = panel.covariates["x"][at]
        alone = model.estimate(make_panel(cells, panel.treated_authority, panel.roster, x=x), rng)
        np.testing.assert_allclose(alone.estimate[0], together.estimate[replicate], rtol=1e-12)
        np.testing.assert_allclose(alone.std_error[0], together.std_error[replicate], rtol=1e-12)
        np.testing.assert_allclose(alone.p_value[0], together.p_value[replicate], rtol=1e-10)


@pytest.mark.parametrize("covariates", [(), ("x",)])
@pytest.mark.parametrize("variance", VARIANCES)
def test_moves_with_the_scale_and_not_with_the_level(
    variance: Variance, covariates: tuple[str, ...], rng: Generator
) -> None:
    """A contrast knows no origin and takes the unit of the outcome."""
    panel = draw_panel(rng)
    assert panel.cells.ss is not None
    cells = Cells(panel.cells.n, 250 - 3 * panel.cells.mean, 9 * panel.cells.ss)
    moved = make_panel(cells, panel.treated_authority, panel.roster, x=40 + 5 * panel.covariates["x"])
    model = ClusteredRegression(variance=variance, covariates=covariates)
    before, after = model.estimate(panel, rng), model.estimate(moved, rng)
    np.testing.assert_allclose(after.estimate, -3 * before.estimate, rtol=1e-9)
    np.testing.assert_allclose(after.std_error, 3 * before.std_error, rtol=1e-9)
    np.testing.assert_allclose(after.p_value, before.p_value, rtol=1e-8)


def test_occasions_of_the_follow_up_are_pooled_and_others_ignored(rng: Generator) -> None:
    """The question is the outcome after the start, over all families seen then."""
    n = rng.integers(1, 9, (3, 6, 3)).astype(float)
    mean = rng.normal(size=(3, 6, 3))
    treated = np.arange(6)[np.newaxis] < 3
    panel = Panel(
        roster=Roster.of_authorities(6),
        cells=Cells(n, mean),
        start=np.where(treated, 1, NEVER),
        occasions=np.arange(3),
        follow_up=np.array([False, True, True]),
        law=complete_randomisation(6, 3),
    )
    after = Cells(n[:, :, 1:], mean[:, :, 1:]).over(np.ones(2, dtype=bool))
    expected = ClusteredRegression().estimate(make_panel(after, treated, Roster.of_authorities(6)), rng)
    same(ClusteredRegression().estimate(panel, rng), expected)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("covariates", [(), ("x",)])
def test_an_empty_arm_is_a_counted_failure(
    variance: Variance, covariates: tuple[str, ...], rng: Generator
) -> None:
    """Attrition may empty an arm in one replicate, which must not disturb the others."""
    panel = draw_panel(rng, empty=False)
    n = panel.cells.n.copy()
    n[1, panel.treated[0, :, 0]] = 0.0
    mean = np.where(n > 0, panel.cells.mean, np.nan)
    cells = Cells(n, mean, np.zeros_like(n))
    emptied = make_panel(cells, panel.treated_authority, panel.roster, x=panel.covariates["x"])
    found = ClusteredRegression(variance=variance, covariates=covariates).estimate(emptied, rng)
    assert found.status.tolist() == [0, Status.TOO_FEW_CLUSTERS, 0, 0]
    assert np.isnan(found.estimate).tolist() == [False, True, False, False]


@pytest.mark.parametrize("variance", ["CR0", "CR1", "CR1S", "CR2", "CR3"])
def test_one_cluster_in_each_arm_leaves_nothing_to_judge_by(variance: Variance, rng: Generator) -> None:
    """Each mean is fitted exactly, so that every score is rounding."""
    cells = Cells(np.array([[[5.0], [7.0]]]), np.array([[[0.1], [0.7]]]))
    panel = make_panel(cells, np.array([[True, False]]), Roster.of_authorities(2))
    assert ClusteredRegression(variance=variance).estimate(panel, rng).status == Status.TOO_FEW_CLUSTERS


@pytest.mark.parametrize("covariates", [(), ("x",)])
def test_one_treated_cluster_fails_cr2_and_not_cr1(covariates: tuple[str, ...], rng: Generator) -> None:
    """CR2 does not exist there; CR1 does, and its size is what people should see."""
    cells = Cells(np.full((1, 9, 1), 4.0), rng.normal(size=(5, 9, 1)))
    x = rng.normal(size=(5, 9))
    panel = make_panel(cells, np.arange(9)[np.newaxis] == 0, Roster.of_authorities(9), x=x)
    for variance, status in (("CR1", Status.OK), ("CR2", Status.TOO_FEW_CLUSTERS)):
        for df in ("clusters", "satterthwaite"):
            stated = {"variance": variance, "df": df, "covariates": covariates}
            found = ClusteredRegression.model_validate(stated).estimate(panel, rng)
            assert (found.status == status).all()


def test_a_covariate_that_is_the_arm_is_singular(rng: Generator) -> None:
    """The effect cannot be told from it, whatever the arithmetic would return."""
    panel = draw_panel(rng)
    arm = make_panel(panel.cells, panel.treated_authority, panel.roster, x=panel.treated[:, :, 0] * 2.0)
    found = ClusteredRegression(covariates=("x",)).estimate(arm, rng)
    assert (found.status == Status.SINGULAR).all()


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("covariates", [(), ("x",)])
def test_an_outcome_that_does_not_vary_has_no_test(
    variance: Variance, covariates: tuple[str, ...], rng: Generator
) -> None:
    """Rounding errors of a constant must not become a t statistic."""
    panel = draw_panel(rng)
    mean = np.where(panel.cells.n > 0, 0.1, np.nan)
    cells = Cells(panel.cells.n, mean, np.zeros_like(mean))
    flat = make_panel(cells, panel.treated_authority, panel.roster, x=panel.covariates["x"])
    found = ClusteredRegression(variance=variance, covariates=covariates).estimate(flat, rng)
    assert (found.status == Status.NO_VARIATION).all()


def test_a_row_without_its_covariate_does_not_count(rng: Generator) -> None:
    """Complete cases, as software takes them."""
    panel = draw_panel(rng)
    x = panel.covariates["x"].copy()
    x[:, 2] = np.nan
    n = panel.cells.n.copy()
    n[:, 2] = 0.0
    model = ClusteredRegression(covariates=("x",))
    roster, treated = panel.roster, panel.treated_authority
    missing = model.estimate(make_panel(panel.cells, treated, roster, x=x), rng)
    dropped = model.estimate(make_panel(Cells(n, panel.cells.mean), treated, roster, **panel.covariates), rng)
    same(missing, dropped)


def test_arms_that_change_during_the_follow_up_are_refused(rng: Generator) -> None:
    """A stepped wedge has no two arms, and an answer would be of another question."""
    panel = Panel(
        roster=Roster.of_authorities(3),
        cells=Cells(np.ones((1, 3, 2)), rng.normal(size=(1, 3, 2))),
        start=np.array([[0, 1, NEVER]]),
        occasions=np.arange(2),
        follow_up=np.ones(2, dtype=bool),
        law=complete_randomisation(3, 2),
    )
    with pytest.raises(ValueError, match="arms"):
        ClusteredRegression().estimate(panel, rng)


def test_what_an_answer_lacks_is_said(rng: Generator) -> None:
    """A missing covariate or sum of squares must not become a number."""
    panel = draw_panel(rng)
    with pytest.raises(ValueError, match="no covariate 'poverty'"):
        ClusteredRegression(covariates=("poverty",)).estimate(panel, rng)
    bare = make_panel(Cells(panel.cells.n, panel.cells.mean), panel.treated_authority, panel.roster)
    with pytest.raises(ValueError, match="sum of squares"):
        ClusteredRegression(variance="naive").estimate(bare, rng)


def test_settings_without_effect_are_refused() -> None:
    """`naive` has its own df, and a covariate counts once."""
    with pytest.raises(ValidationError, match="no effect"):
        ClusteredRegression(variance="naive", df="clusters")
    with pytest.raises(ValidationError, match="twice"):
        ClusteredRegression(covariates=("x", "x"))
    assert ClusteredRegression.model_validate({"covariates": ["x", "w"]}).covariates == ("x", "w")
    assert ClusteredRegression(variance="naive").needs == "cells"
    assert ClusteredRegression().needs == "means"
