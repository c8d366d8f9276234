"""Estimands: each replicate's own truth, from its world's potential outcomes."""

import numpy as np
import pytest
from scipy import special

from design_sim.allocation import Allocation, two_arms
from design_sim.estimands import Estimand, authority_effects, true_value
from design_sim.streams import Streams
from design_sim.world.draw import World, draw_world
from design_sim.world.logit_normal import shift_for_difference
from design_sim.world.outcomes import Outcome, RecordedBinary, SurveyedContinuous
from design_sim.world.settings import WorldSettings

SURVEY = SurveyedContinuous(kind="continuous", source="survey", effect=2.0)
BINARY = RecordedBinary(kind="binary", source="record", mean=0.2, effect=-0.05)
RICH = {"informal": {"share": 0.5, "fidelity": 0.4}, "adoption": {"authorities": 3}}


def setting(outcome: Outcome, **tables: object) -> tuple[World, Allocation]:
    """A block of ten authorities, six of them enrolled."""
    settings = WorldSettings.model_validate({"authorities": 10, **RICH, **tables})
    world = draw_world(settings, {"y": outcome}, 50, Streams(1, 0))
    return world, two_arms(np.tile(np.arange(2, 8), (50, 1)), 3, settings.time.start, randomised=True)


@pytest.mark.parametrize("weights", ["family", "authority"])
@pytest.mark.parametrize("average", ["sample", "adopters", "national"])
@pytest.mark.parametrize("rung", ["offered", "full_fidelity", "per_fidelity"])
@pytest.mark.parametrize("outcome", [SURVEY, BINARY], ids=["survey", "binary"])
def test_truth_is_the_weighted_mean_of_the_sets_own_effects(
    outcome: Outcome, rung: str, average: str, weights: str
) -> None:
    """A loop over replicates and authorities, the obvious way, gives the same number."""
    world, allocation = setting(outcome)
    estimand = Estimand(rung=rung, average=average, weights=weights)  # type: ignore[arg-type]
    truth = np.broadcast_to(true_value(estimand, world, allocation, "y", (12, 24)), 50)
    shift = shift_for_difference(BINARY.risks(0), BINARY.effect)
    reached = 1 - np.exp(-np.log(5) * 1.5 / 2)
    for replicate in (0, 17):
        members = {
            "sample": allocation.unit[replicate],
            "adopters": world.adopters[replicate],
            "national": np.arange(10),
        }[average]
        effects, heads = [], []
        for authority in members:
            fidelity = world.mature_fidelity[replicate, authority] * reached
            informal = world.informal_fidelity[replicate, authority]
            if rung != "offered":
                fidelity, informal, uptake = 1.0, 0.0, 1.0
            else:
                uptake = 0.7
            if outcome is SURVEY:
                effects.append(2.0 * uptake * (fidelity - informal))
            else:
                risk = world.expected("y")[replicate, authority, 3]
                risks = [
                    risk + uptake * (special.expit(special.logit(risk) + shift * dose) - risk)
                    for dose in (fidelity, informal)
                ]
                effects.append(risks[0] - risks[1])
            heads.append(world.children[authority] if weights == "family" else 1.0)
        assert truth[replicate] == pytest.approx(np.average(effects, weights=heads), rel=1e-9)


def test_full_fidelity_of_a_binary_outcome_averages_to_the_stated_effect() -> None:
    """The effect is stated as the mean risk difference over authorities."""
    settings = WorldSettings.model_validate({"authorities": 200})
    world = draw_world(settings, {"y": BINARY}, 200, Streams(1, 0))
    effects = authority_effects(Estimand(rung="full_fidelity"), world, "y", (12, 24))
    assert effects.mean() == pytest.approx(-0.05, abs=4 * effects.std() / np.sqrt(effects.size))


def test_informal_use_lowers_the_effect_of_being_offered() -> None:
    """What authorities do anyway is not the framework's merit."""
    values = []
    for share in (0.0, 1.0):
        world, allocation = setting(SURVEY, informal={"share": share, "fidelity": 0.2})
        values.append(true_value(Estimand(rung="offered"), world, allocation, "y", (12, 24)).mean())
    assert values[0] - values[1] == pytest.approx(2.0 * 0.7 * 0.2)


def test_without_effect_every_estimand_is_exactly_zero() -> None:
    """The null twin's truth needs no computing."""
    for outcome in (SURVEY.model_copy(update={"effect": 0.0}), BINARY.model_copy(update={"effect": 0.0})):
        world, allocation = setting(outcome)
        for rung in ("offered", "full_fidelity", "per_fidelity"):
            estimand = Estimand(rung=rung, average="national")  # type: ignore[arg-type]
            assert (true_value(estimand, world, allocation, "y", (12, 24)) == 0).all()
