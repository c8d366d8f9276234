"""Events: inspections and their ratings, new leadership, and who would leave the framework.

Events belong to years, whatever the number of occasions in one: an inspector sees a year's mean quality, and
an authority leaves at the end of a year. Each array is drawn when it is first asked for.
"""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from design_sim.arrays import Bools, Floats, Ints
from design_sim.world.settings import Time

if TYPE_CHECKING:
    from design_sim.world.draw import World


class Events:
    """What happens to the authorities of a world, year by year.

    Years are numbered from 0, the first on record; `Time.years_before` is the first after the start.
    """

    def __init__(self, world: "World") -> None:
        self.world = world
        self.settings = world.settings

    @cached_property
    def rating(self) -> Ints:
        """Last rating before the start, 0 inadequate to 3 outstanding, (replicate, authority)."""
        return self._rated(self._seen_by_inspectors(0))

    @cached_property
    def years_since_inspection(self) -> Ints:
        """Age of that rating in the last year before the start, (replicate, authority)."""
        inspections = self.settings.inspections
        if inspections is None or inspections.every_years == 1:
            return np.zeros((1, 1), dtype=np.int64)
        turn = self.world.uniform("inspection_turn") * inspections.every_years
        return turn.astype(np.int64)

    @cached_property
    def inspected_inadequate(self) -> Bools:
        """Whether an inspection in the year found the authority inadequate, (replicate, authority, year).

        From the start on; False before it, where only the last rating matters.
        """
        time, inspections = self.settings.time, self.settings.inspections
        if inspections is None:
            return np.zeros((1, 1, time.n_years), dtype=np.bool_)
        found = np.zeros((self.world.n_replicates, self.world.n_authorities, time.n_years), dtype=np.bool_)
        for number in range(1, -(-time.years_after // inspections.every_years) + 1):
            when = self._last_before - self.years_since_inspection + number * inspections.every_years
            inadequate = self._rated(self._seen_by_inspectors(number)) == 0
            for year in range(time.years_before, time.n_years):
                found[:, :, year] |= inadequate & (when == year)
        return found

    @cached_property
    def inadequate_since_start(self) -> Bools:
        """Whether the last inspection came after the start and found inadequate.

        (replicate, authority, year).
        """
        time, inspections = self.settings.time, self.settings.inspections
        state = self.inspected_inadequate.copy()
        if inspections is None:
            return state
        for year in range(time.years_before + 1, time.n_years):
            age = year - self._last_before + self.years_since_inspection
            again = age % inspections.every_years == 0
            state[:, :, year] |= state[:, :, year - 1] & ~again
        return state

    def inadequate_at(self, occasions: Ints) -> Bools:
        """The same at occasions, (replicate, authority, occasion)."""
        return self.inadequate_since_start[:, :, self.settings.time.year_of(occasions)]

    @cached_property
    def departures(self) -> tuple[Bools, Bools]:
        """Whether an authority that practises would stop at the end of a year, and whether by a switch.

        Two bool arrays, (replicate, authority, year).
        """
        time, leaving = self.settings.time, self.settings.leaving
        if leaving is None:
            never = np.zeros((1, 1, time.n_years), dtype=np.bool_)
            return never, never
        shape = (time.n_years, self.world.n_replicates, self.world.n_authorities)
        chance = np.moveaxis(self.world.streams.rng("leaving").random(shape), 0, 2)
        inadequate = self.inspected_inadequate
        switches = ~inadequate & (chance < leaving.new_leadership * leaving.switch)
        return switches | (inadequate & (chance < leaving.after_inadequate)), switches

    @property
    def _last_before(self) -> int:
        return last_year_before(self.settings.time)

    def _seen_by_inspectors(self, number: int) -> Floats:
        """What the last inspection before the start (0) or a later one sees, (replicate, authority).

        Of variance 1 about a mean that rises by the stated improvement.
        """
        rating, inspections = self.settings.rating, self.settings.inspections
        correlation = rating.quality_correlation
        other = self.world.normal("rating")
        when = self._last_before - self.years_since_inspection
        if number and inspections:
            for later in range(1, number + 1):
                fresh = self.world.streams.rng("inspection", str(later)).standard_normal(other.shape)
                kept = inspections.persistence
                other = kept * other + np.sqrt(1 - kept**2) * fresh
            when = when + number * inspections.every_years
        seen = np.sqrt(1 - correlation**2) * other if correlation else other
        if correlation:
            seen = correlation * self.world.quality_in(when) + seen
        return seen + number * inspections.improvement if inspections else seen

    def _rated(self, seen: Floats) -> Ints:
        rating = self.settings.rating
        good_or_better = rating.outstanding + rating.good
        cuts = special.ndtri(
            [1 - good_or_better - rating.requires_improvement, 1 - good_or_better, 1 - rating.outstanding]
        )
        return np.searchsorted(cuts, seen).astype(np.int64)


def last_year_before(time: Time) -> int:
    """The last year before the start, -1 where none is on record."""
    return time.years_before - 1
