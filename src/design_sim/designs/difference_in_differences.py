"""Difference-in-differences: adopters against other authorities, before and after, on yearly records.

Choose it where the framework is already spreading and records exist. It removes what is constant in an
authority and what happens to all of them. It is biased where adopters would have moved differently: they
adopt after a bad year and recover by themselves (regression to the mean), or their quality drifts.

Source: Bertrand, Duflo and Mullainathan (2004), Quarterly Journal of Economics 119, 249-275; the case of
Baginsky et al. (2021), nine pilots on national records.
"""

from typing import ClassVar, Literal

import numpy as np

from design_sim.allocation import Allocation, two_arms
from design_sim.arrays import Bools, Ints
from design_sim.designs.base import Count, YearAfter, too_many
from design_sim.measurement import Measurement
from design_sim.stated import Group, Stated
from design_sim.streams import Streams
from design_sim.world.delivery import Sample
from design_sim.world.draw import World
from design_sim.world.settings import Time, WorldSettings


class DifferenceInDifferences(Stated):
    """Compare the adopters' change with that of authorities that did not adopt."""

    kind: Literal["difference_in_differences"] = "difference_in_differences"
    outcome: str
    """Name of a recorded outcome, or of a surveyed one with a `sample` in every year."""
    sample: Sample | None = None
    """Whom to survey; for a surveyed outcome only."""
    measurement: Measurement | None = None
    """How outcomes are observed; without the table as they are."""
    group: Group = "all"
    """Whose outcomes: of all families, of the subgroup's alone, or of the others (`world.subgroup`)."""
    adopters: Count
    """How many adopt: those highest in the world's propensity, or by chance where it states none."""
    comparisons: Count | None = None
    """How many others to compare with, drawn by chance; all of them if not given."""
    years_before: YearAfter = 2
    """Years before the start that are analysed."""
    years_after: YearAfter = 2
    """Years after the start that are analysed."""

    staggered: ClassVar[bool] = False

    def allocate(self, world: World, streams: Streams) -> Allocation:
        """The first in the order of adoption against all others, or some of them by chance."""
        order = world.adoption_order
        adopters, others = order[:, : self.adopters], order[:, self.adopters :]
        if self.comparisons is not None:
            lot = streams.rng("enrolment").random(others.shape)
            chosen = np.argsort(lot, axis=1)[:, : self.comparisons]
            others = np.take_along_axis(others, chosen, axis=1)
        unit = np.concatenate([adopters, others], axis=1)
        return two_arms(unit, self.adopters, world.settings.time.start, randomised=False)

    def occasions(self, time: Time) -> tuple[Ints, Bools]:
        """The years before and after the start."""
        start = time.years_before
        occasions = time.occasions_of(start - self.years_before, start + self.years_after)
        return occasions, occasions >= time.start

    def pooled(self, occasions: Ints) -> Ints | None:
        """None: every occasion is analysed as it is."""
        return None

    def n_enrolled(self, world: WorldSettings) -> int:
        """Adopters and those that they are compared with."""
        return world.authorities if self.comparisons is None else self.adopters + self.comparisons

    @property
    def n_treated(self) -> int:
        """The adopters."""
        return self.adopters

    def faults(self, world: WorldSettings) -> list[str]:
        """More authorities or years than there are."""
        faults = too_many("adopters and comparisons", self.adopters + (self.comparisons or 1), world)
        for key in ("years_before", "years_after"):
            wanted, there = getattr(self, key), getattr(world.time, key)
            if wanted > there:
                faults.append(f"{key}: {wanted} is above world.time.{key}, {there}")
        return faults
