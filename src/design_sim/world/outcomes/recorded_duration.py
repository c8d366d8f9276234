"""A duration on the authorities' own records, in years, such as the time until a child has a permanent home.

The mean of an authority and year is lognormal, families are gamma distributed around it; what is on record is
drawn in the world, and delivery shortens the durations of those who take part, or lengthens them. A
duration belongs to the occasion that it ends in, whatever its length.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from design_sim.arrays import Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import Positive, Quantity
from design_sim.world.delivery import Delivery, Fieldwork, Sample
from design_sim.world.draw import children_of, enrolled
from design_sim.world.durations import Lasted, deliver_durations, draw_mean_durations, gamma_shape
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
from design_sim.world.shares import share_of_takers, shares_of_units, singly

if TYPE_CHECKING:
    from design_sim.world.draw import World


class RecordedDuration(OverTime):
    """A duration on the authorities' own records, in years, for every authority and year."""

    kind: Literal["duration"] = "duration"
    source: Literal["record"] = "record"
    mean: Mean
    """Mean duration in years over authorities, without any framework, at the start."""
    sd: Positive
    """Standard deviation in years over all families in a year, those of all authorities together."""
    effect: Quantity
    """Mean difference in years that the framework makes at fidelity 1 to a family that takes part, a share
    effect / mean of its duration; above -mean."""
    trend: Quantity = 0.0
    """National change of the mean in a year, in years; the first year after the start has the stated
    mean."""
    log_sd: Annotated[float, Field(ge=0, le=3)] = 0.2
    """Standard deviation of the logarithm of a year's true mean between authorities (assumption)."""
    per_10000_children: Annotated[float, Field(ge=0.01, le=10_000)] = 540.0
    """Families on record in a year, for each 10,000 children."""
    better: Better = "lower"

    drawn_singly: ClassVar[bool] = False
    curved: ClassVar[bool] = False

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        refuse_impossible(self)
        gamma_shape(self.mean, self.sd, self.log_sd)
        return self

    @property
    def family_shape(self) -> float:
        """Shape of the durations of an authority's families."""
        return gamma_shape(self.mean, self.sd, self.log_sd)

    @property
    def authority_sd(self) -> float:
        """Standard deviation of a year's true mean between authorities, in years."""
        return sd_of_means(self.mean, self.log_sd)

    def expected(self, deviations: Deviations) -> Floats:
        """Mean durations: lognormal at every occasion, with the stated mean."""
        return lognormal_means(self, deviations)

    def record(self, n: Floats, expected: Floats, rng: Generator) -> Cells:
        """Means around the expected ones, with the scatter of so many families."""
        return Cells(n, draw_mean_durations(n, expected, self.family_shape, rng))

    def part(self, cells: Cells, n: Floats, expected: Floats, rng: Generator) -> Cells:
        """The mean of some of the families, who have a beta distributed share of the time of all."""
        shape = np.broadcast_to(n, cells.mean.shape)
        share = share_of_takers(shape, np.broadcast_to(cells.n, shape.shape), self.family_shape, rng)
        return Cells(n, share * cells.n * cells.mean / n)

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """Mean difference in each authority, a share of its own mean."""
        return proportional_effect(self, world.expected(name), at, dose, uptake)

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """The enrolled authorities' records, with the durations of those who take part changed."""
        work, world, unit = fieldwork, fieldwork.world, fieldwork.unit
        record, shape = world.record(work.outcome), (*unit.shape, work.occasions.size)
        mean = enrolled(record.mean[:, :, work.occasions], unit)
        n = np.broadcast_to(enrolled(record.n[:, :, :1], unit), shape)
        roster, dose = Roster.of_authorities(unit.shape[1]), work.dose
        if work.resolution == "unit":
            rng, units = world.streams.rng("single_units", work.outcome), n.astype(np.int64).ravel()
            shares = shares_of_units(units, np.full(units.size, self.family_shape), rng)
            n, mean = singly(shares * (n * mean).reshape(-1, 1), n)
            roster = roster_of_families(unit.shape[1], shares.shape[1])
            dose = roster.spread(np.broadcast_to(dose, (dose.shape[0], *shape[1:])), "authority")
        return deliver_durations(work, self, Lasted(roster, n, mean, dose))

    def most_rows(self, world: WorldSettings, sample: Sample | None, *, families: bool) -> int:
        """The authority itself, or all families of the largest."""
        largest = children_of(world.size, world.authorities)[-1:]
        return int(families_on_record(self.per_10000_children, largest)[0]) if families else 1

    def faults(self, world: WorldSettings) -> list[str]:
        """A trend or a shock that leads means out of range; the first occasion that it does."""
        return proportional_faults(self, world.time)
