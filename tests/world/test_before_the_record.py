"""What lies before the years on record, and what a shock leaves alone: numbers worked out by hand."""

import pytest

from design_sim.performance import Measured, measure
from design_sim.results import run
from design_sim.sweep import parse

HEAD = """
window = [12, 24]
[world]
authorities = 20
uptake = 1.0
[world.time]
years_before = BEFORE
years_after = 2
[world.fidelity]
mean = 0.8
authority_sd = 0.0
worker_sd = 0.0
years_to_80_percent = 0.0
"""
EVEN = """
[world.rating]
outstanding = 0.25
good = 0.15
requires_improvement = 0.1
quality_correlation = 0.0
[world.inspections]
every_years = 1
persistence = 0.0
improvement = 0.0
"""
DAYS = """
[outcomes.y]
kind = "continuous"
source = "record"
authority_sd = 0.3
family_sd = 1.0
effect = 1.0
per_10000_children = 5.0
"""
TRIAL = """
[designs.t]
kind = "cluster_rct"
outcome = "y"
authorities = 20
answers.a = {estimator = "cluster_means", estimand = "RUNG", average = "national"}
"""
CONTRAST = """
[designs.t]
kind = "contrast"
outcome = "y"
pilots = 5
comparisons = 5
pilots_by = "rating"
year = 1
answers.a = {estimator = "cluster_means", estimand = "offered"}
"""
RATED = "[world.rating]\nquality_correlation = 1.0\n[world.quality]\npermanent_share = 0.0\nautocorrelation = {}\n"
MOVED = DAYS + "quality_correlation = 0.9\n"


def found(text: str, name: str, before: int = 1, replicates: int = 2_000) -> Measured:
    """A measure of the only answer."""
    results = run(parse(text.replace("BEFORE", str(before)), "test"), replicates=replicates)
    return measure(results.judged[0].tally, name)


@pytest.mark.parametrize("before", [0, 1])
def test_inspections_go_on_whatever_is_on_record(before: int) -> None:
    """Half are judged inadequate in the first year and leave at its end: .5 x .8 is left of the second."""
    leaving = "[world.leaving]\nafter_inadequate = 1.0\nnew_leadership = 0.0\n"
    truth = found(HEAD + EVEN + leaving + DAYS + TRIAL.replace("RUNG", "offered"), "truth", before)
    assert truth.value == pytest.approx(0.4, abs=4 * truth.mcse)


@pytest.mark.parametrize("before", [0, 1])
def test_a_rating_before_the_start_knows_nothing_of_a_year_after_it(before: int) -> None:
    """With quality that has no memory the choice by rating makes no bias."""
    bias = found(HEAD + RATED.format(0.0) + MOVED + CONTRAST, "null_bias", before)
    assert bias.value == pytest.approx(0.0, abs=4 * bias.mcse)


def test_old_ratings_are_of_old_years_whatever_is_on_record() -> None:
    """Inspections every six years: the bias by a rating must not depend on how many years are on record."""
    text = HEAD + RATED.format(0.5) + MOVED
    text += "[world.inspections]\nevery_years = 6\nimprovement = 0.0\npersistence = 0.0\n" + CONTRAST
    biases = [found(text, "null_bias", before, 6_000) for before in (1, 6)]
    error = (biases[0].mcse ** 2 + biases[1].mcse ** 2) ** 0.5
    assert biases[0].value == pytest.approx(biases[1].value, abs=4 * error)


@pytest.mark.parametrize("source", ["record", "survey"])
def test_an_effect_is_stated_at_the_stated_mean_and_not_in_a_year_of_shock(source: str) -> None:
    """In the year after the shock risks are as stated, and so is what full fidelity does to them."""
    spread = "authority_sd = 0.08" if source == "record" else "icc = 0.03"
    outcome = f"""
[outcomes.y]
kind = "binary"
source = "{source}"
mean = 0.3
{spread}
effect = -0.15
shock = {{year = 0, change = 0.3}}
"""
    sample = "" if source == "record" else "sample = {teams = 1, workers = 1, families = 2}\n"
    trial = TRIAL.replace("RUNG", "full_fidelity").replace("answers.a", f"{sample}answers.a")
    truth = found(HEAD + outcome + trial, "truth")
    assert truth.value == pytest.approx(-0.15, abs=4 * truth.mcse + 1e-3)


def test_the_slope_over_fidelity_knows_of_shocked_authorities() -> None:
    """Fidelity .8, or .4 where half are shocked, and a threshold between: 1 / .4."""
    text = HEAD + 'shock = 0.5\n[world.response]\nshape = "threshold"\nthreshold = 0.6\n' + EVEN
    slope = found(text + DAYS + TRIAL.replace("RUNG", "per_fidelity"), "truth", replicates=200)
    assert slope.value == pytest.approx(2.5, rel=1e-6)
