"""What a person states about the world: people, time, quality, fidelity, informal use, adoption.

Defaults are the figures of English children's social care, 2013 to 2025 (Department for Education,
children in need and workforce statistics), unless a field says "assumption". A table that is left out
switches its mechanism off where the docstring says so.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from design_sim.stated import Correlation, NotNegative, OpenShare, Positive, Share, Stated
from design_sim.world.logit_normal import fidelity_scale


class Size(Stated):
    """Children living in each authority: lognormal, cut off at both ends."""

    log_mean: float = 11.10
    log_sd: NotNegative = 0.61
    smallest: Positive = 8_000.0
    largest: Positive = 355_000.0

    @model_validator(mode="after")
    def _ends_in_order(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError(f"smallest {self.smallest:g} is above largest {self.largest:g}")
        return self


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
    """Workers and teams; assumption: teams of six."""

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
    """Correlation of an authority's readiness with its quality at the start (assumption)."""
    competence_correlation: Correlation = 0.0
    """Correlation of a worker's fidelity with competence, within an authority (assumption)."""
    years_to_80_percent: NotNegative = 2.0
    """Years from the start until fidelity is at 80 % of its mature value; 0: at once (assumption)."""

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
    """Informal use of the framework in authorities outside a study; leave the table out for none.

    Two thirds of English authorities use the framework in some form; how well is an assumption.
    """

    share: Share = 0.67
    """Share of authorities that use it informally."""
    fidelity: Share = 0.30
    """Their fidelity, the same in every one of them (assumption)."""


class Rating(Stated):
    """The last inspection rating before the start, from quality and noise."""

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

    Propensity = quality_weight x quality + bad_year_weight x bad year + noise of variance 1, the first
    two standardised, in the last year before the start. Weights of 0 make adoption pure chance.
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
    """Share of the families offered the framework that take part."""
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
