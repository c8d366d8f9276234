"""Counts and durations from a scenario file to its table, its words and its figures."""

import pytest

from design_sim.budget_report import sentence
from design_sim.error_budget import budget
from design_sim.errors import ScenarioError
from design_sim.figures import draw_all
from design_sim.performance import measure
from design_sim.reading import headline_table, reading
from design_sim.report import report
from design_sim.results import Results, run
from design_sim.sweep import Sweep, parse
from design_sim.wording import effect_words

WORLD = """
seed = 3
replicates = 600
window = [12, 24]

[world]
authorities = 100
uptake = 0.8
fidelity = {mean = 0.8, authority_sd = 0.1, worker_sd = 0.1, years_to_80_percent = 0.5}
time = {per_year = PER_YEAR}
"""
ENTRIES = """
[outcomes.care_entry]
kind = "count"
source = "record"
mean = 27.0
effect = -6.0
log_sd = 0.2
overdispersion = 1.5
memory = {permanent_share = 0.65, autocorrelation = 0.61}

[designs.entries]
kind = "cluster_rct"
outcome = "care_entry"
authorities = 20
baseline_years = 1
answers.change = {estimator = "cluster_means", change = true, estimand = "offered"}
answers.naive = {estimator = "clustered_regression", variance = "naive", estimand = "offered"}
"""
VISITED = """
[outcomes.visits]
kind = "count"
source = "survey"
mean = 4.0
effect = -1.5
overdispersion = 2.0

[designs.visited]
kind = "cluster_rct"
outcome = "visits"
authorities = 20
sample = {teams = 2, workers = 3, families = 5}
answers.mixed = {estimator = "mixed_model", estimand = "offered"}
"""
PERMANENCE = """
[outcomes.placed]
kind = "duration"
source = "record"
mean = 1.5
sd = 1.2
effect = -0.4
per_10000_children = 15.0

[designs.permanence]
kind = "cluster_rct"
outcome = "placed"
authorities = 20
answers.means = {estimator = "cluster_means", estimand = "offered"}
"""
WAITING = """
[outcomes.waited]
kind = "duration"
source = "survey"
mean = 0.3
sd = 0.4
effect = -0.1

[designs.waiting]
kind = "cluster_rct"
outcome = "waited"
authorities = 20
sample = {teams = 2, workers = 3, families = 5}
answers.means = {estimator = "cluster_means", estimand = "offered"}
"""


def sweep_of(*studies: str, per_year: int = 1) -> Sweep:
    """A world with some of the studies."""
    return parse(WORLD.replace("PER_YEAR", str(per_year)) + "".join(studies), "kinds")


@pytest.fixture(scope="module", params=[1, 4], ids=["yearly", "quarterly"])
def results(request: pytest.FixtureRequest) -> Results:
    """Four trials, in years and in quarters."""
    return run(sweep_of(ENTRIES, VISITED, PERMANENCE, WAITING, per_year=request.param))


def test_randomised_answers_are_unbiased_and_hold_their_size(results: Results) -> None:
    """What is estimated is the truth that the world computes for itself, for every kind of outcome.

    An authority counts once for the estimator and by its children for the estimand, whose effects are alike
    on average.
    """
    for (design, answer), tally in results.tallies[0].items():
        bias, null = measure(tally, "bias"), measure(tally, "null_bias")
        assert abs(bias.value) < 4 * bias.mcse, design
        assert abs(null.value) < 4 * null.mcse, design
        truth = measure(tally, "truth").value
        stated = (
            results.sweep.cases[0]
            .scenario.outcomes[results.sweep.cases[0].scenario.studies[design].design.outcome]
            .effect
        )
        assert 0.45 < truth / stated < 0.75, design
        if answer != "naive":
            size = measure(tally, "size")
            assert size.value == pytest.approx(0.05, abs=4 * size.mcse + 0.01), design


def test_children_taken_as_independent_reject_true_nulls(results: Results) -> None:
    """Rates that differ between authorities make the naive analysis of a count too sure, as of a yes or no."""
    assert measure(results.tallies[0]["entries", "naive"], "size").value > 0.2


def test_units_are_said_in_table_and_reading(results: Results) -> None:
    """Rates by their denominator, durations in years, events as such; no per cent."""
    table = headline_table(results).set_index("design")
    assert table.truth["visited"].split(" ")[1] == "events"
    assert table.truth["permanence"].split(" ")[1] == "years"
    (first, second) = table.truth["entries"]
    assert " per 10,000 (" in first
    assert first == second
    outcomes = results.sweep.cases[0].scenario.outcomes
    assert {effect_words(name, outcome) for name, outcome in outcomes.items()} == {
        "−6 per 10,000 a year on care_entry (mean 27)",
        "−1.5 events a family on visits (mean 4)",
        "−0.4 years on placed (mean 1.5)",
        "−0.1 years on waited (mean 0.3)",
    }
    assert "pp" not in reading(results)


def test_report_and_figures_name_the_units(results: Results) -> None:
    """The page and the axes say what their numbers are."""
    drawn = draw_all(results)
    axes = {of.get_title(loc="left"): of.get_xlabel() for of in drawn["bias"].axes}
    assert axes["care_entry"] == "per 10,000 a year"
    assert axes["visits"] == "events a family"
    assert axes["waited"] == "years"
    assert "−6 per 10,000 a year on care_entry (mean 27)" in report(results, drawn)


def test_a_budget_is_in_the_units_of_the_outcome() -> None:
    """RMSE and biases of a rate are rates."""
    scenario = sweep_of(ENTRIES).cases[0].scenario
    found = next(of for of in budget(scenario, 64) if of.answer == "change")
    assert " per 10,000 (root mean squared error)" in sentence(found, scenario)


def test_reliability_of_a_count_is_refused_in_words_that_fit() -> None:
    """An error of measurement in the normal sense would leave no count."""
    with pytest.raises(ScenarioError, match=r"reliability: 0\.8 has no meaning for a count outcome"):
        sweep_of(ENTRIES.replace("answers.naive", "measurement = {reliability = 0.8}\nanswers.naive"))
