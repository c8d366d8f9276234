"""Fisher scoring for estimating equations: every replicate of a batch, until it has ended."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.numerics.canonical_link import Family, at_edge, expected, held_within, linked
from design_sim.numerics.estimating_equations import (
    ClusteredCells,
    Design,
    Ending,
    Residuals,
    Working,
    cluster_grams,
    cluster_scores,
    design_of,
    residuals_of,
    some,
    total_gram,
    total_score,
)
from design_sim.numerics.least_squares import NormalEquations, solve_normal
from design_sim.numerics.working_correlation import CorrelationSearch, estimate_correlation

_NEGLIGIBLE = 1e-10
"""A step of so many standard errors is the last."""
_SETTLED = 1e-5
"""After a step of so many standard errors the correlation is estimated too."""
_MOST_STEPS = 100
_RIDGE = 1e-14
_LONGEST_STEP = 4.0
"""No coefficient of a log or a logit moves further in a step."""


@dataclass(frozen=True, slots=True)
class EquationFit(Batch):
    """Fitted estimating equations.

    Parameters
    ----------
    coefficients : float array, (replicate, column)
        Those of least length where a column is a combination of others; an intercept alone where the fit
        failed.
    correlation : float array, (replicate,)
        The working correlation.
    scores : float array, (replicate, cluster, column)
        D' V^-1 (y - mu) of every cluster, dispersion 1.
    grams : float array, (replicate, cluster, column, column)
        D' V^-1 D of every cluster.
    equations : NormalEquations
        Solved for their sum.
    unit : float array, (replicate,)
        Mean square of a Gaussian outcome, else 1: the scale of rounding errors.
    ending : int array, (replicate,)
        An `Ending`.
    """

    coefficients: Annotated[Floats, "replicate column"]
    correlation: Annotated[Floats, "replicate"]
    scores: Annotated[Floats, "replicate cluster column"]
    grams: Annotated[Floats, "replicate cluster column column"]
    equations: NormalEquations
    unit: Annotated[Floats, "replicate"]
    ending: Annotated[Ints, "replicate"]


def fit_equations(
    cells: ClusteredCells, known: NormalEquations, working: Working, sound: Bools
) -> EquationFit:
    """Solve the estimating equations of every replicate.

    Parameters
    ----------
    cells : ClusteredCells
        The observations; those of a Gaussian outcome best centred.
    known : NormalEquations
        Solved for their X'X.
    working : Working
        The working model.
    sound : bool array, (replicate,)
        Which replicates to fit; the others end as not converged. Replicate axis 1 where that is fixed.
    """
    search = _Search(cells, known, working)
    search.run(np.flatnonzero(np.broadcast_to(sound, cells.mean.shape[:1])))
    fitted = np.isin(search.ending, [Ending.FITTED, Ending.INDEPENDENT])
    coefficients = np.where(fitted[:, np.newaxis], search.coefficients, search.start)
    correlation = np.where(fitted, search.correlation.value, 0.0)
    mean = expected(working.family, cells.predictor(coefficients))
    design = design_of(cells, mean, working.family)
    residuals = residuals_of(cells, mean, design)
    return EquationFit(
        coefficients=coefficients,
        correlation=correlation,
        scores=cluster_scores(cells, design, residuals, correlation),
        grams=cluster_grams(cells, design, correlation),
        equations=solve_normal(total_gram(design, correlation)),
        unit=search.unit,
        ending=search.ending,
    )


def scale_of_rounding(cells: ClusteredCells, family: Family) -> Floats:
    """Mean square of a Gaussian outcome, else 1, (replicate,)."""
    if family == "gaussian":
        return np.maximum(cells.mean_square, np.finfo(float).tiny)
    return np.ones(cells.mean.shape[0])


class _Search:
    """The coefficients and correlations of a batch, and how each replicate's search ended."""

    def __init__(self, cells: ClusteredCells, known: NormalEquations, working: Working) -> None:
        n_replicates, n_columns = cells.mean.shape[0], len(cells.regressors)
        self.cells, self.working = cells, working
        self.linear = working.family == "gaussian"
        self.typical = cells.typical
        self.unit = scale_of_rounding(cells, working.family)
        self.lost = known.rank if working.corrected else np.zeros(1)
        # X'X and every X'WX have the same null space; what is put there makes them invertible. Steps
        # need not be exact.
        self.null = (1 + _RIDGE) * np.eye(n_columns) - known.inverse @ cells.gram()
        self.start = np.zeros((n_replicates, n_columns))
        self.start[:, 0] = linked(working.family, held_within(working.family, self.typical))
        self.coefficients = self.start.copy()
        self.correlation = CorrelationSearch(n_replicates, cells.pool(cells.n).max(axis=1))
        self.ending = np.full(n_replicates, Ending.NOT_CONVERGED, dtype=np.int64)

    def run(self, active: Ints) -> None:
        """Step until every active replicate has ended, or steps run out."""
        settled = np.zeros(self.typical.size, dtype=np.bool_)
        cells, design = self.cells.of(active), None
        for _ in range(_MOST_STEPS):
            mean = expected(self.working.family, cells.predictor(self.coefficients[active]))
            separated = self._separated(active, cells, mean)
            if separated.any():
                self.ending[active[separated]] = Ending.SEPARATED
                inside = np.flatnonzero(~separated)
                active, cells, mean = active[inside], cells.of(inside), mean[inside]
            if not active.size:
                return
            if design is None or not self.linear:
                design = design_of(cells, mean, self.working.family)
            residuals = residuals_of(cells, mean, design)
            before = self.correlation.value[active]
            matched = self._correlate(active, settled[active], design, residuals)
            length = self._step(active, cells, design, residuals)
            settled[active[length < (np.inf if self.linear else _SETTLED**2)]] = True
            done = matched & (length <= _NEGLIGIBLE**2)
            held = self.correlation.held[active]
            given_up = active[held & (before != 0) & ~done]
            self.coefficients[given_up], settled[given_up] = self.start[given_up], False
            if done.any():
                self.ending[active[done]] = np.where(held[done], Ending.INDEPENDENT, Ending.FITTED)
                left = np.flatnonzero(~done)
                active, cells, design = active[left], cells.of(left), None

    def _separated(self, active: Ints, cells: ClusteredCells, mean: Floats) -> Bools:
        """In which of the active replicates a fitted mean has run off to the edge."""
        edge = at_edge(self.working.family, mean, self.typical[active, np.newaxis])
        separated: Bools = np.any(edge & (cells.n > 0), axis=1)
        return separated

    def _correlate(self, active: Ints, settled: Bools, design: Design, residuals: Residuals) -> Bools:
        """Take the next correlation where the coefficients have settled; whether it is as estimated."""
        if not self.working.exchangeable:
            return np.ones(active.size, dtype=np.bool_)
        if not settled.any():
            return settled
        estimate = estimate_correlation(
            design.size, residuals.pooled, residuals.squares, some(self.lost, active)
        )
        self.correlation.update(active[settled], estimate[settled])
        return settled & self.correlation.reached(active, estimate)

    def _step(self, active: Ints, cells: ClusteredCells, design: Design, residuals: Residuals) -> Floats:
        """Take a step; its squared length in standard errors, (replicate,)."""
        correlation = self.correlation.value[active]
        gram = total_gram(design, correlation)
        score = total_score(cells, design, residuals, correlation)
        scale = np.maximum(np.einsum("rkk->r", gram), np.finfo(float).tiny)
        gram += scale[:, np.newaxis, np.newaxis] * some(self.null, active)
        step = np.linalg.solve(gram, score[:, :, np.newaxis])[:, :, 0]
        if not self.linear:
            longest = np.abs(step).max(axis=1, keepdims=True)
            step *= _LONGEST_STEP / np.maximum(longest, _LONGEST_STEP)
        self.coefficients[active] += step
        length: Floats = np.abs(np.einsum("rk,rk->r", step, score)) / self.unit[active]
        return length
