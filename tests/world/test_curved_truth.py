"""Where an outcome bends what a dose does, the truth knows how doses spread among an authority's workers."""

from typing import Any

import numpy as np
import pytest

from design_sim.allocation import two_arms
from design_sim.estimands import Estimand, true_value
from design_sim.streams import Streams
from design_sim.world.delivery import Fieldwork, Sample, deliver
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import SurveyedBinary, SurveyedContinuous
from design_sim.world.practice import offered_dose, offered_doses
from design_sim.world.settings import WorldSettings

AT = np.array([3])
RESPONSES: dict[str, dict[str, Any]] = {
    "linear": {},
    "threshold": {"shape": "threshold", "threshold": 0.6},
    "saturating": {"shape": "saturating", "curvature": 5.0},
    "j_shaped": {"shape": "j_shaped", "floor": -0.5},
}
OUTCOMES = {
    "binary": SurveyedBinary.model_validate({"mean": 0.8, "effect": 0.12, "icc": {"authority": 0.01}}),
    "bounded": SurveyedContinuous(mean=85.0, sd=15.0, effect=10.0, bounds=(0.0, 100.0)),
}


def world_of(response: str, outcome: Any, n: int = 300, **settings: object) -> World:
    """Authorities large enough for many teams, with workers who differ in fidelity."""
    stated = {
        "authorities": 8,
        "uptake": 1.0,
        "workers": {"per_10000_children": 60.0},
        "fidelity": {"mean": 0.6, "authority_sd": 0.1, "worker_sd": 0.25, "years_to_80_percent": 1.0},
        "response": RESPONSES[response],
        **settings,
    }
    return draw_world(WorldSettings.model_validate(stated), {"y": outcome}, n, Streams(3, 0))


@pytest.mark.parametrize("response", RESPONSES)
def test_two_doses_have_the_mean_of_all_workers(response: str) -> None:
    """Shares sum to 1 and lead back to the mean dose."""
    world = world_of(response, OUTCOMES["binary"])
    doses = offered_doses(world, AT, exits=False)
    assert sum(share for share, _ in doses) == pytest.approx(1.0)
    mean = sum(share * dose for share, dose in doses)
    assert mean == pytest.approx(np.broadcast_to(offered_dose(world, AT), np.shape(mean)), abs=2e-3)


def test_a_threshold_leaves_two_doses() -> None:
    """None and the full one, in the shares of workers below and above it."""
    world = world_of("threshold", OUTCOMES["binary"])
    (high, full), (_, none) = offered_doses(world, AT, exits=False)
    assert full == pytest.approx(1.0, abs=1e-6)
    assert none == pytest.approx(0.0, abs=1e-6)
    assert high == pytest.approx(offered_dose(world, AT), abs=1e-6)


@pytest.mark.parametrize("name", OUTCOMES)
@pytest.mark.parametrize("response", RESPONSES)
def test_families_gain_what_the_truth_says(response: str, name: str) -> None:
    """Mean gain of surveyed families, paired with the null twin, against the sample's true value."""
    world = world_of(response, OUTCOMES[name])
    unit = np.tile(np.arange(8), (300, 1))
    everybody = two_arms(unit, 8, 2, randomised=True)
    sample = Sample(teams=6, workers=6, families=10)
    resolution = "unit" if OUTCOMES[name].drawn_singly else "cell"
    work = Fieldwork(world, everybody, "y", AT, sample, resolution)
    delivery = deliver(work)
    gain = (delivery.stated.mean - delivery.null.mean).mean(axis=(1, 2))
    asked = Estimand(rung="offered", average="sample", weights="authority")
    truth = np.broadcast_to(true_value(asked, world, everybody, "y", (12, 24)), gain.shape)
    error = (gain - truth).std() / np.sqrt(gain.size)
    assert (gain - truth).mean() == pytest.approx(0.0, abs=4 * error + 0.002 * abs(truth.mean()))
    assert error < 0.005 * abs(OUTCOMES[name].effect)


def test_with_exits_authorities_that_left_have_one_dose() -> None:
    """Those that stopped have what they did before, in every share."""
    world = world_of("linear", OUTCOMES["binary"], leaving={"new_leadership": 0.9, "switch": 1.0})
    (_, upper), (_, lower) = offered_doses(world, AT, exits=True)
    left = (upper == 0) & (lower == 0)
    assert left.mean() > 0.5
