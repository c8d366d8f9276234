"""The presets of trials in children's social care reproduce the figures that are known of them."""

import numpy as np
import pytest
from scipy import stats

from design_sim.designs.stepped_wedge import SteppedWedge
from design_sim.performance import Measured, measure
from design_sim.results import Results, run
from design_sim.sweep import load
from design_sim.theory import hussey_hughes_variance, wedge_design
from design_sim.world.outcomes import SurveyedBinary


def of(results: Results, answer: str, name: str) -> Measured:
    """A measure of an answer of the only study."""
    return next(measure(j.tally, name) for j in results.judged if j.answer_name == answer)


def std_error_of(preset: str) -> tuple[float, float]:
    """Hussey and Hughes' standard error of a preset's design with known variances, and its stated effect."""
    scenario = load(preset).cases[0].scenario
    (study,) = scenario.studies.values()
    design, outcome = study.design, scenario.outcomes["looked_after"]
    assert isinstance(design, SteppedWedge)
    assert isinstance(outcome, SurveyedBinary)
    assert design.sample is not None
    total = outcome.mean * (1 - outcome.mean)
    between = outcome.icc.authority * total
    per_step = [1] * design.authorities
    treated = wedge_design(per_step, before=design.before, every=design.every, after=design.after)
    variance = hussey_hughes_variance(treated, (total - between) / design.sample.families, between)
    return float(np.sqrt(variance)), abs(outcome.effect)


@pytest.mark.parametrize(
    ("preset", "power", "mdes", "tolerance"),
    [("sfpc-nwd-protocol", 0.800, 0.0185, 0.002), ("sfpc-nwd-achieved", 0.51, 0.026, 0.01)],
)
def test_no_wrong_door_has_the_power_of_its_formula(
    preset: str, power: float, mdes: float, tolerance: float
) -> None:
    """The protocol's inputs are exactly an 80 % calculation for 1.85 points; as achieved it is .51 and 2.6."""
    std_error, effect = std_error_of(preset)
    z = stats.norm.ppf(0.975)
    found = stats.norm.sf(z - effect / std_error) + stats.norm.cdf(-z - effect / std_error)
    assert found == pytest.approx(power, abs=tolerance)
    assert (z + stats.norm.ppf(0.8)) * std_error == pytest.approx(mdes, abs=0.0002)


@pytest.mark.parametrize("preset", ["sfpc-nwd-protocol", "sfpc-nwd-achieved"])
def test_no_wrong_door_simulated_is_near_its_formula(preset: str) -> None:
    """The estimate's standard deviation is the formula's, risks being lower under treatment (up to 12 %)."""
    results = run(load(preset), replicates=1_500)
    std_error, _ = std_error_of(preset)
    simulated = of(results, "hussey_hughes", "empirical_se")
    assert 0.88 * std_error < simulated.value < std_error + 4 * simulated.mcse
    size = of(results, "kenward_roger", "size")
    assert size.value == pytest.approx(0.05, abs=0.01 + 4 * size.mcse)


def test_family_safeguarding_has_its_type_i_error_and_power() -> None:
    """Published .0569 (10,000 null trials) of the log odds ratio; power about .49 at an odds ratio of .80."""
    link = load("sfpc-fs-achieved", {"designs.wedge.answers.logistic.report": "link"})
    size = of(run(link, replicates=3_000), "logistic", "size")
    assert size.value == pytest.approx(0.0569, abs=0.015)
    power = of(run(load("sfpc-fs-achieved"), replicates=2_000), "logistic", "power")
    assert power.value == pytest.approx(0.49, abs=0.05 + 2 * power.mcse)


def test_family_safeguarding_has_its_children_and_periods() -> None:
    """27,406 children over periods of 6, 5, 5, 7, 4 and 6 months, in five authorities of unequal size."""
    scenario = load("sfpc-fs-achieved").cases[0].scenario
    design = scenario.studies["wedge"].design
    occasions, _ = design.occasions(scenario.world.time)
    period = design.pooled(occasions)
    assert period is not None
    assert np.bincount(period).tolist() == [6, 5, 5, 7, 4, 6]
    from design_sim.streams import Streams
    from design_sim.world.draw import draw_world

    world = draw_world(scenario.world, scenario.outcomes, 1, Streams(1, 0))
    n = world.record("looked_after").n[0][:, occasions].sum(axis=1)
    assert n.sum() == pytest.approx(27_406, rel=0.05)
    assert n.max() / n.min() == pytest.approx(10_943 / 2_828, rel=0.15)


def test_social_workers_in_schools_has_its_interval() -> None:
    """136 v 132 schools: a standard error of .051 on the log rate ratio, and 80 % power for a ratio of .867."""
    scenario = load("swis-cluster-rct").cases[0].scenario
    design = scenario.studies["trial"].design
    assert (design.n_treated, design.n_enrolled(scenario.world)) == (136, 268)
    same_rate = load("swis-cluster-rct", {"outcomes.section_47.effect": 0.0})
    relative = of(run(same_rate, replicates=1_000), "cr2", "model_se").value / 207.0
    assert relative == pytest.approx(0.051, abs=0.003)
    interval = 1.055 * np.exp(np.array([-1, 1]) * stats.norm.ppf(0.975) * relative)
    assert interval == pytest.approx([0.955, 1.166], abs=0.007)
    power = of(run(load("swis-cluster-rct"), replicates=2_000), "cr2", "power")
    assert power.value == pytest.approx(0.80, abs=0.01 + 3 * power.mcse)
