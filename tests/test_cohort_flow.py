"""From a scenario file to its answers: families that are followed, and what each analysis makes of them."""

from typing import Any

import numpy as np
import pytest

from design_sim import theory
from design_sim.errors import ScenarioError
from design_sim.performance import measure
from design_sim.simulate import carry_out, simulate
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.tally import Tally
from design_sim.world.draw import draw_world
from design_sim.world.settings import block_size

FILE = """
seed = 5
[world]
authorities = 40
uptake = 1.0
time = {{years_after = 3}}
fidelity = {{mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}}
[outcomes.y]
source = "survey"
{outcome}
[designs.trial]
outcome = "y"
{design}
sample = {{teams = 2, workers = 3, families = 5{cohort}}}
{answers}
"""
SCORE = 'kind = "continuous"\neffect = 0.5\nicc = {authority = 0.1}\n'
MEMORY = "memory = {{permanent_share = {}, autocorrelation = 0.0}}\n"
KEPT = "family_autocorrelation = 0.6\n"
TRIAL = 'kind = "cluster_rct"\nauthorities = 20\n'
ANSWERS = {
    "post": 'estimator = "clustered_regression"',
    "change": 'estimator = "clustered_regression", change = true',
    "change_of_means": 'estimator = "cluster_means", change = true',
    "mixed_change": 'estimator = "mixed_model", change = true',
    "own_baseline": 'estimator = "clustered_regression", covariates = ["own_baseline"]',
    "mixed_own_baseline": 'estimator = "mixed_model", covariates = ["own_baseline"]',
    "gee_own_baseline": 'estimator = "gee", covariates = ["own_baseline"]',
    "clda": 'estimator = "mixed_model", levels = ["authority", "family"], period_effects = true',
}


def answers(*names: str, clusters: str = "") -> str:
    """Lines of answers that are judged against the effect of the offer."""
    return "\n".join(
        f'answers.{name} = {{{ANSWERS[name]}{clusters}, estimand = "offered"}}' for name in names
    )


def file_of(**parts: str) -> str:
    """A scenario file with a cohort, some parts replaced."""
    given = {
        "outcome": SCORE + MEMORY.format(1.0) + KEPT,
        "design": TRIAL + "baseline_years = 1",
        "cohort": ", cohort = true",
        "answers": answers("post"),
    }
    return FILE.format(**{**given, **parts})


def run(replicates: int = 512, **parts: str) -> dict[str, Tally]:
    """Tallies by answer."""
    scenario = parse(file_of(**parts), "cohort").cases[0].scenario
    return {answer: tally for (_, answer), tally in simulate([scenario], replicates)[0].items()}


def check(found: Tally, variance: float, *, sized: bool = True) -> None:
    """An answer without bias, of a stated variance, that holds its size."""
    bias, error, size = (measure(found, name) for name in ("bias", "empirical_se", "size"))
    assert bias.value == pytest.approx(0, abs=4 * bias.mcse)
    assert error.value == pytest.approx(np.sqrt(variance), abs=4 * error.mcse)
    if sized:
        assert size.value == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / 512))


@pytest.mark.parametrize(
    ("occasions", "years"), [((1, 1), "baseline_years = 1"), ((2, 2), "baseline_years = 2\nyears = 2")]
)
def test_analyses_of_a_cohort_have_their_closed_forms(occasions: tuple[int, int], years: str) -> None:
    """Change scores, ANCOVA on own baselines and constrained baselines, where authorities stay as they are."""
    found = run(design=TRIAL + years, answers=answers(*ANSWERS))
    trial = (10, 10), occasions, 30, 0.1, 1.0, 0.6
    forms: dict[str, Any] = {"post": "post", "own_baseline": "own_baseline", "clda": "ancova"}
    forms |= dict.fromkeys(("change", "change_of_means", "mixed_change"), "change")
    for name, form in forms.items():
        check(found[name], theory.cohort_variance(*trial, form))
    for name in ("mixed_own_baseline", "gee_own_baseline"):
        check(found[name], measure(found["own_baseline"], "empirical_se").value ** 2)


def test_changes_and_own_baselines_hold_their_size_where_authorities_change() -> None:
    """What an authority has of its own at each occasion is scatter between the changes of authorities."""
    names = ("change", "mixed_change", "own_baseline", "mixed_own_baseline")
    found = run(outcome=SCORE + MEMORY.format(0.5) + KEPT, answers=answers(*names))
    trial = (10, 10), (1, 1), 30, 0.1, 0.5, 0.6
    check(found["change"], theory.cohort_variance(*trial, "change"))
    check(found["mixed_change"], theory.cohort_variance(*trial, "change"))
    check(found["own_baseline"], theory.cohort_variance(*trial, "own_baseline"))
    size = measure(found["mixed_own_baseline"], "size")
    assert size.value == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / 512))


def test_constrained_baselines_hold_their_size_where_authorities_change_only_if_the_model_says_so() -> None:
    """Taking an authority's own change for that of its families makes the standard error too small."""
    by_occasion = {"clda": ANSWERS["clda"], "by_occasion": ANSWERS["clda"] + ", authority_by_occasion = true"}
    lines = [f'answers.{name} = {{{of}, estimand = "offered"}}' for name, of in by_occasion.items()]
    found = run(outcome=SCORE + MEMORY.format(0.5) + KEPT, answers="\n".join(lines))
    check(found["by_occasion"], theory.cohort_variance((10, 10), (1, 1), 30, 0.1, 0.5, 0.6, "ancova"))
    size = measure(found["clda"], "size")
    assert size.value > 0.05 + 4 * size.mcse


def test_a_wedge_of_a_cohort_has_the_variance_of_its_closed_form() -> None:
    """Generalised least squares of the means of cells that share their families (Hooper et al. 2016)."""
    design = 'kind = "stepped_wedge"\nauthorities = 12\nsteps = 3'
    model = 'estimator = "mixed_model", levels = ["authority", "family"], period_effects = true'
    found = run(design=design, answers=f'answers.clda = {{{model}, estimand = "offered"}}')
    covariance = theory.cell_mean_covariance(30, 0.1, 0.9, n_periods=4, family_autocorrelation=0.6)
    check(found["clda"], theory.wedge_variance(theory.wedge_design([4, 4, 4]), covariance))


def test_periods_of_several_occasions_hold_a_family_several_times() -> None:
    """A family is a row of its period's mean, so that pooled periods are weighed by their occasions."""
    design = 'kind = "stepped_wedge"\nauthorities = 12\nsteps = 2\nperiods = [1, 2, 1]'
    found = run(design=design, answers=answers("clda"))
    sizes = np.array([1.0, 2.0, 1.0])
    family = 0.6 * np.ones((3, 3)) + 0.4 * np.diag(1 / sizes)
    covariance = 0.1 * np.ones((3, 3)) + 0.9 * family / 30
    check(found["clda"], theory.wedge_variance(theory.wedge_design([6, 6]), covariance))


def test_families_that_are_dealt_out_are_compared_with_what_they_were() -> None:
    """Each family its own cluster: change, and the analysis of covariance, of independent families."""
    design = 'kind = "family_rct"\nauthorities = 6\nbaseline_years = 1\nwithin = "study"'
    outcome = SCORE.replace("0.1", "0.0") + KEPT
    found = run(
        design=design,
        outcome=outcome,
        answers=answers("change", "change_of_means", "own_baseline", "clda").replace(
            'levels = ["authority", "family"], ', ""
        ),
    )
    trial = (90, 90), (1, 1), 1, 0.0, 1.0, 0.6
    check(found["change"], theory.cohort_variance(*trial, "change"))
    check(found["change_of_means"], theory.cohort_variance(*trial, "change"))
    check(found["own_baseline"], theory.cohort_variance(*trial, "ancova"))
    check(found["clda"], theory.cohort_variance(*trial, "ancova"))


@pytest.mark.parametrize(
    "measurement",
    [
        "measurement = {loss_treated = 0.4, loss_comparison = 0.2, consent = 0.8}",
        "measurement = {reliability = 0.7, missing_years = 0.1}",
    ],
)
def test_losses_at_random_and_errors_leave_sizes_as_they_are(measurement: str) -> None:
    """Complete cases lose precision, and the constrained baseline analysis tells of the lost too."""
    names = ("change", "mixed_change", "own_baseline", "mixed_own_baseline", "clda")
    found = run(design=TRIAL + "baseline_years = 1\n" + measurement, answers=answers(*names))
    for name in names:
        bias, size = measure(found[name], "bias"), measure(found[name], "size")
        assert bias.value == pytest.approx(0, abs=4 * bias.mcse)
        assert size.value == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / 512))


def test_a_yes_or_no_of_followed_families_can_be_analysed() -> None:
    """Adjusting for what a family said before makes a comparison of risks sharper, and leaves it unbiased."""
    outcome = 'kind = "binary"\nmean = 0.4\neffect = 0.1\nicc = {authority = 0.02}\n' + MEMORY.format(1.0)
    found = run(
        outcome=outcome + "family_autocorrelation = 0.9\n", answers=answers("post", "own_baseline", "clda")
    )
    errors = {name: measure(tally, "empirical_se") for name, tally in found.items()}
    for tally in found.values():
        bias = measure(tally, "bias")
        assert bias.value == pytest.approx(0, abs=4 * bias.mcse)
    assert errors["own_baseline"].value < errors["post"].value - 4 * errors["post"].mcse
    assert errors["clda"].value < errors["post"].value - 4 * errors["post"].mcse


def test_answers_about_clusters_get_the_same_cohort_in_cells() -> None:
    """Families are drawn singly and pooled by worker where no answer tells them apart."""
    found = []
    for wanted in (("post",), ("post", "change")):
        scenario = parse(file_of(answers=answers(*wanted)), "cohort").cases[0].scenario
        world = draw_world(scenario.world, scenario.outcomes, block_size(scenario.world), Streams(5, 0))
        study = scenario.studies["trial"]
        assert scenario.drawn_resolution_of(study) == "unit"
        found.append(carry_out(scenario, study, world).stated)
    cells, families = found
    assert (cells.roster.n_rows, families.roster.n_rows) == (120, 600)
    pooled = families.cells.pool(families.roster, "worker")
    assert np.allclose(pooled.mean, cells.cells.mean)
    assert np.array_equal(pooled.n, np.broadcast_to(cells.cells.n, pooled.n.shape))


COUNT = 'kind = "count"\nmean = 2.0\neffect = -0.5\n'
CROSS_SECTION = {"cohort": "", "outcome": SCORE}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"cohort": ""}, "outcomes.y.family_autocorrelation: has no effect, since no design follows"),
        (
            {"design": TRIAL},
            "designs.trial.sample.cohort: has no effect, since the design observes one occasion",
        ),
        (
            {"outcome": COUNT},
            "designs.trial.sample.cohort: 'y' is a count, of which families cannot be followed",
        ),
        (
            {"outcome": SCORE + "children_per_family = 1.5"},
            "designs.trial.sample.cohort: families of 'y' are several",
        ),
        (
            {
                "outcome": SCORE
                + "family_autocorrelation = 0.25\ncovariate = {correlation = {family = 0.6}}",
                "answers": 'answers.a = {estimator = "mixed_model", covariates = ["covariate"], '
                'estimand = "offered"}',
            },
            "covariate.correlation.family, 0.6, is more than what a family keeps allows; the root of "
            "family_autocorrelation is 0.5",
        ),
        (
            {**CROSS_SECTION, "answers": answers("own_baseline")},
            "designs.trial.answers.own_baseline.covariates: 'own_baseline' is of families that are followed",
        ),
        (
            {**CROSS_SECTION, "answers": answers("change")},
            "designs.trial.answers.change.change: needs the same families before the start and after it",
        ),
        (
            {**CROSS_SECTION, "answers": answers("clda")},
            "designs.trial.answers.clda.levels: family tells families from their observations, and the study",
        ),
        (
            {"design": TRIAL + "years = 2", "answers": answers("own_baseline")},
            "designs.trial.answers.own_baseline: needs the outcome before the start",
        ),
        (
            {
                "answers": 'answers.a = {estimator = "mixed_model", levels = ["authority", "family"], '
                'estimand = "offered"}'
            },
            "answers.a.levels: the answer reads one occasion of every family",
        ),
        (
            {
                "answers": 'answers.a = {estimator = "mixed_model", period_effects = true, '
                'covariates = ["own_baseline"], estimand = "offered"}'
            },
            "answers.a.covariates: 'own_baseline' is the mean of outcomes that mixed_model reads anyway",
        ),
        (
            {
                "design": 'kind = "stepped_wedge"\nauthorities = 12\nsteps = 3',
                "answers": 'answers.a = {estimator = "gee", covariates = ["own_baseline"], '
                'estimand = "offered"}',
            },
            "answers.a: needs the outcome before the start",
        ),
        (
            {
                "design": 'kind = "family_rct"\nauthorities = 6\nbaseline_years = 1',
                "answers": answers("clda"),
            },
            "answers.clda.levels: family is no level below the clusters, which are each family",
        ),
    ],
    ids=lambda part: part[:60] if isinstance(part, str) else "",
)
def test_what_a_cohort_cannot_have_is_refused_with_its_reason(parts: dict[str, str], said: str) -> None:
    """A setting without effect, an outcome without a joint law, an answer without its families."""
    with pytest.raises(ScenarioError) as refused:
        parse(file_of(**parts), "cohort")
    assert any(said in fault for fault in refused.value.faults), refused.value.faults


def test_families_dealt_out_need_a_cohort_to_be_compared_with_before() -> None:
    """Other families stand in their place before the start."""
    design = 'kind = "family_rct"\nauthorities = 6\nbaseline_years = 1'
    with pytest.raises(ScenarioError, match=r"but for sample\.cohort = true"):
        parse(file_of(design=design, answers=answers("change_of_means"), **CROSS_SECTION), "cohort")
