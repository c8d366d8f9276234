"""A yes or no that a study collects from the families it samples, such as whether they would recommend.

Authorities' risks are logit-normal, with the stated mean and a standard deviation on the probability scale of
root(ICC x mean x (1 - mean)); families of an authority are alike but for the dose of their worker. Practice
moves a risk as on records, here by the dose of each worker.

Decision: the ICC is that of authorities alone. Families of a worker are then exchangeable given the dose, and
a worker's events binomial, whatever their number.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.arrays import Floats, Ints
from design_sim.roster import Roster
from design_sim.world.delivery import Delivery, Fieldwork, Sample
from design_sim.world.draw import enrolled
from design_sim.world.logit_normal import EDGE, LogitNormal, shift_for_difference, solve_logit_normal
from design_sim.world.outcome import Better, Deviations, OverTime
from design_sim.world.outcomes.surveyed_continuous import seen_of, teams_present
from design_sim.world.risks import (
    binary_cells,
    expected_risks,
    move_events,
    refuse_unreachable,
    risk_faults,
    risk_with_framework,
    risks_of_authorities,
)
from design_sim.world.settings import Time, WorldSettings

if TYPE_CHECKING:
    from design_sim.world.draw import World


class SurveyedBinary(OverTime):
    """A yes or no that a study collects from the families it samples."""

    kind: Literal["binary"] = "binary"
    source: Literal["survey"] = "survey"
    mean: Annotated[float, Field(ge=EDGE, le=1 - EDGE)]
    """Mean risk over authorities, without any framework, at the start."""
    effect: Annotated[float, Field(gt=-1, lt=1)]
    """Mean risk difference of the framework at fidelity 1, over families that take part."""
    trend: Annotated[float, Field(gt=-1, lt=1)] = 0.0
    """National change of the mean risk in a year; the first year after the start has the stated mean."""
    icc: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the variance, on the probability scale, that lies between authorities (assumption)."""
    effect_scale: Literal["logit", "probability"] = "logit"
    """The scale on which the effect is the same for everyone."""
    better: Better = "higher"

    drawn_singly: ClassVar[bool] = False

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        refuse_unreachable(solve_logit_normal(self.mean, self.authority_sd), self.effect, self.effect_scale)
        if self.quality_correlation != 0 and self.icc == 0:
            raise ValueError("quality_correlation has no effect while icc is 0")
        return self

    @property
    def sd(self) -> float:
        """Standard deviation over all families in a year."""
        return float(np.sqrt(self.mean * (1 - self.mean)))

    @property
    def authority_sd(self) -> float:
        """Standard deviation of a year's risk between authorities."""
        return float(np.sqrt(self.icc) * self.sd)

    def risks(self, year: float, occasion_sd: float = 1.0) -> LogitNormal:
        """Distribution of the authorities' risks at a time, in years from the first after the start."""
        return risks_of_authorities(self, year, occasion_sd)

    def expected(self, deviations: Deviations) -> Floats:
        """Risks: logit-normal at every occasion, with the stated mean and spread between authorities."""
        return expected_risks(self, deviations)

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """Mean risk difference in each authority, given its risk, at the mean dose over its workers."""
        if self.effect == 0:
            return np.zeros((1, 1, 1))
        risk = world.expected(name)[:, :, at]
        return self._moved(risk, dose, uptake) - risk

    def _moved(self, risk: Floats, dose: Floats, uptake: float) -> Floats:
        shift = shift_for_difference(self.risks(0), self.effect)
        return risk_with_framework(risk, dose, uptake, (self.effect_scale, self.effect, shift))

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """Sample workers and families of the enrolled authorities; each worker's events are binomial."""
        work, world, sample = fieldwork, fieldwork.world, fieldwork.sampled
        team_of = np.repeat(np.arange(sample.teams), sample.workers)
        worker = team_of * world.settings.workers.per_team + np.tile(np.arange(sample.workers), sample.teams)
        copies = sample.families if work.resolution == "unit" else 1
        index = np.arange(work.unit.shape[1] * worker.size * copies) // copies
        roster = Roster(index // worker.size, index // sample.workers, index)
        taken = team_of < teams_present(work)[:, :, np.newaxis]
        n = np.repeat(taken.reshape(taken.shape[0], -1, 1) * float(sample.families // copies), copies, axis=1)
        n = seen_of(work, roster, np.broadcast_to(n, (*n.shape[:2], work.occasions.size)))
        dose = np.repeat(work.dose_of(worker), copies, axis=1)
        risk = world.expected(work.outcome)[:, :, work.occasions]
        risk = roster.spread(enrolled(risk, work.unit), "authority")
        shape = (world.n_replicates, roster.n_rows, work.occasions.size)
        rng = world.streams.rng("families", work.outcome)
        without = rng.binomial(n.astype(np.int64), risk, shape).astype(np.float64)
        n_all, risk = np.broadcast_to(n, shape), np.broadcast_to(risk, shape)
        moved = without
        if self.effect != 0:
            changed = np.broadcast_to(self._moved(risk, dose, world.settings.uptake), shape)
            moved = move_events(without, n_all, risk, changed, world.streams, work.outcome)
        exposure = world.settings.uptake * np.broadcast_to(dose, (*dose.shape[:2], work.occasions.size))
        stated, null = (binary_cells(n, events) for events in (moved, without))
        return Delivery(roster, work.occasions, exposure, stated, null)

    def most_rows(self, world: WorldSettings, sample: Sample | None, *, families: bool) -> int:
        """Sampled workers, or all their families."""
        if sample is None:
            return 0
        return sample.teams * sample.workers * (sample.families if families else 1)

    def faults(self, time: Time) -> list[str]:
        """A trend or a shock that leads out of 0 to 1; the first year that it does."""
        return risk_faults(self, time)
