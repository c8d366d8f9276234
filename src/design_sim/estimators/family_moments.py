"""What mixed models read of a panel: families by what they share, such as their authority.

Rows may be authorities, workers or single families, and lose nothing when pooled: families enter by their
number, mean and sum of squares in a cluster, regressors by their means there and what varies within.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.cells import Cells
from design_sim.estimators.covariates import covariates_of
from design_sim.estimators.exposure_time import Effect, exposure_of, exposure_regressors
from design_sim.numerics.mixed.intercept_model import ClusterMoments
from design_sim.numerics.mixed.pooling import pool_cells
from design_sim.panel import Panel
from design_sim.roster import Roster

Unit = Literal["authority", "team", "worker", "family"]


def members_of(roster: Roster, level: Unit) -> Ints:
    """The unit of each row at a level, (row,); rows stand for families where these are told apart."""
    index: Ints = np.arange(roster.n_rows) if level == "family" else getattr(roster, level)
    return index


@dataclass(frozen=True, slots=True)
class Families:
    """The families that an analysis reads, by row and occasion, with their regressors.

    Parameters
    ----------
    roster : Roster
        Which units the rows belong to.
    cells : Cells, (replicate, row, occasion)
        The outcome, with its sums of squares; nobody where a covariate is not known.
    regressors : list of float arrays, (replicate or 1, row or 1, occasion or 1)
        The intercept's ones, effects of occasions, effects by exposure time, covariates, and last the one
        with the effect of treatment as its coefficient.
    treated : bool array, (replicate or 1, row, occasion)
        Whether they are treated.
    time : float array, (occasion,)
        The occasions, counted from the first.
    """

    roster: Roster
    cells: Cells
    regressors: list[Floats]
    treated: Bools
    time: Floats

    @classmethod
    def after_start(cls, panel: Panel, covariates: tuple[str, ...]) -> "Families":
        """Those observed after the start, families of several occasions as different ones.

        Raises
        ------
        ValueError
            If treatment changes after the start, since occasions are not told apart.
        """
        treated = panel.treated[:, :, panel.follow_up]
        if (treated != treated[:, :, :1]).any():
            raise ValueError(
                "treatment changes after the start; a mixed model then needs period_effects = true"
            )
        values = _covariates(panel, covariates)
        cells = _complete(panel.cells.over(panel.follow_up), values)
        treated = treated[:, :, :1]
        regressors = [np.ones((1, 1, 1)), *_known(values), treated.astype(np.float64)]
        return cls(panel.roster, cells, regressors, treated, np.zeros(1))

    @classmethod
    def by_occasion(
        cls, panel: Panel, covariates: tuple[str, ...], effect: Effect = "immediate"
    ) -> "Families":
        """Those observed at any occasion, with an effect of every occasion after the first."""
        values = _covariates(panel, covariates)
        cells = _complete(panel.cells, values)
        seen = np.flatnonzero((cells.n > 0).any(axis=(0, 1)))
        ss = None if cells.ss is None else cells.ss[:, :, seen]
        cells = Cells(cells.n[:, :, seen], cells.mean[:, :, seen], ss)
        effects = list(np.eye(seen.size)[1:, np.newaxis, np.newaxis])
        exposure = exposure_of(panel.treated)[:, :, seen]
        shorter, asked = exposure_regressors(exposure, cells.n > 0, effect)
        regressors = [np.ones((1, 1, 1)), *effects, *shorter, *_known(values), asked]
        time = panel.occasions[seen].astype(np.float64)
        return cls(panel.roster, cells, regressors, exposure > 0, time - time[:1])

    @property
    def both_arms(self) -> Bools:
        """Whether somebody was observed under treatment, and somebody not, (replicate or 1,)."""
        seen, treated = self.cells.n > 0, self.treated
        arms = [np.asarray((seen & arm).any(axis=(1, 2))) for arm in (treated, ~treated)]
        return arms[0] & arms[1]

    def asking_about(self, covariate: int) -> "Families":
        """The same with a covariate, counted from the last backwards (1), in the place of the treatment."""
        others = [*self.regressors]
        asked = others.pop(-1 - covariate)
        return replace(self, regressors=[*others, asked])

    def moments(self, level: Unit, *, by_occasion: bool = False) -> ClusterMoments:
        """Pool the families of every unit of a level, those of every occasion apart or all together.

        Raises
        ------
        ValueError
            If the cells carry no sums of squares.
        """
        n, mean, ss = self.cells.n, self.cells.mean, self.cells.ss
        if ss is None:
            raise ValueError("a mixed model needs the sums of squares within cells, and the panel has none")
        if (n == 0).any():
            mean, ss = np.where(n > 0, mean, 0.0), np.where(n > 0, ss, 0.0)
        shape = n.shape[1:]
        cluster = np.repeat(members_of(self.roster, level), shape[1])
        if by_occasion:
            cluster = cluster * shape[1] + np.tile(np.arange(shape[1]), shape[0])
        order = np.argsort(cluster, kind="stable")
        ordered = bool((order[1:] > order[:-1]).all())

        def by_cell(values: Floats) -> Floats:
            each = np.broadcast_to(values, (values.shape[0], *shape)).reshape(values.shape[0], -1)
            return each if ordered else each[:, order]

        regressors = [by_cell(regressor) for regressor in self.regressors]
        within = np.broadcast_to(by_cell(ss).sum(axis=1), mean.shape[0])
        return pool_cells(by_cell(n), by_cell(mean), within, regressors, cluster[order])


def _covariates(panel: Panel, names: tuple[str, ...]) -> list[Floats]:
    """The covariates by name, (replicate or 1, row, 1) each."""
    return [values[:, :, np.newaxis] for values in covariates_of(panel, names)]


def _complete(cells: Cells, covariates: list[Floats]) -> Cells:
    """The cells, with nobody in those of which a covariate is not known."""
    unknown = [np.isnan(x) for x in covariates if np.isnan(x).any()]
    if not unknown or cells.ss is None:
        return cells
    known = ~np.logical_or.reduce(np.broadcast_arrays(*unknown))
    return Cells(np.where(known, cells.n, 0.0), cells.mean, np.where(known, cells.ss, 0.0))


def _known(covariates: list[Floats]) -> list[Floats]:
    """The covariates less their mean, 0 where not known: the same model, without loss of digits."""
    known = []
    for x in covariates:
        there = ~np.isnan(x)
        filled = np.where(there, x, 0.0)
        mean = filled.sum(axis=1, keepdims=True) / np.maximum(there.sum(axis=1, keepdims=True), 1)
        known.append(np.where(there, filled - mean, 0.0))
    return known
