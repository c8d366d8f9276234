"""A continuous outcome that a study collects from the families it samples, such as engagement.

Authority, team and worker each have a normal part with the stated share of the variance; the families of a
worker are normal around them. Where workers do not differ, authorities are the rows.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.arrays import Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import Correlation, Positive, Stated
from design_sim.world.delivery import Delivery, Fieldwork, Sample
from design_sim.world.draw import enrolled
from design_sim.world.fidelity import worker_deviation
from design_sim.world.outcome import Better, national_mean, practised_on
from design_sim.world.settings import Memory, Shock, Time, WorldSettings

if TYPE_CHECKING:
    from design_sim.world.draw import World


class ICC(Stated):
    """Share of a surveyed outcome's variance at each level above the family."""

    authority: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share between authorities (assumption)."""
    team: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share between the teams of an authority; .02 would be plausible (assumption)."""
    worker: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share between the workers of a team; .02, for engagement .08, would be plausible (assumption)."""

    @property
    def family(self) -> float:
        """Share of the variance between the families of a worker."""
        return 1 - self.authority - self.team - self.worker

    @model_validator(mode="after")
    def _leaves_families_some(self) -> Self:
        if self.family <= 0:
            raise ValueError(f"the shares sum to {1 - self.family:g}; they must leave families some")
        return self


class SurveyedContinuous(Stated):
    """A continuous outcome that a study collects from the families it samples."""

    kind: Literal["continuous"] = "continuous"
    source: Literal["survey"] = "survey"
    mean: float = 0.0
    """Mean without any framework at the start, in the outcome's units."""
    sd: Positive = 1.0
    """Standard deviation over families and authorities."""
    effect: float
    """Effect of the framework at fidelity 1 on a family that takes part, in the outcome's units."""
    trend: float = 0.0
    """National change a year, in the outcome's units; the first year after the start has the stated mean."""
    icc: ICC = ICC()
    quality_correlation: Correlation = 0.0
    """Correlation of an authority's mean with its quality in the same year."""
    competence_correlation: Correlation = 0.0
    """Correlation of the worker part with competence, within an authority."""
    memory: Memory | None = None
    """Memory of the authority part; that of the world's quality if not given."""
    slope_sd: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation between authorities of a change a year of their own, counted from the start, in
    standard deviations between authorities (assumption)."""
    shock: Shock | None = None
    """A year that is different."""
    better: Better = "higher"

    @model_validator(mode="after")
    def _correlates_with_something(self) -> Self:
        if self.competence_correlation != 0 and self.icc.worker == 0:
            raise ValueError("competence_correlation has no effect while icc.worker is 0")
        if self.quality_correlation != 0 and self.icc.authority == 0:
            raise ValueError("quality_correlation has no effect while icc.authority is 0")
        return self

    @property
    def authority_sd(self) -> float:
        """Standard deviation of the authority part."""
        return float(self.sd * np.sqrt(self.icc.authority))

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """uptake x dose x effect, the same for every family."""
        return self.effect * uptake * dose

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """Sample workers and families of the enrolled authorities."""
        work, world = fieldwork, fieldwork.world
        present = teams_present(work)
        deviation = enrolled(world.deviation(work.outcome), work.unit)
        if deviation.shape[2] > 1:
            deviation = deviation[:, :, work.occasions]
        expected = national_mean(self, work.years) + self.authority_sd * deviation
        if work.resolution == "cell" and not work.workers and not self._workers_differ(world):
            roster = Roster.of_authorities(work.unit.shape[1])
            n = (present * work.sampled.workers * work.sampled.families).astype(np.float64)[:, :, np.newaxis]
            dose = work.dose
        else:
            roster, n, members, dose = self._worker_rows(work, present)
            expected = roster.spread(expected, "authority") + members
        n = seen_of(work, roster, np.broadcast_to(n, (*n.shape[:2], work.occasions.size)))
        null = draw_families(work, expected, n, self.sd * float(np.sqrt(self.icc.family)))
        uptake = world.settings.uptake
        stated = practised_on(null, self.effect * dose, uptake, world.streams, work.outcome)
        return Delivery(roster, work.occasions, uptake * dose, stated, null)

    def most_rows(self, world: WorldSettings, sample: Sample | None, *, families: bool) -> int:
        """Sampled workers, or all their families."""
        if sample is None:
            return 0
        return sample.teams * sample.workers * (sample.families if families else 1)

    def faults(self, time: Time) -> list[str]:
        """None: a trend may lead anywhere."""
        return []

    def _workers_differ(self, world: "World") -> bool:
        """Whether the families of an authority are not exchangeable: their teams or workers differ."""
        between = self.icc.team + self.icc.worker > 0
        fidelity = world.settings.fidelity
        vary = fidelity.worker_sd + fidelity.team_sd + fidelity.turnover > 0
        return between or (vary and self.effect != 0)

    def _worker_rows(self, work: Fieldwork, present: Ints) -> tuple[Roster, Floats, Floats, Floats]:
        """Rows of workers, or of their families: roster, n, team and worker parts, dose."""
        sample, world, unit, name = work.sampled, work.world, work.unit, work.outcome
        team_of = np.repeat(np.arange(sample.teams), sample.workers)
        in_team = np.tile(np.arange(sample.workers), sample.teams)
        worker = team_of * world.settings.workers.per_team + in_team
        copies = sample.families if work.resolution == "unit" else 1
        n_slots, n_workers = unit.shape[1], worker.size
        index = np.arange(n_slots * n_workers * copies) // copies
        roster = Roster(index // n_workers, index // sample.workers, index)
        taken = (team_of < present[:, :, np.newaxis]).reshape(present.shape[0], -1, 1)
        n = np.repeat(taken * float(sample.families // copies), copies, axis=1)
        parts = np.zeros((1, n_slots, n_workers))
        if self.icc.team:
            teams = enrolled(world.members("team_effect", sample.teams, name), unit)
            parts = parts + self.sd * np.sqrt(self.icc.team) * teams[:, :, team_of]
        if self.icc.worker:
            own = worker_deviation(world, unit, worker, "worker_effect", self.competence_correlation, name)
            parts = parts + self.sd * np.sqrt(self.icc.worker) * own
        dose = work.dose_of(worker)
        members = np.repeat(parts.reshape(parts.shape[0], -1, 1), copies, axis=1)
        return roster, n, members, np.repeat(dose, copies, axis=1)


def teams_present(work: Fieldwork) -> Ints:
    """Teams sampled in each slot, fewer where an authority has fewer: (replicate, slot)."""
    there, asked = work.world.n_teams, work.sampled.teams
    if there.min() >= asked:
        return np.full((1, work.unit.shape[1]), asked)
    return np.minimum(enrolled(there[np.newaxis], work.unit), asked).astype(np.int64)


def seen_of(work: Fieldwork, roster: Roster, n: Floats) -> Floats:
    """How many of the sampled families are seen: all, or a binomial number, (replicate, row, occasion)."""
    if work.reached is None:
        return n
    chance = roster.spread(work.reached, "authority")
    shape = (work.world.n_replicates, *n.shape[1:])
    seen = work.world.streams.rng("loss", work.outcome).binomial(n.astype(np.int64), chance, shape)
    return seen.astype(np.float64)


def draw_families(work: Fieldwork, expected: Floats, n: Floats, sd: float) -> Cells:
    """Cells of families normal around an expected value: exact for the mean and the sum of squares."""
    streams, name = work.world.streams, work.outcome
    shape = (work.world.n_replicates, *n.shape[1:])
    noise = streams.rng("families", name).standard_normal(shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise *= sd / np.sqrt(n)
        mean = noise + expected
    if (n == 0).any():
        mean = np.where(n > 0, mean, np.nan)
    if not work.spread:
        return Cells(n, mean)
    if (n <= 1).all():
        return Cells(n, mean, np.zeros((1, *n.shape[1:])))
    freedom = np.broadcast_to(np.maximum(n - 1, 0) / 2, shape)
    return Cells(n, mean, 2 * sd**2 * streams.rng("family_spread", name).standard_gamma(freedom))
