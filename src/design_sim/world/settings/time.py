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


class Memory(Stated):
    """How an authority's deviation lasts: corr(k years) = permanent + (1 - permanent) phi^k."""

    permanent_share: Share = 0.28
    """Share of the variance that never changes; 1 makes authorities constant."""
    autocorrelation: Annotated[float, Field(ge=0, lt=1)] = 0.62
    """Correlation of the rest from one year to the next (phi)."""
