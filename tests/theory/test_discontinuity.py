"""Regression discontinuity against published design effects and simulation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]


@pytest.mark.reference("formulas", "rdd_de_")
def test_design_effects_agree_with_the_reference(case: Case, agree: Agree) -> None:
    """Goldberger's 2.75 for a normal score, 4 for a uniform one, and a cutoff off the middle."""
    expected = case["expected"]
    running = "uniform" if case["inputs"]["running"] == "uniform" else "normal"
    share = expected.get("share_treated", 0.5)
    found = {
        "rho_TZ_squared": theory.assignment_correlation(share, running) ** 2,
        "design_effect": theory.discontinuity_design_effect(share, running),
    }
    agree(case, found | ({"share_treated": share} if "share_treated" in expected else {}))


@pytest.mark.parametrize("running", ["normal", "uniform"])
def test_design_effect_is_what_least_squares_shows(running: theory.discontinuity.Running) -> None:
    """The effect's variance with the score in the model, over that without, at the same noise."""
    n, share = 400_000, 0.3
    rng = np.random.default_rng(13)
    score = rng.standard_normal(n) if running == "normal" else rng.random(n)
    treated = (score > np.quantile(score, 1 - share)).astype(float)
    design = np.column_stack([treated, np.ones(n), score])
    ratio = np.linalg.inv(design.T @ design)[0, 0] / np.linalg.inv(design[:, :2].T @ design[:, :2])[0, 0]
    assert ratio == pytest.approx(theory.discontinuity_design_effect(share, running), rel=0.01)


def test_impossible_splits_are_refused() -> None:
    """Somebody must be on either side, and the score must have a law."""
    with pytest.raises(ValueError, match="share_treated"):
        theory.discontinuity_design_effect(1.0)
    with pytest.raises(ValueError, match="normal, uniform"):
        theory.assignment_correlation(0.5, "beta")  # type: ignore[arg-type]
