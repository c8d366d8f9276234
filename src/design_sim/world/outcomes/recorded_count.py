"""Events on the authorities' own records with a denominator, such as care entries per 10,000 children.

The rates of authorities and years are lognormal. The events on record are drawn in the world, Poisson or
overdispersed; delivery thins them, or adds to them.

Decision: a unit is one of the denominator for a year, a child-year, so that an occasion of a month holds a
twelfth of them, every cell's mean is an annual rate, and pooled cells have the rate of their events over
their units. A unit takes part or does not, as a child's family would that came to notice.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from design_sim.arrays import Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import Quantity
from design_sim.world.counts import Counted, count_cells, deliver_counts, draw_events, unit_shape
from design_sim.world.delivery import Delivery, Fieldwork, Sample
from design_sim.world.draw import children_of, enrolled
from design_sim.world.occupancy import counts_of_units
from design_sim.world.outcome import Better, Deviations, OverTime, families_on_record, roster_of_families
from design_sim.world.proportional import (
    Mean,
    lognormal_means,
    proportional_effect,
    proportional_faults,
    refuse_impossible,
    sd_of_means,
)
from design_sim.world.settings import WorldSettings
from design_sim.world.shares import share_of_takers, singly

if TYPE_CHECKING:
    from design_sim.world.draw import World

MOST_EVENTS = 10.0
"""Events of a unit in a year, on average, that a rate may come to."""


class RecordedCount(OverTime):
    """A rate of events on the authorities' own records, for every authority and year."""

    kind: Literal["count"] = "count"
    source: Literal["record"] = "record"
    mean: Mean
    """Mean rate over authorities without any framework at the start: events a year for `per` units of the
    denominator."""
    effect: Quantity
    """Mean difference of the rate that the framework makes at fidelity 1 over those who take part, a share
    effect / mean of each authority's own rate; above -mean."""
    trend: Quantity = 0.0
    """National change of the mean rate in a year; the first year after the start has the stated mean."""
    per: Annotated[float, Field(ge=1, le=1e9)] = 10_000.0
    """Units of the denominator that the rate is stated for."""
    log_sd: Annotated[float, Field(ge=0, le=3)] = 0.35
    """Standard deviation of the logarithm of a year's true rate between authorities. England, 2013 to 2025:
    referrals .35, section 47 enquiries .41, child protection plans that start .38, care entries .36."""
    overdispersion: Annotated[float, Field(ge=1, le=20)] = 1.0
    """Variance of an authority's events over their mean, given its rate: 1 for Poisson; above it events come
    together, as when siblings enter care, with negative binomial counts (assumption)."""
    per_10000_children: Annotated[float, Field(ge=0.01, le=10_000)] = 10_000.0
    """Units of the denominator for each 10,000 children: all children if not given."""
    better: Better = "lower"

    drawn_singly: ClassVar[bool] = False
    curved: ClassVar[bool] = False

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        refuse_impossible(self)
        if self.mean > MOST_EVENTS * self.per:
            raise ValueError(
                f"a mean of {self.mean:g} for {self.per:g} units is {self.mean / self.per:g} events of each; "
                f"at most {MOST_EVENTS:g} are allowed"
            )
        return self

    @property
    def authority_sd(self) -> float:
        """Standard deviation of a year's true rate between authorities."""
        return sd_of_means(self.mean, self.log_sd)

    @property
    def sd(self) -> float:
        """Standard deviation over all units in a year: large, since most of them have no event."""
        return float(np.hypot(self.authority_sd, np.sqrt(self.overdispersion * self.mean * self.per)))

    def expected(self, deviations: Deviations) -> Floats:
        """Rates a year: lognormal at every occasion, with the stated mean."""
        return lognormal_means(self, deviations)

    def record(self, n: Floats, expected: Floats, rng: Generator) -> Cells:
        """Events around the authorities' rates."""
        events = draw_events(n * expected / self.per, self.overdispersion, rng)
        return count_cells(n, events, self.per, None, spread=False)

    def part(self, cells: Cells, n: Floats, expected: Floats, rng: Generator) -> Cells:
        """Events among some of the units: binomial, or beta-binomial where events come together."""
        events = np.rint(cells.mean * cells.n / self.per).astype(np.int64)
        share = np.broadcast_to(n / cells.n, events.shape)
        if self.overdispersion > 1:
            size = unit_shape(expected / self.per, self.overdispersion)
            share = share_of_takers(n, cells.n, np.broadcast_to(size, events.shape), rng)
        of_part = rng.binomial(events, share).astype(np.float64)
        return count_cells(n, of_part, self.per, None, spread=False)

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """Mean difference of the rate in each authority, a share of its own."""
        return proportional_effect(self, world.expected(name), at, dose, uptake)

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """The enrolled authorities' records, events thinned or added to."""
        work, world, unit = fieldwork, fieldwork.world, fieldwork.unit
        record, shape = world.record(work.outcome), (*unit.shape, work.occasions.size)
        n = np.broadcast_to(enrolled(record.n[:, :, :1], unit), shape)
        events = np.rint(enrolled(record.mean[:, :, work.occasions], unit) * n / self.per)
        rate = enrolled(world.expected(work.outcome)[:, :, work.occasions], unit) / self.per
        roster, dose = Roster.of_authorities(unit.shape[1]), work.dose
        if work.resolution == "unit":
            rng = world.streams.rng("single_units", work.outcome)
            size = unit_shape(np.broadcast_to(rate, shape), self.overdispersion)
            counts = counts_of_units(
                events.astype(np.int64).ravel(), n.astype(np.int64).ravel(), size.ravel(), rng
            )
            n, events = singly(counts, n)
            roster = roster_of_families(unit.shape[1], counts.shape[1])
            rate, dose = (
                roster.spread(np.broadcast_to(part, (part.shape[0], *shape[1:])), "authority")
                for part in (rate, dose)
            )
        return deliver_counts(work, self, Counted(roster, n, events, rate, dose))

    def most_rows(self, world: WorldSettings, sample: Sample | None, *, families: bool) -> int:
        """The authority itself, or all units of the largest."""
        largest = children_of(world.size, world.authorities)[-1:]
        return int(families_on_record(self.per_10000_children, largest)[0]) if families else 1

    def faults(self, world: WorldSettings) -> list[str]:
        """A trend or a shock that leads rates out of range; the first occasion that it does."""
        return proportional_faults(self, world.time)
