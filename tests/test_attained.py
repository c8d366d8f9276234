"""Attained power: what an allocation does to power, held against exact powers given the allocation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from design_sim import attained_report
from design_sim.allocation import ConstrainedRandomisation
from design_sim.attained import (
    Attained,
    attained_power,
    between_variance,
    by_chance,
    held_allocation,
    layout_of,
    spread_of,
)
from design_sim.cli import execute
from design_sim.errors import ScenarioError
from design_sim.scenario import Scenario
from design_sim.simulate import carry_out
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import draw_world

FILE = """
seed = 5
replicates = 200

[world]
authorities = 8
uptake = 1.0
fidelity = {{mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}}
size = {{log_sd = {log_sd}}}
time = {{years_after = 4}}

[outcomes.score]
kind = "continuous"
source = "record"
authority_sd = 0.0
family_sd = 1.0
per_10000_children = 10
effect = 0.17

[designs.study]
outcome = "score"
authorities = 8
{design}

[designs.study.answers.naive]
estimator = "clustered_regression"
variance = "naive"
estimand = "offered"
"""
TRIAL = 'kind = "cluster_rct"'
WEDGE = 'kind = "stepped_wedge"\nsteps = 4'
CHOSEN = FILE.replace("authorities = 8\n{design}", "{design}").replace("{{", "{").replace("}}", "}")


def scenario_of(design: str = TRIAL, log_sd: float = 0.8) -> Scenario:
    """The file's only case."""
    return parse(FILE.format(design=design, log_sd=log_sd), "study").cases[0].scenario


def as_wedge() -> str:
    """The file with a stepped wedge and its mixed model."""
    text = FILE.format(design=WEDGE, log_sd=0.8)
    return text.replace("clustered_regression", "mixed_model").replace(
        'variance = "naive"', "period_effects = true"
    )


def test_power_of_every_allocation_is_that_of_its_arms() -> None:
    """Without differences between authorities the naive test is exact, and only the arms' sizes matter."""
    scenario = scenario_of()
    (of,) = attained_power(scenario, 60, 400)
    world = draw_world(scenario.world, scenario.outcomes, 1, Streams(5, 0))
    n = float(world.record("score").n[0, :, 3].sum())
    treated = n * of.treated_share
    noncentral = 0.17 / np.sqrt(1 / treated + 1 / (n - treated))
    critical = stats.t.ppf(0.975, n - 2)
    power = stats.nct.sf(critical, n - 2, noncentral) + stats.nct.cdf(-critical, n - 2, noncentral)
    z = (of.power - power) / np.sqrt(power * (1 - power) / of.analysed)
    assert np.ptp(power) > 0.05
    assert np.mean(z**2) == pytest.approx(1, abs=4 * np.sqrt(2 / 60))
    spread = of.spread_of_power(1)
    assert spread.p_alike < 1e-6
    assert spread.between[0] == pytest.approx(power.std(ddof=1), abs=4 * spread.between[1])
    assert spread.quantiles[0][0] == pytest.approx(np.quantile(power, 0.1), abs=4 * spread.quantiles[0][1])


def test_equal_authorities_make_every_allocation_alike() -> None:
    """Where nothing tells authorities apart but chance, so does nothing tell allocations apart."""
    (of,) = attained_power(scenario_of(log_sd=0.0), 60, 200)
    spread = of.spread_of_power(1)
    assert spread.p_alike > 0.001
    assert np.ptp(of.treated_share) == pytest.approx(0, abs=1e-12)
    assert "no difference between them" in attained_report.sentence(of, 1)


def test_variance_between_proportions_is_without_bias() -> None:
    """Binomial noise around beta-distributed rates is taken out on average, however few replicates."""
    rng = np.random.default_rng(2)
    true = rng.beta(8, 4, size=(20_000, 30))
    n = np.full(true.shape, 12.0)
    rate = rng.binomial(12, true) / n
    noise = (rate * (1 - rate) / (n - 1)).mean(axis=1)
    found = rate.var(axis=1, ddof=1) - noise
    expected = 8 * 4 / (12**2 * 13)
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(found.size))
    assert (between_variance(rate, n) == np.maximum(found, 0)).all()


def test_a_spread_without_two_allocations_is_not_known() -> None:
    """All failed, or all but one: there is nothing to compare."""
    spread = spread_of(np.array([0.5, np.nan]), np.array([10.0, 0.0]), 1)
    assert np.isnan(spread.between[0])
    lost = np.zeros(3)
    of = Attained("trial", "t", lost, lost, lost, lost, lost + 0.5, lost, 9)
    assert "no allocation could be analysed" in attained_report.sentence(of, 1)


def test_layout_is_that_of_families_one_by_one() -> None:
    """Share and correlation over the families of a wedge, each written out."""
    scenario = parse(as_wedge(), "study").cases[0].scenario
    study = scenario.studies["study"]
    world = draw_world(scenario.world, scenario.outcomes, 2, Streams(5, 0))
    held = held_allocation(study.design.allocate(world, world.streams))
    panel = carry_out(scenario, study, world, allocation=held).stated
    n = panel.cells.n[0].round().astype(int)
    treated = np.broadcast_to(panel.treated[0], n.shape)
    time = np.broadcast_to(panel.occasions, n.shape)
    of_families = [np.repeat(values.ravel(), n.ravel()) for values in (treated.astype(float), time)]
    share, with_time = layout_of(panel)
    assert share == pytest.approx(of_families[0].mean())
    assert with_time == pytest.approx(np.corrcoef(*of_families)[0, 1])


def test_held_allocation_is_the_first_replicate_s_everywhere() -> None:
    """Whoever stands in a slot stands there in all replicates, and the law is that replicate's too."""
    scenario = scenario_of(TRIAL + '\nbalance = {method = "constrained", on = ["size"], candidates = 40}')
    world = draw_world(scenario.world, scenario.outcomes, 16, Streams(5, 0))
    drawn = scenario.studies["study"].design.allocate(world, world.streams)
    held = held_allocation(drawn)
    for name in ("unit", "start", "stratum"):
        values = getattr(held, name)
        assert (values == getattr(drawn, name)[:1]).all()
        assert values.shape == getattr(drawn, name).shape
    assert isinstance(held.law, ConstrainedRandomisation)
    assert (held.law.allowed == held.law.allowed[:1]).all()


def test_balance_on_size_draws_allocations_together() -> None:
    """What restricted randomisation is for: the unlucky allocations are not drawn."""
    balance = '\nbalance = {method = "constrained", on = ["size"], candidates = 100, share = 0.05}'
    free, held = (attained_power(scenario_of(TRIAL + more), 30, 16)[0] for more in ("", balance))
    assert held.treated_share.std() < 0.7 * free.treated_share.std()


def test_numbers_do_not_depend_on_processes_and_a_longer_run_begins_with_the_shorter() -> None:
    """As everywhere."""
    scenario = scenario_of()
    (short,), (longer,) = attained_power(scenario, 3, 16), attained_power(scenario, 5, 16, jobs=2)
    assert (longer.rejected[:3] == short.rejected).all()
    assert (longer.treated_share[:3] == short.treated_share).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"allocations": 1}, "allocations: 1 is below 2"),
        ({"replicates": 1}, "replicates: 1 is below 2"),
    ],
)
def test_a_spread_needs_two(changes: dict[str, Any], said: str) -> None:
    """Of allocations and of replicates."""
    with pytest.raises(ScenarioError, match=said):
        attained_power(scenario_of(), **({"allocations": 5, "replicates": 5} | changes))


def test_balance_on_what_is_drawn_anew_is_refused() -> None:
    """It would be balance in one replicate alone."""
    scenario = scenario_of(TRIAL + '\nbalance = {method = "pairs", on = ["size", "deprivation"]}')
    with pytest.raises(ScenarioError, match=r"balance\.on: deprivation of authorities"):
        attained_power(scenario, 5, 5)


def test_studies_that_chance_does_not_allocate_are_left_out_or_refused() -> None:
    """A contrast study has no other allocation that could have been drawn."""
    text = FILE.format(design=TRIAL, log_sd=0.0)
    contrast = 'kind = "contrast"\npilots = 2\ncomparisons = 2'
    chosen = text.replace(f"authorities = 8\n{TRIAL}", contrast)
    scenario = parse(chosen, "chosen").cases[0].scenario
    with pytest.raises(ScenarioError, match="none is allocated by chance"):
        by_chance(scenario)
    both = text + chosen[chosen.index("[designs.study]") :].replace("designs.study", "designs.chosen")
    assert list(by_chance(parse(both, "both").cases[0].scenario)) == ["study"]


def test_the_command_prints_and_writes_allocations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table, a sentence, and a folder with every allocation."""
    file = tmp_path / "case.toml"
    file.write_text(as_wedge())
    asked = ["allocations", str(file), "--allocations", "12", "--replicates", "16"]
    assert execute([*asked, "--out", str(tmp_path), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "SD of power" in said
    assert "on average over 12 allocations" in said
    there = {path.name for path in (tmp_path / "case-allocations").iterdir()}
    assert {"allocations.csv", "allocations.png", "allocations.txt", "provenance.json"} <= there
    lines = (tmp_path / "case-allocations" / "allocations.csv").read_text().splitlines()
    assert len(lines) == 13
    assert lines[0].replace('"', "").startswith("study,answer,allocation,treated_share,with_time,power,")


def test_a_sweep_has_no_one_distribution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which case would it be of?"""
    file = tmp_path / "case.toml"
    file.write_text(
        FILE.format(design=TRIAL, log_sd=0.8) + '\n[sweep]\n"outcomes.score.effect" = [0.1, 0.2]\n'
    )
    assert execute(["allocations", str(file), "--out", str(tmp_path)]) == 2
    assert "power over allocations is of one" in capsys.readouterr().err


def test_one_allocation_has_no_spread(capsys: pytest.CaptureFixture[str]) -> None:
    """Said before anything is read or run, with the option's own name."""
    assert execute(["allocations", "nowhere.toml", "--allocations", "1"]) == 2
    said = capsys.readouterr().err
    assert "Invalid value for '--allocations'" in said
    assert "2" in said
