"""A subgroup with its own fidelity and effect: doses, records and truths of all, of it alone, and of the others."""

import numpy as np
import pytest

from design_sim.allocation import two_arms
from design_sim.errors import ScenarioError
from design_sim.estimands import Estimand, true_value
from design_sim.results import run
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.delivery import Fieldwork, Sample, deliver
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import (
    RecordedBinary,
    RecordedContinuous,
    RecordedCount,
    RecordedDuration,
    SurveyedContinuous,
)
from design_sim.world.practice import in_subgroup, offered_dose
from design_sim.world.settings import WorldSettings

SHARE, MEAN, EFFECT = 0.25, 0.30, -0.5
OUTCOME = RecordedContinuous(effect=1.0, authority_sd=0.5, family_sd=2.0)
GROUPS = ("all", "subgroup", "others")


def world_of(subgroup: bool = True, n: int = 300, outcome: object = OUTCOME, **settings: object) -> World:
    """Twelve authorities; a quarter of families belong to a subgroup that practice would harm a little."""
    stated: dict[str, object] = {
        "authorities": 12,
        "size": {"log_mean": 7.5, "log_sd": 0.4, "smallest": 500.0, "largest": 9_000.0},
        "workers": {"per_10000_children": 150.0},
        "fidelity": {"mean": 0.6, "authority_sd": 0.1, "worker_sd": 0.1, "years_to_80_percent": 0.0},
        **settings,
    }
    if subgroup:
        stated["subgroup"] = {"share": SHARE, "mean": MEAN, "effect": EFFECT}
    return draw_world(WorldSettings.model_validate(stated), {"y": outcome}, n, Streams(5, 0))  # type: ignore[dict-item]


def truth(world: World, group: str, **asked: str) -> float:
    """The mean national truth of a group."""
    estimand = Estimand.model_validate({"rung": "offered", "average": "national", **asked})
    nobody = two_arms(np.zeros((1, 2), dtype=np.int64), 1, 2, randomised=False)
    return float(true_value(estimand, world.of_group(group), nobody, "y", (12, 24)).mean())  # type: ignore[arg-type]


def test_doses_of_the_groups_are_their_fidelity_times_their_effect() -> None:
    """Mean fidelity .6 of the others, .3 x -.5 of the subgroup, and the weighted mean of all."""
    world = world_of(n=4_000)
    doses = {group: offered_dose(world.of_group(group), np.array([3])).mean() for group in GROUPS}  # type: ignore[arg-type]
    assert doses["others"] == pytest.approx(0.6, abs=4 * 0.1 / np.sqrt(48_000))
    assert doses["subgroup"] == pytest.approx(MEAN * EFFECT, abs=4 * 0.05 / np.sqrt(48_000))
    assert doses["all"] == pytest.approx((1 - SHARE) * doses["others"] + SHARE * doses["subgroup"])


@pytest.mark.parametrize("rung", ["offered", "delivered", "full_fidelity"])
def test_the_truth_of_all_is_the_weighted_mean_of_the_groups(rung: str) -> None:
    """Shares of families weigh the groups' effects."""
    world = world_of(informal={"share": 0.5, "fidelity": 0.2})
    of = {group: truth(world, group, rung=rung) for group in GROUPS}
    assert of["all"] == pytest.approx((1 - SHARE) * of["others"] + SHARE * of["subgroup"])
    if rung == "full_fidelity":
        assert of["others"] == pytest.approx(1.0)
        assert of["subgroup"] == pytest.approx(EFFECT)


def test_records_of_the_groups_add_up_to_those_of_all() -> None:
    """Events and sums of the two parts are the whole's, and the subgroup's scatter as a sample of it."""
    binary = RecordedBinary(mean=0.3, effect=0.0, authority_sd=0.05)
    count = RecordedCount(mean=200.0, effect=0.0, overdispersion=2.0)
    duration = RecordedDuration(mean=1.0, sd=0.8, effect=0.0)
    for outcome in (OUTCOME, count, duration, binary):
        world = world_of(outcome=outcome)
        whole, part, rest = (world.of_group(group).record("y") for group in GROUPS)  # type: ignore[arg-type]
        assert np.array_equal(part.n + rest.n, whole.n)
        total = part.n * part.mean + rest.n * rest.mean
        assert total == pytest.approx(whole.n * whole.mean)
        assert part.n.mean() / whole.n.mean() == pytest.approx(SHARE, abs=0.01)
    events = part.mean * part.n
    assert np.abs(events - np.rint(events)).max() < 1e-9
    expected = np.sqrt(whole.mean * (1 - whole.mean) * (1 / part.n - 1 / whole.n) * whole.n / (whole.n - 1))
    z = (part.mean - whole.mean) / np.where(expected > 0, expected, 1.0)
    assert z.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * z.size))


def test_parts_of_counts_and_durations_scatter_as_drawn_from_the_beginning() -> None:
    """The subgroup's own record has the variance of so many units, whatever the record of all is."""
    count = RecordedCount(mean=200.0, effect=0.0, overdispersion=3.0, log_sd=0.0)
    world = world_of(outcome=count, n=2_000)
    part = world.of_group("subgroup").record("y")
    events = part.mean * part.n / 10_000.0
    expected = 0.02 * part.n
    ratio = ((events - expected) ** 2 / expected).mean()
    assert ratio == pytest.approx(3.0, rel=0.03)
    duration = RecordedDuration(mean=1.0, sd=0.8, effect=0.0, log_sd=0.0)
    world = world_of(outcome=duration, n=2_000)
    part = world.of_group("subgroup").record("y")
    z = (part.mean - 1.0) * np.sqrt(part.n) / 0.8
    assert z.var() == pytest.approx(1.0, rel=4 * np.sqrt(2 / z.size) * 2)


def test_surveyed_teams_belong_to_the_subgroup_in_its_share() -> None:
    """Workers of such a team practise at the subgroup's fidelity, in treated authorities."""
    survey = SurveyedContinuous(effect=1.0, sd=1e-6)
    world = world_of(outcome=survey, uptake=1.0)
    unit = np.tile(np.arange(12), (300, 1))
    allocation = two_arms(unit, 6, 2, randomised=True)
    sample = Sample(teams=1, workers=2, families=1)
    delivery = deliver(Fieldwork(world, allocation, "y", np.array([3]), sample))
    belongs = in_subgroup(world, unit, np.array([0, 1]))
    assert belongs.mean() == pytest.approx(SHARE, abs=4 * 0.45 / np.sqrt(3_600))
    assert (belongs[:, :, 0] == belongs[:, :, 1]).all()
    exposure = delivery.exposure.reshape(300, 12, 2)
    treated = exposure[:, :6]
    assert treated[belongs[:, :6]].mean() == pytest.approx(MEAN * EFFECT, abs=0.01)
    assert treated[~belongs[:, :6]].mean() == pytest.approx(0.6, abs=0.01)
    assert (exposure[:, 6:] == 0).all()


def test_a_study_of_the_subgroup_finds_its_effect() -> None:
    """The whole way from a file: the estimate's mean is the subgroup's own truth."""
    results = run(parse(TEXT.format(group="subgroup"), "s"), replicates=600)
    table = results.performance.set_index("measure")
    assert table.loc["truth", "value"] == pytest.approx(0.7 * MEAN * EFFECT, abs=0.01)
    assert abs(table.loc["bias", "value"]) < 4 * table.loc["bias", "mcse"]


def test_a_subgroup_is_needed_and_must_be_attainable() -> None:
    """A design about a group that the world does not have, and a fidelity that its spread rules out."""
    with pytest.raises(ScenarioError, match=r"designs.trial.group: 'others' needs the table world.subgroup"):
        parse(
            TEXT.format(group="others")
            .replace("subgroup = {", "informal = {")
            .replace("share = 0.25, mean = 0.3, effect = -0.5", "share = 0.5"),
            "s",
        )
    with pytest.raises(ScenarioError, match=r"subgroup.mean: a mean of 0.01 cannot be had"):
        parse(TEXT.format(group="all").replace("mean = 0.3,", "mean = 0.01,"), "s")


def test_without_a_subgroup_nothing_of_it_is_drawn() -> None:
    """The mechanism is off: the same world, and not a number more."""
    world = world_of(subgroup=False, n=3)
    assert world.of_group("subgroup") is world
    assert not in_subgroup(world, np.zeros((3, 2), dtype=np.int64), np.arange(3)).any()
    assert ("subgroup", "") not in world._members


TEXT = """
[world]
authorities = 30
uptake = 0.7
fidelity = {{mean = 0.6, authority_sd = 0.1, worker_sd = 0.1, years_to_80_percent = 0.0}}
subgroup = {{share = 0.25, mean = 0.3, effect = -0.5}}
[outcomes.y]
kind = "continuous"
source = "record"
effect = 1.0
authority_sd = 0.2
family_sd = 1.0
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 20
group = "{group}"
[designs.trial.answers.t]
estimator = "cluster_means"
estimand = "offered"
"""
