"""Families that are followed: mixed models agree with lmer, ANCOVA and change scores with plain regressions."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from pydantic import ValidationError

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators import ESTIMATORS
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.clustered_regression import ClusteredRegression
from design_sim.estimators.family_change import family_changes
from design_sim.estimators.mixed_model import MixedModel
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
LEVELS = ("authority", "family")
CLDA: dict[str, Any] = {"levels": LEVELS, "period_effects": True}
MODELS: dict[str, dict[str, Any]] = {
    "clda": CLDA,
    "clda_x": {**CLDA, "covariates": ("x",)},
    "clda_worker": {**CLDA, "levels": ("authority", "worker", "family")},
    "clda_team_worker": {**CLDA, "levels": ("authority", "team", "worker", "family")},
    "clda_by_occasion": {**CLDA, "authority_by_occasion": True},
    "clda_by_occasion_xw": {
        **CLDA,
        "levels": ("authority", "worker", "family"),
        "authority_by_occasion": True,
        "covariates": ("x",),
    },
    "workers_by_occasion": {
        "levels": ("authority", "worker"),
        "period_effects": True,
        "authority_by_occasion": True,
        "covariates": ("x",),
    },
    "follow_up": {"levels": LEVELS},
    "ancova": {"covariates": ("own_baseline",)},
    "ancova_family": {"levels": LEVELS, "covariates": ("own_baseline", "x")},
    "change": {"change": True},
    "change_x_worker": {"change": True, "levels": ("authority", "worker"), "covariates": ("x",)},
}
RNG = np.random.default_rng(0)


def table(name: str) -> dict[str, Floats]:
    """A reference set, by column."""
    with (REFERENCE / "data" / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {column: np.array([float(row[column]) for row in rows]) for column in rows[0]}


def family_panel(name: str, first_after: int | None = 1, outcome: str = "y") -> Panel:
    """A reference set with a row for each family that stands in it, and a column for each occasion.

    `first_after` is the first occasion of the follow-up; None where units start at different ones.
    """
    data = table(name)
    _, first, row = np.unique(data["family"], return_index=True, return_inverse=True)
    occasions = np.arange(int(data["occasion"].max()) + 1)
    at = row, data["occasion"].astype(int)
    n, mean = np.zeros((first.size, occasions.size)), np.full((first.size, occasions.size), np.nan)
    n[at], mean[at] = 1.0, data[outcome]
    levels = [
        np.unique(data[level][first], return_inverse=True)[1]
        for level in ("authority", "team", "worker")
        if level in data
    ]
    roster = Roster(*(levels if len(levels) == 3 else levels * 3))
    start = np.full(roster.n_units("authority"), NEVER)
    for authority in range(start.size):
        treated = data["occasion"][(data["d"] == 1) & (data["authority"] == authority + 1)]
        start[authority] = int(treated.min()) if treated.size else NEVER
    follow_up = occasions >= (first_after or 0)
    covariates = {"x": data["x"][first][np.newaxis]} if "x" in data else {}
    if first_after:
        covariates["own_baseline"] = mean[np.newaxis, :, 0]
    return Panel(
        roster=roster,
        cells=Cells(n[np.newaxis], mean[np.newaxis], np.zeros((1, *n.shape))),
        start=start[np.newaxis],
        occasions=occasions,
        follow_up=follow_up,
        law=complete_randomisation(start.size, int((start < NEVER).sum())),
        covariates=covariates,
    )


def of_follow_up(panel: Panel, occasion: int) -> Panel:
    """The panel with one follow-up occasion only."""
    kept = ~panel.follow_up | (panel.occasions == occasion)
    cells = panel.cells
    assert cells.ss is not None
    return Panel(
        roster=panel.roster,
        cells=Cells(cells.n[:, :, kept], cells.mean[:, :, kept], cells.ss[:, :, kept]),
        start=panel.start,
        occasions=panel.occasions[kept],
        follow_up=panel.follow_up[kept],
        law=panel.law,
        covariates=panel.covariates,
    )


def agrees(answer: Estimates, expected: dict[str, Any], df: str, tolerance: float) -> None:
    """Check an answer against lmer's."""
    judged = expected[df]
    assert answer.status[0] == (Status.BOUNDARY if expected["singular"] else Status.OK)
    assert answer.estimate[0] == pytest.approx(expected["estimate"], rel=1e-6)
    assert answer.std_error[0] == pytest.approx(judged["se"], rel=1e-6)
    assert answer.df[0] == pytest.approx(judged["df"], rel=tolerance)
    assert answer.p_value[0] == pytest.approx(judged["p"], rel=max(tolerance, 1e-4))


@pytest.mark.parametrize(("df", "tolerance"), [("satterthwaite", 1e-4), ("kenward_roger", 1e-5)])
@pytest.mark.parametrize("model", MODELS)
def test_followed_families_give_what_lmer_gives(model: str, df: Any, tolerance: float) -> None:
    """Constrained baselines, analyses of covariance and of changes, of an unbalanced cohort with losses."""
    expected = json.loads((REFERENCE / "point" / "cohort_unb.json").read_text())["lmer"][model]
    answer = MixedModel(df=df, **MODELS[model]).estimate(family_panel("cohort_unb"), RNG)
    agrees(answer, expected, df, tolerance)


@pytest.mark.parametrize(("df", "tolerance"), [("satterthwaite", 1e-4), ("kenward_roger", 1e-5)])
@pytest.mark.parametrize(
    ("model", "outcome", "by_occasion"),
    [("wedge", "y", False), ("wedge_by_occasion", "y", True), ("drifting", "drift", True)],
)
def test_a_wedge_of_followed_families_gives_what_lmer_gives(
    model: str, outcome: str, by_occasion: bool, df: Any, tolerance: float
) -> None:
    """Families of six authorities that start at different occasions, and may change at each."""
    expected = json.loads((REFERENCE / "point" / "cohort_wedge.json").read_text())["lmer"][model]
    panel = family_panel("cohort_wedge", None, outcome)
    answer = MixedModel(df=df, authority_by_occasion=by_occasion, **CLDA).estimate(panel, RNG)
    agrees(answer, expected, df, tolerance)


def test_many_trials_are_fitted_as_one_by_one() -> None:
    """A replicate's answer does not depend on the others, some of which lack other families."""
    panel, rng = family_panel("cohort_unb"), np.random.default_rng(4)
    n = panel.cells.n * (rng.random((3, *panel.cells.n.shape[1:])) < 0.9)
    mean = np.where(n > 0, panel.cells.mean + rng.normal(size=n.shape), np.nan)
    model = MixedModel(authority_by_occasion=True, **CLDA)
    together = model.estimate(replace(panel, cells=Cells(n, mean, np.zeros((1, *n.shape[1:])))), RNG)
    for at in range(3):
        cells = Cells(n[at : at + 1], mean[at : at + 1], np.zeros((1, *n.shape[1:])))
        alone = model.estimate(replace(panel, cells=cells), RNG)
        for name in ("estimate", "std_error", "df"):
            assert getattr(alone, name)[0] == pytest.approx(getattr(together, name)[at], rel=1e-7)


def test_families_that_never_differ_have_no_answer() -> None:
    """Outcomes that every family repeats to the digit leave no residual variance."""
    panel = family_panel("cohort_unb")
    same = np.where(panel.cells.n > 0, panel.roster.worker[np.newaxis, :, np.newaxis] * 1.0, np.nan)
    flat = replace(panel, cells=replace(panel.cells, mean=same))
    for by_occasion in (False, True):
        answer = MixedModel(authority_by_occasion=by_occasion, **CLDA).estimate(flat, RNG)
        assert answer.status[0] == Status.NO_VARIATION


def regression(outcome: Floats, columns: list[Floats], cluster: Floats) -> Any:
    """Least squares with CR1 standard errors, by statsmodels."""
    model = sm.OLS(outcome, np.column_stack([np.ones(outcome.size), *columns]))
    return model.fit(cov_type="cluster", cov_kwds={"groups": cluster})


@pytest.mark.parametrize("occasion", [1, 2])
def test_own_baselines_are_adjusted_for_as_statsmodels_does(occasion: int) -> None:
    """The families seen at the baseline and at the follow-up, one by one, and no others."""
    data = table("cohort_unb")
    before = {
        int(f): y for f, o, y in zip(data["family"], data["occasion"], data["y"], strict=True) if o == 0
    }
    rows = [
        (data["y"][i], data["treat"][i], before[int(data["family"][i])], data["authority"][i])
        for i in range(data["y"].size)
        if data["occasion"][i] == occasion and int(data["family"][i]) in before
    ]
    y, treat, own, cluster = (np.array(column) for column in zip(*rows, strict=True))
    expected = regression(y, [treat, own], cluster)
    panel = of_follow_up(family_panel("cohort_unb"), occasion)
    model = ClusteredRegression(variance="CR1S", covariates=("own_baseline",))
    answer = model.estimate(panel, RNG)
    assert answer.estimate[0] == pytest.approx(expected.params[1], rel=1e-10)
    assert answer.std_error[0] == pytest.approx(expected.bse[1], rel=1e-8)
    assert model.coefficients(panel)["own_baseline"][0] == pytest.approx(expected.params[2], rel=1e-10)
    working = {"working": "independence", "variance": "robust"}
    gee = ESTIMATORS["gee"](covariates=("own_baseline",), **working).estimate(panel, RNG)  # type: ignore[call-arg]
    assert gee.estimate[0] == pytest.approx(expected.params[1], rel=1e-8)


def test_changes_are_those_of_families_seen_on_both_sides() -> None:
    """In plain loops: the mean after less the mean before of each; the others do not count."""
    data, panel = table("cohort_unb"), family_panel("cohort_unb")
    changes, treat, cluster = [], [], []
    for family in np.unique(data["family"]):
        own = data["family"] == family
        before, after = own & (data["occasion"] == 0), own & (data["occasion"] > 0)
        if before.any() and after.any():
            changes.append(data["y"][after].mean() - data["y"][before].mean())
            treat.append(data["treat"][after][0])
            cluster.append(data["authority"][after][0])
    found = family_changes(panel)
    seen = found.cells.n[0, :, 0] == 1
    assert found.cells.mean[0, seen, 0] == pytest.approx(np.array(changes), rel=1e-12)
    assert found.cells.n.sum() < panel.roster.n_rows
    expected = regression(np.array(changes), [np.array(treat)], np.array(cluster))
    answer = ClusteredRegression(variance="CR1S", change=True).estimate(panel, RNG)
    assert answer.estimate[0] == pytest.approx(expected.params[1], rel=1e-10)
    assert answer.std_error[0] == pytest.approx(expected.bse[1], rel=1e-8)
    plain = ClusteredRegression(variance="naive", change=True).estimate(panel, RNG)
    ols = sm.OLS(np.array(changes), np.column_stack([np.ones(len(treat)), treat])).fit()
    assert plain.std_error[0] == pytest.approx(ols.bse[1], rel=1e-8)


def test_a_change_adjusted_for_x_has_x_of_changes() -> None:
    """Coefficients are of the regression that is tested."""
    data, panel = table("cohort_unb"), family_panel("cohort_unb")
    changed = family_changes(panel)
    seen = changed.cells.n[0, :, 0] == 1
    treat = np.isin(panel.roster.authority, np.unique(data["authority"][data["treat"] == 1]).astype(int) - 1)
    columns = np.column_stack([np.ones(seen.sum()), treat[seen], panel.covariates["x"][0, seen]])
    expected = np.linalg.lstsq(columns, changed.cells.mean[0, seen, 0], rcond=None)[0]
    model = ClusteredRegression(change=True, covariates=("x",))
    assert model.coefficients(panel)["x"][0] == pytest.approx(expected[2], rel=1e-8)
    assert model.estimate(panel, RNG).estimate[0] == pytest.approx(expected[1], rel=1e-8)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"change": True, "period_effects": True}, "change leaves no occasions"),
        ({"change": True, "levels": LEVELS}, "levels cannot hold family"),
        ({"levels": ("family", "authority")}, "any of team, worker, family in this order"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], said: str) -> None:
    """A family's change is one number."""
    with pytest.raises(ValidationError, match=said):
        MixedModel(**settings)


def test_changes_of_cells_and_without_a_baseline_are_refused() -> None:
    """Rows of several families have no family's change."""
    panel = family_panel("cohort_unb")
    workers = panel.roster.above("worker")
    cells = panel.cells.pool(panel.roster, "worker")
    several = Panel(workers, cells, panel.start, panel.occasions, panel.follow_up, panel.law)
    with pytest.raises(ValueError, match="rows hold several"):
        ClusteredRegression(change=True).estimate(several, RNG)
    late = Panel(panel.roster, panel.cells, panel.start, panel.occasions, np.ones(3, dtype=bool), panel.law)
    with pytest.raises(ValueError, match="needs an occasion before the start"):
        MixedModel(change=True).estimate(late, RNG)
