"""Leavers: pilots that left are replaced by the authorities, and with the outcomes, that a plain loop finds."""

from typing import Any

import numpy as np
import pytest

from design_sim.arrays import Floats, Ints
from design_sim.errors import ScenarioError
from design_sim.leavers import reserves, stops_of, with_replacements
from design_sim.performance import measure
from design_sim.scenario import Scenario
from design_sim.simulate import analyse, carry_out, simulate
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import World, draw_world
from design_sim.world.practice import last_practised, offered_dose, usual_dose
from design_sim.world.settings import Memory

FILE = """
seed = 5

[world]
authorities = 60
uptake = 1.0
time = {{years_before = 2, years_after = 3}}
fidelity = {{mean = 0.8, authority_sd = 0.05, worker_sd = 0.0, years_to_80_percent = 0.0}}
informal = {{share = 0.6, fidelity = 0.3}}
{leaving}

[outcomes.days]
kind = "continuous"
source = "record"
effect = 1.0
authority_sd = 1.0
family_sd = 1e-5
quality_correlation = 0.8

[outcomes.score]
kind = "continuous"
source = "survey"
effect = 1.0
icc = {{authority = 0.9999, worker = 0.00005}}
quality_correlation = 0.8

[designs.pilots]
kind = "difference_in_differences"
outcome = "days"
adopters = 8
comparisons = 12
years_before = 1
years_after = 3
{record}

[designs.pilots.answers.t]
estimator = "cluster_means"
change = true
estimand = "offered"
weighted_by = "authority"

[designs.survey]
kind = "cluster_rct"
outcome = "score"
authorities = 20
sample = {{teams = 1, workers = 2, families = 5}}
{survey}

[designs.survey.answers.t]
estimator = "mixed_model"
estimand = "offered"
"""
LEAVING = "leaving = {new_leadership = 0.6, switch = 0.8}"


def scenario_of(rule: str = "", leaving: str = LEAVING) -> Scenario:
    """The file with a rule for leavers in both studies."""
    stated = f'measurement = {{leavers = "{rule}"}}' if rule else ""
    return parse(FILE.format(leaving=leaving, record=stated, survey=stated), "leavers").cases[0].scenario


def world_of(scenario: Scenario, n: int = 200) -> World:
    """A block of its worlds."""
    return draw_world(scenario.world, scenario.outcomes, n, Streams(scenario.seed, 0))


def stand_ins(world: World, unit: Ints, last: int) -> Ints:
    """Who stands in each slot of the study in the end, by a plain loop: (replicate, slot), eight pilots first."""
    stop = np.broadcast_to(last_practised(world)[0], (world.n_replicates, world.n_authorities))
    there = unit.copy()
    for replicate in range(world.n_replicates):
        outside = [one for one in range(world.n_authorities) if one not in unit[replicate]]
        rise = world.quality[replicate, :, -1] - world.quality[replicate, :, 0]
        queue = sorted(
            outside,
            key=lambda one: (
                stop[replicate, one] <= last,
                not world.uses_informally[replicate, one],
                -rise[one],
            ),
        )
        for slot in range(8):
            if stop[replicate, unit[replicate, slot]] <= last:
                there[replicate, slot] = queue.pop(0)
    return there


def test_pilots_that_left_are_replaced_by_users_that_rose_most() -> None:
    """Slot by slot the next in the queue, and nobody else moves."""
    scenario = scenario_of("replace")
    world = world_of(scenario)
    allocation = scenario.studies["pilots"].design.allocate(world, world.streams)
    replaced = with_replacements(world, allocation, 4)
    assert np.array_equal(replaced.unit, stand_ins(world, allocation.unit, 4))
    moved = replaced.unit != allocation.unit
    assert np.array_equal(moved, stops_of(world, allocation) <= 4)
    assert 0.2 < moved[:, :8].mean() < 0.9
    assert not moved[:, 8:].any()
    assert all(len(set(row)) == len(row) for row in replaced.unit)
    assert np.array_equal(replaced.start, allocation.start)


def test_equal_rises_are_ordered_by_chance() -> None:
    """Where quality never changes, no authority is preferred for its size."""
    scenario = scenario_of("replace")
    constant = {"informal": None, "leaving": None, "quality": Memory(permanent_share=1.0)}
    settings = scenario.world.model_copy(update=constant)
    world = draw_world(settings, scenario.outcomes, 2_000, Streams(1, 0))
    allocation = scenario.studies["pilots"].design.allocate(world, world.streams)
    first = np.bincount(reserves(world, allocation, 4)[:, 0], minlength=60) / 2_000
    assert first == pytest.approx(np.full(60, 1 / 60), abs=5 * np.sqrt(1 / 60 / 2_000))


def expected_bias(world: World, unit: Ints) -> Floats:
    """What replacing adds to the estimate, from the drawn world alone, (replicate,)."""
    there, at = stand_ins(world, unit, 4), np.arange(5)
    without = world.expected("days")
    own, usual = (
        np.broadcast_to(of, without.shape) for of in (offered_dose(world, at), usual_dose(world)[..., None])
    )
    stop = np.broadcast_to(last_practised(world)[0], without.shape[:2])
    switched = np.broadcast_to(last_practised(world)[1], stop.shape)
    afterwards = np.where(switched, 0.0, usual[:, :, 0])[:, :, np.newaxis]
    practised = np.where(at < 2, usual, np.where(at < stop[:, :, np.newaxis], own, afterwards))
    change = (without + practised)[:, :, 2:].mean(axis=2) - (without + practised)[:, :, 1]
    kept, replaced = (np.take_along_axis(change, of[:, :8], axis=1).mean(axis=1) for of in (unit, there))
    return replaced - kept


def test_replacement_biases_by_what_the_drawn_world_says() -> None:
    """Reserves have risen, and practise: the estimate goes up by their change less that of who left."""
    scenario, keeping = scenario_of("replace"), scenario_of("keep")
    world = world_of(scenario)
    estimates = []
    for each in (scenario, keeping):
        study = each.studies["pilots"]
        allocation, panel, *_ = carry_out(each, study, world)
        estimates.append(analyse(study.answers["t"].estimator, panel, world.streams, 200).estimate)
    expected = expected_bias(world, allocation.unit)
    assert estimates[0] - estimates[1] == pytest.approx(expected, abs=1e-4)
    assert expected.mean() > 8 * expected.std() / np.sqrt(200)


def test_the_null_twin_is_replaced_too_and_the_estimand_stays() -> None:
    """Without any effect the reserves' rise is left: a bias, judged against who was enrolled."""
    tallies = {rule: simulate([scenario_of(rule)], 600)[0]["pilots", "t"] for rule in ("keep", "replace")}
    truths = [measure(tally, "truth").value for tally in tallies.values()]
    assert truths[0] == truths[1]
    null = {rule: measure(tally, "null_bias") for rule, tally in tallies.items()}
    assert abs(null["keep"].value) < 4 * null["keep"].mcse
    assert null["replace"].value > 4 * null["replace"].mcse


def test_worker_rows_are_those_of_the_reserve() -> None:
    """A survey meets the reserve's workers: its rows have the mean of who stands there in the end."""
    scenario = scenario_of("replace")
    world, study = world_of(scenario), scenario.studies["survey"]
    enrolled, panel, *_ = carry_out(scenario, study, world)
    last = int(panel.occasions[-1])
    there = with_replacements(world, enrolled, last).unit
    assert (there != enrolled.unit).any()
    assert panel.roster.n_units("worker") == 40
    mean = panel.cells.pool(panel.roster, "authority").mean[:, :, -1]
    at = np.array([last])
    own = offered_dose(world, at)[:, :, 0]
    stays = np.broadcast_to(last_practised(world)[0] > last, own.shape)
    dose = np.where(stays, own, np.nan)
    expected = world.expected("score")[:, :, last]
    treated = np.take_along_axis(expected + dose, there[:, :10], axis=1)
    comparison = np.take_along_axis(expected + usual_dose(world), there[:, 10:], axis=1)
    known = np.isfinite(treated)
    assert known.mean() > 0.95
    assert mean[:, :10][known] == pytest.approx(treated[known], abs=0.05)
    assert mean[:, 10:] == pytest.approx(comparison, abs=0.05)


def cells(rule: str, leaving: str = LEAVING) -> Any:
    """The cells of the pilots' panel."""
    scenario = scenario_of(rule, leaving)
    return carry_out(scenario, scenario.studies["pilots"], world_of(scenario, 64))[1].cells


def test_the_rule_that_keeps_changes_no_bit() -> None:
    """What is off draws nothing."""
    assert np.array_equal(cells("").mean, cells("keep").mean)


def test_where_nobody_left_replacing_is_keeping() -> None:
    """The draws are those that the pilots would have met anyway."""
    nobody = "leaving = {new_leadership = 0.0}"
    assert np.array_equal(cells("replace", nobody).mean, cells("keep", nobody).mean)


@pytest.mark.parametrize(
    ("changes", "leaving", "said"),
    [
        (
            {},
            "",
            "designs.pilots.measurement.leavers: 'replace' has no effect without the table world.leaving",
        ),
        (
            {"designs.pilots.comparisons": 45},
            LEAVING,
            "designs.pilots.measurement.leavers: 'replace' needs 8 authorities outside the study, one for each "
            "pilot; the world leaves 7",
        ),
    ],
)
def test_a_replacement_that_cannot_be_had_is_refused(
    changes: dict[str, Any], leaving: str, said: str
) -> None:
    """One clear fault with its path."""
    stated = 'measurement = {leavers = "replace"}'
    with pytest.raises(ScenarioError) as refused:
        parse(FILE.format(leaving=leaving, record=stated, survey=""), "leavers", changes)
    assert said in str(refused.value)
