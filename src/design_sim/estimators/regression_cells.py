"""From a panel to the cells of a regression: families of the follow-up that share all regressors.

Rows are pooled as far as the covariates allow, and occasions as far as the treatment does, so that a
regression costs the same whether families come singly or in cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np

from design_sim.arrays import Batch, Bools, Floats
from design_sim.cells import Cells
from design_sim.estimators.covariates import covariates_of
from design_sim.numerics.estimating_equations import ClusteredCells, row_sums
from design_sim.numerics.least_squares import standardise
from design_sim.panel import Panel
from design_sim.roster import Roster

TREATED = 1
"""The column of the treatment, after the intercept."""


@dataclass(frozen=True, slots=True)
class RegressionCells(Batch):
    """What a regression on treatment, occasions and covariates reads of a panel.

    Parameters
    ----------
    cells : ClusteredCells
        The families, by authority. Columns: intercept, treatment, occasions but the first where they have
        effects, and covariates, standardised.
    coding : float array, (replicate, column, column)
        The regressors as stated are those of the cells times this.
    alike : bool
        Whether all families of an authority share their regressors.
    """

    cells: ClusteredCells
    coding: Annotated[Floats, "replicate column column"]
    alike: bool

    @property
    def two_arms(self) -> bool:
        """Whether arms of authorities are the only regressor."""
        return self.alike and len(self.cells.regressors) == TREATED + 1

    @property
    def n_authorities(self) -> Floats:
        """Authorities in which anybody was observed, (replicate,)."""
        held: Floats = (self.cells.pool(self.cells.n) > 0).sum(axis=1).astype(np.float64)
        return held


def regression_cells(
    panel: Panel, covariates: Sequence[str], *, squares: bool, period_effects: bool
) -> RegressionCells:
    """The families observed after the start, in as few cells as regressors allow.

    Families of several occasions count as different ones. A row without a covariate (nan) does not count.

    Parameters
    ----------
    panel : Panel
        Its treatment may vary over the follow-up, in any pattern.
    covariates : sequence of str
        Names of its covariates.
    squares : bool
        Whether sums of squares within cells are wanted; they are 0 otherwise.
    period_effects : bool
        Whether occasions have effects of their own in replicates where treatment varies over the follow-up.

    Raises
    ------
    ValueError
        If a covariate is not in the panel, or cells of several families carry no sum of squares though one
        is wanted.
    """
    roster, at, first = panel.roster, panel.follow_up, _first_rows(panel)
    values = covariates_of(panel, tuple(covariates))
    rows, values = _complete(_follow_up(panel.cells, at, squares=squares), values)
    treated = panel.treated[:, :, at]
    alike = panel.assigned == "authority"
    if alike and all(np.array_equal(x, x[:, first[roster.authority]]) for x in values):
        rows, roster = rows.pool(roster, "authority"), Roster.of_authorities(panel.n_authorities)
        values, treated = [x[:, first] for x in values], treated[:, first]
    moves = (treated != treated[:, :, :1]).any(axis=(1, 2))
    if not moves.any():
        rows, treated = rows.over(np.ones(treated.shape[2], dtype=np.bool_)), treated[:, :, :1]
    regressors = [treated.astype(np.float64)]
    for occasion in range(1, treated.shape[2] if period_effects and moves.any() else 1):
        dummy = np.broadcast_to(np.arange(treated.shape[2]) == occasion, rows.n.shape[1:])
        regressors.append(moves[:, np.newaxis, np.newaxis] * dummy.astype(np.float64))
    return _in_cells(rows, roster, regressors, values)


def _first_rows(panel: Panel) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The first row of every authority."""
    return np.searchsorted(panel.roster.authority, np.arange(panel.n_authorities))


def _follow_up(cells: Cells, at: Bools, *, squares: bool) -> Cells:
    """The occasions of the follow-up, with sums of squares where wanted."""
    n, mean = cells.n[:, :, at], cells.mean[:, :, at]
    if not squares:
        return Cells(n, mean)
    if cells.ss is not None:
        return Cells(n, mean, cells.ss[:, :, at])
    if (n > 1).any():
        raise ValueError("a correlation within authorities needs the sums of squares within cells")
    return Cells(n, mean, np.zeros((1, *n.shape[1:])))


def _complete(rows: Cells, covariates: list[Floats]) -> tuple[Cells, list[Floats]]:
    """The rows with nobody in those that lack a covariate, and the covariates with 0 in such places."""
    unknown = [np.isnan(x) for x in covariates if np.isnan(x).any()]
    if not unknown:
        return rows, covariates
    known = ~np.logical_or.reduce(np.broadcast_arrays(*unknown))[:, :, np.newaxis]
    ss = None if rows.ss is None else np.where(known, rows.ss, 0.0)
    return Cells(np.where(known, rows.n, 0.0), rows.mean, ss), [np.nan_to_num(x) for x in covariates]


def _in_cells(
    rows: Cells, roster: Roster, regressors: list[Floats], covariates: list[Floats]
) -> RegressionCells:
    """Rows by occasions as cells, the occasions of a row side by side.

    `regressors` are (replicate, row, occasion), `covariates` (replicate, row).
    """
    n_occasions, index = rows.n.shape[2], np.arange(rows.n.shape[1] * rows.n.shape[2])
    n, mean = _flat(rows.n), _flat(rows.mean)
    if (n == 0).any():
        mean = np.where(n > 0, mean, 0.0)
    ss = np.zeros((1, index.size)) if rows.ss is None else np.where(n > 0, _flat(rows.ss), 0.0)
    levels = [np.repeat(x, n_occasions, axis=1) for x in covariates]
    columns = [np.ones((1, index.size)), *(_flat(x) for x in regressors)]
    of_cells = Roster(np.repeat(roster.authority, n_occasions), index, index)
    cells = ClusteredCells(
        n=n,
        mean=mean,
        ss=ss,
        regressors=(*columns, *(standardise(x, n) for x in levels)),
        pool=partial(of_cells.pool, level="authority"),
    )
    alike = of_cells.n_rows == of_cells.n_units("authority")
    return RegressionCells(cells, _coding(n, len(columns), levels), alike)


def _flat(values: Floats) -> Floats:
    return values.reshape(values.shape[0], -1)


def _coding(n: Floats, n_before: int, covariates: list[Floats]) -> Floats:
    """The covariates as stated in terms of the intercept and themselves standardised."""
    axis = max(n.shape[0] if covariates else 1, *(x.shape[0] for x in covariates), 1)
    coding = np.tile(np.eye(n_before + len(covariates)), (axis, 1, 1))
    total = np.maximum(n.sum(axis=1), 1.0)
    for column, x in enumerate(covariates, start=n_before):
        centre = row_sums(n, x) / total
        spread = np.sqrt(row_sums(n, (x - centre[:, np.newaxis]) ** 2) / total)
        coding[:, 0, column] = centre
        coding[:, column, column] = np.where(spread > 0, spread, 1.0)
    return coding
