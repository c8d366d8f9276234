"""Wedges in batches: who starts when and is observed when, by what chance, and what cannot be had."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import Allocation, Randomisation
from design_sim.designs.stepped_wedge import SteppedWedge
from design_sim.streams import Streams
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import RecordedContinuous
from design_sim.world.settings import WorldSettings

SETTINGS = WorldSettings.model_validate(
    {"authorities": 12, "time": {"per_year": 4, "years_before": 1, "years_after": 4}}
)
START = SETTINGS.time.start


def world(n_replicates: int = 4) -> World:
    """Twelve authorities by quarters."""
    outcome = RecordedContinuous(effect=0.0, authority_sd=1.0, family_sd=1.0)
    return draw_world(SETTINGS, {"y": outcome}, n_replicates, Streams(1, 0))


def wedge(**settings: Any) -> SteppedWedge:
    """Seven authorities in two batches of two steps."""
    stated = {"outcome": "y", "authorities": 7, "steps": 2, "batches": 2, "between_batches": 3}
    return SteppedWedge.model_validate(stated | settings)


def allocated(**settings: Any) -> Allocation:
    drawn = world()
    return wedge(**settings).allocate(drawn, drawn.streams)


def shown(allocation: Allocation, occasions: np.ndarray[Any, Any]) -> list[str]:
    """A line for each slot: 0 without, 1 with the framework, a dot where not observed."""
    assert allocation.observed is not None
    return [
        "".join(
            str(int(start <= occasion)) if seen else "."
            for occasion, seen in zip(occasions, slot, strict=True)
        )
        for start, slot in zip(allocation.start[0], allocation.observed[0], strict=True)
    ]


def test_every_batch_runs_the_same_steps_over_occasions_of_its_own() -> None:
    """Four authorities and then three, and of each batch those of the first step first."""
    occasions, follow_up = wedge().occasions(SETTINGS.time)
    assert (occasions - START).tolist() == [-1, 0, 1, 2, 3, 4]
    assert follow_up.all()
    lines = ["011...", "011...", "001...", "001...", "...011", "...011", "...001"]
    assert shown(allocated(), occasions) == lines


def test_slots_are_in_the_order_of_their_starts_where_batches_overlap() -> None:
    """Two batches may start somebody at the same occasion, and are observed at different ones."""
    occasions, _ = wedge(between_batches=1, before=2).occasions(SETTINGS.time)
    assert (occasions - START).tolist() == [-2, -1, 0, 1, 2]
    lines = ["0011.", "0011.", "0001.", "0001.", ".0011", ".0011", ".0001"]
    assert shown(allocated(between_batches=1, before=2), occasions) == lines
    assert (np.diff(allocated(between_batches=1, before=2).start[0]) >= 0).all()


def test_occasions_between_batches_are_not_in_the_study() -> None:
    """Nobody is observed there."""
    occasions, _ = wedge(between_batches=5).occasions(SETTINGS.time)
    assert (occasions - START).tolist() == [-1, 0, 1, 4, 5, 6]


def test_transition_and_incompleteness_apply_within_each_batch() -> None:
    """An occasion of change-over is left out, and one on either side of it is observed."""
    settings = {"between_batches": 6, "before": 2, "after": 3, "transition": 1, "around": 1}
    occasions, _ = wedge(**settings).occasions(SETTINGS.time)
    lines = [".0.1........", ".0.1........", "..0.1.......", "..0.1......."]
    lines += [".......0.1..", ".......0.1..", "........0.1."]
    assert shown(allocated(**settings), occasions) == lines


def test_chance_deals_authorities_out_among_batches_and_steps() -> None:
    """Each of twelve authorities is as often in any slot of the seven."""
    drawn = world(6_000)
    unit = wedge().allocate(drawn, drawn.streams).unit
    counts = np.stack([np.bincount(unit[:, slot], minlength=12) for slot in range(7)])
    assert counts == pytest.approx(500, abs=4.5 * np.sqrt(500 * 11 / 12))


def test_the_law_deals_starts_out_within_batches_alone() -> None:
    """An authority's batch decides when it was observed; 4! / (2! 2!) x 3! / (2! 1!) arrangements are left."""
    allocation = allocated(between_batches=1)
    law = allocation.law
    assert isinstance(law, Randomisation)
    assert law.n_arrangements == 6 * 3
    every = law.arrangements(99, np.random.default_rng(0)).start
    assert len(np.unique(every, axis=0)) == 18
    drawn = law.draw(np.random.default_rng(0), 200)
    batch = allocation.stratum[0]
    for arrangement in (*every, *drawn):
        for one in (0, 1):
            was = np.sort(allocation.start[0][batch == one])
            np.testing.assert_array_equal(np.sort(arrangement[batch == one]), was)
    assert set(map(tuple, drawn.tolist())) == set(map(tuple, every.tolist()))


def test_one_batch_is_the_wedge_without_batches() -> None:
    """Stated or not."""
    drawn = world()
    plain = SteppedWedge(outcome="y", authorities=7, steps=2).allocate(drawn, Streams(1, 0))
    stated = SteppedWedge(outcome="y", authorities=7, steps=2, batches=1).allocate(drawn, Streams(1, 0))
    assert plain.observed is None
    assert stated.observed is None
    assert plain.law == stated.law
    np.testing.assert_array_equal(plain.unit, stated.unit)
    np.testing.assert_array_equal(plain.start, stated.start)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"authorities": 3}, "steps: 2 steps of 2 batches for 3 authorities leave some empty"),
        ({"between_batches": None}, "between_batches is needed with several batches"),
        ({"batches": 1}, "between_batches has no effect with one batch"),
        ({"periods": [1, 1, 1]}, "batches: every one has periods of its own"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], reason: str) -> None:
    """Before anything is drawn."""
    with pytest.raises(ValidationError, match=reason):
        wedge(**settings)


def test_batches_that_the_years_on_record_do_not_hold_are_refused() -> None:
    """The last batch has to be observed to its end."""
    (fault,) = wedge(between_batches=15).faults(SETTINGS)
    said = "steps: 2 steps, 1 occasion apart, and 1 after the last, in 2 batches 15 apart, take 17 occasions"
    assert fault == f"{said}; world.time has 16 from the start on"
    assert wedge(between_batches=14).faults(SETTINGS) == []
