"""Allocation in balance: strata, pairs, and the best of many arrangements."""

import numpy as np
import pytest

from design_sim.allocation import NEVER, Allocation, ConstrainedRandomisation, Randomisation
from design_sim.designs.balance import _shared_out
from design_sim.designs.cluster_rct import ClusterRCT
from design_sim.errors import ScenarioError
from design_sim.results import run
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import World, draw_world, enrolled
from design_sim.world.outcomes import RecordedContinuous
from design_sim.world.settings import WorldSettings

OUTCOMES = {"y": RecordedContinuous(effect=0.0, authority_sd=1.0, family_sd=1.0)}
METHODS = [
    {"method": "strata", "on": ["deprivation"], "strata": 3},
    {"method": "pairs", "on": ["deprivation"]},
    {"method": "constrained", "on": ["deprivation", "size"], "candidates": 200},
]


def world_of(n: int = 200) -> World:
    """Thirty authorities."""
    return draw_world(WorldSettings(authorities=30), OUTCOMES, n, Streams(6, 0))


def allocated(balance: dict[str, object] | None, world: World, **settings: object) -> Allocation:
    """Twelve of them, half treated."""
    stated = {"outcome": "y", "authorities": 12, "balance": balance, **settings}
    return ClusterRCT.model_validate(stated).allocate(world, world.streams)


def gap(world: World, allocation: Allocation) -> np.ndarray:
    """Difference between arms in mean deprivation, (replicate,)."""
    values = enrolled(world.deprivation, allocation.unit)
    treated = np.broadcast_to(allocation.start < NEVER, values.shape)
    means = [(values * arm).sum(axis=1) / arm.sum(axis=1) for arm in (treated, ~treated)]
    return np.asarray(means[0] - means[1])


@pytest.mark.parametrize("balance", METHODS, ids=lambda balance: balance["method"])
def test_arms_are_more_alike_and_as_large_as_stated(balance: dict[str, object]) -> None:
    """Balance takes most of the spread that chance leaves, and favours neither arm."""
    world = world_of(600)
    by_chance, in_balance = gap(world, allocated(None, world)), gap(world, allocated(balance, world))
    assert in_balance.std() < 0.6 * by_chance.std()
    assert in_balance.mean() == pytest.approx(0.0, abs=4 * in_balance.std() / np.sqrt(600))
    allocation = allocated(balance, world)
    assert ((allocation.start < NEVER).sum(axis=1) == 6).all()
    assert all(len(set(row)) == 12 for row in allocation.unit)


def test_strata_are_neighbours_and_each_has_its_share_of_both_arms() -> None:
    """Every authority of a stratum lies below every one of the next."""
    world = world_of()
    allocation = allocated(METHODS[0], world)
    values = enrolled(world.deprivation, allocation.unit)
    stratum, treated = allocation.stratum[0], allocation.start[0] < NEVER
    for one in range(3):
        assert (stratum == one).sum() == 4
        assert treated[stratum == one].sum() == 2
        if one:
            assert (values[:, stratum == one - 1].max(axis=1) <= values[:, stratum == one].min(axis=1)).all()
    assert isinstance(allocation.law, Randomisation)
    assert allocation.law.n_arrangements == 6**3


def test_pairs_hold_one_treated_each() -> None:
    """Six pairs have 64 arrangements, of which the law knows all."""
    allocation = allocated(METHODS[1], world_of())
    assert isinstance(allocation.law, Randomisation)
    assert allocation.law.n_arrangements == 2**6
    for pair in range(6):
        assert sorted(allocation.start[0][allocation.stratum[0] == pair].tolist()) == [2, NEVER]


def test_a_constrained_choice_is_one_of_the_allowed() -> None:
    """A tenth of the candidates, the best balanced of each replicate, one of them taken."""
    world = world_of()
    allocation = allocated(METHODS[2], world)
    law = allocation.law
    assert isinstance(law, ConstrainedRandomisation)
    assert (law.allowed.sum(axis=1) >= 20).all()
    taken = (allocation.start[:, np.newaxis] == law.candidates).all(axis=2)
    assert (taken & law.allowed).any(axis=1).all()


def test_treated_are_shared_out_by_largest_remainders() -> None:
    """Whole numbers that add up."""
    assert _shared_out(7, np.array([4, 4, 5])).tolist() == [2, 2, 3]
    assert _shared_out(1, np.array([3, 3])).sum() == 1


TEXT = """
replicates = 1_500
[world]
authorities = 30
[outcomes.y]
kind = "continuous"
source = "record"
effect = 1.0
authority_sd = 1.0
family_sd = 1.0
deprivation_correlation = 0.9
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 12
balance = {balance}
[designs.trial.answers.permutation]
estimator = "permutation"
estimand = "offered"
[designs.trial.answers.means]
estimator = "cluster_means"
estimand = "offered"
"""


@pytest.mark.parametrize(
    "balance",
    [
        '{method = "strata", on = ["deprivation"], strata = 3}',
        '{method = "pairs", on = ["deprivation"]}',
        '{method = "constrained", on = ["deprivation"], candidates = 400}',
    ],
)
def test_permutation_by_the_law_keeps_its_size_and_a_t_test_is_conservative(balance: str) -> None:
    """The law knows that the arms were balanced; the t test's standard error does not."""
    results = run(parse(TEXT.replace("{balance}", balance), "t"))
    table = results.performance.query("measure == 'size'").set_index("answer")
    assert table.loc["permutation", "value"] == pytest.approx(0.05, abs=4 * 0.0057 + 0.01)
    assert table.loc["means", "value"] < 0.02


@pytest.mark.parametrize(
    ("balance", "said"),
    [
        ('{method = "pairs", on = ["size"], strata = 2}', "strata has no effect with method 'pairs'"),
        ('{method = "pairs", on = []}', "name what is balanced"),
        ('{method = "strata", on = ["size"], strata = 7}', "7 strata need at least 14 authorities"),
        ('{method = "pairs", on = ["wealth"]}', "found 'wealth'"),
    ],
)
def test_what_cannot_be_balanced_is_refused(balance: str, said: str) -> None:
    """A setting that would be ignored, or units that are too few."""
    with pytest.raises(ScenarioError, match=said):
        parse(TEXT.replace("{balance}", balance), "t")
