"""The README's examples run as they stand."""

import re
from pathlib import Path

import pytest

from design_sim.sweep import load, parse

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the README tells a user to type works, and leaves the picture that it says."""
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    found: dict[str, object] = {}
    exec(example, found)
    assert (tmp_path / "power.png").stat().st_size > 10_000
    assert len(found["power"]) > 0  # type: ignore[arg-type]


def test_scenario_example_states_three_cases() -> None:
    """The file that the README explains is one that the program takes."""
    (example,) = blocks("toml")
    assert len(parse(example, "readme").cases) == 3


def test_files_that_the_readme_points_to_are_there() -> None:
    """No link into the repository is dead."""
    for target in re.findall(r"\]\(((?:results|experiments)[^)]*)\)", README):
        assert (ROOT / target).exists(), target


def test_results_of_the_real_case_were_made_from_its_file() -> None:
    """The committed results carry the text of the experiment as it stands."""
    experiment = ROOT / "experiments" / "next_evaluation.toml"
    made_from = ROOT / "results" / "next_evaluation" / "scenario.toml"
    assert made_from.read_text() == experiment.read_text()
    assert load(experiment).replicates == 2_000


def test_mechanisms_of_the_readme_are_settings() -> None:
    """The tables that the README shows, added to its first example, state a world that can be run."""
    (example,) = blocks("toml")
    (mechanisms,) = (block for block in README.split("```") if block.startswith("\n[world.response]"))
    base = example.replace("[sweep]", "[ignored]").split("[ignored]")[0]
    scenario = parse(base + mechanisms, "mechanisms").cases[0].scenario
    assert scenario.world.rival is not None
    assert scenario.studies["pilots"].design.measurement is not None


def test_the_surveyed_outcome_of_the_readme_can_be_studied() -> None:
    """Added to its first example, with a trial that adjusts, it states a scenario."""
    (example,) = blocks("toml")
    (outcome,) = (block for block in README.split("```") if block.startswith("\n[outcomes.engagement]"))
    trial = """
[designs.trial]
kind = "cluster_rct"
outcome = "engagement"
authorities = 20
sample = {teams = 2, workers = 3, families = 4}
answers.cr2 = {estimator = "clustered_regression", covariates = ["covariate"], estimand = "offered"}
"""
    base = example.replace("[sweep]", "[ignored]").split("[ignored]")[0]
    scenario = parse(base + outcome + trial, "surveyed").cases[0].scenario
    assert scenario.outcomes["engagement"].drawn_singly
    assert scenario.outcomes["engagement"].has_covariate
