"""From a scenario file to its answers: bounded scores, siblings, shares of workers, and adjustment."""

from dataclasses import dataclass

import numpy as np
import pytest

from design_sim.errors import ScenarioError
from design_sim.performance import measure
from design_sim.scenario import Scenario
from design_sim.simulate import carry_out, simulate
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.tally import Tally
from design_sim.theory import variance_of_authority_mean
from design_sim.world.draw import draw_world
from design_sim.world.settings import block_size

FILE = """
seed = 3
{top}
[world]
authorities = 40
uptake = 1.0
fidelity = {{mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}}
[outcomes.y]
source = "survey"
{outcome}
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 20
baseline_years = {baseline}
sample = {{teams = 2, workers = 3, families = 5}}
{answers}
"""
SCORE = 'kind = "continuous"\neffect = 0.5\nicc = {authority = 0.1}\n'
YES = 'kind = "binary"\nmean = 0.3\neffect = 0.1\nicc = {authority = 0.05, team = 0.02, worker = 0.1}\n'
BASELINE = "covariate = {{icc = {{authority = 0.1}}, correlation = {{authority = {authority}, family = {family}}}}}\n"
PLAIN = 'answers.plain = {estimator = "clustered_regression", estimand = "offered"}\n'
ADJUSTED = (
    'answers.{name} = {{estimator = "{estimator}", covariates = ["covariate"], estimand = "offered"}}\n'
)
OLS = ADJUSTED.format(name="adjusted", estimator="clustered_regression")
MIXED = ADJUSTED.format(name="mixed", estimator="mixed_model")


@dataclass
class Stated:
    """A file's parts."""

    outcome: str
    answers: str = PLAIN
    top: str = ""
    baseline: int = 0

    def scenario(self) -> Scenario:
        """The scenario of the file."""
        return parse(FILE.format(**self.__dict__), "families").cases[0].scenario

    def run(self, replicates: int = 1_024) -> dict[str, Tally]:
        """Tallies by answer."""
        return {answer: tally for (_, answer), tally in simulate([self.scenario()], replicates)[0].items()}


@pytest.mark.parametrize("baseline", [0, 1])
def test_adjustment_takes_the_explained_share_off_every_level(baseline: int) -> None:
    """With rho at every level the variance is 1 - rho^2 of what it was, by least squares and mixed model."""
    covariate = BASELINE.format(authority=0.7, family=0.7)
    found = Stated(SCORE + covariate, PLAIN + OLS + MIXED, baseline=baseline).run()
    variance = variance_of_authority_mean([0.1, 0.0, 0.0, 0.9], [2, 3, 5]) * 2 / 10
    for answer, left in (("plain", 1.0), ("adjusted", 1 - 0.49), ("mixed", 1 - 0.49)):
        bias, error = measure(found[answer], "bias"), measure(found[answer], "empirical_se")
        size = measure(found[answer], "size")
        assert bias.value == pytest.approx(0, abs=4 * bias.mcse)
        assert error.value == pytest.approx(np.sqrt(variance * left), abs=4 * error.mcse)
        assert size.value == pytest.approx(0.05, abs=4 * size.mcse)


@pytest.mark.parametrize(("authority", "family"), [(0.0, 0.7), (0.9, 0.0)])
def test_one_slope_for_all_levels_leaves_what_algebra_says(authority: float, family: float) -> None:
    """Least squares has b = sum of rho x share: a level's variance becomes share (1 - 2 b rho + b^2)."""
    covariate = BASELINE.format(authority=authority, family=family)
    found = Stated(SCORE + covariate, PLAIN + OLS).run()
    slope = 0.1 * authority + 0.9 * family
    left = [
        share * (1 - 2 * slope * rho + slope**2)
        for share, rho in ((0.1, authority), (0.0, 0), (0.0, 0), (0.9, family))
    ]
    expected = np.sqrt(variance_of_authority_mean(left, [2, 3, 5]) * 2 / 10)
    error = measure(found["adjusted"], "empirical_se")
    assert error.value == pytest.approx(expected, abs=4 * error.mcse)


def test_a_study_that_adjusts_is_given_single_families() -> None:
    """The covariate is each family's own; with a baseline year every family has a row of its own."""
    stated = Stated(SCORE + BASELINE.format(authority=0.0, family=0.5), PLAIN + OLS, baseline=1)
    scenario = stated.scenario()
    study = scenario.studies["trial"]
    world = draw_world(scenario.world, scenario.outcomes, block_size(scenario.world), Streams(3, 0))
    _, panel, null = carry_out(scenario, study, world)[:3]
    assert scenario.resolution_of(study) == "unit"
    assert panel.roster.n_rows == 20 * 30 * 2
    assert panel.covariates["covariate"].shape == (panel.n_replicates, 1_200)
    assert np.array_equal(panel.covariates["covariate"], null.covariates["covariate"])
    assert (panel.cells.n.sum(axis=2) == 1).all()


@pytest.mark.parametrize(
    "outcome",
    [
        'kind = "continuous"\nmean = 80.0\nsd = 16.8\nbounds = [0, 95]\neffect = 5.0\n',
        SCORE + "children_per_family = 1.73\nsibling_correlation = 0.9\n",
        YES,
        YES + "children_per_family = 1.73\n",
    ],
    ids=["bounded", "siblings", "binary", "binary siblings"],
)
@pytest.mark.parametrize("resolution", ["auto", "unit"])
def test_answers_are_unbiased_and_hold_their_size(outcome: str, resolution: str) -> None:
    """Authority means of equal samples: nothing of this biases a trial, whatever rows it comes in."""
    answers = 'answers.t = {estimator = "cluster_means", estimand = "offered", weighted_by = "authority"}'
    found = Stated(outcome, answers, top=f'resolution = "{resolution}"').run(512)["t"]
    bias, size = measure(found, "bias"), measure(found, "size")
    assert bias.value == pytest.approx(0, abs=4 * bias.mcse)
    assert size.value == pytest.approx(0.05, abs=4 * size.mcse)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (
            Stated(SCORE, OLS),
            "designs.trial.answers.adjusted.covariates: 'covariate' needs the table outcomes.y.covariate",
        ),
        (
            Stated(SCORE + BASELINE.format(authority=0.0, family=0.5)),
            "outcomes.y.covariate: has no effect, since no answer has it among its covariates",
        ),
        (
            Stated(SCORE + BASELINE.format(authority=0.0, family=0.5), OLS, 'resolution = "cell"'),
            "designs.trial.answers.adjusted.covariates: needs single families, which resolution cell",
        ),
        (
            Stated(
                SCORE + "children_per_family = 1.5",
                'answers.t = {estimator = "statsmodels_ols", estimand = "offered"}',
            ),
            "designs.trial.answers.t.estimator: needs observations one by one, and families of 'y'",
        ),
        (
            Stated(SCORE + "children_per_family = 0.5"),
            "outcomes.y.children_per_family: 0.5 is below 1, the least",
        ),
        (Stated(SCORE + "sibling_correlation = 0.5"), "outcomes.y: sibling_correlation has no effect while"),
        (Stated(SCORE + "bounds = [0, 95]"), "outcomes.y: a mean of 0 is not within the bounds, 0 to 95"),
        (
            Stated(SCORE + "bounds = ['low', 95]\nmean = 60"),
            "outcomes.y.bounds.1: found 'low'; allowed: a number",
        ),
        (
            Stated(SCORE + "bounds = [-2, 2]\ntrend = 0.7"),
            "outcomes.y.trend: in year 3 from the start, a mean of 2.1 is not within the bounds, -2 to 2",
        ),
        (Stated(YES.replace("0.1}", "0.94}")), "outcomes.y.icc: the shares sum to 1.01"),
        (
            Stated(YES.replace("0.1}", "0.92}")),
            "outcomes.y: a mean of 0.3 cannot be had with a standard deviation of 0.455961; below 0.445 it "
            "can (icc is the share that its square is of mean x (1 - mean))",
        ),
        (Stated(YES.replace("icc = {", "icc = true\n#")), "outcomes.y.icc: found true; allowed: a table"),
    ],
)
def test_what_cannot_be_had_is_said_by_its_path(stated: Stated, said: str) -> None:
    """One line with where, what was found and why it will not do."""
    text = FILE.format(**stated.__dict__).replace("[world]\n", "[world]\ntime.years_after = 4\n")
    with pytest.raises(ScenarioError) as refused:
        parse(text, "bad")
    assert said in str(refused.value)
