"""Trials of teams and workers from file to table: variances, sizes and contamination in closed form."""

import re
from functools import cache

import numpy as np
import pytest
from scipy import stats

from design_sim.allocation import NEVER
from design_sim.designs.base import spillover_of
from design_sim.mechanisms import MECHANISMS, Conditions
from design_sim.results import run
from design_sim.simulate import analyse, carry_out, clustered
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.theory import t_test_power
from design_sim.wording import arms_of, arms_words, kind_of
from design_sim.world.draw import draw_world
from design_sim.world.outcomes import SurveyedContinuous
from design_sim.world.practice import worker_dose
from design_sim.world.settings import WorldSettings

REPLICATES = 3_000
PERFECT = "{mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}"
TEXT = """
replicates = 3_000
[world]
authorities = 20
uptake = 1.0
fidelity = PERFECT
MORE
[outcomes.y]
kind = "continuous"
source = "survey"
effect = 0.4
icc = {icc}
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 6
sample = {{teams = 2, workers = 4, families = 5}}
{design}
answers.means = {{estimator = "cluster_means", estimand = "offered"}}
answers.own = {{estimator = "clustered_regression", estimand = "offered"}}
answers.authority = {{estimator = "clustered_regression", estimand = "offered", clusters = "authority"}}
answers.model = {{estimator = "mixed_model", estimand = "offered", clusters = "authority", levels = {levels}}}
answers.law = {{estimator = "permutation", estimand = "offered"}}
"""
ICC = "{authority = 0.1, team = 0.08, worker = 0.05}"
LEVELS = '["authority", "team", "worker"]'
TEXT = TEXT.replace("PERFECT", PERFECT.replace("{", "{{").replace("}", "}}"))


@cache
def found(design: str, icc: str = ICC, more: str = "", levels: str = LEVELS) -> dict[tuple[str, str], float]:
    """Measures of a run by answer and name."""
    text = TEXT.format(design=design, icc=icc, levels=levels).replace("MORE", more)
    table = run(parse(text, "t")).performance
    return dict(zip(zip(table["answer"], table["measure"], strict=True), table["value"], strict=True))


@pytest.mark.parametrize(
    ("design", "variance"),
    [
        # 12 teams, those of an authority on either side: authorities cancel
        ('unit = "team"', (0.08 + 0.05 / 4 + 0.77 / 20) * (1 / 6 + 1 / 6)),
        # 48 workers, those of a team on either side: authorities and teams cancel
        ('unit = "worker"\nwithin = "team"', (0.05 + 0.77 / 5) * (1 / 24 + 1 / 24)),
        # all of a study alike: everything counts, workers of a team and authority sharing some of it
        (
            'unit = "worker"\nwithin = "study"',
            (0.05 + 0.77 / 5 + 0.08 * (1 - 3 / 47) + 0.1 * (1 - 7 / 47)) * (1 / 24 + 1 / 24),
        ),
    ],
)
def test_the_variance_is_what_does_not_cancel_between_arms(design: str, variance: float) -> None:
    """Closed form; the expected sample variance of 48 workers' effects is that of each less their covariance."""
    empirical = found(design)["means", "empirical_se"]
    error = np.sqrt(variance / (2 * REPLICATES))
    assert empirical == pytest.approx(np.sqrt(variance), abs=4 * error)


@pytest.mark.parametrize("answer", ["means", "own"])
def test_workers_as_independent_hold_their_size_where_nothing_else_is_shared(answer: str) -> None:
    """With no part of authorities and teams, worker means are independent: the t test is exact."""
    icc = "{authority = 0.0, worker = 0.1}"
    measures = found('unit = "worker"', icc)
    error = np.sqrt(0.05 * 0.95 / REPLICATES)
    assert measures[answer, "size"] == pytest.approx(0.05, abs=4 * error)
    power = t_test_power(0.4, np.sqrt((0.1 + 0.9 / 5) * 2 / 24), 46)
    assert measures[answer, "power"] == pytest.approx(float(power), abs=4 * 0.5 / np.sqrt(REPLICATES))


def test_an_analysis_that_leaves_strata_out_is_conservative_by_what_cancels() -> None:
    """The t test counts what authorities and teams add to its variance, though it cancels: size by theory."""
    within, between = 0.05 + 0.77 / 5, 0.18
    ratio = np.sqrt(within / (within + between))  # empirical over model standard error, in the long run
    size = 2 * stats.norm.sf(stats.t.ppf(0.975, 46) / ratio)
    measures = found('unit = "worker"\nwithin = "team"')
    assert measures["means", "size"] == pytest.approx(size, abs=0.008)
    assert measures["law", "size"] == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / REPLICATES))


@pytest.mark.parametrize("design", ['unit = "team"', 'unit = "worker"\nwithin = "team"'])
def test_clusters_of_authorities_hold_their_size_and_find_the_effect(design: str) -> None:
    """Arms that differ within six authorities are compared by what differs between their differences."""
    measures = found(design)
    assert measures["authority", "size"] == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / REPLICATES))
    assert measures["authority", "bias"] == pytest.approx(0.0, abs=4 * 0.2 / np.sqrt(REPLICATES))


def test_a_mixed_model_of_all_levels_takes_out_what_cancels() -> None:
    """Teams of an authority, or workers of a team, on either side: its size holds, its power is the design's."""
    for design, within in (
        ('unit = "team"', (0.08 + 0.05 / 4 + 0.77 / 20) / 3),
        ('unit = "worker"\nwithin = "team"', (0.05 + 0.77 / 5) / 12),
    ):
        measures = found(design)
        error = 4 * np.sqrt(within / (2 * REPLICATES))
        assert measures["model", "empirical_se"] == pytest.approx(np.sqrt(within), abs=error)
        assert measures["model", "size"] == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / REPLICATES))


@pytest.mark.parametrize(
    ("design", "share"),
    [
        ('unit = "worker"\nwithin = "team"', 0.5),
        ('unit = "worker"\nwithin = "team"\ntreated_share = 0.25', 0.25),
    ],
)
@pytest.mark.parametrize("more", ["", "informal = {share = 1.0, fidelity = 0.3}"])
def test_contamination_takes_its_share_of_the_effect(design: str, share: float, more: str) -> None:
    """Comparison workers have 0.6 x share of what the treated gain: the estimate is 1 - that of the truth.

    The truth leaves it out, since without the study nobody would have it; informal use is part of both.
    """
    measures = found(f"{design}\ncontamination = 0.6", more=more)
    truth = 0.4 * (0.7 if more else 1.0)
    assert measures["own", "truth"] == pytest.approx(truth)
    error = measures["own", "empirical_se"] / np.sqrt(REPLICATES)
    assert measures["own", "bias"] == pytest.approx(-0.6 * share * truth, abs=4 * error)
    assert measures["own", "null_bias"] == pytest.approx(0.0, abs=4 * error)


def test_a_dose_by_worker_is_that_of_the_authority_that_the_worker_starts_with() -> None:
    """Row by row: those who start as if all had started, the others as if nobody had."""
    settings = WorldSettings.model_validate(
        {
            "authorities": 6,
            "informal": {"share": 0.5, "fidelity": 0.3},
            "fidelity": {"turnover": 0.3, "shock": 0.2},
            "effect_sd": 0.5,
            "leaving": {},
            "inspections": {},
            "anticipation": 0.2,
        }
    )
    world = draw_world(settings, {"y": SurveyedContinuous(effect=1.0)}, 30, Streams(3, 0))
    unit = np.tile(np.arange(4), (30, 1))
    workers, occasions = np.array([0, 1, 6, 7]), np.arange(settings.time.occasions)
    treated = np.random.default_rng(1).random((30, 16)) < 0.5
    first = settings.time.start
    dose = worker_dose(world, unit, np.where(treated, first, NEVER), occasions, workers)
    every, nobody = (
        worker_dose(world, unit, np.full((1, 4), start), occasions, workers) for start in (first, NEVER)
    )
    assert np.array_equal(dose, np.where(treated[:, :, np.newaxis], every, nobody))
    of_teams = worker_dose(world, unit, np.where(treated[:, ::2], first, NEVER), occasions, workers)
    assert np.array_equal(
        of_teams, np.where(np.repeat(treated[:, ::2], 2, axis=1)[:, :, np.newaxis], every, nobody)
    )


MEASURED = TEXT.replace("{design}", 'unit = "{unit}"\nmeasurement = {measurement}').replace(
    "MORE", "audit = {{}}"
)


@pytest.mark.parametrize("unit", ["team", "worker"])
def test_losses_and_shading_follow_the_arm_of_the_unit(unit: str) -> None:
    """A treated unit loses its share and is shaded, and a comparison unit of the same authority is not."""
    text = MEASURED.format(
        unit=unit,
        icc=ICC,
        levels=LEVELS,
        measurement="{loss_treated = 0.4, observer_bias = 100.0, loss_comparison = 0.1}",
    )
    scenario = parse(text, "t").cases[0].scenario
    world = draw_world(scenario.world, scenario.outcomes, 500, Streams(2, 0))
    panel = carry_out(scenario, scenario.studies["trial"], world).stated
    treated = np.broadcast_to(panel.treated[:, :, -1:], panel.cells.mean.shape)
    assert panel.cells.n[treated].mean() == pytest.approx(5 * 0.6, abs=0.05)
    assert panel.cells.n[~treated].mean() == pytest.approx(5 * 0.9, abs=0.05)
    assert np.nanmin(panel.cells.mean[treated]) > 50 > np.nanmax(panel.cells.mean[~treated])
    assert panel.fidelity_score is None


@pytest.mark.parametrize("unit", ["team", "worker"])
def test_losses_by_outcome_follow_the_arm_of_the_unit(unit: str) -> None:
    """On average over families as stated for each arm, where families are drawn singly."""
    text = MEASURED.format(
        unit=unit, icc=ICC, levels=LEVELS, measurement="{loss_treated = 0.4, loss_by_outcome = 0.7}"
    )
    text = text.replace("effect = 0.4", "effect = 0.0")
    scenario = parse(text, "t").cases[0].scenario
    world = draw_world(scenario.world, scenario.outcomes, 500, Streams(2, 0))
    panel = carry_out(scenario, scenario.studies["trial"], world).stated
    treated = np.broadcast_to(panel.treated[:, :, -1:], panel.cells.mean.shape)
    assert panel.cells.n[treated].mean() == pytest.approx(5 * 0.6, abs=0.05)
    assert (panel.cells.n[~treated] == 5).all()


def test_the_average_twin_of_workers_has_no_mean_effect_and_keeps_contamination() -> None:
    """Treated workers differ in effect around nothing, and comparison ones pick up their share of that."""
    text = TEXT.format(
        design='unit = "worker"\nwithin = "team"\ncontamination = 0.5', icc="0.0", levels=LEVELS
    )
    text = text.replace("MORE", "effect_sd = 2.0\naverage_twin = true")
    text = text.replace("average_twin = true", "").replace("replicates", "average_twin = true\nreplicates", 1)
    scenario = parse(text, "t").cases[0].scenario
    world = draw_world(scenario.world, scenario.outcomes, 400, Streams(2, 0))
    twins = carry_out(scenario, scenario.studies["trial"], world, average=True)
    assert twins.average is not None
    moved = (twins.average.cells.mean - twins.null.cells.mean)[:, :, 0].reshape(400, 12, 4)
    assert np.abs(moved[:, :, :2].mean(axis=(1, 2))).max() < 1e-12
    assert np.allclose(moved[:, :, 2:], 0.25 * moved[:, :, :2].mean(axis=2, keepdims=True))
    assert moved[:, :, :2].std() > 0.5


def test_the_same_trial_in_single_families_has_the_same_distribution() -> None:
    """Cells of workers are exact for a trial of workers too."""
    estimates = []
    for resolution in ("cell", "unit"):
        text = TEXT.format(design='unit = "worker"\ncontamination = 0.3', icc=ICC, levels=LEVELS).replace(
            "MORE", ""
        )
        scenario = parse(f'resolution = "{resolution}"\n{text}', "t").cases[0].scenario
        world = draw_world(scenario.world, scenario.outcomes, 800, Streams(7, len(resolution) % 2))
        panel = carry_out(scenario, scenario.studies["trial"], world).stated
        cells, treated = panel.cells.pool(panel.roster, "worker"), panel.start < NEVER
        means = cells.mean[:, :, 0]
        estimates.append((means * treated).sum(axis=1) / 24 - (means * ~treated).sum(axis=1) / 24)
    assert stats.ks_2samp(*estimates).pvalue > 1e-4


def test_contamination_within_a_study_is_switched_off_with_that_of_the_world() -> None:
    """The error budget has one mechanism for both."""
    text = TEXT.format(design='unit = "worker"\ncontamination = 0.3', icc=ICC, levels=LEVELS)
    scenario = parse(text.replace("MORE", "informal = {share = 0.5, fidelity = 0.3}"), "t").cases[0].scenario
    on = Conditions(scenario.world, scenario.outcomes, scenario.studies["trial"].design)
    off = MECHANISMS["contamination"](on)
    assert (spillover_of(on.design), spillover_of(off.design)) == (0.3, 0.0)
    assert off.world.informal is None
    assert MECHANISMS["contamination"](off) == off


@pytest.mark.parametrize(
    ("design", "said", "kind"),
    [
        ('unit = "team"', "6 teams with the framework and 6 without it, in 6 authorities", "trial of teams"),
        ('unit = "worker"', "24 workers with the framework and 24 without it, in 6", "trial of workers"),
        ("", "3 authorities with the framework and 3 without it", "cluster randomised trial"),
    ],
)
def test_arms_are_told_in_the_units_that_were_dealt_out(design: str, said: str, kind: str) -> None:
    """A reader of the report is not told that teams are authorities."""
    text = TEXT.format(design=design, icc=ICC, levels=LEVELS).replace("MORE", "")
    text = text if design else re.sub("answers.(authority|law) = .*", "", text)
    scenario = parse(text, "t").cases[0].scenario
    study = scenario.studies["trial"]
    world = draw_world(scenario.world, scenario.outcomes, 3, Streams(1, 0))
    allocation = study.design.allocate(world, world.streams)
    assert arms_words(study, allocation, scenario.world.time.occasions).startswith(said)
    assert kind_of(study) == kind


def test_teams_that_are_not_there_are_told_of_no_arm() -> None:
    """Where authorities have fewer teams than are asked for, the report counts those that there are."""
    text = TEXT.format(design='unit = "team"', icc=ICC, levels=LEVELS).replace("MORE", "")
    text = text.replace("[outcomes.y]", "workers = {per_10000_children = 1.0, per_team = 4}\n[outcomes.y]")
    scenario = parse(text, "t").cases[0].scenario
    study = scenario.studies["trial"]
    world = draw_world(scenario.world, scenario.outcomes, 3, Streams(1, 0))
    allocation = study.design.allocate(world, world.streams)
    there = int(np.minimum(world.n_teams[allocation.unit[0]], 2).sum())
    assert there < 12
    assert sum(n for *_, n in arms_of(study, allocation)) == there


def test_families_as_clusters_are_the_naive_analysis() -> None:
    """The t test on families, one by one, is least squares with N - 2 degrees of freedom: what should not be done."""
    text = TEXT.format(design="", icc=ICC, levels=LEVELS).replace("MORE", "")
    text = re.sub("answers.* = .*\n", "", text)
    naive = 'answers.naive = {estimator = "clustered_regression", variance = "naive", estimand = "offered"}\n'
    singly = 'answers.singly = {estimator = "cluster_means", estimand = "offered", clusters = "family"}\n'
    scenario = parse(text + naive + singly, "t").cases[0].scenario
    study = scenario.studies["trial"]
    world = draw_world(scenario.world, scenario.outcomes, 50, Streams(1, 0))
    panel = carry_out(scenario, study, world).stated
    found = [
        analyse(answer.estimator, clustered(panel, study.clusters_of(answer)), world.streams, 50)
        for answer in study.answers.values()
    ]
    assert found[0].p_value == pytest.approx(found[1].p_value)
    assert found[1].df == pytest.approx(6 * 40 - 2)
