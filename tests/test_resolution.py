"""Cells and single families give the same distribution of answers, for every design."""

import numpy as np
import pytest
from scipy import stats

from design_sim.simulate import analyse, carry_out
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import draw_world

WORLD = """
[world]
authorities = 10
size = {log_mean = 7.5, log_sd = 0.3, smallest = 1_000.0, largest = 9_000.0}
workers = {per_10000_children = 60.0, per_team = 3}
informal = {share = 0.5, fidelity = 0.3}
"""
OUTCOMES = {
    "survey": """
[outcomes.y]
kind = "continuous"
source = "survey"
effect = 0.5
icc = {authority = 0.05, team = 0.02, worker = 0.05}
""",
    "record": """
[outcomes.y]
kind = "continuous"
source = "record"
effect = 0.5
authority_sd = 0.2
family_sd = 1.0
""",
    "binary": """
[outcomes.y]
kind = "binary"
source = "record"
mean = 0.3
effect = -0.1
""",
    "count": """
[outcomes.y]
kind = "count"
source = "record"
mean = 1_500.0
effect = -600.0
overdispersion = 1.5
per_10000_children = 400.0
""",
    "counted in a survey": """
[outcomes.y]
kind = "count"
source = "survey"
mean = 2.0
effect = -1.0
overdispersion = 1.5
""",
    "duration": """
[outcomes.y]
kind = "duration"
source = "record"
mean = 1.0
sd = 0.9
effect = -0.4
per_10000_children = 300.0
""",
    "duration in a survey": """
[outcomes.y]
kind = "duration"
source = "survey"
mean = 1.0
sd = 0.9
effect = -0.4
""",
}
for name, settings in {
    "bounded survey": 'kind = "continuous"\nmean = 3.0\nbounds = [0, 4]\neffect = 0.5',
    "survey of siblings": 'kind = "continuous"\neffect = 0.5\nchildren_per_family = 1.73',
    "binary survey": 'kind = "binary"\nmean = 0.3\neffect = 0.1',
}.items():
    OUTCOMES[name] = f"""
[outcomes.y]
{settings}
source = "survey"
icc = {{authority = 0.05, team = 0.05, worker = 0.1}}
"""
DESIGNS = {
    "cluster_rct": "authorities = 8\nbaseline_years = 1",
    "contrast": "pilots = 2\ncomparisons = 2\nbaseline_years = 1",
    "difference_in_differences": "adopters = 4\nyears_before = 1",
}


def estimates_of(design: str, outcome: str, resolution: str, block: int) -> dict[str, np.ndarray]:
    """Estimates and standard errors of one block."""
    sample = "sample = {teams = 2, workers = 2, families = 3}" if "survey" in outcome else ""
    text = f"""
resolution = "{resolution}"
{WORLD}{OUTCOMES[outcome]}
[designs.study]
kind = "{design}"
outcome = "y"
{DESIGNS[design]}
{sample}
answers.naive = {{estimator = "clustered_regression", variance = "naive", estimand = "offered"}}
answers.model = {{estimator = "mixed_model", estimand = "offered"}}
answers.change = {{estimator = "cluster_means", change = true, estimand = "offered"}}
"""
    scenario = parse(text, "test").cases[0].scenario
    study = scenario.studies["study"]
    streams = Streams(11, block)
    world = draw_world(scenario.world, scenario.outcomes, 512, streams)
    _, panel, *_ = carry_out(scenario, study, world)
    found = {}
    for name, answer in study.answers.items():
        estimates = analyse(answer.estimator, panel, streams, 512)
        found[f"{name} estimate"] = estimates.estimate
        found[f"{name} standard error"] = estimates.std_error
    return found


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("design", DESIGNS)
def test_cells_and_families_give_the_same_distribution(design: str, outcome: str) -> None:
    """Cells are exact: on other draws, families one by one answer alike in estimate and standard error."""
    cell, unit = estimates_of(design, outcome, "cell", 0), estimates_of(design, outcome, "unit", 1)
    for name in cell:
        assert stats.ks_2samp(cell[name], unit[name], nan_policy="omit").pvalue > 1e-4, name
