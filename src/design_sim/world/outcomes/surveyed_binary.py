"""A yes or no that a study collects from the families it samples, such as whether they would recommend.

Workers' risks are logit-normal around those of their team and authority, with the stated mean. Shares of the
variance are on the probability scale: two families of an authority correlate by its share, two of a team by
the authority's and the team's, two of a worker by all three. Practice moves a risk as on records, here by the
dose of each worker; the truth of an authority is the mean over its workers' risks, at their mean dose.

Decision: children of a family are alike because each, with a chance of root rho, has the family's outcome in
the place of one of its own (Lunn and Davies 1998, Biometrika 85, 487-490): any two of them correlate by rho
given their worker, with practice and without it. A family takes part as a whole, and its worker's risk is
then another for all its children; a beta-binomial family risk would lose some of rho where practice thins
events.

Decision: the covariate's parts correlate with the normal variables behind the outcome's: those of authority,
team and worker on the logit scale, and that of the family, which has a yes where it exceeds a threshold (a
biserial correlation, whatever the risk).

Decision: a family of a cohort has a yes at an occasion where a normal variable exceeds the threshold of its
risk then, and those variables correlate by `family_autocorrelation` at any two occasions (a normal copula),
with practice and without it: risks are as stated, and the yes or no itself correlates less than they do.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import special

from design_sim.arrays import Floats, Ints
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
    survey_rows,
    takes_part,
)
from design_sim.world.logit_normal import EDGE, LogitNormal, shift_for_difference
from design_sim.world.outcome import Better, Deviations, national_mean
from design_sim.world.risks import (
    RiskScale,
    binary_cells,
    expected_risks,
    mean_risk,
    move_events_of,
    refuse_unreachable,
    risk_faults,
    risk_scale,
    risk_with_framework,
)
from design_sim.world.settings import WorldSettings
from design_sim.world.surveyed import Surveyed

if TYPE_CHECKING:
    from design_sim.world.draw import World


class SurveyedBinary(Surveyed):
    """A yes or no that a study collects from the families it samples."""

    kind: Literal["binary"] = "binary"
    source: Literal["survey"] = "survey"
    mean: Annotated[float, Field(ge=EDGE, le=1 - EDGE)]
    """Mean risk over authorities, without any framework, at the start; `icc` is of the yes or no itself."""
    effect: Annotated[float, Field(gt=-1, lt=1)]
    """Mean risk difference of the framework at fidelity 1, over families that take part."""
    trend: Annotated[float, Field(gt=-1, lt=1)] = 0.0
    """National change of the mean risk in a year; the first year after the start has the stated mean."""
    effect_scale: Literal["logit", "probability"] = "logit"
    """The scale on which the effect is the same for everyone."""
    better: Better = "higher"

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        try:
            _ = self._stated_risks
        except ValueError as reason:
            raise ValueError(f"{reason} (icc is the share that its square is of mean x (1 - mean))") from None
        refuse_unreachable(self._stated_risks, self.effect, self.effect_scale)
        return self

    @property
    def curved(self) -> bool:
        """On the logit scale a mixture of doses has another mean risk than their mean."""
        return self.effect_scale == "logit"

    @property
    def sd(self) -> float:
        """Standard deviation over all families in a year."""
        return float(np.sqrt(self.mean * (1 - self.mean)))

    @property
    def authority_sd(self) -> float:
        """Standard deviation of a year's risk between authorities."""
        return float(np.sqrt(self.icc.authority) * self.sd)

    def risks(self, year: float) -> LogitNormal:
        """Distribution of the risks of all workers at a time, in years from the first after the start."""
        return self._scale(year).of_all

    @property
    def _stated_risks(self) -> LogitNormal:
        """Distribution of the risks of all workers at the stated mean, whatever the first year brings."""
        return self._scale_at(self.mean).of_all

    def _scale(self, year: float, occasion_sd: float = 1.0) -> RiskScale:
        """The logit scale of risks at a time, in years from the first after the start."""
        return self._scale_at(float(national_mean(self, year)), occasion_sd)

    def _scale_at(self, mean: float, occasion_sd: float = 1.0) -> RiskScale:
        """The logit scale of risks of a national mean."""
        team, worker = (float(np.sqrt(share) * self.sd) for share in (self.icc.team, self.icc.worker))
        sds = (self.authority_sd * occasion_sd, team, worker)
        return risk_scale(mean, self.mean, sds)

    @property
    def _workers_differ(self) -> bool:
        return self.icc.team + self.icc.worker > 0

    def _places(self, deviations: Deviations) -> tuple[Floats, list[RiskScale]]:
        """Authorities on the logit scale, (replicate, authority, occasion), and each occasion's scale."""
        scales = [self._scale(float(year), deviations.occasion_sd) for year in deviations.years]
        centre, authority = (np.array(part) for part in list(zip(*scales, strict=True))[:2])
        return centre + authority / deviations.occasion_sd * deviations.deviation, scales

    def expected(self, deviations: Deviations) -> Floats:
        """Mean risks of the authorities over their workers, with the stated mean and spread between them."""
        if not self._workers_differ:
            return expected_risks(self, deviations)
        return _mean_risks(*self._places(deviations))

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """Mean risk difference in each authority, given its risk, at the mean dose over its workers."""
        if self.effect == 0:
            return np.zeros((1, 1, 1))
        if self._workers_differ and self.effect_scale == "logit":
            places, scales = self._places(world.deviations(name).at(at))
            moved = _mean_risks(places + shift_for_difference(self._stated_risks, self.effect) * dose, scales)
            effect: Floats = uptake * (moved - _mean_risks(places, scales))
            return effect
        risk = world.expected(name)[:, :, at]
        return self._moved(risk, dose, uptake) - risk

    def _moved(self, risk: Floats, dose: Floats, uptake: float) -> Floats:
        shift = shift_for_difference(self._stated_risks, self.effect)
        return risk_with_framework(risk, dose, uptake, (self.effect_scale, self.effect, shift))

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """Sample workers and families of the enrolled authorities; each worker's events are binomial."""
        work, world, uptake = fieldwork, fieldwork.world, fieldwork.world.settings.uptake
        singly = self.drawn_singly or work.covariate or work.followed
        rows = survey_rows(work, singly=singly or work.resolution == "unit")
        shape = (world.n_replicates, *rows.n.shape[1:])
        dose = dose_of_rows(work, rows)
        risk = np.broadcast_to(self._risks_of_rows(work, rows), shape)
        if singly:
            return self._deliver_singly(work, rows, risk, dose)
        rng = world.streams.rng("families", work.outcome)
        without = rng.binomial(rows.n.astype(np.int64), risk, shape).astype(np.float64)
        moved, n = without, np.broadcast_to(rows.n, shape)
        taken = uptake_of(work, n, shape)
        if self.effect != 0:
            of_takers = np.broadcast_to(self._moved(risk, dose, 1.0 if work.uptake else uptake), shape)
            moved = move_events_of(taken, without, n, (risk, of_takers), (world.streams, work.outcome))
        stated, null = (binary_cells(rows.n, events) for events in (moved, without))
        exposure = uptake * np.broadcast_to(dose, (*dose.shape[:2], work.occasions.size))
        return Delivery(rows.roster, work.occasions, exposure, stated, null, uptake=taken)

    def _risks_of_rows(self, work: Fieldwork, rows: SurveyRows) -> Floats:
        """Risk of the families of every row, (replicate, row, occasion)."""
        if not self._workers_differ:
            risk = work.world.expected(work.outcome)[:, :, work.occasions]
            return rows.roster.spread(enrolled(risk, work.unit), "authority")
        places, scales = self._places(work.world.deviations(work.outcome).at(work.occasions))
        team, worker = (np.array(part) for part in list(zip(*scales, strict=True))[2:])
        place = rows.roster.spread(enrolled(places, work.unit), "authority")
        risks: Floats = special.expit(place + member_parts(work, rows, self, (team, worker)))
        return risks

    def _deliver_singly(self, work: Fieldwork, rows: SurveyRows, risk: Floats, dose: Floats) -> Delivery:
        """Every sampled family in a row, its children one by one."""
        streams, name = work.world.streams, work.outcome
        family = family_parts(work, rows, self)
        of_family = special.ndtr(-family)
        siblings = streams.rng("siblings", name) if self.has_siblings else None
        alike = np.sqrt(self.sibling_correlation)

        def of_child() -> Floats:
            if siblings is None:
                return of_family
            copies, own = siblings.random((2, *risk.shape))
            return np.where(copies < alike, of_family, own)

        twins = [risk]
        if self.effect != 0:
            moved = self._moved(risk, dose, 1.0) - risk
            twins.append(risk + takes_part(work, risk.shape) * moved)
        children = children_of_families(work, rows.n, self.children_per_family)
        null, *stated = observe_children(
            children, twins, of_child, lambda at, drawn: (drawn < at).astype(np.float64)
        )
        exposure = work.world.settings.uptake * np.broadcast_to(dose, (*dose.shape[:2], work.occasions.size))
        covariate = draw_covariate(work, rows, self, family)
        taken = families_taking_part(work, risk.shape)
        return Delivery(
            rows.roster, work.occasions, exposure, stated[0] if stated else null, null, covariate, taken
        )

    def faults(self, world: WorldSettings) -> list[str]:
        """A trend or a shock that leads out of 0 to 1; the first year that it does."""
        return risk_faults(self, world, self._scale)


def _mean_risks(places: Floats, scales: list[RiskScale]) -> Floats:
    """Mean risks over the workers of authorities, (replicate, authority, occasion)."""
    places = np.broadcast_to(places, (*places.shape[:2], len(scales)))
    means = [mean_risk(places[:, :, at], scale.within) for at, scale in enumerate(scales)]
    return np.stack(means, axis=2)
