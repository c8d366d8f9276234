"""What a person states about the world: people, time, quality, fidelity, informal use, adoption.

Defaults are the figures of English children's social care, 2013 to 2025 (Department for Education,
children in need and workforce statistics), unless a field says "assumption". A table that is left out
switches its mechanism off where the docstring says so.
"""

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import special

from design_sim.stated import Correlation, NotNegative, OpenShare, Positive, Share, Stated
from design_sim.world.logit_normal import fidelity_scale


class Size(Stated):
    """Children living in each authority: quantiles of a truncated lognormal, the same for any seed."""

    log_mean: Annotated[float, Field(ge=0, le=20)] = 11.10
    log_sd: Annotated[float, Field(ge=0, le=5)] = 0.61
    smallest: Annotated[float, Field(ge=1, le=1e9)] = 8_000.0
    largest: Annotated[float, Field(ge=1, le=1e9)] = 355_000.0

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


class Time(Stated):
    """The years on record; every framework starts after the last year before."""

    years_before: Annotated[int, Field(ge=0, le=30)] = 2
    years_after: Annotated[int, Field(ge=1, le=30)] = 2

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


class Workers(Stated):
    """Workers, in whole teams, at least one in each authority; assumption: teams of six."""

    per_10000_children: Positive = 19.0
    """Case-holding workers for each 10,000 children (median authority: 119)."""
    per_team: Annotated[int, Field(ge=1, le=100)] = 6


class Fidelity(Stated):
    """Fidelity of a mature implementation, 0 to 1, by its mean and standard deviations.

    The program solves for a logit-normal with these values; a mean and standard deviations that
    cannot be had together are refused. `authority_sd` and `worker_sd` are assumptions.
    """

    mean: Share = 0.60
    """Mean over workers and authorities, once mature."""
    authority_sd: NotNegative = 0.15
    """Standard deviation between authorities of their mean."""
    worker_sd: NotNegative = 0.20
    """Standard deviation between the workers of an authority."""
    quality_correlation: Correlation = 0.3
    """Correlation of an authority's readiness with its quality in the first year after the start
    (assumption)."""
    competence_correlation: Correlation = 0.0
    """Correlation of a worker's fidelity, on the logit scale, with competence within an authority
    (assumption)."""
    years_to_80_percent: NotNegative = 2.0
    """Years from the start until fidelity is at 80 % of its mature value; 0: at once (assumption). A year's
    fidelity is that of its middle."""

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        fidelity_scale(self.mean, self.authority_sd, self.worker_sd)
        unused = {
            "quality_correlation": self.authority_sd == 0,
            "competence_correlation": self.worker_sd == 0,
        }
        for key, without_effect in unused.items():
            if without_effect and key in self.model_fields_set and getattr(self, key) != 0:
                sd = "authority_sd" if key == "quality_correlation" else "worker_sd"
                raise ValueError(f"{key} has no effect while {sd} is 0; leave it out or raise {sd}")
        return self


class Informal(Stated):
    """Informal use of the framework where no study put it; leave the table out for none.

    An authority that uses it does so in every year, a pilot until its start, with the world's uptake.

    Two thirds of English authorities use the framework in some form; how well is an assumption.
    """

    share: Share = 0.67
    """Chance of an authority to use it informally."""
    fidelity: Share = 0.30
    """Their fidelity, the same in every one of them (assumption)."""


class Rating(Stated):
    """The last inspection rating before the start, from quality in that year and noise."""

    outstanding: OpenShare = 0.29
    good: OpenShare = 0.39
    requires_improvement: OpenShare = 0.22
    quality_correlation: Share = 0.7
    """Correlation of what inspectors see with quality in that year (assumption)."""

    @model_validator(mode="after")
    def _leaves_inadequate(self) -> Self:
        total = self.outstanding + self.good + self.requires_improvement
        if total >= 1:
            raise ValueError(f"the three shares sum to {total:g}; less than 1 must leave some inadequate")
        return self


class Adoption(Stated):
    """Who would adopt the framework unprompted: the authorities that stand highest in propensity.

    Propensity = quality_weight x quality + bad_year_weight x bad year + noise of variance 1, in the last
    year before the start. A bad year is the recorded outcome's distance from its national mean towards the
    worse, in standard deviations between authorities. Weights of 0 make adoption pure chance.
    """

    authorities: Annotated[int, Field(ge=1)] = 9
    """How many would adopt: the set that the average `adopters` is taken over."""
    quality_weight: float = 0.0
    """Above 0, better authorities adopt; below 0, worse ones (assumption)."""
    bad_year_weight: float = 0.0
    """Above 0, authorities adopt after a bad year on `bad_year_outcome` (assumption)."""
    bad_year_outcome: str | None = None
    """A recorded outcome; needed where `bad_year_weight` is not 0."""

    @model_validator(mode="after")
    def _bad_year_of_something(self) -> Self:
        if self.bad_year_weight != 0 and self.bad_year_outcome is None:
            raise ValueError("bad_year_weight needs bad_year_outcome, the name of a recorded outcome")
        if self.bad_year_weight == 0 and self.bad_year_outcome is not None:
            raise ValueError("bad_year_outcome has no effect while bad_year_weight is 0")
        return self


class WorldSettings(Stated):
    """The whole world but its outcomes."""

    authorities: Annotated[int, Field(ge=2, le=2_000)] = 151
    """How many authorities there are; studies enrol from them."""
    size: Size = Size()
    time: Time = Time()
    quality: Memory = Memory()
    """Memory of organisational quality, and of the authority part of every outcome."""
    workers: Workers = Workers()
    fidelity: Fidelity = Fidelity()
    uptake: Share = 0.70
    """Chance of a family offered the framework to take part, informal use included."""
    informal: Informal | None = None
    rating: Rating = Rating()
    adoption: Adoption | None = None
    """Who would adopt unprompted; without the table nobody would, and any adopter is a chance one."""
    reputation_correlation: Correlation = 0.5
    """Correlation of an authority's reputation with its readiness (assumption)."""

    @model_validator(mode="after")
    def _adopters_exist(self) -> Self:
        if self.adoption and self.adoption.authorities > self.authorities:
            raise ValueError(
                f"adoption.authorities is {self.adoption.authorities}, "
                f"above the {self.authorities} authorities"
            )
        return self


def block_size(world: WorldSettings) -> int:
    """Replicates drawn from one set of streams: a power of two from 16 to 4,096.

    The largest with replicates x authorities x occasions <= 2^19. It comes from the world's settings alone,
    so that neither designs, nor the number of replicates, nor the machine can move a number.
    """
    numbers = world.authorities * world.time.occasions
    return int(np.clip(2 ** int(np.log2(2**19 / numbers)), 16, 4_096))
