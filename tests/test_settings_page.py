"""The page of settings holds every key, says what it means, and is the committed one."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from design_sim.designs import DESIGNS
from design_sim.estimators import ESTIMATORS
from design_sim.settings_page import meanings, page, tables
from design_sim.world.outcomes import OUTCOMES
from design_sim.world.settings import WorldSettings

MODELS = [
    (path, model)
    for root, models in (
        ("world", [WorldSettings]),
        ("outcome", OUTCOMES.values()),
        ("design", DESIGNS.values()),
        ("estimator", ESTIMATORS.values()),
    )
    for top in models
    for path, model in tables(root, top)  # type: ignore[arg-type]
]
COMMITTED = Path(__file__).parents[1] / "results" / "settings" / "settings.md"


@pytest.mark.parametrize(("path", "model"), MODELS, ids=lambda part: getattr(part, "__name__", part))
def test_every_setting_says_what_it_means(path: str, model: type[BaseModel]) -> None:
    """A key without a docstring would stand on the page without a meaning, unless it holds a table."""
    said = meanings(model)
    tell_themselves = {"kind", "source", "estimator", "outcome", "variance", "better", "sample"}
    for name in model.model_fields:
        holds_a_table = any(inner != path for inner, _ in tables(path, model) if inner == f"{path}.{name}")
        assert name in said or holds_a_table or name in tell_themselves, f"{path}.{name}"


def test_every_key_stands_on_the_page() -> None:
    """Nothing that can be stated is left out."""
    text = page()
    for _, model in MODELS:
        for name in set(model.model_fields) - {"kind", "source", "estimator"}:
            assert f"| `{name}` |" in text


def test_mechanisms_name_a_source_or_say_assumption() -> None:
    """The defaults of fidelity, rivals and events are figures with a source or marked as assumptions."""
    text = page()
    for key in ("turnover", "persistence", "new_leadership", "drift", "effect_sd"):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{key}` |")]
        assert any(mark in row for mark in ("assumption", "England", "English", "2013", "published"))


def test_the_committed_page_is_the_programs() -> None:
    """results/settings/settings.md is what `design-sim settings` prints."""
    due = "make it again: design-sim settings > results/settings/settings.md"
    assert COMMITTED.read_text(encoding="utf-8") == page(), due
