"""Stepped wedge: every authority gets the framework in the end, chance decides when.

Choose it where nobody may go without, or where a framework can reach few authorities at a time, as the
national trials of No Wrong Door and Family Safeguarding did. Treatment and time go together: what happens to
all authorities meanwhile (a pandemic year) has to be told from the framework by a model of time, and an
analysis that leaves it out is biased. An effect that grows with exposure is not one number here: models of an
immediate constant effect may miss even its sign, and those of effects by exposure time do not
(`effect = "by_exposure_time"` of the mixed model). With one authority a step, inference is delicate.

Where not all authorities can begin at once, batches of them run the same wedge one after another, each
observed over the occasions of its own wedge alone. Chance deals authorities out among batches and steps.

Decision: analyses take effects of occasions by the calendar, the same for all batches. That is more precise
than effects of occasions for each batch, which are not offered, where batches overlap; but only with those
does precision not depend on how far apart batches are. Where batches do not overlap the two are the same.

Decision: the law of a batched wedge exchanges starts within batches alone. Which batch an authority is in
decides when it was observed, and what it would have shown at other occasions nobody knows.

Source: Hussey and Hughes (2007), Contemporary Clinical Trials 28, 182-191; Hemming, Taljaard, McKenzie et al.
(2018), British Medical Journal 363, k1614, for transition periods and incomplete designs; Kenny, Voldal, Xia,
Heagerty and Hughes (2022), Statistics in Medicine 41, 4311-4339, for effects that grow; Kasza, Bowden, Hooper
and Forbes (2022), Statistics in Medicine 41, 3627-3641, for batches.
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
    """Steps, of each batch where there are several, among which the authorities are divided as equally as can
    be; the earlier ones get more."""
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
    batches: Annotated[int, Field(ge=1, le=360)] = 1
    """Batches, among which the authorities are divided as equally as can be; the earlier ones get more. Each
    runs the same steps and is observed over the occasions of its own steps alone."""
    between_batches: Occasions | None = None
    """With several batches: occasions from the first step of one to the first step of the next."""

    staggered: ClassVar[bool] = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.steps * self.batches > self.authorities:
            of = f" of {self.batches} batches" if self.batches > 1 else ""
            raise ValueError(
                f"steps: {self.steps} steps{of} for {self.authorities} authorities leave some empty"
            )
        if (self.batches > 1) != (self.between_batches is not None):
            said = "has no effect with one batch" if self.batches == 1 else "is needed with several batches"
            raise ValueError(f"between_batches {said}")
        if self.periods is None:
            return self
        if self.batches > 1:
            raise ValueError("batches: every one has periods of its own, which are not pooled; use `every`")
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
        time = world.settings.time
        step_at, batch = self._steps_of_slots()
        first = time.start + self._batches_at[batch]
        start = first + step_at
        occasions, _ = self.occasions(time)
        return Allocation(
            unit=order[:, : self.authorities],
            start=start[np.newaxis],
            stop=np.full((1, self.authorities), NEVER),
            stratum=batch[np.newaxis],
            law=Randomisation(tuple(start.tolist()), tuple(batch.tolist())),
            observed=self._observed(step_at, occasions - first[:, np.newaxis]),
        )

    def _steps_of_slots(self) -> tuple[Ints, Ints]:
        """When each slot starts, in occasions from its batch's first step; its batch. The earliest first."""
        batch = np.sort(np.arange(self.authorities) % self.batches)
        step = np.concatenate([np.sort(np.arange(n) % self.steps) for n in np.bincount(batch)])
        order = np.argsort(self._batches_at[batch] + self._steps_at[step], kind="stable")
        return self._steps_at[step][order], batch[order]

    def occasions(self, time: Time) -> tuple[Ints, Bools]:
        """All occasions at which a batch is observed; all of them are compared."""
        first, last = self._window
        window = np.arange(first, last)
        occasions = time.start + np.unique(self._batches_at[:, np.newaxis] + window)
        return occasions, np.ones(occasions.size, dtype=np.bool_)

    @property
    def _window(self) -> tuple[int, int]:
        """Where a batch is observed from, and up to where, in occasions from its first step."""
        before, after = (self.before, self.after) if not self.periods else (self.periods[0], self.periods[-1])
        return -before, int(self._steps_at[-1]) + after

    @property
    def _batches_at(self) -> Ints:
        """When the first step of each batch is, in occasions from that of the first: (batch,)."""
        return np.arange(self.batches) * (self.between_batches or 0)

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
            several = f", in {self.batches} batches {self.between_batches} apart," if self.batches > 1 else ""
            faults.append(
                f"steps: {self.steps} steps, {self.every} occasions apart, and {self.after} after the last"
                f"{several} take {wanted} occasions; world.time has {there} from the start on"
            )
        if 0 < self.after <= self.transition:
            after = f"the {self.after} after the last step"
            faults.append(f"transition: {self.transition} occasions leave nothing of {after}")
        return faults

    def _observed(self, step_at: Ints, occasion: Ints) -> Bools | None:
        """Which occasions of a slot are analysed, (1, slot, occasion); None for all.

        Parameters
        ----------
        step_at : int array, (slot,)
            When the slot starts.
        occasion : int array, (slot, occasion)
            Like that in occasions from the first step of the slot's batch.
        """
        if not self.transition and self.around is None and self.batches == 1:
            return None
        since, (first, end) = occasion - step_at[:, np.newaxis], self._window
        seen = (occasion >= first) & (occasion < end) & ((since < 0) | (since >= self.transition))
        if self.around is not None:
            seen &= (since >= -self.around) & (since < self.transition + self.around)
        return seen[np.newaxis]
