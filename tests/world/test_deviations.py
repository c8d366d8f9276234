"""Outcomes that are correlated with each other, with quality and with deprivation, as stated."""

import numpy as np
import pytest

from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.deviations import correlation_faults
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import RecordedContinuous
from design_sim.world.settings import Memory, WorldSettings

ERROR = 4 / np.sqrt(40_000)


def outcome(**settings: object) -> RecordedContinuous:
    """An outcome of SD 1 between authorities."""
    stated = {"effect": 0.0, "authority_sd": 1.0, "family_sd": 1.0, **settings}
    return RecordedContinuous.model_validate(stated)


def world_of(outcomes: dict[str, RecordedContinuous], n: int = 400, **settings: object) -> World:
    """A hundred authorities over three years."""
    stated = {"authorities": 100, "time": {"years_before": 1, "years_after": 2}, **settings}
    return draw_world(WorldSettings.model_validate(stated), outcomes, n, Streams(4, 0))


def correlation(world: World, first: str, second: str, occasion: int = 1) -> float:
    """Of two outcomes' deviations in the same year."""
    pair = [world.deviations(name).deviation[:, :, occasion].ravel() for name in (first, second)]
    return float(np.corrcoef(*pair)[0, 1])


def test_three_outcomes_have_the_stated_correlations() -> None:
    """Also where quality and deprivation already make some of them."""
    outcomes = {
        "a": outcome(quality_correlation=0.5, deprivation_correlation=0.3),
        "b": outcome(quality_correlation=-0.4, correlations={"a": 0.46}),
        "c": outcome(deprivation_correlation=0.5, correlations={"a": 0.6, "b": 0.3}),
    }
    world = world_of(outcomes)
    for pair, stated in ((("a", "b"), 0.46), (("a", "c"), 0.6), (("b", "c"), 0.3)):
        assert correlation(world, *pair) == pytest.approx(stated, abs=ERROR)
    deprivation = world.deprivation.ravel()
    c = world.deviations("c").deviation[:, :, 2].ravel()
    assert np.corrcoef(c, deprivation)[0, 1] == pytest.approx(0.5, abs=ERROR)
    a = world.deviations("a").deviation[:, :, 2]
    assert np.corrcoef(a.ravel(), world.quality[:, :, 2].ravel())[0, 1] == pytest.approx(0.5, abs=ERROR)
    assert a.std() == pytest.approx(1.0, abs=ERROR)


def test_outcomes_of_different_memory_correlate_as_stated_on_average() -> None:
    """What different memories take from the correlation in a year is given back beforehand."""
    outcomes = {
        "stock": outcome(memory=Memory(permanent_share=0.0, autocorrelation=0.98)),
        "flow": outcome(memory=Memory(permanent_share=0.3, autocorrelation=0.6), correlations={"stock": 0.5}),
    }
    world = world_of(outcomes)
    found = np.mean([correlation(world, "stock", "flow", occasion) for occasion in range(3)])
    assert found == pytest.approx(0.5, abs=ERROR)
    flow = world.deviations("flow").deviation
    lagged = np.corrcoef(flow[:, :, 0].ravel(), flow[:, :, 1].ravel())[0, 1]
    assert lagged == pytest.approx(0.3 + 0.7 * 0.6, abs=ERROR)


def test_an_outcome_added_at_the_end_moves_no_other() -> None:
    """Common random numbers: a correlated outcome more in the file leaves those before it bit for bit."""
    first = {"a": outcome(), "b": outcome(correlations={"a": 0.5})}
    more = {**first, "c": outcome(correlations={"b": 0.5})}
    few, many = world_of(first, 10), world_of(more, 10)
    for name in first:
        assert np.array_equal(few.deviations(name).deviation, many.deviations(name).deviation)


def test_an_uncorrelated_outcome_draws_as_if_there_were_no_other() -> None:
    """The mechanism is off: nothing of another outcome is read."""
    alone, beside = world_of({"a": outcome()}, 5), world_of({"a": outcome(), "b": outcome()}, 5)
    assert np.array_equal(alone.deviations("a").deviation, beside.deviations("a").deviation)


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ({"a": outcome(correlations={"a": 0.5})}, "with itself is 1"),
        ({"a": outcome(correlations={"b": 0.5})}, "no outcome of that name"),
        (
            {"a": outcome(correlations={"b": 0.5}), "b": outcome(correlations={"a": 0.5})},
            "state each pair once",
        ),
        (
            {
                "a": outcome(correlations={"b": 0.9, "c": 0.9}),
                "b": outcome(correlations={"c": -0.9}),
                "c": outcome(),
            },
            "cannot be had together",
        ),
        (
            {"a": outcome(quality_correlation=1.0), "b": outcome(correlations={"a": 0.9})},
            "cannot be had together",
        ),
    ],
)
def test_correlations_that_cannot_be_had_are_refused(
    outcomes: dict[str, RecordedContinuous], said: str
) -> None:
    """A matrix that is none would be drawn as another, silently."""
    (fault,) = correlation_faults(outcomes, WorldSettings())
    assert said in fault


def test_correlations_are_stated_in_a_file() -> None:
    """By the other outcome's name, which counts as its use."""
    text = """
    [outcomes.a]
    kind = "binary"
    source = "record"
    mean = 0.2
    effect = 0.0
    correlations = {b = 0.4}
    [outcomes.b]
    kind = "binary"
    source = "record"
    mean = 0.2
    effect = 0.0
    [designs.d]
    kind = "difference_in_differences"
    outcome = "a"
    adopters = 9
    [designs.d.answers.x]
    estimator = "cluster_means"
    estimand = "offered"
    """
    scenario = parse(text, "name").cases[0].scenario
    assert scenario.outcomes["a"].correlations == {"b": 0.4}
