"""A continuous outcome that a study collects from the families it samples, such as engagement.

Authority, team and worker each have a normal part with the stated share of the variance; the families of a
worker are normal around them. Where workers do not differ, nor are told apart, authorities are the rows.

Decision: a score with bounds is such an outcome held within them. Shares of variance, correlations and the
effect belong to the latent score, which is normal; its mean and standard deviation are solved for, so that
the stated ones are those of the score that is seen, and so is the shift that moves its mean by the stated
effect at fidelity 1 in the average population. Near a bound the same shift moves less. A trend or a shock
moves the latent mean, and the latent standard deviation stays. The truth of an authority is the expected
difference given its latent mean, at the mean dose over its workers: over their mixture an effect of half a
standard deviation would be smaller by .2 %, by .5 % where competence raises fidelity and scores of the same
workers, and by 2 % where fidelity counts from a threshold on.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.arrays import Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import Positive, Quantity
from design_sim.world.bounded import (
    HeldNormal,
    centre_of_mean,
    held_mean,
    hold,
    solve_held_normal,
    spread_of_means,
)
from design_sim.world.delivery import Delivery, Fieldwork, uptake_of
from design_sim.world.draw import enrolled
from design_sim.world.families import (
    SurveyRows,
    children_of_families,
    dose_of_rows,
    draw_covariate,
    families_taking_part,
    family_parts,
    member_parts,
    observe_children,
    seen_of,
    survey_rows,
    takes_part,
    teams_present,
)
from design_sim.world.outcome import Better, Deviations, in_shock, national_mean, practised_on
from design_sim.world.settings import WorldSettings
from design_sim.world.surveyed import Surveyed

if TYPE_CHECKING:
    from design_sim.world.draw import World


class SurveyedContinuous(Surveyed):
    """A continuous outcome that a study collects from the families it samples."""

    kind: Literal["continuous"] = "continuous"
    source: Literal["survey"] = "survey"
    mean: Quantity = 0.0
    """Mean without any framework at the start, in the outcome's units."""
    sd: Positive = 1.0
    """Standard deviation over families and authorities."""
    bounds: Annotated[tuple[Quantity, Quantity], Field(strict=False)] | None = None
    """The lowest and the highest possible score, such as [0, 95]; none if not given. `icc`, `covariate` and
    `sibling_correlation` are then of the latent score, which the bounds cut off."""
    effect: Quantity
    """Effect of the framework at fidelity 1 on a family that takes part, in the outcome's units; with bounds
    on the average family."""
    trend: Quantity = 0.0
    """National change a year, in the outcome's units; the first year after the start has the stated mean."""
    better: Better = "higher"

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        if self.bounds is None:
            return self
        if not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds must rise; {self.bounds[0]:g} is not below {self.bounds[1]:g}")
        try:
            _ = self._latent, self._shift
        except ValueError as reason:
            raise ValueError(f"{reason} (bounds with mean, sd and effect)") from None
        return self

    @property
    def curved(self) -> bool:
        """Floor and ceiling bend what a dose does."""
        return self.bounds is not None

    @property
    def drawn_singly(self) -> bool:
        """Whether families are not exchangeable given their worker: siblings, or scores cut off singly."""
        return self.has_siblings or self.bounds is not None

    @property
    def authority_sd(self) -> float:
        """Standard deviation of a year's true mean between authorities."""
        between = float(self._latent.spread * np.sqrt(self.icc.authority))
        if self.bounds is None:
            return between
        return spread_of_means(self._latent.centre, between, self._within, self.bounds)

    @property
    def _latent(self) -> HeldNormal:
        """Mean and standard deviation of the latent score at the start; the score's own without bounds."""
        if self.bounds is None:
            return HeldNormal(self.mean, self.sd)
        return solve_held_normal(self.mean, self.sd, self.bounds)

    @property
    def _within(self) -> float:
        """Standard deviation of latent scores within an authority."""
        return float(self._latent.spread * np.sqrt(1 - self.icc.authority))

    @property
    def _shift(self) -> float:
        """What full practice adds to the latent score of a family that takes part."""
        if self.bounds is None or self.effect == 0:
            return self.effect
        centre, spread = self._latent
        return centre_of_mean(self.mean + self.effect, spread, self.bounds) - centre

    def _places(self, deviations: Deviations) -> Floats:
        """Latent means of the authorities, (replicate, authority, occasion)."""
        between = float(self._latent.spread * np.sqrt(self.icc.authority))
        means = national_mean(self, deviations.years)
        if self.bounds is not None:
            total = float(np.hypot(self._within, between * deviations.occasion_sd))
            means = np.array([centre_of_mean(float(mean), total, self.bounds) for mean in means])
        return means + between * deviations.deviation

    def expected(self, deviations: Deviations) -> Floats:
        """Means around the national one."""
        places = self._places(deviations)
        return places if self.bounds is None else held_mean(places, self._within, self.bounds)

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """uptake x dose x effect, the same for every family; with bounds, given the authority's place."""
        if self.bounds is None or self.effect == 0:
            return self.effect * uptake * dose
        places = self._places(world.deviations(name).at(at))
        moved = held_mean(places + self._shift * dose, self._within, self.bounds)
        effect: Floats = uptake * (moved - held_mean(places, self._within, self.bounds))
        return effect

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """Sample workers and families of the enrolled authorities."""
        work, world = fieldwork, fieldwork.world
        if self.drawn_singly or work.covariate or work.followed:
            return self._deliver_singly(work)
        expected = enrolled(self.expected(world.deviations(work.outcome).at(work.occasions)), work.unit)
        if work.resolution == "cell" and not self._workers_apart(work):
            roster = Roster.of_authorities(work.unit.shape[1])
            sampled = (
                teams_present(world, work.unit, work.sampled.teams)
                * work.sampled.workers
                * work.sampled.families
            )
            n = np.broadcast_to(
                sampled.astype(np.float64)[:, :, np.newaxis], (*sampled.shape, work.occasions.size)
            )
            n, dose = seen_of(work, roster, n), work.dose
        else:
            rows = survey_rows(work, singly=work.resolution == "unit")
            roster, n, dose = rows.roster, rows.n, dose_of_rows(work, rows)
            expected = roster.spread(expected, "authority") + self._members(work, rows)
        null = draw_families(work, expected, n, self.sd * float(np.sqrt(self.icc.family)))
        uptake = world.settings.uptake
        stated = practised_on(null, self.effect * dose, uptake, world.streams, work.outcome)
        taken = uptake_of(work, n, null.mean.shape)
        return Delivery(roster, work.occasions, uptake * dose, stated, null, uptake=taken)

    def _deliver_singly(self, work: Fieldwork) -> Delivery:
        """Every sampled family in a row, its children cut off at the bounds one by one."""
        world, name = work.world, work.outcome
        rows = survey_rows(work, singly=True)
        places = self._places(world.deviations(name).at(work.occasions))
        place = rows.roster.spread(enrolled(places, work.unit), "authority") + self._members(work, rows)
        dose = dose_of_rows(work, rows)
        family = family_parts(work, rows, self)
        siblings = world.streams.rng("siblings", name) if self.has_siblings else None
        shared = float(np.sqrt(self.sibling_correlation))
        own = float(np.sqrt(1 - self.sibling_correlation))
        spread = self._latent.spread * float(np.sqrt(self.icc.family))

        def below_worker() -> Floats:
            if siblings is None:
                return spread * family
            return spread * (shared * family + own * siblings.standard_normal(family.shape))

        def score(at: Floats, deviation: Floats) -> Floats:
            latent: Floats = deviation + at
            return hold(latent, self.bounds)

        twins = [place]
        if (self._shift * dose).any():
            twins.append(place + self._shift * dose * takes_part(work, family.shape))
        children = children_of_families(work, rows.n, self.children_per_family)
        null, *moved = observe_children(children, twins, below_worker, score)
        exposure = world.settings.uptake * dose
        covariate = draw_covariate(work, rows, self, family)
        stated, taken = moved[0] if moved else null, families_taking_part(work, family.shape)
        return Delivery(rows.roster, work.occasions, exposure, stated, null, covariate, taken)

    def faults(self, world: WorldSettings) -> list[str]:
        """A trend or a shock that leads out of the bounds; without bounds they may lead anywhere."""
        if self.bounds is None:
            return []
        with np.errstate(over="ignore"):
            means = national_mean(self, world.time.years)
        for year, mean in zip(world.time.years, means, strict=True):
            try:
                centre_of_mean(float(mean), self._latent.spread, self.bounds)
            except ValueError as reason:
                key = "shock.change" if self.shock and in_shock(self.shock, year) else "trend"
                return [f"{key}: in year {int(np.floor(year + 0.5))} from the start, {reason}"]
        return []

    def _workers_apart(self, work: Fieldwork) -> bool:
        """Whether the families of an authority are told apart, or differ in their teams or workers."""
        if work.workers or work.allocation.assigned != "authority":
            return True
        world = work.world
        between = self.icc.team + self.icc.worker > 0
        fidelity = world.settings.fidelity
        vary = fidelity.worker_sd + fidelity.team_sd + fidelity.turnover > 0
        return between or ((vary or world.settings.subgroup is not None) and self.effect != 0)

    def _members(self, work: Fieldwork, rows: SurveyRows) -> Floats:
        """What teams and workers add to the score of their families, (replicate, row, 1)."""
        team, worker = (
            float(self._latent.spread * np.sqrt(share)) for share in (self.icc.team, self.icc.worker)
        )
        return member_parts(work, rows, self, (team, worker))


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
