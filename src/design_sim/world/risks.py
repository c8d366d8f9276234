"""Risks: what outcomes of yes or no have in common, on records and in surveys.

Decision: practice shifts the risk of a family that takes part, by dose x effect on the scale of the
effect, and leaves that of one that does not; so uptake mixes risks, and is no factor within the logit. On
records, and in the truth of recorded outcomes, the dose is the mean over the authority's workers: on the
logit scale a mixture over workers would have an effect smaller by 0.3 % at 3 points and 2 % at 15 points.
In surveys workers have their own doses, and the truth knows how they spread (`practice.offered_doses`), but
not that competence may go with both dose and risk, which is up to 5 % of an effect of 12 points.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import special

from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.streams import Streams
from design_sim.world.deviations import occasion_sd
from design_sim.world.logit_normal import (
    LogitNormal,
    fidelity_scale,
    mean_over_workers,
    shift_for_difference,
    solve_logit_normal,
)
from design_sim.world.outcome import Deviations, Outcome, in_shock, national_mean
from design_sim.world.settings import WorldSettings


class RiskScale(NamedTuple):
    """Risks of workers on the logit scale: centre, and spreads between authorities, teams and workers."""

    centre: float
    authority: float
    team: float
    worker: float

    @property
    def within(self) -> float:
        """Spread between the workers of an authority, whatever their team."""
        return float(np.hypot(self.team, self.worker))

    @property
    def of_all(self) -> LogitNormal:
        """The distribution of the risks of all workers."""
        return LogitNormal(self.centre, float(np.hypot(self.authority, self.within)))


@cache
def risk_scale(mean: float, start: float, sds: tuple[float, float, float]) -> RiskScale:
    """The logit scale of risks with a stated mean and standard deviations on the probability scale.

    Parameters
    ----------
    mean, start : float
        Mean risk at a time, and at the start of the framework.
    sds : three floats
        Standard deviations of the parts of authorities, teams and workers: the covariance of two families of
        an authority is the square of the first, of a team the squares of the first two, of a worker of all.

    Raises
    ------
    ValueError
        If they cannot be had together.

    Notes
    -----
    The total spread is solved for at every mean, and its division between the levels at the start, since
    that depends little on the mean: with parts of .1, moving the mean from .3 to .5 would change the
    spread of a level by 1.4 %, and much more only for rare risks that become common.
    """
    centre, total = solve_logit_normal(mean, float(np.sqrt(np.square(sds).sum())))
    authority, team, worker = sds
    at_start = fidelity_scale(start, authority, worker, team)
    if at_start is None or total == 0:
        return RiskScale(centre, 0.0, 0.0, 0.0)
    parts = np.array([at_start.authority, at_start.team, at_start.worker])
    parts = parts * total / np.sqrt((parts**2).sum())
    return RiskScale(centre, *(float(part) for part in parts))


def mean_risk(place: Floats, within: float) -> Floats:
    """Mean risk over the workers of authorities that stand at given places on the logit scale.

    Read off a table of 8,001 places; its error is below 1e-6.
    """
    risk: Floats = np.interp(place, *_risk_table(within))
    return risk


@cache
def _risk_table(within: float) -> tuple[Floats, Floats]:
    reach = 25 + 6 * within
    places = np.linspace(-reach, reach, 8_001)
    return places, mean_over_workers(places, within)


def risks_of_authorities(outcome: Outcome, year: float, occasion_sd: float = 1.0) -> LogitNormal:
    """Distribution of the authorities' risks at a time.

    Parameters
    ----------
    year : float
        In years from the middle of the first year after the start.
    occasion_sd : float
        Standard deviation of a risk of so short an occasion, as a multiple of that of a year.

    Raises
    ------
    ValueError
        If the mean is not within 0 to 1, or the standard deviation cannot be had with it.
    """
    return solve_logit_normal(float(national_mean(outcome, year)), outcome.authority_sd * occasion_sd)


def expected_risks(outcome: Outcome, deviations: Deviations) -> Floats:
    """Risks of the authorities, (replicate, authority, occasion): logit-normal at every occasion."""
    sd = deviations.occasion_sd
    scales = [risks_of_authorities(outcome, float(year), sd) for year in deviations.years]
    centre, spread = (np.array(part) for part in zip(*scales, strict=True))
    risk: Floats = special.expit(centre + spread / sd * deviations.deviation)
    return risk


def risk_faults(
    outcome: Outcome, world: WorldSettings, risks: Callable[[float, float], object] | None = None
) -> list[str]:
    """Risks led out of 0 to 1 by a trend or a shock, or spread too widely: the first occasion that they are.

    Parameters
    ----------
    risks : callable, optional
        Solves for the risks of a time, given the occasions' standard deviation as a multiple of a year's;
        those of authorities if not given.
    """
    spread = occasion_sd(outcome, world)
    for year in world.time.years:
        when = f"in year {int(np.floor(year + 0.5))} from the start"
        for sd in (1.0, spread):
            try:
                risks(float(year), sd) if risks else risks_of_authorities(outcome, float(year), sd)
            except ValueError as reason:
                if sd != 1:
                    months = 12 // world.time.per_year
                    wider = f"authorities differ {sd:.2f} times as much over {months} months as over a year"
                    return [f"mean: {wider}; {when}, {reason}"]
                key = "shock.change" if outcome.shock and in_shock(outcome.shock, year) else "trend"
                return [f"{key}: {when}, {reason}"]
    return []


def refuse_unreachable(risks: LogitNormal, effect: float, scale: str) -> None:
    """Raise where an effect cannot be had on risks of a distribution: ValueError with the reason."""
    shift_for_difference(risks, effect)
    if scale == "probability" and effect != 0:
        edge = -effect if effect < 0 else 1 - effect
        place = (special.logit(edge) - risks.centre) / max(risks.spread, 1e-12)
        share = special.ndtr(place) if effect < 0 else special.ndtr(-place)
        if share > 0.001:
            raise ValueError(
                f"an effect of {effect:g} on the probability scale would push {share:.2%} of risks "
                'out of 0 to 1 (0.1 % is allowed); use effect_scale = "logit"'
            )


def risk_with_framework(
    risk: Floats, dose: Floats, uptake: float, effect: tuple[str, float, float]
) -> Floats:
    """Mean risk over the families of a row, those who take part and those who do not.

    Parameters
    ----------
    risk : float array
        Risk without any framework.
    dose : float array, of the same axes
        Share of the full effect that a family that takes part receives.
    uptake : float
        Share of families that take part.
    effect : scale, difference and shift
        "probability" or "logit", the stated mean risk difference, and the shift on the logit scale that
        makes it.

    Returns
    -------
    float array
        risk + uptake x (risk of those who take part - risk), where the latter is risk + difference x dose on
        the probability scale, held within 0 to 1, and inverse logit(logit(risk) + shift x dose) on the logit
        scale.
    """
    scale, difference, shift = effect
    if scale == "probability":
        return risk + uptake * (np.clip(risk + difference * dose, 0.0, 1.0) - risk)
    taking_part: Floats = special.expit(special.logit(risk) + shift * dose)
    return risk + uptake * (taking_part - risk)


def binary_cells(n: Floats, events: Floats) -> Cells:
    """The cells of a yes-or-no outcome: mean and sum of squares follow from the events; nan where n is 0."""
    if (n > 0).all():
        rate = events / n
        return Cells(n, rate, n * rate * (1 - rate))
    there = np.broadcast_to(n > 0, events.shape)
    rate = np.divide(events, n, out=np.full(events.shape, np.nan), where=there)
    return Cells(n, rate, np.where(there, n * rate * (1 - rate), 0.0))


def move_events(
    events: Floats, n: Floats, risk: Floats, changed: Floats, streams: Streams, name: str
) -> Floats:
    """Events once risks have changed: thinned where lower, added to where higher.

    Binomial(events, changed / risk), or events + Binomial(n - events, (changed - risk) / (1 - risk)): exact
    given the events on record. One uniform is inverted for each cell, so that the same chance meets every
    size of effect.
    """
    from scipy import stats

    uniform = streams.rng("delivery", name).random(events.shape)
    moved = events.copy()
    lower, higher = changed < risk, changed > risk
    kept = np.clip((changed / risk)[lower], 0, 1)
    moved[lower] = stats.binom.ppf(uniform[lower], events[lower], kept)
    gained = np.clip(((changed - risk) / (1 - risk))[higher], 0, 1)
    moved[higher] += stats.binom.ppf(uniform[higher], (n - events)[higher], gained)
    return moved.clip(0, n)


def move_events_of(
    taken: Floats | None, events: Floats, n: Floats, risks: tuple[Floats, Floats], of: tuple[Streams, str]
) -> Floats:
    """Events once the risks of some families have changed.

    Parameters
    ----------
    taken : float array or None, (replicate, row, occasion)
        Share of the families whose risk changes; None for all.
    risks : two float arrays, of the same axes
        Risk without the change, and with it.

    Notes
    -----
    Where it matters who takes part, takers and events have one joint law: families of a cell are
    exchangeable, so that of its events a hypergeometric number belongs to the takers, and only these
    are moved, by the risk of those who take part. Exact, as for single families, of whom each takes part
    or not. Where it does not matter, the mean risk of all families moves the events of all, which has the
    same law for the events, but is another draw.
    """
    streams, name = of
    if taken is None or (taken == 1).all():
        return move_events(events, n, *risks, streams, name)
    takers = np.rint(taken * n)
    of_takers = events_of_takers(takers, events, n, of)
    return events - of_takers + move_events(of_takers, takers, *risks, streams, name)


def events_of_takers(takers: Floats, events: Floats, n: Floats, of: tuple[Streams, str]) -> Floats:
    """How many of the events without a framework are of families that take part: hypergeometric."""
    streams, name = of
    whole = (part.astype(np.int64) for part in (events, n - events, takers))
    return streams.rng("takers", name).hypergeometric(*whole).astype(np.float64)
