"""Mixed models of teams and workers agree with lmer, count what they should, and fail as they say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Bools, Floats
from design_sim.cells import Cells
from design_sim.errors import ScenarioError
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.cluster_means import ClusterMeans
from design_sim.estimators.mixed_model import MixedModel
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.scenario import Scenario
from design_sim.simulate import carry_out
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import draw_world

REFERENCE = Path(__file__).parents[1] / "reference"
MODELS: dict[str, dict[str, Any]] = {
    "worker": {"levels": ("authority", "worker")},
    "worker_x": {"levels": ("authority", "worker"), "covariates": ("x",)},
    "team": {"levels": ("authority", "team")},
    "team_worker": {"levels": ("authority", "team", "worker")},
    "team_worker_xw": {"levels": ("authority", "team", "worker"), "covariates": ("x", "w")},
    "flat_worker": {"levels": ("authority", "worker")},
    "flat_team_worker": {"levels": ("authority", "team", "worker"), "covariates": ("x",)},
}
RNG = np.random.default_rng(0)


def panel_of(
    roster: Roster,
    n: Floats,
    mean: Floats,
    ss: Floats,
    treated: Bools,
    covariates: dict[str, Floats] | None = None,
) -> Panel:
    """A panel of one occasion; arrays (replicate, row), treated (authority,)."""
    return Panel(
        roster=roster,
        cells=Cells(n[:, :, np.newaxis], mean[:, :, np.newaxis], ss[:, :, np.newaxis]),
        start=np.where(treated, 0, NEVER)[np.newaxis],
        occasions=np.array([0]),
        follow_up=np.array([True]),
        law=complete_randomisation(treated.size, int(treated.sum())),
        covariates=covariates or {},
    )


def family_panel(name: str, outcome: str, covariates: tuple[str, ...]) -> Panel:
    """A reference set with a row for each family."""
    data = np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)
    authority, team, worker = (
        np.cumsum(np.diff(data[level], prepend=data[level][0]) != 0)
        for level in ("authority", "team", "worker")
    )
    first = np.unique(authority, return_index=True)[1]
    return panel_of(
        Roster(authority, team, worker),
        np.ones((1, data.size)),
        data[outcome][np.newaxis],
        np.zeros((1, data.size)),
        data["treat"][first] == 1,
        {x: data[x][np.newaxis] for x in covariates},
    )


def random_panel(n_replicates: int, n_workers: int, sds: tuple[float, float], lost: float = 0.0) -> Panel:
    """Trials of six authorities with rows of workers, of five families each but for those lost."""
    rng = np.random.default_rng(3)
    authority = np.repeat(np.arange(6), n_workers)
    shape = (n_replicates, authority.size)
    n = rng.binomial(5, 1 - lost, shape).astype(float) if lost else np.full((1, authority.size), 5.0)
    each = np.broadcast_to(n, shape)
    mean = sds[0] * rng.normal(size=(n_replicates, 6))[:, authority] + sds[1] * rng.normal(size=shape)
    mean += rng.normal(size=shape) / np.sqrt(np.maximum(each, 1))
    ss = rng.chisquare(np.maximum(each - 1, 1e-9)) * (each > 1)
    index = np.arange(authority.size)
    roster = Roster(authority, index, index)
    return panel_of(roster, n, np.where(each > 0, mean, np.nan), ss, np.arange(6) < 3)


def estimate(panel: Panel, **settings: Any) -> Estimates:
    return MixedModel(**settings).estimate(panel, RNG)


@pytest.mark.parametrize("model", MODELS)
def test_family_rows_give_what_lmer_gives(model: str) -> None:
    """The same model on the same unbalanced families; two of them at the boundary, by lmerTest's rule."""
    expected = json.loads((REFERENCE / "point" / "nested_unb.json").read_text())["lmer"][model]
    settings = MODELS[model]
    outcome = "flat" if model.startswith("flat") else "y"
    panel = family_panel("nested_unb", outcome, settings.get("covariates", ()))
    for df, tolerance in (("satterthwaite", 1e-4), ("kenward_roger", 1e-5)):
        answer, judged = estimate(panel, df=df, **settings), expected[df]
        assert answer.status[0] == (Status.BOUNDARY if expected["singular"] else Status.OK)
        assert answer.estimate[0] == pytest.approx(expected["estimate"], rel=1e-6)
        assert answer.std_error[0] == pytest.approx(judged["se"], rel=1e-6)
        assert answer.df[0] == pytest.approx(judged["df"], rel=tolerance)
        assert answer.p_value[0] == pytest.approx(judged["p"], rel=tolerance)


@pytest.mark.parametrize(
    ("model", "levels"), [("two_level_authority", ("authority",)), ("three_level", ("authority", "worker"))]
)
def test_families_seen_twice_give_what_lmer_gives(model: str, levels: tuple[str, ...]) -> None:
    """A regressor may vary within a worker's families, as the occasion does here."""
    expected = json.loads((REFERENCE / "point" / "nested5_a.json").read_text())["lmer"][model]
    panel = family_panel("nested5_a", "y", ("occasion", "x"))
    for df in ("satterthwaite", "kenward_roger"):
        answer = estimate(panel, df=df, levels=levels, covariates=("occasion", "x"))
        std_error = (expected if df == "satterthwaite" else expected[df])["se"]["treat"]
        assert answer.estimate[0] == pytest.approx(expected["estimate"]["treat"], rel=1e-6)
        assert answer.std_error[0] == pytest.approx(std_error, rel=1e-6)
        assert answer.df[0] == pytest.approx(expected[df]["df"]["treat"], rel=1e-5)


@pytest.mark.parametrize("covariates", [(), ("x", "w")])
def test_worker_cells_give_what_family_rows_give(covariates: tuple[str, ...]) -> None:
    """Number, mean and sum of squares are all that is read of families whose regressors are the same."""
    families = family_panel("nested_unb", "y", covariates)
    first = np.unique(families.roster.worker, return_index=True)[1]
    in_worker = {
        name: families.roster.pool(x, "worker") / np.bincount(families.roster.worker)
        for name, x in families.covariates.items()
    }
    spread = {name: families.roster.spread(x, "worker") for name, x in in_worker.items()}
    roster = Roster(families.roster.authority[first], families.roster.team[first], np.arange(first.size))
    cells = families.cells.pool(families.roster, "worker")
    assert cells.ss is not None
    treated = families.treated_authority[0]
    workers = panel_of(roster, cells.n[:, :, 0], cells.mean[:, :, 0], cells.ss[:, :, 0], treated, in_worker)
    rows = panel_of(
        families.roster, *(part[:, :, 0] for part in (families.cells.n, families.cells.mean)), np.zeros((1, 185)),
        treated, spread,
    )  # fmt: skip
    for levels in (("authority",), ("authority", "team"), ("authority", "team", "worker")):
        by_family, by_worker = (estimate(p, levels=levels, covariates=covariates) for p in (rows, workers))
        for field in ("estimate", "std_error", "df", "p_value"):
            assert getattr(by_worker, field)[0] == pytest.approx(getattr(by_family, field)[0], rel=1e-7)


def test_equal_workers_give_the_t_test_on_authority_means() -> None:
    """With equal numbers at every level the authorities' means are all that treatment is judged by."""
    panel = random_panel(400, 4, (0.6, 0.5))
    mixed, means = estimate(panel, levels=("authority", "worker")), ClusterMeans().estimate(panel, RNG)
    inside = mixed.status == Status.OK
    assert 0.5 < inside.mean() < 1
    np.testing.assert_allclose(mixed.estimate, means.estimate, rtol=1e-10)
    np.testing.assert_allclose(mixed.p_value[inside], means.p_value[inside], rtol=1e-9)
    adjusted = estimate(panel, levels=("authority", "worker"), df="kenward_roger")
    np.testing.assert_allclose(adjusted.df, 4)
    np.testing.assert_allclose(adjusted.p_value[inside], means.p_value[inside], rtol=1e-9)


def test_authorities_that_seem_alike_are_tested_by_their_workers() -> None:
    """lmerTest's rule at the boundary: 24 workers less 2 means, or 120 families less 2 where they are alike, too."""
    answer = estimate(random_panel(400, 4, (0.0, 0.4)), levels=("authority", "worker"))
    edge = answer.status == Status.BOUNDARY
    assert 0.2 < edge.mean() < 0.8
    assert set(np.round(answer.df[edge])) == {4, 22, 118}
    assert set(np.round(answer.df[~edge])) == {4}


def test_size_is_kept_where_families_are_lost() -> None:
    """Between authorities that differ by more than their workers, both tests reject about one null in twenty."""
    panel = random_panel(4_000, 5, (0.5, 0.5), lost=0.3)
    for df, low, high in (("satterthwaite", 0.03, 0.07), ("kenward_roger", 0.03, 0.06), ("normal", 0.1, 0.2)):
        answer = estimate(panel, levels=("authority", "worker"), df=df)
        assert not answer.failed.any()
        error = 4 * np.sqrt(0.05 * 0.95 / 4_000)
        assert low - error <= (answer.p_value <= 0.05).mean() <= high + error


@pytest.mark.parametrize("levels", [[], ["worker"], ["worker", "authority"], ["authority", "worker", "team"]])
def test_levels_go_from_the_authority_down(levels: list[str]) -> None:
    """The model has random intercepts of nested units, of which the authorities are the largest."""
    with pytest.raises(ValidationError, match="authority, and below it"):
        MixedModel.model_validate({"levels": levels})


def test_a_panel_that_does_not_tell_workers_apart_is_an_error() -> None:
    """Rows of authorities cannot say how much workers differ."""
    panel = panel_of(
        Roster.of_authorities(6),
        np.full((1, 6), 9.0),
        RNG.normal(size=(2, 6)),
        np.full((2, 6), 8.0),
        np.arange(6) < 3,
    )
    with pytest.raises(ValueError, match="one worker in every authority"):
        estimate(panel, levels=("authority", "worker"))


SCENARIO = """
[world]
authorities = 12
[outcomes.y]
kind = "continuous"
source = "survey"
effect = 0.0
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 6
sample = {sample}
answers.model = {{estimator = "mixed_model", levels = {levels}, estimand = "offered"}}
"""


def scenario_of(sample: str, levels: str) -> Scenario:
    return parse(SCENARIO.format(sample=sample, levels=levels), "test").cases[0].scenario


def test_workers_are_drawn_where_an_answer_tells_them_apart() -> None:
    """Also where they do not differ, since whoever analyses the study cannot know that."""
    scenario = scenario_of("{teams = 2, workers = 3, families = 4}", '["authority", "worker"]')
    streams = Streams(1, 0)
    world = draw_world(scenario.world, scenario.outcomes, 64, streams)
    _, panel, *_ = carry_out(scenario, scenario.studies["trial"], world)
    assert panel.roster.n_units("worker") == 36
    assert not estimate(panel, levels=("authority", "team", "worker")).failed.any()


@pytest.mark.parametrize(
    ("sample", "levels", "fault"),
    [
        ("{teams = 1, workers = 3, families = 4}", '["authority", "team"]', "one team in every authority"),
        (
            "{teams = 2, workers = 1, families = 4}",
            '["authority", "team", "worker"]',
            "one worker in every team",
        ),
        ("{teams = 1, workers = 3, families = 1}", '["authority", "worker"]', "one family in every worker"),
        ("{teams = 2, workers = 1, families = 1}", '["authority", "team"]', "one family in every team"),
    ],
)
def test_a_study_that_cannot_tell_a_level_apart_is_refused(sample: str, levels: str, fault: str) -> None:
    """Before anything is drawn, with the path of the setting."""
    with pytest.raises(ScenarioError) as caught:
        scenario_of(sample, levels)
    assert "designs.trial.answers.model.levels" in str(caught.value)
    assert fault in str(caught.value)
