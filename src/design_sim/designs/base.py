"""What a design is: the data strategy, and nothing of the truth but what an evaluator could see."""

from typing import Annotated, ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field

from design_sim.allocation import Allocation
from design_sim.arrays import Bools, Floats, Ints
from design_sim.measurement import Measurement
from design_sim.stated import Group, Stated
from design_sim.streams import Streams
from design_sim.world.delivery import Sample
from design_sim.world.draw import World
from design_sim.world.settings import Time, WorldSettings

Unit = Literal["authority", "team", "worker", "family"]
"""What a design can randomise, and an analysis take as independent."""
UNITS: tuple[Unit, ...] = ("authority", "team", "worker", "family")
"""From the top."""
Count = Annotated[int, Field(ge=1, le=100_000)]
YearAfter = Annotated[int, Field(ge=1, le=30)]


class Design(Protocol):
    """Who is enrolled and treated, from when, and what is observed of them."""

    outcome: str
    sample: Sample | None
    measurement: Measurement | None
    group: Group

    @property
    def staggered(self) -> bool:
        """Whether units may start at different occasions."""
        ...

    def allocate(self, world: World, streams: Streams) -> Allocation:
        """Enrol authorities of every replicate and decide who is treated."""
        ...

    def occasions(self, time: Time) -> tuple[Ints, Bools]:
        """The world's occasions that are observed, and which of them are follow-up."""
        ...

    def pooled(self, occasions: Ints) -> Ints | None:
        """The period that each occasion is analysed in, (occasion,); None where they are one each."""
        ...

    def n_enrolled(self, world: WorldSettings) -> int:
        """How many authorities the study enrols."""
        ...

    @property
    def n_treated(self) -> int:
        """How many of them are treated."""
        ...

    def faults(self, world: WorldSettings) -> list[str]:
        """Why the world's units cannot satisfy the design, `key: reason` each; known before any draw."""
        ...


class FollowUp(Stated):
    """Settings of a design that compares arms at one follow-up."""

    outcome: str
    """Name of the outcome."""
    sample: Sample | None = None
    """Whom to survey; for a surveyed outcome only."""
    measurement: Measurement | None = None
    """How outcomes are observed; without the table as they are."""
    group: Group = "all"
    """Whose outcomes: of all families, of the subgroup's alone, or of the others (`world.subgroup`)."""
    year: YearAfter = 2
    """The year after the start that outcomes belong to; 2 is months 12 to 24."""
    years: YearAfter = 1
    """Years of follow-up that are observed and compared together, of which `year` is the last."""
    baseline_years: Annotated[int, Field(ge=0, le=30)] = 0
    """Years before the start in which the outcome is observed too."""

    staggered: ClassVar[bool] = False

    def pooled(self, occasions: Ints) -> Ints | None:
        """None: every occasion is analysed as it is."""
        return None


def assigned_unit(design: Design) -> Unit:
    """What a design assigns: authorities, unless it says otherwise by `unit`."""
    unit: Unit = getattr(design, "unit", "authority")
    return unit


def spillover_of(design: Design) -> float:
    """The share of treated workers' gain that reaches others by the study itself, its `contamination`."""
    return float(getattr(design, "contamination", 0.0))


def own_workers_of(design: Design) -> int:
    """How many comparison families of an authority have a worker of their own, its `own_workers`."""
    return int(getattr(design, "own_workers", 0))


def follow_up_occasions(design: FollowUp, time: Time) -> tuple[Ints, Bools]:
    """The baseline years and the years of follow-up, as occasions of the world."""
    before = time.occasions_of(time.years_before - design.baseline_years, time.years_before)
    end = time.years_before + design.year
    occasions = np.append(before, time.occasions_of(end - design.years, end))
    return occasions, occasions >= time.start


def follow_up_faults(design: FollowUp, time: Time) -> list[str]:
    """Years asked for that the world does not have."""
    faults = []
    if design.year > time.years_after:
        faults.append(f"year: {design.year} is above world.time.years_after, {time.years_after}")
    if design.years > design.year:
        faults.append(f"years: {design.years} of follow-up end with year {design.year}; raise `year`")
    if design.baseline_years > time.years_before:
        faults.append(
            f"baseline_years: {design.baseline_years} is above world.time.years_before, {time.years_before}"
        )
    return faults


def too_many(key: str, wanted: int, settings: WorldSettings) -> list[str]:
    """The fault of a design that wants more authorities than there are."""
    if wanted <= settings.authorities:
        return []
    return [f"{key}: {wanted} authorities wanted, and the world has {settings.authorities}"]


def highest(score: Floats, n: int) -> Ints:
    """The n authorities with the highest score, highest first: (replicate, n)."""
    order: Ints = np.argsort(-score, axis=1, kind="stable")[:, :n]
    return order
