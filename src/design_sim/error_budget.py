"""Error budget: which mechanism makes how much of an answer's error, on the same draws.

For one study, v(S) is the mean over replicates of (estimate - that world's value of the estimand)^2 with
the mechanisms S switched on and all others off, on the same streams. The mean squared error is v(none),
called sampling, plus a Shapley part for each mechanism: what it adds when switched on, averaged over every
order in which the mechanisms could be. Signed bias is divided alike. Parts are formed for each replicate,
add up exactly, and may be negative.

Source: Shapley (1953), in Contributions to the Theory of Games II, 307-317.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import factorial
from typing import Any, TypeVar

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from design_sim.arrays import Floats
from design_sim.designs import Design
from design_sim.errors import ScenarioError
from design_sim.estimands import true_value
from design_sim.scenario import Scenario, Study
from design_sim.simulate import Progress, analyse, carry_out
from design_sim.stated import Stated
from design_sim.streams import Streams
from design_sim.world.draw import draw_world
from design_sim.world.settings import Fidelity, WorldSettings, block_size

MOST = 8
"""Mechanisms of one study that can be told apart: every one more doubles the work."""
SAMPLING = "sampling"
Without = Callable[[WorldSettings, Design], tuple[WorldSettings, Design]]
S = TypeVar("S", bound=Stated)


def changed(stated: S, **settings: Any) -> S:
    """The same with some settings changed, checked as a scenario file is."""
    present = {key: getattr(stated, key) for key in stated.model_fields_set}
    return type(stated).model_validate({**present, **settings})


def _no_selection(world: WorldSettings, design: Design) -> tuple[WorldSettings, Design]:
    """Adopters and pilots as chance would have them."""
    reasons = {"quality_weight": 0.0, "deprivation_weight": 0.0, "requires_improvement_weight": 0.0}
    if world.adoption and any(getattr(world.adoption, reason) for reason in reasons):
        world = changed(world, adoption=changed(world.adoption, **reasons))
    purposive = {
        key: "chance" for key in ("pilots_by", "comparisons_by") if getattr(design, key, "chance") != "chance"
    }
    return world, changed(design, **purposive) if purposive else design  # type: ignore[type-var]


def _no_dip(world: WorldSettings, design: Design) -> tuple[WorldSettings, Design]:
    """Nobody adopts because of a bad year."""
    return _without_reason(world, "bad_year_weight", "worsening_weight"), design


def _no_differential_trend(world: WorldSettings, design: Design) -> tuple[WorldSettings, Design]:
    """Nobody adopts because things have been getting worse."""
    return _without_reason(world, "worsening_weight", "bad_year_weight"), design


def _without_reason(world: WorldSettings, reason: str, other: str) -> WorldSettings:
    adoption = world.adoption
    if adoption is None or getattr(adoption, reason) == 0:
        return world
    settings: dict[str, Any] = {reason: 0.0}
    if getattr(adoption, other) == 0:
        settings["bad_year_outcome"] = None
    return changed(world, adoption=changed(adoption, **settings))


def _no_contamination(world: WorldSettings, design: Design) -> tuple[WorldSettings, Design]:
    """No authority has a framework of its own."""
    if world.informal is None and world.rival is None:
        return world, design
    return changed(world, informal=None, rival=None), design


def _no_anticipation(world: WorldSettings, design: Design) -> tuple[WorldSettings, Design]:
    """Nothing moves before the start."""
    return changed(world, anticipation=0.0) if world.anticipation else world, design


def _no_dilution(world: WorldSettings, design: Design) -> tuple[WorldSettings, Design]:
    """Everybody takes part, at fidelity 1 from the first day."""
    perfect = Fidelity(mean=1.0, authority_sd=0.0, worker_sd=0.0, years_to_80_percent=0.0)
    return changed(world, fidelity=perfect, uptake=1.0), design


def _no_attrition(world: WorldSettings, design: Design) -> tuple[WorldSettings, Design]:
    """Every sampled family is seen, and every figure is there."""
    everybody = {"consent": 1.0, "loss_treated": 0.0, "loss_comparison": 0.0, "missing_years": 0.0}
    return world, _measured(design, **everybody)


def _no_observer_bias(world: WorldSettings, design: Design) -> tuple[WorldSettings, Design]:
    """Observers do not know the arm."""
    return world, _measured(design, observer_bias=0.0)


def _no_measurement_error(world: WorldSettings, design: Design) -> tuple[WorldSettings, Design]:
    """Outcomes are measured as they are."""
    return world, _measured(design, reliability=1.0)


def _measured(design: Design, **settings: Any) -> Design:
    """A design with another measurement; itself where that is no other."""
    measurement = design.measurement
    if measurement is None or all(getattr(measurement, key) == value for key, value in settings.items()):
        return design
    better = changed(measurement, **settings)
    return changed(design, measurement=better)  # type: ignore[type-var]


def _no_leaving(world: WorldSettings, design: Design) -> tuple[WorldSettings, Design]:
    """No authority leaves the framework."""
    return changed(world, leaving=None) if world.leaving else world, design


MECHANISMS: dict[str, Without] = {
    "selection": _no_selection,
    "dip": _no_dip,
    "differential_trend": _no_differential_trend,
    "anticipation": _no_anticipation,
    "contamination": _no_contamination,
    "dilution": _no_dilution,
    "leaving": _no_leaving,
    "attrition": _no_attrition,
    "observer_bias": _no_observer_bias,
    "measurement_error": _no_measurement_error,
}
"""Every mechanism by name, and how a world and a design are without it."""
MEANINGS: dict[str, str] = {
    SAMPLING: "what is left with every mechanism off",
    "selection": "adopters or pilots chosen for what they are",
    "dip": "adoption after a bad year",
    "differential_trend": "adoption where things were getting worse",
    "anticipation": "effects before the start",
    "contamination": "frameworks that authorities have without the study",
    "dilution": "fidelity below 1, and families that do not take part",
    "leaving": "authorities that leave the framework",
    "attrition": "families and figures that are not observed",
    "observer_bias": "observers who know the arm",
    "measurement_error": "outcomes measured with error",
}
"""What each part of a budget is, in words."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an answer's error.

    Parameters
    ----------
    mechanism : str
        A key of `MEANINGS`.
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
    """The mechanisms that a study has: those without which its world or its design would be another."""
    stated = (scenario.world, study.design)
    kept = {answer.estimand.rung for answer in study.answers.values()}
    needed = {"contamination"} if "versus_rival" in kept else set()
    needed |= {"dilution"} if "one_component" in kept else set()
    return [name for name, without in MECHANISMS.items() if name not in needed and without(*stated) != stated]


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
    settings, design = scenario.world, study.design
    for name in names:
        if name not in on:
            settings, design = MECHANISMS[name](settings, design)
    world = draw_world(settings, scenario.outcomes, block_size(settings), Streams(scenario.seed, block))
    allocation, panel, *_ = carry_out(scenario, replace(study, design=design), world)
    of_group = world.of_group(design.group)
    errors, estimates = {}, {}
    for answer, (estimator, estimand) in study.answers.items():
        if estimator not in estimates:
            estimates[estimator] = analyse(estimator, panel, world.streams, kept).estimate
        truth = true_value(estimand, of_group, allocation, design.outcome, scenario.window)
        errors[answer] = estimates[estimator] - (truth if truth.shape[0] == 1 else truth[:kept])
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
