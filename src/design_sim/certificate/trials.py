"""The trials of the certificate: scenario files made from the table of entries, run, and put in a table.

Entries that share an outcome and a number of replicates are answers of the same studies on the same
worlds, in one scenario file, which anybody can run again with `design-sim run`.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import log1p, nan, sqrt
from typing import TYPE_CHECKING, Any

from design_sim.certificate.entries import (
    AS_IT_STANDS,
    ENTRIES,
    EXCUSED,
    ICCS,
    ORDINARY,
    SITUATIONS,
    SIZES,
    Condition,
    Entry,
    OutcomeName,
    Setting,
    Situation,
)
from design_sim.certificate.verdicts import Size, verdicts_of
from design_sim.errors import DesignSimError, ScenarioError
from design_sim.estimators import ESTIMATORS
from design_sim.faults import found, nearest
from design_sim.performance import measure
from design_sim.simulate import Progress, simulate
from design_sim.sweep import Case, Sweep, parse
from design_sim.tally import Tally
from design_sim.world.settings import block_size

if TYPE_CHECKING:
    from pandas import DataFrame

_RISK = 0.3
_WORLD = """# How often does each answer reject a true null? Trials of the calibration certificate.
seed = {seed}
replicates = {replicates}
average_twin = true

[world]
authorities = 151
uptake = {uptake}
effect_sd = 0.5

[world.time]
years_before = {years_before}
years_after = 5

[world.fidelity]
mean = {mean}
authority_sd = {authority_sd}
worker_sd = {worker_sd}
years_to_80_percent = 0.0
"""
_AUDIT = """
[world.audit]
cases = 20
"""
_DRIFT = "slope_sd = 0.5\n"
_OUTCOMES: dict[OutcomeName, str] = {
    "score": """
[outcomes.score]
kind = "continuous"
source = "record"
effect = 0.2
authority_sd = 0.1
family_sd = 1.0
per_10000_children = 3.02
""",
    "yes_or_no": f"""
[outcomes.yes_or_no]
kind = "binary"
source = "record"
mean = {_RISK}
effect = 0.09
authority_sd = 0.1
per_10000_children = 3.02
""",
    "events": """
[outcomes.events]
kind = "count"
source = "record"
mean = 1.0
per = 1.0
effect = 0.2
log_sd = 0.1
per_10000_children = 3.02
""",
}
_SIZE_PATH = "world.size.log_sd"
_YEARS_FOR_SMALL_BLOCKS = 30
"""Years on record before the start that make blocks small: they are drawn and analysed whole, and an analysis
of one replicate at a time is slow."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the trials found.

    Parameters
    ----------
    frame : DataFrame
        A row for each entry, situation, kind of sizes and ICC; one for each entry and situation that does not
        suit it.
    sweeps : tuple of Sweep
        The scenario files that were run.
    """

    frame: "DataFrame"
    sweeps: tuple[Sweep, ...]


def certify(
    replicates: int | None = None,
    seed: int = 1,
    jobs: int = 1,
    only: Collection[str] = (),
    progress: Progress | None = None,
) -> Certificate:
    """Put every registered answer to the trials of the certificate.

    Parameters
    ----------
    replicates : int, optional
        The most of any entry; as the table of entries has it if not given.
    seed : int
        Root of all chance.
    jobs : int
        Processes; the numbers are the same for any.
    only : names of estimators, optional
        All if not given.
    progress : callable, optional
        Called with (blocks done, blocks in all).

    Raises
    ------
    DesignSimError
        If there is no estimator of a name, or fewer than 1 replicate is asked for.
    """
    return carry_out(plan(replicates, seed, only), jobs, progress)


def plan(replicates: int | None = None, seed: int = 1, only: Collection[str] = ()) -> "Plan":
    """The trials that `certify` would run; raises what it would."""
    for name in only:
        if name not in ESTIMATORS:
            raise DesignSimError(f"--only {name!r}: is not an estimator{nearest(name, ESTIMATORS)}")
    if replicates is not None and replicates < 1:
        raise DesignSimError(f"--replicates: found {replicates}; allowed: 1 or more")
    if not 0 <= seed < 2**63:
        raise DesignSimError(f"--seed: {found(seed)} is not within 0 to 2^63 - 1")
    entries = tuple(entry for entry in ENTRIES if not only or entry.estimator in only)
    excused = {name: reason for name, reason in EXCUSED.items() if not only or name in only}
    if not entries:
        raise DesignSimError(f"--only {min(only)!r}: {excused[min(only)]}")
    groups = [_Group(tuple(group), replicates or ORDINARY, seed) for group in _grouped(entries)]
    return Plan(entries, tuple(group for group in groups if group.suited), excused)


def carry_out(plan: "Plan", jobs: int = 1, progress: Progress | None = None) -> Certificate:
    """Run the trials of a plan; see `certify`."""
    from pandas import DataFrame

    rows: dict[tuple[Entry, Situation], list[dict[str, Any]]] = {}
    sweeps = plan.sweeps
    for group, sweep, tell in zip(plan.groups, sweeps, _counted(sweeps, progress), strict=True):
        for where, row in _run(group, sweep, jobs, tell):
            rows.setdefault(where, []).append(row)
    places = [(entry, at) for entry in plan.entries for at in SITUATIONS]
    table = [row for place in places for row in rows.get(place) or _left_out(*place)]
    table += [_excused(name, reason) for name, reason in plan.excused.items()]
    return Certificate(DataFrame(table), sweeps)


@dataclass(frozen=True)
class Plan:
    """What is going to be tried.

    Parameters
    ----------
    entries : tuple of Entry
        The answers.
    groups : tuple
        The same, by the scenario file that they stand in.
    excused : mapping of reasons by name
        Estimators that no situation suits.
    """

    entries: tuple[Entry, ...]
    groups: "tuple[_Group, ...]"
    excused: Mapping[str, str]

    @cached_property
    def sweeps(self) -> tuple[Sweep, ...]:
        """The scenario files, one for each group."""
        return tuple(group.sweep for group in self.groups)


@dataclass(frozen=True)
class _Group:
    """Entries that are answers of the same studies."""

    entries: tuple[Entry, ...]
    most: int
    seed: int

    @property
    def outcome(self) -> OutcomeName:
        return self.entries[0].outcome

    @property
    def suited(self) -> list[Situation]:
        return [at for at in SITUATIONS if any(not reason_against(entry, at) for entry in self.entries)]

    @property
    def sweep(self) -> Sweep:
        replicates = min(self.most, self.entries[0].replicates)
        studies = {at: [e for e in self.entries if not reason_against(e, at)] for at in self.suited}
        return parse(_text(studies, replicates, self.seed), "certificate")


def _grouped(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries of an outcome, a condition and a number of replicates, which read the same of a cell."""
    groups: dict[object, list[Entry]] = {}
    for entry in entries:
        singly = entry.model.needs == "families"
        groups.setdefault((entry.outcome, entry.replicates, singly, entry.condition), []).append(entry)
    return list(groups.values())


@cache
def _reason(estimator: str, settings: str, outcome: OutcomeName, situation: str) -> str:
    """Why a study with this answer alone is refused, in the words of the check; empty where it is not."""
    entry = next(e for e in ENTRIES if (e.estimator, e.words, e.outcome) == (estimator, settings, outcome))
    at = next(at for at in SITUATIONS if at.name == situation)
    try:
        parse(_text({at: [entry]}, 1, 1), "certificate")
    except ScenarioError as refused:
        said = refused.faults[0].removeprefix(f"designs.{situation}.answers.{_name(entry)}")
        return re.sub(r"^[\w.]*: | \(in the sweep, .*\)$", "", said)
    return ""


def reason_against(entry: Entry, situation: Situation) -> str:
    """Why an entry is not put to a situation; empty where it is."""
    if situation.treated + situation.comparison > entry.largest:
        return "takes too long with so many authorities, one replicate at a time"
    return _reason(entry.estimator, entry.words, entry.outcome, situation.name)


def _text(studies: dict[Situation, list[Entry]], replicates: int, seed: int) -> str:
    """A scenario file: studies with answers of one outcome and condition, varied by ICC and sizes."""
    every = [entry for entries in studies.values() for entry in entries]
    outcome, condition = every[0].outcome, every[0].condition
    years = _YEARS_FOR_SMALL_BLOCKS if any(entry.model.needs == "families" for entry in every) else 1
    parts = [_world(condition, seed=seed, replicates=replicates, years_before=years), _OUTCOMES[outcome]]
    if condition == "drifting":
        parts.append(_DRIFT)
    for situation, entries in studies.items():
        design = f'designs."{situation.name}"'
        parts.append(f'\n[{design}]\noutcome = "{outcome}"\n{situation.design}\n')
        for entry in entries:
            lines = [f"{key} = {_toml(value)}" for key, value in entry.settings.items()]
            stated = "\n".join([f'estimator = "{entry.estimator}"', *lines, 'estimand = "offered"'])
            parts.append(f'\n[{design}.answers."{_name(entry)}"]\n{stated}\n')
    spreads = ", ".join(repr(spread) for spread in _spreads(outcome))
    sizes = ", ".join(repr(size) for size in SIZES.values())
    parts.append(f'\n[sweep]\n"{_spread_path(outcome)}" = [{spreads}]\n"{_SIZE_PATH}" = [{sizes}]\n')
    return "".join(parts)


def _world(condition: Condition, **run: int) -> str:
    """The run and the world, with what a condition has."""
    scored = condition == "scored"
    fidelity = (0.6, 0.15, 0.2) if scored else (1.0, 0.0, 0.0)
    practice = dict(zip(("mean", "authority_sd", "worker_sd"), fidelity, strict=True))
    uptake = 0.6 if condition == "partial_uptake" else 1.0
    return _WORLD.format(**run, uptake=uptake, **practice) + (_AUDIT if scored else "")


def _name(entry: Entry) -> str:
    return f"{entry.estimator}: {entry.words}" if entry.words else entry.estimator


def _toml(value: Setting) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _spread_path(outcome: OutcomeName) -> str:
    return f"outcomes.{outcome}.{'log_sd' if outcome == 'events' else 'authority_sd'}"


def _spreads(outcome: OutcomeName) -> dict[float, float]:
    """The ICC of each standard deviation between authorities."""
    if outcome == "yes_or_no":
        return {round(sqrt(icc * _RISK * (1 - _RISK)), 6): icc for icc in ICCS}
    if outcome == "events":
        # Of a mean of 1 the variance within authorities is 1, and between them exp(log_sd^2) - 1.
        return {round(sqrt(log1p(icc / (1 - icc))), 6): icc for icc in ICCS}
    return {round(sqrt(icc / (1 - icc)), 6): icc for icc in ICCS}


def _counted(sweeps: Sequence[Sweep], progress: Progress | None) -> list[Progress | None]:
    """For each sweep what to call with its own blocks, so that all are told together."""
    if progress is None:
        return [None] * len(sweeps)
    blocks = [
        sum(-(-sweep.replicates // block_size(case.scenario.world)) for case in sweep.cases)
        for sweep in sweeps
    ]

    def from_block(before: int, tell: Callable[[int, int], None]) -> Progress:
        return lambda done, _: tell(before + done, sum(blocks))

    return [from_block(sum(blocks[:place]), progress) for place in range(len(sweeps))]


def _run(
    group: _Group, sweep: Sweep, jobs: int, progress: Progress | None
) -> Iterator[tuple[tuple[Entry, Situation], dict[str, Any]]]:
    """Every entry of a group in every situation: where it belongs, and its row."""
    tallied = simulate([case.scenario for case in sweep.cases], sweep.replicates, jobs, progress)
    entries, situations = {_name(e): e for e in group.entries}, {at.name: at for at in SITUATIONS}
    for case, tallies in zip(sweep.cases, tallied, strict=True):
        for (design, answer), tally in tallies.items():
            entry, at = entries[answer], situations[design]
            yield (entry, at), _row(entry, at, case, tally)


def _row(entry: Entry, situation: Situation, case: Case, tally: Tally) -> dict[str, Any]:
    sharp, average = Size.of(tally.null), Size.of(tally.average)
    verdict, verdict_average = verdicts_of(tally)
    sizes = {size: name for name, size in SIZES.items()}
    return {
        **_labels(entry, situation),
        "sizes": sizes[float(case.settings[_SIZE_PATH])],
        "icc": _spreads(entry.outcome)[float(case.settings[_spread_path(entry.outcome)])],
        "replicates": tally.asked,
        "size": sharp.value,
        "size_low": sharp.interval[0],
        "size_high": sharp.interval[1],
        "size_average": average.value,
        "size_average_low": average.interval[0],
        "size_average_high": average.interval[1],
        "p_floor": measure(tally, "p_floor").value,
        "failure_rate": tally.null_failed / tally.asked,
        "verdict": verdict,
        "verdict_average": verdict_average,
        "reason": "",
    }


def _labels(entry: Entry, situation: Situation) -> dict[str, Any]:
    return {
        "estimator": entry.estimator,
        "settings": entry.words or AS_IT_STANDS,
        "outcome": entry.outcome,
        "situation": situation.name,
        "treated": situation.treated,
        "comparison": situation.comparison,
    }


_NUMBERS = (
    "size",
    "size_low",
    "size_high",
    "size_average",
    "size_average_low",
    "size_average_high",
    "p_floor",
    "failure_rate",
)


def _left_out(entry: Entry, situation: Situation) -> list[dict[str, Any]]:
    """The row of an entry that is not put to a situation."""
    return [
        {
            **_labels(entry, situation),
            "sizes": "",
            "icc": nan,
            "replicates": 0,
            **dict.fromkeys(_NUMBERS, nan),
            "verdict": "not applicable",
            "verdict_average": "not applicable",
            "reason": reason_against(entry, situation),
        }
    ]


def _excused(estimator: str, reason: str) -> dict[str, Any]:
    """The row of an estimator that no situation suits."""
    entry_less = {"estimator": estimator, "settings": "", "outcome": "", "situation": "", "sizes": ""}
    whole = {"treated": 0, "comparison": 0, "replicates": 0}
    verdicts = dict.fromkeys(("verdict", "verdict_average"), "not applicable")
    return {**entry_less, **whole, "icc": nan, **dict.fromkeys(_NUMBERS, nan), **verdicts, "reason": reason}
