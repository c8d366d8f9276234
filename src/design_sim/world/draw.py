"""Draw the world: its authorities' quality, readiness, ratings and records, its workers' competence.

Every array is drawn when it is first asked for, each from a stream of its own, so that a mechanism
that nothing uses draws nothing, and the order of asking changes no number.
"""

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import cast

import numpy as np
from scipy import special

from design_sim.arrays import Bools, Floats, Ints
from design_sim.streams import Streams
from design_sim.world.logit_normal import FidelityScale, fidelity_scale, mean_over_workers
from design_sim.world.outcome import (
    Outcome,
    Record,
    RecordedOutcome,
    families_on_record,
    national_mean,
)
from design_sim.world.settings import Adoption, Memory, Size, WorldSettings


def children_of(size: Size, authorities: int) -> Floats:
    """Children in each authority, smallest first: quantiles of the cut-off lognormal, (authority,).

    The roster is the same in every replicate and for every seed; quantiles at (i - 1/2) / n give it the
    stated shape without chance.
    """
    low, high = size.cut_shares
    at = low + (high - low) * (np.arange(authorities) + 0.5) / authorities
    children: Floats = np.exp(size.log_mean + size.log_sd * special.ndtri(at))
    return children.clip(size.smallest, size.largest)


@cache
def _fidelity_table(scale: FidelityScale) -> tuple[Floats, Floats]:
    """Mean fidelity of an authority's workers at 4,001 places of readiness."""
    places = np.linspace(-8.0, 8.0, 4_001)
    return places, mean_over_workers(scale.centre + scale.authority * places, scale.within)


def memory_root(memory: Memory, occasions: int) -> Floats:
    """Root of the correlations between years: deviations = normals @ root, (normal, occasion).

    Permanent part and AR(1): corr(k) = permanent + (1 - permanent) phi^k. A memory that is all permanent
    needs one normal for all occasions.
    """
    if memory.permanent_share == 1:
        return np.ones((1, 1))
    lag = np.abs(np.subtract.outer(np.arange(occasions), np.arange(occasions)))
    share = memory.permanent_share
    correlation = share + (1 - share) * np.float64(memory.autocorrelation) ** lag
    return np.ascontiguousarray(np.linalg.cholesky(correlation).T)


class World:
    """The state of every authority and worker in a block of replicates, without any framework.

    Parameters
    ----------
    settings : WorldSettings
        What a person stated.
    outcomes : mapping of outcomes by name
        The outcomes of the scenario.
    n_replicates : int
        Replicates in the block.
    streams : Streams
        The streams of the block.
    """

    def __init__(
        self,
        settings: WorldSettings,
        outcomes: Mapping[str, Outcome],
        n_replicates: int,
        streams: Streams,
    ) -> None:
        self.settings = settings
        self.outcomes = outcomes
        self.n_replicates = n_replicates
        self.streams = streams
        self._records: dict[str, Record] = {}
        self._deviations: dict[str, Floats] = {}
        self._members: dict[tuple[str, str], tuple[int, Floats]] = {}

    @property
    def n_authorities(self) -> int:
        """Number of authorities."""
        return self.settings.authorities

    @cached_property
    def children(self) -> Floats:
        """Children living in each authority, (authority,)."""
        return children_of(self.settings.size, self.n_authorities)

    @cached_property
    def n_teams(self) -> Ints:
        """Whole teams of each authority, at least one, (authority,)."""
        workers = self.settings.workers
        teams = self.children * workers.per_10000_children / 10_000 / workers.per_team
        return np.maximum(teams.astype(np.int64), 1)

    @cached_property
    def quality(self) -> Floats:
        """Organisational quality, mean 0 and SD 1, (replicate, authority, occasion)."""
        return self._process("quality")

    @cached_property
    def deprivation(self) -> Floats:
        """Deprivation, a covariate that everybody sees, mean 0 and SD 1, (replicate, authority)."""
        return self._normal("deprivation")

    @cached_property
    def readiness(self) -> Floats:
        """Readiness for the framework, mean 0 and SD 1, (replicate, authority)."""
        at_start = self.settings.time.start
        return self._mixed("readiness", self.settings.fidelity.quality_correlation, at_start)

    @cached_property
    def reputation(self) -> Floats:
        """What people say of an authority's practice, mean 0 and SD 1, (replicate, authority)."""
        correlation = self.settings.reputation_correlation
        noise = self._normal("reputation")
        reputation: Floats = correlation * self.readiness + np.sqrt(1 - correlation**2) * noise
        return reputation

    @cached_property
    def rating(self) -> Ints:
        """Last rating before the start, 0 inadequate to 3 outstanding, (replicate, authority)."""
        return self._rated(self._seen_by_inspectors(0))

    @cached_property
    def years_since_inspection(self) -> Ints:
        """Age of that rating in the last year before the start, (replicate, authority)."""
        inspections = self.settings.inspections
        if inspections is None or inspections.every_years == 1:
            return np.zeros((1, 1), dtype=np.int64)
        turn = self._uniform("inspection_turn") * inspections.every_years
        return turn.astype(np.int64)

    @cached_property
    def inspected_inadequate(self) -> Bools:
        """Whether an inspection in the year found the authority inadequate, (replicate, authority, occasion).

        From the start on; False before it, where only the last rating matters.
        """
        time, inspections = self.settings.time, self.settings.inspections
        if inspections is None:
            return np.zeros((1, 1, time.occasions), dtype=np.bool_)
        found = np.zeros((self.n_replicates, self.n_authorities, time.occasions), dtype=np.bool_)
        for number in range(1, -(-time.years_after // inspections.every_years) + 1):
            when = self._last_before - self.years_since_inspection + number * inspections.every_years
            inadequate = self._rated(self._seen_by_inspectors(number)) == 0
            for occasion in range(time.start, time.occasions):
                found[:, :, occasion] |= inadequate & (when == occasion)
        return found

    @cached_property
    def inadequate_since_start(self) -> Bools:
        """Whether the last inspection came after the start and found inadequate.

        (replicate, authority, occasion).
        """
        time, inspections = self.settings.time, self.settings.inspections
        state = self.inspected_inadequate.copy()
        if inspections is None:
            return state
        for occasion in range(time.start + 1, time.occasions):
            age = occasion - self._last_before + self.years_since_inspection
            again = age % inspections.every_years == 0
            state[:, :, occasion] |= state[:, :, occasion - 1] & ~again
        return state

    @cached_property
    def departures(self) -> tuple[Bools, Bools]:
        """Whether an authority that practises would stop at the end of a year, and whether by a switch.

        Two bool arrays, (replicate, authority, occasion).
        """
        time, leaving = self.settings.time, self.settings.leaving
        if leaving is None:
            never = np.zeros((1, 1, time.occasions), dtype=np.bool_)
            return never, never
        chance = self.streams.rng("leaving").random((time.occasions, self.n_replicates, self.n_authorities))
        chance = np.moveaxis(chance, 0, 2)
        inadequate = self.inspected_inadequate
        switches = ~inadequate & (chance < leaving.new_leadership * leaving.switch)
        return switches | (inadequate & (chance < leaving.after_inadequate)), switches

    def _seen_by_inspectors(self, number: int) -> Floats:
        """What the last inspection before the start (0) or a later one sees, (replicate, authority).

        Of variance 1 about a mean that rises by the stated improvement.
        """
        rating, inspections = self.settings.rating, self.settings.inspections
        correlation = rating.quality_correlation
        other = self._normal("rating")
        when = self._last_before - self.years_since_inspection
        if number and inspections:
            for later in range(1, number + 1):
                fresh = self.streams.rng("inspection", str(later)).standard_normal(other.shape)
                kept = inspections.persistence
                other = kept * other + np.sqrt(1 - kept**2) * fresh
            when = when + number * inspections.every_years
        seen = np.sqrt(1 - correlation**2) * other if correlation else other
        if correlation:
            last = self.quality.shape[2] - 1
            if when.size == 1:
                seen = correlation * self.quality[:, :, int(np.clip(when.item(), 0, last))] + seen
            else:
                at = np.clip(when, 0, last)[:, :, np.newaxis]
                seen = correlation * np.take_along_axis(self.quality, at, axis=2)[:, :, 0] + seen
        return seen + number * inspections.improvement if inspections else seen

    def _rated(self, seen: Floats) -> Ints:
        rating = self.settings.rating
        good_or_better = rating.outstanding + rating.good
        cuts = special.ndtri(
            [1 - good_or_better - rating.requires_improvement, 1 - good_or_better, 1 - rating.outstanding]
        )
        return np.searchsorted(cuts, seen).astype(np.int64)

    @cached_property
    def adoption_order(self) -> Ints:
        """The authorities from the most to the least likely to adopt, (replicate, authority)."""
        propensity = self._normal("adoption")
        if self.settings.adoption:
            for weight, reason in self._reasons(self.settings.adoption):
                if weight:
                    propensity = propensity + weight * reason()
        order: Ints = np.argsort(-propensity, axis=1, kind="stable")
        return order

    @cached_property
    def adopters(self) -> Ints:
        """The authorities that would adopt unprompted, (replicate, adopter)."""
        adoption = self.settings.adoption
        return self.adoption_order[:, : adoption.authorities if adoption else 0]

    @cached_property
    def mature_fidelity(self) -> Floats:
        """Mean fidelity over an authority's workers once mature, (replicate, authority).

        Both axes 1 where it is the same everywhere. Read off a table of 4,001 places on the
        readiness scale, whose error is below 1e-6.
        """
        fidelity = self.settings.fidelity
        scale = fidelity.scale
        if scale is None or scale.authority == 0:
            return np.full((1, 1), fidelity.mean)
        return np.interp(self.readiness, *_fidelity_table(scale))

    @cached_property
    def _state(self) -> Floats:
        """A uniform number that decides what an authority does without a study, (replicate, authority)."""
        return self._uniform("informal")

    @cached_property
    def informal_fidelity(self) -> Floats:
        """Fidelity of informal use outside a study, (replicate, authority).

        0 where there is none, and both axes 1 where nobody uses the framework informally.
        """
        informal = self.settings.informal
        if informal is None:
            return np.zeros((1, 1))
        return np.where(self._state < informal.share, informal.fidelity, 0.0)

    @cached_property
    def uses_informally(self) -> Bools:
        """Whether an authority uses the framework where no study put it, (replicate, authority)."""
        informal = self.settings.informal
        return np.zeros((1, 1), dtype=np.bool_) if informal is None else self._state < informal.share

    @cached_property
    def has_rival(self) -> Bools:
        """Whether an authority has a rival framework where no study came, (replicate, authority).

        Those that stand highest in the number that decides informal use, so that the two exclude each other.
        """
        rival = self.settings.rival
        return np.zeros((1, 1), dtype=np.bool_) if rival is None else self._state >= 1 - rival.share

    @cached_property
    def rival_fidelity(self) -> Floats:
        """Fidelity to the rival of every authority, were it to have one: (replicate, authority)."""
        rival = self.settings.rival
        if rival is None:
            return np.zeros((1, 1))
        scale = fidelity_scale(rival.mean, rival.authority_sd, 0.0)
        if scale is None:
            return np.full((1, 1), rival.mean)
        fidelity: Floats = special.expit(scale.centre + scale.authority * self._normal("rival"))
        return fidelity

    @cached_property
    def effect_multiple(self) -> Floats:
        """An authority's effect at full fidelity as a multiple of the mean one, (replicate, authority)."""
        if self.settings.effect_sd == 0:
            return np.ones((1, 1))
        multiple: Floats = 1 + self.settings.effect_sd * self._normal("effect")
        return multiple

    def record(self, name: str) -> Record:
        """What every authority has on record of an outcome, without any framework.

        Its expected values have an occasion axis for every occasion. A binary outcome's cells carry their
        sum of squares; a continuous one's is drawn where an answer asks for it.
        """
        if name not in self._records:
            outcome, time = self._recorded(name), self.settings.time
            years = np.arange(time.occasions) - time.start
            rng = self.streams.rng("record_noise", name)
            record = outcome.record(self.families_on_record(name), self.deviation(name), years, rng)
            shape = (*record.expected.shape[:2], time.occasions)
            self._records[name] = Record(record.cells, np.broadcast_to(record.expected, shape))
        return self._records[name]

    def families_on_record(self, name: str) -> Floats:
        """Families in a recorded outcome's denominator each year, (authority,)."""
        return families_on_record(self._recorded(name).per_10000_children, self.children)

    def _recorded(self, name: str) -> RecordedOutcome:
        outcome = self.outcomes[name]
        if outcome.source != "record":
            raise ValueError(f"{name} is not recorded: its source is {outcome.source}")
        return cast(RecordedOutcome, outcome)

    def deviation(self, name: str) -> Floats:
        """An outcome's authority deviation, mean 0 and SD 1, (replicate, authority, occasion).

        Of a share correlation^2 of its variance quality's memory, of the rest its own.
        Occasion axis 1 where authorities never change.
        """
        if name not in self._deviations:
            correlation = self.outcomes[name].quality_correlation
            own = self._process("record", name, self.outcomes[name].memory)
            if correlation:
                own = correlation * self.quality + np.sqrt(1 - correlation**2) * own
            self._deviations[name] = self._with_slope_and_shock(name, own)
        return self._deviations[name]

    def _with_slope_and_shock(self, name: str, deviation: Floats) -> Floats:
        """Deviations with the authorities' own trends, and with how a shock hits each of them."""
        outcome, time = self.outcomes[name], self.settings.time
        years = np.arange(time.occasions) - time.start
        shape = (self.n_replicates, self.n_authorities, 1)
        if outcome.slope_sd:
            slope = outcome.slope_sd * self.streams.rng("slope", name).standard_normal(shape)
            deviation = deviation + slope * years
        if outcome.shock and outcome.shock.authority_sd:
            hit = outcome.shock.authority_sd * self.streams.rng("shock", name).standard_normal(shape)
            deviation = deviation + hit * (years == outcome.shock.year)
        return deviation

    def members(self, component: str, n: int, name: str = "") -> Floats:
        """Standard normals of the first n teams or workers of every authority, (replicate, authority, n).

        Drawn member by member, so that a study that asks for more of them moves no other's.
        """
        key = (component, name)
        if key not in self._members or self._members[key][0] < n:
            rng = self.streams.rng(component, name)
            drawn = rng.standard_normal((n, self.n_replicates, self.n_authorities))
            self._members[key] = (n, np.moveaxis(drawn, 0, 2))
        return self._members[key][1][:, :, :n]

    @property
    def _last_before(self) -> int:
        return max(self.settings.time.start - 1, 0)

    def _reasons(self, adoption: Adoption) -> list[tuple[float, Callable[[], Floats]]]:
        """The weights of adoption's reasons, and how each is had: (replicate, authority), standardised."""
        last, outcome = self._last_before, str(adoption.bad_year_outcome)
        return [
            (adoption.quality_weight, lambda: _at(self.quality, last)),
            (adoption.bad_year_weight, lambda: self._badness(outcome, last)),
            (
                adoption.worsening_weight,
                lambda: self._badness(outcome, last) - self._badness(outcome, last - 1),
            ),
            (adoption.deprivation_weight, lambda: self.deprivation),
            (adoption.requires_improvement_weight, self._requires_improvement),
        ]

    def _requires_improvement(self) -> Floats:
        """Whether the rating requires improvement, standardised by its stated share."""
        share = self.settings.rating.requires_improvement
        which: Floats = ((self.rating == 1) - share) / np.sqrt(share * (1 - share))
        return which

    def _badness(self, name: str, occasion: int) -> Floats:
        """How bad an outcome's recorded year was, in standard deviations between authorities."""
        outcome = self.outcomes[name]
        recorded = self.record(name).cells.mean[:, :, occasion]
        centred = recorded - national_mean(outcome, occasion - self.settings.time.start)
        worse = 1.0 if outcome.better == "lower" else -1.0
        spread = outcome.authority_sd or float(centred.std()) or 1.0
        badness: Floats = worse * centred / spread
        return badness

    def _mixed(self, component: str, correlation: float, occasion: int) -> Floats:
        """Normals with a stated correlation with the quality of one occasion, (replicate, authority)."""
        own = self._normal(component)
        if correlation == 0:
            return own
        mixed: Floats = correlation * _at(self.quality, occasion) + np.sqrt(1 - correlation**2) * own
        return mixed

    def _normal(self, component: str) -> Floats:
        return self.streams.rng(component).standard_normal((self.n_replicates, self.n_authorities))

    def _uniform(self, component: str) -> Floats:
        return self.streams.rng(component).random((self.n_replicates, self.n_authorities))

    def _process(self, component: str, name: str = "", memory: Memory | None = None) -> Floats:
        """Deviations with the world's memory or another, (replicate, authority, occasion or 1)."""
        root = memory_root(memory or self.settings.quality, self.settings.time.occasions)
        shape = (self.n_replicates, self.n_authorities, root.shape[0])
        normals = self.streams.rng(component, name).standard_normal(shape)
        if root.size == 1:
            return normals
        process: Floats = normals @ root
        return process


def _at(process: Floats, occasion: int) -> Floats:
    """A process at one occasion, whether it changes or not."""
    return process[:, :, min(occasion, process.shape[2] - 1)]


def draw_world(
    settings: WorldSettings, outcomes: Mapping[str, Outcome], n_replicates: int, streams: Streams
) -> World:
    """A block of worlds, each array of which is drawn when it is first asked for."""
    return World(settings, outcomes, n_replicates, streams)


def enrolled(values: Floats | Bools | Ints, unit: Ints) -> Floats:
    """Values of the authorities that stand in a study's slots: (replicate, slot, ...).

    Parameters
    ----------
    values : array, (replicate or 1, authority, ...)
        Values by authority of the world.
    unit : int array, (replicate, slot)
        The authority in each slot.

    Returns
    -------
    array, (replicate, slot, ...)
        Both axes 1 where the values are the same for every authority and replicate.
    """
    if values.shape[:2] == (1, 1):
        return np.asarray(values)
    if values.shape[0] == 1:
        return np.asarray(values[0][unit])
    n_replicates, n_authorities, *rest = values.shape
    if np.prod(rest) == 1:
        return np.take_along_axis(np.asarray(values), unit.reshape(*unit.shape, *rest), axis=1)
    row = unit + np.arange(n_replicates)[:, np.newaxis] * n_authorities
    return np.asarray(values.reshape(n_replicates * n_authorities, *rest).take(row, axis=0))
