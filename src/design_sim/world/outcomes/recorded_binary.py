"""A yes or no on the authorities' own records, such as re-referral.

The risks of authorities and years are logit-normal, with the stated mean and standard deviation on the
probability scale. What is on record is drawn in the world; delivery thins the events, or adds to them.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from design_sim.arrays import Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import NotNegative
from design_sim.world.delivery import Delivery, Fieldwork, Sample, uptake_of
from design_sim.world.draw import children_of, enrolled
from design_sim.world.logit_normal import EDGE, LogitNormal, shift_for_difference, solve_logit_normal
from design_sim.world.outcome import Better, Deviations, OverTime, families_on_record, roster_of_families
from design_sim.world.risks import (
    binary_cells,
    events_of_takers,
    expected_risks,
    move_events_of,
    refuse_unreachable,
    risk_faults,
    risk_with_framework,
    risks_of_authorities,
)
from design_sim.world.settings import WorldSettings

if TYPE_CHECKING:
    from design_sim.world.draw import World


class RecordedBinary(OverTime):
    """A yes or no on the authorities' own records, for every authority and year."""

    kind: Literal["binary"] = "binary"
    source: Literal["record"] = "record"
    mean: Annotated[float, Field(ge=EDGE, le=1 - EDGE)]
    """Mean risk over authorities, without any framework, at the start."""
    effect: Annotated[float, Field(gt=-1, lt=1)]
    """Mean risk difference of the framework at fidelity 1, over families that take part."""
    trend: Annotated[float, Field(gt=-1, lt=1)] = 0.0
    """National change of the mean risk in a year; the first year after the start has the stated mean."""
    authority_sd: NotNegative = 0.056
    """Standard deviation of the risk between authorities in a year."""
    per_10000_children: Annotated[float, Field(ge=0.01, le=10_000)] = 540.0
    """Families on record in a year (the denominator), for each 10,000 children."""
    effect_scale: Literal["logit", "probability"] = "logit"
    """The scale on which the effect is the same for everyone."""
    better: Better = "lower"

    drawn_singly: ClassVar[bool] = False
    curved: ClassVar[bool] = False

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        refuse_unreachable(solve_logit_normal(self.mean, self.authority_sd), self.effect, self.effect_scale)
        return self

    @property
    def sd(self) -> float:
        """Standard deviation over all families in a year."""
        return float(np.sqrt(self.mean * (1 - self.mean)))

    def risks(self, year: float, occasion_sd: float = 1.0) -> LogitNormal:
        """Distribution of the authorities' risks at a time, in years from the first after the start."""
        return risks_of_authorities(self, year, occasion_sd)

    def expected(self, deviations: Deviations) -> Floats:
        """Risks: logit-normal at every occasion, with the stated mean and standard deviation."""
        return expected_risks(self, deviations)

    def record(self, n: Floats, expected: Floats, rng: Generator) -> Cells:
        """Binomial events around the authorities' risks."""
        events = rng.binomial(n.astype(np.int64), expected)
        return binary_cells(n, events.astype(np.float64))

    def part(self, cells: Cells, n: Floats, expected: Floats, rng: Generator) -> Cells:
        """Events among some of the families: hypergeometric."""
        events = np.rint(cells.mean * cells.n).astype(np.int64)
        of_part = rng.hypergeometric(events, cells.n.astype(np.int64) - events, n.astype(np.int64))
        return binary_cells(n, of_part.astype(np.float64))

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """Mean risk difference in each authority, given its risk."""
        if self.effect == 0:
            return np.zeros((1, 1, 1))
        risk = world.expected(name)[:, :, at]
        return self.risk_with_framework(risk, dose, uptake) - risk

    def risk_with_framework(self, risk: Floats, dose: Floats, uptake: float) -> Floats:
        """Mean risk over the families of a row, those who take part and those who do not."""
        shift = shift_for_difference(solve_logit_normal(self.mean, self.authority_sd), self.effect)
        return risk_with_framework(risk, dose, uptake, (self.effect_scale, self.effect, shift))

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """The enrolled authorities' records, events thinned or added to."""
        work, world, unit = fieldwork, fieldwork.world, fieldwork.unit
        dose = work.dose
        record = world.record(work.outcome)
        n = np.broadcast_to(enrolled(record.n[:, :, :1], unit), (*unit.shape, work.occasions.size))
        without = np.rint(np.nan_to_num(enrolled(record.mean[:, :, work.occasions], unit)) * n)
        moved, taken = without, uptake_of(work, n, without.shape)
        if self.effect != 0:
            risk = enrolled(world.expected(work.outcome)[:, :, work.occasions], unit)
            uptake = 1.0 if work.uptake else world.settings.uptake
            changed = np.broadcast_to(self.risk_with_framework(risk, dose, uptake), without.shape)
            moved = move_events_of(taken, without, n, (risk, changed), (world.streams, work.outcome))
        exposure = dose * world.settings.uptake
        if work.resolution == "cell":
            roster = Roster.of_authorities(unit.shape[1])
            stated, null = binary_cells(n, moved), binary_cells(n, without)
            return Delivery(roster, work.occasions, exposure, stated, null, uptake=taken)
        if taken is None:
            (roster, stated), (_, null) = split(n, moved), split(n, without)
        else:
            takers = np.rint(taken * n)
            of_takers = events_of_takers(takers, without, n, (world.streams, work.outcome))
            roster, stated = split(n, moved, takers, moved - without + of_takers)
            _, null = split(n, without, takers, of_takers)
            taken = split(n, takers)[1].mean
        return Delivery(
            roster, work.occasions, roster.spread(exposure, "authority"), stated, null, uptake=taken
        )

    def most_rows(self, world: WorldSettings, sample: Sample | None, *, families: bool) -> int:
        """The authority itself, or all families of the largest."""
        largest = children_of(world.size, world.authorities)[-1:]
        return int(families_on_record(self.per_10000_children, largest)[0]) if families else 1

    def faults(self, world: WorldSettings) -> list[str]:
        """A trend or a shock that leads out of 0 to 1; the first year that it does."""
        return risk_faults(self, world)


def split(
    n: Floats, events: Floats, takers: Floats | None = None, of_takers: Floats | None = None
) -> tuple[Roster, Cells]:
    """Single families, of whom the first ones of each cell had the event.

    Where it is known how many took part and how many of the events are theirs, those stand first.
    """
    n_slots, n_occasions = n.shape[1:]
    longest = int(n.max())
    place = np.arange(longest)[:, np.newaxis]
    shape = (-1, n_slots * longest, n_occasions)
    taken = (place < n[:, :, np.newaxis]).astype(np.float64).reshape(shape)
    had = place < events[:, :, np.newaxis]
    if takers is not None and of_takers is not None:
        first, theirs, all_of_them = (part[:, :, np.newaxis] for part in (takers, of_takers, events))
        had = np.where(place < first, place < theirs, place - first < all_of_them - theirs)
    single = had.astype(np.float64).reshape(shape)
    cells = Cells(taken, np.where(taken > 0, single, np.nan), np.zeros((1, *shape[1:])))
    return roster_of_families(n_slots, longest), cells
