"""Teams and workers dealt out below the authorities enrolled."""

import numpy as np
import pytest

from design_sim.allocation import NEVER, Allocation, Randomisation
from design_sim.designs.cluster_rct import ClusterRCT
from design_sim.designs.dealing import quotas
from design_sim.errors import ScenarioError
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import World, draw_world, enrolled
from design_sim.world.outcomes import SurveyedContinuous
from design_sim.world.settings import WorldSettings

SAMPLE = {"teams": 4, "workers": 3, "families": 2}


def world_of(n: int = 400, per_10000_children: float = 100.0) -> World:
    """Twelve authorities, of five teams or more unless workers are few."""
    people = {"per_10000_children": per_10000_children, "per_team": 3}
    size = {"log_mean": 8.0, "log_sd": 0.5, "smallest": 1_500.0, "largest": 9_000.0}
    settings = WorldSettings.model_validate({"authorities": 12, "size": size, "workers": people})
    return draw_world(settings, {"y": SurveyedContinuous(effect=0.5)}, n, Streams(4, 0))


def allocated(world: World, **settings: object) -> Allocation:
    """Eight of them in a trial of their teams or workers."""
    stated = {"outcome": "y", "authorities": 8, "sample": SAMPLE, **settings}
    return ClusterRCT.model_validate(stated).allocate(world, world.streams)


@pytest.mark.parametrize(
    ("unit", "within", "stratum_size", "fixed"),
    [
        ("team", "study", 32, False),
        ("team", "authority", 4, True),
        ("worker", "study", 96, False),
        ("worker", "authority", 12, False),
        ("worker", "team", 3, True),
    ],
)
def test_every_stratum_has_its_share_of_both_arms(
    unit: str, within: str, stratum_size: int, fixed: bool
) -> None:
    """Numbers are fixed in each stratum; arms are tied to places only where chance would change nothing."""
    world = world_of()
    assert world.n_teams.min() >= 4
    allocation = allocated(world, unit=unit, within=within)
    assert allocation.assigned == unit
    treated = (allocation.start < NEVER).reshape(allocation.start.shape[0], -1, stratum_size)
    sizes = np.full(treated.shape[1], stratum_size)
    assert (treated.sum(axis=2) == quotas(sizes, 0.5)).all()
    assert allocation.start.shape[0] == (1 if fixed else 400)
    law = allocation.law
    assert isinstance(law, Randomisation)
    assert np.bincount(law.stratum).tolist() == sizes.tolist()
    assert sum(start < NEVER for start in law.start) == treated.sum(axis=(1, 2))[0]


def test_every_worker_is_treated_as_often() -> None:
    """Where arms are dealt out by lot, each worker of an authority has the stated chance."""
    allocation = allocated(world_of(2_000), unit="worker", treated_share=1 / 3)
    often = (allocation.start < NEVER).mean(axis=0)
    assert often == pytest.approx(np.full(96, 1 / 3), abs=4.5 * np.sqrt(2 / 9 / 2_000))


@pytest.mark.parametrize("unit", ["team", "worker"])
def test_an_authority_with_fewer_teams_deals_out_those_that_it_has(unit: str) -> None:
    """The stated share of the teams that are there is treated on average, whole numbers on either side of it."""
    world = world_of(2_000, per_10000_children=14.0)
    allocation = allocated(world, unit=unit, treated_share=0.5)
    present = np.minimum(enrolled(world.n_teams[np.newaxis], allocation.unit), 4)
    assert (present < 4).any()
    each = 3 if unit == "worker" else 1
    there = np.repeat(np.arange(4) < present[:, :, np.newaxis], each, axis=2)
    assert np.array_equal(allocation.stratum >= 0, there.reshape(2_000, -1))
    treated = (allocation.start < NEVER).reshape(2_000, 8, -1)
    assert not (treated & ~there).any()
    n, of = treated.sum(axis=2), there.sum(axis=2)
    assert (np.abs(n - of / 2) <= 0.5).all()
    for size in np.unique(of):
        share = n[of == size] / size
        assert share.mean() == pytest.approx(0.5, abs=4 * share.std() / np.sqrt(share.size) + 1e-9)


def test_quotas_are_whole_and_add_up() -> None:
    """As near to the share as can be, stratum by stratum and in all."""
    sizes = np.full(7, 5)
    assert quotas(sizes, 0.31).sum() == round(0.31 * 35)
    assert set(quotas(sizes, 0.31)) == {1, 2}
    assert quotas(np.array([10]), 0.3).tolist() == [3]


TEXT = """
[world]
authorities = 12
[outcomes.y]
kind = "{kind}"
source = "{source}"
{rest}
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 8
{design}
[designs.trial.answers.a]
estimand = "offered"
{answer}
"""
SURVEY = {"kind": "continuous", "source": "survey", "rest": "effect = 0.5"}
RECORD = {"kind": "binary", "source": "record", "rest": "mean = 0.2\neffect = -0.03"}
WORKERS = 'unit = "worker"\nsample = {teams = 2, workers = 4, families = 5}'
MEANS = 'estimator = "cluster_means"'
CR2 = 'estimator = "clustered_regression"'


def stated(outcome: dict[str, str], design: str, answer: str) -> str:
    """A scenario of one trial."""
    return TEXT.format(**outcome, design=design, answer=answer)


@pytest.mark.parametrize(
    ("outcome", "design", "answer", "said"),
    [
        (SURVEY, 'unit = "team"', MEANS, "trial.unit: 'team' needs the table sample"),
        (RECORD, WORKERS, MEANS, "trial.outcome: the design assigns each worker, and 'y' is recorded"),
        (SURVEY, WORKERS + "\ntreated = 3", MEANS, "treated has no effect with unit 'worker'"),
        (SURVEY, WORKERS + '\nbalance = {method = "pairs", on = ["size"]}', MEANS, "balance has no effect"),
        (SURVEY, "treated_share = 0.4", MEANS, "treated_share has no effect with unit 'authority'"),
        (SURVEY, "contamination = 0.4", MEANS, "contamination has no effect with unit 'authority'"),
        (
            SURVEY,
            'unit = "worker"\ncontamination = 0.4\nsample = {teams = 4, workers = 1, families = 5}',
            MEANS,
            "trial.contamination: has no effect while sample.workers is 1",
        ),
        (
            SURVEY,
            WORKERS + "\ntreated_share = 0.05",
            MEANS,
            "trial.within: the 8 workers sampled in each auth",
        ),
        (
            SURVEY,
            WORKERS,
            MEANS + '\nclusters = "authority"',
            "a.clusters: treatment differs within each auth",
        ),
        (SURVEY, WORKERS, 'estimator = "permutation"\nclusters = "team"', "a.clusters: treatment differs"),
        (SURVEY, WORKERS, MEANS + '\nclusters = "child"', "a.clusters: found 'child'; allowed: 'authority'"),
        (RECORD, "", CR2 + '\nclusters = "team"', "a.clusters: 'team' needs a surveyed outcome"),
        (
            SURVEY,
            WORKERS,
            'estimator = "mixed_model"\nlevels = ["authority", "worker"]',
            "a.levels: worker is no level below the clusters, which are each worker",
        ),
        (
            SURVEY,
            "sample = {teams = 2, workers = 4, families = 5}",
            'estimator = "permutation"\nclusters = "worker"',
            "a.clusters: permutation draws on how chance dealt out each authority; allowed: 'authority'",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(outcome: dict[str, str], design: str, answer: str, said: str) -> None:
    """Settings that would be ignored, units that are not there, and analyses that do not fit them."""
    with pytest.raises(ScenarioError) as refused:
        parse(stated(outcome, design, answer), "t")
    assert any(said in fault for fault in refused.value.faults), refused.value.faults


def test_rules_for_leavers_are_refused_where_authorities_have_both_arms() -> None:
    """A pilot that left is an authority; here none is a pilot more than another."""
    left = stated(SURVEY, WORKERS + '\nmeasurement = {leavers = "drop"}', CR2)
    with pytest.raises(ScenarioError, match="leavers: 'drop' is a rule for pilots that left"):
        parse(left.replace("authorities = 12", "authorities = 12\nleaving = {}"), "t")


def test_clusters_are_the_units_assigned_unless_an_answer_says_otherwise() -> None:
    """The default needs no word, and the coarser one takes an estimator that allows it."""
    study = parse(stated(SURVEY, WORKERS, MEANS), "t").cases[0].scenario.studies["trial"]
    assert study.clusters_of(study.answers["a"]) == "worker"
    study = (
        parse(stated(SURVEY, WORKERS, CR2 + '\nclusters = "team"'), "t").cases[0].scenario.studies["trial"]
    )
    assert study.clusters_of(study.answers["a"]) == "team"
    study = parse(stated(RECORD, "", MEANS), "t").cases[0].scenario.studies["trial"]
    assert study.clusters_of(study.answers["a"]) == "authority"
