"""The years on record, and how long deviations last."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from design_sim.arrays import Floats, Ints
from design_sim.stated import Quantity, Share, Stated


class Time(Stated):
    """The years on record; every framework starts after the last year before."""

    years_before: Annotated[int, Field(ge=0, le=30)] = 2
    """Years on record before the start."""
    years_after: Annotated[int, Field(ge=1, le=30)] = 2
    """Years on record after it."""

    per_year: Literal[1, 2, 4, 12] = 1
    """Occasions in a year: yearly, half-yearly, quarterly or monthly figures. Annual means keep the stated
    spread and memory; a single occasion varies more. Families on record are divided among them; a survey
    visits its sample at each."""

    @property
    def n_years(self) -> int:
        """Years on record."""
        return self.years_before + self.years_after

    @property
    def occasions(self) -> int:
        """Number of occasions."""
        return self.per_year * self.n_years

    @property
    def start(self) -> int:
        """The first occasion after the start."""
        return self.per_year * self.years_before

    @property
    def years(self) -> Floats:
        """Middle of every occasion, in years from the middle of the first year after the start: (occasion,).

        Whole numbers for yearly occasions: -1 for the last before the start, 0 for the first after it.
        """
        years: Floats = (np.arange(self.occasions) - self.start + 0.5) / self.per_year - 0.5
        return years

    def year_of(self, occasions: Ints | int) -> Ints:
        """The year that occasions belong to, numbered from 0, the first on record."""
        return np.asarray(occasions) // self.per_year

    def occasions_of(self, first: int, last: int | None = None) -> Ints:
        """The occasions of a year numbered from 0, or of all years from the first to before the last."""
        end = first + 1 if last is None else last
        return np.arange(first * self.per_year, end * self.per_year)


class Shock(Stated):
    """A year in which everything is different, such as that of a pandemic; left out, there is none."""

    year: Annotated[int, Field(ge=-30, le=29)]
    """The year, counted from the start: 0 is the first after it, -1 the last before."""
    change: Quantity = 0.0
    """What it adds to the national mean, in the outcome's units (assumption)."""
    authority_sd: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation between authorities of how it hits them, in standard deviations between authorities
    (assumption)."""


class Memory(Stated):
    """How an authority's deviation lasts: corr(k years) = permanent + (1 - permanent) phi^k."""

    permanent_share: Share = 0.28
    """Share of the variance that never changes; 1 makes authorities constant."""
    autocorrelation: Annotated[float, Field(ge=0, lt=1)] = 0.62
    """Correlation of the rest from one year to the next (phi)."""
