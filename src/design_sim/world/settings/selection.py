"""What inspectors see, and who would adopt the framework unprompted."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from design_sim.stated import OpenShare, Quantity, Share, Stated


class Rating(Stated):
    """The last inspection rating before the start, from quality in that year and noise."""

    outstanding: OpenShare = 0.29
    """Share rated outstanding (England, March 2025)."""
    good: OpenShare = 0.39
    """Share rated good."""
    requires_improvement: OpenShare = 0.22
    """Share that requires improvement; the rest is inadequate."""
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

    Propensity = sum of weight x reason + noise of variance 1, each reason standardised and as of the last
    year before the start. A bad year is the recorded outcome's distance from its national mean towards the
    worse, and a worsening its change since the year before, both in standard deviations between
    authorities. Weights of 0 make adoption pure chance.
    """

    authorities: Annotated[int, Field(ge=1)] = 9
    """How many would adopt: the set that the average `adopters` is taken over."""
    quality_weight: Quantity = 0.0
    """Above 0, better authorities adopt; below 0, worse ones (assumption)."""
    deprivation_weight: Quantity = 0.0
    """Above 0, deprived authorities adopt (assumption)."""
    requires_improvement_weight: Quantity = 0.0
    """Above 0, authorities whose rating requires improvement adopt (assumption), as in the eligibility of
    the national stepped-wedge trials."""
    bad_year_weight: Quantity = 0.0
    """Above 0, authorities adopt after a bad year on `bad_year_outcome` (assumption)."""
    worsening_weight: Quantity = 0.0
    """Above 0, authorities adopt where `bad_year_outcome` has been getting worse (assumption)."""
    bad_year_outcome: str | None = None
    """A recorded outcome; needed where `bad_year_weight` or `worsening_weight` is not 0."""

    @model_validator(mode="after")
    def _bad_year_of_something(self) -> Self:
        weighted = [key for key in ("bad_year_weight", "worsening_weight") if getattr(self, key) != 0]
        if weighted and self.bad_year_outcome is None:
            raise ValueError(f"{weighted[0]} needs bad_year_outcome, the name of a recorded outcome")
        if not weighted and self.bad_year_outcome is not None:
            raise ValueError(
                "bad_year_outcome has no effect while bad_year_weight and worsening_weight are 0"
            )
        return self
