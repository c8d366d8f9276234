"""Contrast studies whose comparisons are matched or of a stated kind, and pilots who are willing."""

from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.arrays import Floats, Ints
from design_sim.designs.contrast import Contrast
from design_sim.designs.matching import chance_of_too_few, nearest, of_kind, places_of, share_of_kind
from design_sim.errors import ScenarioError
from design_sim.mechanisms import MECHANISMS, Conditions
from design_sim.results import run
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import RecordedContinuous
from design_sim.world.settings import WorldSettings

OUTCOMES = {"y": RecordedContinuous(effect=0.0, authority_sd=1.0, family_sd=5.0, deprivation_correlation=0.6)}
KNOWN = ("size", "deprivation", "rating", "baseline")
N = 200


def world_of(n: int = N, **tables: object) -> World:
    """Thirty authorities, with three years on record."""
    stated = {"authorities": 30, "time": {"years_before": 3}, **tables}
    return draw_world(WorldSettings.model_validate(stated), OUTCOMES, n, Streams(7, 0))


def chosen(world: World, **settings: object) -> tuple[Ints, Ints]:
    """Three pilots and six comparisons of every replicate."""
    stated = {"outcome": "y", "pilots": 3, "comparisons": 6, **settings}
    unit = Contrast.model_validate(stated).allocate(world, world.streams).unit
    return unit[:, :3], unit[:, 3:]


def what_is_known(world: World) -> Floats:
    """Size, deprivation, rating and baseline of every authority, (replicate, authority, variable)."""
    before = world.record("y").mean[:, :, : world.settings.time.start].mean(axis=2)
    known = [np.log(world.children)[np.newaxis], world.deprivation, world.events.rating, before]
    shape = (world.n_replicates, world.n_authorities)
    return np.stack([np.broadcast_to(each, shape).astype(float) for each in known], axis=2)


def test_distances_are_those_of_mahalanobis() -> None:
    """(a - b)' S^-1 (a - b), with the covariance of the replicate's own authorities, pair by pair."""
    world = world_of(5)
    known, places = what_is_known(world), places_of(world, "y", KNOWN)
    for replicate in range(5):
        inverse = np.linalg.inv(np.cov(known[replicate].T, bias=True))
        for a, b in pairwise(range(30)):
            apart = known[replicate, a] - known[replicate, b]
            square = ((places[replicate, a] - places[replicate, b]) ** 2).sum()
            assert square == pytest.approx(apart @ inverse @ apart)


def test_what_does_not_differ_adds_no_distance() -> None:
    """A world of authorities of one size: distances on size and deprivation are those on deprivation."""
    size = {"log_mean": 9.0, "log_sd": 0.0, "smallest": 1_000.0, "largest": 90_000.0}
    world = world_of(4, size=size)
    both, one = (places_of(world, "y", names) for names in (("size", "deprivation"), ("deprivation",)))
    assert np.isfinite(both).all()
    distance = [((places[:, :1] - places) ** 2).sum(axis=2) for places in (both, one)]
    assert distance[0] == pytest.approx(distance[1])


@pytest.mark.parametrize("kind", ["any", "rival"])
def test_pilots_take_their_nearest_neighbours_in_turn(kind: str) -> None:
    """A loop over replicates, turns and candidates finds the same authorities in the same order."""
    world = world_of(40, rival={"share": 0.3})
    match = {"comparisons_by": "matched", "match_on": ["size", "deprivation", "baseline"]}
    pilots, comparisons = chosen(world, **match, comparisons_with=kind)
    known = what_is_known(world)[:, :, [0, 1, 3]]
    for replicate in range(40):
        inverse = np.linalg.inv(np.cov(known[replicate].T))
        left = set(range(30)) - set(pilots[replicate].tolist())
        for turn in range(6):
            pilot = known[replicate, pilots[replicate, turn % 3]]
            rivals = {each for each in left if world.has_rival[replicate, each]}
            candidates = sorted(rivals if kind == "rival" and rivals else left)
            squares = [
                (known[replicate, each] - pilot) @ inverse @ (known[replicate, each] - pilot)
                for each in candidates
            ]
            best = candidates[int(np.argmin(squares))]
            assert comparisons[replicate, turn] == best
            left.remove(best)


def test_ties_are_broken_by_chance() -> None:
    """Authorities at one place are taken as often; one that stands nearer always."""
    n = 6_000
    places = np.zeros((n, 5, 1))
    places[:, 4] = 0.5
    pilots = np.zeros((n, 1), dtype=np.int64)
    lot = np.random.default_rng(1).random((n, 5))
    first = nearest(places, pilots, np.ones((1, 1), dtype=bool), lot, 1)[:, 0]
    share = np.bincount(first, minlength=5) / n
    assert share == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0], abs=4 * np.sqrt(2 / 9 / n))
    assert (nearest(places, pilots, np.ones((1, 1), dtype=bool), lot, 4)[:, 3] == 4).all()


@pytest.mark.parametrize("pilots_by", ["reputation", "rating", "willingness", "chance"])
def test_matched_arms_are_more_alike_than_by_chance(pilots_by: str) -> None:
    """Each pilot and the comparisons that it took differ less in all that is matched on."""
    world = world_of(adoption={"authorities": 3, "deprivation_weight": 1.0})
    known, gaps = what_is_known(world), []
    for match in ({}, {"comparisons_by": "matched", "match_on": KNOWN}):
        pilots, comparisons = chosen(world, pilots_by=pilots_by, **match)
        arms = [
            np.take_along_axis(known, arm[:, :, np.newaxis], axis=1)
            for arm in (np.tile(pilots, 2), comparisons)
        ]
        gaps.append(np.abs(arms[0] - arms[1]).mean(axis=(0, 1)))
    assert (gaps[1] < 0.8 * gaps[0]).all()


@pytest.mark.parametrize("by", ["chance", "rating", "matched"])
@pytest.mark.parametrize("kind", ["any", "no_framework", "rival"])
def test_nobody_is_in_a_study_twice(by: str, kind: str) -> None:
    """Without replacement, also where others stand in for the kind that is wanted."""
    world = world_of(rival={"share": 0.2}, informal={"share": 0.6, "fidelity": 0.3})
    match = {"match_on": ["deprivation"]} if by == "matched" else {}
    unit = np.concatenate(chosen(world, comparisons_by=by, comparisons_with=kind, **match), axis=1)
    assert all(len(set(row)) == 9 for row in unit)


@pytest.mark.parametrize("by", ["chance", "rating", "matched"])
@pytest.mark.parametrize("kind", ["no_framework", "rival"])
def test_comparisons_are_of_the_kind_wherever_enough_are(by: str, kind: str) -> None:
    """As many of the kind as there are beside the pilots, up to all that are wanted; both cases occur."""
    world = world_of(rival={"share": 0.25}, informal={"share": 0.5, "fidelity": 0.3})
    match = {"match_on": ["deprivation"]} if by == "matched" else {}
    pilots, comparisons = chosen(world, comparisons_by=by, comparisons_with=kind, **match)
    free = ~(world.has_rival | world.uses_informally)
    kinds = world.has_rival if kind == "rival" else free
    there = kinds.sum(axis=1) - np.take_along_axis(kinds, pilots, axis=1).sum(axis=1)
    found = np.take_along_axis(kinds, comparisons, axis=1).sum(axis=1)
    assert np.array_equal(found, np.minimum(there, 6))
    assert 0.05 < (there < 6).mean() < 0.95


@pytest.mark.parametrize("pilots_by", ["reputation", "rating", "willingness"])
@pytest.mark.parametrize(
    ("kind", "tables"),
    [
        ("rival", {"rival": {"share": 0.25}}),
        ("no_framework", {"rival": {"share": 0.3}, "informal": {"share": 0.45, "fidelity": 0.3}}),
    ],
)
def test_others_stand_in_as_often_as_the_binomial_says(
    kind: str, tables: dict[str, object], pilots_by: str
) -> None:
    """Whoever the pilots are, each other authority is of the kind with its share: four Monte Carlo errors."""
    n = 3_000
    world = world_of(n, adoption={"authorities": 3, "quality_weight": 1.0}, **tables)
    settings = {"outcome": "y", "pilots": 3, "comparisons": 6}
    design = Contrast.model_validate({**settings, "pilots_by": pilots_by, "comparisons_with": kind})
    unit = design.allocate(world, world.streams).unit[:, 3:]
    wanted = of_kind(world, design.comparisons_with)
    short = (~np.take_along_axis(wanted, unit, axis=1)).any(axis=1)
    expected = design.stand_ins(world.settings)
    assert 0.2 < expected < 0.8
    assert short.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n))
    assert wanted.mean() == pytest.approx(share_of_kind(world.settings, design.comparisons_with), abs=0.01)


def test_any_comparisons_are_never_stood_in_for() -> None:
    """Where nothing is wanted nothing lacks; where all are of the kind neither."""
    settings = WorldSettings(authorities=12)
    assert chance_of_too_few(settings, "any", 2, 10) == 0
    assert chance_of_too_few(settings, "no_framework", 2, 10) == 0


def test_willing_pilots_are_those_that_would_adopt() -> None:
    """The first in the order of adoption, the most willing first."""
    world = world_of(adoption={"authorities": 3, "quality_weight": 1.0})
    pilots, _ = chosen(world, pilots_by="willingness")
    assert np.array_equal(pilots, world.adopters)


def test_what_is_off_moves_no_comparison() -> None:
    """Without a kind, and in a world where all are of it, the same authorities are drawn as ever."""
    world = world_of()
    expected = np.concatenate(chosen(world), axis=1)
    assert np.array_equal(np.concatenate(chosen(world, comparisons_with="no_framework"), axis=1), expected)
    chance = world.streams.rng("enrolment").random((2, N, 30))[1]
    pilots = np.argsort(-world.reputation, axis=1)[:, :3]
    assert np.array_equal(expected[:, :3], pilots)
    np.put_along_axis(chance, pilots, -1.0, axis=1)
    assert np.array_equal(expected[:, 3:], np.argsort(-chance, axis=1)[:, :6])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"comparisons_by": "matched"}, "needs match_on, some of size, deprivation, rating, baseline"),
        ({"match_on": ["size"]}, "match_on has no effect without comparisons_by = 'matched'"),
        ({"comparisons_by": "matched", "match_on": ["size", "size"]}, "each once"),
        ({"comparisons_by": "matched", "match_on": ["colour"]}, "match_on"),
    ],
)
def test_matching_needs_something_to_match_on(settings: dict[str, object], said: str) -> None:
    """What would pass in silence is refused in plain words."""
    with pytest.raises(ValidationError, match=said):
        Contrast.model_validate({"outcome": "y", "pilots": 2, "comparisons": 2, **settings})


@pytest.mark.parametrize(
    ("settings", "world", "said"),
    [
        ({"pilots_by": "willingness"}, {}, "pilots_by: 'willingness' needs the table world.adoption"),
        ({"comparisons_with": "rival"}, {}, "comparisons_with: 'rival' needs the table world.rival"),
        (
            {"comparisons_with": "rival"},
            {"rival": {"share": 0.1}},
            "comparisons_with: 'rival' wants 4 authorities, and the world has 2.8 beside the pilots on average "
            "(world.rival.share)",
        ),
        (
            {"comparisons_with": "no_framework"},
            {"rival": {"share": 0.5}, "informal": {"share": 0.4, "fidelity": 0.3}},
            "comparisons_with: 'no_framework' wants 4 authorities, and the world has 2.8 beside the pilots on "
            "average (world.informal.share, world.rival.share)",
        ),
        ({"comparisons_with": "rival"}, {"rival": {"share": 0.2}}, None),
    ],
)
def test_faults_say_what_the_world_lacks(
    settings: dict[str, object], world: dict[str, object], said: str | None
) -> None:
    """Before anything is drawn."""
    design = Contrast.model_validate({"outcome": "y", "pilots": 2, "comparisons": 4, **settings})
    faults = design.faults(WorldSettings.model_validate({"authorities": 30, **world}))
    assert [fault[: len(said or "")] for fault in faults] == ([said] if said else [])


TEXT = """
replicates = 1_000
[world]
authorities = 60
time = {{years_before = {before}}}
[outcomes.y]
kind = "continuous"
source = "{source}"
effect = 1.0
{spread}
[designs.contrast]
kind = "contrast"
outcome = "y"
pilots = 4
comparisons = 8
pilots_by = "{by}"
{match}
answers.t = {{estimator = "cluster_means", estimand = "offered", weighted_by = "authority"}}
"""
RECORD = {
    "source": "record",
    "spread": "authority_sd = 1.0\nfamily_sd = 1.0\nquality_correlation = 0.8",
    "by": "rating",
    "before": 2,
}
MATCH = 'comparisons_by = "matched"\nmatch_on = ["baseline"]'


def test_a_baseline_needs_an_outcome_on_record() -> None:
    """What a survey has not asked yet, or no record holds, cannot be matched on."""
    survey = "sample = {teams = 1, workers = 2, families = 3}"
    text = TEXT.format(source="survey", spread="", before=2, by="rating", match=f"{MATCH}\n{survey}")
    with pytest.raises(ScenarioError, match="match_on: 'baseline' needs a recorded outcome; 'y' is surveyed"):
        parse(text, "t")
    with pytest.raises(ScenarioError, match=r"match_on: 'baseline' needs world\.time\.years_before"):
        parse(TEXT.format(**{**RECORD, "before": 0}, match=MATCH), "t")


def test_matching_on_what_moves_outcomes_takes_bias_out() -> None:
    """Pilots of the best rating do better anyway; comparisons with their baselines do so too."""
    biases = []
    for match in ("", MATCH):
        table = run(parse(TEXT.format(**RECORD, match=match), "t")).performance.set_index("measure")
        biases.append((table.loc["bias", "value"], table.loc["bias", "mcse"]))
    (plain, error), (matched, _) = biases
    assert abs(plain) > 0.3
    assert abs(plain) > 10 * error
    assert abs(matched) < 0.35 * abs(plain)


def test_without_selection_comparisons_are_drawn_by_chance() -> None:
    """The error budget switches the choice off whole, what it matched on included, and keeps their kind."""
    world = WorldSettings.model_validate({"authorities": 30, "rival": {"share": 0.5}})
    stated = {"outcome": "y", "pilots": 2, "comparisons": 2, "comparisons_with": "rival"}
    chance = Contrast.model_validate({**stated, "pilots_by": "chance"})
    choice = {"pilots_by": "reputation", "comparisons_by": "matched", "match_on": ["size"]}
    off = MECHANISMS["selection"](Conditions(world, OUTCOMES, Contrast.model_validate({**stated, **choice})))
    assert off.design == chance
