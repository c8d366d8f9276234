"""Stepped wedge: every authority gets the framework in the end, chance decides when.

Choose it where nobody may go without, or where a framework can reach few authorities at a time, as the
national trials of No Wrong Door and Family Safeguarding did. Treatment and time go together: what happens to
all authorities meanwhile (a pandemic year) has to be told from the framework by a model of time, and an
analysis that leaves it out is biased. An effect that grows with exposure is not one number here: models of an
immediate constant effect may miss even its sign. With one authority a step, inference is delicate.

Source: Hussey and Hughes (2007), Contemporary Clinical Trials 28, 182-191; Hemming, Taljaard, McKenzie et al.
(2018), British Medical Journal 363, k1614, for transition periods and incomplete designs; Kenny, Voldal, Xia,
Heagerty and Hughes (2022), Statistics in Medicine 41, 4311-4339, for effects that grow.
"""

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.allocation import NEVER, Allocation, Randomisation
from design_sim.arrays import Bools, Ints
from design_sim.designs.base import too_many
from design_sim.measurement import Measurement
from design_sim.stated import Group, Stated
from design_sim.streams import Streams
from design_sim.world.delivery import Sample
from design_sim.world.draw import World
from design_sim.world.settings import Time, WorldSettings

Occasions = Annotated[int, Field(ge=1, le=360)]


class SteppedWedge(Stated):
    """Deal out by chance in which step an authority starts.

    The first step is at the world's start. An occasion is one of the world's: a year, or a half, a quarter or
    a month of it (`world.time.per_year`).
    """

    kind: Literal["stepped_wedge"] = "stepped_wedge"
    outcome: str
    """Name of the outcome."""
    sample: Sample | None = None
    """Whom to survey at every occasion; for a surveyed outcome only."""
    measurement: Measurement | None = None
    """How outcomes are observed; without the table as they are."""
    group: Group = "all"
    """Whose outcomes: of all families, of the subgroup's alone, or of the others (`world.subgroup`)."""
    authorities: Annotated[int, Field(ge=2, le=100_000)]
    """Authorities enrolled, drawn by chance from all."""
    steps: Annotated[int, Field(ge=2, le=360)]
    """Steps, among which the authorities are divided as equally as can be; the earlier ones get more."""
    every: Occasions = 1
    """Occasions from one step to the next."""
    before: Occasions = 1
    """Occasions observed before the first step."""
    after: Occasions = 1
    """Occasions observed from the last step on."""
    periods: Annotated[tuple[Occasions, ...], Field(strict=False)] | None = None
    """Lengths of the periods in occasions, where they are not equal: the first lies before the first step,
    and each of the others begins with one. `before`, `every` and `after` are then not given. The analysis has
    one figure for each period."""
    transition: Annotated[int, Field(ge=0, le=360)] = 0
    """Occasions from an authority's start on that are left out of the analysis, while it changes over."""
    around: Occasions | None = None
    """For an incomplete wedge: only so many occasions before an authority's start, and as many from the end
    of its transition on, are observed; all of them if not given."""

    staggered: ClassVar[bool] = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.steps > self.authorities:
            raise ValueError(f"steps: {self.steps} steps for {self.authorities} authorities leave some empty")
        if self.periods is None:
            return self
        for key in ("before", "every", "after", "around", "transition"):
            if key in self.model_fields_set:
                raise ValueError(f"{key} has no effect with periods; leave one of them out")
        if len(self.periods) != self.steps + 1:
            raise ValueError(
                f"periods: {len(self.periods)} lengths for {self.steps} steps; allowed: {self.steps + 1}, "
                "one before the first step and one from each"
            )
        return self

    def allocate(self, world: World, streams: Streams) -> Allocation:
        """Enrol by chance in an order of chance; the first slots start first."""
        order = np.tile(np.arange(world.n_authorities), (world.n_replicates, 1))
        streams.rng("allocation").permuted(order, axis=1, out=order)
        step = np.sort(np.arange(self.authorities) % self.steps)
        start = world.settings.time.start + self._steps_at[step]
        occasions, _ = self.occasions(world.settings.time)
        return Allocation(
            unit=order[:, : self.authorities],
            start=start[np.newaxis],
            stop=np.full((1, self.authorities), NEVER),
            stratum=np.zeros((1, self.authorities), dtype=np.int64),
            law=Randomisation(tuple(start.tolist()), (0,) * self.authorities),
            observed=self._observed(start, occasions),
        )

    def occasions(self, time: Time) -> tuple[Ints, Bools]:
        """All occasions of the wedge; all of them are compared."""
        last = time.start + int(self._steps_at[-1]) + (self.periods[-1] if self.periods else self.after)
        before = self.periods[0] if self.periods else self.before
        occasions = np.arange(time.start - before, last)
        return occasions, np.ones(occasions.size, dtype=np.bool_)

    @property
    def _steps_at(self) -> Ints:
        """When each step is, in occasions from the first: (step,)."""
        if self.periods is None:
            return np.arange(self.steps) * self.every
        return np.cumsum([0, *self.periods[1:-1]])

    def pooled(self, occasions: Ints) -> Ints | None:
        """The period that each occasion is analysed in, (occasion,); None where they are one each."""
        if self.periods is None:
            return None
        return np.repeat(np.arange(len(self.periods)), self.periods)

    def n_enrolled(self, world: WorldSettings) -> int:
        """All that start, sooner or later."""
        return self.authorities

    @property
    def n_treated(self) -> int:
        """All of them, sooner or later."""
        return self.authorities

    def faults(self, world: WorldSettings) -> list[str]:
        """More authorities or occasions than there are."""
        faults = too_many("authorities", self.authorities, world)
        time = world.time
        occasions, _ = self.occasions(time)
        before, wanted = int(time.start - occasions[0]), int(occasions[-1] + 1 - time.start)
        there = time.occasions - time.start
        if before > time.start:
            key = "periods" if self.periods else "before"
            faults.append(f"{key}: {before} occasions; world.time has {time.start} before the start")
        if wanted > there and self.periods:
            faults.append(
                f"periods: they take {wanted} occasions from the start on; world.time has {there} of them"
            )
        elif wanted > there:
            faults.append(
                f"steps: {self.steps} steps, {self.every} occasions apart, and {self.after} after the last "
                f"take {wanted} occasions; world.time has {there} from the start on"
            )
        if 0 < self.after <= self.transition:
            after = f"the {self.after} after the last step"
            faults.append(f"transition: {self.transition} occasions leave nothing of {after}")
        return faults

    def _observed(self, start: Ints, occasions: Ints) -> Bools | None:
        """Which occasions of a slot are analysed, (1, slot, occasion); None for all."""
        if not self.transition and self.around is None:
            return None
        since = occasions - start[:, np.newaxis]
        seen = (since < 0) | (since >= self.transition)
        if self.around is not None:
            seen &= (since >= -self.around) & (since < self.transition + self.around)
        return seen[np.newaxis]
