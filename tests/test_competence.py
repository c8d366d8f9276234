"""Competence of workers and repeated visits: what measuring them is worth is what algebra says."""

from typing import Any

import numpy as np
import pytest

from design_sim.arrays import Floats, Ints
from design_sim.error_budget import budget
from design_sim.errors import ScenarioError
from design_sim.mechanisms import MECHANISMS, Conditions
from design_sim.performance import measure
from design_sim.scenario import Scenario
from design_sim.simulate import Twins, carry_out, simulate
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.theory import attenuated_slope
from design_sim.world.competence import competence, measured_competence
from design_sim.world.draw import World, draw_world
from design_sim.world.practice import worker_dose
from design_sim.world.settings import WorldSettings

FILE = """
seed = 4
[world]
authorities = 80
uptake = 1.0
workers = {{competence_icc = {icc}}}
fidelity = {{mean = 0.5, authority_sd = {spread}, worker_sd = 0.04, quality_correlation = 0.0, competence_correlation = {link}, years_to_80_percent = 0.0}}
rating = {{quality_correlation = 1.0}}
quality = {{permanent_share = 1.0}}

[outcomes.score]
kind = "continuous"
source = "survey"
effect = {effect}
icc = {{authority = 0.2, worker = {worker}}}
{raised}

[designs.contrast]
kind = "contrast"
outcome = "score"
pilots = {pilots}
comparisons = 40
pilots_by = "{by}"
sample = {{teams = 2, workers = {workers}, families = 4}}
measurement = {{competence_reliability = {reliability}}}

[designs.contrast.answers.plain]
estimator = "cluster_means"
estimand = "offered"

[designs.contrast.answers.adjusted]
estimator = "cluster_means"
covariates = ["competence"]
estimand = "offered"
"""
STATED: dict[str, Any] = {
    "icc": 0.3,
    "spread": 0.0,
    "link": 0.0,
    "effect": 0.0,
    "worker": 0.3,
    "raised": "quality_correlation = 1.0",
    "pilots": 40,
    "by": "rating",
    "workers": 3,
    "reliability": 0.6,
}


def scenario_of(**settings: Any) -> Scenario:
    """A contrast of forty against forty."""
    return parse(FILE.format(**{**STATED, **settings}), "competence").cases[0].scenario


def block_of(scenario: Scenario, n: int) -> tuple[World, Twins]:
    """A block of worlds, and what the study makes of it."""
    world = draw_world(scenario.world, scenario.outcomes, n, Streams(3, 0))
    return world, carry_out(scenario, scenario.studies["contrast"], world)


def some_workers(world: World) -> tuple[Ints, Ints]:
    """All authorities, and the first three workers of their first two teams."""
    unit = np.broadcast_to(np.arange(world.n_authorities), (world.n_replicates, world.n_authorities))
    return unit, np.array([0, 1, 2, 6, 7, 8])


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_competence_is_standardised_and_shared_as_stated(share: float) -> None:
    """Variance 1, of which the stated share is between authorities and goes with their quality."""
    settings = WorldSettings.model_validate({"workers": {"competence_icc": share}})
    world = draw_world(settings, {}, 200, Streams(2, 0))
    found = competence(world, *some_workers(world))
    n = found.shape[0] * found.shape[1]
    assert found.mean() == pytest.approx(0, abs=4 * np.sqrt((share + (1 - share) / 6) / n))
    assert found.var() == pytest.approx(1, abs=4 * np.sqrt(2 * (share**2 + (1 - share**2) / 6) / n))
    within = ((found - found.mean(axis=2, keepdims=True)) ** 2).sum(axis=2).mean() / 5
    assert within == pytest.approx(1 - share, abs=4 * (1 - share) * np.sqrt(2 / (5 * n)))
    quality = world.quality_in(world.settings.time.years_before)
    slope = (found.mean(axis=2) * quality).mean() / (quality**2).mean()
    assert slope == pytest.approx(np.sqrt(share), abs=4 * np.sqrt((1 - share) / 6 / n))


def test_what_is_measured_has_the_stated_reliability() -> None:
    """Its squared correlation with competence is the reliability, its variance still 1."""
    world = draw_world(WorldSettings(), {}, 200, Streams(2, 0))
    true = competence(world, *some_workers(world))
    found = measured_competence(world, *some_workers(world), 0.7)
    n = found.size
    assert found.var() == pytest.approx(1, abs=4 * np.sqrt(2 / n))
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] ** 2 == pytest.approx(0.7, abs=8 * 0.3 / np.sqrt(n))
    assert np.array_equal(measured_competence(world, *some_workers(world), 1.0), true)


def test_a_row_has_its_own_workers_competence() -> None:
    """Worker by worker, slot by slot, in a loop; also where families stand singly and workers do not differ."""
    scenario = scenario_of(reliability=1.0, worker=0.0)
    _, twins = block_of(scenario, 8)
    single = (
        parse('resolution = "unit"\n' + FILE.format(**{**STATED, "reliability": 1.0}), "c").cases[0].scenario
    )
    world, families = block_of(single, 8)
    everyone = competence(world, *some_workers(world))
    for panel, rows in ((twins.stated, 1), (families.stated, 4), (twins.null, 1)):
        found = panel.covariates["competence"]
        assert found.shape == (8, 80 * 6 * rows)
        for replicate, slot, place in ((0, 0, 0), (3, 17, 4), (7, 79, 5)):
            at = (slot * 6 + place) * rows
            expected = everyone[replicate, twins.allocation.unit[replicate, slot], place]
            assert found[replicate, at : at + rows] == pytest.approx(np.full(rows, expected))


def test_competence_that_is_measured_moves_no_outcome() -> None:
    """Whether and how well it is measured changes not a bit of anything else."""
    panels = [block_of(scenario_of(reliability=of), 16)[1].stated for of in (0.5, 1.0)]
    plain = FILE.format(**STATED).split("[designs.contrast.answers.adjusted]")[0]
    plain = plain.replace("measurement = {competence_reliability = 0.6}", "").replace(
        "competence_icc = 0.3", ""
    )
    without = block_of(parse(plain, "plain").cases[0].scenario, 16)[1].stated
    for panel in panels:
        assert np.array_equal(panel.cells.mean, without.cells.mean)
    assert not np.array_equal(*(panel.covariates["competence"] for panel in panels))


@pytest.mark.parametrize("reliability", [1.0, 0.6])
def test_adjusting_for_competence_takes_out_its_share_of_what_purposive_choice_brings_in(
    reliability: float,
) -> None:
    """Share removed = (reliability of an authority's mean - R^2) / (1 - R^2), R^2 that of the arm.

    Pilots are rated higher, and quality raises outcomes. Authority means of measured competence are
    root(r s) x quality + noise of the sampled workers' own parts and errors; the slope on them within arms is
    that on quality attenuated, so that it removes so much of the difference that quality makes between arms.
    """
    scenario = scenario_of(reliability=reliability)
    tallies = simulate([scenario], 1_500)[0]
    plain, adjusted = (measure(tallies["contrast", name], "bias") for name in ("plain", "adjusted"))
    _, twins = block_of(scenario, 600)
    share, per_authority = 0.3, 6
    between = reliability * share
    noise = (reliability * (1 - share) + (1 - reliability)) / per_authority
    means = twins.stated.roster.pool(twins.stated.covariates["competence"], "authority") / per_authority
    arms = means[:, :40].mean() - means[:, 40:].mean()
    # all eighty authorities are in the study, half of them pilots
    r_squared = 0.25 * arms**2 / (between + noise)
    removed = attenuated_slope(1.0, between / (between + noise), r_squared)
    assert 0.15 < removed < 0.6
    error = np.hypot(plain.mcse, adjusted.mcse) / plain.value
    assert plain.value > 20 * plain.mcse
    assert 1 - adjusted.value / plain.value == pytest.approx(removed, abs=4 * error + 0.01)


@pytest.mark.parametrize("reliability", [1.0, 0.5])
def test_what_competence_gives_to_the_slope_on_fidelity_goes_by_its_reliability(reliability: float) -> None:
    """Omitted variable with error: r (1 - rho^2) / (1 - rho^2 r) of the confounding is removed.

    Among workers of pilots, competence goes with fidelity by rho and raises outcomes; without any effect of
    practice, the slope on fidelity is confounding alone.
    """
    rho = 0.6
    raised = "competence_correlation = 0.8"
    scenario = scenario_of(
        reliability=reliability, icc=0.1, link=rho, effect=1e-9, raised=raised, by="chance"
    )
    world, twins = block_of(scenario, 400)
    dose = fidelity_of_rows(world, twins)
    keep = np.arange(480) < 240
    outcome = twins.stated.cells.mean[:, keep, 0]
    measured = twins.stated.covariates["competence"][:, keep]
    slopes = [slope_within(outcome, dose[:, keep], other) for other in (None, measured)]
    # an authority's part of measured competence is taken out with the authority
    within = reliability * 0.9 / (reliability * 0.9 + 1 - reliability)
    expected = within * (1 - rho**2) / (1 - rho**2 * within)
    removed = 1 - slopes[1].mean() / slopes[0].mean()
    spread = (slopes[1] - (1 - expected) * slopes[0]).std() / np.sqrt(400) / slopes[0].mean()
    assert removed == pytest.approx(expected, abs=4 * spread + 0.01)


def fidelity_of_rows(world: World, twins: Twins) -> Floats:
    """What the workers of every row practise in the year observed, (replicate, row)."""
    allocation, at = twins.allocation, twins.stated.occasions
    return worker_dose(world, allocation.unit, allocation.start, at, some_workers(world)[1])[:, :, -1]


def slope_within(outcome: Floats, dose: Floats, other: Floats | None) -> Floats:
    """Least-squares slope of the outcome on the dose within authorities, beside another variable or not."""

    def centred(values: Floats) -> Floats:
        by_authority = values.reshape(values.shape[0], -1, 6)
        return (by_authority - by_authority.mean(axis=2, keepdims=True)).reshape(values.shape)

    y, x = centred(outcome), centred(dose)
    if other is not None:
        z = centred(other)
        square = (z**2).sum(axis=1, keepdims=True)
        y = y - z * (y * z).sum(axis=1, keepdims=True) / square
        x = x - z * (x * z).sum(axis=1, keepdims=True) / square
    return (x * y).sum(axis=1) / (x**2).sum(axis=1)


def test_competence_that_nobody_measures_or_asks_for_is_a_fault() -> None:
    """Each fault names what is missing or idle."""
    text = FILE.format(**STATED)
    measuring = "measurement = {competence_reliability = 0.6}"
    with pytest.raises(ScenarioError, match=r"'competence' needs measurement\.competence_reliability"):
        parse(text.replace(measuring, ""), "t")
    idle = text.split("[designs.contrast.answers.adjusted]")[0]
    with pytest.raises(ScenarioError, match="no answer has 'competence'") as raised:
        parse(idle, "t")
    assert [fault.split(":")[0] for fault in raised.value.faults] == [
        "world.workers.competence_icc",
        "designs.contrast.measurement.competence_reliability",
    ]
    recorded = text.replace('"survey"', '"record"').replace(
        "sample = {teams = 2, workers = 3, families = 4}", ""
    )
    recorded = recorded.replace(
        "icc = {authority = 0.2, worker = 0.3}", "authority_sd = 1.0\nfamily_sd = 1.0"
    )
    with pytest.raises(ScenarioError, match="'competence' is known of workers whose families are surveyed"):
        parse(recorded, "t")


ANSWERS = {
    "regression": 'estimator = "clustered_regression"',
    "mixed": 'estimator = "mixed_model"',
    "gee": 'estimator = "gee"',
    "wild": 'estimator = "wild_bootstrap"\ndraws = 99',
}
DESIGNS = {
    "contrast": 'kind = "contrast"\npilots = 8\ncomparisons = 8',
    "teams": 'kind = "cluster_rct"\nauthorities = 8\nunit = "team"',
    "families": 'kind = "family_rct"\nauthorities = 8',
}


@pytest.mark.parametrize("design", DESIGNS)
def test_every_answer_can_adjust_for_competence(design: str) -> None:
    """It takes variance of workers out of the standard error, whatever the estimator and the units."""
    raised = "competence_correlation = 1.0"
    text = FILE.split("[designs.contrast]")[0].format(**{**STATED, "icc": 0.0, "raised": raised})
    text = text.replace("icc = {authority = 0.2", "icc = {authority = 0.01")
    text += (
        f"[designs.d]\n{DESIGNS[design]}\noutcome = 'score'\nmeasurement = {{competence_reliability = 0.9}}\n"
    )
    text += "sample = {teams = 2, workers = 3, families = 4}\n"
    # families as independent clusters have no random intercept
    answers = {name: of for name, of in ANSWERS.items() if (design, name) != ("families", "mixed")}
    for name, answer in answers.items():
        for adjusted in ("plain", "adjusted"):
            text += f"[designs.d.answers.{name}_{adjusted}]\n{answer}\nestimand = 'offered'\n"
            text += "covariates = ['competence']\n" if adjusted == "adjusted" else ""
    tallies = simulate([parse(text, "flow").cases[0].scenario], 300)[0]
    for name in answers:
        plain, adjusted = (tallies["d", f"{name}_{which}"] for which in ("plain", "adjusted"))
        assert measure(adjusted, "failure_rate").value == 0
        assert measure(adjusted, "model_se").value < 0.9 * measure(plain, "model_se").value


VISITED = """
[world]
authorities = 40
uptake = 1.0
[outcomes.score]
kind = "continuous"
source = "survey"
sd = 2.0
effect = 1.0
icc = {authority = 0.1}
[designs.trial]
kind = "cluster_rct"
outcome = "score"
authorities = 20
sample = {teams = 1, workers = 5, families = 6}
measurement = MEASURED
answers.t = {estimator = "cluster_means", estimand = "offered"}
answers.naive = {estimator = "clustered_regression", variance = "naive", estimand = "offered"}
"""


def visited(measured: str) -> Scenario:
    """A trial whose outcome is measured so."""
    return parse(VISITED.replace("MEASURED", measured), "visits").cases[0].scenario


def cells_of(measured: str, n: int) -> Any:
    """The cells of its panel."""
    scenario = visited(measured)
    world = draw_world(scenario.world, scenario.outcomes, n, Streams(1, 0))
    return carry_out(scenario, scenario.studies["trial"], world).stated.cells


def test_one_visit_changes_no_bit() -> None:
    """A mechanism that is off is not there."""
    one, stated = cells_of("{reliability = 0.6}", 32), cells_of("{reliability = 0.6, visits = 1}", 32)
    assert np.array_equal(one.mean, stated.mean)
    assert np.array_equal(one.ss, stated.ss)


@pytest.mark.parametrize("visits", [2, 5])
def test_visits_raise_reliability_as_spearman_and_brown_say(visits: int) -> None:
    """k visits of reliability r are one of reliability k r / (1 + (k - 1) r), draw for draw."""
    one = 0.4
    several = visits * one / (1 + (visits - 1) * one)
    found, expected = (
        cells_of(f"{{reliability = {one}, visits = {visits}}}", 64),
        cells_of(f"{{reliability = {several}}}", 64),
    )
    assert found.mean == pytest.approx(expected.mean)
    assert found.ss == pytest.approx(expected.ss)


def test_visits_without_error_are_a_fault() -> None:
    """To see without error twice is to see once."""
    with pytest.raises(ScenarioError, match="visits have no effect while reliability is 1"):
        visited("{visits = 3}")


def test_without_measurement_error_there_is_one_visit_and_true_competence() -> None:
    """The budget's world without error is one that a file could state, and its parts add up."""
    scenario = visited("{reliability = 0.4, visits = 3}")
    found = budget(scenario, 300)[0]
    assert "measurement_error" in [part.mechanism for part in found.parts]
    stated = scenario_of()
    design = stated.studies["contrast"].design
    without = MECHANISMS["measurement_error"](Conditions(stated.world, stated.outcomes, design)).design
    assert without.measurement is not None
    assert without.measurement.competence_reliability == 1.0
