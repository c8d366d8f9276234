"""What two-way fixed effects return where starts are staggered and nothing is left to chance."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Floats, Ints
from design_sim.cells import Cells
from design_sim.estimators.two_way_fixed_effects import regress_two_way
from design_sim.panel import Panel
from design_sim.roster import Roster

STORED = Path(__file__).parents[1] / "reference" / "identification" / "staggered.json"
CASES = json.loads(STORED.read_text())["cases"]
EFFECTS: dict[str, Callable[[Floats, Ints], Floats]] = {
    "did_vignette_all_treated": lambda since, _: since + 1,
    "did_vignette_never_treated": lambda since, _: since + 1,
    "two_cohorts_no_never": lambda since, _: 1 + 0.5 * since,
    "homogeneous_constant": lambda since, _: 0.5 + 0 * since,
    "cohort_heterogeneity": lambda since, cohort: (
        np.select([cohort == 3, cohort == 5], [2.0, 1.0], 0.5) + 0 * since
    ),
    "sign_reversal": lambda since, _: 0.2 + 0.3 * since,
    "few_authorities": lambda since, _: np.minimum(0.3 * (since + 1), 1.2),
}
"""The effect by occasions since the start and by the period of the start, as each case has it in words."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_growing_effects_are_averaged_with_the_weights_that_are_known(case: dict[str, Any]) -> None:
    """Without noise the estimate is exact, and in a batch it is linear in the effect; 0 is 0."""
    given, rng = case["inputs"], np.random.default_rng(1)
    cohort = np.repeat(*np.array(given["cohorts"]).T)[:, np.newaxis]
    period = given["first_period"] + np.arange(given["periods"])
    start = np.where(cohort > 0, cohort - given["first_period"], NEVER)[:, 0]
    treated = (cohort > 0) & (period >= cohort)
    effect = np.where(treated, EFFECTS[case["id"]](period - cohort.astype(float), cohort), 0.0)
    lasting = rng.normal(size=(cohort.size, 1)) + rng.normal(size=period.size)
    outcome = np.stack([lasting, lasting + effect, lasting - 2 * effect])
    panel = Panel(
        roster=Roster.of_authorities(cohort.size),
        cells=Cells(np.ones((1, *outcome.shape[1:])), outcome),
        start=start[np.newaxis],
        occasions=np.arange(period.size),
        follow_up=np.ones(period.size, dtype=bool),
        law=complete_randomisation(cohort.size, 1),
    )
    found = regress_two_way("authority", panel.cells, panel.treated).coefficients[:, -1]
    expected = case["expected"]["twfe"]
    np.testing.assert_allclose(found, [0, expected, -2 * expected], atol=case["tolerance"])
    assert effect[treated].mean() == pytest.approx(case["expected"]["att_obs_weighted"])
