"""Drawn wedges scatter as generalised least squares say: whatever lasts of authorities, and in batches."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators import ESTIMATORS
from design_sim.estimators.mixed_model import MixedModel
from design_sim.panel import Panel
from design_sim.simulate import carry_out
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.theory import cell_mean_covariance, wedge_design, wedge_variance
from design_sim.world.draw import draw_world

TEXT = """
replicates = 1
window = [0, 12]
[world]
authorities = 24
uptake = 1.0
time = {years_before = 1, years_after = 9}
size = {log_sd = 0.0}
fidelity = {mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}
[outcomes.y]
kind = "continuous"
source = "record"
effect = 0.5
authority_sd = 0.4
family_sd = 1.0
per_10000_children = 3.0
memory = MEMORY
[designs.wedge]
kind = "stepped_wedge"
outcome = "y"
authorities = 16
DESIGN
answers.mixed = {estimator = "mixed_model", period_effects = true, estimand = "offered"}
"""
N = 4_000
MEMORIES = {
    "lasting": (1.0, 0.0),
    "nested exchangeable": (0.6, 0.0),
    "decay": (0.0, 0.6),
    "both": (0.3, 0.5),
}
WEDGE, BATCHES = "steps = 4", "steps = 4\nbatches = 2\nbetween_batches = "


def drawn(design: str, memory: tuple[float, float] = (0.6, 0.0)) -> Panel:
    """The wedge on so many worlds."""
    share, last = memory
    text = TEXT.replace("DESIGN", design)
    text = text.replace("MEMORY", f"{{permanent_share = {share}, autocorrelation = {last}}}")
    scenario = parse(text, "wedge").cases[0].scenario
    world = draw_world(scenario.world, scenario.outcomes, N, Streams(3, 0))
    return carry_out(scenario, scenario.studies["wedge"], world).stated


def covariance_of(panel: Panel, share: float, last: float) -> Floats:
    """Of the occasions of each authority of the first replicate, (authority, occasion, occasion)."""
    lag = np.abs(np.subtract.outer(panel.occasions, panel.occasions))
    one = share + (1 - share) * np.where(lag == 0, 1.0, last**lag)
    n = np.maximum(panel.cells.n[0], 1)
    return 0.16 * one + np.eye(lag.shape[0]) / n[:, :, np.newaxis]


def least_squares(panel: Panel, covariance: Floats) -> Floats:
    """The effect by generalised least squares with known variances, (replicate,): the slow and obvious way."""
    n_replicates, _, n_occasions = panel.cells.mean.shape
    information, moments = np.zeros((n_occasions + 1,) * 2), np.zeros((n_occasions + 1, n_replicates))
    for unit, matrix in enumerate(covariance):
        seen = panel.cells.n[0, unit] > 0
        x = np.column_stack([np.eye(n_occasions), panel.treated[0, unit]])[seen]
        weighted = np.linalg.solve(matrix[np.ix_(seen, seen)], x)
        information += x.T @ weighted
        moments += weighted.T @ panel.cells.mean[:, unit, seen].T
    return np.linalg.solve(information, moments)[-1]


def treated_of(panel: Panel) -> Floats:
    """0 or 1, nan where not observed, (authority, occasion)."""
    return np.where(panel.cells.n[0] > 0, panel.treated[0].astype(float), np.nan)


def agrees(found: Floats, variance: float) -> None:
    """Its mean is the effect, and its variance the one foretold, within four Monte Carlo standard errors."""
    assert found.mean() == pytest.approx(0.5, abs=4 * found.std() / np.sqrt(N))
    assert found.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / N))


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
def test_wedges_scatter_as_their_authorities_memory_says(memory: tuple[float, float]) -> None:
    """Hussey and Hughes' model, the nested exchangeable and the discrete-time decay model, and a mixture."""
    panel = drawn(WEDGE, memory)
    covariance = covariance_of(panel, *memory)
    design = wedge_design([4] * 4)
    np.testing.assert_array_equal(treated_of(panel), design)
    if memory in ((0.6, 0.0), (0.0, 0.6)):
        structure = "decay" if memory[1] else "exchangeable"
        size = panel.cells.n[0, 0, 0]
        stated = cell_mean_covariance(
            size, 0.16, 1.0, n_periods=5, cluster_autocorrelation=0.6, structure=structure
        )
        np.testing.assert_allclose(covariance, np.broadcast_to(stated, covariance.shape), rtol=1e-12)
    agrees(least_squares(panel, covariance), wedge_variance(design, covariance))


def test_the_mixed_model_comes_near_the_variance_that_known_variances_give() -> None:
    """With sixteen authorities what is lost by estimating the variances is a few per cent."""
    panel = drawn(WEDGE)
    variance = wedge_variance(treated_of(panel), covariance_of(panel, 0.6, 0.0))
    model = MixedModel(period_effects=True, authority_by_occasion=True)
    found = model.estimate(panel, np.random.default_rng(0)).estimate
    assert found.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / N))
    assert found.mean() == pytest.approx(0.5, abs=4 * found.std() / np.sqrt(N))


@pytest.mark.parametrize("gap", [1, 3, 5, 7])
@pytest.mark.parametrize("memory", [(0.6, 0.0), (0.3, 0.5)])
def test_batches_scatter_as_least_squares_on_their_cells_say(gap: int, memory: tuple[float, float]) -> None:
    """Cells outside a batch's window are missing; batches overlap, touch, or leave occasions empty between."""
    panel = drawn(f"{BATCHES}{gap}" if gap < 7 else "steps = 2\nbatches = 2\nbetween_batches = 7", memory)
    covariance = covariance_of(panel, *memory)
    agrees(least_squares(panel, covariance), wedge_variance(treated_of(panel), covariance))


@pytest.mark.parametrize(
    "answer",
    [
        {"estimator": "mixed_model", "period_effects": True},
        {"estimator": "mixed_model", "period_effects": True, "effect": "by_exposure_time"},
        {"estimator": "two_way_fixed_effects", "weights": "family"},
        {"estimator": "gee"},
    ],
    ids=lambda answer: " ".join(map(str, answer.values())),
)
@pytest.mark.parametrize("gap", [3, 5])
def test_answers_read_batches_without_bias(answer: dict[str, Any], gap: int) -> None:
    """Empty cells are no data, and occasions are those of the calendar, whose trend is no effect."""
    panel = drawn(f"{BATCHES}{gap}")
    cells = panel.cells
    assert cells.ss is not None
    trend = np.sin(np.arange(panel.occasions.size))
    some = Cells(cells.n[:500], cells.mean[:500] + trend, cells.ss[:500])
    model = ESTIMATORS[answer["estimator"]](**answer)
    found = model.estimate(replace(panel, cells=some), np.random.default_rng(0))
    assert not found.failed.any()
    assert found.estimate.mean() == pytest.approx(0.5, abs=4 * found.estimate.std() / np.sqrt(500))


@pytest.mark.parametrize("gap", [5, 6])
def test_batches_that_do_not_overlap_are_worth_one_wedge_of_as_many_authorities(gap: int) -> None:
    """Whatever lies between them: every batch has occasions of its own (Kasza and others, 2022)."""
    text = TEXT.replace("years_after = 9", "years_after = 10").replace("DESIGN", f"{BATCHES}{gap}")
    text = text.replace("MEMORY", "{permanent_share = 1.0}")
    scenario = parse(text, "wedge").cases[0].scenario
    world = draw_world(scenario.world, scenario.outcomes, 1, Streams(3, 0))
    panel = carry_out(scenario, scenario.studies["wedge"], world).stated
    one = cell_mean_covariance(panel.cells.n[0, 0, 0], 0.16, 1.0, n_periods=5)
    apart = wedge_variance(treated_of(panel), covariance_of(panel, 1.0, 0.0))
    assert apart == pytest.approx(wedge_variance(wedge_design([4] * 4), one), rel=1e-10)
