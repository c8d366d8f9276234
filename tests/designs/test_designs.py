"""What each design alone can promise."""

import numpy as np
import pytest

from design_sim.designs.cluster_rct import ClusterRCT
from design_sim.designs.contrast import Contrast
from design_sim.designs.difference_in_differences import DifferenceInDifferences
from design_sim.streams import Streams
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import RecordedBinary
from design_sim.world.settings import WorldSettings

OUTCOMES = {"rereferral": RecordedBinary(kind="binary", source="record", mean=0.2, effect=-0.03)}


def world_of(n: int = 2_000, **tables: object) -> World:
    """A block of worlds of 20 authorities."""
    settings = WorldSettings.model_validate({"authorities": 20, **tables})
    return draw_world(settings, OUTCOMES, n, Streams(1, 0))


def test_a_trial_treats_every_authority_as_often() -> None:
    """Under complete randomisation each authority is treated in the same share of studies."""
    world = world_of()
    unit = ClusterRCT(outcome="rereferral", authorities=8).allocate(world, world.streams).unit
    treated = np.bincount(unit[:, :4].ravel(), minlength=20) / 2_000
    assert treated == pytest.approx(np.full(20, 4 / 20), abs=4.5 * np.sqrt(0.2 * 0.8 / 2_000))


def test_a_trial_allocates_whatever_the_readiness() -> None:
    """Chance breaks the link that selection makes."""
    world = world_of()
    unit = ClusterRCT(outcome="rereferral", authorities=10).allocate(world, world.streams).unit
    readiness = np.take_along_axis(world.readiness, unit, axis=1)
    difference = readiness[:, :5].mean(axis=1) - readiness[:, 5:].mean(axis=1)
    assert difference.mean() == pytest.approx(0, abs=4 * difference.std() / np.sqrt(2_000))


@pytest.mark.parametrize("by", ["reputation", "rating"])
def test_pilots_are_the_best_of_what_they_are_chosen_by(by: str) -> None:
    """No authority left out stands higher than a pilot."""
    world = world_of(200)
    design = Contrast(outcome="rereferral", pilots=2, comparisons=3, pilots_by=by)  # type: ignore[arg-type]
    unit = design.allocate(world, world.streams).unit
    score = world.reputation if by == "reputation" else world.events.rating
    lowest_pilot = np.take_along_axis(score, unit[:, :2], axis=1).min(axis=1)
    rest = score.astype(float).copy()
    np.put_along_axis(rest, unit[:, :2], -np.inf, axis=1)
    assert (lowest_pilot >= rest.max(axis=1)).all()


def test_pilots_by_a_score_need_an_audit() -> None:
    """What nobody scores cannot be chosen by; the fault names the table that is missing."""
    design = Contrast(outcome="rereferral", pilots=2, comparisons=3, pilots_by="fidelity_score")
    (fault,) = design.faults(WorldSettings(authorities=20))
    assert fault.startswith("pilots_by: 'fidelity_score' needs the table world.audit")
    assert design.faults(WorldSettings.model_validate({"authorities": 20, "audit": {}})) == []


def test_pilots_chosen_by_reputation_are_readier() -> None:
    """Reputation is a noisy sign of readiness, of the stated correlation."""
    world = world_of(reputation_correlation=0.5)
    unit = Contrast(outcome="rereferral", pilots=2, comparisons=2).allocate(world, world.streams).unit
    readiness = np.take_along_axis(world.readiness, unit, axis=1)
    assert readiness[:, :2].mean() > 0.5
    assert abs(readiness[:, 2:].mean()) < 0.2


def test_comparisons_by_rating_are_rated_like_the_pilots() -> None:
    """Choosing by rating brings the arms' ratings together."""
    world = world_of(500)
    gaps = []
    for by in ("chance", "rating"):
        design = Contrast(outcome="rereferral", pilots=2, comparisons=2, comparisons_by=by)  # type: ignore[arg-type]
        unit = design.allocate(world, world.streams).unit
        rating = np.take_along_axis(world.events.rating, unit, axis=1)
        gaps.append(np.abs(rating[:, :2].mean(axis=1) - rating[:, 2:].mean(axis=1)).mean())
    assert gaps[1] < gaps[0] / 2


def test_adopters_are_first_in_the_order_of_adoption_and_all_others_compared() -> None:
    """Without a number of comparisons every authority is in the study."""
    world = world_of(50, adoption={"authorities": 5})
    unit = DifferenceInDifferences(outcome="rereferral", adopters=5).allocate(world, world.streams).unit
    assert unit.shape == (50, 20)
    assert np.array_equal(unit[:, :5], world.adopters)
