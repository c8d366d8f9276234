"""Delivery: the allocation meets fidelity, uptake and informal use, and outcomes follow.

Exposure of a family that is offered the framework is fidelity if it takes part and 0 if not; families
of an authority outside treatment take part in its informal use, if it has one, in the same share.
Rows are as deep as exposure or risk varies: authorities for a recorded outcome, whose exposure is the
mean over all its workers; the sampled workers for a surveyed one, or authorities where workers do not
differ; single families at resolution `unit`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy import special

from design_sim.allocation import Allocation
from design_sim.arrays import Batch, Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.stated import Stated
from design_sim.world.draw import World, children_of, enrolled
from design_sim.world.fidelity import maturity, worker_deviation, worker_fidelity
from design_sim.world.outcomes import (
    Outcome,
    RecordedBinary,
    RecordedContinuous,
    SurveyedOutcome,
    binary_cells,
    denominators,
)
from design_sim.world.settings import WorldSettings

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
        Mean dose that the families of a row received, 0 to 1.
    stated, null : Cells
        The outcome with the stated effect, and with every framework's effect zero.
    """

    roster: Roster
    occasions: Annotated[Ints, "occasion"]
    exposure: Annotated[Floats, "replicate row occasion"]
    stated: Cells
    null: Cells


def deliver(
    world: World,
    allocation: Allocation,
    outcome: str,
    occasions: Ints,
    sample: Sample | None,
    resolution: Resolution = "cell",
    spread: bool = False,
) -> Delivery:
    """Let a study's authorities practise, and give the outcome with the framework and without its effect.

    Parameters
    ----------
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
    """
    what = world.outcomes[outcome]
    if isinstance(what, SurveyedOutcome):
        assert sample is not None
        return _deliver_survey(world, allocation, outcome, what, occasions, sample, resolution, spread)
    if isinstance(what, RecordedContinuous):
        return _deliver_continuous_record(world, allocation, outcome, what, occasions, resolution, spread)
    return _deliver_binary_record(world, allocation, outcome, what, occasions, resolution)


def rows_of_authority(
    world: WorldSettings, outcome: Outcome, sample: Sample | None, *, families: bool
) -> int:
    """The most rows that an authority can have in a study, each an array's length in a block."""
    if sample is None:
        largest = float(children_of(world.size, world.authorities).max())
        return int(denominators(outcome, np.array([largest]))[0]) if families else 1  # type: ignore[arg-type]
    return sample.teams * sample.workers * (sample.families if families else 1)


def _deliver_survey(
    world: World,
    allocation: Allocation,
    name: str,
    outcome: SurveyedOutcome,
    occasions: Ints,
    sample: Sample,
    resolution: Resolution,
    spread: bool,
) -> Delivery:
    unit = allocation.unit
    start = world.settings.time.start
    deep = _workers_differ(world, outcome) or resolution == "unit"
    n_rows = unit.shape[1] * (sample.teams * sample.workers if deep else 1)
    n_rows *= sample.families if resolution == "unit" else 1
    if world.n_teams.min() >= sample.teams:
        present = np.full((1, unit.shape[1]), sample.teams)
    else:
        present = np.minimum(enrolled(world.n_teams[np.newaxis], unit), sample.teams)
    deviation = enrolled(world.deviation(name), unit)
    if deviation.shape[2] > 1:
        deviation = deviation[:, :, occasions]
    expected = outcome.mean + outcome.trend * (occasions - start) + outcome.authority_sd * deviation
    if not deep:
        roster = Roster.of_authorities(unit.shape[1])
        n = (present * (sample.workers * sample.families)).astype(np.float64)[:, :, np.newaxis]
        exposure = world.settings.uptake * _practised(
            world, allocation, occasions, enrolled(world.mature_fidelity, unit)
        )
    else:
        roster, n, members, exposure = _survey_rows(
            world, allocation, name, outcome, occasions, sample, resolution, present
        )
        expected = roster.spread(expected, "authority") + members
    n = np.broadcast_to(n, (n.shape[0], n.shape[1], occasions.size))
    null = _draw_families(world, name, expected, n, outcome.sd * np.sqrt(outcome.icc.family), spread)
    return Delivery(roster, occasions, exposure, _shifted(null, outcome.effect * exposure), null)


def _workers_differ(world: World, outcome: SurveyedOutcome) -> bool:
    """Whether the families of an authority are not exchangeable: their teams or workers differ."""
    between = outcome.icc.team + outcome.icc.worker > 0
    return between or (world.settings.fidelity.worker_sd > 0 and outcome.effect != 0)


def _survey_rows(
    world: World,
    allocation: Allocation,
    name: str,
    outcome: SurveyedOutcome,
    occasions: Ints,
    sample: Sample,
    resolution: Resolution,
    present: Ints,
) -> tuple[Roster, Floats, Floats, Floats]:
    """Rows of workers, or of their families: roster, n, team and worker parts, exposure."""
    unit = allocation.unit
    in_team = np.arange(sample.workers)
    per_team = world.settings.workers.per_team
    team_of = np.repeat(np.arange(sample.teams), sample.workers)
    worker = team_of * per_team + np.tile(in_team, sample.teams)
    copies = sample.families if resolution == "unit" else 1
    n_slots, n_workers = unit.shape[1], worker.size
    index = np.arange(n_slots * n_workers * copies) // copies
    roster = Roster(index // n_workers, index // sample.workers, index)
    taken = (team_of < present[:, :, np.newaxis]).reshape(present.shape[0], -1, 1)
    n = np.repeat(taken * float(sample.families // copies), copies, axis=1)
    parts = np.zeros((1, n_slots, n_workers))
    if outcome.icc.team:
        teams = enrolled(world.members("team_effect", sample.teams, name), unit)
        parts = parts + outcome.sd * np.sqrt(outcome.icc.team) * teams[:, :, team_of]
    if outcome.icc.worker:
        own = worker_deviation(world, unit, worker, "worker_effect", outcome.competence_correlation, name)
        parts = parts + outcome.sd * np.sqrt(outcome.icc.worker) * own
    exposure = world.settings.uptake * _practised(
        world, allocation, occasions, worker_fidelity(world, unit, worker)
    )
    members = np.repeat(parts.reshape(parts.shape[0], -1, 1), copies, axis=1)
    return roster, n, members, np.repeat(exposure, copies, axis=1)


def _practised(world: World, allocation: Allocation, occasions: Ints, mature: Floats) -> Floats:
    """Fidelity of what is practised in each row, informal use included: (replicate, row, occasion).

    Parameters
    ----------
    mature : float array, (replicate, slot) or (replicate, slot, worker)
        Mature fidelity.
    """
    start, informal = allocation.start, enrolled(world.informal_fidelity, allocation.unit)
    if mature.ndim == 3:
        per_slot = mature.shape[2]
        mature = mature.reshape(mature.shape[0], -1)
        start = np.repeat(start, per_slot, axis=1)
        informal = informal if informal.shape[1] == 1 else np.repeat(informal, per_slot, axis=1)
    delivered = mature[:, :, np.newaxis] * maturity(world)[occasions]
    return np.where(start[:, :, np.newaxis] <= occasions, delivered, informal[:, :, np.newaxis])


def _draw_families(world: World, name: str, expected: Floats, n: Floats, sd: float, spread: bool) -> Cells:
    """Cells of families normal around an expected value: exact for the mean and the sum of squares."""
    shape = (world.n_replicates, *n.shape[1:])
    noise = world.streams.rng("families", name).standard_normal(shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise *= sd / np.sqrt(n)
        mean = noise + expected
    if (n == 0).any():
        mean = np.where(n > 0, mean, np.nan)
    if not spread:
        return Cells(n, mean)
    if (n <= 1).all():
        return Cells(n, mean, np.zeros((1, *n.shape[1:])))
    freedom = np.broadcast_to(np.maximum(n - 1, 0) / 2, shape)
    ss = 2 * sd**2 * world.streams.rng("family_spread", name).standard_gamma(freedom)
    return Cells(n, mean, ss)


def _shifted(cells: Cells, effect: Floats) -> Cells:
    return Cells(cells.n, cells.mean + effect, cells.ss)


def _deliver_continuous_record(
    world: World,
    allocation: Allocation,
    name: str,
    outcome: RecordedContinuous,
    occasions: Ints,
    resolution: Resolution,
    spread: bool,
) -> Delivery:
    unit = allocation.unit
    exposure = world.settings.uptake * _practised(
        world, allocation, occasions, enrolled(world.mature_fidelity, unit)
    )
    record = world.record(name)
    n = enrolled(record.cells.n[:, :, :1], unit)
    mean = enrolled(record.cells.mean[:, :, occasions], unit)
    n = np.broadcast_to(n, (*n.shape[:2], occasions.size))
    if resolution == "unit":
        roster, n, mean = _split_continuous(world, name, outcome, n, mean)
        exposure = roster.spread(exposure, "authority")
        null = Cells(n, mean, np.zeros((1, *n.shape[1:])))
    else:
        roster = Roster.of_authorities(unit.shape[1])
        ss = None
        if spread:
            rng = world.streams.rng("family_spread", name)
            ss = 2 * outcome.family_sd**2 * rng.standard_gamma((n - 1) / 2, mean.shape)
        null = Cells(n, mean, ss)
    return Delivery(roster, occasions, exposure, _shifted(null, outcome.effect * exposure), null)


def _split_continuous(
    world: World, name: str, outcome: RecordedContinuous, n: Floats, mean: Floats
) -> tuple[Roster, Floats, Floats]:
    """Single families whose mean is the recorded one: normal deviations, centred in each cell."""
    longest = int(n.max())
    n_slots = n.shape[1]
    index = np.arange(n_slots * longest)
    taken = (np.arange(longest)[:, np.newaxis] < n[:, :, np.newaxis, :]).astype(np.float64)
    rng = world.streams.rng("family_spread", name)
    noise = rng.standard_normal((mean.shape[0], n_slots, longest, mean.shape[2])) * outcome.family_sd
    centred = noise - ((noise * taken).sum(axis=2) / n)[:, :, np.newaxis]
    single = np.where(taken > 0, mean[:, :, np.newaxis] + centred, np.nan)
    shape = (-1, n_slots * longest, mean.shape[2])
    return Roster(index // longest, index // longest, index), taken.reshape(shape), single.reshape(shape)


def _deliver_binary_record(
    world: World,
    allocation: Allocation,
    name: str,
    outcome: RecordedBinary,
    occasions: Ints,
    resolution: Resolution,
) -> Delivery:
    unit = allocation.unit
    practised = _practised(world, allocation, occasions, enrolled(world.mature_fidelity, unit))
    record = world.record(name)
    n = np.broadcast_to(enrolled(record.cells.n[:, :, :1], unit), (*unit.shape, occasions.size))
    without = np.rint(enrolled(record.cells.mean[:, :, occasions], unit) * n)
    with_effect = without
    if outcome.effect != 0:
        risk = enrolled(record.expected[:, :, np.minimum(occasions, record.expected.shape[2] - 1)], unit)
        changed = risk_with_framework(outcome, risk, practised, world.settings.uptake)
        with_effect = _move_events(world, name, without, n, risk, changed)
    exposure = practised * world.settings.uptake
    roster = Roster.of_authorities(unit.shape[1])
    if resolution == "cell":
        return Delivery(roster, occasions, exposure, binary_cells(n, with_effect), binary_cells(n, without))
    roster, stated = _split_binary(n, with_effect)
    _, null = _split_binary(n, without)
    return Delivery(roster, occasions, roster.spread(exposure, "authority"), stated, null)


def risk_with_framework(outcome: RecordedBinary, risk: Floats, fidelity: Floats, uptake: float) -> Floats:
    """Mean risk over the families of a row, those who take part and those who do not.

    Parameters
    ----------
    risk : float array
        Risk without any framework.
    fidelity : float array, of the same axes
        Fidelity of what is practised; 0 where nothing is.
    uptake : float
        Share of families that take part.

    Returns
    -------
    float array
        risk + uptake x (risk of those who take part - risk), where the latter is risk + effect x fidelity
        on the probability scale, and inverse logit(logit(risk) + shift x fidelity) on the logit scale.
    """
    if outcome.effect_scale == "probability":
        return risk + uptake * outcome.effect * fidelity
    taking_part: Floats = special.expit(special.logit(risk) + outcome.shift * fidelity)
    return risk + uptake * (taking_part - risk)


def _move_events(world: World, name: str, events: Floats, n: Floats, risk: Floats, changed: Floats) -> Floats:
    """Events once risks have changed: thinned where lower, added to where higher.

    Binomial(events, changed / risk), or events + Binomial(n - events, (changed - risk) / (1 - risk)): exact
    given the events on record. One uniform is inverted for each cell, so that the same chance meets every
    size of effect.
    """
    from scipy import stats

    uniform = world.streams.rng("delivery", name).random(events.shape)
    moved = events.copy()
    for chosen, trials, probability in (
        (changed < risk, events, changed / risk),
        (changed > risk, n - events, (changed - risk) / (1 - risk)),
    ):
        drawn = stats.binom.ppf(uniform[chosen], trials[chosen], np.clip(probability[chosen], 0, 1))
        kept = 0 if trials is events else events[chosen]
        moved[chosen] = np.maximum(drawn, 0) + kept
    return moved


def _split_binary(n: Floats, events: Floats) -> tuple[Roster, Cells]:
    """Single families, of whom the first ones of each cell had the event."""
    n_slots, n_occasions = n.shape[1:]
    longest = int(n.max())
    index = np.arange(n_slots * longest)
    place = np.arange(longest)[:, np.newaxis]
    shape = (-1, n_slots * longest, n_occasions)
    taken = (place < n[:, :, np.newaxis]).astype(np.float64).reshape(shape)
    single = (place < events[:, :, np.newaxis]).astype(np.float64).reshape(shape)
    roster = Roster(index // longest, index // longest, index)
    return roster, Cells(taken, np.where(taken > 0, single, np.nan), np.zeros((1, *shape[1:])))
