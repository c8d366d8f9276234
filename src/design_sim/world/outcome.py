"""What an outcome is: what a person states of it, how it comes about, and how a framework moves it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.random import Generator

from design_sim.arrays import Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.streams import Streams
from design_sim.world.settings import Memory, Shock, Time, WorldSettings

if TYPE_CHECKING:
    from design_sim.world.delivery import Delivery, Fieldwork, Sample
    from design_sim.world.draw import World

Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Record:
    """A recorded outcome of every authority and year, without any framework.

    Parameters
    ----------
    cells : Cells
        As recorded, chance included, (replicate, authority, occasion).
    expected : float array, (replicate, authority, occasion)
        The mean or risk behind it.
    """

    cells: Cells
    expected: Floats


class Outcome(Protocol):
    """A kind of outcome; a frozen settings model whose fields are its TOML keys."""

    @property
    def kind(self) -> str:
        """Its scale: continuous, binary."""
        ...

    @property
    def source(self) -> str:
        """Where it comes from: record, survey."""
        ...

    @property
    def effect(self) -> float:
        """Effect of the framework at fidelity 1 on a family that takes part."""
        ...

    @property
    def mean(self) -> float:
        """Mean without any framework, at the start."""
        ...

    @property
    def trend(self) -> float:
        """National change a year."""
        ...

    @property
    def authority_sd(self) -> float:
        """Standard deviation of a year's true mean between authorities."""
        ...

    @property
    def sd(self) -> float:
        """Standard deviation over all families in a year."""
        ...

    @property
    def quality_correlation(self) -> float:
        """Correlation of an authority's deviation with its quality in the same year."""
        ...

    @property
    def slope_sd(self) -> float:
        """Standard deviation of authorities' own changes a year, in standard deviations between them."""
        ...

    @property
    def shock(self) -> Shock | None:
        """A year that is different."""
        ...

    @property
    def memory(self) -> Memory | None:
        """How long an authority's own deviation lasts; None for the memory of the world's quality."""
        ...

    @property
    def better(self) -> Better:
        """The direction that is desired."""
        ...

    def effect_of(self, world: "World", name: str, at: Ints, dose: Floats, uptake: float) -> Floats:
        """Mean effect of a dose of the framework against none, for each authority.

        Parameters
        ----------
        at : int array, (occasion,)
            The occasions.
        dose : float array, (replicate, authority, occasion)
            Share of the full effect that a family that takes part receives; any axis may be 1.
        uptake : float
            Share of families that take part.
        """
        ...

    def deliver(self, fieldwork: "Fieldwork") -> "Delivery":
        """The outcome in a study's authorities, with the framework and without its effect."""
        ...

    def most_rows(self, world: WorldSettings, sample: "Sample | None", *, families: bool) -> int:
        """The most rows that an authority can have in a study, in cells or in single families."""
        ...

    def faults(self, time: Time) -> list[str]:
        """What does not go with the world's years, `key: reason` each."""
        ...


class RecordedOutcome(Outcome, Protocol):
    """An outcome on the authorities' own records, drawn in the world for every authority and year."""

    per_10000_children: float

    def record(self, n: Floats, deviation: Floats, years: Ints, rng: Generator) -> Record:
        """Draw what authorities have on record, without any framework.

        Parameters
        ----------
        n : float array, (authority,)
            Families on record in a year.
        deviation : float array, (replicate, authority, occasion)
            The authorities' standardised deviations; occasion axis 1 where they never change.
        years : int array, (occasion,)
            Years counted from the start.
        """
        ...


def national_mean(outcome: Outcome, years: Ints | int) -> Floats:
    """Mean over authorities, without any framework, in years counted from the start: trend and shock."""
    mean: Floats = outcome.mean + outcome.trend * np.asarray(years)
    if outcome.shock is not None:
        mean = mean + outcome.shock.change * (np.asarray(years) == outcome.shock.year)
    return mean


def families_on_record(per_10000_children: float, children: Floats) -> Floats:
    """Families on record in a year in each authority, whole and at least 1: (authority,)."""
    n: Floats = np.maximum(np.rint(children * per_10000_children / 10_000), 1.0)
    return n


def roster_of_families(n_slots: int, longest: int) -> Roster:
    """Rows for up to `longest` single families in every slot, workers not told apart."""
    index = np.arange(n_slots * longest)
    return Roster(index // longest, index // longest, index)


def practised_on(null: Cells, effect: Floats, uptake: float, streams: Streams, name: str) -> Cells:
    """The same families with an effect added to the outcome of each one that takes part.

    Parameters
    ----------
    null : Cells
        Normal outcomes without the effect.
    effect : float array, (replicate, row, occasion)
        Effect on a family that takes part.
    uptake : float
        Chance of a family to take part.
    streams : Streams
        For who takes part.
    name : str
        Name of the outcome.

    Notes
    -----
    Of n families K ~ Binomial(n, uptake) take part: the mean rises by effect x K / n. Normal deviations point
    in a uniform direction of n - 1 dimensions whatever their length, and takers against others are one such
    direction: with u its coordinate and m = K (n - K) / n, the sum of squares rises by
    2 effect u sqrt(m ss) + effect^2 m. Exact, and independent of n in cost.
    """
    if not effect.any():
        return null
    if uptake == 1:
        return Cells(null.n, null.mean + effect, null.ss)
    n = null.n
    takers = streams.rng("uptake", name).binomial(n.astype(np.int64), uptake, null.mean.shape)
    seen = np.maximum(n, 1.0)
    mean = null.mean + effect * (takers / seen)
    if null.ss is None or (n <= 1).all():
        return Cells(n, mean, null.ss)
    rng = streams.rng("uptake_spread", name)
    along = rng.standard_normal(mean.shape)
    across = 2 * rng.standard_gamma(np.broadcast_to(np.maximum(n - 2, 0) / 2, mean.shape))
    coordinate = along / np.sqrt(along**2 + across)
    contrast = takers * (n - takers) / seen
    ss = null.ss + 2 * effect * coordinate * np.sqrt(contrast * null.ss) + effect**2 * contrast
    return Cells(n, mean, np.maximum(ss, 0.0))
