"""Error budget: which mechanism makes how much of an answer's error, on the same draws.

For one study, v(S) is the mean over replicates of (estimate - that world's value of the estimand)^2 with
the mechanisms S switched on and all others off, on the same streams. The mean squared error is v(none),
called sampling, plus a Shapley part for each mechanism: what it adds when switched on, averaged over every
order in which the mechanisms could be. Signed bias is divided alike. Parts are formed for each replicate,
add up exactly, and may be negative.

Source: Shapley (1953), in Contributions to the Theory of Games II, 307-317.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from design_sim.arrays import Floats
from design_sim.errors import ScenarioError
from design_sim.estimands import true_value
from design_sim.mechanisms import MECHANISMS, SAMPLING, Conditions
from design_sim.scenario import Scenario
from design_sim.simulate import Progress, analyse, carry_out, clustered
from design_sim.streams import Streams
from design_sim.study import Study
from design_sim.world.draw import draw_world
from design_sim.world.settings import block_size

MOST = 8
"""Mechanisms of one study that can be told apart: every one more doubles the work."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an answer's error.

    Parameters
    ----------
    mechanism : str
        A key of `mechanisms.MEANINGS`.
    mse, mse_error : float
        Part of the mean squared error, in squared units of the outcome, and its Monte Carlo standard error.
    bias, bias_error : float
        Part of the bias, in units of the outcome, and its Monte Carlo standard error.
    """

    mechanism: str
    mse: float
    mse_error: float
    bias: float
    bias_error: float


@dataclass(frozen=True, slots=True)
class Budget:
    """The error of one answer of one study, divided.

    Parameters
    ----------
    study, answer : str
        Their names in the scenario.
    parts : tuple of Part
        Sampling first, then every mechanism that the study has.
    total : Part
        Mean squared error and bias with all of them on; the parts add up to it.
    replicates, failures : int
        Replicates asked for, and those of them left out because an analysis failed with some mechanisms off
        or on.
    """

    study: str
    answer: str
    parts: tuple[Part, ...]
    total: Part
    replicates: int
    failures: int


def mechanisms_of(scenario: Scenario, study: Study) -> list[str]:
    """The mechanisms that a study has: those without which its world, outcomes or design would be others."""
    stated = Conditions(scenario.world, scenario.outcomes, study.design)
    kept = {answer.estimand.rung for answer in study.answers.values()}
    needed = {"contamination"} if "versus_rival" in kept else set()
    needed |= {"dilution"} if "one_component" in kept else set()
    return [name for name, without in MECHANISMS.items() if name not in needed and without(stated) != stated]


def budget(
    scenario: Scenario, replicates: int, jobs: int = 1, progress: Progress | None = None
) -> list[Budget]:
    """Divide the error of every answer of every study.

    Parameters
    ----------
    scenario : Scenario
        One case; its mechanisms are switched off in every combination.
    replicates : int
        At least 2.
    jobs : int
        Processes; the numbers are the same for any.
    progress : callable, optional
        Called with (tasks done, tasks in all).

    Raises
    ------
    ScenarioError
        If a study has more than eight mechanisms.
    """
    names = {study: mechanisms_of(scenario, of) for study, of in scenario.studies.items()}
    faults = [
        f"designs.{study}: has {len(on)} mechanisms ({', '.join(on)}); a budget can tell {MOST} apart"
        for study, on in names.items()
        if len(on) > MOST
    ]
    if faults:
        raise ScenarioError(faults)
    size = block_size(scenario.world)
    tasks = [
        (scenario, study, names[study], block, min(replicates - first, size))
        for study in names
        for block, first in enumerate(range(0, replicates, size))
    ]
    sums: dict[tuple[str, str], _Sums] = {}
    for number, ((_, study, *_), of_block) in enumerate(zip(tasks, _run(tasks, jobs), strict=True), start=1):
        for answer, more in of_block.items():
            key = study, answer
            sums[key] = sums[key] + more if key in sums else more
        if progress:
            progress(number, len(tasks))
    return [of.budget(*key, [SAMPLING, *names[key[0]]], replicates) for key, of in sums.items()]


def _run(tasks: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[dict[str, "_Sums"]]:
    if jobs == 1 or len(tasks) == 1:
        yield from (_block(*task) for task in tasks)
    else:
        yield from Parallel(n_jobs=jobs, return_as="generator")(delayed(_block)(*task) for task in tasks)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over replicates of parts and total, of squared error and of error, and sums of their squares."""

    n: int
    first: Floats
    second: Floats

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(self.n + other.n, self.first + other.first, self.second + other.second)

    def budget(self, study: str, answer: str, names: Sequence[str], replicates: int) -> Budget:
        """The means and their standard errors."""
        n = max(self.n, 1)
        mean = self.first / n
        variance = np.maximum(self.second / n - mean**2, 0) * n / max(n - 1, 1)
        error = np.sqrt(variance / n)
        mean, error = (np.where(self.n > 1, values, np.nan) for values in (mean, error))
        parts = [
            Part(name, *(float(values[kind, place]) for kind in (0, 1) for values in (mean, error)))
            for place, name in enumerate([*names, "total"])
        ]
        return Budget(study, answer, tuple(parts[:-1]), parts[-1], replicates, replicates - self.n)


def _block(scenario: Scenario, study: str, names: Sequence[str], block: int, kept: int) -> dict[str, _Sums]:
    """Run one study on one block of worlds with every combination of its mechanisms."""
    subsets = [frozenset(on) for k in range(len(names) + 1) for on in combinations(names, k)]
    with threadpool_limits(1):
        errors = {on: _errors(scenario, scenario.studies[study], names, on, block, kept) for on in subsets}
    return {
        answer: _sums({on: of[answer] for on, of in errors.items()}, names)
        for answer in scenario.studies[study].answers
    }


def _errors(
    scenario: Scenario, study: Study, names: Sequence[str], on: frozenset[str], block: int, kept: int
) -> dict[str, Floats]:
    """Error of every answer in every replicate with some mechanisms on, (replicate,)."""
    here = Conditions(scenario.world, scenario.outcomes, study.design)
    for name in names:
        if name not in on:
            here = MECHANISMS[name](here)
    streams = Streams(scenario.seed, block)
    world = draw_world(here.world, here.outcomes, block_size(here.world), streams)
    allocation, panel, *_ = carry_out(scenario, replace(study, design=here.design), world)
    of_group = world.of_group(here.design.group)
    errors, estimates = {}, {}
    for name, answer in study.answers.items():
        analysis = answer.estimator, study.clusters_of(answer)
        if analysis not in estimates:
            of_clusters = clustered(panel, study.clusters_of(answer))
            estimates[analysis] = analyse(answer.estimator, of_clusters, world.streams, kept).estimate
        truth = true_value(answer.estimand, of_group, allocation, study.design.outcome, scenario.window)
        errors[name] = estimates[analysis] - (truth if truth.shape[0] == 1 else truth[:kept])
    return errors


def _sums(errors: Mapping[frozenset[str], Floats], names: Sequence[str]) -> _Sums:
    """Shapley parts of each replicate's squared error and error, summed over replicates."""
    sound = np.all([np.isfinite(error) for error in errors.values()], axis=0)
    parts = []
    for power in (2, 1):
        values = {on: error[sound] ** power for on, error in errors.items()}
        shares = shapley(values, names)
        parts.append([values[frozenset()], *shares, values[frozenset(names)]])
    each = np.array(parts)
    return _Sums(int(sound.sum()), each.sum(axis=2), (each**2).sum(axis=2))


def shapley(values: Mapping[frozenset[str], Floats], names: Sequence[str]) -> list[Floats]:
    """What each name adds, averaged over all orders in which they could be switched on.

    Parameters
    ----------
    values : mapping of float arrays by the set of names that are on
        For every subset of the names.
    names : sequence of str
        The names; one share for each is returned, and they sum to the value of all less that of none.

    Examples
    --------
    >>> value = {frozenset(): 1.0, frozenset("a"): 2.0, frozenset("b"): 4.0, frozenset("ab"): 9.0}
    >>> shapley({on: np.array([v]) for on, v in value.items()}, ["a", "b"])
    [array([3.]), array([5.])]
    """
    n = len(names)
    shares = []
    for name in names:
        share = np.zeros_like(values[frozenset()])
        others = [other for other in names if other != name]
        for k in range(n):
            weight = factorial(k) * factorial(n - k - 1) / factorial(n)
            for on in combinations(others, k):
                share = share + weight * (values[frozenset((*on, name))] - values[frozenset(on)])
        shares.append(share)
    return shares
