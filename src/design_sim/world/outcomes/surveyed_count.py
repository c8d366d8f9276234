"""Events that sampled families have had, such as visits in a year, counted by the study.

The means of authorities are lognormal; the families of an authority are alike but for the dose of their
worker, with Poisson or overdispersed counts. Practice multiplies the mean of a family that takes part, by
the dose of its worker.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.arrays import Floats, Ints
from design_sim.stated import Quantity
from design_sim.world.counts import Counted, deliver_counts, draw_events
from design_sim.world.delivery import Delivery, Fieldwork, Sample
from design_sim.world.draw import enrolled
from design_sim.world.families import dose_of_rows, survey_rows
from design_sim.world.outcome import Better, Deviations, OverTime
from design_sim.world.proportional import (
    lognormal_means,
    proportional_effect,
    proportional_faults,
    refuse_impossible,
    sd_of_means,
)
from design_sim.world.settings import WorldSettings

if TYPE_CHECKING:
    from design_sim.world.draw import World


class SurveyedCount(OverTime):
    """A number of events that a study collects from the families it samples."""

    kind: Literal["count"] = "count"
    source: Literal["survey"] = "survey"
    mean: Annotated[float, Field(ge=1e-6, le=1_000)]
    """Mean number of events of a family, over authorities, without any framework, at the start."""
    effect: Quantity
    """Mean difference that the framework makes at fidelity 1 to a family that takes part, a share
    effect / mean of its authority's own mean; above -mean."""
    trend: Quantity = 0.0
    """National change of the mean in a year; the first year after the start has the stated mean."""
    log_sd: Annotated[float, Field(ge=0, le=3)] = 0.2
    """Standard deviation of the logarithm of a year's true mean between authorities (assumption)."""
    overdispersion: Annotated[float, Field(ge=1, le=20)] = 1.0
    """Variance of a family's events over their mean, given its authority's mean: 1 for Poisson; above it
    negative binomial (assumption)."""
    better: Better = "lower"

    per: ClassVar[float] = 1.0
    drawn_singly: ClassVar[bool] = False
    curved: ClassVar[bool] = False

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        refuse_impossible(self)
        return self

    @property
    def authority_sd(self) -> float:
        """Standard deviation of a year's true mean between authorities."""
        return sd_of_means(self.mean, self.log_sd)

    @property
    def sd(self) -> float:
        """Standard deviation over all families in a year."""
        return float(np.hypot(self.authority_sd, np.sqrt(self.overdispersion * self.mean)))

    def expected(self, deviations: Deviations) -> Floats:
        """Means of a family: lognormal at every occasion, with the stated mean."""
        return lognormal_means(self, deviations)

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """Mean difference in each authority, a share of its own mean."""
        return proportional_effect(self, world.expected(name), at, dose, uptake)

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """Sample workers and families of the enrolled authorities, and count their events."""
        work, world = fieldwork, fieldwork.world
        rows = survey_rows(work, singly=work.resolution == "unit")
        roster, n, dose = rows.roster, rows.n, dose_of_rows(work, rows)
        rate = roster.spread(
            enrolled(world.expected(work.outcome)[:, :, work.occasions], work.unit), "authority"
        )
        shape = (world.n_replicates, *n.shape[1:])
        rng = world.streams.rng("families", work.outcome)
        events = draw_events(np.broadcast_to(n * rate, shape), self.overdispersion, rng)
        return deliver_counts(work, self, Counted(roster, n, events, rate, dose))

    def most_rows(self, world: WorldSettings, sample: Sample | None, *, families: bool) -> int:
        """Sampled workers, or all their families."""
        if sample is None:
            return 0
        return sample.teams * sample.workers * (sample.families if families else 1)

    def faults(self, world: WorldSettings) -> list[str]:
        """A trend or a shock that leads means out of range; the first occasion that it does."""
        return proportional_faults(self, world.time)
