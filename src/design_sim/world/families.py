"""Families that a study samples, worker by worker: their rows, who is seen and takes part, what they share.

Decision: where families are not exchangeable given their worker (siblings, bounded scores, a covariate of
their own) each is a row, with as many observations as it has children. What a child's outcome is given its
row's place is for the kind of outcome to say; here the children of all families are drawn one after another,
the first of each, the second, and so on, so that cost grows with the largest family.

Decision: in a cohort a row is the same family at every occasion. The normal variable behind its part is
root(a) x one that it keeps + root(1 - a) x one of each occasion, a being `family_autocorrelation`, so that
any two occasions correlate by a. Whether it consents, takes part and is lost is drawn once.

Source of the cohort's correlation: Hooper and Bourke (2015), British Medical Journal 350, h2925; Hooper,
Teerenstra, de Hoop and Eldridge (2016), Statistics in Medicine 35, 4718-4728 (individual autocorrelation).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster
from design_sim.world.draw import World, enrolled
from design_sim.world.fidelity import worker_deviation
from design_sim.world.surveyed import PARTS, Part, Surveyed

if TYPE_CHECKING:
    from design_sim.world.delivery import Fieldwork, Sample


@dataclass(frozen=True, slots=True)
class SurveyRows:
    """The rows of a survey: the sampled workers of every slot, or their families one by one.

    Parameters
    ----------
    roster : Roster
        Who belongs to whom.
    n : float array, (replicate or 1, row, occasion)
        Families that are seen.
    workers, teams : int arrays, (worker,)
        Which workers of an authority are sampled, and the team of each.
    copies : int or int array, (slot x worker,)
        Rows of every worker, or of each.
    treated : bool array or None, (replicate or 1, row)
        Whether a row's families are assigned to start, where families are assigned.
    turns : int
        Rows in the place of one family, each for the family of another occasion.
    """

    roster: Roster
    n: Floats
    workers: Ints
    teams: Ints
    copies: Ints | int
    treated: Bools | None = None
    turns: int = 1

    def of_workers(self, values: Floats) -> Floats:
        """Give every row its worker's value: (replicate, slot x worker, ...) to (replicate, row, ...)."""
        return np.repeat(values, self.copies, axis=1)

    @property
    def occasion(self) -> Ints:
        """The occasion that each row's family is of, the first for those at every one: (row,)."""
        occasion: Ints = np.arange(self.roster.n_rows) % self.turns
        return occasion


def survey_rows(work: "Fieldwork", *, singly: bool) -> SurveyRows:
    """Sample workers, and their families as a cell or one by one, and see who is seen.

    Where families are assigned, the cells of a worker are two: those that start, and the others; one where
    comparison families have workers of their own. Families of another occasion are other ones, but for a
    cohort. Where they have a covariate, which a row has one of, every family that is not followed stands in a
    row of its own that is empty at all occasions but its own.
    """
    sample = work.sampled
    occasions = work.occasions.size
    own_workers = work.allocation.own_workers
    workers, teams = sampled_workers(sample, work.world.settings.workers.per_team, own_workers)
    turns, treated = work.turns, treated_families(work)
    copies: Ints | int = sample.families * turns if singly else 1 if treated is None else 2
    families: Ints | int = 1 if singly else sample.families
    if own_workers:
        _, families, copies = _workers_of_one_arm(work, singly=singly)
    index = np.repeat(np.arange(work.unit.shape[1] * workers.size), copies)
    roster = Roster(index // workers.size, _team_of(index, teams), index)
    there = teams_present(work.world, work.unit, int(teams[-1]) + 1)
    taken = (teams < there[:, :, np.newaxis]).astype(np.float64)
    taken = taken.reshape(taken.shape[0], -1, 1)
    n = np.repeat(np.reshape(families, (-1, 1)) * taken, copies, axis=1)
    starting = work.allocation.families
    if starting is not None and not singly and not own_workers:
        both = np.stack([starting, sample.families - starting], axis=2).reshape(starting.shape[0], -1, 1)
        n = both * np.repeat(taken, copies, axis=1)
    n = np.broadcast_to(n, (*n.shape[:2], occasions))
    if turns > 1:
        n = n * (np.arange(n.shape[1])[:, np.newaxis] % turns == np.arange(occasions))
    return SurveyRows(roster, seen_of(work, roster, n, treated), workers, teams, copies, treated, turns)


def _workers_of_one_arm(work: "Fieldwork", *, singly: bool) -> tuple[Bools, Ints, Ints]:
    """Where comparison families have workers of their own: three arrays, (slot x worker,).

    Whether a worker's families start, how many are in a row of hers, and how many rows she has.
    """
    sample, turns = work.sampled, work.turns
    numbers = [sample.teams * sample.workers, work.allocation.own_workers]
    families = [1 if singly else sample.families, 1]
    copies = [sample.families * turns, turns] if singly else [1, 1]
    of_slot = (np.repeat(each, numbers) for each in ([True, False], families, copies))
    treated, n, rows = (np.tile(each, work.unit.shape[1]) for each in of_slot)
    return treated, n, rows


def _team_of(worker: Ints, teams: Ints) -> Ints:
    """The team, numbered through the study, of workers numbered so; `teams` are those of a slot's workers."""
    team: Ints = worker // teams.size * (teams[-1] + 1) + teams[worker % teams.size]
    return team


def sampled_workers(sample: "Sample", per_team: int, own_workers: int = 0) -> tuple[Ints, Ints]:
    """Which workers of an authority a survey asks for, and the team of each: two arrays, (worker,).

    Parameters
    ----------
    own_workers : int
        How many more of them have a comparison family each: the workers of the teams that follow.
    """
    teams = np.repeat(np.arange(sample.teams), sample.workers)
    workers = teams * per_team + np.tile(np.arange(sample.workers), sample.teams)
    others = sample.teams * per_team + np.arange(own_workers)
    return np.append(workers, others), np.append(teams, others // per_team)


def treated_families(work: "Fieldwork") -> Bools | None:
    """Whether the families of a row are assigned to start, (replicate or 1, row); None where workers are.

    Of a worker's families, which are exchangeable, the first ones are.
    """
    starting = work.allocation.families
    if starting is None:
        return None
    if work.allocation.own_workers:
        treated, _, copies = _workers_of_one_arm(work, singly=work.singly)
        return np.repeat(treated, copies)[np.newaxis]
    if not work.singly:
        return np.tile([True, False], starting.shape[1])[np.newaxis]
    place = np.repeat(np.arange(work.sampled.families), work.turns)
    first: Bools = place < starting[:, :, np.newaxis]
    return first.reshape(starting.shape[0], -1)


def dose_of_rows(work: "Fieldwork", rows: SurveyRows) -> Floats:
    """Dose of the families of every row, (replicate, row, occasion)."""
    if rows.treated is None:
        return rows.of_workers(work.dose_of(rows.workers))
    offered, otherwise = (rows.of_workers(dose) for dose in work.doses_of_arms(rows.workers))
    return np.where(rows.treated[:, :, np.newaxis], offered, otherwise)


def teams_present(world: World, unit: Ints, asked: int) -> Ints:
    """Teams sampled in each slot, fewer where an authority has fewer: (replicate, slot)."""
    there = world.n_teams
    if there.min() >= asked:
        return np.full((1, unit.shape[1]), asked)
    return np.minimum(enrolled(there[np.newaxis], unit), asked).astype(np.int64)


def seen_of(work: "Fieldwork", roster: Roster, n: Floats, treated: Bools | None = None) -> Floats:
    """How many of the sampled families are seen: all, or a binomial number, (replicate, row, occasion).

    Parameters
    ----------
    treated : bool array, (replicate or 1, row), optional
        Whether a row's families are assigned to start, where families are assigned.

    Notes
    -----
    A family of a cohort has one number for all occasions, and is seen where its chance is above it: so who
    is not seen at the first follow-up is not seen at a later one.
    """
    if work.reached is None:
        return n
    if treated is None:
        chance = roster.spread(work.reached, work.allocation.assigned)
    else:
        chance = np.where(treated[:, :, np.newaxis], work.reached[:, :1], work.reached[:, -1:])
    shape = (work.world.n_replicates, *n.shape[1:])
    if work.followed:
        number = work.world.streams.rng("cohort_seen", work.outcome).random((*shape[:2], 1))
        return n * (number < chance)
    seen = work.world.streams.rng("loss", work.outcome).binomial(n.astype(np.int64), chance, shape)
    return seen.astype(np.float64)


def family_parts(work: "Fieldwork", rows: SurveyRows, outcome: Surveyed) -> Floats:
    """Standard normals behind the parts of families, (replicate, row, occasion)."""
    world, shape = work.world, (work.world.n_replicates, *rows.n.shape[1:])
    family = world.streams.rng("families", work.outcome).standard_normal(shape)
    if not work.followed:
        return family
    kept, own = np.sqrt([outcome.family_autocorrelation, 1 - outcome.family_autocorrelation])
    parts: Floats = kept * _kept_parts(work, rows)[:, :, np.newaxis] + own * family
    return parts


def _kept_parts(work: "Fieldwork", rows: SurveyRows) -> Floats:
    """Standard normals behind what the families of a cohort keep, (replicate, row)."""
    shape = (work.world.n_replicates, rows.roster.n_rows)
    return work.world.streams.rng("family_kept", work.outcome).standard_normal(shape)


def member_parts(
    work: "Fieldwork", rows: SurveyRows, outcome: Surveyed, sds: tuple[Floats | float, Floats | float]
) -> Floats:
    """What teams and workers add to their families' places, (replicate or 1, row, occasion or 1).

    Parameters
    ----------
    sds : two floats or float arrays, (occasion,)
        Standard deviations of the parts of teams and of workers.
    """
    parts = np.zeros((1, work.unit.shape[1], rows.workers.size, 1))
    for part, sd in zip(("team", "worker"), sds, strict=True):
        if np.any(sd):
            parts = parts + sd * _members(work, rows, outcome, part)[..., np.newaxis]
    return rows.of_workers(parts.reshape(parts.shape[0], -1, parts.shape[3]))


def _members(work: "Fieldwork", rows: SurveyRows, outcome: Surveyed, part: str) -> Floats:
    """Standard normals behind the parts of teams or workers, (replicate, slot, worker)."""
    world, name = work.world, work.outcome
    if part == "team":
        drawn = world.members("team_effect", int(rows.teams[-1]) + 1, name)
        return enrolled(drawn, work.unit)[:, :, rows.teams]
    competence = outcome.competence_correlation
    return worker_deviation(world, work.unit, rows.workers, "worker_effect", competence, name)


def children_of_families(work: "Fieldwork", n: Floats, mean: float) -> Floats:
    """Children of the families that are seen, all of whom are observed: (replicate, row, occasion)."""
    if mean == 1:
        return n
    shape = (work.world.n_replicates, *n.shape[1:])
    more = work.world.streams.rng("children", work.outcome).poisson(mean - 1, shape)
    children: Floats = n * (1 + more)
    return children


def takes_part(work: "Fieldwork", shape: tuple[int, ...]) -> Floats | float:
    """1 where a family takes part, as a whole, and else 0: (replicate, row, occasion or 1)."""
    uptake = work.world.settings.uptake
    if uptake == 1:
        return 1.0
    shape = (*shape[:2], 1) if work.followed else shape
    return work.world.streams.rng("uptake", work.outcome).binomial(1, uptake, shape).astype(np.float64)


def families_taking_part(work: "Fieldwork", shape: tuple[int, ...]) -> Floats | None:
    """What `takes_part` gives, where an answer asks for it: (replicate or 1, row, occasion)."""
    if not work.uptake:
        return None
    return np.zeros((1, *shape[1:])) + takes_part(work, shape)


def observe_children(
    n: Floats, twins: Sequence[Floats], own: Callable[[], Floats], outcome: Callable[[Floats, Floats], Floats]
) -> list[Cells]:
    """The cells of families, from the outcomes of their children in a study and in its twin.

    Parameters
    ----------
    n : float array, (replicate or 1, row, occasion)
        Children of each family.
    twins : sequence of float arrays, (replicate, row, occasion)
        Where the families stand, in the study and in its twin.
    own : callable
        Draws what the next child of every family has of its own, the same in either.
    outcome : callable
        A child's outcome from where its family stands and what it has of its own.
    """
    largest, empty = max(int(n.max()), 1), n == 0
    first: list[Floats] = []
    totals: list[Floats] = []
    squares: list[Floats] = []
    for child in range(largest):
        drawn = own()
        for twin, place in enumerate(twins):
            value = outcome(place, drawn)
            if child == 0:
                first.append(value)
                totals.append(np.zeros(value.shape))
                squares.append(np.zeros(value.shape))
                continue
            beyond = np.where(n > child, value - first[twin], 0.0)
            totals[twin] += beyond
            squares[twin] += beyond**2
    cells = []
    for one, total, square in zip(first, totals, squares, strict=True):
        count = np.maximum(n, 1.0)
        mean = np.where(empty, np.nan, one + total / count) if empty.any() else one + total / count
        ss = square - total**2 / count if largest > 1 else np.zeros((1, *n.shape[1:]))
        cells.append(Cells(n, mean, np.maximum(ss, 0.0)))
    return cells


def draw_covariate(work: "Fieldwork", rows: SurveyRows, outcome: Surveyed, family: Floats) -> Floats | None:
    """The covariate of each row's family, of mean 0 and standard deviation 1: (replicate, row).

    Parameters
    ----------
    family : float array, (replicate, row, occasion)
        Standard normals behind the outcome's family parts.

    Notes
    -----
    At every level the covariate's part is rho x the outcome's own + root(1 - rho^2) x one of its own, in
    standard deviations of the parts. In a cohort the family's is made of what it keeps, by rho / root of
    `family_autocorrelation`, so that it correlates by rho with the part of every occasion; that of the
    authority is of the first occasion.
    """
    stated = outcome.covariate
    if stated is None or not work.covariate:
        return None
    total: Floats = np.zeros((1, rows.roster.n_rows))
    for part in PARTS:
        share, correlation = getattr(stated.icc, part), getattr(stated.correlation, part)
        if share == 0:
            continue
        if part == "family" and work.followed and correlation:
            correlation /= float(np.sqrt(outcome.family_autocorrelation))
        value = np.sqrt(1 - correlation**2) * _own_part(work, rows, part)
        if correlation:
            value = value + correlation * _shared_part(work, rows, outcome, part, family)
        total = total + np.sqrt(share) * value
    return total


def _own_part(work: "Fieldwork", rows: SurveyRows, part: Part) -> Floats:
    """What a covariate shares with no outcome at a level, standardised: (replicate, row)."""
    world, name = work.world, work.outcome
    if part == "family":
        shape = (world.n_replicates, rows.roster.n_rows)
        return world.streams.rng("covariate_family", name).standard_normal(shape)
    members = {"authority": np.zeros_like(rows.workers), "team": rows.teams, "worker": rows.workers}[part]
    drawn = world.members(f"covariate_{part}", int(members[-1]) + 1, name)
    of_workers = enrolled(drawn, work.unit)[:, :, members]
    return rows.of_workers(of_workers.reshape(of_workers.shape[0], -1))


def _shared_part(
    work: "Fieldwork", rows: SurveyRows, outcome: Surveyed, part: Part, family: Floats
) -> Floats:
    """The outcome's own part at a level, standardised: (replicate, row)."""
    if part == "family":
        if work.followed:
            return _kept_parts(work, rows)
        return family[:, np.arange(rows.roster.n_rows), rows.occasion]
    if part == "authority":
        deviations = work.world.deviations(work.outcome).at(work.occasions)
        values = enrolled(deviations.deviation / deviations.occasion_sd, work.unit)
        occasion = rows.occasion if values.shape[2] > 1 else np.zeros_like(rows.occasion)
        return values[:, rows.roster.authority, occasion]
    of_workers = _members(work, rows, outcome, part)
    return rows.of_workers(of_workers.reshape(of_workers.shape[0], -1))
