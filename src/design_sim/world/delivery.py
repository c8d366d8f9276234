"""Delivery: the allocation meets fidelity, uptake and informal use, and outcomes follow.

A family that takes part receives the dose that its worker practises, and one that does not none; families
of an authority outside treatment take part in what it has of its own in the same share.
Rows are as deep as exposure or risk varies: authorities for a recorded outcome, whose exposure is the
mean over all its workers; the sampled workers for a surveyed one, or authorities where workers do not
differ and nothing else tells them apart; single families at resolution `unit`. Where families are
randomised, a cell holds those of a worker and an arm. Each kind of outcome knows how it is delivered.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from design_sim.allocation import NEVER, Allocation, two_arms
from design_sim.arrays import Batch, Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import Stated
from design_sim.world.average_twin import centred_dose
from design_sim.world.draw import World
from design_sim.world.families import treated_families
from design_sim.world.outcome import takers_of
from design_sim.world.practice import delivered_dose, practised_at, worker_dose
from design_sim.world.spillover import reaches_colleagues

Resolution = Literal["cell", "unit"]
LARGEST = 2**27
"""Numbers that one array of a block may hold; a scenario that asks for more is refused with its size."""


class Sample(Stated):
    """Whom a survey collects outcomes from in each enrolled authority.

    An authority with fewer teams than asked for gives those that it has.
    """

    teams: Annotated[int, Field(ge=1, le=1_000)]
    """Teams in an authority."""
    workers: Annotated[int, Field(ge=1, le=100)]
    """Workers in a team."""
    families: Annotated[int, Field(ge=1, le=100_000)]
    """Families of a worker."""
    cohort: bool = False
    """Whether the same families are observed at every occasion (a closed cohort), or others at each. How far
    a family stays as it is, is `family_autocorrelation` of the outcome; whoever takes part does so
    throughout, and whoever is lost stays lost."""


@dataclass(frozen=True, slots=True)
class Delivery(Batch):
    """What happened in the enrolled authorities, with the framework and in the null twin.

    Parameters
    ----------
    roster : Roster
        The study's rows.
    occasions : int array, (occasion,)
        The world's occasions that were observed.
    exposure : float array, (replicate, row, occasion)
        Mean dose that the families of a row received, those who do not take part included.
    stated, null : Cells
        The outcome with the stated effect, and with every framework's effect zero.
    covariate : float array or None, (replicate, row)
        The covariate of single families, where an answer asks for it.
    uptake : float array or None, (replicate, row, occasion)
        Share of a row's families that took part in the framework that the study put there; where an answer
        asks for it.
    start : int array or None, (replicate, row)
        First treated occasion of every row as assigned, where families are.
    """

    roster: Roster
    occasions: Annotated[Ints, "occasion"]
    exposure: Annotated[Floats, "replicate row occasion"]
    stated: Cells
    null: Cells
    covariate: Annotated[Floats, "replicate row"] | None = None
    uptake: Annotated[Floats, "replicate row occasion"] | None = None
    start: Annotated[Ints, "replicate row"] | None = None


@dataclass(frozen=True, slots=True)
class Fieldwork:
    """One study going out into the world: who is enrolled, what is collected, and how finely.

    Parameters
    ----------
    world : World
        The drawn world.
    allocation : Allocation
        The study's authorities, and when they are treated.
    outcome : str
        Name of the outcome.
    occasions : int array, (occasion,)
        The occasions to observe.
    sample : Sample or None
        Whom to survey; None for a recorded outcome.
    resolution : {"cell", "unit"}
        Whether exchangeable families are drawn as a cell or one by one.
    spread : bool
        Whether an answer reads the sum of squares within cells, which is drawn only then.
    reached : float array or None, (replicate or 1, slot, occasion)
        Chance of a sampled family to be seen; None where everybody is.
    centred : bool
        Whether the framework's effect is that of the average null twin.
    covariate : bool
        Whether an answer reads the covariate of families, which is drawn only then, and families singly.
    workers : bool
        Whether an answer tells teams or workers apart, also where they do not differ.
    uptake : bool
        Whether an answer reads which families take part.
    contamination : float
        Share of the gain of the treated that reaches comparison workers or families by the study itself.
    """

    world: World
    allocation: Allocation
    outcome: str
    occasions: Ints
    sample: Sample | None = None
    resolution: Resolution = "cell"
    spread: bool = False
    reached: Floats | None = None
    centred: bool = False
    covariate: bool = False
    workers: bool = False
    uptake: bool = False
    contamination: float = 0.0

    @property
    def unit(self) -> Ints:
        """The authority in each slot, (replicate, slot)."""
        return self.allocation.unit

    @property
    def singly(self) -> bool:
        """Whether families are drawn one by one."""
        needed = self.covariate or self.followed or self.world.outcomes[self.outcome].drawn_singly
        return self.resolution == "unit" or needed

    @property
    def followed(self) -> bool:
        """Whether the same families are observed at every occasion."""
        return self.sample is not None and self.sample.cohort

    @property
    def turns(self) -> int:
        """Rows that the families of different occasions need in one family's place.

        A row has one covariate, so that other families need rows of their own to have theirs.
        """
        return self.occasions.size if self.covariate and not self.followed else 1

    @property
    def sampled(self) -> Sample:
        """The sample of a surveyed outcome.

        Raises
        ------
        ValueError
            If the study has none.
        """
        if self.sample is None:
            raise ValueError(f"{self.outcome} is surveyed and needs a sample")
        return self.sample

    @property
    def dose(self) -> Floats:
        """Dose in each authority, the mean over its workers: (replicate, slot, occasion).

        Raises
        ------
        ValueError
            If its workers are not all treated alike.
        """
        if self.allocation.assigned != "authority":
            raise ValueError(f"{self.outcome}: treatment differs within authorities")
        return self._dose(lambda start: delivered_dose(self.world, self.unit, start, self.occasions))

    def dose_of(self, workers: Ints) -> Floats:
        """Dose of the families of sampled workers: (replicate, slot x worker, occasion)."""

        def by_start(start: Ints) -> Floats:
            return worker_dose(self.world, self.unit, start, self.occasions, workers)

        dose = self._dose(by_start)
        if not self.contamination or self.allocation.assigned != "worker":
            return dose
        never = np.full_like(self.allocation.start, NEVER)
        usual = np.zeros((1, 1, 1)) if self.centred else by_start(never)
        treated, per_team = self.allocation.start < NEVER, self.sampled.workers
        return reaches_colleagues(dose, usual, treated, per_team, self.contamination)

    def doses_of_arms(self, workers: Ints) -> tuple[Floats, Floats]:
        """Dose of the families of sampled workers that are assigned to start, and of the others.

        (replicate, slot x worker, occasion) each.
        """
        never = np.full((1, self.unit.shape[1]), NEVER)

        def by_start(start: Ints) -> Floats:
            return worker_dose(self.world, self.unit, start, self.occasions, workers)

        first = int(self.allocation.start.min())
        everybody = two_arms(self.unit, self.unit.shape[1], first, randomised=True)
        offered = self._dose(by_start, everybody)
        usual = np.zeros((1, 1, 1)) if self.centred else by_start(never)
        return offered, usual + self.contamination * (offered - usual)

    def _dose(self, by_start: Callable[[Ints], Floats], allocation: Allocation | None = None) -> Floats:
        allocation = allocation or self.allocation
        if not self.centred:
            return by_start(allocation.start)
        return centred_dose(self.world, allocation, self.outcome, self.occasions, by_start)


def uptake_of(work: Fieldwork, n: Floats, shape: tuple[int, ...]) -> Floats | None:
    """Share of each row's families that would take part, (replicate, row, occasion).

    None where no answer asks.
    """
    uptake = work.world.settings.uptake
    if not work.uptake:
        return None
    if uptake == 1:
        return np.ones((1, *shape[1:]))
    share: Floats = takers_of(n, uptake, work.world.streams, work.outcome, shape) / np.maximum(n, 1.0)
    return share


def deliver(fieldwork: Fieldwork) -> Delivery:
    """Let a study's authorities practise, and give the outcome with the framework and without its effect.

    Notes
    -----
    Uptake is of what the study put there: no family takes part in it before its start, in the comparison arm,
    or once an authority has left. What authorities have of their own is not counted.
    """
    work, world = fieldwork, fieldwork.world
    delivery = world.outcomes[work.outcome].deliver(work)
    treated = treated_families(work)
    start = None if treated is None else np.where(treated, work.allocation.start.min(), NEVER)
    uptake = delivery.uptake
    if uptake is not None:
        of_rows = start
        if of_rows is None:
            of_rows = delivery.roster.spread(work.allocation.start, work.allocation.assigned)
        uptake = uptake * practised_at(world, work.unit, of_rows, work.occasions)
    return replace(delivery, start=start, uptake=uptake)
