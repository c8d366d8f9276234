"""Comparison families with workers of their own: who is who, cells against families, closed forms."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from design_sim import theory
from design_sim.allocation import NEVER, Randomisation
from design_sim.designs.family_rct import FamilyRCT
from design_sim.errors import ScenarioError
from design_sim.figures import FIGURES
from design_sim.panel import Panel
from design_sim.report import report
from design_sim.results import run
from design_sim.simulate import Twins, analyse, carry_out, clustered
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.wording import arms_of, arms_words
from design_sim.world.draw import draw_world, enrolled
from design_sim.world.families import sampled_workers
from design_sim.world.outcomes import SurveyedContinuous
from design_sim.world.settings import WorldSettings

FORMULAS = json.loads((Path(__file__).parents[1] / "reference/closed_form/formulas.json").read_text())[
    "cases"
]
TEXT = """
resolution = "{resolution}"
replicates = 4_000
[world]
authorities = 8
uptake = {uptake}
fidelity = {{mean = 0.8, authority_sd = 0.0, worker_sd = {worker_sd}, years_to_80_percent = 0.0}}
{more}
[outcomes.y]
source = "survey"
{outcome}
[designs.trial]
kind = "family_rct"
comparison_workers = "own"
outcome = "y"
authorities = 4
sample = {{teams = 1, workers = 2, families = 6}}
{design}
{answers}
"""
CONTINUOUS = 'kind = "continuous"\neffect = 0.5\nicc = {authority = 0.1, team = 0.05, worker = 0.1}'
OUTCOMES = {
    "continuous": CONTINUOUS,
    "bounded": CONTINUOUS + "\nmean = 3.0\nbounds = [0, 4]",
    "siblings": CONTINUOUS + "\nchildren_per_family = 1.73",
    "binary": 'kind = "binary"\nmean = 0.3\neffect = 0.2\nicc = {authority = 0.05, team = 0.05, worker = 0.1}',
    "count": 'kind = "count"\nmean = 2.0\neffect = -1.0\noverdispersion = 1.5',
    "duration": 'kind = "duration"\nmean = 1.0\nsd = 0.9\neffect = -0.4',
}
OF_WORKERS = 'kind = "continuous"\neffect = 0.5\nicc = {{authority = 0.0, worker = {icc}}}'
NESTED = (
    'answers.nested = {estimator = "partially_nested_model", estimand = "offered", clusters = "worker"}\n'
)
NAIVE = """
answers.naive = {estimator = "clustered_regression", variance = "naive", estimand = "offered", clusters = "worker"}
"""
IV = 'answers.iv = {estimator = "instrumental_variables", estimand = "delivered", clusters = "worker"}\n'
LAW = 'answers.law = {estimator = "permutation", estimand = "offered"}\n'


def text_of(
    outcome: str = CONTINUOUS, design: str = "", answers: str = NESTED + NAIVE, **settings: Any
) -> str:
    """A scenario of one trial."""
    stated = {"uptake": 1.0, "worker_sd": 0.0, "more": "", "resolution": "auto", **settings}
    return TEXT.format(outcome=outcome, design=design, answers=answers, **stated)


def carried_out(text: str, n: int = 200, block: int = 0) -> Twins:
    """One block of a trial."""
    scenario = parse(text, "t").cases[0].scenario
    world = draw_world(scenario.world, scenario.outcomes, n, Streams(3, block))
    return carry_out(scenario, scenario.studies["trial"], world, average=scenario.average_twin)


@cache
def found(text: str) -> dict[tuple[str, str], float]:
    """Measures of a run by answer and name."""
    table = run(parse(text, "t")).performance
    return dict(zip(zip(table["answer"], table["measure"], strict=True), table["value"], strict=True))


def sizes_of(panel: Panel) -> tuple[list[float], list[float]]:
    """Families of every worker of the treated and of the comparison arm, in the first replicate."""
    n = np.broadcast_to(panel.cells.n, panel.cells.mean.shape)[:, :, -1:]
    treated = panel.treated[:, :, -1:]
    of_arms = [panel.roster.pool(n * arm, "worker")[0, :, 0] for arm in (treated, ~treated)]
    assert not (of_arms[0] * of_arms[1]).any()
    treated_sizes, others = (arm[arm > 0].tolist() for arm in of_arms)
    return treated_sizes, others


def test_untrained_workers_are_those_of_the_teams_that_follow() -> None:
    """Two teams of two are sampled, so that the third and fourth of six have the comparison families."""
    sample = FamilyRCT.model_validate(
        {"outcome": "y", "authorities": 1, "sample": {"teams": 2, "workers": 2, "families": 3}}
    ).sample
    assert sample is not None
    workers, teams = sampled_workers(sample, 6, 8)
    assert workers.tolist() == [0, 1, 6, 7, *range(12, 20)]
    assert teams.tolist() == [0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3]


@pytest.mark.parametrize("resolution", ["cell", "unit"])
@pytest.mark.parametrize(("share", "others"), [(0.5, 48), (0.6, 32), (1 / 3, 96)])
def test_trained_workers_have_all_their_families_treated_and_others_one_each(
    resolution: str, share: float, others: int
) -> None:
    """Eight workers of six treated families; comparison families in the share that is left."""
    panel = carried_out(text_of(design=f"treated_share = {share}", resolution=resolution), 5).stated
    assert panel.assigned == "row"
    assert sizes_of(panel) == ([6.0] * 8, [1.0] * others)
    assert panel.roster.n_units("worker") == 8 + others
    assert panel.roster.n_rows == (8 if resolution == "cell" else 48) + others
    # six workers of a team: so many teams beside the sampled one, in each of four authorities
    assert panel.roster.n_units("team") == 4 * (1 + -(-others // 4 // 6))


def test_families_drawn_singly_and_pooled_are_cells_of_trained_workers() -> None:
    """Siblings are drawn one by one, and reach an answer that works with cells as those of workers."""
    panel = carried_out(text_of(OUTCOMES["siblings"]), 20).stated
    assert panel.roster.n_rows == 8 + 48
    assert (panel.start[0] < NEVER).tolist() == ([True] * 2 + [False] * 12) * 4
    n = np.broadcast_to(panel.cells.n, panel.cells.mean.shape)[:, :, 0].reshape(20, 4, 14)
    assert n[:, :, :2].mean() == pytest.approx(6 * 1.73, abs=0.5)
    assert n[:, :, 2:].mean() == pytest.approx(1.73, abs=0.2)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_cells_and_families_give_the_same_distribution(outcome: str) -> None:
    """A cell of each trained worker is exact: on other draws, families one by one answer alike."""
    estimates = []
    for block, resolution in enumerate(("cell", "unit")):
        text = text_of(OUTCOMES[outcome], "", NESTED + IV, uptake=0.6, worker_sd=0.1, resolution=resolution)
        text = text.replace("[world]", "[world]\ninformal = {share = 0.5, fidelity = 0.3}")
        scenario = parse(text, "t").cases[0].scenario
        study, streams = scenario.studies["trial"], Streams(5, block)
        panel = carry_out(scenario, study, draw_world(scenario.world, scenario.outcomes, 500, streams)).stated
        estimates.append(
            [
                analyse(answer.estimator, clustered(panel, study.clusters_of(answer)), streams, 500)
                for answer in study.answers.values()
            ]
        )
    for cell, unit in zip(*estimates, strict=True):
        assert stats.ks_2samp(cell.estimate, unit.estimate).pvalue > 1e-4
        assert stats.ks_2samp(cell.std_error, unit.std_error).pvalue > 1e-4


@pytest.mark.parametrize("icc", [0.1, 0.3])
@pytest.mark.parametrize("share", [0.5, 0.6])
def test_variance_size_and_power_are_those_of_clusters_in_one_arm(icc: float, share: float) -> None:
    """Eight clusters of six against independent families: the closed form, and Welch's degrees of freedom."""
    measures = found(text_of(OF_WORKERS.format(icc=icc), f"treated_share = {share}"))
    n_comparison = {0.5: 48, 0.6: 32}[share]
    variance = theory.one_arm_clustered_variance(8, 6, n_comparison, icc)
    of_mean = theory.variance_of_authority_mean([icc, 1 - icc], [6])
    df = theory.welch_degrees_of_freedom((of_mean, 1.0), (8, n_comparison))
    found_variance = measures["nested", "empirical_se"] ** 2
    assert found_variance == pytest.approx(variance, rel=4 * np.sqrt(2 / 4_000))
    assert measures["nested", "truth"] == pytest.approx(0.4)
    assert measures["nested", "bias"] == pytest.approx(0.0, abs=4 * np.sqrt(variance / 4_000))
    error = 4 * np.sqrt(0.05 * 0.95 / 4_000)
    assert measures["nested", "size"] == pytest.approx(0.05, abs=error)
    power = theory.t_test_power(0.4, variance**0.5, df)
    assert measures["nested", "power"] == pytest.approx(power, abs=4 * 0.5 / np.sqrt(4_000))
    assert measures["naive", "size"] > 0.05 + error


@pytest.mark.parametrize(
    "case", [case for case in FORMULAS if case["id"].startswith("irgt_")], ids=lambda case: case["id"]
)
def test_reference_trials_have_the_stated_error_and_power(case: dict[str, Any]) -> None:
    """Groups, comparison families, effect and ICC as given: standard error and power by Welch's df."""
    given, expected = case["inputs"], case["expected"]
    assert given["n_control"] == given["groups"] * given["m"]
    outcome = OF_WORKERS.format(icc=given["icc"]).replace("0.5", str(given["effect"] / 0.8))
    sample = f"workers = {given['groups'] // 4}, families = {given['m']}"
    measures = found(text_of(outcome).replace("workers = 2, families = 6", sample))
    spread = measures["nested", "empirical_se"]
    assert spread == pytest.approx(expected["se"], rel=4 * np.sqrt(0.5 / 4_000))
    power = expected["power_satterthwaite"]
    error = 4 * np.sqrt(power * (1 - power) / 4_000)
    assert measures["nested", "power"] == pytest.approx(power, abs=error)


def test_comparison_families_share_a_team_with_those_of_its_other_workers() -> None:
    """Six families of each comparison team, twelve of each trained one: their parts in the variance."""
    outcome = OF_WORKERS.format(icc=0.0).replace("authority = 0.0", "authority = 0.0, team = 0.2")
    measures = found(text_of(outcome))
    variance = 0.2 / 4 + 0.8 / 48 + 0.2 / 8 + 0.8 / 48
    assert measures["nested", "empirical_se"] ** 2 == pytest.approx(variance, rel=4 * np.sqrt(2 / 4_000))


def test_authorities_cancel_where_arms_are_dealt_out_within_them() -> None:
    """What authorities share is in both arms alike, and leaves the variance of workers and families."""
    outcome = 'kind = "continuous"\neffect = 0.5\nicc = {authority = 0.2, worker = 0.1}'
    measures = found(text_of(outcome))
    variance = 0.1 / 8 + 0.7 / 48 + 0.8 / 48
    assert measures["nested", "empirical_se"] ** 2 == pytest.approx(variance, rel=4 * np.sqrt(2 / 4_000))


def test_a_permutation_of_families_leaves_out_what_trained_workers_bring() -> None:
    """The law knows of no workers: of its size where they do not differ, and liberal where they do."""
    error = 4 * np.sqrt(0.05 * 0.95 / 4_000)
    alike, apart = (
        found(text_of(OF_WORKERS.format(icc=icc), answers=LAW))["law", "size"] for icc in (0.0, 0.3)
    )
    assert alike == pytest.approx(0.05, abs=error)
    assert apart > 0.05 + error


def test_nothing_of_the_framework_reaches_comparison_families() -> None:
    """They have what their authority uses anyway, also where sampled workers practise well."""
    text = text_of(answers=NAIVE, worker_sd=0.1, more="informal = {share = 1.0, fidelity = 0.3}")
    twins = carried_out(text, 50)
    moved = (twins.stated.cells.mean - twins.null.cells.mean)[:, :, 0]
    treated = twins.stated.treated[0, :, 0]
    assert np.allclose(moved[:, ~treated], 0.5 * 0.3)
    assert moved[:, treated].mean() == pytest.approx(0.4, abs=0.02)


def test_the_average_twin_has_no_mean_effect() -> None:
    """Effects of authorities differ about nothing in the treated families, and comparison families have none."""
    text = text_of(more="effect_sd = 2.0").replace("replicates", "average_twin = true\nreplicates", 1)
    twins = carried_out(text, 200)
    assert twins.average is not None
    moved = (twins.average.cells.mean - twins.null.cells.mean)[:, :, 0]
    treated = twins.stated.treated[0, :, 0]
    assert np.abs(moved[:, treated].mean(axis=1)).max() < 1e-12
    assert moved[:, treated].std() > 0.3
    assert not moved[:, ~treated].any()


def test_losses_follow_the_arm() -> None:
    """At random in cells and in families, and by outcome: so many of each arm as stated."""
    for measurement in (
        "{loss_treated = 0.5, loss_comparison = 0.2}",
        "{loss_treated = 0.5, loss_comparison = 0.2, loss_by_outcome = 0.5}",
    ):
        for resolution in ("cell", "unit"):
            text = text_of(design=f"measurement = {measurement}", resolution=resolution)
            panel = carried_out(text, 400).null
            n = np.broadcast_to(panel.cells.n, panel.cells.mean.shape)[:, :, 0]
            treated = np.broadcast_to(panel.treated[:, :, 0], n.shape)
            assert (n * treated).sum(axis=1).mean() == pytest.approx(24, abs=0.8)
            assert (n * ~treated).sum(axis=1).mean() == pytest.approx(0.8 * 48, abs=0.8)


def test_covariates_of_families_and_workers_reach_both_arms() -> None:
    """Known of each family, at each occasion of its own, and of each worker."""
    answer = (
        'answers.a = {{estimator = "partially_nested_model", covariates = ["{name}"], '
        'estimand = "offered", clusters = "worker"}}'
    )
    covariate = (
        CONTINUOUS + "\ncovariate = {correlation = {family = 0.5, worker = 0.5}, icc = {worker = 0.2}}"
    )
    panel = carried_out(text_of(covariate, "years = 2", answer.format(name="covariate")), 20).stated
    n = np.broadcast_to(panel.cells.n, panel.cells.mean.shape)
    for occasion in (0, 1):
        seen = n[0, :, occasion] > 0
        assert (seen & panel.treated[0, :, occasion]).sum() == 48
        assert seen.sum() == 96
    assert panel.covariates["covariate"].shape == (20, 192)
    measured = "measurement = {competence_reliability = 0.8}"
    panel = carried_out(text_of(design=measured, answers=answer.format(name="competence")), 20).stated
    competence = np.broadcast_to(panel.covariates["competence"], (20, panel.roster.n_rows))
    assert len(np.unique(competence[0])) == 56


def test_law_and_allocation_agree() -> None:
    """In each authority every choice of so many treated families was as likely."""
    twins = carried_out(text_of(answers=LAW), 5)
    law = twins.allocation.law
    assert isinstance(law, Randomisation)
    assert np.array_equal(np.array(law.start), twins.stated.start[0])
    assert law.stratum == tuple(np.repeat(np.arange(4), 24).tolist())
    assert twins.allocation.own_workers == 12


def test_authorities_without_other_teams_have_no_comparison_families() -> None:
    """Where an authority has one team or two, those that it lacks have no families, treated or not."""
    people = {"per_10000_children": 8.0, "per_team": 3}
    size = {"log_mean": 9.0, "log_sd": 0.5, "smallest": 3_000.0, "largest": 30_000.0}
    settings = {"authorities": 8, "workers": people, "size": size}
    world = draw_world(
        WorldSettings.model_validate(settings), {"y": SurveyedContinuous(effect=0.5)}, 300, Streams(1, 0)
    )
    design = FamilyRCT.model_validate(
        {
            "outcome": "y",
            "authorities": 4,
            "comparison_workers": "own",
            "sample": {"teams": 1, "workers": 2, "families": 3},
        }
    )
    allocation = design.allocate(world, world.streams)
    assert allocation.families is not None
    n_teams = enrolled(world.n_teams[np.newaxis], allocation.unit)
    assert set(np.unique(n_teams)) > {1}
    there = (allocation.stratum >= 0).reshape(300, 4, 8)
    others = there[:, :, 2:].sum(axis=2)
    assert there[:, :, :2].all()
    assert np.array_equal(others, 3 * np.minimum(n_teams - 1, 2))


def test_arms_are_counted_in_families() -> None:
    """What a report says of who is treated, and by whom comparison families are seen."""
    scenario = parse(text_of(design="treated_share = 0.6"), "t").cases[0].scenario
    study = scenario.studies["trial"]
    world = draw_world(scenario.world, scenario.outcomes, 5, Streams(3, 0))
    allocation = study.design.allocate(world, world.streams)
    assert [n for *_, n in arms_of(study, allocation)] == [48, 32]
    said = arms_words(study, allocation, scenario.world.time.occasions)
    assert said.startswith("48 families with the framework and 32 without it, in 4 authorities")
    results = run(parse(text_of(design="treated_share = 0.6"), "t"), replicates=64)
    assert "and 8 comparison families with a worker of their own" in report(results)
    drawn = FIGURES["allocations"](results)
    texts = [text.get_text() for axes in drawn.axes for text in axes.texts]
    assert any("and 8 with a worker of their own" in text for text in texts)


@pytest.mark.parametrize(
    ("design", "answers", "said"),
    [
        ('within = "study"', NESTED, "within has no effect with comparison_workers 'own'"),
        ("contamination = 0.2", NESTED, "contamination has no effect with comparison_workers 'own'"),
        ("treated_share = 0.99", NESTED, "treated_share: 0.99 leaves no comparison family"),
        ("treated_share = 0.005", NESTED, "2388 untrained workers of 398 teams wanted beside the 1 sampled"),
        ("", NESTED.replace(', clusters = "worker"', ""), "'worker' would do"),
    ],
)
def test_what_cannot_be_had_is_refused(design: str, answers: str, said: str) -> None:
    """Settings without effect, arms without families, and clusters of single families."""
    with pytest.raises(ScenarioError) as refused:
        parse(text_of(design=design, answers=answers), "t")
    assert any(said in fault for fault in refused.value.faults), refused.value.faults
