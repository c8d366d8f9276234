"""What happens to authorities on the way: inspections, new leadership, leaving the framework."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from design_sim.stated import Correlation, Share, Stated


class Inspections(Stated):
    """Inspections every few years, each of which gives a rating; left out, ratings never change.

    An inspector sees quality in the year and something else (`world.rating`). The shares of ratings are those
    of the last inspection before the start.
    """

    every_years: Annotated[int, Field(ge=1, le=20)] = 3
    """Years from one inspection of an authority to the next; authorities take turns (assumption)."""
    persistence: Annotated[Correlation, Field(ge=0)] = 0.70
    """Correlation of that something else from one inspection to the next. With the default memory of quality
    and `improvement`, 40 % of authorities rose and 18 % fell from the inspection before the last one to the
    last, as did 65 English authorities that were inspected twice."""
    improvement: Annotated[float, Field(ge=-3, le=3)] = 0.33
    """National rise from one inspection to the next, in standard deviations of what inspectors see. From the
    shares of March 2025 it leads back to 55 % good or better three years before (published: 53 %)."""


class Leaving(Stated):
    """Authorities stop practising the framework; left out, none does. They return to what they did before.

    About one pilot in five left within two years in the Signs of Safety pilots and in the trials of
    Strengthening Families, Protecting Children; how that divides into reasons is an assumption.
    """

    after_inadequate: Share = 0.5
    """Chance to leave at the end of a year in which an inspection says inadequate (assumption); needs
    `world.inspections`, and is 0 without."""
    new_leadership: Share = 0.20
    """Chance of new leadership at the end of any other year (assumption)."""
    switch: Share = 0.40
    """Chance of new leadership to switch to another framework: the rival where the world has one, else none
    (assumption)."""

    @model_validator(mode="after")
    def _somebody_leaves(self) -> Self:
        if self.switch > 0 and self.new_leadership == 0 and "switch" in self.model_fields_set:
            raise ValueError("switch has no effect while new_leadership is 0")
        return self
