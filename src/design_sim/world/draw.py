"""Draw the world: its authorities' quality, readiness, ratings and records, its workers' competence.

Every array is drawn when it is first asked for, each from a stream of its own, so that a mechanism
that nothing uses draws nothing, and the order of asking changes no number.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import cast

import numpy as np
from scipy import special

from design_sim.arrays import Bools, Floats, Ints
from design_sim.cells import Cells
from design_sim.stated import Group
from design_sim.streams import Streams
from design_sim.world.deviations import draw_deviations
from design_sim.world.events import Events
from design_sim.world.logit_normal import FidelityScale, fidelity_scale, mean_over_workers
from design_sim.world.memory import memory_root
from design_sim.world.outcome import Deviations, Outcome, RecordedOutcome, families_on_record
from design_sim.world.selection import adoption_order
from design_sim.world.settings import Memory, Size, WorldSettings


def children_of(size: Size, authorities: int) -> Floats:
    """Children in each authority, smallest first: quantiles of the cut-off lognormal, (authority,).

    The roster is the same in every replicate and for every seed; quantiles at (i - 1/2) / n give it the
    stated shape without chance.
    """
    low, high = size.cut_shares
    at = low + (high - low) * (np.arange(authorities) + 0.5) / authorities
    children: Floats = np.exp(size.log_mean + size.log_sd * special.ndtri(at))
    return children.clip(size.smallest, size.largest)


def teams_of(settings: WorldSettings) -> Ints:
    """Whole teams of each authority, at least one, (authority,)."""
    workers, children = settings.workers, children_of(settings.size, settings.authorities)
    teams = children * workers.per_10000_children / 10_000 / workers.per_team
    return np.maximum(teams.astype(np.int64), 1)


@cache
def _fidelity_table(scale: FidelityScale) -> tuple[Floats, Floats]:
    """Mean fidelity of an authority's workers at 4,001 places of readiness."""
    places = np.linspace(-8.0, 8.0, 4_001)
    return places, mean_over_workers(scale.centre + scale.authority * places, scale.within)


@dataclass(frozen=True, slots=True)
class Part:
    """A group of families within a world.

    Parameters
    ----------
    whole : World
        The world of all families.
    group : {"subgroup", "others"}
        Which one.
    effect : float
        Its effect at full fidelity, as a multiple of the stated one.
    """

    whole: "World"
    group: Group
    effect: float


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
    part : Part, optional
        The group of families that it is about, where that is not all of them; see `of_group`.
    """

    def __init__(
        self,
        settings: WorldSettings,
        outcomes: Mapping[str, Outcome],
        n_replicates: int,
        streams: Streams,
        part: "Part | None" = None,
    ) -> None:
        self.settings = settings
        self.outcomes = outcomes
        self.n_replicates = n_replicates
        self.streams = streams
        self.part = part
        self._groups: dict[Group, World] = {}
        self._records: dict[str, Cells] = {}
        self._expected: dict[str, Floats] = {}
        self._deviations: dict[str, Deviations] = {}
        self._members: dict[tuple[str, str], tuple[int, Floats]] = {}
        self._kept: dict[tuple[str, float], Floats] = {}

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
        return teams_of(self.settings)

    @cached_property
    def quality(self) -> Floats:
        """Organisational quality, mean 0 and SD 1, (replicate, authority, occasion or 1)."""
        whole, lead = self._quality_with_lead, self.settings.time.per_year * self.lead_years
        return whole[:, :, lead:] if whole.shape[2] > 1 and lead else whole

    @property
    def lead_years(self) -> int:
        """Years before those on record that the last inspection before the start may have been in."""
        inspections, time = self.settings.inspections, self.settings.time
        return max((inspections.every_years if inspections else 1) - time.years_before, 0)

    @cached_property
    def _quality_with_lead(self) -> Floats:
        return self.process("quality", lead_years=self.lead_years)

    @cached_property
    def quality_of_years(self) -> Floats:
        """Mean quality of every year from `lead_years` before the first on record, (..., year or 1)."""
        per_year, whole = self.settings.time.per_year, self._quality_with_lead
        if per_year == 1 or whole.shape[2] == 1:
            return whole
        years: Floats = whole.reshape(*whole.shape[:2], -1, per_year).mean(axis=3)
        return years

    def quality_in(self, year: Ints | int) -> Floats:
        """Mean quality of a year, numbered from 0, the first on record: (replicate, authority).

        Parameters
        ----------
        year : int, or int array (replicate, authority)
            The same for all, or each authority's own; down to -`lead_years`, and taken as the last on record
            where it is later.
        """
        years = self.quality_of_years
        at = np.clip(np.asarray(year) + self.lead_years, 0, years.shape[2] - 1)
        if at.size == 1:
            return years[:, :, int(at.item())]
        taken: Floats = np.take_along_axis(years, at[:, :, np.newaxis], axis=2)[:, :, 0]
        return taken

    @cached_property
    def deprivation(self) -> Floats:
        """Deprivation, a covariate that everybody sees, mean 0 and SD 1, (replicate, authority)."""
        return self.normal("deprivation")

    @cached_property
    def readiness(self) -> Floats:
        """Readiness for the framework, mean 0 and SD 1, (replicate, authority)."""
        first_after = self.settings.time.years_before
        return self._mixed("readiness", self.settings.fidelity.quality_correlation, first_after)

    @cached_property
    def reputation(self) -> Floats:
        """What people say of an authority's practice, mean 0 and SD 1, (replicate, authority)."""
        correlation = self.settings.reputation_correlation
        noise = self.normal("reputation")
        reputation: Floats = correlation * self.readiness + np.sqrt(1 - correlation**2) * noise
        return reputation

    @cached_property
    def events(self) -> Events:
        """What happens to the authorities, year by year: ratings, judgements, departures."""
        return Events(self)

    @cached_property
    def adoption_order(self) -> Ints:
        """The authorities from the most to the least likely to adopt, (replicate, authority)."""
        return self.part.whole.adoption_order if self.part else adoption_order(self)

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
        return self.uniform("informal")

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
        fidelity: Floats = special.expit(scale.centre + scale.authority * self.normal("rival"))
        return fidelity

    @cached_property
    def effect_multiple(self) -> Floats:
        """An authority's effect at full fidelity as a multiple of the mean one, (replicate, authority)."""
        of_group = np.full((1, 1), self.part.effect if self.part else 1.0)
        if self.settings.effect_sd == 0:
            return of_group
        multiple: Floats = of_group * (1 + self.settings.effect_sd * self.normal("effect"))
        return multiple

    def of_group(self, group: Group) -> "World":
        """The same world as the families of one group have it: their workers' fidelity, effect and records.

        Itself for all families, or where there is no subgroup.
        """
        subgroup, fidelity = self.settings.subgroup, self.settings.fidelity
        if subgroup is None or group == "all":
            return self
        if group not in self._groups:
            part = Part(self, group, 1.0)
            if group == "subgroup":
                fidelity = fidelity.model_copy(update={"mean": subgroup.mean})
                part = Part(self, group, subgroup.effect)
            settings = self.settings.model_copy(update={"fidelity": fidelity, "subgroup": None})
            self._groups[group] = World(settings, self.outcomes, self.n_replicates, self.streams, part)
        return self._groups[group]

    def record(self, name: str) -> Cells:
        """What every authority has on record of an outcome, without any framework.

        A binary outcome's cells carry their sum of squares; a continuous one's is drawn where an answer asks
        for it.
        """
        if self.part:
            return self._recorded_of_part(name, self.part)
        if name not in self._records:
            outcome, time = self._recorded(name), self.settings.time
            n = families_on_record(outcome.per_10000_children, self.children, time.per_year)
            n_all = np.broadcast_to(n[:, np.newaxis], (1, n.size, time.occasions))
            expected = self.expected(name)
            rng = self.streams.rng("record_noise", name)
            self._records[name] = outcome.record(n_all, expected, rng)
        return self._records[name]

    def expected(self, name: str) -> Floats:
        """Expected outcome of every authority without any framework, (replicate, authority, occasion)."""
        if name not in self._expected:
            expected = self.outcomes[name].expected(self.deviations(name))
            shape = (*expected.shape[:2], self.settings.time.occasions)
            self._expected[name] = np.broadcast_to(expected, shape)
        return self._expected[name]

    def deviations(self, name: str) -> Deviations:
        """How far authorities stand from the national mean of an outcome, at every occasion."""
        if name not in self._deviations:
            self._deviations[name] = draw_deviations(self, name)
        return self._deviations[name]

    def _recorded_of_part(self, name: str, part: "Part") -> Cells:
        """A group's share of what is on record, the subgroup's drawn and the others' what is left."""
        whole, subgroup = part.whole.record(name), part.whole.settings.subgroup
        n = np.clip(np.rint(whole.n * (subgroup.share if subgroup else 1.0)), 1, np.maximum(whole.n - 1, 1))
        rng = self.streams.rng("subgroup_record", name)
        of_subgroup = self._recorded(name).part(whole, n, self.expected(name), rng)
        return of_subgroup if part.group == "subgroup" else whole.less(of_subgroup)

    def _recorded(self, name: str) -> RecordedOutcome:
        outcome = self.outcomes[name]
        if outcome.source != "record":
            raise ValueError(f"{name} is not recorded: its source is {outcome.source}")
        return cast(RecordedOutcome, outcome)

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

    def kept(self, name: str, at: float, draw: Callable[[], Floats]) -> Floats:
        """An array that belongs to a name and a time, drawn when it is first asked for."""
        if (name, at) not in self._kept:
            self._kept[name, at] = draw()
        return self._kept[name, at]

    def _mixed(self, component: str, correlation: float, year: int) -> Floats:
        """Normals with a stated correlation with the quality of one year, (replicate, authority)."""
        own = self.normal(component)
        if correlation == 0:
            return own
        mixed: Floats = correlation * self.quality_in(year) + np.sqrt(1 - correlation**2) * own
        return mixed

    def normal(self, component: str) -> Floats:
        """Standard normals from the stream of a component, (replicate, authority)."""
        return self.streams.rng(component).standard_normal((self.n_replicates, self.n_authorities))

    def uniform(self, component: str) -> Floats:
        """Uniform numbers from the stream of a component, (replicate, authority)."""
        return self.streams.rng(component).random((self.n_replicates, self.n_authorities))

    def process(
        self, component: str, name: str = "", memory: Memory | None = None, lead_years: int = 0
    ) -> Floats:
        """Deviations with the world's memory or another, (replicate, authority, occasion or 1).

        Its first occasions are those of so many years before the years on record.
        """
        time = self.settings.time
        occasions = time.occasions + lead_years * time.per_year
        root = memory_root(memory or self.settings.quality, occasions, time.per_year)
        shape = (self.n_replicates, self.n_authorities, root.shape[0])
        normals = self.streams.rng(component, name).standard_normal(shape)
        if root.size == 1:
            return normals
        process: Floats = normals @ root
        return process


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
