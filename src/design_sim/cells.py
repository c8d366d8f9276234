"""Cells: families that share covariates and exposure, kept as their number, mean and sum of squares.

Linear models, cluster-robust variances and mixed models need nothing else of families whose regressors
are the same, so that cost does not grow with the number of families. A family on its own is a cell
with n = 1 and ss = 0.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.roster import Level, Roster


@dataclass(frozen=True, slots=True)
class Cells(Batch):
    """Outcomes of the families of each cell.

    Parameters
    ----------
    n : float array, (replicate, row, occasion)
        Families observed; replicate axis 1 where the numbers are fixed.
    mean : float array, (replicate, row, occasion)
        Their mean outcome, on the outcome's scale; nan where n = 0.
    ss : float array or None, (replicate, row, occasion)
        Sum of squared deviations from the cell's mean; None where no answer asked for it.
    """

    n: Annotated[Floats, "replicate row occasion"]
    mean: Annotated[Floats, "replicate row occasion"]
    ss: Annotated[Floats, "replicate row occasion"] | None = None

    def pool(self, roster: Roster, level: Level) -> "Cells":
        """The cells of the units of a level, all families of a unit and occasion together."""
        if roster.n_units(level) == roster.n_rows:
            return self
        if self.n.shape[0] == 1 and (self.n == self.n[:, :1]).all() and roster.regular(level):
            n = roster.pool(self.n, level)
            mean = roster.pool(self.mean, level) / (roster.n_rows // roster.n_units(level))
        else:
            n = roster.pool(self.n, level)
            mean = _ratio(roster.pool(self.n * _known(self.mean, self.n), level), n)
        if self.ss is None:
            return Cells(n, mean)
        deviation = _known(self.mean - roster.spread(mean, level), self.n)
        ss = roster.pool(self.ss + self.n * deviation**2, level)
        return Cells(n, mean, ss)

    def by_arm(self, roster: Roster, treated: Bools) -> "Cells":
        """Two cells for each worker, first that of the treated families.

        Parameters
        ----------
        treated : bool array, (replicate or 1, row)
            Whether a row's families are treated.
        """
        arms = []
        for arm in (treated, ~treated):
            n = np.where(arm[:, :, np.newaxis], self.n, 0.0)
            ss = None if self.ss is None else np.where(n > 0, self.ss, 0.0)
            arms.append(Cells(n, self.mean, ss).pool(roster, "worker"))
        first, second = arms
        ss = None
        if first.ss is not None and second.ss is not None:
            ss = _alternating(first.ss, second.ss)
        return Cells(_alternating(first.n, second.n), _alternating(first.mean, second.mean), ss)

    def less(self, part: "Cells") -> "Cells":
        """The families that are left without some of them, cell by cell.

        Notes
        -----
        The sum of squares of the whole is those of both parts and n_1 n_2 / n times the squared difference of
        their means.
        """
        n = self.n - part.n
        mean = _ratio(self.n * _known(self.mean, self.n) - part.n * _known(part.mean, part.n), n)
        if self.ss is None or part.ss is None:
            return Cells(n, mean)
        between = part.n * n / np.maximum(self.n, 1.0) * _known(part.mean - mean, np.minimum(n, part.n)) ** 2
        return Cells(n, mean, np.maximum(self.ss - part.ss - between, 0.0))

    def over(self, occasions: Bools) -> "Cells":
        """One cell for each row: the families of the chosen occasions together.

        Parameters
        ----------
        occasions : bool array, (occasion,)
            The occasions to pool.
        """
        if occasions.sum() == 1:
            at = slice(int(np.argmax(occasions)), int(np.argmax(occasions)) + 1)
            ss = None if self.ss is None else self.ss[:, :, at]
            return Cells(self.n[:, :, at], self.mean[:, :, at], ss)
        n_each, mean_each = self.n[:, :, occasions], self.mean[:, :, occasions]
        n = n_each.sum(axis=2, keepdims=True)
        mean = _ratio((n_each * _known(mean_each, n_each)).sum(axis=2, keepdims=True), n)
        if self.ss is None:
            return Cells(n, mean)
        between = n_each * _known(mean_each - mean, n_each) ** 2
        return Cells(n, mean, (self.ss[:, :, occasions] + between).sum(axis=2, keepdims=True))


def _alternating(first: Floats, second: Floats) -> Floats:
    """Rows of one and rows of the other in turn."""
    stacked = np.stack(np.broadcast_arrays(first, second), axis=2)
    return stacked.reshape(stacked.shape[0], -1, *stacked.shape[3:])


def pooled_occasions(cells: Cells, period: Ints) -> Cells:
    """One occasion for each period, the families of its occasions together.

    Parameters
    ----------
    period : int array, (occasion,)
        The period of every occasion, from 0.
    """
    each = [cells.over(period == one) for one in range(int(period.max()) + 1)]
    n, mean = (_side_by_side([getattr(of, name) for of in each]) for name in ("n", "mean"))
    known = [of.ss for of in each if of.ss is not None]
    return Cells(n, mean, _side_by_side(known) if len(known) == len(each) else None)


def _side_by_side(occasions: list[Floats]) -> Floats:
    """Arrays (replicate or 1, row, occasion) one after the other."""
    axis = max(each.shape[0] for each in occasions)
    return np.concatenate([np.broadcast_to(each, (axis, *each.shape[1:])) for each in occasions], axis=2)


def _known(values: Floats, n: Floats) -> Floats:
    """The values with 0 in the place of cells that nobody was observed in."""
    return np.where(n > 0, values, 0.0) if (n == 0).any() else values


def _ratio(total: Floats, n: Floats) -> Floats:
    ratio: Floats = np.divide(total, n, out=np.full(np.broadcast(total, n).shape, np.nan), where=n > 0)
    return ratio
