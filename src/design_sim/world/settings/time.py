"""The years on record, and how long deviations last."""

from typing import Annotated

from pydantic import Field

from design_sim.stated import Share, Stated


class Time(Stated):
    """The years on record; every framework starts after the last year before."""

    years_before: Annotated[int, Field(ge=0, le=30)] = 2
    """Years on record before the start."""
    years_after: Annotated[int, Field(ge=1, le=30)] = 2
    """Years on record after it."""

    @property
    def occasions(self) -> int:
        """Number of yearly occasions."""
        return self.years_before + self.years_after

    @property
    def start(self) -> int:
        """The first occasion after the start."""
        return self.years_before


class Shock(Stated):
    """A year in which everything is different, such as that of a pandemic; left out, there is none."""

    year: Annotated[int, Field(ge=-30, le=29)]
    """The year, counted from the start: 0 is the first after it, -1 the last before."""
    change: float = 0.0
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
