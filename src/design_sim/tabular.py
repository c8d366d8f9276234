"""Tables that a person has: read from a file of comma-separated values, their columns checked as numbers."""

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
    import pandas as pd

    path = Path(table)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ScenarioError([f"has more than {MOST_BYTES:,} bytes, the most that is read"], str(path))
        header = [str(column) for column in pd.read_csv(path, nrows=0).columns]
        _check_columns(header, columns, str(path))
        wanted = sorted(set(columns.values()))
        return pd.read_csv(path, dtype=str, keep_default_na=False, usecols=wanted), str(path)
    except OSError as reason:
        raise ScenarioError([f"cannot be read: {reason.strerror or reason}"], str(path)) from None
    except (ValueError, pd.errors.ParserError) as reason:
        said = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
        raise ScenarioError([f"is not a table of comma-separated values: {said}"], str(path)) from None


def has_column(table: "DataFrame | str | Path", column: str) -> bool:
    """Whether a table has a column of a name; not where its file cannot be read, which `read_table` says."""
    if not isinstance(table, str | Path):
        return column in table.columns
    import pandas as pd

    try:
        return column in pd.read_csv(table, nrows=0).columns
    except (OSError, ValueError):
        return False


def _check_columns(there: Sequence[str], columns: Mapping[str, str], where: str) -> None:
    faults = [
        f"{role}: {column!r} is not a column{nearest(column, there)}"
        for role, column in columns.items()
        if column not in there
    ]
    twice = sorted({column for column in columns.values() if there.count(column) > 1})
    faults += [f"column {column!r} stands there more than once" for column in twice]
    if faults:
        raise ScenarioError(faults, where)


def numbers_of(frame: "DataFrame", column: str, faults: list[str]) -> Floats:
    """A column as numbers, nan where it is empty; what is no number goes to `faults`.

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
    wrong = np.flatnonzero(~empty.to_numpy() & ~np.isfinite(numbers))
    if wrong.size:
        first = str(text.iloc[wrong[0]])
        more = f", and {wrong.size - 1:,} more rows" if wrong.size > 1 else ""
        faults.append(
            f"column {column!r}, row {wrong[0] + 2}: found {first[:40]!r}{more}; "
            "allowed: a number, or nothing where it is missing"
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
