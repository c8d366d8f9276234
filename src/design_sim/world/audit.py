"""Audit: fidelity as it is scored, the only fidelity that an evaluator sees.

Score = mean over audited cases of (fidelity of the case's worker + rater's error) + what self-report adds.

Decision: there are two audits, of other workers by other raters. One is of every authority in a stated year,
of the framework as it would implement it (`fidelity_score`): what pilots are chosen by and analysts adjust
for. The other is of what the authorities of a study really practise at the last occasion observed
(`observed_score`): 0 where that is nothing of this framework. Were they one, what chance gave to a pilot that
was chosen for its score would be there again at follow-up, and no score would regress to its mean.

Decision: a rater's error has the same standard deviation at every fidelity and in every year, so that early
practice, which differs less between authorities, is scored less reliably.
"""

from collections.abc import Iterator
from itertools import count, islice, repeat

import numpy as np
from scipy import special

from design_sim.allocation import Allocation
from design_sim.arrays import Bools, Floats, Ints
from design_sim.world.draw import World, enrolled, teams_of
from design_sim.world.fidelity import progress, years_since
from design_sim.world.logit_normal import FidelityScale
from design_sim.world.practice import last_practised
from design_sim.world.settings import Audit, WorldSettings

AT_FOLLOW_UP = "follow-up"
"""Name of the streams of the audit at follow-up."""


def fidelity_score(world: World) -> Floats:
    """Score of an audit of all authorities, each as it would practise: (replicate, authority).

    In the middle of the stated year after the start, had the authority started with the world.
    """
    audit = stated_audit(world.settings)
    year = world.settings.time.years_before + audit.year - 1
    fidelity = _audited(world, audit.year - 0.5, year, "")
    return _scored(world, fidelity, np.ones((1, 1), dtype=np.bool_), "")


def observed_score(world: World, allocation: Allocation, last: int) -> Floats:
    """Score of what the authorities of a study practise at an occasion: (replicate, slot).

    Parameters
    ----------
    allocation : Allocation
        Who stands in the slots, and since when with the framework.
    last : int
        The occasion, in the middle of which cases are audited.

    Notes
    -----
    Fidelity is 0 where no framework is practised, the stated one where it is used informally, what a rival
    has in common with the framework where there is one, and where a study put the framework what its workers
    have reached, until the authority leaves.
    """
    usual = world.informal_fidelity
    shared = _shared_by_rival(world)
    if shared.any():
        usual = np.where(world.has_rival, shared, usual)
    fidelity = np.broadcast_to(enrolled(usual, allocation.unit), allocation.unit.shape)
    time = world.settings.time
    for first in np.unique(allocation.start[allocation.start <= last]):
        years = float(years_since(time, int(first))[last])
        own = _audited(world, years, int(time.year_of(last)), AT_FOLLOW_UP)
        stop, switched = last_practised(world, int(first))
        if stop.size > 1:
            own = np.where(last < stop, own, np.where(switched, shared, usual))
        fidelity = np.where(allocation.start == first, enrolled(own, allocation.unit), fidelity)
    return _scored(world, fidelity, fidelity > 0, AT_FOLLOW_UP, allocation.unit)


def score_reliability(settings: WorldSettings) -> float:
    """Share of the variance between authorities' scores that is true, for the audit of the stated year.

    What an inadequate judgement takes is left out. nan where neither fidelity nor error differs between
    authorities.

    Notes
    -----
    With m the multiple of mature fidelity that workers have reached (its distribution is that of `progress`),
    a, t and w the stated standard deviations of authorities, teams and workers and f their mean, the variance
    that is true is E(m)^2 a^2. That of an audited worker's own is E(m^2) (t^2 + w^2) + Var(m) (f^2 + a^2)
    - E(m)^2 t^2, of a team E(m)^2 t^2, of a rater (a^2 + t^2 + w^2) (1 - ICC) / ICC. Over n cases, n_j of
    them in team j, the first and third count 1 / n and the second the sum of (n_j / n)^2; then the mean is
    taken over authorities, and the variance of what self-report adds comes on top.
    """
    audit, fidelity = stated_audit(settings), settings.fidelity
    if audit.without_error:
        return 1.0
    authority, team, worker = (sd**2 for sd in (fidelity.authority_sd, fidelity.team_sd, fidelity.worker_sd))
    reached, share = progress(fidelity, audit.year - 0.5)
    mean, square = float(reached @ share), float(reached**2 @ share)
    of_team = mean**2 * team
    own = square * (team + worker) + (square - mean**2) * (fidelity.mean**2 + authority) - of_team
    n, teams = cases_of(settings), teams_of(settings)
    rounds, rest = np.divmod(n, teams)
    concentration = (rest * (rounds + 1) ** 2 + (teams - rest) * rounds**2) / n**2
    error = of_team * concentration + (own + rater_sd(settings) ** 2) / n
    true, total_error = mean**2 * authority, float(error.mean()) + audit.inflation_sd**2
    return true / (true + total_error) if true + total_error > 0 else np.nan


def stated_audit(settings: WorldSettings) -> Audit:
    """The audit of a world.

    Raises
    ------
    ValueError
        If the world has none.
    """
    if settings.audit is None:
        raise ValueError("fidelity is not scored: world.audit is not stated")
    return settings.audit


def cases_of(settings: WorldSettings) -> Ints:
    """Cases audited in each authority, one of every worker where there are fewer workers: (authority,)."""
    return np.minimum(stated_audit(settings).cases, teams_of(settings) * settings.workers.per_team)


def rater_sd(settings: WorldSettings) -> float:
    """Standard deviation of a rater's error in the score of one case."""
    fidelity, reliability = settings.fidelity, stated_audit(settings).rater_reliability
    between = fidelity.authority_sd**2 + fidelity.team_sd**2 + fidelity.worker_sd**2
    return float(np.sqrt(between * (1 - reliability) / reliability))


def _scored(world: World, fidelity: Floats, practised: Bools, name: str, unit: Ints | None = None) -> Floats:
    """Mean fidelity of the audited cases, of all authorities or those in slots, as it is scored."""
    audit, n = stated_audit(world.settings), cases_of(world.settings)
    if audit.without_error:
        return fidelity

    def here(values: Floats) -> Floats:
        return values if unit is None else enrolled(values, unit)

    sd = rater_sd(world.settings)
    if sd:
        errors = world.streams.rng("audit_rater", name).standard_normal((world.n_replicates, n.size))
        fidelity = fidelity + here(errors * (sd / np.sqrt(n)))
    if audit.inflation or audit.inflation_sd:
        added = np.full((1, 1), audit.inflation)
        if audit.inflation_sd:
            added = added + audit.inflation_sd * world.normal("audit_inflation")
        fidelity = fidelity + np.where(practised, here(added), 0.0)
    return fidelity


def _audited(world: World, years: float, year: int, name: str) -> Floats:
    """Mean fidelity of the audited workers of every authority, (replicate, authority).

    Parameters
    ----------
    years : float
        Years since the authority started.
    year : int
        The year, from 0, the first on record.
    name : str
        Of the streams of the audit.
    """
    mean = world.kept(f"audit {name}", years, lambda: _mean_of_cases(world, years, name))
    shock = world.settings.fidelity.shock
    if shock == 0:
        return mean
    return mean * np.where(world.events.inadequate_since_start[:, :, year], 1 - shock, 1.0)


def _mean_of_cases(world: World, years: float, name: str) -> Floats:
    """Mean fidelity over the workers of the cases, judgements left out: (replicate, authority)."""
    fidelity, n = world.settings.fidelity, cases_of(world.settings)
    reached, share = progress(fidelity, years)
    alike = reached.size == 1 and (fidelity.scale is None or fidelity.scale.within == 0)
    if alike or stated_audit(world.settings).without_error:
        return world.mature_fidelity * float(reached @ share)
    turnover = world.streams.rng("audit_turnover", name)
    total = np.zeros((world.n_replicates, world.n_authorities))
    # case by case, so that memory does not grow with their number
    for case, worker in enumerate(islice(_workers(world, name), int(n.max()))):
        multiple = reached
        if reached.size > 1:
            place = np.searchsorted(share.cumsum()[:-1], turnover.random(total.shape), side="right")
            multiple = reached[place]
        total += np.where(case < n, multiple * worker, 0.0)
    return total / n


def _workers(world: World, name: str) -> Iterator[Floats]:
    """Mature fidelity of one worker of every authority after another, (replicate, authority)."""
    fidelity, scale = world.settings.fidelity, world.settings.fidelity.scale
    if scale is None:
        yield from repeat(np.full((1, 1), fidelity.mean))
        return
    shape = (world.n_replicates, world.n_authorities)
    of_authority = np.full((1, 1), scale.centre)
    if scale.authority:
        of_authority = of_authority + scale.authority * world.readiness
    rng, components = world.streams.rng("audit_worker", name), fidelity.components
    apart = {
        part: world.streams.rng("audit_component", f"{name} {part}")
        for part in (components.shares if components else ())
    }
    for team in _teams(world, scale, name):
        place = of_authority + team
        own = rng.standard_normal(shape) if scale.worker else np.zeros((1, 1))
        if components is None:
            yield special.expit(place + scale.worker * own)
            continue
        shared = np.sqrt(components.correlation) * own
        single = np.sqrt(1 - components.correlation)
        yield sum(
            (
                weight * special.expit(place + scale.worker * (shared + single * of.standard_normal(shape)))
                for weight, of in zip(components.shares.values(), apart.values(), strict=True)
            ),
            start=np.zeros((1, 1)),
        )


def _teams(world: World, scale: FidelityScale, name: str) -> Iterator[Floats]:
    """Deviation of the team that each next case is taken from, on the logit scale, (replicate, authority)."""
    if scale.team == 0:
        yield from repeat(np.zeros((1, 1)))
        return
    n_teams = teams_of(world.settings)
    most = min(stated_audit(world.settings).cases, int(n_teams.max()))
    shape = (most, world.n_replicates, world.n_authorities)
    drawn = world.streams.rng("audit_team", name).standard_normal(shape)
    for case in count():
        of_case = (case % n_teams)[np.newaxis, np.newaxis]
        yield scale.team * np.take_along_axis(drawn, of_case, axis=0)[0]


def _shared_by_rival(world: World) -> Floats:
    """Fidelity to what the rival has in common with the framework, were it there: (replicate, authority)."""
    rival, components = world.settings.rival, world.settings.fidelity.components
    if rival is None or components is None or not rival.shares:
        return np.zeros((1, 1))
    return world.rival_fidelity * sum(components.shares[name] for name in rival.shares)
