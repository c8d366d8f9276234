"""Attained power: what power and size an answer has once an allocation is drawn, over many allocations.

Power is a mean over the allocations that a trial could draw. Where authorities differ in size, the one that
is drawn may be lucky or not: the larger ones treated or not, early in a wedge or late. Each allocation, with
who is enrolled, is held while everything else is drawn anew, authorities' outcomes included; only their sizes
are the same throughout.

Shares of rejections scatter between allocations by Monte Carlo error too. Their variance less the mean of
p (1 - p) / (n - 1) is that between allocations, without bias; distributions are drawn together about
their mean by the root of the ratio of the two, which gives them the right spread, not quite the right shape.

Source: Ouyang, Karim, Gustafson, Field and Wong (2020), BMC Medical Research Methodology 20, 166: attained
power, and the characteristics of an allocation that go with it; Kleinman (1973), Journal of the American
Statistical Association 68, 46-54, for the variance between proportions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from scipy.special import chdtrc
from threadpoolctl import threadpool_limits

from design_sim.allocation import Allocation, ConstrainedRandomisation
from design_sim.arrays import Floats
from design_sim.errors import ScenarioError
from design_sim.panel import Panel
from design_sim.scenario import Scenario
from design_sim.simulate import Progress, carry_out, judge
from design_sim.streams import Streams
from design_sim.study import Study
from design_sim.tally import Tally
from design_sim.world.draw import draw_world
from design_sim.world.settings import block_size

QUANTILES = (0.1, 0.5, 0.9)
"""The allocations that are looked at: the lowest tenth ends at the first, the highest begins at the last."""
_RESAMPLES = 400


class Spread(NamedTuple):
    """How a rate is distributed over allocations, each number with its Monte Carlo standard error.

    Parameters
    ----------
    mean, between : tuple of two float
        Mean, and standard deviation over allocations without Monte Carlo error.
    quantiles : tuple of tuples of two float
        At `QUANTILES`, of the rates drawn together to that standard deviation.
    p_alike : float
        p-value of Pearson's chi-square test that all allocations have the same rate.
    """

    mean: tuple[float, float]
    between: tuple[float, float]
    quantiles: tuple[tuple[float, float], ...]
    p_alike: float


@dataclass(frozen=True, slots=True)
class Attained:
    """What one answer of one study attains in each allocation.

    Parameters
    ----------
    study, answer : str
        Their names in the scenario.
    rejected, null_rejected : float arrays, (allocation,)
        Replicates in which the test rejected, in the study and in its null twin.
    analysed, null_analysed : float arrays, (allocation,)
        Replicates whose analysis did not fail.
    treated_share : float array, (allocation,)
        Share of the observed families that are treated when they are observed.
    with_time : float array, (allocation,)
        Correlation over observed families of being treated with the occasion; nan where there is one
        occasion, or nobody or everybody is treated.
    asked : int
        Replicates of each allocation.
    """

    study: str
    answer: str
    rejected: Floats
    null_rejected: Floats
    analysed: Floats
    null_analysed: Floats
    treated_share: Floats
    with_time: Floats
    asked: int

    @property
    def power(self) -> Floats:
        """Share of analysed replicates that reject, (allocation,)."""
        return _ratio(self.rejected, self.analysed)

    @property
    def size(self) -> Floats:
        """The same in the null twin."""
        return _ratio(self.null_rejected, self.null_analysed)

    def spread_of_power(self, seed: int) -> Spread:
        """How power is distributed; `seed` is the run's."""
        return spread_of(self.power, self.analysed, seed)

    def spread_of_size(self, seed: int) -> Spread:
        """How size is distributed."""
        return spread_of(self.size, self.null_analysed, seed)


def attained_power(
    scenario: Scenario, allocations: int, replicates: int, jobs: int = 1, progress: Progress | None = None
) -> list[Attained]:
    """Draw allocations of every study that chance allocates, and try each with many replicates.

    Parameters
    ----------
    scenario : Scenario
        One case. Its studies that chance does not allocate are left out.
    allocations : int
        How many are drawn, at least 2; each with who is enrolled.
    replicates : int
        Of each allocation, at least 2.
    jobs : int
        Processes; the numbers are the same for any.
    progress : callable, optional
        Called with (allocations done, allocations in all).

    Raises
    ------
    ScenarioError
        If there are too few allocations or replicates, if no study is allocated by chance, or if one is
        balanced on something that is drawn anew in every replicate.
    """
    faults = [
        f"{key}: {value} is below 2, and a spread needs two"
        for key, value in (("allocations", allocations), ("replicates", replicates))
        if value < 2
    ]
    if faults:
        raise ScenarioError(faults)
    drawn = by_chance(scenario)
    _refuse_unsteady(drawn)
    scenario = replace(scenario, studies=drawn)
    one = partial(_try, scenario, replicates)
    found: list[_Counts] = []
    for number, counts in enumerate(_run(one, allocations, jobs), start=1):
        found.append(counts)
        if progress:
            progress(number, allocations)
    return [_collected(key, [counts[key] for counts in found], replicates) for key in found[0]]


def by_chance(scenario: Scenario) -> dict[str, Study]:
    """The studies of a scenario whose allocation chance decides.

    Raises
    ------
    ScenarioError
        If there is none.
    """
    streams = Streams(scenario.seed, 0)
    world = draw_world(scenario.world, scenario.outcomes, 1, streams)
    drawn = {
        name: study
        for name, study in scenario.studies.items()
        if study.design.allocate(world, streams).law.randomised
    }
    if not drawn:
        raise ScenarioError(
            ["designs: none is allocated by chance, and power over allocations is that of randomised ones"]
        )
    return drawn


def spread_of(rate: Floats, n: Floats, seed: int) -> Spread:
    """How a rate is distributed over allocations, without its Monte Carlo error.

    Parameters
    ----------
    rate, n : float arrays, (allocation,)
        Shares, and of how many replicates; allocations of fewer than two are left out.
    seed : int
        Root seed of the bootstrap over allocations that gives the errors.
    """
    known = n > 1
    rate, n = rate[known], n[known]
    if rate.size < 2:
        lost = (float("nan"), float("nan"))
        return Spread(lost, lost, (lost,) * len(QUANTILES), float("nan"))
    rng = Streams(seed, 0).rng("resampling")
    picked = rng.integers(rate.size, size=(_RESAMPLES, rate.size))
    found = _summary(rate[np.newaxis], n[np.newaxis])[0]
    errors = _summary(rate[picked], n[picked]).std(axis=0, ddof=1)
    mean, between, *quantiles = zip(found.tolist(), errors.tolist(), strict=True)
    return Spread(mean, between, tuple(quantiles), _p_alike(rate, n))


def _p_alike(rate: Floats, n: Floats) -> float:
    pooled = float(rate @ n / n.sum())
    if pooled in (0.0, 1.0):
        return 1.0
    statistic = float(n @ (rate - pooled) ** 2) / (pooled * (1 - pooled))
    return float(chdtrc(rate.size - 1, statistic))


def _summary(rate: Floats, n: Floats) -> Floats:
    """Mean, standard deviation between allocations and quantiles of each row: (row, number)."""
    between = np.sqrt(between_variance(rate, n))
    total = rate.std(axis=1, ddof=1)
    kept = np.divide(between, total, out=np.zeros_like(total), where=total > 0)
    mean = rate.mean(axis=1)
    drawn_together = mean[:, np.newaxis] + kept[:, np.newaxis] * (rate - mean[:, np.newaxis])
    quantiles = np.quantile(drawn_together, QUANTILES, axis=1)
    return np.stack([mean, between, *quantiles], axis=1)


def between_variance(rate: Floats, n: Floats) -> Floats:
    """Variance of a proportion between allocations, without that of its Monte Carlo error; 0 if below.

    Parameters
    ----------
    rate, n : float arrays, (..., allocation)
        Proportions, each of so many replicates, at least 2.
    """
    noise = (rate * (1 - rate) / (n - 1)).mean(axis=-1)
    between: Floats = np.maximum(rate.var(axis=-1, ddof=1) - noise, 0.0)
    return between


class _Count(NamedTuple):
    """What one allocation gives of one answer, summed over its blocks."""

    rejected: float
    null_rejected: float
    analysed: int
    null_analysed: int
    treated_share: float
    with_time: float


_Counts = dict[tuple[str, str], _Count]


def _run(one: "partial[_Counts]", allocations: int, jobs: int) -> Iterator[_Counts]:
    if jobs == 1 or allocations == 1:
        yield from map(one, range(allocations))
    else:
        yield from Parallel(n_jobs=jobs, return_as="generator")(
            delayed(one)(number) for number in range(allocations)
        )


def _try(scenario: Scenario, replicates: int, number: int) -> _Counts:
    """Draw allocation `number` of every study, and try it."""
    size = block_size(scenario.world)
    blocks = -(-replicates // size)
    held: dict[str, Allocation] = {}
    tallies: dict[tuple[str, str], Tally] = {}
    layouts: dict[str, tuple[float, float]] = {}
    with threadpool_limits(1):
        for block in range(blocks):
            streams = Streams(scenario.seed, number * blocks + block)
            world = draw_world(scenario.world, scenario.outcomes, size, streams)
            kept = min(replicates - block * size, size)
            for name, study in scenario.studies.items():
                if name not in held:
                    held[name] = held_allocation(study.design.allocate(world, streams))
                twins = carry_out(scenario, study, world, allocation=held[name])
                layouts.setdefault(name, layout_of(twins.stated))
                for answer, tally in judge(scenario, study, world, twins, kept).items():
                    so_far = tallies.get((name, answer))
                    tallies[name, answer] = tally if so_far is None else so_far + tally
    return {
        (name, answer): _Count(
            _rejections(tally.stated), _rejections(tally.null), tally.stated.count, tally.null.count,
            *layouts[name],
        )
        for (name, answer), tally in tallies.items()
    }  # fmt: skip


def _rejections(moments: Any) -> float:
    return float(moments.count_of("rejected")) if moments.count else 0.0


def held_allocation(allocation: Allocation) -> Allocation:
    """The allocation of the first replicate in all replicates."""

    def first(values: Any) -> Any:
        return None if values is None else np.repeat(values[:1], values.shape[0], axis=0)

    law = allocation.law
    if isinstance(law, ConstrainedRandomisation):
        law = replace(law, allowed=first(law.allowed))
    arrays = ("unit", "start", "stop", "stratum", "observed", "families")
    return replace(allocation, law=law, **{name: first(getattr(allocation, name)) for name in arrays})


def layout_of(panel: Panel) -> tuple[float, float]:
    """Share of the observed families that are treated, and the correlation of that with the occasion."""
    n = panel.cells.n.mean(axis=0)
    treated = np.broadcast_to(panel.treated.mean(axis=0), n.shape)
    weight = n / n.sum()
    share = float((weight * treated).sum())
    time = np.broadcast_to(panel.occasions.astype(np.float64), n.shape)
    early = time - float((weight * time).sum())
    spread = float((weight * early**2).sum()) * share * (1 - share)
    if not spread > 0:
        return share, float("nan")
    return share, float((weight * early * treated).sum()) / spread**0.5


def _refuse_unsteady(studies: Mapping[str, Study]) -> None:
    """Balance on what every replicate draws anew would be balance in one of them alone."""
    faults = []
    for name, study in studies.items():
        balance = getattr(study.design, "balance", None)
        moving = sorted(set(balance.on) - {"size"}) if balance else []
        if moving:
            faults.append(
                f"designs.{name}.balance.on: {', '.join(moving)} of authorities are drawn anew in every "
                "replicate, and an allocation held over replicates would not stay balanced; allowed: size"
            )
    if faults:
        raise ScenarioError(faults)


def _collected(key: tuple[str, str], counts: Sequence[_Count], asked: int) -> Attained:
    def column(name: str) -> Floats:
        return np.array([getattr(count, name) for count in counts], dtype=np.float64)

    return Attained(
        study=key[0],
        answer=key[1],
        rejected=column("rejected"),
        null_rejected=column("null_rejected"),
        analysed=column("analysed"),
        null_analysed=column("null_analysed"),
        treated_share=column("treated_share"),
        with_time=column("with_time"),
        asked=asked,
    )


def _ratio(part: Floats, whole: Floats) -> Floats:
    ratio: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio
