"""The trial of families: who is dealt out, cells against single families, and closed forms."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from design_sim.allocation import NEVER, Allocation
from design_sim.cells import Cells
from design_sim.designs.dealing import shared_out
from design_sim.designs.family_rct import FamilyRCT
from design_sim.errors import ScenarioError
from design_sim.results import run
from design_sim.roster import Roster
from design_sim.simulate import Twins, analyse, carry_out, clustered
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.theory import t_test_power
from design_sim.world.draw import World, draw_world, enrolled
from design_sim.world.outcomes import SurveyedContinuous
from design_sim.world.settings import WorldSettings

TEXT = """
resolution = "{resolution}"
replicates = 2_000
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
outcome = "y"
authorities = 4
sample = {{teams = 2, workers = 3, families = 6}}
{design}
{answers}
"""
ICC = "icc = {authority = 0.1, team = 0.05, worker = 0.1}"
CONTINUOUS = f'kind = "continuous"\neffect = 0.5\n{ICC}'
OUTCOMES = {
    "continuous": CONTINUOUS,
    "bounded": f'kind = "continuous"\nmean = 3.0\nbounds = [0, 4]\neffect = 0.5\n{ICC}',
    "siblings": f"{CONTINUOUS}\nchildren_per_family = 1.73",
    "binary": f'kind = "binary"\nmean = 0.3\neffect = 0.2\n{ICC}',
    "count": 'kind = "count"\nmean = 2.0\neffect = -1.0\noverdispersion = 1.5',
    "duration": 'kind = "duration"\nmean = 1.0\nsd = 0.9\neffect = -0.4',
}
NAIVE = 'answers.naive = {estimator = "clustered_regression", variance = "naive", estimand = "offered", '
CR2 = 'answers.cr2 = {estimator = "clustered_regression", estimand = "offered", clusters = "worker"}\n'
IV = 'answers.iv = {estimator = "instrumental_variables", estimand = "delivered", clusters = "worker"}\n'
ANSWERS = NAIVE + 'clusters = "authority"}\n' + CR2 + IV
BY_FAMILY = """
answers.means = {estimator = "cluster_means", estimand = "offered"}
answers.law = {estimator = "permutation", estimand = "offered"}
"""


def text_of(outcome: str = CONTINUOUS, design: str = "", answers: str = ANSWERS, **settings: object) -> str:
    """A scenario of one trial."""
    stated = {"uptake": 0.6, "worker_sd": 0.0, "more": "", "resolution": "auto", **settings}
    return TEXT.format(outcome=outcome, design=design, answers=answers, **stated)


def carried_out(text: str, n: int = 600, block: int = 0) -> tuple[Twins, World]:
    """One block of a trial."""
    scenario = parse(text, "t").cases[0].scenario
    world = draw_world(scenario.world, scenario.outcomes, n, Streams(3, block))
    return carry_out(scenario, scenario.studies["trial"], world, average=scenario.average_twin), world


@cache
def found(text: str) -> dict[tuple[str, str], float]:
    """Measures of a run by answer and name."""
    table = run(parse(text, "t")).performance
    return dict(zip(zip(table["answer"], table["measure"], strict=True), table["value"], strict=True))


def test_parts_of_a_draw_are_multivariate_hypergeometric() -> None:
    """Means and covariances of NumPy's own, part by part, and whole numbers that add up."""
    rng, sizes = np.random.default_rng(1), np.array([3, 5, 0, 4, 7])
    drawn = shared_out(np.full(40_000, 8), np.broadcast_to(sizes, (40_000, 5)), rng)
    assert (drawn.sum(axis=1) == 8).all()
    assert ((drawn >= 0) & (drawn <= sizes)).all()
    mean = 8 * sizes / 19
    spread = 8 * 11 / 18 * (np.diag(sizes / 19) - np.outer(sizes, sizes) / 19**2)
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=4 * np.sqrt(spread.diagonal().max() / 40_000))
    assert np.cov(drawn.T) == pytest.approx(spread, abs=0.05)


@pytest.mark.parametrize("within", ["worker", "authority", "study"])
def test_numbers_are_fixed_within_the_stratum(within: str) -> None:
    """Six families of each worker, a third of them offered: two of each, or so many of all together."""
    settings = WorldSettings(authorities=8)
    world = draw_world(settings, {"y": SurveyedContinuous(effect=0.5)}, 300, Streams(1, 0))
    design = FamilyRCT.model_validate(
        {
            "outcome": "y",
            "authorities": 4,
            "within": within,
            "treated_share": 1 / 3,
            "sample": {"teams": 2, "workers": 3, "families": 6},
        }
    )
    families = design.allocate(world, world.streams).families
    assert families is not None
    per_stratum = {"worker": 1, "authority": 6, "study": 24}[within]
    assert (families.reshape(families.shape[0], -1, per_stratum).sum(axis=2) == 2 * per_stratum).all()
    assert families.shape[0] == (1 if within == "worker" else 300)


def test_missing_teams_have_no_families_to_deal_out() -> None:
    """Where authorities have one team, the second's workers have none; shares hold for those that are there."""
    people = {"per_10000_children": 8.0, "per_team": 3}
    size = {"log_mean": 8.0, "log_sd": 0.5, "smallest": 1_500.0, "largest": 9_000.0}
    settings = WorldSettings.model_validate({"authorities": 8, "workers": people, "size": size})
    world = draw_world(settings, {"y": SurveyedContinuous(effect=0.5)}, 300, Streams(1, 0))
    stated = {"outcome": "y", "authorities": 4, "sample": {"teams": 2, "workers": 3, "families": 6}}
    for within in ("worker", "study"):
        allocation: Allocation = FamilyRCT.model_validate({**stated, "within": within}).allocate(
            world, world.streams
        )
        assert allocation.families is not None
        there = enrolled(world.n_teams[np.newaxis], allocation.unit)[:, :, np.newaxis] > np.arange(2)
        assert not there.all()
        of_teams = allocation.families.reshape(300, 4, 2, 3).sum(axis=3)
        assert (of_teams[~there] == 0).all()
        assert of_teams.sum() / (18 * there.sum()) == pytest.approx(0.5, abs=0.01)


def test_cells_of_arms_pool_single_families() -> None:
    """Rows of a worker divided by arm: number, mean and sum of squares of each, by hand."""
    roster = Roster(np.zeros(5, int), np.zeros(5, int), np.array([0, 0, 0, 1, 1]))
    mean = np.array([[[1.0], [3.0], [8.0], [2.0], [4.0]], [[1.0], [3.0], [8.0], [2.0], [4.0]]])
    cells = Cells(np.ones((1, 5, 1)), mean, np.zeros((1, 5, 1)))
    treated = np.array([[True, True, False, True, True], [False, True, True, False, True]])
    pooled = cells.by_arm(roster, treated)
    assert pooled.n[:, :, 0].tolist() == [[2, 1, 2, 0], [2, 1, 1, 1]]
    assert pooled.mean[0, :3, 0].tolist() == [2.0, 8.0, 3.0]
    assert np.isnan(pooled.mean[0, 3, 0])
    assert pooled.mean[1, :, 0].tolist() == [5.5, 1.0, 4.0, 2.0]
    assert pooled.ss is not None
    assert pooled.ss[:, :, 0].tolist() == [[2.0, 0.0, 2.0, 0.0], [12.5, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("within", ["worker", "study"])
def test_cells_and_families_give_the_same_distribution(outcome: str, within: str) -> None:
    """Two cells of each worker are exact: on other draws, families one by one answer alike."""
    estimates = []
    for block, resolution in enumerate(("cell", "unit")):
        text = text_of(OUTCOMES[outcome], f'within = "{within}"\ncontamination = 0.3', resolution=resolution)
        text = text.replace("[world]", "[world]\ninformal = {share = 0.5, fidelity = 0.3}")
        scenario = parse(text, "t").cases[0].scenario
        study = scenario.studies["trial"]
        streams = Streams(5, block)
        panel = carry_out(scenario, study, draw_world(scenario.world, scenario.outcomes, 500, streams)).stated
        assert panel.roster.n_rows == (48 if resolution == "cell" else 144)
        estimates.append(
            [
                analyse(answer.estimator, clustered(panel, study.clusters_of(answer)), streams, 500)
                for answer in study.answers.values()
            ]
        )
    for cell, unit in zip(*estimates, strict=True):
        assert stats.ks_2samp(cell.estimate, unit.estimate).pvalue > 1e-4
        assert stats.ks_2samp(cell.std_error, unit.std_error).pvalue > 1e-4


def test_rows_are_treated_from_the_start_on_and_only_those_offered() -> None:
    """In cells every other row; in families the first ones of each worker; never before the start."""
    for resolution, size in (("cell", 2), ("unit", 6)):
        twins, _ = carried_out(text_of(design="baseline_years = 1", resolution=resolution), 20)
        panel = twins.stated
        assert panel.assigned == "row"
        assert not panel.treated[:, :, 0].any()
        treated = panel.treated[:, :, 1].reshape(-1, 24, size)
        assert treated[:, :, : size // 2].all()
        assert not treated[:, :, size // 2 :].any()


def test_families_of_a_covariate_keep_their_arm() -> None:
    """Each stands in a row that is empty at other occasions, and half of those seen at each are offered."""
    adjusted = (
        'answers.a = {estimator = "clustered_regression", covariates = ["covariate"], estimand = "offered"}'
    )
    outcome = CONTINUOUS + "\ncovariate = {correlation = {family = 0.5}}"
    twins, _ = carried_out(text_of(outcome, "years = 2", adjusted), 20)
    panel = twins.stated
    n = np.broadcast_to(panel.cells.n, panel.cells.mean.shape)
    for occasion in (0, 1):
        seen = n[0, :, occasion] > 0
        assert seen.sum() == 144
        assert panel.treated[0, seen, occasion].sum() == 72


def test_families_alone_make_the_variance() -> None:
    """Authorities, teams and workers cancel: 2 x family share / families of an arm."""
    variance = 0.75 * (1 / 72 + 1 / 72)
    measures = found(text_of(uptake=1.0))
    assert measures["cr2", "empirical_se"] == pytest.approx(
        np.sqrt(variance), abs=4 * np.sqrt(variance / 4_000)
    )
    assert measures["cr2", "bias"] == pytest.approx(0.0, abs=4 * np.sqrt(variance / 2_000))
    assert measures["cr2", "size"] == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / 2_000))


def test_independent_families_have_the_power_of_two_samples() -> None:
    """With nothing shared, 72 families against 72: the two-sample t test, family by family, and naive in cells."""
    alone = 'kind = "continuous"\neffect = 0.5\nicc = 0.0'
    power = float(t_test_power(0.4, np.sqrt(2 / 72), 142))
    measures = found(text_of(alone, 'within = "study"', ANSWERS + BY_FAMILY, uptake=1.0))
    for answer in ("means", "naive", "law"):
        assert measures[answer, "power"] == pytest.approx(power, abs=4 * 0.5 / np.sqrt(2_000))
        assert measures[answer, "size"] == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / 2_000))


def test_the_law_of_families_within_workers_holds_its_size_whatever_they_share() -> None:
    """Permutation within workers; a t test of families that leaves workers out is conservative."""
    measures = found(text_of(answers=BY_FAMILY, uptake=1.0))
    assert measures["law", "size"] == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / 2_000))
    assert measures["means", "size"] < 0.04
    assert measures["law", "power"] > measures["means", "power"]


@pytest.mark.parametrize("within", ["worker", "study"])
def test_contamination_takes_its_share_of_the_gain(within: str) -> None:
    """Comparison families have 0.4 of what their worker gains: the estimate is 0.6 of the truth."""
    measures = found(text_of(design=f'within = "{within}"\ncontamination = 0.4', worker_sd=0.2))
    truth = measures["cr2", "truth"]
    error = measures["cr2", "empirical_se"] / np.sqrt(2_000)
    assert measures["cr2", "bias"] == pytest.approx(-0.4 * truth, abs=4 * error)
    assert measures["cr2", "null_bias"] == pytest.approx(0.0, abs=4 * error)


def test_losses_follow_the_arm_of_the_family() -> None:
    """At random in cells and in families, and by outcome: so many of each arm as stated."""
    for measurement in (
        "{loss_treated = 0.5, loss_comparison = 0.2}",
        "{loss_treated = 0.5, loss_comparison = 0.2, loss_by_outcome = 0.5}",
    ):
        for resolution in ("cell", "unit"):
            text = text_of(design=f"measurement = {measurement}", resolution=resolution)
            twins, _ = carried_out(text, 400)
            panel = twins.null
            n = np.broadcast_to(panel.cells.n, panel.cells.mean.shape)[:, :, 0]
            treated = np.broadcast_to(panel.treated[:, :, 0], n.shape)
            assert (n * treated).sum(axis=1).mean() == pytest.approx(36, abs=0.9)
            assert (n * ~treated).sum(axis=1).mean() == pytest.approx(0.8 * 72, abs=0.9)


def test_observers_shade_the_families_that_were_offered() -> None:
    """And no others of the same worker."""
    for resolution in ("cell", "unit"):
        twins, _ = carried_out(
            text_of(design="measurement = {observer_bias = 100.0}", resolution=resolution), 20
        )
        mean, treated = twins.null.cells.mean, twins.null.treated
        treated = np.broadcast_to(treated, mean.shape)
        assert mean[treated].min() > 50 > mean[~treated].max()


def test_the_average_twin_of_families_has_no_mean_effect() -> None:
    """Effects of authorities differ about nothing, and the comparison families have their share of that."""
    text = text_of(design="contamination = 0.5", uptake=1.0, more="effect_sd = 2.0")
    twins, _ = carried_out(text.replace("replicates", "average_twin = true\nreplicates", 1), 200)
    assert twins.average is not None
    moved = (twins.average.cells.mean - twins.null.cells.mean)[:, :, 0].reshape(200, 24, 2)
    assert np.abs(moved[:, :, 0].mean(axis=1)).max() < 1e-12
    assert np.allclose(moved[:, :, 1], 0.5 * moved[:, :, 0])
    assert moved.std() > 0.3


@pytest.mark.parametrize(
    ("design", "answers", "said"),
    [
        ("treated_share = 0.05", ANSWERS, "treated_share: the 6 families sampled in each worker cannot"),
        ("authorities = 9", ANSWERS, "9 authorities wanted"),
        (
            "",
            'answers.a = {estimator = "cluster_means", estimand = "offered", clusters = "worker"}',
            "differs",
        ),
        (
            "",
            'answers.a = {estimator = "likelihood_ratio", estimand = "offered", clusters = "team"}',
            "differs",
        ),
        (
            "baseline_years = 1",
            'answers.a = {estimator = "cluster_means", change = true, estimand = "offered"}',
            "when the families are others",
        ),
        ('within = "team"', ANSWERS, "found 'team'"),
    ],
)
def test_what_cannot_be_had_is_refused(design: str, answers: str, said: str) -> None:
    """Too few families, and analyses that cannot take arms within their clusters."""
    text = text_of(design=design, answers=answers)
    if design.startswith("authorities"):
        text = text.replace("authorities = 4\n", "")
    with pytest.raises(ScenarioError) as refused:
        parse(text, "t")
    assert any(said in fault for fault in refused.value.faults), refused.value.faults


def test_permutation_is_refused_where_rows_are_cells() -> None:
    """The law deals out families, and resolution cell does not draw them."""
    with pytest.raises(ScenarioError, match="needs single families, which resolution cell does not draw"):
        parse(text_of(answers=BY_FAMILY, resolution="cell"), "t")


def test_a_sample_is_needed() -> None:
    """Without one there are no families to randomise."""
    text = text_of().replace("sample = {teams = 2, workers = 3, families = 6}\n", "")
    with pytest.raises(ScenarioError, match="sample: missing; its families are what the design randomises"):
        parse(text, "t")


def test_starts_of_single_families_follow_the_numbers_of_each_replicate() -> None:
    """Hypergeometric numbers: the first so many of a worker's families start."""
    twins, _ = carried_out(text_of(design='within = "study"', resolution="unit"), 50)
    assert twins.allocation.families is not None
    assert twins.stated.start.shape == (50, 144)
    starting = (twins.stated.start < NEVER).reshape(50, 24, 6)
    assert np.array_equal(starting.sum(axis=2), twins.allocation.families)
    assert (np.diff(starting.astype(int), axis=2) <= 0).all()
