"""A yes or no on the authorities' own records, such as re-referral.

The risks of authorities and years are logit-normal, with the stated mean and standard deviation on the
probability scale. What is on record is drawn in the world; delivery thins the events, or adds to them.

Decision: practice shifts the risk of a family that takes part, by dose x effect on the scale of the
effect, and leaves that of one that does not; so uptake mixes risks, and is no factor within the logit. The
dose is the mean over the authority's workers, in outcomes and truth alike: on the logit scale a mixture
over workers would have an effect smaller by 0.3 % at 3 points and 2 % at 15 points.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator
from scipy import special

from design_sim.arrays import Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import Correlation, NotNegative, Stated
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, Sample
from design_sim.world.draw import children_of, enrolled
from design_sim.world.logit_normal import EDGE, LogitNormal, shift_for_difference, solve_logit_normal
from design_sim.world.outcome import Better, Record, families_on_record, national_mean, roster_of_families
from design_sim.world.settings import Memory, Shock, Time, WorldSettings

if TYPE_CHECKING:
    from design_sim.world.draw import World


class RecordedBinary(Stated):
    """A yes or no on the authorities' own records, for every authority and year."""

    kind: Literal["binary"] = "binary"
    source: Literal["record"] = "record"
    mean: Annotated[float, Field(ge=EDGE, le=1 - EDGE)]
    """Mean risk over authorities, without any framework, at the start."""
    effect: Annotated[float, Field(gt=-1, lt=1)]
    """Mean risk difference of the framework at fidelity 1, over families that take part."""
    trend: Annotated[float, Field(gt=-1, lt=1)] = 0.0
    """National change of the mean risk in a year; the first year after the start has the stated mean."""
    authority_sd: NotNegative = 0.056
    """Standard deviation of the risk between authorities in a year."""
    per_10000_children: Annotated[float, Field(ge=0.01, le=10_000)] = 540.0
    """Families on record in a year (the denominator), for each 10,000 children."""
    quality_correlation: Correlation = 0.0
    """Correlation of an authority's risk, on the logit scale, with its quality in the same year."""
    effect_scale: Literal["logit", "probability"] = "logit"
    """The scale on which the effect is the same for everyone."""
    memory: Memory | None = None
    """Memory of the authorities' own deviations; that of the world's quality if not given."""
    slope_sd: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation between authorities of a change a year of their own, counted from the start, in
    standard deviations between authorities (assumption)."""
    shock: Shock | None = None
    """A year that is different."""
    better: Better = "lower"

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        refuse_unreachable(solve_logit_normal(self.mean, self.authority_sd), self.effect, self.effect_scale)
        return self

    @property
    def sd(self) -> float:
        """Standard deviation over all families in a year."""
        return float(np.sqrt(self.mean * (1 - self.mean)))

    def risks(self, year: int) -> LogitNormal:
        """Distribution of the authorities' risks in a year counted from the start."""
        return solve_logit_normal(float(national_mean(self, year)), self.authority_sd)

    def record(self, n: Floats, deviation: Floats, years: Ints, rng: Generator) -> Record:
        """Binomial events around the authorities' risks."""
        scales = [self.risks(int(year)) for year in years]
        centre, spread = (np.array(part) for part in zip(*scales, strict=True))
        expected = special.expit(centre + spread * deviation)
        n_all = np.broadcast_to(n[:, np.newaxis], (1, n.size, years.size))
        events = rng.binomial(n_all.astype(np.int64), expected)
        return Record(binary_cells(n_all, events.astype(np.float64)), expected)

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """Mean risk difference in each authority, given its risk."""
        if self.effect == 0:
            return np.zeros((1, 1, 1))
        risk = world.record(name).expected[:, :, at]
        return self.risk_with_framework(risk, dose, uptake) - risk

    def risk_with_framework(self, risk: Floats, dose: Floats, uptake: float) -> Floats:
        """Mean risk over the families of a row, those who take part and those who do not."""
        shift = shift_for_difference(self.risks(0), self.effect)
        return risk_with_framework(risk, dose, uptake, (self.effect_scale, self.effect, shift))

    def deliver(self, fieldwork: Fieldwork) -> Delivery:
        """The enrolled authorities' records, events thinned or added to."""
        work, world, unit = fieldwork, fieldwork.world, fieldwork.unit
        dose = work.dose
        record = world.record(work.outcome)
        n = np.broadcast_to(enrolled(record.cells.n[:, :, :1], unit), (*unit.shape, work.occasions.size))
        without = np.rint(enrolled(record.cells.mean[:, :, work.occasions], unit) * n)
        moved = without
        if self.effect != 0:
            risk = enrolled(record.expected[:, :, work.occasions], unit)
            changed = self.risk_with_framework(risk, dose, world.settings.uptake)
            moved = move_events(without, n, risk, changed, world.streams, work.outcome)
        exposure = dose * world.settings.uptake
        if work.resolution == "cell":
            roster = Roster.of_authorities(unit.shape[1])
            return Delivery(
                roster, work.occasions, exposure, binary_cells(n, moved), binary_cells(n, without)
            )
        roster, stated = split(n, moved)
        _, null = split(n, without)
        return Delivery(roster, work.occasions, roster.spread(exposure, "authority"), stated, null)

    def most_rows(self, world: WorldSettings, sample: Sample | None, *, families: bool) -> int:
        """The authority itself, or all families of the largest."""
        largest = children_of(world.size, world.authorities)[-1:]
        return int(families_on_record(self.per_10000_children, largest)[0]) if families else 1

    def faults(self, time: Time) -> list[str]:
        """A trend or a shock that leads out of 0 to 1; the first year that it does."""
        faults = []
        for year in range(-time.years_before, time.years_after):
            try:
                self.risks(year)
            except ValueError as reason:
                key = "shock.change" if self.shock and self.shock.year == year else "trend"
                faults.append(f"{key}: in year {year} from the start, {reason}")
                break
        return faults


def refuse_unreachable(risks: LogitNormal, effect: float, scale: str) -> None:
    """Raise where an effect cannot be had on risks of a distribution: ValueError with the reason."""
    shift_for_difference(risks, effect)
    if scale == "probability" and effect != 0:
        edge = -effect if effect < 0 else 1 - effect
        place = (special.logit(edge) - risks.centre) / max(risks.spread, 1e-12)
        share = special.ndtr(place) if effect < 0 else special.ndtr(-place)
        if share > 0.001:
            raise ValueError(
                f"an effect of {effect:g} on the probability scale would push {share:.2%} of risks "
                'out of 0 to 1 (0.1 % is allowed); use effect_scale = "logit"'
            )


def risk_with_framework(
    risk: Floats, dose: Floats, uptake: float, effect: tuple[str, float, float]
) -> Floats:
    """Mean risk over the families of a row, those who take part and those who do not.

    Parameters
    ----------
    risk : float array
        Risk without any framework.
    dose : float array, of the same axes
        Share of the full effect that a family that takes part receives.
    uptake : float
        Share of families that take part.
    effect : scale, difference and shift
        "probability" or "logit", the stated mean risk difference, and the shift on the logit scale that
        makes it.

    Returns
    -------
    float array
        risk + uptake x (risk of those who take part - risk), where the latter is risk + difference x dose on
        the probability scale, held within 0 to 1, and inverse logit(logit(risk) + shift x dose) on the logit
        scale.
    """
    scale, difference, shift = effect
    if scale == "probability":
        return risk + uptake * (np.clip(risk + difference * dose, 0.0, 1.0) - risk)
    taking_part: Floats = special.expit(special.logit(risk) + shift * dose)
    return risk + uptake * (taking_part - risk)


def binary_cells(n: Floats, events: Floats) -> Cells:
    """The cells of a yes-or-no outcome: mean and sum of squares follow from the events."""
    rate = events / n
    return Cells(n, rate, n * rate * (1 - rate))


def move_events(
    events: Floats, n: Floats, risk: Floats, changed: Floats, streams: Streams, name: str
) -> Floats:
    """Events once risks have changed: thinned where lower, added to where higher.

    Binomial(events, changed / risk), or events + Binomial(n - events, (changed - risk) / (1 - risk)): exact
    given the events on record. One uniform is inverted for each cell, so that the same chance meets every
    size of effect.
    """
    from scipy import stats

    uniform = streams.rng("delivery", name).random(events.shape)
    moved = events.copy()
    lower, higher = changed < risk, changed > risk
    kept = np.clip((changed / risk)[lower], 0, 1)
    moved[lower] = stats.binom.ppf(uniform[lower], events[lower], kept)
    gained = np.clip(((changed - risk) / (1 - risk))[higher], 0, 1)
    moved[higher] += stats.binom.ppf(uniform[higher], (n - events)[higher], gained)
    return moved.clip(0, n)


def split(n: Floats, events: Floats) -> tuple[Roster, Cells]:
    """Single families, of whom the first ones of each cell had the event."""
    n_slots, n_occasions = n.shape[1:]
    longest = int(n.max())
    place = np.arange(longest)[:, np.newaxis]
    shape = (-1, n_slots * longest, n_occasions)
    taken = (place < n[:, :, np.newaxis]).astype(np.float64).reshape(shape)
    single = (place < events[:, :, np.newaxis]).astype(np.float64).reshape(shape)
    cells = Cells(taken, np.where(taken > 0, single, np.nan), np.zeros((1, *shape[1:])))
    return roster_of_families(n_slots, longest), cells
