"""Counts: events among exchangeable units, what the counts on record and in surveys have in common.

Given the rate, the events of a cell are Poisson, or negative binomial with a variance proportional to the
mean (NB1), which is the sum of so many units' own: units are then independent and alike, and so are those
who take part and those who do not.

Decision: an overdispersed count is moved so that it stays one of the same overdispersion. What is left of a
count of shape a once its mean is a share q of it is a beta-binomial part of it, with q's beta of
shapes a q and a (1 - q): the sum of two independent counts of shapes a q and a (1 - q) is one of shape a,
and given their sum the first is such a part. Events that come together, as siblings do, stay away together.
Thinning each event by itself would make the count less overdispersed.
"""

from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from numpy.random import Generator
from scipy import special

from design_sim.arrays import Batch, Floats
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, uptake_of
from design_sim.world.occupancy import squared_counts
from design_sim.world.outcome import Outcome
from design_sim.world.proportional import practice_factor
from design_sim.world.shares import TINY, share_of_takers


class CountOutcome(Outcome, Protocol):
    """An outcome of counted events."""

    @property
    def per(self) -> float:
        """The units that the rate is stated for."""
        ...

    @property
    def overdispersion(self) -> float:
        """Variance of a count over its mean, given the rate."""
        ...


@dataclass(frozen=True, slots=True)
class Counted(Batch):
    """The events of a study's rows without any framework.

    Parameters
    ----------
    roster : Roster
        What the rows are.
    n : float array, (replicate, row, occasion)
        Units.
    events : float array, (replicate, row, occasion)
        Their events.
    rate : float array, (replicate, row, occasion)
        Expected events of a unit.
    dose : float array, (replicate, row, occasion)
        Dose of the units that take part.
    """

    roster: Roster
    n: Annotated[Floats, "replicate row occasion"]
    events: Annotated[Floats, "replicate row occasion"]
    rate: Annotated[Floats, "replicate row occasion"]
    dose: Annotated[Floats, "replicate row occasion"]


def draw_events(expected: Floats, overdispersion: float, rng: Generator) -> Floats:
    """Numbers of events, Poisson or negative binomial of variance overdispersion x mean."""
    if overdispersion > 1:
        excess = overdispersion - 1
        expected = excess * rng.standard_gamma(expected / excess)
    return rng.poisson(expected).astype(np.float64)


def unit_shape(rate: Floats, overdispersion: float) -> Floats:
    """Shape of the negative binomial count of a unit; infinity where it is Poisson."""
    if overdispersion == 1:
        return np.full(rate.shape, np.inf)
    shape: Floats = rate / (overdispersion - 1)
    return shape


def deliver_counts(work: Fieldwork, outcome: CountOutcome, counted: Counted) -> Delivery:
    """The events of a study's rows with the framework, and without its effect."""
    uptake, shape = work.world.settings.uptake, counted.events.shape
    n, rate, dose = (np.broadcast_to(part, shape) for part in (counted.n, counted.rate, counted.dose))
    taken = uptake_of(work, n, shape)
    spread, events = work.spread and bool((n > 1).any()), counted.events
    rng = work.world.streams.rng("family_spread", work.outcome)
    size = unit_shape(rate, outcome.overdispersion)
    if outcome.effect == 0:
        squares = squared_counts(events, n, size, rng) if spread else None
        null = stated = count_cells(n, events, outcome.per, squares, work.spread)
        return Delivery(counted.roster, work.occasions, uptake * dose, stated, null, uptake=taken)
    factor = practice_factor(outcome, dose)
    takers, before = taking_part(events, n, size, uptake, (work.world.streams, work.outcome))
    after = move_events(
        before, takers * rate, factor, outcome.overdispersion, work.world.streams, work.outcome
    )
    squares = moved_squares = None
    if spread:
        others = squared_counts(events - before, n - takers, size, rng)
        of_takers = squared_counts(before, takers, size, rng)
        changed = factor != 1
        moved = of_takers.copy()
        size_after = unit_shape(rate * factor, outcome.overdispersion)
        moved[changed] = squared_counts(after[changed], takers[changed], size_after[changed], rng)
        squares, moved_squares = others + of_takers, others + moved
    null = count_cells(n, events, outcome.per, squares, work.spread)
    stated = count_cells(n, events - before + after, outcome.per, moved_squares, work.spread)
    return Delivery(counted.roster, work.occasions, uptake * dose, stated, null, uptake=taken)


def taking_part(
    events: Floats, n: Floats, size: Floats, uptake: float, of: tuple[Streams, str]
) -> tuple[Floats, Floats]:
    """Units that take part, and their events: whatever the effect is, the same."""
    if uptake == 1:
        return n, events
    streams, name = of
    takers = streams.rng("uptake", name).binomial(n.astype(np.int64), uptake).astype(np.float64)
    rng = streams.rng("uptake_spread", name)
    share = share_of_takers(takers, n, size, rng)
    return takers, rng.binomial(events.astype(np.int64), share).astype(np.float64)


def move_events(
    events: Floats, expected: Floats, factor: Floats, overdispersion: float, streams: Streams, name: str
) -> Floats:
    """Events once their mean is another: thinned where lower, added to where higher.

    Parameters
    ----------
    events : float array
        Events on record, of those who take part.
    expected : float array, of the same axes
        Their mean.
    factor : float array, of the same axes
        What it is multiplied by, 0 or above.

    Notes
    -----
    Poisson: Binomial(events, factor), or events + Poisson((factor - 1) x expected). Overdispersed: a
    beta-binomial part of them, or as many more as such a count of mean (factor - 1) x expected has. Exact
    given the events on record. Uniform numbers are inverted for each cell, so that the same chance meets
    every size of effect.
    """
    from scipy import stats

    uniform = streams.rng("delivery", name).random(events.shape)
    moved, excess = events.copy(), overdispersion - 1
    lower = (factor < 1) & (events > 0)
    kept = factor[lower]
    if excess > 0:
        shape, part = (expected / excess)[lower], streams.rng("thinning", name).random(events.shape)[lower]
        drawn = special.betaincinv(np.maximum(shape * kept, TINY), np.maximum(shape * (1 - kept), TINY), part)
        kept = np.where(kept > 0, drawn, 0.0)
    moved[lower] = stats.binom.ppf(uniform[lower], events[lower], kept)
    gained = (factor - 1) * expected
    higher = gained > 0
    if excess > 0:
        more = stats.nbinom.ppf(uniform[higher], gained[higher] / excess, 1 / overdispersion)
    else:
        more = stats.poisson.ppf(uniform[higher], gained[higher])
    moved[higher] += more
    return moved


def count_cells(n: Floats, events: Floats, per: float, squares: Floats | None, spread: bool) -> Cells:
    """Cells on the scale of a rate; nan where there is nobody.

    Parameters
    ----------
    squares : float array or None, (replicate, row, occasion)
        Sum over units of the squared number of events; None where there is at most one unit, or no spread.
    spread : bool
        Whether the cells have a sum of squares.
    """
    rate = np.divide(events, n, out=np.full(events.shape, np.nan), where=n > 0)
    if not spread:
        return Cells(n, per * rate)
    if squares is None:
        return Cells(n, per * rate, np.zeros((1, *n.shape[1:])))
    within = np.where(n > 0, squares - events * np.nan_to_num(rate), 0.0)
    return Cells(n, per * rate, per**2 * np.maximum(within, 0.0))
