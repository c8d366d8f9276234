"""Observations: the complete rows of a person's table, and the panel of one replicate that they make.

Families with the same treatment and covariates in the same worker, or team, or authority, become a cell.
Treatment belongs to the highest level at which it is the same for all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from design_sim.allocation import NEVER, Randomisation
from design_sim.arrays import Bools, Floats, Ints
from design_sim.cells import Cells
from design_sim.errors import ScenarioError
from design_sim.panel import Panel
from design_sim.roster import Level, Roster
from design_sim.tabular import codes_of, numbers_of

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class Observations:
    """The complete rows of a table.

    Parameters
    ----------
    outcome, treated : float arrays, (observation,)
        The outcome, and 1 where treated at the time.
    unit : mapping of int arrays by level
        Authority, team, worker and family where they are named, numbered from 0.
    occasion : int array, (observation,)
        Numbered from 0; 0 throughout where the table has none.
    covariates : mapping of float arrays by name
    uptake : float array or None
    stratum : int array or None
    n_missing : int
        Rows left out.
    """

    outcome: Floats
    treated: Floats
    unit: Mapping[str, Ints]
    occasion: Ints
    covariates: Mapping[str, Floats]
    uptake: Floats | None
    stratum: Ints | None
    n_missing: int


def observations_of(
    frame: "DataFrame", columns: Mapping[str, str], covariates: Sequence[str], where: str
) -> Observations:
    """The complete rows, checked one by one."""
    faults: list[str] = []
    numbers = {
        "outcome": numbers_of(frame, columns["outcome"], faults),
        "treated": numbers_of(frame, columns["treated"], faults, "1 where treated, 0 where not"),
    }
    if "uptake" in columns:
        numbers["uptake"] = numbers_of(frame, columns["uptake"], faults)
    if "occasion" in columns:
        numbers["occasion"] = _ordered(frame, columns["occasion"])
    adjusted = {name: numbers_of(frame, name, faults) for name in covariates}
    levels = [level for level in ("authority", "team", "worker", "family", "stratum") if level in columns]
    codes = {level: codes_of(frame, columns[level]) for level in levels}
    arm = numbers["treated"]
    odd = np.flatnonzero(~np.isnan(arm) & (arm != 0) & (arm != 1))
    if odd.size:
        faults.append(
            f"column {columns['treated']!r}, row {odd[0] + 2}: found {arm[odd[0]]:g}; "
            "allowed: 1 where treated, 0 where not"
        )
    if len(frame) == 0:
        faults.append("has no rows")
    if faults:
        raise ScenarioError(faults, where)
    known = np.logical_and.reduce(
        [
            *(~np.isnan(values) for values in (numbers | adjusted).values()),
            *(code >= 0 for code in codes.values()),
        ]
    )
    if not known.any():
        raise ScenarioError(["has no row that is complete"], where)
    occasion = numbers.get("occasion", np.zeros(len(frame)))[known]
    return Observations(
        outcome=numbers["outcome"][known],
        treated=arm[known],
        unit={level: codes[level][known] for level in levels if level != "stratum"},
        occasion=np.unique(occasion, return_inverse=True)[1],
        covariates={name: values[known] for name, values in adjusted.items()},
        uptake=numbers["uptake"][known] if "uptake" in numbers else None,
        stratum=codes["stratum"][known] if "stratum" in codes else None,
        n_missing=int((~known).sum()),
    )


def _ordered(frame: "DataFrame", column: str) -> Floats:
    """Occasions in their order: as numbers where all are, otherwise by their names."""
    tried: list[str] = []
    values = numbers_of(frame, column, tried)
    if not tried:
        return values
    codes = codes_of(frame, column)
    return np.where(codes < 0, np.nan, codes).astype(np.float64)


def panel_of(of: Observations, where: str, *, singly: bool, alpha: float = 0.05) -> Panel:
    """One replicate of a panel from the rows of a table.

    Parameters
    ----------
    of : Observations
        The complete rows.
    where : str
        What to call the table.
    singly : bool
        Whether families are to be rows of their own; otherwise those that share everything are cells.

    Raises
    ------
    ScenarioError
        If a family stands twice at an occasion, treatment is taken away again, or a unit of allocation lies
        in two strata.
    """
    units = units_of(of)
    if "family" in of.unit:
        _refuse_duplicates(units["row"], of.occasion, where)
    level, start = _starts(of, units, where)
    key = [units["authority"], units["team"], units["worker"], start[units[level]], *_varying(of)]
    if singly:
        key.append(units["row"])
    row = _combined(key)
    n_rows, occasions = int(row.max()) + 1, np.arange(int(of.occasion.max()) + 1)
    first = np.full(n_rows, -1)
    first[row[::-1]] = np.arange(row.size)[::-1]
    roster = Roster(
        *(
            np.unique(units[of_level][first], return_inverse=True)[1]
            for of_level in ("authority", "team", "worker")
        )
    )
    at = row * occasions.size + of.occasion
    shape = (1, n_rows, occasions.size)
    cells = _cells(of.outcome, at, shape)
    assigned: Level = "row" if level == "row" else level  # type: ignore[assignment]
    starts = start[units[level]][first]
    if assigned != "row":
        index = getattr(roster, assigned)
        starts = starts[np.searchsorted(index, np.arange(int(index[-1]) + 1))]
    stratum = np.zeros(starts.size, dtype=np.int64)
    if of.stratum is not None:
        _refuse_split_strata(of.stratum, units[level], where)
        stratum = _stratum_of_units(of.stratum[first], roster, assigned)
    treated_from = np.unique(starts[starts < NEVER])
    two_arms = treated_from.size <= 1
    follow_up = (
        occasions >= treated_from[0] if two_arms and treated_from.size else np.ones_like(occasions) == 1
    )
    return Panel(
        roster=roster,
        cells=cells,
        start=starts[np.newaxis],
        occasions=occasions,
        follow_up=follow_up,
        law=Randomisation(tuple(starts.tolist()), tuple(stratum.tolist())),
        alpha=alpha,
        covariates={name: values[first][np.newaxis] for name, values in of.covariates.items()},
        assigned=assigned,
        uptake=None if of.uptake is None else _cells(of.uptake, at, shape).mean,
    )


def units_of(of: Observations) -> dict[str, Ints]:
    """Authority, team, worker and row of every observation, each within what is above it."""
    above = of.unit["authority"]
    units = {"authority": np.unique(above, return_inverse=True)[1]}
    for level in ("team", "worker"):
        if level in of.unit:
            above = _combined([above, of.unit[level]])
        units[level] = np.unique(above, return_inverse=True)[1]
    if "family" in of.unit:
        units["row"] = _combined([above, of.unit["family"]])
    else:
        units["row"] = np.arange(above.size)
    return units


def starts_of_units(of: Observations, where: str) -> Ints:
    """First treated occasion of the units of the highest level at which treatment is the same for all."""
    return _starts(of, units_of(of), where)[1]


def chosen(of: Observations, rows: Bools) -> Observations:
    """Some of the observations; the others count as left out."""
    if rows.all():
        return of
    return Observations(
        outcome=of.outcome[rows],
        treated=of.treated[rows],
        unit={level: codes[rows] for level, codes in of.unit.items()},
        occasion=of.occasion[rows],
        covariates={name: values[rows] for name, values in of.covariates.items()},
        uptake=None if of.uptake is None else of.uptake[rows],
        stratum=None if of.stratum is None else of.stratum[rows],
        n_missing=of.n_missing + int((~rows).sum()),
    )


def _combined(codes: Sequence[Ints]) -> Ints:
    """Numbers from 0 of the combinations of several codes, in the codes' order: (observation,)."""
    combined = codes[0]
    for code in codes[1:]:
        _, code = np.unique(code, return_inverse=True)
        _, combined = np.unique(combined * (code.max() + 1) + code, return_inverse=True)
    return combined


def _refuse_duplicates(family: Ints, occasion: Ints, where: str) -> None:
    n_twice = int((np.bincount(_combined([family, occasion])) > 1).sum())
    if n_twice:
        said = "at the same occasion" if occasion.max() else "without an occasion to tell them apart"
        stand = "1 family stands" if n_twice == 1 else f"{n_twice:,} families stand"
        raise ScenarioError([f"{stand} there more than once {said}; each must stand once"], where)


def _starts(of: Observations, units: Mapping[str, Ints], where: str) -> tuple[str, Ints]:
    """The highest level at which treatment is the same for all, and the start of each of its units."""
    n_occasions = int(of.occasion.max()) + 1
    for level in ("authority", "team", "worker", "row"):
        unit = units[level]
        at = unit * n_occasions + of.occasion
        seen = np.bincount(at, minlength=(unit.max() + 1) * n_occasions)
        treated = np.bincount(at, of.treated, minlength=seen.size)
        if level != "row" and ((treated > 0) & (treated < seen)).any():
            continue
        path = np.where(seen > 0, treated / np.maximum(seen, 1), np.nan).reshape(-1, n_occasions)
        return level, _first_treated(path, where)
    raise AssertionError("rows are the last level")


def _first_treated(path: Floats, where: str) -> Ints:
    """The first treated occasion of every unit, (unit,); `NEVER` where there is none."""
    treated = path == 1
    start = np.where(treated.any(axis=1), treated.argmax(axis=1), NEVER)
    later = np.arange(path.shape[1]) >= start[:, np.newaxis]
    if ((path == 0) & later).any():
        raise ScenarioError(
            ["treated: some units are treated and later no longer; treatment must stay once it has begun"],
            where,
        )
    return start.astype(np.int64)


def _varying(of: Observations) -> list[Ints]:
    """What else tells rows apart: the covariates, as codes."""
    return [np.unique(values, return_inverse=True)[1] for values in of.covariates.values()]


def _cells(outcome: Floats, at: Ints, shape: tuple[int, int, int]) -> Cells:
    """Number, mean and sum of squares of the observations of every row and occasion."""
    size = shape[1] * shape[2]
    n = np.bincount(at, minlength=size).astype(np.float64)
    mean = np.bincount(at, outcome, minlength=size) / np.maximum(n, 1)
    ss = np.bincount(at, (outcome - mean[at]) ** 2, minlength=size).astype(np.float64)
    return Cells(n.reshape(shape), np.where(n > 0, mean, np.nan).reshape(shape), ss.reshape(shape))


def _refuse_split_strata(stratum: Ints, unit: Ints, where: str) -> None:
    if np.unique(_combined([unit, stratum])).size > np.unique(unit).size:
        raise ScenarioError(["stratum: differs within a unit that was allocated as a whole"], where)


def _stratum_of_units(stratum: Ints, roster: Roster, assigned: Level) -> Ints:
    index = np.arange(roster.n_rows) if assigned == "row" else getattr(roster, assigned)
    return np.asarray(stratum[np.searchsorted(index, np.arange(int(index[-1]) + 1))])
