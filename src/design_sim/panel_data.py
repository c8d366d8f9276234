"""A panel of authorities by year, read from a table that a person has, and checked whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.errors import ScenarioError
from design_sim.tabular import numbers_of, read_table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from pandas import DataFrame, Series

FEWEST_UNITS, FEWEST_YEARS = 10, 4
"""What a permanent share and a coefficient can be told apart from."""


@dataclass(frozen=True, slots=True)
class PanelData:
    """Authorities by year.

    Parameters
    ----------
    value : float array, (unit, year)
        A mean or a rate; nan where it is missing.
    n : float array or None, (unit, year)
        Denominators of a rate.
    size : float array or None, (unit,)
        Children living in the authority, mean over its years.
    years : int array, (year,)
        Whole years, rising.
    missing : int
        Cells that the table does not have or leaves empty.
    """

    value: Floats
    n: Floats | None
    size: Floats | None
    years: Ints
    missing: int


def read_panel(
    panel: "DataFrame | str | Path",
    unit: str,
    time: str,
    value: str | None = None,
    numerator: str | None = None,
    denominator: str | None = None,
    size: str | None = None,
) -> PanelData:
    """A table of authorities by year as arrays, once it is sound."""
    if (value is None) == (numerator is None) or (numerator is None) != (denominator is None):
        raise ScenarioError(["give either a value, or a numerator and a denominator"], str(panel)[:200])
    asked = {"unit": unit, "time": time, "value": value, "numerator": numerator}
    asked |= {"denominator": denominator, "size": size}
    named = {role: column for role, column in asked.items() if column is not None}
    frame, where = read_table(panel, named)
    faults: list[str] = []
    frame = frame.assign(**{time: _years_of(frame[time])})
    numbers = {role: numbers_of(frame, column, faults) for role, column in named.items() if role != "unit"}
    if len(frame) == 0:
        faults.append("has no rows")
    if not faults:
        _check(frame, unit, numbers, faults)
    if faults:
        raise ScenarioError(faults, where)
    _refuse_constant(numbers, where)
    return _arranged(frame[unit].astype(str).to_numpy(), numbers, where)


def _years_of(column: "Series[Any]") -> "Series[Any]":
    """Years such as 2015/16 or 2015-16 by the one that they begin in; everything else as it is."""
    text = column.astype(str).str.strip()
    double = text.str.fullmatch(r"\d{4}\s*[/-]\s*(\d{2}|\d{4})")
    return column.where(~double, text.str[:4])


def _refuse_constant(numbers: dict[str, Floats], where: str) -> None:
    """Figures that are all the same tell no spread and no memory."""
    value = numbers["value"] if "value" in numbers else numbers["numerator"] / numbers["denominator"]
    low, high = np.nanmin(value), np.nanmax(value)
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        raise ScenarioError([f"every figure is {low:g}; authorities that do not differ tell nothing"], where)


def _check(frame: "DataFrame", unit: str, numbers: dict[str, Floats], faults: list[str]) -> None:
    """What is a number and cannot be."""

    def refuse(wrong: Bools, what: str) -> None:
        rows = np.flatnonzero(wrong)
        if rows.size:
            more = f", and {rows.size - 1} more" if rows.size > 1 else ""
            faults.append(f"row {rows[0] + 2}{more}: {what}")

    time = numbers["time"]
    refuse(np.isnan(time) | (time != np.rint(time)), "the time is missing or is not a whole year")
    named = frame[unit].astype(str).str.strip()
    refuse(np.asarray((named == "") | frame[unit].isna()), "the unit is missing")
    refuse(
        np.asarray(frame.assign(**{"": time}).duplicated([unit, ""])),
        "the same unit and time as in a row above; each must stand once",
    )
    if "denominator" in numbers:
        above, below = numbers["numerator"], numbers["denominator"]
        refuse(below <= 0, "the denominator is not above 0")
        refuse(above < 0, "the numerator is below 0")
        refuse(above > below, "the numerator is above the denominator")
    if "size" in numbers:
        refuse(numbers["size"] <= 0, "the size is not above 0")


def _arranged(units: "ArrayLike", numbers: dict[str, Floats], where: str) -> PanelData:
    """Rows as a rectangle of units by years, every year between the first and the last."""
    names, row = np.unique(units, return_inverse=True)
    year = numbers["time"].astype(np.int64)
    years = np.arange(year.min(), year.max() + 1)
    if years.size > 1_000:
        raise ScenarioError([f"times run from {years[0]} to {years[-1]}; are they years?"], where)

    def wide(values: Floats) -> Floats:
        table = np.full((names.size, years.size), np.nan)
        table[row, year - years[0]] = values
        return table

    n = size = None
    if "value" in numbers:
        value = wide(numbers["value"])
    else:
        n = wide(numbers["denominator"])
        value = wide(numbers["numerator"]) / n
        n = np.where(np.isnan(value), np.nan, n)
    if "size" in numbers:
        there = wide(numbers["size"])
        known = ~np.isnan(there)
        size = np.where(known, there, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        size = size[known.any(axis=1)]
    panel = PanelData(value, n, size, years, int(np.isnan(value).sum()))
    counts = (~np.isnan(value)).sum(axis=0) >= FEWEST_UNITS
    if counts.sum() < FEWEST_YEARS:
        raise ScenarioError(
            [
                f"{counts.sum()} of the years have figures of {FEWEST_UNITS} units or more; "
                f"a permanent share cannot be told from a coefficient with fewer than {FEWEST_YEARS}"
            ],
            where,
        )
    return panel
