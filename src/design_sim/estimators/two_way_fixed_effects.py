"""Two-way fixed effects: outcomes by authority and occasion on treatment and both sets of effects.

The workhorse of evaluations without randomisation, and the difference-in-differences of two groups and
many occasions. An authority's lasting level and what moves all authorities alike drop out. It is biased
where treated authorities would have taken another course (differential trends, a dip before the start),
and, where authorities start at different times and effects grow or differ, by comparisons of
those newly treated with those treated before, whose weights may be negative. Treatment may come and go
in any pattern.

The demeaned regressors are fixed where arms and sizes are, so that an estimate is one product with the
outcomes, and the clusters' scores are another. CR2 and its degrees of freedom equal those of
the regression with a dummy for every authority and occasion (see `numerics.cluster_variance`).

Decision: the authorities' dummies count in k, in the factor of CR1S and in N - k. Software that takes
effects nested in clusters as free has a smaller k. N is the number of families with
`weights = "family"`, and of observed means with `weights = "authority"`.

Source: Bertrand, Duflo and Mullainathan (2004), Quarterly Journal of Economics 119, 249-275;
Pustejovsky and Tipton (2018), Journal of Business and Economic Statistics 36, 672-683 (absorbed effects);
Goodman-Bacon (2021), Journal of Econometrics 225, 254-277 (staggered starts).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import model_validator

from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.cells import Cells
from design_sim.estimators.base import TEST_WORDS, Estimates, Needs
from design_sim.estimators.regression_fit import Fit, arms_status
from design_sim.numerics.cluster_variance import (
    ClusterRobust,
    ContrastPlan,
    DegreesOfFreedom,
    contrast_direction,
    default_df,
)
from design_sim.numerics.least_squares import NormalEquations, solve_normal
from design_sim.panel import Panel
from design_sim.stated import Stated


class TwoWayFixedEffects(Stated):
    """Effect of treatment given authority and occasion effects, clustered by authority."""

    estimator: Literal["two_way_fixed_effects"] = "two_way_fixed_effects"
    variance: Literal["naive", "CR0", "CR1", "CR1S", "CR2"] = "CR2"
    """The standard error: of independent observations, or robust to clustering in one of four ways."""
    df: DegreesOfFreedom | None = None
    """Degrees of freedom; where not stated, satterthwaite for CR2, clusters (G - 1) for CR0, CR1 and
    CR1S. `naive` has its own, N - k."""
    weights: Literal["authority", "family"] = "authority"
    """Whether every authority's mean at an occasion counts alike, or every family."""

    needs_before: ClassVar[bool] = True
    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = True
    within: ClassVar[bool] = False
    covariates: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.variance == "naive" and self.df is not None:
            raise ValueError("df has no effect with variance = 'naive', whose df are N - k")
        return self

    @property
    def needs(self) -> Needs:
        """What of a cell it reads: the sum of squares only where families are taken as independent."""
        return "cells" if self.variance == "naive" and self.weights == "family" else "means"

    @property
    def convention(self) -> str:
        """What it does, in words."""
        count = "every cluster's mean alike" if self.weights == "authority" else "every family alike"
        if self.variance == "naive":
            return f"two-way fixed effects, {count}; observations as independent, t with N - k df"
        rule = self.df or default_df(self.variance)
        return (
            f"two-way fixed effects, {count}; {self.variance} standard error, clustered; {TEST_WORDS[rule]}"
        )

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """None: it takes no covariates."""
        return {}

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing.

        Raises
        ------
        ValueError
            If the naive standard error is asked of families whose sum of squares is not there.
        """
        cells = panel.cells if self.needs == "cells" else Cells(panel.cells.n, panel.cells.mean)
        cells = cells.pool(panel.roster, "authority")
        first = np.searchsorted(panel.roster.authority, np.arange(panel.n_authorities))
        return fit_two_way(self, cells, panel.treated[:, first], panel.alpha)


@dataclass(frozen=True, slots=True)
class TwoWayDesign(Batch):
    """The regressors, occasions and then the treatment, with the effects of authorities absorbed.

    With w the weights of an authority's occasions, d its path of treatment, X = [I, d] its regressors and
    A = diag(w) - w w' / sum(w), its weighted and demeaned regressors are A X, and its Gram matrix X' A X.

    Parameters
    ----------
    weights : float array, (replicate, authority, occasion)
        0 where nobody was observed.
    path : float array, (replicate, authority, occasion)
        1 where treated, else 0, in any pattern.
    """

    weights: Annotated[Floats, "replicate authority occasion"]
    path: Annotated[Floats, "replicate authority occasion"]

    @property
    def fixed(self) -> bool:
        """Whether it is the same in every replicate."""
        return bool(self.weights.shape[0] == 1 and self.path.shape[0] == 1)

    @property
    def share(self) -> Floats:
        """Every occasion's share of its authority's weight, 0 for one never observed."""
        total = self.weights.sum(axis=2, keepdims=True)
        share: Floats = self.weights / np.where(total > 0, total, 1.0)
        return share

    def demeaned(self, values: Floats) -> Floats:
        """A times values, (replicate, authority, occasion)."""
        mean = np.einsum("rgt,rgt->rg", self.share, values)
        demeaned: Floats = self.weights * (values - mean[:, :, np.newaxis])
        return demeaned

    def bordered(self, loading: Floats) -> Floats:
        """X' times values by authority: (replicate, authority, occasion) to (..., column)."""
        along_path = np.einsum("rgt,rgt->rg", loading, np.broadcast_to(self.path, loading.shape))
        return np.concatenate([loading, along_path[:, :, np.newaxis]], axis=2)

    def gram(self) -> Floats:
        """X'AX summed over authorities, (replicate, column, column)."""
        demeaned = self.demeaned(self.path)
        occasions = -self.weights.swapaxes(1, 2) @ self.share
        n_occasions = occasions.shape[1]
        gram = np.empty((demeaned.shape[0], n_occasions + 1, n_occasions + 1))
        gram[:, :-1, :-1] = occasions
        diagonal = np.arange(n_occasions)
        gram[:, diagonal, diagonal] += self.weights.sum(axis=1)
        gram[:, :-1, -1] = gram[:, -1, :-1] = demeaned.sum(axis=1)
        gram[:, -1, -1] = np.einsum("rgt,rgt->r", demeaned, self.path)
        return gram

    def basis(self) -> Floats:
        """A X of every authority, (replicate, authority, occasion, column)."""
        n_occasions = self.weights.shape[2]
        demeaned = self.demeaned(self.path)
        basis = np.empty((*demeaned.shape, n_occasions + 1))
        basis[..., :-1] = -self.weights[:, :, :, np.newaxis] * self.share[:, :, np.newaxis, :]
        diagonal = np.arange(n_occasions)
        basis[:, :, diagonal, diagonal] += self.weights
        basis[..., -1] = demeaned
        return basis

    def grams(self) -> Floats:
        """X'AX of every authority, (replicate, authority, column, column)."""
        basis = self.basis()
        return np.concatenate([basis, self.path[:, :, np.newaxis, :] @ basis], axis=2)


def fit_two_way(model: TwoWayFixedEffects, cells: Cells, treated: Bools, alpha: float) -> Estimates:
    """Effect of treatment from cells by authority and occasion.

    Parameters
    ----------
    model : TwoWayFixedEffects
        Its variance, degrees of freedom and weights.
    cells : Cells, (replicate, authority, occasion)
        The outcome; a cell with n = 0 is not in the regression.
    treated : bool array, (replicate, authority, occasion)
        Whether the authority is treated at the occasion; replicate axis 1 where that is fixed.
    alpha : float
        Two-sided level of the interval.

    Returns
    -------
    Estimates
        `TOO_FEW_CLUSTERS` where nobody observed is treated or everybody always is, and with CR2 where
        one authority alone is; `SINGULAR` where treatment never varies within an authority, or with
        the occasion alone.
    """
    panel = regress_two_way(model.weights, cells, treated)
    if model.variance == "naive":
        squares = panel.residual_squares()
        if model.weights == "family":
            squares = squares + _within(cells)
        return panel.fit.naive(squares, panel.equations.inverse[:, -1, -1], alpha)
    plan, loading = panel.plan(model.variance)
    squares = plan.variance(np.einsum("rgt,rgt->rg", panel.outcome, loading), panel.coefficients)
    return panel.fit.robust(squares, plan.moments(panel.equations), model.variance, model.df, alpha)


@dataclass(frozen=True, slots=True)
class TwoWayRegression(Batch):
    """Least squares on treatment, authorities and occasions, without a test.

    Parameters
    ----------
    design, distinct : TwoWayDesign
        The regressors, and those of authorities that differ.
    which : int array or slice
        Which of the distinct ones an authority is.
    outcome : float array, (replicate, authority, occasion)
        0 where nobody was observed.
    coefficients : float array, (replicate, column)
        Effects of the occasions, then of the treatment.
    """

    design: TwoWayDesign
    distinct: TwoWayDesign
    which: Ints | slice
    outcome: Annotated[Floats, "replicate authority occasion"]
    equations: NormalEquations
    coefficients: Annotated[Floats, "replicate column"]
    fit: Fit

    def plan(self, kind: ClusterRobust) -> tuple[ContrastPlan, Floats]:
        """Plan a variance of the effect; with p_g of authorities, (replicate, authority, occasion)."""
        distinct, which = self.distinct, self.which
        grams = distinct.grams() if kind == "CR2" else np.empty(0)
        direction = contrast_direction(grams, self.equations, self.outcome.shape[2], kind)
        loading = distinct.demeaned(direction[..., :-1] + direction[..., -1:] * distinct.path)
        crossing = distinct.bordered(loading)
        direction = np.broadcast_to(direction, crossing.shape)
        return ContrastPlan(direction[:, which], crossing[:, which]), loading[:, which]

    def residual(self) -> Floats:
        """The outcome less effects of occasions and treatment, (replicate, authority, occasion)."""
        left: Floats = self.outcome - self.coefficients[:, np.newaxis, :-1]
        left -= self.coefficients[:, np.newaxis, -1:] * self.design.path
        return left

    def residual_squares(self) -> Floats:
        """Weighted residual sum of squares between cells, (replicate,)."""
        left = self.residual()
        left -= np.einsum("rgt,rgt->rg", left, self.design.share)[:, :, np.newaxis]
        squares: Floats = np.einsum("rgt,rgt,rgt->r", left, left, self.design.weights)
        return squares


def regress_two_way(
    weighting: Literal["authority", "family"], cells: Cells, treated: Bools | Floats
) -> TwoWayRegression:
    """Regress cells by authority and occasion.

    Parameters
    ----------
    weighting : {"authority", "family"}
        What counts alike.
    cells : Cells, (replicate, authority, occasion)
        The outcome; a cell with n = 0 is not in the regression.
    treated : bool or float array, (replicate, authority, occasion)
        Whether the authority is treated at the occasion, or what share of it is.
    """
    observed = cells.n > 0
    complete = bool(observed.all())
    outcome = cells.mean if complete else np.where(observed, cells.mean, 0.0)
    if weighting == "family":
        weights = cells.n
    else:
        weights = np.ones((1, *cells.n.shape[1:])) if complete else observed.astype(float)
    design = TwoWayDesign(weights, treated.astype(float))
    distinct, which = distinct_authorities(design)
    equations = solve_normal(design.gram())
    coefficients = equations.coefficients(_moments(design, distinct, which, outcome))
    n_clusters = observed.any(axis=2).sum(axis=1).astype(float)
    arms = np.stack([weights * design.path, weights * (1 - design.path)], axis=1)
    in_treated = np.array([True, False])[np.newaxis, :, np.newaxis, np.newaxis]
    fit = Fit(
        effect=coefficients[:, -1],
        level=_mean_square(outcome, weights),
        n=weights.sum(axis=(1, 2)),
        n_clusters=n_clusters,
        rank=equations.rank + n_clusters,
        status=arms_status(arms, in_treated, equations.estimable[:, -1]),
    )
    return TwoWayRegression(design, distinct, which, outcome, equations, coefficients, fit)


def distinct_authorities(design: TwoWayDesign) -> tuple[TwoWayDesign, Ints | slice]:
    """The design of authorities that differ, and which of them each authority is.

    Where the design is fixed, authorities with the same weights and path share their plan; where it is
    not, every authority is kept.
    """
    if not design.fixed:
        return design, slice(None)
    numbers: dict[bytes, int] = {}
    both = np.concatenate([design.weights[0], design.path[0]], axis=1)
    which = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in both])
    _, first = np.unique(which, return_index=True)
    return TwoWayDesign(design.weights[:, first], design.path[:, first]), which


def _moments(design: TwoWayDesign, distinct: TwoWayDesign, which: Ints | slice, outcome: Floats) -> Floats:
    """X'Ay over all authorities, (replicate, column)."""
    if design.fixed:
        basis = distinct.basis()[0, which]
        moments: Floats = outcome.reshape(outcome.shape[0], -1) @ basis.reshape(-1, basis.shape[2])
        return moments
    by_authority = design.bordered(design.demeaned(outcome))
    total: Floats = by_authority.sum(axis=1)
    return total


def _mean_square(outcome: Floats, weights: Floats) -> Floats:
    """A bound of the weighted sum of squared outcomes of an authority, averaged, (replicate,)."""
    flat = outcome.reshape(outcome.shape[0], -1)
    bound: Floats = weights.max() * np.einsum("ri,ri->r", flat, flat) / outcome.shape[1]
    return bound


def _within(cells: Cells) -> Floats:
    """Sum of squares within all cells, (replicate,)."""
    if cells.ss is None:
        if (cells.n > 1).any():
            raise ValueError("the naive standard error needs the sum of squares within cells")
        return np.zeros(1)
    ss: Floats = np.where(cells.n > 0, cells.ss, 0.0).sum(axis=(1, 2))
    return ss
