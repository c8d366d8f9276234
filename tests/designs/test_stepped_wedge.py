"""The stepped wedge: who starts when, what is observed, and what an analysis without time would find."""

import numpy as np
import pytest

from design_sim.allocation import Randomisation
from design_sim.designs.stepped_wedge import SteppedWedge
from design_sim.errors import ScenarioError
from design_sim.results import Results, run
from design_sim.simulate import carry_out
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import draw_world
from design_sim.world.outcomes import RecordedContinuous
from design_sim.world.settings import WorldSettings

TEXT = """
replicates = 1_500
window = [0, 3]
[world]
authorities = 30
uptake = 1.0
time = {per_year = 4, years_before = 1, years_after = 2}
quality = {permanent_share = 1.0}
fidelity = {mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}
[outcomes.y]
kind = "continuous"
source = "record"
effect = 0.5
trend = 1.0
authority_sd = 1.0
family_sd = 30.0
per_10000_children = 10.0
[designs.wedge]
kind = "stepped_wedge"
outcome = "y"
authorities = 12
steps = 4
EXTRA
[designs.wedge.answers.fixed]
estimator = "two_way_fixed_effects"
variance = "CR1S"
estimand = "offered"
"""


def wedge(**settings: object) -> SteppedWedge:
    """Twelve authorities in four steps of a quarter."""
    return SteppedWedge.model_validate({"outcome": "y", "authorities": 12, "steps": 4, **settings})


def table(extra: str = "") -> Results:
    """The wedge run whole."""
    return run(parse(TEXT.replace("EXTRA", extra), "wedge"))


def test_authorities_are_divided_among_steps_as_equally_as_can_be() -> None:
    """Ten in four steps: three, three, two, two; steps are so many occasions apart."""
    settings = WorldSettings.model_validate({"authorities": 12, "time": {"per_year": 12, "years_after": 2}})
    world = draw_world(
        settings, {"y": RecordedContinuous(effect=0.0, authority_sd=1.0, family_sd=1.0)}, 8, Streams(1, 0)
    )
    allocation = wedge(authorities=10, every=3, before=6, after=4).allocate(world, world.streams)
    start = settings.time.start
    assert (allocation.start[0] - start).tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 9, 9]
    assert isinstance(allocation.law, Randomisation)
    assert allocation.law.n_arrangements == 25_200  # 10! / (3! 3! 2! 2!)
    occasions, follow_up = wedge(authorities=10, every=3, before=6, after=4).occasions(settings.time)
    assert occasions.tolist() == list(range(start - 6, start + 13))
    assert follow_up.all()


def test_transition_and_incompleteness_leave_occasions_out() -> None:
    """With two occasions of change-over and two observed on either side, six are looked at and two left out."""
    settings = WorldSettings.model_validate({"authorities": 12, "time": {"per_year": 12, "years_after": 2}})
    world = draw_world(
        settings, {"y": RecordedContinuous(effect=0.0, authority_sd=1.0, family_sd=1.0)}, 8, Streams(1, 0)
    )
    design = wedge(before=2, after=4, transition=2, around=2)
    seen = design.allocate(world, world.streams).observed
    assert seen is not None
    first = seen[0, 0].astype(int).tolist()
    assert first == [1, 1, 0, 0, 1, 1, 0, 0, 0]
    assert (seen[0].sum(axis=1) == 4).all()


def test_fixed_effects_of_time_find_the_effect_and_hold_their_size() -> None:
    """The national trend goes with treatment; taking time out leaves no bias."""
    found = table().performance.set_index("measure")["value"]
    errors = table().performance.set_index("measure")["mcse"]
    assert found["bias"] == pytest.approx(0.0, abs=4 * errors["bias"])
    assert found["truth"] == pytest.approx(0.5)
    assert found["size"] < 0.11
    assert found["failure_rate"] == 0


def test_occasions_left_out_cost_precision_and_no_truth() -> None:
    """An incomplete wedge has the same estimand and a larger standard error."""
    whole, part = (
        table(extra).performance.set_index("measure") for extra in ("after = 2", "after = 2\ntransition = 1")
    )
    assert part.loc["empirical_se", "value"] > whole.loc["empirical_se", "value"]
    assert part.loc["bias", "value"] == pytest.approx(0.0, abs=4 * part.loc["bias", "mcse"])


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("after = 20", r"designs.wedge.steps: 4 steps, 1 occasions apart, and 20 after the last take 23"),
        ("before = 9", r"designs.wedge.before: 9 occasions; world.time has 4 before the start"),
        ("transition = 1", r"designs.wedge.transition: 1 occasions leave nothing"),
        ('answers.t = {estimator = "cluster_means", estimand = "offered"}', "compares arms at one follow-up"),
    ],
)
def test_what_cannot_be_had_is_refused(extra: str, said: str) -> None:
    """Too few occasions, or an analysis of two arms."""
    with pytest.raises(ScenarioError, match=said):
        parse(TEXT.replace("EXTRA", extra), "wedge")


def test_periods_of_unequal_length_are_analysed_as_one_figure_each() -> None:
    """A wedge of quarters pooled to periods of 2, 1, 1, 3 and 2 of them; steps fall between."""
    extra = "periods = [2, 1, 1, 3, 2]"
    scenario = parse(TEXT.replace("EXTRA", extra), "wedge").cases[0].scenario
    study = scenario.studies["wedge"]
    world = draw_world(scenario.world, scenario.outcomes, 16, Streams(1, 0))
    twins = carry_out(scenario, study, world)
    assert twins.stated.cells.n.shape[2] == 5
    start = scenario.world.time.start
    assert np.unique(twins.allocation.start).tolist() == [start, start + 1, start + 2, start + 5]
    assert twins.stated.occasions.tolist() == [start - 2, start, start + 1, start + 2, start + 5]
    record = world.record("y")
    unit = twins.allocation.unit
    first = np.take_along_axis(record.mean, unit[:, :, np.newaxis], axis=1)[:, :, start - 2 : start].mean(
        axis=2
    )
    assert twins.null.cells.mean[:, :, 0] == pytest.approx(first)
    found = table(extra).performance.set_index("measure")
    assert found.loc["bias", "value"] == pytest.approx(0.0, abs=4 * found.loc["bias", "mcse"])


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("periods = [2, 1, 1]", "3 lengths for 4 steps; allowed: 5"),
        ("periods = [1, 1, 1, 1, 1]\nevery = 2", "every has no effect with periods"),
        ("periods = [9, 1, 1, 1, 1]", "periods: 9 occasions; world.time has 4 before the start"),
        ("periods = [1, 9, 9, 9, 9]", "periods: they take 36 occasions"),
    ],
)
def test_periods_that_do_not_fit_are_refused(extra: str, said: str) -> None:
    """Their number, what they replace, and the years on record."""
    with pytest.raises(ScenarioError, match=said):
        parse(TEXT.replace("EXTRA", extra), "wedge")


def test_more_steps_than_authorities_are_refused() -> None:
    """A step with nobody would be no step."""
    with pytest.raises(ValueError, match="leave some empty"):
        wedge(steps=13)


def test_effects_by_exposure_time_find_the_average_of_an_effect_that_grows() -> None:
    """While fidelity ramps up, an immediate effect is not the year's average, and may be far from it.

    The window is the year that the first to start are observed for after their start.
    """
    text = TEXT.replace("window = [0, 3]", "window = [0, 12]").replace("EXTRA", "")
    text = text.replace("years_to_80_percent = 0.0", "years_to_80_percent = 1.0")
    text = text.replace("effect = 0.5", "effect = 5.0")
    for name, effect in (("one", "immediate"), ("average", "by_exposure_time"), ("last", "longest_exposure")):
        text += f'[designs.wedge.answers.{name}]\nestimator = "mixed_model"\nperiod_effects = true\n'
        text += f'effect = "{effect}"\nestimand = "offered"\n'
    found = run(parse(text, "wedge")).performance.query("measure == 'bias'").set_index("answer")
    bias, error = found["value"], found["mcse"]
    assert bias["average"] == pytest.approx(0.0, abs=4 * error["average"])
    assert bias["one"] < -4 * error["one"]
    assert bias["fixed"] < -4 * error["fixed"]
    assert bias["last"] > 4 * error["last"]
