"""How many authorities, children and workers there are."""

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import special

from design_sim.stated import Positive, Stated


class Size(Stated):
    """Children living in each authority: quantiles of a truncated lognormal, the same for any seed."""

    log_mean: Annotated[float, Field(ge=0, le=20)] = 11.10
    """Mean of the logarithm of the number of children."""
    log_sd: Annotated[float, Field(ge=0, le=5)] = 0.61
    """Standard deviation of that logarithm."""
    smallest: Annotated[float, Field(ge=1, le=1e9)] = 8_000.0
    """Children in the smallest authority that there may be."""
    largest: Annotated[float, Field(ge=1, le=1e9)] = 355_000.0
    """Children in the largest."""

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError(f"smallest {self.smallest:g} is above largest {self.largest:g}")
        low, high = self.cut_shares
        if high - low < 1e-3:
            raise ValueError(
                f"with log_mean {self.log_mean:g} and log_sd {self.log_sd:g} fewer than one authority in a "
                f"thousand lies between smallest {self.smallest:g} and largest {self.largest:g}"
            )
        return self

    @property
    def cut_shares(self) -> tuple[float, float]:
        """Shares of the lognormal below the smallest and below the largest."""
        ends = np.log([self.smallest, self.largest]) - self.log_mean
        low, high = special.ndtr(ends / self.log_sd) if self.log_sd else np.heaviside(ends, [0.0, 1.0])
        return float(low), float(high)


class Workers(Stated):
    """Workers, in whole teams, at least one in each authority; assumption: teams of six."""

    per_10000_children: Positive = 19.0
    """Case-holding workers for each 10,000 children (median authority: 119)."""
    per_team: Annotated[int, Field(ge=1, le=100)] = 6
    """Workers in a team (assumption)."""
    competence_icc: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the variance of workers' competence that lies between authorities, where it goes with their
    quality (assumption); for answers that adjust for `competence`."""
