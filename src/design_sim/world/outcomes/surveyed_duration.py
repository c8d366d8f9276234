"""A duration that a study collects from the families it samples, in years, such as how long it waited.

The means of authorities are lognormal; the families of an authority are gamma distributed around its mean,
alike but for the dose of their worker. Practice multiplies the duration of a family that takes part, by the
dose of its worker.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from design_sim.arrays import Floats, Ints
from design_sim.stated import Positive, Quantity
from design_sim.world.delivery import Delivery, Fieldwork, Sample
from design_sim.world.draw import enrolled
from design_sim.world.durations import Lasted, deliver_durations, draw_mean_durations, gamma_shape
from design_sim.world.families import dose_of_rows, survey_rows
from design_sim.world.outcome import Better, Deviations, OverTime
from design_sim.world.proportional import (
    Mean,
    lognormal_means,
    proportional_effect,
    proportional_faults,
    refuse_impossible,
    sd_of_means,
)
from design_sim.world.settings import WorldSettings

if TYPE_CHECKING:
    from design_sim.world.draw import World


class SurveyedDuration(OverTime):
    """A duration in years that a study collects from the families it samples."""

    kind: Literal["duration"] = "duration"
    source: Literal["survey"] = "survey"
    mean: Mean
    """Mean duration in years over authorities, without any framework, at the start."""
    sd: Positive
    """Standard deviation in years over all families in a year, those of all authorities together."""
    effect: Quantity
    """Mean difference in years that the framework makes at fidelity 1 to a family that takes part, a share
    effect / mean of its duration; above -mean."""
    trend: Quantity = 0.0
    """National change of the mean in a year, in years; the first year after the start has the stated
    mean."""
    log_sd: Annotated[float, Field(ge=0, le=3)] = 0.2
    """Standard deviation of the logarithm of a year's true mean between authorities (assumption)."""
    better: Better = "lower"

    drawn_singly: ClassVar[bool] = False
    curved: ClassVar[bool] = False

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        refuse_impossible(self)
        gamma_shape(self.mean, self.sd, self.log_sd)
        return self

    @property
    def family_shape(self) -> float:
        """Shape of the durations of an authority's families."""
        return gamma_shape(self.mean, self.sd, self.log_sd)

    @property
    def authority_sd(self) -> float:
        """Standard deviation of a year's true mean between authorities, in years."""
        return sd_of_means(self.mean, self.log_sd)

    def expected(self, deviations: Deviations) -> Floats:
        """Mean durations: lognormal at every occasion, with the stated mean."""
        return lognormal_means(self, deviations)

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """Mean difference in each authority, a share of its own mean."""
        return proportional_effect(self, world.expected(name), at, dose, uptake)

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """Sample workers and families of the enrolled authorities; a worker's sum of durations is gamma."""
        work, world = fieldwork, fieldwork.world
        rows = survey_rows(work, singly=work.resolution == "unit")
        roster, n, dose = rows.roster, rows.n, dose_of_rows(work, rows)
        expected = roster.spread(
            enrolled(world.expected(work.outcome)[:, :, work.occasions], work.unit), "authority"
        )
        rng = world.streams.rng("families", work.outcome)
        mean = draw_mean_durations(n, expected, self.family_shape, rng)
        return deliver_durations(work, self, Lasted(roster, n, mean, dose))

    def most_rows(self, world: WorldSettings, sample: Sample | None, *, families: bool) -> int:
        """Sampled workers, or all their families."""
        if sample is None:
            return 0
        return sample.teams * sample.workers * (sample.families if families else 1)

    def faults(self, world: WorldSettings) -> list[str]:
        """A trend or a shock that leads means out of range; the first occasion that it does."""
        return proportional_faults(self, world.time)
