"""Every registered design keeps the contract: shapes, arms, determinism, nothing from outside."""

import numpy as np
import pytest

from design_sim.allocation import NEVER, Allocation, Randomisation
from design_sim.designs import DESIGNS, Design
from design_sim.streams import Streams
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import RecordedBinary
from design_sim.world.settings import WorldSettings

SAMPLE = {"teams": 2, "workers": 4, "families": 3}
SETTINGS: dict[str, dict[str, object]] = {
    "cluster_rct": {"authorities": 8, "baseline_years": 2},
    "family_rct": {"authorities": 5, "sample": SAMPLE},
    "stepped_wedge": {"authorities": 7, "steps": 3, "before": 2},
    "contrast": {"pilots": 2, "comparisons": 3},
    "difference_in_differences": {"adopters": 4, "comparisons": 5},
}
BELOW = {
    f"{kind} of each {settings.get('unit', 'family')} within {settings['within']}": (kind, settings)
    for kind, settings in (
        *(
            ("cluster_rct", {"authorities": 5, "sample": SAMPLE, "unit": unit, "within": within})
            for unit, within in (
                ("team", "authority"),
                ("team", "study"),
                ("worker", "team"),
                ("worker", "study"),
            )
        ),
        *(
            ("family_rct", {"authorities": 5, "sample": SAMPLE, "within": within})
            for within in ("worker", "authority", "study")
        ),
    )
}
OWN = {
    "family_rct with workers of their own": {"authorities": 5, "sample": SAMPLE, "comparison_workers": "own"}
}
WORLD = WorldSettings.model_validate(
    {"authorities": 12, "adoption": {"authorities": 4}, "time": {"years_before": 2, "years_after": 3}}
)
OUTCOMES = {"rereferral": RecordedBinary(kind="binary", source="record", mean=0.2, effect=-0.03)}


def world_of(block: int = 0, n: int = 64) -> World:
    """A block of small worlds."""
    return draw_world(WORLD, OUTCOMES, n, Streams(3, block))


def allocated(design: Design, block: int = 0, n: int = 64) -> Allocation:
    """A block of allocations."""
    world = world_of(block, n)
    return design.allocate(world, world.streams)


def made(name: str) -> Design:
    """A registered design with settings that fit a small world, or one of those below the authority."""
    kind, settings = BELOW.get(name, (name.split()[0], OWN.get(name) or SETTINGS.get(name, {})))
    design: Design = DESIGNS[kind](outcome="rereferral", **settings)
    return design


@pytest.fixture(params=[*DESIGNS, *BELOW, *OWN])
def design(request: pytest.FixtureRequest) -> Design:
    """Each of them."""
    return made(request.param)


def test_every_design_is_tried() -> None:
    """A design without settings here would escape the contract."""
    assert set(SETTINGS) == set(DESIGNS), "give every design a line in SETTINGS of this file"


def test_slots_hold_different_authorities_of_the_world(design: Design) -> None:
    """An authority stands in one slot at most, and exists."""
    unit = allocated(design).unit
    assert ((unit >= 0) & (unit < 12)).all()
    assert all(len(set(row)) == len(row) for row in unit)


@pytest.mark.parametrize("name", [name for name in DESIGNS if name != "family_rct"])
def test_slots_that_start_first_come_first_and_there_is_something_to_compare(name: str) -> None:
    """Starts are tied to slots, so that what follows is planned once; some slots are never treated, or later."""
    design = made(name)
    allocation = allocated(design)
    start = allocation.start
    assert start.shape == (1, allocation.n_slots)
    assert (np.diff(start[0]) >= 0).all()
    assert start[0, 0] == WORLD.time.start
    assert (start[0, -1] < NEVER) == design.staggered
    assert start[0, -1] > WORLD.time.start
    assert isinstance(allocation.law, Randomisation)
    assert allocation.law.start == tuple(start[0])
    assert design.n_treated == (start[0] < NEVER).sum()


@pytest.mark.parametrize("name", BELOW)
def test_units_below_the_authority_have_both_arms_as_the_law_says(name: str) -> None:
    """All that are sampled are dealt out, in every replicate as many to each arm as the law has."""
    design = made(name)
    allocation = allocated(design)
    each = {"team": 2, "worker": 8, "row": 16}[allocation.assigned]
    start, law = allocation.start, allocation.law
    assert start.shape[1] == 5 * each
    assert allocation.stop.shape[1] == allocation.stratum.shape[1] == start.shape[1]
    assert isinstance(law, Randomisation)
    of_law = sum(begins < NEVER for begins in law.start)
    assert 0 < of_law < len(law.start)
    starting = (start < NEVER).sum(axis=1)
    if allocation.families is not None:
        assert len(law.start) == 5 * 8 * 3
        starting = allocation.families.sum(axis=1)
        assert ((allocation.families >= 0) & (allocation.families <= 3)).all()
    assert (starting == of_law).all()
    assert design.n_treated == allocation.n_slots
    assert np.array_equal(start, allocated(design).start)


def test_allocation_is_the_same_whenever_it_is_asked_for(design: Design) -> None:
    """The same streams give the same study, and the global generator is neither read nor moved."""
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    assert np.array_equal(allocated(design).unit, allocated(design).unit)
    after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    assert np.array_equal(before, after)


def test_blocks_differ(design: Design) -> None:
    """Another block is another set of studies."""
    assert not np.array_equal(allocated(design, 0).unit, allocated(design, 1).unit)


def test_follow_up_lies_after_the_start(design: Design) -> None:
    """Occasions rise, and follow-up are those from the start on."""
    occasions, follow_up = design.occasions(WORLD.time)
    assert (np.diff(occasions) == 1).all() or occasions[-1] == WORLD.time.start + 1
    assert np.array_equal(follow_up, (occasions >= WORLD.time.start) | design.staggered)
    assert follow_up.any()


def test_more_units_than_there_are_is_a_fault_before_any_draw(design: Design) -> None:
    """An infeasible design is refused by name and number."""
    tiny = WORLD.model_copy(update={"authorities": 3, "adoption": None})
    assert any("3" in fault for fault in design.faults(tiny))
    assert design.faults(WORLD) == []
