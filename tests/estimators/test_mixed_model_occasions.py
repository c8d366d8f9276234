"""Mixed models with effects of occasions agree with lmer, read all occasions, and say what they need."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.family_moments import Families
from design_sim.estimators.mixed_model import MixedModel
from design_sim.numerics.mixed.random_slopes import fit_random_slopes
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
RNG = np.random.default_rng(0)
EXCHANGEABLE: dict[str, Any] = {"period_effects": True, "authority_by_occasion": True}
HUSSEY_HUGHES: dict[str, Any] = {"period_effects": True}


def family_panel(
    name: str, columns: tuple[str, str, str], covariates: tuple[str, ...], treated: str = "d"
) -> Panel:
    """A reference set with a row for each family, observed at its occasion alone."""
    data = np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)
    authority, occasion, outcome = (data[column] for column in columns)
    order = np.argsort(authority, kind="stable")
    data, authority, occasion, outcome = data[order], authority[order], occasion[order], outcome[order]
    index = np.cumsum(np.diff(authority, prepend=authority[0]) != 0)
    occasions = np.unique(occasion).astype(np.int64)
    n = (occasion[:, np.newaxis] == occasions).astype(float)
    starts = [occasion[(index == unit) & (data[treated] == 1)] for unit in range(index[-1] + 1)]
    return Panel(
        roster=Roster(index, index, np.arange(index.size)),
        cells=Cells(
            n[np.newaxis],
            np.where(n > 0, outcome[:, np.newaxis], np.nan)[np.newaxis],
            np.zeros((1, *n.shape)),
        ),
        start=np.array([[start.min() if start.size else NEVER for start in starts]]).astype(np.int64),
        occasions=occasions,
        follow_up=occasions > occasions[0],
        law=complete_randomisation(index[-1] + 1, 1),
        covariates={x: data[x][np.newaxis] for x in covariates},
    )


def wedge(
    n_replicates: int, n: Floats, sds: tuple[float, float], effect: float = 0.0, seed: int = 1
) -> Panel:
    """Wedges of authorities by occasions with n families in each cell, (1 or replicate, authority, occasion)."""
    rng = np.random.default_rng(seed)
    n_authorities, n_occasions = n.shape[1:]
    start = 1 + np.sort(np.arange(n_authorities) % (n_occasions - 1))
    shape = (n_replicates, n_authorities, n_occasions)
    each = np.broadcast_to(n, shape)
    mean = sds[0] * rng.normal(size=shape[:2])[:, :, np.newaxis] + sds[1] * rng.normal(size=shape)
    mean += rng.normal(size=shape) / np.sqrt(np.maximum(each, 1)) + np.sin(np.arange(n_occasions))
    mean += effect * (np.arange(n_occasions) >= start[:, np.newaxis])
    return Panel(
        roster=Roster.of_authorities(n_authorities),
        cells=Cells(
            n, np.where(each > 0, mean, np.nan), rng.chisquare(np.maximum(each - 1, 1e-9)) * (each > 1)
        ),
        start=start[np.newaxis],
        occasions=np.arange(n_occasions),
        follow_up=np.arange(n_occasions) > 0,
        law=complete_randomisation(n_authorities, 1),
    )


def estimate(panel: Panel, **settings: Any) -> Estimates:
    return MixedModel(**settings).estimate(panel, RNG)


VALIDATION = [
    ("sw_9x4", "hussey_hughes", (), HUSSEY_HUGHES),
    ("sw_9x4", "nested_exchangeable", (), EXCHANGEABLE),
    ("did_8x6", "random_intercept", ("group", "x"), HUSSEY_HUGHES),
    ("did_8x6", "nested_exchangeable", ("group", "x"), EXCHANGEABLE),
    ("did_10x4_bal", "random_intercept", ("group", "x"), HUSSEY_HUGHES),
    ("did_10x4_bal", "nested_exchangeable", ("group", "x"), EXCHANGEABLE),
]


@pytest.mark.parametrize(("name", "model", "covariates", "settings"), VALIDATION)
def test_panels_give_what_lmer_gives(
    name: str, model: str, covariates: tuple[str, ...], settings: dict[str, Any]
) -> None:
    """Stepped wedges and differences-in-differences, one of them with a variance of 0."""
    expected = json.loads((REFERENCE / "point" / f"{name}.json").read_text())["lmer"][model]
    panel = family_panel(name, ("cluster", "period", "y"), covariates)
    for df, tolerance in (("satterthwaite", 1e-4), ("kenward_roger", 1e-5)):
        answer = estimate(panel, df=df, covariates=covariates, **settings)
        judged = expected[df]
        std_error = (expected if df == "satterthwaite" else judged)["se"]["d"]
        assert answer.status[0] == (Status.BOUNDARY if expected["singular"] else Status.OK)
        assert answer.estimate[0] == pytest.approx(expected["estimate"]["d"], rel=1e-6)
        assert answer.std_error[0] == pytest.approx(std_error, rel=1e-6)
        assert answer.df[0] == pytest.approx(judged["df"]["d"], rel=tolerance)
        assert answer.p_value[0] == pytest.approx(judged["p"]["d"], rel=tolerance)


UNBALANCED: dict[str, dict[str, Any]] = {
    "hussey_hughes": HUSSEY_HUGHES | {"covariates": ("x",)},
    "nested_exchangeable": EXCHANGEABLE,
    "nested_exchangeable_x": EXCHANGEABLE | {"covariates": ("x",)},
    "slopes": HUSSEY_HUGHES | {"random_slopes": "uncorrelated"},
    "slopes_correlated": HUSSEY_HUGHES | {"random_slopes": "correlated"},
    "slopes_by_occasion": EXCHANGEABLE | {"random_slopes": "uncorrelated", "covariates": ("x",)},
    "slopes_correlated_by_occasion": EXCHANGEABLE | {"random_slopes": "correlated", "covariates": ("x",)},
}


@pytest.mark.parametrize("model", UNBALANCED)
def test_wedges_with_gaps_give_what_lmer_gives(model: str) -> None:
    """Cells differ in size, and three of them hold nobody."""
    expected = json.loads((REFERENCE / "point" / "wedge_unb.json").read_text())["lmer"][model]
    panel = family_panel("wedge_unb", ("authority", "occasion", "y"), UNBALANCED[model].get("covariates", ()))
    for df in ("satterthwaite", "kenward_roger"):
        answer, judged = estimate(panel, df=df, **UNBALANCED[model]), expected[df]
        assert answer.estimate[0] == pytest.approx(expected["estimate"], rel=1e-6)
        assert answer.std_error[0] == pytest.approx(judged["se"], rel=1e-6)
        assert answer.df[0] == pytest.approx(judged["df"], rel=1e-5)


@pytest.mark.parametrize("settings", [HUSSEY_HUGHES, EXCHANGEABLE, UNBALANCED["slopes_correlated"]])
def test_cells_of_authorities_give_what_rows_of_families_give(settings: dict[str, Any]) -> None:
    """Number, mean and sum of squares of an authority's occasion are all that is read of its families."""
    families = family_panel("wedge_unb", ("authority", "occasion", "y"), ())
    cells = families.cells.pool(families.roster, "authority")
    authorities = replace(families, roster=Roster.of_authorities(9), cells=cells)
    for df in ("satterthwaite", "kenward_roger"):
        first, second = (estimate(panel, df=df, **settings) for panel in (families, authorities))
        for field in ("estimate", "std_error", "df", "p_value"):
            assert getattr(first, field)[0] == pytest.approx(getattr(second, field)[0], rel=1e-7)


@pytest.mark.parametrize("settings", [HUSSEY_HUGHES, EXCHANGEABLE])
def test_equal_cells_take_another_route_to_the_same_numbers(settings: dict[str, Any]) -> None:
    """One cell that is a little larger in the last replicate changes the arithmetic, and nothing else."""
    equal = wedge(60, np.full((1, 8, 5), 6.0), (0.4, 0.2))
    n = np.tile(equal.cells.n, (60, 1, 1))
    n[-1, 0, 0] += 1
    unequal = replace(equal, cells=Cells(n, equal.cells.mean, equal.cells.ss))
    for df in ("satterthwaite", "kenward_roger"):
        first, second = (estimate(panel, df=df, **settings) for panel in (equal, unequal))
        assert len(set(first.status)) == 2
        np.testing.assert_array_equal(first.status[:-1], second.status[:-1])
        for field in ("estimate", "std_error", "df"):
            ours, theirs = getattr(first, field)[:-1], getattr(second, field)[:-1]
            np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-10)


def test_size_and_power_of_a_wedge() -> None:
    """The null is rejected one time in twenty where the model is true; more often where it is not or there is an effect."""
    n = np.random.default_rng(2).integers(3, 12, (1, 10, 5)).astype(float)
    error = 4 * np.sqrt(0.05 * 0.95 / 2_000)

    def rejected(effect: float, **settings: Any) -> float:
        return float((estimate(wedge(2_000, n, (0.4, 0.4), effect), **settings).p_value <= 0.05).mean())

    assert rejected(0.0, **EXCHANGEABLE) == pytest.approx(0.05, abs=error)
    assert rejected(0.0, **EXCHANGEABLE, df="kenward_roger") == pytest.approx(0.05, abs=error)
    assert rejected(0.0, **HUSSEY_HUGHES) > 0.15
    assert rejected(1.0, **EXCHANGEABLE) > 0.6


def test_workers_are_told_apart_over_all_occasions() -> None:
    """With every worker's families of all occasions pooled, an occasion's effect varies within workers."""
    rng = np.random.default_rng(6)
    authority = np.repeat(np.arange(6), 5)
    n = rng.integers(0, 5, (1, 30, 3)).astype(float)
    worker = rng.normal(size=(40, 30, 1))
    mean = worker + rng.normal(size=(40, 30, 3)) / np.sqrt(np.maximum(n, 1)) + [0.0, 1.0, 2.0]
    panel = Panel(
        roster=Roster(authority, np.arange(30), np.arange(30)),
        cells=Cells(n, np.where(n > 0, mean, np.nan), np.maximum(n - 1, 0.0)),
        start=np.where(np.arange(6) < 3, 1, NEVER)[np.newaxis],
        occasions=np.arange(3),
        follow_up=np.arange(3) > 0,
        law=complete_randomisation(6, 3),
    )
    moved = replace(panel, cells=replace(panel.cells, mean=panel.cells.mean + np.array([5.0, -3.0, 2.0])))
    first, second = (estimate(p, levels=("authority", "worker"), period_effects=True) for p in (panel, moved))
    np.testing.assert_allclose(first.estimate, second.estimate, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(first.p_value, second.p_value, rtol=1e-6)
    without = estimate(panel, period_effects=True)
    assert first.std_error.mean() < without.std_error.mean()


def test_an_occasion_that_nobody_was_observed_at_leaves_no_trace() -> None:
    """It has no families and so no effect of its own."""
    panel = wedge(20, np.full((1, 6, 4), 5.0), (0.4, 0.2))
    n, ss = panel.cells.n.copy(), panel.cells.ss
    assert ss is not None
    n[:, :, 2] = 0
    gap = replace(panel, cells=Cells(n, panel.cells.mean, ss))
    kept = np.array([True, True, False, True])
    rest = replace(
        panel,
        cells=Cells(panel.cells.n[:, :, kept], panel.cells.mean[:, :, kept], ss[:, :, kept]),
        occasions=panel.occasions[kept],
        follow_up=panel.follow_up[kept],
    )
    for settings in (HUSSEY_HUGHES, EXCHANGEABLE):
        first, second = (estimate(p, **settings) for p in (gap, rest))
        np.testing.assert_allclose(first.p_value, second.p_value, rtol=1e-8)


def test_size_is_kept_where_authorities_go_their_own_ways() -> None:
    """Slopes that differ are mistaken for effects where a model has none, and are not where it has."""
    rng = np.random.default_rng(9)
    n = rng.integers(4, 12, (1, 12, 5)).astype(float)
    panel = wedge(1_000, n, (0.3, 0.0))
    lines = 0.8 * rng.normal(size=(1_000, 12, 1)) * np.arange(5)
    panel = replace(panel, cells=replace(panel.cells, mean=panel.cells.mean + lines))
    error = 4 * np.sqrt(0.05 * 0.95 / 1_000)
    assert (estimate(panel, **HUSSEY_HUGHES).p_value <= 0.05).mean() > 0.1
    for slopes in ("uncorrelated", "correlated"):
        answer = estimate(panel, **HUSSEY_HUGHES, random_slopes=slopes, df="kenward_roger")
        assert answer.failed.mean() < 0.005
        assert (answer.p_value <= 0.05).mean() == pytest.approx(0.05, abs=error)


def test_correlated_slopes_do_not_depend_on_when_time_begins() -> None:
    """Level and slope of a line are correlated in another way elsewhere, and uncorrelated at one time only."""
    panel = wedge(20, np.full((1, 8, 5), 6.0), (0.5, 0.0))
    rng = np.random.default_rng(3)
    lines = 0.3 * rng.normal(size=(20, 8, 1)) * np.arange(5)
    panel = replace(panel, cells=replace(panel.cells, mean=panel.cells.mean + lines))
    families = Families.by_occasion(panel, ())
    moments, authority = families.moments("authority", by_occasion=True), np.repeat(np.arange(8), 5)
    for correlated in (True, False):
        first, second = (
            fit_random_slopes(moments, authority, np.tile(time, 8), correlated=correlated, by_occasion=False)
            for time in (np.arange(5.0), np.arange(5.0) - 2)
        )
        same = np.abs(first.criterion - second.criterion) < 1e-6
        assert same.all() == correlated
        if correlated:
            np.testing.assert_allclose(first.estimate, second.estimate, rtol=1e-4, atol=1e-6)


def test_staggered_starts_need_effects_of_occasions() -> None:
    """Without them what is treated and what is late could not be told apart."""
    panel = wedge(3, np.full((1, 6, 4), 5.0), (0.4, 0.2))
    with pytest.raises(ValueError, match="period_effects = true"):
        estimate(panel)
    assert not estimate(panel, **HUSSEY_HUGHES).failed.any()
    one = replace(
        panel,
        cells=Cells(panel.cells.n[:, :, 1:2], panel.cells.mean[:, :, 1:2], panel.cells.ss[:, :, 1:2]),
        occasions=panel.occasions[1:2],
        follow_up=panel.follow_up[1:2],
    )
    with pytest.raises(ValueError, match="several occasions"):
        estimate(one, **HUSSEY_HUGHES)
    assert MixedModel(period_effects=True).needs_before
    assert MixedModel(period_effects=True).staggered
    assert not MixedModel().needs_before


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"authority_by_occasion": True}, "needs period_effects"),
        ({"random_slopes": "correlated"}, "needs period_effects"),
        (
            HUSSEY_HUGHES | {"random_slopes": "uncorrelated", "levels": ["authority", "team"]},
            "authority alone",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], reason: str) -> None:
    """A setting without effect would be believed to have one."""
    with pytest.raises(ValidationError, match=reason):
        MixedModel.model_validate(settings)


def test_the_convention_says_what_of_an_authority_is_random() -> None:
    """Whoever reads the answer must be able to tell a model with slopes from one without."""
    told = [
        MixedModel.model_validate(HUSSEY_HUGHES | {"random_slopes": s}).convention
        for s in (None, "correlated")
    ]
    assert "slope" not in told[0]
    assert "correlated random slope" in told[1]
