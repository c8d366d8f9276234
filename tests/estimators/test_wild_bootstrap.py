"""Wild bootstrap: refitting every sample, stored p-values, exact size, and what must not matter."""

import csv
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Bools, Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.clustered_regression import ClusteredRegression
from design_sim.estimators.two_way_fixed_effects import TwoWayFixedEffects
from design_sim.estimators.wild_bootstrap import WildBootstrap
from design_sim.numerics.bootstrap_weights import draw_weights
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
STORED = json.loads((REFERENCE / "point" / "wild_cluster_bootstrap.json").read_text())["cases"]
ATTAINABLE = json.loads((REFERENCE / "exact_size" / "cluster_tests.json").read_text())["attainable_p_values"]
MODELS = ("clustered_regression", "two_way_fixed_effects")
SEED = 5


def state(**settings: Any) -> WildBootstrap:
    return WildBootstrap.model_validate(settings)


def analysed(model: WildBootstrap, panel: Panel) -> Estimates:
    """The estimates, from the same stream every time."""
    return model.estimate(panel, np.random.default_rng(SEED))


def panel_of(
    cells: Cells, start: list[int] | Floats, roster: Roster | None = None, **covariates: Floats
) -> Panel:
    """A panel whose follow-up begins with the first start."""
    starts = np.atleast_2d(np.asarray(start, dtype=np.int64))
    n_authorities, n_occasions = starts.shape[1], cells.mean.shape[2]
    return Panel(
        roster=roster or Roster.of_authorities(n_authorities),
        cells=cells,
        start=starts,
        occasions=np.arange(n_occasions),
        follow_up=np.arange(n_occasions) >= starts.min(),
        law=complete_randomisation(n_authorities, int((starts[0] < NEVER).sum())),
        covariates=covariates,
    )


def draw_panel(
    n_authorities: int = 6,
    n_replicates: int = 3,
    seed: int = 1,
    sizes: str = "varying",
    treated: int | None = None,
) -> Panel:
    """Workers as rows at three occasions, a covariate; sizes fixed, varying by replicate, or partly 0."""
    rng = np.random.default_rng(seed)
    authority = np.repeat(np.arange(n_authorities), rng.integers(1, 4, n_authorities))
    shape = (n_replicates, authority.size, 3)
    n = rng.integers(0 if sizes == "gaps" else 1, 5, shape).astype(float)
    n = n[:1] if sizes == "fixed" else n
    mean = rng.normal(size=shape) + rng.normal(size=(n_replicates, n_authorities, 1))[:, authority]
    start = np.where(np.arange(n_authorities) < (treated or n_authorities // 2), 1, NEVER)
    index = np.arange(authority.size)
    x = rng.normal(size=shape[:2])
    cells = Cells(n, np.where(n > 0, mean, np.nan))
    return panel_of(cells, start, Roster(authority, index, index), x=x)


def regression(panel: Panel, model: WildBootstrap, replicate: int) -> tuple[Floats, Floats, Any]:
    """Design (treatment first), outcome and cluster of the regression of one replicate, a row a family."""
    n = np.broadcast_to(panel.cells.n, panel.cells.mean.shape)[replicate].astype(int)
    treated = np.broadcast_to(panel.treated, panel.cells.mean.shape)[replicate]
    after = panel.follow_up if model.model == "clustered_regression" else np.ones(n.shape[1], dtype=bool)
    at = np.repeat(np.arange(n.size), np.where(after, n, 0).ravel())
    row, occasion = at // n.shape[1], at % n.shape[1]
    authority = panel.roster.authority[row]
    outcome = panel.cells.mean[replicate].ravel()[at]
    first = [treated.ravel()[at], np.ones(at.size)]
    if model.model == "clustered_regression":
        columns = first + [panel.covariates[name][replicate][row] for name in model.covariates]
        group = authority
    else:
        columns = first + [authority == a for a in np.unique(authority)[1:]]
        columns += [occasion == t for t in np.unique(occasion)[1:]]
        group = authority * n.shape[1] + occasion
    by_family = (
        model.count or ("family" if model.model == "clustered_regression" else "authority")
    ) == "family"
    scale = np.sqrt(1.0 if by_family else 1.0 / np.bincount(group)[group])
    return (
        np.column_stack(columns).astype(float) * np.atleast_1d(scale)[:, np.newaxis],
        outcome * scale,
        authority,
    )


def fit(design: Floats, outcomes: Floats, cluster: Any) -> tuple[Floats, Floats, Floats]:
    """Effect, standard error (CR1) and residuals by dense least squares, for each column of outcomes."""
    pseudo = np.linalg.pinv(design)
    coefficients = pseudo @ outcomes
    residuals = outcomes - design @ coefficients
    members = np.unique(cluster)
    scores = np.array([pseudo[0, cluster == g] @ residuals[cluster == g] for g in members])
    factor = members.size / (members.size - 1)
    return coefficients[0], np.sqrt(factor * (scores**2).sum(axis=0)), residuals


def refitted(
    design: Floats, outcome: Floats, cluster: Any, weights: Floats, null: float | None
) -> tuple[float, Floats]:
    """t and every t*, each from a regression of its own; weights (draw, cluster). No null: unrestricted."""
    (effect,), (std_error,), residual = fit(design, outcome[:, np.newaxis], cluster)
    centre, fitted = effect, outcome - residual[:, 0]
    if null is not None:
        others = design[:, 1:]
        moved = outcome - null * design[:, 0]
        centre, fitted = null, null * design[:, 0] + others @ np.linalg.pinv(others) @ moved
    samples = fitted + weights[:, cluster] * (outcome - fitted)
    effects, std_errors, _ = fit(design, samples.T, cluster)
    return float((effect - (null or 0.0)) / std_error), (effects - centre) / std_errors


def every_sign(n_clusters: int) -> Floats:
    return np.array(list(product([1.0, -1.0], repeat=n_clusters)))


def read(name: str) -> Panel:
    """A stored data set, every family as a row at its occasion."""
    with (REFERENCE / "data" / f"{name}.csv").open() as file:
        lines = sorted(csv.DictReader(file), key=lambda line: int(line["cluster"]))
    number = {key: np.array([float(line[key]) for line in lines]) for key in lines[0]}
    _, first, cluster = np.unique(number["cluster"], return_index=True, return_inverse=True)
    index = np.arange(cluster.size)
    roster = Roster(cluster, index, index)
    if "treat" in number:
        cells = Cells(np.ones((1, index.size, 1)), number["y"].reshape(1, -1, 1))
        start = np.where(number["treat"][first] == 1, 0, NEVER)
        return panel_of(cells, start, roster, x=number["x"][np.newaxis])
    period = number["period"].astype(int) - 1
    n, mean = np.zeros((1, index.size, period.max() + 1)), np.zeros((1, index.size, period.max() + 1))
    n[0, index, period], mean[0, index, period] = 1.0, number["y"]
    begins = period[number["d"] == 1].min()
    start = np.where(number["group"][first] == 1, begins, NEVER)
    return panel_of(Cells(n, np.where(n > 0, mean, np.nan)), start, roster)


@pytest.mark.parametrize("version", ["WCR_restricted", "WCU_unrestricted"])
@pytest.mark.parametrize(
    ("name", "formula"), [(name, formula) for name in STORED for formula in STORED[name]]
)
def test_enumerated_p_values_are_the_stored_ones(name: str, formula: str, version: str) -> None:
    """All signs leave no chance: one p-value is right, ties counted as large."""
    expected = STORED[name][formula]
    settings: dict[str, Any] = {"null_imposed": version == "WCR_restricted"}
    if "factor" in formula:
        settings |= {"model": "two_way_fixed_effects", "count": "family"}
    elif "+ x" in formula:
        settings["covariates"] = ["x"]
    panel = read(name)
    found = analysed(state(**settings), panel)
    assert found.p_value[0] == pytest.approx(expected[version]["p_symmetric_ge"], abs=1e-12)
    n = panel.cells.n.sum()
    n_clusters = panel.n_authorities
    k = 2 + ("+ x" in formula) + ("factor" in formula) * (n_clusters + panel.cells.n.shape[2] - 2)
    statistic = found.estimate / found.std_error / np.sqrt((n - 1) / (n - k))
    assert statistic[0] == pytest.approx(expected["t_stat_CR1S"], rel=1e-8)


@pytest.mark.parametrize("null_imposed", [True, False])
@pytest.mark.parametrize("count", ["family", "authority"])
@pytest.mark.parametrize(("model", "covariates"), [(MODELS[0], []), (MODELS[0], ["x"]), (MODELS[1], [])])
@pytest.mark.parametrize("sizes", ["fixed", "varying", "gaps"])
def test_enumerated_p_values_equal_refitting_every_sample(
    model: str, covariates: list[str], count: str, null_imposed: bool, sizes: str
) -> None:
    """The shortcut through cluster scores is only arithmetic."""
    panel = draw_panel(sizes=sizes)
    answer = state(model=model, covariates=covariates, count=count, null_imposed=null_imposed)
    found = analysed(answer, panel)
    for replicate in range(3):
        design, outcome, cluster = regression(panel, answer, replicate)
        null = 0.0 if null_imposed else None
        statistic, draws = refitted(design, outcome, cluster, every_sign(6), null)
        assert found.estimate[replicate] / found.std_error[replicate] == pytest.approx(statistic, rel=1e-9)
        expected = (np.abs(draws) >= np.abs(statistic) * (1 - 1e-9)).mean()
        assert found.p_value[replicate] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("null_imposed", [True, False])
@pytest.mark.parametrize("weights", ["rademacher", "webb", "mammen"])
@pytest.mark.parametrize("model", MODELS)
def test_drawn_p_values_equal_refitting_every_sample(model: str, weights: Any, null_imposed: bool) -> None:
    """The same weights, given to residuals one sample at a time."""
    panel = draw_panel(11)
    answer = state(model=model, weights=weights, null_imposed=null_imposed, draws=199)
    found = analysed(answer, panel)
    values = draw_weights(weights, 11, 199, np.random.default_rng(SEED)).T
    for replicate in range(3):
        design, outcome, cluster = regression(panel, answer, replicate)
        statistic, draws = refitted(design, outcome, cluster, values, 0.0 if null_imposed else None)
        expected = (1 + (np.abs(draws) >= np.abs(statistic) * (1 - 1e-9)).sum()) / 200
        assert found.p_value[replicate] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("null_imposed", [True, False])
@pytest.mark.parametrize("weights", ["rademacher", "webb"])
@pytest.mark.parametrize(("model", "covariates"), [(MODELS[0], []), (MODELS[0], ["x"]), (MODELS[1], [])])
@pytest.mark.parametrize("n_authorities", [8, 11])
def test_limits_of_the_interval_are_where_the_test_begins_to_reject(
    model: str, covariates: list[str], weights: Any, null_imposed: bool, n_authorities: int
) -> None:
    """A null value just inside is not rejected by refitting, and one just outside is."""
    panel = draw_panel(n_authorities, seed=3)
    answer = state(model=model, covariates=covariates, weights=weights, null_imposed=null_imposed, draws=199)
    found = analysed(answer, panel)
    enumerated = answer.enumerates(n_authorities)
    values = (
        every_sign(n_authorities)
        if enumerated
        else draw_weights(weights, n_authorities, 199, np.random.default_rng(SEED)).T
    )
    observed = 0 if enumerated else 1
    for replicate in range(2):
        design, outcome, cluster = regression(panel, answer, replicate)
        (effect,), (std_error,), _ = fit(design, outcome[:, np.newaxis], cluster)
        for limit, outwards in ((found.ci_low[replicate], -1), (found.ci_high[replicate], 1)):
            assert np.isfinite(limit)
            for step, rejected in ((-1e-6, False), (1e-6, True)):
                null = limit + outwards * step * std_error
                _, draws = refitted(design, outcome, cluster, values, null if null_imposed else None)
                large = np.abs(draws) >= np.abs((effect - null) / std_error) * (1 - 1e-9)
                p_value = (large.sum() + observed) / (large.size + observed)
                assert (p_value <= panel.alpha * (1 + 1e-12)) == rejected


@pytest.mark.parametrize("weights", ["rademacher", "webb"])
@pytest.mark.parametrize("null_imposed", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_interval_leaves_out_no_effect_where_the_test_rejects_it(
    model: str, null_imposed: bool, weights: Any
) -> None:
    """Coverage is then one less the size, as a reader of both expects; asking for no interval changes no test."""
    answer = {"model": model, "null_imposed": null_imposed, "weights": weights, "draws": 199}
    panel = draw_panel(9, 200, seed=4)
    found = analysed(state(**answer), panel)
    outside = (found.ci_low > 0) | (found.ci_high < 0)
    rejected = found.p_value <= 0.05 * (1 + 1e-12)
    assert 0 < rejected.sum() < 50
    np.testing.assert_array_equal(outside, rejected)
    bare = analysed(state(**answer, interval=False), panel)
    np.testing.assert_array_equal(bare.p_value, found.p_value)
    assert np.isnan(bare.ci_low).all()
    assert np.isnan(bare.ci_high).all()


@pytest.mark.parametrize("case", ATTAINABLE["wild_cluster_rademacher"], ids=lambda case: str(case["G"]))
def test_the_floor_is_attained_and_never_passed(case: dict[str, float]) -> None:
    """Only the study's own signs and their mirror image can be as large as a clear separation of arms."""
    n_authorities = int(case["G"])
    treated = n_authorities // 2
    arm = np.where(np.arange(n_authorities) < treated, 5.0, 0.0)
    mean = (arm + 0.01 * np.arange(n_authorities) ** 2)[np.newaxis, :, np.newaxis]
    start = [0] * treated + [NEVER] * (n_authorities - treated)
    found = analysed(state(draws=2_047), panel_of(Cells(np.ones_like(mean), mean), start))
    assert found.p_floor[0] == case["min_p_ge"]
    assert found.p_value[0] == case["min_p_ge"]
    assert np.isfinite(found.ci_low[0]) == (case["min_p_ge"] <= 0.05)


def test_floors_of_random_draws_and_of_the_unrestricted_version() -> None:
    """The study is one of draws + 1; no sign vector of the unrestricted version repeats it."""
    panel = draw_panel(12)
    assert analysed(state(draws=99), panel).p_floor.tolist() == [0.01]
    assert analysed(state(draws=99, weights="webb"), draw_panel(4)).p_floor.tolist() == [0.01]
    assert analysed(state(null_imposed=False), draw_panel(6)).p_floor.tolist() == [0.0]


@pytest.mark.parametrize("level", [0.0, 1000.0])
@pytest.mark.parametrize("model", MODELS)
def test_an_authority_that_was_not_seen_leaves_the_enumeration_of_the_others(
    model: str, level: float
) -> None:
    """Its sign changes nothing, so that every vector of the others is met twice, ties included."""
    panel = draw_panel(7)
    outcome = panel.cells.mean + level
    n = panel.cells.n.copy()
    n[:, panel.roster.authority == 6] = 0.0
    unseen = analysed(state(model=model), replace(panel, cells=Cells(n, np.where(n > 0, outcome, np.nan))))
    left = panel.roster.authority < 6
    index = np.arange(left.sum())
    others = panel_of(
        Cells(panel.cells.n[:, left], outcome[:, left]),
        panel.start[0, :6],
        Roster(panel.roster.authority[left], index, index),
    )
    alone = analysed(state(model=model), others)
    assert unseen.p_floor.tolist() == [1 / 32] * 3
    np.testing.assert_allclose(unseen.p_value, alone.p_value, rtol=1e-12)
    np.testing.assert_allclose(unseen.ci_low, alone.ci_low, rtol=1e-6)
    np.testing.assert_allclose(unseen.ci_high, alone.ci_high, rtol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_too_few_authorities_give_an_infinite_interval(model: str) -> None:
    """Where no null value can be rejected none is left out, whether or not all authorities were seen."""
    panel = draw_panel(6)
    n = panel.cells.n.copy()
    n[:, panel.roster.authority == 5] = 0.0
    for few in (draw_panel(5), replace(panel, cells=Cells(n, np.where(n > 0, panel.cells.mean, np.nan)))):
        found = analysed(state(model=model), few)
        assert (found.p_floor == 1 / 16).all()
        assert (found.ci_low == -np.inf).all()
        assert (found.ci_high == np.inf).all()


@pytest.mark.parametrize("unit", [1.0, 0.1])
def test_a_draw_without_a_standard_error_counts_as_large(unit: float) -> None:
    """Two of eight draws make the means of an arm alike: neither 0 over 0 nor infinity may favour the effect."""
    mean = unit * np.array([[6.0, 4.0, 1.0, -1.0]])[:, :, np.newaxis]
    panel = panel_of(Cells(np.ones_like(mean), mean), [0, 0, NEVER, NEVER])
    found = analysed(state(null_imposed=False), panel)
    assert found.p_value.tolist() == [0.25]
    assert found.ci_low.tolist() == [-np.inf]
    assert found.ci_high.tolist() == [np.inf]


class PartlyTreated(Panel):
    """A panel in which some rows of a treated authority are not treated."""

    @property
    def treated(self) -> Bools:
        """Treated rows, from the second occasion on."""
        arm: Bools = self.covariates["arm"][:, :, np.newaxis] > 0
        return arm & (self.occasions >= 1)


@pytest.mark.parametrize(("model", "count"), [(MODELS[0], "family"), (MODELS[0], "authority")])
def test_treatment_may_vary_within_an_authority(model: str, count: str) -> None:
    """What is regressed on is the treatment of the row, not of its authority."""
    whole = draw_panel(7, seed=6)
    arm = (np.random.default_rng(7).random((1, whole.roster.n_rows)) < 0.5).astype(float)
    covariates = {"arm": arm, "x": whole.covariates["x"]}
    panel = PartlyTreated(
        whole.roster, whole.cells, whole.start, whole.occasions, whole.follow_up, whole.law, 0.05, covariates
    )
    answer = state(model=model, count=count, covariates=["x"])
    found = analysed(answer, panel)
    for replicate in range(3):
        design, outcome, cluster = regression(panel, answer, replicate)
        statistic, draws = refitted(design, outcome, cluster, every_sign(7), 0.0)
        expected = (np.abs(draws) >= np.abs(statistic) * (1 - 1e-9)).mean()
        assert found.estimate[replicate] / found.std_error[replicate] == pytest.approx(statistic, rel=1e-9)
        assert found.p_value[replicate] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", ["family", "authority"])
def test_fixed_effects_take_a_partly_treated_authority_by_its_share(count: str) -> None:
    """A panel of authorities knows what part of its families is treated, and no more."""
    whole = draw_panel(7, seed=6)
    authority = whole.roster.authority
    arm = (np.random.default_rng(8).random((1, authority.size)) < 0.5).astype(float)
    panel = PartlyTreated(
        whole.roster,
        whole.cells,
        whole.start,
        whole.occasions,
        whole.follow_up,
        whole.law,
        0.05,
        {"arm": arm},
    )
    found = analysed(state(model=MODELS[1], count=count), panel)
    for replicate in range(3):
        n = np.array([whole.cells.n[replicate, authority == a].sum(axis=0) for a in range(7)])
        rows = [authority == a for a in range(7)]
        numbers = whole.cells.n[replicate]
        total = np.array([(numbers[at] * whole.cells.mean[replicate, at]).sum(axis=0) for at in rows])
        treated = np.array([(numbers[at] * panel.treated[0, at]).sum(axis=0) for at in rows])
        cluster, occasion = np.repeat(np.arange(7), 3), np.tile(np.arange(3), 7)
        scale = np.sqrt(n.ravel() if count == "family" else np.ones(21))
        columns = [(treated / n).ravel(), *(cluster == a for a in range(7)), occasion == 1, occasion == 2]
        design = np.column_stack(columns).astype(float) * scale[:, np.newaxis]
        statistic, draws = refitted(design, (total / n).ravel() * scale, cluster, every_sign(7), 0.0)
        assert found.estimate[replicate] / found.std_error[replicate] == pytest.approx(statistic, rel=1e-9)
        expected = (np.abs(draws) >= np.abs(statistic) * (1 - 1e-9)).mean()
        assert found.p_value[replicate] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", ["family", "authority"])
def test_estimate_and_standard_error_are_those_of_the_regression(count: str) -> None:
    """Only the critical values come from the bootstrap."""
    panel = draw_panel(8)
    rng = np.random.default_rng(1)
    pairs: list[tuple[dict[str, Any], Any]] = [
        ({}, ClusteredRegression(variance="CR1", weights=count)),
        ({"covariates": ["x"]}, ClusteredRegression(variance="CR1", weights=count, covariates=("x",))),
        ({"model": MODELS[1]}, TwoWayFixedEffects(variance="CR1", weights=count)),
    ]
    for settings, plain in pairs:
        found, expected = analysed(state(count=count, **settings), panel), plain.estimate(panel, rng)
        np.testing.assert_allclose(found.estimate, expected.estimate, rtol=1e-10)
        np.testing.assert_allclose(found.std_error, expected.std_error, rtol=1e-10)
        assert np.isnan(found.df).all()


def test_what_counts_alike_by_default_is_what_counts_in_the_model() -> None:
    """Families in a clustered regression, observed means with fixed effects."""
    panel = draw_panel(8)
    for model, count in zip(MODELS, ("family", "authority"), strict=True):
        stated, default = (
            analysed(state(model=model, count=count), panel),
            analysed(state(model=model), panel),
        )
        np.testing.assert_array_equal(default.p_value, stated.p_value)


@pytest.mark.parametrize("settings", [{}, {"weights": "webb"}, {"null_imposed": False}])
@pytest.mark.parametrize("sizes", ["fixed", "varying"])
@pytest.mark.parametrize("model", MODELS)
def test_a_replicate_has_its_answer_wherever_it_stands(
    model: str, sizes: str, settings: dict[str, Any]
) -> None:
    """Replicates are separate studies that share their draws, and are worked through in parts."""
    panel = draw_panel(12, 150, sizes=sizes)
    answer = state(model=model, **settings)
    together = analysed(answer, panel)
    for replicate in (0, 77, 149):
        at = slice(replicate, replicate + 1)
        cells = Cells(panel.cells.n if sizes == "fixed" else panel.cells.n[at], panel.cells.mean[at])
        alone = analysed(answer, replace(panel, cells=cells, covariates={}))
        assert alone.p_value[0] == pytest.approx(together.p_value[replicate], abs=1e-12)
        assert alone.ci_low[0] == pytest.approx(together.ci_low[replicate], rel=1e-7)
        assert alone.ci_high[0] == pytest.approx(together.ci_high[replicate], rel=1e-7)


def test_the_seed_decides_random_draws_and_not_all_signs() -> None:
    """An enumeration has nothing to draw, and leaves the stream where it was."""
    panel = draw_panel(9)
    for n_draws, moves in ((999, False), (99, True)):
        rng = np.random.default_rng(1)
        first = state(draws=n_draws).estimate(panel, rng)
        second = state(draws=n_draws).estimate(panel, np.random.default_rng(2))
        assert (first.p_value != second.p_value).any() == moves
        assert (rng.random() != np.random.default_rng(1).random()) == moves


def test_random_draws_approach_the_enumeration() -> None:
    """A count of draws is binomial about the enumerated p-value: four of its errors."""
    panel = draw_panel(10, 40)
    every, drawn = analysed(state(), panel), analysed(state(draws=399), panel)
    error = np.sqrt(every.p_value * (1 - every.p_value) / 399) + 1 / 400
    assert (np.abs(drawn.p_value - every.p_value) <= 4 * error).all()


def test_size_is_near_nominal_where_arms_are_even_and_far_below_it_with_one_treated() -> None:
    """Twelve equal clusters hold the level within a point; with one treated the null value absorbs it."""
    rng = np.random.default_rng(11)
    cells = Cells(np.ones((1, 12, 1)), rng.normal(size=(4_000, 12, 1)))
    even, one = ([0] * k + [NEVER] * (12 - k) for k in (6, 1))
    answer = state(draws=399, interval=False)
    rate = (analysed(answer, panel_of(cells, even)).p_value <= 0.05).mean()
    assert rate == pytest.approx(0.05, abs=0.01 + 4 * np.sqrt(0.05 * 0.95 / 4_000))
    assert (analysed(answer, panel_of(cells, one)).p_value <= 0.05).mean() < 0.01
    unrestricted = state(draws=399, interval=False, null_imposed=False)
    assert (analysed(unrestricted, panel_of(cells, one)).p_value <= 0.05).mean() > 0.3


def test_few_clusters_never_reject_by_two_points() -> None:
    """Of Mammen's draws .72 to the power of 8 multiply all residuals alike and repeat the study."""
    panel = draw_panel(8, 300)
    assert analysed(state(weights="mammen", interval=False), panel).p_value.min() > 0.05


@pytest.mark.parametrize(
    ("start", "model", "status"),
    [
        ([1], MODELS[0], Status.TOO_FEW_CLUSTERS),
        ([1], MODELS[1], Status.SINGULAR),
        ([1, NEVER], MODELS[0], Status.TOO_FEW_CLUSTERS),
        ([1, NEVER], MODELS[1], Status.TOO_FEW_CLUSTERS),
        ([1, 1, 1], MODELS[0], Status.TOO_FEW_CLUSTERS),
        ([1, 1, 1], MODELS[1], Status.SINGULAR),
        ([0, 0, NEVER], MODELS[1], Status.SINGULAR),
    ],
)
def test_a_study_that_cannot_answer_is_a_counted_failure(
    start: list[int], model: str, status: Status
) -> None:
    """Its numbers are nan and its status says why."""
    cells = Cells(np.ones((1, len(start), 2)), np.random.default_rng(3).normal(size=(4, len(start), 2)))
    found = analysed(state(model=model), panel_of(cells, start))
    assert (found.status == status).all()
    for name in ("estimate", "std_error", "p_value", "ci_low", "ci_high"):
        assert np.isnan(getattr(found, name)).all()


def test_a_failed_replicate_leaves_the_others_alone() -> None:
    """Attrition of an arm, or an outcome that does not vary, is of one replicate."""
    panel = draw_panel(8)
    whole = analysed(state(), panel)
    n, mean = panel.cells.n.copy(), panel.cells.mean.copy()
    n[0, panel.treated[0, :, 1]] = 0.0
    mean[1] = 0.1
    found = analysed(state(), replace(panel, cells=Cells(n, np.where(n > 0, mean, np.nan))))
    assert found.status.tolist() == [Status.TOO_FEW_CLUSTERS, Status.NO_VARIATION, Status.OK]
    assert np.isnan(found.p_value).tolist() == [True, True, False]
    assert found.p_value[2] == whole.p_value[2]
    assert found.ci_low[2] == pytest.approx(whole.ci_low[2], rel=1e-9)


def test_a_covariate_that_is_the_arm_is_singular() -> None:
    """The effect cannot be told from it."""
    panel = draw_panel(6)
    arm = replace(panel, covariates={"x": 2.0 * panel.treated[:, :, 1]})
    assert (analysed(state(covariates=["x"]), arm).status == Status.SINGULAR).all()


@pytest.mark.parametrize("model", MODELS)
def test_moves_with_the_scale_and_not_with_the_level(model: str) -> None:
    """Signs and ranks know neither origin nor unit."""
    panel = draw_panel(9)
    moved = replace(panel, cells=Cells(panel.cells.n, 250 - 3 * panel.cells.mean))
    before, after = analysed(state(model=model), panel), analysed(state(model=model), moved)
    np.testing.assert_array_equal(after.p_value, before.p_value)
    np.testing.assert_allclose(after.ci_low, -3 * before.ci_high, rtol=1e-7)
    np.testing.assert_allclose(after.ci_high, -3 * before.ci_low, rtol=1e-7)


def test_settings_without_effect_are_refused() -> None:
    """Fixed effects take no covariates here, and a covariate counts once."""
    with pytest.raises(ValidationError, match="no effect"):
        state(model=MODELS[1], covariates=["x"])
    with pytest.raises(ValidationError, match="twice"):
        state(covariates=["x", "x"])
    assert state(model=MODELS[1]).needs_before
    assert not state().needs_before
