"""Two-way fixed effects: other software, full dummies, and what must not matter."""

import csv
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import ValidationError

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.cells import Cells
from design_sim.estimators.base import Status
from design_sim.estimators.two_way_fixed_effects import TwoWayFixedEffects
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
VARIANCES: tuple[str, ...] = get_args(TwoWayFixedEffects.model_fields["variance"].annotation)
WEIGHTS = ("authority", "family")
STARTS = {
    "together": [3, 3, 3, NEVER, NEVER, NEVER, NEVER],
    "staggered": [1, 2, 2, 4, 4, NEVER, NEVER],
    "always": [0, 0, 2, 2, 3, NEVER, NEVER],
}


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(24)


def state(variance: str, weights: str) -> TwoWayFixedEffects:
    """The answer with Satterthwaite's df, which every robust variance has."""
    df = None if variance == "naive" else "satterthwaite"
    return TwoWayFixedEffects.model_validate({"variance": variance, "weights": weights, "df": df})


def make_panel(cells: Cells, start: list[int] | NDArray[np.int64], roster: Roster | None = None) -> Panel:
    """A panel observed at every occasion."""
    starts = np.atleast_2d(np.asarray(start, dtype=np.int64))
    n_occasions = cells.n.shape[2]
    return Panel(
        roster=roster or Roster.of_authorities(starts.shape[1]),
        cells=cells,
        start=starts,
        occasions=np.arange(n_occasions),
        follow_up=np.arange(n_occasions) >= starts.min(),
        law=complete_randomisation(starts.shape[1], int((starts[0] < NEVER).sum())),
    )


def draw_cells(rng: Generator, *, fixed: bool, missing: bool, n_replicates: int = 3) -> Cells:
    """Seven authorities at five occasions, unequal; some never seen, or seen once."""
    n = rng.integers(1, 7, (1 if fixed else n_replicates, 7, 5)).astype(float)
    if missing:
        n[:, 1, :2] = n[:, 4, 3] = n[:, 5, 1:] = 0.0
        n[-1, 6] = 0.0
    mean = rng.normal(size=(n_replicates, 7, 5)) + rng.normal(size=(n_replicates, 7, 1))
    ss = np.maximum(n - 1, 0) * rng.random(mean.shape)
    return Cells(n, np.where(n > 0, mean, np.nan), ss)


def oracle(panel: Panel, model: TwoWayFixedEffects, replicate: int) -> tuple[float, float, float]:
    """Effect, standard error and df from a dummy for everything: one row a family, or a cell."""
    n = np.broadcast_to(panel.cells.n, panel.cells.mean.shape)[replicate].astype(int)
    repeats = (n if model.weights == "family" else n > 0).astype(int).ravel()
    at = np.repeat(np.arange(n.size), repeats)
    authority, occasion = at // n.shape[1], at % n.shape[1]
    treated = np.broadcast_to(panel.treated, panel.cells.mean.shape)[replicate].ravel()[at]
    dummies = [authority == a for a in np.unique(authority)] + [
        occasion == t for t in np.unique(occasion)[1:]
    ]
    design = np.column_stack([treated, *dummies]).astype(float)
    outcome = panel.cells.mean[replicate].ravel()[at]
    inverse = np.linalg.inv(design.T @ design)
    effect = (inverse @ design.T @ outcome)[0]
    annihilator = np.eye(at.size) - design @ inverse @ design.T
    residual = annihilator @ outcome
    k = design.shape[1]
    if model.variance == "naive":
        squares = residual @ residual
        if model.weights == "family" and panel.cells.ss is not None:
            squares += np.where(n > 0, panel.cells.ss[replicate], 0.0).sum()
        return effect, np.sqrt(squares / (at.size - k) * inverse[0, 0]), at.size - k
    members = np.unique(authority)
    loadings = np.zeros((members.size, at.size))
    for position, member in enumerate(members):
        rows = authority == member
        values, vectors = np.linalg.eigh(annihilator[np.ix_(rows, rows)])
        power = -0.5 if model.variance == "CR2" else 0.0
        kept = values > 1e-10
        powered = kept * np.where(kept, values, 1.0) ** power
        adjustment = (vectors * powered) @ vectors.T if power else np.eye(rows.sum())
        loadings[position, rows] = adjustment @ design[rows] @ inverse[:, 0]
    form = loadings @ annihilator @ loadings.T
    factor = members.size / (members.size - 1) if model.variance in ("CR1", "CR1S") else 1.0
    if model.variance == "CR1S":
        factor *= (at.size - 1) / (at.size - k)
    std_error = np.sqrt(factor * ((loadings @ residual) ** 2).sum())
    return effect, std_error, np.trace(form) ** 2 / (form**2).sum()


def agree(panel: Panel, model: TwoWayFixedEffects, rng: Generator, rtol: float = 1e-9) -> None:
    found = model.estimate(panel, rng)
    df = np.broadcast_to(found.df, found.estimate.shape)
    assert (found.status == Status.OK).all()
    for replicate in range(panel.n_replicates):
        expected = oracle(panel, model, replicate)
        actual = (found.estimate[replicate], found.std_error[replicate], df[replicate])
        np.testing.assert_allclose(actual, expected, rtol=rtol)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("name", ["did_8x6", "did_10x4_bal"])
def test_agrees_with_r_on_stored_panels(name: str, variance: str, rng: Generator) -> None:
    """lm with full dummies on families, and clubSandwich, against pooled cells."""
    with (REFERENCE / "data" / f"{name}.csv").open() as file:
        lines = list(csv.DictReader(file))
    cluster, period = (np.array([int(line[key]) - 1 for line in lines]) for key in ("cluster", "period"))
    y, d = (np.array([float(line[key]) for line in lines]) for key in ("y", "d"))
    shape = (1, cluster.max() + 1, period.max() + 1)
    n, total, treated = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    np.add.at(n[0], (cluster, period), 1)
    np.add.at(total[0], (cluster, period), y)
    np.add.at(treated[0], (cluster, period), d)
    mean, ss = total / n, np.zeros(shape)
    np.add.at(ss[0], (cluster, period), (y - mean[0, cluster, period]) ** 2)
    start = np.where(treated.any(axis=2), (treated > 0).argmax(axis=2), NEVER)
    found = state(variance, "family").estimate(make_panel(Cells(n, mean, ss), start), rng)
    stored = json.loads((REFERENCE / "point" / f"{name}.json").read_text())
    expected: dict[str, Any] = stored["ols"]["twfe"]
    std_error = expected["se_classical" if variance == "naive" else f"se_{variance}"]["d"]
    np.testing.assert_allclose(found.estimate, expected["coef"]["d"], rtol=1e-8)
    np.testing.assert_allclose(found.std_error, std_error, rtol=1e-8)
    if variance == "naive":
        np.testing.assert_allclose(found.df, expected["n"] - expected["k"])
    elif f"satt_df_{variance}" in expected:
        np.testing.assert_allclose(found.df, expected[f"satt_df_{variance}"]["d"], rtol=1e-8)
        np.testing.assert_allclose(found.p_value, expected[f"satt_p_{variance}"]["d"], rtol=1e-7)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("starts", STARTS)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("fixed", [True, False])
def test_equals_full_dummies(
    fixed: bool, missing: bool, starts: str, weights: str, variance: str, rng: Generator
) -> None:
    """Absorbing effects is algebra, for any pattern of treatment, weights and gaps."""
    cells = draw_cells(rng, fixed=fixed, missing=missing)
    agree(make_panel(cells, STARTS[starts]), state(variance, weights), rng)


@pytest.mark.parametrize("variance", ["CR1S", "CR2"])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_equals_full_dummies_where_clusters_are_many(weights: str, variance: str, rng: Generator) -> None:
    """More authorities than have their spectrum computed, with plans for each."""
    n = rng.integers(0, 4, (2, 70, 4)).astype(float)
    mean = np.where(n > 0, rng.normal(size=n.shape), np.nan)
    start = np.where(np.arange(70) < 30, 1 + np.arange(70) % 3, NEVER)
    agree(make_panel(Cells(n, mean), start), state(variance, weights), rng)


@pytest.mark.parametrize("variance", VARIANCES)
def test_arms_that_vary_by_replicate_equal_full_dummies(variance: str, rng: Generator) -> None:
    """No built-in design does so, and the panel allows it."""
    start = np.stack([rng.permutation(STARTS["staggered"]) for _ in range(3)])
    agree(make_panel(draw_cells(rng, fixed=True, missing=False), start), state(variance, "authority"), rng)


def test_two_groups_and_two_occasions_are_the_difference_in_differences(rng: Generator) -> None:
    """The textbook case: change of the treated less change of the others, with Welch-like df."""
    mean = rng.normal(size=(20, 10, 2))
    start = np.where(np.arange(10) < 5, 1, NEVER)
    found = TwoWayFixedEffects().estimate(make_panel(Cells(np.ones((1, 10, 2)), mean), start), rng)
    change = mean[:, :, 1] - mean[:, :, 0]
    arms = change[:, :5], change[:, 5:]
    np.testing.assert_allclose(found.estimate, arms[0].mean(axis=1) - arms[1].mean(axis=1), rtol=1e-10)
    squares = sum(arm.var(axis=1, ddof=1) / 5 for arm in arms)
    np.testing.assert_allclose(found.std_error, np.sqrt(squares), rtol=1e-10)
    np.testing.assert_allclose(found.df, 8, rtol=1e-10)


def test_type_i_error_of_cr2_is_nominal_under_its_working_model() -> None:
    """Few authorities, normal errors: 5 per cent within four Monte Carlo errors."""
    rng, n_replicates = np.random.default_rng(25), 8192
    mean = rng.normal(size=(n_replicates, 10, 4)) + 3 * rng.normal(size=(n_replicates, 10, 1))
    start = np.where(np.arange(10) < 5, 2, NEVER)
    found = TwoWayFixedEffects().estimate(make_panel(Cells(np.ones((1, 10, 4)), mean), start), rng)
    assert abs((found.p_value <= 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / n_replicates)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("variance", VARIANCES)
def test_workers_as_rows_give_the_answer_of_authorities(variance: str, weights: str, rng: Generator) -> None:
    """Rows are pooled to authorities before anything else."""
    authority = np.repeat(np.arange(7), [1, 2, 3, 1, 2, 2, 1])
    index = np.arange(authority.size)
    n = rng.integers(1, 5, (3, authority.size, 5)).astype(float)
    cells = Cells(n, rng.normal(size=n.shape), (n - 1) * rng.random(n.shape))
    deep = make_panel(cells, STARTS["staggered"], Roster(authority, index, index))
    flat = make_panel(cells.pool(deep.roster, "authority"), STARTS["staggered"])
    model = state(variance, weights)
    np.testing.assert_array_equal(model.estimate(deep, rng).p_value, model.estimate(flat, rng).p_value)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_replicate_alone_gives_its_answer_in_the_batch(
    variance: str, weights: str, missing: bool, rng: Generator
) -> None:
    """Replicates are separate studies, also where their gaps differ."""
    cells = draw_cells(rng, fixed=False, missing=missing)
    model = state(variance, weights)
    together = model.estimate(make_panel(cells, STARTS["staggered"]), rng)
    for replicate in range(3):
        at = slice(replicate, replicate + 1)
        assert cells.ss is not None
        one = Cells(cells.n[at], cells.mean[at], cells.ss[at])
        alone = model.estimate(make_panel(one, STARTS["staggered"]), rng)
        np.testing.assert_allclose(alone.estimate[0], together.estimate[replicate], rtol=1e-11)
        np.testing.assert_allclose(alone.std_error[0], together.std_error[replicate], rtol=1e-11)
        np.testing.assert_allclose(alone.p_value[0], together.p_value[replicate], rtol=1e-9)


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("variance", VARIANCES)
def test_moves_with_the_scale_and_not_with_levels_or_common_shocks(
    variance: str, weights: str, fixed: bool, rng: Generator
) -> None:
    """What fixed effects absorb must have no influence at all."""
    cells = draw_cells(rng, fixed=fixed, missing=True)
    assert cells.ss is not None
    absorbed = 50 + 10 * rng.normal(size=(3, 7, 1)) + 10 * rng.normal(size=(3, 1, 5))
    moved = Cells(cells.n, absorbed - 3 * cells.mean, 9 * cells.ss)
    model = state(variance, weights)
    before = model.estimate(make_panel(cells, STARTS["staggered"]), rng)
    after = model.estimate(make_panel(moved, STARTS["staggered"]), rng)
    np.testing.assert_allclose(after.estimate, -3 * before.estimate, rtol=1e-9)
    np.testing.assert_allclose(after.std_error, 3 * before.std_error, rtol=1e-9)
    np.testing.assert_allclose(after.df, before.df, rtol=1e-9)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_an_arm_that_was_never_seen_fails_in_its_replicate_alone(
    weights: str, variance: str, rng: Generator
) -> None:
    """Attrition of all treated authorities is a counted failure."""
    cells = draw_cells(rng, fixed=False, missing=False)
    n = cells.n.copy()
    n[1, :3] = 0.0
    gone = Cells(n, np.where(n > 0, cells.mean, np.nan), np.where(n > 0, cells.ss, 0.0))
    found = state(variance, weights).estimate(make_panel(gone, STARTS["together"]), rng)
    assert found.status.tolist() == [0, Status.TOO_FEW_CLUSTERS, 0]
    assert np.isnan(found.p_value).tolist() == [False, True, False]


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_treated_authorities_without_a_baseline_are_singular(
    weights: str, variance: str, rng: Generator
) -> None:
    """Their effect is then that of the authorities; a number would be rounding."""
    cells = draw_cells(rng, fixed=True, missing=False)
    n = cells.n.copy()
    n[:, :3, :3] = 0.0
    late = Cells(n, np.where(n > 0, cells.mean, np.nan), np.where(n > 0, cells.ss, 0.0))
    found = state(variance, weights).estimate(make_panel(late, STARTS["together"]), rng)
    assert (found.status == Status.SINGULAR).all()


def test_everybody_treated_at_once_is_singular(rng: Generator) -> None:
    """Treatment is then the occasion."""
    cells = draw_cells(rng, fixed=True, missing=False)
    found = TwoWayFixedEffects().estimate(make_panel(cells, [2] * 7), rng)
    assert (found.status == Status.SINGULAR).all()


def test_one_treated_authority_fails_cr2_and_not_cr1(rng: Generator) -> None:
    """No residual speaks of its departure from the common course."""
    cells = draw_cells(rng, fixed=True, missing=False)
    panel = make_panel(cells, [2, *[NEVER] * 6])
    assert (TwoWayFixedEffects().estimate(panel, rng).status == Status.TOO_FEW_CLUSTERS).all()
    assert (TwoWayFixedEffects(variance="CR1").estimate(panel, rng).status == Status.OK).all()


@pytest.mark.parametrize("variance", VARIANCES)
def test_one_authority_in_each_arm_leaves_nothing_to_judge_by(variance: str, rng: Generator) -> None:
    """Two authorities at two occasions are fitted exactly."""
    cells = Cells(np.ones((1, 2, 2)), rng.normal(size=(4, 2, 2)))
    found = state(variance, "authority").estimate(make_panel(cells, [1, NEVER]), rng)
    assert (found.status == Status.TOO_FEW_CLUSTERS).all()


@pytest.mark.parametrize("variance", VARIANCES)
def test_an_outcome_without_variation_has_no_test(variance: str, rng: Generator) -> None:
    """Levels and common shocks fitted exactly must not yield a t statistic of rounding."""
    mean = 0.1 + rng.normal(size=(3, 7, 1)) + rng.normal(size=(3, 1, 5))
    cells = Cells(np.full((1, 7, 5), 3.0), mean, np.zeros_like(mean))
    for weights in WEIGHTS:
        found = state(variance, weights).estimate(make_panel(cells, STARTS["staggered"]), rng)
        assert (found.status == Status.NO_VARIATION).all()


def test_families_as_independent_need_their_sum_of_squares(rng: Generator) -> None:
    """Without it the standard error would be of cells."""
    cells = draw_cells(rng, fixed=True, missing=False)
    panel = make_panel(Cells(cells.n, cells.mean), STARTS["together"])
    with pytest.raises(ValueError, match="sum of squares"):
        state("naive", "family").estimate(panel, rng)


def test_settings_without_effect_are_refused() -> None:
    """`naive` has its own degrees of freedom, and CR3 is undefined with authority effects."""
    with pytest.raises(ValidationError, match="no effect"):
        TwoWayFixedEffects(variance="naive", df="normal")
    with pytest.raises(ValidationError):
        TwoWayFixedEffects.model_validate({"variance": "CR3"})
    assert state("naive", "family").needs == "cells"
    assert state("naive", "authority").needs == "means"
