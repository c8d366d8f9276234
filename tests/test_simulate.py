"""The engine: numbers that depend on the scenario and the seed, and on nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from design_sim.performance import measure
from design_sim.scenario import Scenario
from design_sim.simulate import run_block, simulate
from design_sim.sweep import Sweep, parse
from design_sim.tally import Tally
from design_sim.theory import authority_mean_power, variance_of_authority_mean
from design_sim.world.settings import WorldSettings, block_size

TEXT = """
replicates = 200
[world]
authorities = 40
[world.informal]
[outcomes.rereferral]
kind = "binary"
source = "record"
mean = 0.2
effect = -0.03
[outcomes.engagement]
kind = "continuous"
source = "survey"
effect = 0.5
icc = {authority = 0.05, team = 0.02, worker = 0.05}
[designs.trial]
kind = "cluster_rct"
outcome = "engagement"
authorities = 10
sample = {teams = 1, workers = 4, families = 3}
answers.means = {estimator = "cluster_means", estimand = "offered"}
[designs.adopters]
kind = "difference_in_differences"
outcome = "rereferral"
adopters = 9
answers.change = {estimator = "cluster_means", change = true, estimand = "offered"}
"""


def scenario_of(text: str = TEXT, **changes: object) -> Scenario:
    """The first scenario of a file."""
    return parse(text, "test", changes).cases[0].scenario  # type: ignore[arg-type]


def bits(tally: Tally) -> list[bytes]:
    """Every number of a tally, bit for bit."""
    moments = [part for m in (tally.stated, tally.null) for part in (m.count, m.mean, m.comoment)]
    return [np.asarray(part).tobytes() for part in (tally.asked, *moments, tally.p_counts, tally.p_floor)]


def test_any_number_of_processes_gives_the_same_bytes() -> None:
    """Blocks are independent and merged in order."""
    scenario = scenario_of()
    replicates = 3 * block_size(scenario.world) - 5
    one, two = (simulate([scenario], replicates, jobs) for jobs in (1, 2))
    assert one[0].keys() == two[0].keys()
    assert all(bits(one[0][key]) == bits(two[0][key]) for key in one[0])


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    """Cutting the last block leaves what stands before the cut."""
    scenario = scenario_of()
    size = block_size(scenario.world)
    short = run_block(scenario, 0, 10)["trial", "means"]
    whole = run_block(scenario, 0, size)["trial", "means"]
    assert short.asked == 10
    assert whole.asked == size
    assert simulate([scenario], size)[0]["trial", "means"].stated.mean == pytest.approx(whole.stated.mean)


def test_a_design_added_to_the_file_changes_no_other() -> None:
    """Studies share worlds, and none draws from another's streams."""
    both = scenario_of()
    alone = replace(
        both,
        studies={"trial": both.studies["trial"]},
        outcomes={"engagement": both.outcomes["engagement"]},
    )
    key = ("trial", "means")
    assert bits(simulate([both], 50)[0][key]) == bits(simulate([alone], 50)[0][key])


def test_designs_run_on_the_same_worlds() -> None:
    """Two designs that are the same study give the same numbers."""
    text = TEXT + TEXT[TEXT.index("[designs.trial]") : TEXT.index("[designs.adopters]")].replace(
        "designs.trial", "designs.twin"
    )
    tallies = simulate([scenario_of(text)], 50)[0]
    assert bits(tallies["trial", "means"]) == bits(tallies["twin", "means"])


def test_block_size_comes_from_the_world_alone() -> None:
    """Neither designs, nor replicates, nor the machine may move it."""
    sizes = [block_size(WorldSettings(authorities=n)) for n in (2, 20, 151, 2_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(16 <= size <= 4_096 and size & (size - 1) == 0 for size in sizes)


@pytest.mark.parametrize("family_variance", [0.4, 0.75])
def test_power_of_a_nested_trial_is_that_of_the_noncentral_t(family_variance: float) -> None:
    """With a perfectly delivered framework and equal samples the t test on authority means is exact."""
    authority, team, worker = 0.08, 0.02, 0.9 - family_variance
    text = f"""
[world]
authorities = 6
uptake = 1.0
fidelity = {{mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}}
[outcomes.y]
kind = "continuous"
source = "survey"
effect = 0.8
icc = {{authority = {authority}, team = {team}, worker = {worker}}}
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 6
sample = {{teams = 4, workers = 5, families = 6}}
answers.means = {{estimator = "cluster_means", estimand = "offered"}}
"""
    tally = simulate([scenario_of(text)], 8_192)[0]["trial", "means"]
    variance = variance_of_authority_mean([authority, team, worker, family_variance], [4, 5, 6])
    exact = authority_mean_power(0.8, variance, 3, 3)
    power, size, bias = (measure(tally, name) for name in ("power", "size", "bias"))
    assert power.value == pytest.approx(exact, abs=4 * power.mcse)
    assert size.value == pytest.approx(0.05, abs=4 * size.mcse)
    assert bias.value == pytest.approx(0, abs=4 * bias.mcse)


def test_a_case_of_a_sweep_has_the_numbers_it_has_alone() -> None:
    """Adding cases changes no old row."""
    sweep: Sweep = parse(TEXT + '[sweep]\n"designs.adopters.adopters" = [5, 9]\n', "test")
    together = simulate([case.scenario for case in sweep.cases], 60)
    alone = simulate([sweep.cases[1].scenario], 60)
    key = ("adopters", "change")
    assert bits(together[1][key]) == bits(alone[0][key])
    assert np.array_equal(together[0]["trial", "means"].p_counts, together[1]["trial", "means"].p_counts)
