"""Effects by exposure time agree with lmer's contrasts, recover what grows, and fail where nothing tells them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.analysis import analyse
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.exposure_time import exposure_of
from design_sim.estimators.mixed_model import MixedModel
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.theory.wedge import wedge_design, wedge_variance

REFERENCE = Path(__file__).parents[1] / "reference"
RNG = np.random.default_rng(0)
PERIODS: dict[str, Any] = {"period_effects": True}
EXCHANGEABLE = PERIODS | {"authority_by_occasion": True}
MODELS: dict[str, dict[str, Any]] = {
    "sw_9x4 hussey_hughes": PERIODS,
    "sw_9x4 nested_exchangeable": EXCHANGEABLE,
    "wedge_unb hussey_hughes": PERIODS | {"covariates": ["x"]},
    "wedge_unb nested_exchangeable": EXCHANGEABLE,
    "wedge_unb nested_exchangeable_x": EXCHANGEABLE | {"covariates": ["x"]},
    "wedge_unb slopes": PERIODS | {"random_slopes": "uncorrelated"},
    "wedge_unb slopes_correlated": PERIODS | {"random_slopes": "correlated"},
    "wedge_unb slopes_by_occasion": EXCHANGEABLE | {"random_slopes": "uncorrelated", "covariates": ["x"]},
}
EFFECTS = ("by_exposure_time", "longest_exposure")


def wedge(start: list[int], mean: Floats, n: Floats) -> Panel:
    """Authorities by occasions, (replicate, authority, occasion), with outcomes that vary within cells."""
    n_authorities, n_occasions = n.shape[1:]
    return Panel(
        roster=Roster.of_authorities(n_authorities),
        cells=Cells(n, np.where(n > 0, mean, np.nan), np.maximum(n - 1, 0.0)),
        start=np.array([start]),
        occasions=np.arange(n_occasions),
        follow_up=np.arange(n_occasions) > 0,
        law=complete_randomisation(n_authorities, 1),
    )


def expected_of(start: list[int], n_occasions: int, effects: list[float]) -> Floats:
    """Means without noise: occasions differ, and a treated authority has the effect of its exposure time."""
    since = np.arange(n_occasions) - np.array(start)[:, np.newaxis]
    effect = np.array([0.0, *effects])[np.clip(since + 1, 0, len(effects))]
    return (np.sin(np.arange(n_occasions)) + effect)[np.newaxis]


def drawn(n_replicates: int, start: list[int], expected: Floats, n: Floats, seed: int = 1) -> Panel:
    """Wedges around expected means: authorities and their occasions differ, and so do families."""
    rng = np.random.default_rng(seed)
    shape = (n_replicates, *n.shape[1:])
    mean = expected + 0.4 * rng.normal(size=(*shape[:2], 1)) + 0.2 * rng.normal(size=shape)
    mean = mean + rng.normal(size=shape) / np.sqrt(np.maximum(n, 1))
    ss = rng.chisquare(np.maximum(n - 1, 1e-9), shape) * (n > 1)
    panel = wedge(start, mean, n)
    return replace(panel, cells=Cells(n, panel.cells.mean, ss))


def estimate(panel: Panel, **settings: Any) -> Estimates:
    return MixedModel.model_validate(settings).estimate(panel, RNG)


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("model", MODELS)
def test_tables_give_the_contrasts_of_lmer(model: str, effect: str) -> None:
    """The answer is a coefficient here and a contrast of coefficients there, by both small-sample rules."""
    data, key = model.split()
    lmer = json.loads((REFERENCE / "point" / "exposure_time.json").read_text())["lmer"][data][key]
    authority, occasion = ("cluster", "period") if data == "sw_9x4" else ("authority", "occasion")
    settings = MODELS[model] | {"effect": effect}
    covariates = settings.pop("covariates", [])
    for df in ("satterthwaite", "kenward_roger"):
        found = analyse(
            REFERENCE / "data" / f"{data}.csv",
            "mixed_model",
            outcome="y",
            treated="d",
            authority=authority,
            occasion=occasion,
            covariates=covariates,
            options=settings | {"df": df},
        )
        stated = lmer[effect][df]
        assert (found.status == "boundary") == lmer["singular"]
        assert found.estimate == pytest.approx(stated["estimate"], rel=1e-6)
        assert found.std_error == pytest.approx(stated["se"], rel=1e-6)
        assert found.df == pytest.approx(stated["df"], rel=1e-5)
        assert found.p_value == pytest.approx(stated["p"], rel=1e-5)


@pytest.mark.parametrize("effect", EFFECTS)
def test_one_exposure_time_is_an_immediate_effect(effect: str) -> None:
    """A parallel trial with a follow-up after a baseline has an average of one."""
    start = [1, 1, 1, NEVER, NEVER, NEVER, NEVER]
    n = np.random.default_rng(4).integers(3, 9, (1, 7, 2)).astype(float)
    panel = drawn(20, start, np.zeros((1, 7, 2)), n)
    for settings in (PERIODS, EXCHANGEABLE | {"df": "kenward_roger"}):
        first, second = estimate(panel, **settings), estimate(panel, effect=effect, **settings)
        np.testing.assert_array_equal(first.estimate, second.estimate)
        np.testing.assert_array_equal(first.p_value, second.p_value)


@pytest.mark.parametrize("settings", [PERIODS, EXCHANGEABLE, PERIODS | {"random_slopes": "uncorrelated"}])
def test_effects_without_noise_are_averaged_exactly(settings: dict[str, Any]) -> None:
    """Authorities that differ by nothing but what the model has leave no doubt, nor does a lost occasion.

    That nobody was observed at the fourth occasion leaves two authorities with the first and the third effect.
    """
    start, effects = [1, 1, 2, 2, 3, 3], [0.2, 0.5, 0.9, 1.6]
    n = np.full((1, 6, 5), 5.0)
    gap = n.copy()
    gap[:, :, 3] = 0
    lost = n.copy()
    lost[:, :2, 4] = 0
    average = {"by_exposure_time": [0.8, 0.8, 1.6 / 3], "longest_exposure": [1.6, 1.6, 0.9]}
    for effect in EFFECTS:
        for sizes, truth in zip((n, gap, lost), average[effect], strict=True):
            panel = wedge(start, expected_of(start, 5, effects), sizes)
            found = estimate(panel, effect=effect, **settings)
            assert found.estimate[0] == pytest.approx(truth, abs=1e-8)
        assert estimate(panel, **settings).estimate[0] != pytest.approx(truth, abs=0.05)


def test_exposure_is_counted_from_the_start_of_each_row() -> None:
    """Also over occasions that nobody was observed at."""
    treated = np.array([[[False, True, True, True], [False, False, False, True], [False] * 4]])
    assert exposure_of(treated).tolist() == [[[0, 1, 2, 3], [0, 0, 0, 1], [0, 0, 0, 0]]]


@pytest.mark.parametrize("settings", [PERIODS, EXCHANGEABLE, PERIODS | {"random_slopes": "correlated"}])
def test_one_replicate_gets_what_it_gets_among_many(settings: dict[str, Any]) -> None:
    """Equal cells and unequal ones, fixed and varying numbers take different routes to the same numbers."""
    start = [1, 1, 2, 2, 3, 3, 4, 4]
    panel = drawn(12, start, expected_of(start, 5, [0.1, 0.2, 0.3, 0.4]), np.full((1, 8, 5), 6.0))
    n = np.tile(panel.cells.n, (12, 1, 1))
    n[-1, 0, 0] += 1
    varying = replace(panel, cells=Cells(n, panel.cells.mean, panel.cells.ss))
    for df in ("satterthwaite", "kenward_roger"):
        many, other = (estimate(p, effect="by_exposure_time", df=df, **settings) for p in (panel, varying))
        assert not many.failed.any()
        cells = panel.cells
        assert cells.ss is not None
        single = replace(panel, cells=Cells(cells.n, cells.mean[3:4], cells.ss[3:4]))
        alone = estimate(single, effect="by_exposure_time", df=df, **settings)
        for field in ("estimate", "std_error", "df", "p_value"):
            ours = getattr(many, field)
            np.testing.assert_allclose(ours[:-1], getattr(other, field)[:-1], rtol=1e-6, atol=1e-9)
            assert getattr(alone, field)[0] == pytest.approx(ours[3], rel=1e-9)


def rank_of(start: list[int], n: Floats) -> int:
    """How many of the columns of occasions and exposure times are independent where anybody was observed."""
    n_occasions = n.shape[2]
    since = np.arange(n_occasions) - np.array(start)[:, np.newaxis] + 1
    exposed = since.ravel()[:, np.newaxis] == np.arange(1, since.max() + 1)
    design = np.hstack([np.tile(np.eye(n_occasions), (len(start), 1)), exposed])
    return int(np.linalg.matrix_rank(design[n.ravel() > 0]))


ROUTES = [
    PERIODS,
    PERIODS | {"levels": ["authority", "worker"]},
    EXCHANGEABLE,
    PERIODS | {"random_slopes": "uncorrelated"},
]


@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("settings", ROUTES)
def test_an_exposure_time_that_nothing_is_compared_with_is_singular(
    settings: dict[str, Any], varying: bool
) -> None:
    """At the last occasion only those are observed who have their longest exposure: it is that occasion's effect.

    An immediate effect is told apart at the occasion before. Of five columns four are independent, and lmer
    drops the last.
    """
    start = [1, 1, 1, 2, 2, 2]
    n = np.full((1, 6, 3), 5.0)
    n[:, 3:, 2] = 0
    assert rank_of(start, n) == 3 + 2 - 1
    panel = drawn(4, start, np.zeros((1, 6, 3)), n)
    roster = Roster(np.arange(6), np.arange(6), np.arange(6))
    if "levels" in settings:
        roster = Roster(np.repeat(np.arange(6), 3), np.repeat(np.arange(6), 3), np.arange(18))
        cells = panel.cells
        assert cells.ss is not None
        mean = np.repeat(cells.mean, 3, axis=1) + 0.3 * np.random.default_rng(1).normal(size=(4, 18, 1))
        panel = replace(
            panel,
            roster=roster,
            cells=Cells(np.repeat(n, 3, axis=1), mean, np.repeat(cells.ss, 3, axis=1)),
        )
    if varying:
        sizes = np.tile(panel.cells.n, (4, 1, 1))
        sizes[-1, 0, 0] += 1
        panel = replace(panel, cells=Cells(sizes, panel.cells.mean, panel.cells.ss))
    assert not estimate(panel, **settings).failed.any()
    for effect in EFFECTS:
        assert (estimate(panel, effect=effect, **settings).status == Status.SINGULAR).all()


def test_the_last_period_of_a_wedge_tells_the_longest_exposure_from_shorter_ones() -> None:
    """All are treated then: the longest effect is known from the difference to one that is known itself."""
    start, effects, n = [1, 2, 3, 1, 2, 3], [0.3, 0.6, 2.0], np.full((1, 6, 4), 5.0)
    assert rank_of(start, n) == 4 + 3
    panel = wedge(start, expected_of(start, 4, effects), n)
    for settings in (PERIODS, EXCHANGEABLE):
        assert estimate(panel, effect="longest_exposure", **settings).estimate[0] == pytest.approx(2.0)


def test_an_effect_that_comes_late_turns_the_sign_of_the_immediate_model_and_not_of_the_average() -> None:
    """The immediate model takes those long exposed for what their occasion is without the framework.

    Kenny and others (2022): its weights of long exposures are negative. Effects here are 0 or more.
    """
    start, effects = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5], [0.0, 0.0, 0.0, 0.5, 2.5]
    truth, n = 0.6, np.full((1, 10, 6), 10.0)
    panel = drawn(2_000, start, expected_of(start, 6, effects), n, seed=8)
    for settings in (PERIODS, EXCHANGEABLE):
        answers = {e: estimate(panel, effect=e, **settings) for e in ("immediate", *EFFECTS)}
        found = {e: a.estimate.mean() for e, a in answers.items()}
        error = {e: a.estimate.std() / np.sqrt(2_000) for e, a in answers.items()}
        assert found["immediate"] < -4 * error["immediate"]
        assert found["by_exposure_time"] == pytest.approx(truth, abs=4 * error["by_exposure_time"])
        assert found["longest_exposure"] == pytest.approx(2.5, abs=4 * error["longest_exposure"])


def test_the_average_scatters_as_theory_says_and_intervals_cover_it_as_often_as_they_say() -> None:
    """Generalised least squares with known variances, about twice the variance of an immediate effect's.

    Nineteen intervals in twenty hold the average, with Kenward and Roger's rule in the model that is true.
    """
    start, effects = np.repeat([1, 2, 3, 4], 6).tolist(), [0.2, 0.4, 0.6, 0.8]
    panel = drawn(2_000, start, expected_of(start, 5, effects), np.full((1, 24, 5), 8.0), seed=5)
    answer = estimate(panel, effect="by_exposure_time", df="kenward_roger", **EXCHANGEABLE)
    covered = ((answer.ci_low <= 0.5) & (answer.ci_high >= 0.5)).mean()
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / 2_000))
    covariance = 0.16 + (0.04 + 1 / 8) * np.eye(5)
    theory, immediate = (wedge_variance(wedge_design([6] * 4), covariance, w) for w in ([0.25] * 4, None))
    assert answer.estimate.var() == pytest.approx(theory, rel=4 * np.sqrt(2 / 2_000))
    assert theory == pytest.approx(2 * immediate, rel=0.1)


def test_effects_by_exposure_need_occasions_told_apart() -> None:
    """Otherwise the setting would be believed to have an effect; and the convention tells one from another."""
    with pytest.raises(ValidationError, match="needs period_effects = true"):
        MixedModel(effect="by_exposure_time")
    told = {MixedModel(effect=e, period_effects=True).convention for e in ("immediate", *EFFECTS)}  # type: ignore[arg-type]
    assert len(told) == 3
