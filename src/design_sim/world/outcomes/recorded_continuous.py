"""A continuous outcome on the authorities' own records, such as days until a decision.

The mean of an authority and year is normal around the national one, families are normal around it; what is
on record is drawn in the world, and delivery adds the effect.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from design_sim.arrays import Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import NotNegative, Positive, Quantity
from design_sim.world.delivery import Delivery, Fieldwork, Sample, uptake_of
from design_sim.world.draw import children_of, enrolled
from design_sim.world.outcome import (
    Better,
    Deviations,
    OverTime,
    families_on_record,
    national_mean,
    practised_on,
    roster_of_families,
)
from design_sim.world.settings import WorldSettings

if TYPE_CHECKING:
    from design_sim.world.draw import World


class RecordedContinuous(OverTime):
    """A continuous outcome on the authorities' own records, for every authority and year."""

    kind: Literal["continuous"] = "continuous"
    source: Literal["record"] = "record"
    mean: Quantity = 0.0
    """Mean without any framework at the start, in the outcome's units."""
    effect: Quantity
    """Effect of the framework at fidelity 1 on a family that takes part, in the outcome's units."""
    trend: Quantity = 0.0
    """National change a year, in the outcome's units; the first year after the start has the stated mean."""
    authority_sd: NotNegative
    """Standard deviation between authorities of a year's true mean."""
    family_sd: Positive
    """Standard deviation between the families of an authority and year."""
    per_10000_children: Annotated[float, Field(ge=0.01, le=10_000)] = 540.0
    """Families on record in a year, for each 10,000 children."""
    better: Better = "higher"

    drawn_singly: ClassVar[bool] = False
    curved: ClassVar[bool] = False

    @property
    def sd(self) -> float:
        """Standard deviation over all families in a year."""
        return float(np.hypot(self.authority_sd, self.family_sd))

    def expected(self, deviations: Deviations) -> Floats:
        """Means around the national one."""
        return national_mean(self, deviations.years) + self.authority_sd * deviations.deviation

    def record(self, n: Floats, expected: Floats, rng: Generator) -> Cells:
        """Means around the expected ones, with the scatter of so many families."""
        noise = rng.standard_normal((expected.shape[0], *n.shape[1:]))
        noise *= self.family_sd / np.sqrt(n[:, :, :1])
        return Cells(n, noise + expected)

    def part(self, cells: Cells, n: Floats, expected: Floats, rng: Generator) -> Cells:
        """The mean of some of the families, normal around that of all: variance family_sd^2 (1/n - 1/N)."""
        left = np.maximum(1 / n - 1 / cells.n, 0.0)
        noise = self.family_sd * np.sqrt(left) * rng.standard_normal(cells.mean.shape)
        return Cells(n, cells.mean + noise)

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """uptake x dose x effect, the same for every family."""
        return self.effect * uptake * dose

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """The enrolled authorities' records, with the effect added."""
        work, unit, world = fieldwork, fieldwork.unit, fieldwork.world
        dose, uptake = work.dose, world.settings.uptake
        record = world.record(work.outcome)
        mean = enrolled(record.mean[:, :, work.occasions], unit)
        n = enrolled(record.n[:, :, :1], unit)
        n = np.broadcast_to(n, (*n.shape[:2], work.occasions.size))
        rng = world.streams.rng("family_spread", work.outcome)
        if work.resolution == "unit":
            roster, null = split(n, mean, self.family_sd, rng)
            dose = roster.spread(dose, "authority")
        else:
            roster = Roster.of_authorities(unit.shape[1])
            ss = None
            if work.spread:
                ss = 2 * self.family_sd**2 * rng.standard_gamma(np.maximum(n - 1, 0) / 2, mean.shape)
            null = Cells(n, mean, ss)
        stated = practised_on(null, self.effect * dose, uptake, world.streams, work.outcome)
        taken = uptake_of(work, null.n, null.mean.shape)
        return Delivery(roster, work.occasions, uptake * dose, stated, null, uptake=taken)

    def most_rows(self, world: WorldSettings, sample: Sample | None, *, families: bool) -> int:
        """The authority itself, or all families of the largest."""
        largest = children_of(world.size, world.authorities)[-1:]
        return int(families_on_record(self.per_10000_children, largest)[0]) if families else 1

    def faults(self, world: WorldSettings) -> list[str]:
        """None: a trend may lead anywhere."""
        return []


def split(n: Floats, mean: Floats, sd: float, rng: Generator) -> tuple[Roster, Cells]:
    """Single families whose mean is the recorded one: normal deviations, centred in each cell."""
    n_slots, n_occasions = n.shape[1:]
    longest = int(n.max())
    taken = np.arange(longest)[:, np.newaxis] < n[:, :, np.newaxis, :]
    noise = rng.standard_normal((mean.shape[0], n_slots, longest, n_occasions)) * sd
    centred = noise - ((noise * taken).sum(axis=2) / n)[:, :, np.newaxis]
    single = np.where(taken, mean[:, :, np.newaxis] + centred, np.nan)
    shape = (-1, n_slots * longest, n_occasions)
    cells = Cells(taken.astype(np.float64).reshape(shape), single.reshape(shape), np.zeros((1, *shape[1:])))
    return roster_of_families(n_slots, longest), cells
