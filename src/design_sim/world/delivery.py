"""Delivery: the allocation meets fidelity, uptake and informal use, and outcomes follow.

A family that takes part receives the dose that its worker practises, and one that does not none; families
of an authority outside treatment take part in what it has of its own in the same share.
Rows are as deep as exposure or risk varies: authorities for a recorded outcome, whose exposure is the
mean over all its workers; the sampled workers for a surveyed one, or authorities where workers do not
differ; single families at resolution `unit`. Each kind of outcome knows how it is delivered.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from design_sim.allocation import Allocation
from design_sim.arrays import Batch, Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import Stated
from design_sim.world.average_twin import centred_dose
from design_sim.world.draw import World
from design_sim.world.practice import delivered_dose, worker_dose

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
    """

    roster: Roster
    occasions: Annotated[Ints, "occasion"]
    exposure: Annotated[Floats, "replicate row occasion"]
    stated: Cells
    null: Cells
    covariate: Annotated[Floats, "replicate row"] | None = None


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

    @property
    def unit(self) -> Ints:
        """The authority in each slot, (replicate, slot)."""
        return self.allocation.unit

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
        """Dose in each authority, the mean over its workers: (replicate, slot, occasion)."""
        return self._dose(lambda start: delivered_dose(self.world, self.unit, start, self.occasions))

    def dose_of(self, workers: Ints) -> Floats:
        """Dose of the families of sampled workers: (replicate, slot x worker, occasion)."""
        return self._dose(lambda start: worker_dose(self.world, self.unit, start, self.occasions, workers))

    def _dose(self, by_start: Callable[[Ints], Floats]) -> Floats:
        if not self.centred:
            return by_start(self.allocation.start)
        return centred_dose(self.world, self.allocation, self.outcome, self.occasions, by_start)


def deliver(fieldwork: Fieldwork) -> Delivery:
    """Let a study's authorities practise, and give the outcome with the framework and without its effect."""
    return fieldwork.world.outcomes[fieldwork.outcome].deliver(fieldwork)
