"""Tables that a person has: read from a file of comma-separated values, their columns checked as numbers."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from design_sim.arrays import Floats, Ints
from design_sim.errors import ScenarioError
from design_sim.faults import nearest

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_BYTES = 500_000_000
"""The largest file that is read."""
LARGEST = 1e50
"""The largest number that is read: fourth powers of it must be numbers still."""
_WITHIN = f" of at most {LARGEST:g}"
_EMPTY = ("", "na", "nan", "none", "null", "n/a", ".")


def read_table(table: "DataFrame | str | Path", columns: Mapping[str, str]) -> "tuple[DataFrame, str]":
    """The columns asked for, as text where they come from a file; and what to call the table.

    Parameters
    ----------
    table : DataFrame, str or Path
        A frame, or the path of a CSV file with a header.
    columns : mapping of column by role
        What is wanted: role such as "outcome", and the column's name.

    Raises
    ------
    ScenarioError
        If the file cannot be read, is too large or no table, or lacks a column.
    """
    if not isinstance(table, str | Path):
        _check_columns([str(column) for column in table.columns], columns, "data")
        return table, "data"
    path = Path(table)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ScenarioError([f"has more than {MOST_BYTES:,} bytes, the most that is read"], str(path))
        _check_columns(_header_of(path), columns, str(path))
        return _read_columns(path, sorted(set(columns.values()))), str(path)
    except OSError as reason:
        raise ScenarioError([f"cannot be read: {reason.strerror or reason}"], str(path)) from None
    except UnicodeDecodeError:
        raise ScenarioError(["is not text in UTF-8; save it as a CSV file in UTF-8"], str(path)) from None
    except (ValueError, csv.Error) as reason:
        said = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
        raise ScenarioError([f"is not a table of comma-separated values: {said}"], str(path)) from None


def has_column(table: "DataFrame | str | Path", column: str) -> bool:
    """Whether a table has a column of a name; not where its file cannot be read, which `read_table` says."""
    if not isinstance(table, str | Path):
        return column in table.columns
    try:
        return column in _header_of(Path(table))
    except (OSError, ValueError, csv.Error):
        return False


def _header_of(path: Path) -> list[str]:
    """The names of the columns, every row having been found to have as many fields.

    A row of another length would have its values under the names of other columns.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        header = next((row for row in rows if row), [])
        if not header:
            raise ValueError("it is empty")
        if any("\x00" in name for name in header):
            raise ValueError("it holds bytes that are no text")
        for mark, word in ((";", "semicolons"), ("\t", "tabs")):
            if len(header) == 1 and mark in header[0]:
                raise ValueError(f"{word} stand between its columns; save it with commas")
        for row in rows:
            if len(row) != len(header) and row:
                fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
                raise ValueError(f"line {rows.line_num} has {fields}, and the header {len(header)}")
    return header


def _read_columns(path: Path, wanted: list[str]) -> "DataFrame":
    import pandas as pd

    return pd.read_csv(path, dtype=str, keep_default_na=False, usecols=wanted, encoding="utf-8-sig")


def _check_columns(there: Sequence[str], columns: Mapping[str, str], where: str) -> None:
    absent = {role: column for role, column in columns.items() if column not in there}
    if len(absent) == len(columns) and any(_is_number(name) for name in there):
        raise ScenarioError([f"has no header: its first line is {', '.join(there)[:60]}"], where)
    faults = [
        f"{role}: {column!r} is not a column{nearest(column, there)}" for role, column in absent.items()
    ]
    twice = sorted({column for column in columns.values() if there.count(column) > 1})
    faults += [f"column {column!r} stands there more than once" for column in twice]
    if faults:
        raise ScenarioError(faults, where)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def numbers_of(frame: "DataFrame", column: str, faults: list[str], allowed: str = "a number") -> Floats:
    """A column as numbers, nan where it is empty; what is no number goes to `faults`, with what is allowed.

    Rows are counted as in a file, the header being row 1.
    """
    import pandas as pd

    values = frame[column]
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        text, empty = values, values.isna()
    else:
        text = values.astype(str).str.strip()
        empty = values.isna() | text.str.lower().isin(_EMPTY)
    numbers: Floats = pd.to_numeric(text.mask(empty), errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~empty.to_numpy() & ~(np.abs(numbers) <= LARGEST))
    if wrong.size:
        first = str(text.iloc[wrong[0]])
        more = f", and {wrong.size - 1:,} more rows" if wrong.size > 1 else ""
        faults.append(
            f"column {column!r}, row {wrong[0] + 2}: found {first[:40]!r}{more}; "
            f"allowed: {allowed}{_WITHIN if np.isfinite(numbers[wrong[0]]) else ''}, "
            "or nothing where it is missing"
        )
    return numbers


def codes_of(frame: "DataFrame", column: str) -> Ints:
    """A column of names as numbers from 0 in the names' order, -1 where it is empty: (row,)."""
    import pandas as pd

    values = frame[column]
    text = values.astype(str).str.strip()
    empty = values.isna() | text.str.lower().isin(_EMPTY)
    codes, _ = pd.factorize(text.mask(empty), sort=True)
    return np.asarray(codes, dtype=np.int64)
