"""What an outcome is: what a person states of it, how it comes about, and how a framework moves it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import Correlation, Stated
from design_sim.streams import Streams
from design_sim.world.settings import Memory, Shock, WorldSettings

if TYPE_CHECKING:
    from design_sim.world.delivery import Delivery, Fieldwork, Sample
    from design_sim.world.draw import World

Better = Literal["lower", "higher"]


class OverTime(Stated):
    """What every kind of outcome states of its authorities and of time."""

    quality_correlation: Correlation = 0.0
    """Correlation of an authority's deviation (of a risk, on the logit scale) with its quality in the same
    year."""
    deprivation_correlation: Correlation = 0.0
    """Correlation of an authority's deviation with its deprivation, which never changes."""
    correlations: Mapping[str, Correlation] = {}
    """Correlation of the authorities' deviations with those of other outcomes in the same year, by the name
    of the other; each pair is stated once."""
    memory: Memory | None = None
    """Memory of the authorities' own deviations; that of the world's quality if not given."""
    slope_sd: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation between authorities of a change a year of their own, counted from the start, in
    standard deviations between authorities (assumption)."""
    shock: Shock | None = None
    """A year that is different."""

    @property
    def has_siblings(self) -> bool:
        """Whether a family may be several children, and so more than one observation."""
        return False

    @property
    def has_covariate(self) -> bool:
        """Whether a covariate of the families is stated."""
        return False

    @model_validator(mode="after")
    def _something_is_their_own(self) -> Self:
        explained = self.quality_correlation**2 + self.deprivation_correlation**2
        if explained > 1:
            raise ValueError(
                f"quality_correlation and deprivation_correlation explain {explained:.3g} of the variance; "
                "the sum of their squares can be 1 at most"
            )
        return self

    def __hash__(self) -> int:
        stated = {**self.__dict__, "correlations": tuple(self.correlations.items())}
        return hash((type(self), *stated.values()))


@dataclass(frozen=True, slots=True)
class Deviations(Batch):
    """How far authorities stand from the national mean of an outcome, and when.

    Parameters
    ----------
    deviation : float array, (replicate, authority, occasion)
        In standard deviations between the true annual means of authorities; occasion axis 1 where authorities
        never change.
    years : float array, (occasion,)
        Middle of every occasion, in years from the middle of the first year after the start.
    occasion_sd : float
        Standard deviation of an occasion's deviation: 1 for yearly occasions, more for shorter ones.
    """

    deviation: Annotated[Floats, "replicate authority occasion"]
    years: Annotated[Floats, "occasion"]
    occasion_sd: float = 1.0

    def at(self, occasions: Ints) -> "Deviations":
        """Those of some occasions."""
        changes = self.deviation.shape[2] > 1
        return Deviations(
            self.deviation[:, :, occasions] if changes else self.deviation,
            self.years[occasions],
            self.occasion_sd,
        )


class Outcome(Protocol):
    """A kind of outcome; a frozen settings model whose fields are its TOML keys."""

    @property
    def kind(self) -> str:
        """Its scale: continuous, binary, count, duration."""
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
    def deprivation_correlation(self) -> float:
        """Correlation of an authority's deviation with its deprivation."""
        ...

    @property
    def correlations(self) -> Mapping[str, float]:
        """Correlations of the authorities' deviations with those of other outcomes, by name."""
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
    def curved(self) -> bool:
        """Whether the mean effect depends on how workers differ in dose, and not on their mean alone."""
        ...

    @property
    def drawn_singly(self) -> bool:
        """Whether families are drawn one by one even where cells would do for the answers."""
        ...

    @property
    def has_siblings(self) -> bool:
        """Whether a family may be several children, and so more than one observation."""
        ...

    @property
    def has_covariate(self) -> bool:
        """Whether a covariate of the families is stated."""
        ...

    @property
    def better(self) -> Better:
        """The direction that is desired."""
        ...

    def expected(self, deviations: Deviations) -> Floats:
        """Expected outcome of the authorities without any framework, (replicate, authority, occasion).

        On the outcome's own scale: a mean, a risk, a rate.
        """
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

    def faults(self, world: WorldSettings) -> list[str]:
        """What does not go with the world's years, `key: reason` each."""
        ...


class RecordedOutcome(Outcome, Protocol):
    """An outcome on the authorities' own records, drawn in the world for every authority and year."""

    per_10000_children: float

    def record(self, n: Floats, expected: Floats, rng: Generator) -> Cells:
        """Draw what authorities have on record, without any framework.

        Parameters
        ----------
        n : float array, (1, authority, occasion)
            Families on record at an occasion.
        expected : float array, (replicate, authority, occasion)
            The mean, risk or rate behind it.
        """
        ...

    def part(self, cells: Cells, n: Floats, expected: Floats, rng: Generator) -> Cells:
        """Draw what some of the families on record, chosen by chance, have of it.

        Parameters
        ----------
        cells : Cells
            What is on record, (replicate, authority, occasion).
        n : float array, (1, authority, occasion)
            How many of the families.
        expected : float array, (replicate, authority, occasion)
            The mean, risk or rate behind it.
        """
        ...


def national_mean(outcome: Outcome, years: Floats | float) -> Floats:
    """Mean over authorities, without any framework: trend and shock.

    Parameters
    ----------
    years : float array or float
        In years from the middle of the first year after the start.
    """
    years = np.asarray(years, dtype=np.float64)
    mean: Floats = outcome.mean + outcome.trend * years
    if outcome.shock is not None:
        mean = mean + outcome.shock.change * in_shock(outcome.shock, years)
    return mean


def in_shock(shock: Shock, years: Floats) -> Bools:
    """Whether times belong to the year that is different."""
    during: Bools = np.floor(years + 0.5) == shock.year
    return during


def families_on_record(per_10000_children: float, children: Floats, per_year: int = 1) -> Floats:
    """Families on record at an occasion in each authority, whole and at least 1: (authority,)."""
    n: Floats = np.maximum(np.rint(children * per_10000_children / 10_000 / per_year), 1.0)
    return n


def roster_of_families(n_slots: int, longest: int) -> Roster:
    """Rows for up to `longest` single families in every slot, workers not told apart."""
    index = np.arange(n_slots * longest)
    return Roster(index // longest, index // longest, index)


def takers_of(n: Floats, uptake: float, streams: Streams, name: str, shape: tuple[int, ...]) -> Ints:
    """How many of the families of each row would take part: the same in a study and in its twins."""
    takers: Ints = streams.rng("uptake", name).binomial(n.astype(np.int64), uptake, shape)
    return takers


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
    takers = takers_of(n, uptake, streams, name, null.mean.shape)
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
