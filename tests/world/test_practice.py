"""Practice: what families receive with a study and without, and what happens to those who leave."""

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import NEVER, two_arms
from design_sim.estimands import Estimand, true_value
from design_sim.streams import Streams
from design_sim.world.delivery import Fieldwork, deliver
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import RecordedContinuous
from design_sim.world.practice import (
    component_dose,
    delivered_dose,
    last_practised,
    offered_dose,
    rival_dose,
    usual_dose,
)
from design_sim.world.settings import WorldSettings

OUTCOME = RecordedContinuous(kind="continuous", source="record", effect=2.0, authority_sd=1.0, family_sd=5.0)
RIVAL = {"share": 0.3, "mean": 0.5, "authority_sd": 0.1, "effect": 0.4}
EVENTS = {"inspections": {}, "leaving": {}}


def world_of(n: int = 300, authorities: int = 100, **tables: object) -> World:
    """A block of worlds with one recorded outcome."""
    settings = WorldSettings.model_validate({"authorities": authorities, **tables})
    return draw_world(settings, {"y": OUTCOME}, n, Streams(2, 0))


def truth(world: World, **estimand: object) -> float:
    """The mean over replicates of an estimand over all authorities, in the second year."""
    asked = Estimand.model_validate({"average": "national", **estimand})
    nobody = two_arms(np.tile(np.arange(4), (world.n_replicates, 1)), 2, 2, randomised=True)
    return float(true_value(asked, world, nobody, "y", (12, 24)).mean())


def test_authorities_are_in_one_state_each_by_the_stated_shares() -> None:
    """Informal use and a rival exclude each other; the rest has no framework."""
    world = world_of(informal={"share": 0.5}, rival=RIVAL)
    assert not (world.uses_informally & world.has_rival).any()
    n = world.has_rival.size
    assert world.has_rival.mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / n))
    assert world.uses_informally.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / n))
    neither = ~world.uses_informally & ~world.has_rival
    assert (usual_dose(world)[neither] == 0).all()


def test_a_rival_has_its_own_fidelity_and_effect_and_what_it_shares() -> None:
    """Its dose is fidelity x (own effect + weight of the shared components)."""
    components = {"weights": {"principles": 2.0, "tools": 2.0}}
    world = world_of(rival={**RIVAL, "shares": ("tools",)}, fidelity={"components": components})
    assert rival_dose(world) == pytest.approx(world.rival_fidelity * (0.4 + 0.5))
    n = world.rival_fidelity.size
    assert world.rival_fidelity.mean() == pytest.approx(0.5, abs=4 * 0.1 / np.sqrt(n))
    assert world.rival_fidelity.std() == pytest.approx(0.1, abs=4 * 0.1 / np.sqrt(2 * n))


def test_informal_use_has_a_response_of_its_own() -> None:
    """A J-shape of the framework does not make informal use harmful, unless that is said too."""
    informal = {"share": 1.0, "fidelity": 0.3}
    linear = world_of(response={"shape": "j_shaped"}, informal=informal)
    harmful = world_of(informal={**informal, "response": {"shape": "j_shaped"}})
    assert usual_dose(linear) == pytest.approx(np.full((300, 100), 0.3))
    assert usual_dose(harmful) == pytest.approx(np.full((300, 100), -0.25 + 1.25 * 0.09))


def test_without_a_framework_there_is_no_effect_whatever_the_floor() -> None:
    """g(0) belongs to who practises at fidelity 0, not to who does not practise."""
    world = world_of(response={"shape": "j_shaped"})
    assert usual_dose(world).item() == 0
    assert (offered_dose(world, np.array([0, 1])) == 0).all()


def test_effects_vary_between_authorities_as_stated() -> None:
    """The mean is the stated effect, the standard deviation a multiple of it."""
    world = world_of(effect_sd=0.5)
    assert truth(world, rung="full_fidelity") == pytest.approx(2.0, abs=4 * 1.0 / np.sqrt(30_000))
    assert world.effect_multiple.std() == pytest.approx(0.5, abs=0.01)


def test_rungs_stand_to_each_other_as_algebra_says() -> None:
    """Linear, without informal use: offered = uptake x fidelity x effect, delivered is that of takers."""
    fidelity = {"mean": 0.5, "authority_sd": 0.0, "quality_correlation": 0.0, "years_to_80_percent": 0.0}
    components = {"weights": {"principles": 3.0, "tools": 1.0}}
    world = world_of(fidelity={**fidelity, "components": components}, uptake=0.4, rival=RIVAL)
    mean_rival = float(rival_dose(world).mean())
    usual = float((usual_dose(world) @ (world.children / world.children.sum())).mean())
    assert truth(world, rung="offered") == pytest.approx(2 * 0.4 * (0.5 - usual), abs=1e-9)
    assert truth(world, rung="delivered") == pytest.approx(2 * (0.5 - usual), abs=1e-9)
    assert truth(world, rung="one_component", component="principles") == pytest.approx(1.5)
    versus = truth(world, rung="versus_rival", weights="authority")
    assert versus == pytest.approx(2 * 0.4 * (0.5 - mean_rival), abs=1e-9)
    assert component_dose(world, "tools").item() == 0.25


@pytest.mark.parametrize("shape", ["linear", "j_shaped", "threshold"])
def test_per_fidelity_is_the_least_squares_slope_over_workers(shape: str) -> None:
    """The slope of g over drawn workers' fidelity, times the effect."""
    world = world_of(30, 60, response={"shape": shape}, fidelity={"years_to_80_percent": 0.0})
    asked = truth(world, rung="per_fidelity", weights="authority")
    rng = np.random.default_rng(1)
    scale = world.settings.fidelity.scale
    assert scale is not None
    place = scale.centre + scale.authority * world.readiness[..., np.newaxis]
    fidelity = 1 / (1 + np.exp(-(place + scale.worker * rng.standard_normal((30, 60, 800)))))
    slopes = [
        np.polyfit(of_one.ravel(), world.settings.response.of(of_one).ravel(), 1)[0] for of_one in fidelity
    ]
    assert asked == pytest.approx(2 * np.mean(slopes), rel=0.01)


def test_the_superpopulation_has_one_truth_near_the_national_ones() -> None:
    """It is the mean of national truths, the same in every replicate."""
    world = world_of(400)
    asked = Estimand(rung="offered", average="superpopulation")
    nobody = two_arms(np.tile(np.arange(4), (400, 1)), 2, 2, randomised=True)
    value = true_value(asked, world, nobody, "y", (12, 24))
    national = true_value(asked.model_copy(update={"average": "national"}), world, nobody, "y", (12, 24))
    assert value.shape == (1,)
    assert value[0] == pytest.approx(national.mean(), abs=5 * national.std() / np.sqrt(400))


def test_ratings_move_as_those_of_english_authorities_did() -> None:
    """40 % rose and 18 % fell from one inspection to the next (65 authorities inspected twice).

    What inspectors see is reversible but for the improvement, so that a later inspection less twice the
    improvement stands for the one before the last.
    """
    world = world_of(300, time={"years_before": 3, "years_after": 3}, inspections={})
    last = world.events._rated(world.events._seen_by_inspectors(0))
    before = world.events._rated(world.events._seen_by_inspectors(1) - 2 * 0.33)
    assert np.bincount(last.ravel()) / last.size == pytest.approx([0.10, 0.22, 0.39, 0.29], abs=0.01)
    assert (last > before).mean() == pytest.approx(0.40, abs=0.012)
    assert (last < before).mean() == pytest.approx(0.18, abs=0.012)
    assert (before >= 2).mean() == pytest.approx(0.55, abs=0.012)


def test_every_authority_is_inspected_once_in_a_cycle() -> None:
    """A third of them in each year after the start, with a cycle of three years."""
    world = world_of(
        300,
        time={"years_before": 2, "years_after": 3},
        inspections={},
        rating={"outstanding": 1e-9, "good": 1e-9, "requires_improvement": 1e-9, "quality_correlation": 0.0},
    )
    found = world.events.inspected_inadequate
    assert (found.sum(axis=2) <= 1).all()
    assert found[:, :, 2:].mean(axis=(0, 1)) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert world.events.inadequate_since_start[:, :, 4].mean() == pytest.approx(1.0, abs=0.01)


def test_about_one_pilot_in_five_leaves_within_two_years() -> None:
    """The default of the table: withdrawal .20, plausibly .10 to .30."""
    world = world_of(300, time={"years_before": 2, "years_after": 3}, **EVENTS)
    stop, _ = last_practised(world)
    assert 0.10 < (stop <= 4).mean() < 0.30


def test_who_left_receives_what_was_there_before() -> None:
    """Offered until it stops, then the usual dose, or that of the rival after a switch."""
    world = world_of(**EVENTS, rival=RIVAL, informal={"share": 0.5})
    unit = np.tile(np.arange(100), (300, 1))
    start = np.where(np.arange(100) < 50, 2, NEVER)[np.newaxis]
    dose = delivered_dose(world, unit, start, np.arange(4))
    stop, switched = last_practised(world)
    usual, offered = usual_dose(world), offered_dose(world, np.arange(4))
    left = (stop == 3)[:, :50]
    assert left.any()
    assert np.array_equal(dose[:, :50, 3][left & ~switched[:, :50]], usual[:, :50][left & ~switched[:, :50]])
    assert np.array_equal(
        dose[:, :50, 3][left & switched[:, :50]], rival_dose(world)[:, :50][left & switched[:, :50]]
    )
    assert np.array_equal(dose[:, :50, 3][~left], offered[:, :50, 3][~left])
    assert np.array_equal(dose[:, 50:, 3], usual[:, 50:])


def test_exit_strategies_differ_by_what_leaving_takes() -> None:
    """Who leaves loses the effect under treatment policy, keeps it had they stayed, counts while in."""
    fidelity = {"mean": 0.5, "authority_sd": 0.0, "quality_correlation": 0.0, "years_to_80_percent": 0.0}
    world = world_of(fidelity=fidelity, **EVENTS)
    stop, _ = last_practised(world)
    asked = {"rung": "delivered", "weights": "authority"}
    gone = float((stop <= 3).mean())
    assert truth(world, **asked, exit="no_exit") == pytest.approx(1.0)
    assert truth(world, **asked, exit="while_in") == pytest.approx(1.0)
    assert truth(world, **asked) == pytest.approx(1.0 - gone)


def test_anticipation_moves_the_year_before_the_start_by_its_share() -> None:
    """The outcome of a pilot's last year before moves by that share of its first year's effect."""
    world = world_of(anticipation=0.4, fidelity={"authority_sd": 0.0, "quality_correlation": 0.0})
    unit = np.tile(np.arange(100), (300, 1))
    allocation = two_arms(unit, 50, 2, randomised=True)
    delivery = deliver(Fieldwork(world, allocation, "y", np.arange(4)))
    moved = (delivery.exposure[:, :50]).mean(axis=(0, 1))
    assert moved[0] == 0
    assert moved[1] == pytest.approx(0.4 * moved[2])


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"informal": {"share": 0.8}, "rival": {"share": 0.3}}, "sum to 1.1"),
        ({"rival": {"shares": ("tools",)}}, "'tools' is not a component"),
        ({"fidelity": {"shock": 0.2}}, "no effect without the table inspections"),
        ({"leaving": {"after_inadequate": 0.2}}, "no effect without the table inspections"),
    ],
)
def test_states_that_contradict_each_other_are_refused(tables: dict[str, object], said: str) -> None:
    """A setting that could not act, or shares that cannot be had together, are told."""
    with pytest.raises(ValidationError, match=said):
        WorldSettings.model_validate(tables)
