"""Wild bootstrap: the t test of a regression, with critical values from its own residuals.

A common choice where clusters are too few for a t distribution to be trusted and randomisation inference is
not at hand. The regression is that of `clustered_regression` or of `two_way_fixed_effects`, with its bias;
the statistic is t with the CR1 standard error. With the null imposed (restricted residuals, WCR) its size
is close to nominal for a dozen clusters in even arms. With few treated clusters that version hardly ever
rejects and the unrestricted one (WCU) far too often.

Decision: the p-value is two-sided and symmetric, the share of |t*| >= |t|, ties included. A vector of signs
and its mirror image give the same |t*|, so that one of the two stands for both; where there are no more than
`draws` + 1 of these, 2^(G - 1) for G authorities, all are taken and nothing is random: with 999 draws, up
to ten authorities. With the null imposed the study is among them, and the p-value is never below 2 / 2^G. To
random draws the study is added as one more, and the p-value is never below 1 / (draws + 1).

Decision: the interval holds the null values that the same test does not reject, so that coverage is one less
the size where the effect is the same for all. It is infinite where authorities are too few to reject
anything. `df` is nan, as no t distribution is looked at; the standard error is that of CR1.

Source: Cameron, Gelbach and Miller (2008), Review of Economics and Statistics 90, 414-427; MacKinnon and
Webb (2017), Journal of Applied Econometrics 32, 233-254 (few treated clusters); Roodman, Nielsen, MacKinnon
and Webb (2019), Stata Journal 19, 4-60 (inversion of the test).
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from design_sim.arrays import Batch, Bools, Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Needs
from design_sim.estimators.clustered_regression import TREATED, coefficients_of, regress_rows
from design_sim.estimators.covariates import covariates_of
from design_sim.estimators.regression_fit import Fit, follow_up_arm
from design_sim.estimators.two_way_fixed_effects import regress_two_way
from design_sim.numerics.bootstrap_weights import (
    BootstrapWeights,
    WeightLaw,
    draw_weights,
    sign_vectors,
)
from design_sim.numerics.cluster_variance import ContrastPlan, plan_contrast
from design_sim.numerics.least_squares import NormalEquations, cluster_moments
from design_sim.numerics.wild_bootstrap import bootstrap_test, plan_bootstrap
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.stated import Stated


class WildBootstrap(Stated):
    """Wild cluster bootstrap-t test of the effect in a regression, clustered by authority."""

    estimator: Literal["wild_bootstrap"] = "wild_bootstrap"
    model: Literal["clustered_regression", "two_way_fixed_effects"] = "clustered_regression"
    """Whose regression it tests."""
    weights: WeightLaw = "rademacher"
    """What residuals are multiplied by: signs, Webb's six points, or Mammen's two, which repeat the study
    too often to reject with fewer than ten authorities."""
    null_imposed: bool = True
    """Whether residuals are those of the regression without an effect (WCR) or with it (WCU)."""
    draws: Annotated[int, Field(ge=19, le=99_999)] = 999
    """Random draws; where no more than `draws` + 1 vectors of signs differ in |t*|, all are taken."""
    interval: bool = True
    """Whether to invert the test for an interval, which takes several times as long."""
    count: Literal["family", "authority"] | None = None
    """Whether every family or every authority (its mean at an occasion) counts alike; where not stated,
    family for clustered_regression and authority for two_way_fixed_effects."""
    covariates: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Names of covariates of the panel to adjust for; for clustered_regression only."""

    needs: ClassVar[Needs] = "means"
    by_allocation: ClassVar[bool] = False

    @property
    def staggered(self) -> bool:
        """Fixed effects of occasions take units that start at different ones."""
        return self.model == "two_way_fixed_effects"

    @property
    def within(self) -> bool:
        """A clustered regression takes treatment that differs within authorities."""
        return self.model == "clustered_regression"

    @property
    def convention(self) -> str:
        """What it does, in words."""
        what = "least squares" if self.model == "clustered_regression" else "two-way fixed effects"
        kind = "null imposed (WCR)" if self.null_imposed else "null not imposed (WCU)"
        return (
            f"{what}; wild cluster bootstrap-t, {kind}, {self.weights} weights, all where they are few; "
            "two-sided p: the share of |t*| at least |t|; interval by inverting the test; CR1 standard error"
        )

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """What each covariate adds for each of its units, (replicate,) by name."""
        return coefficients_of(panel, self.covariates, self.count or "family")

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.model == "two_way_fixed_effects" and self.covariates:
            raise ValueError("covariates have no effect with model = 'two_way_fixed_effects'")
        if len(set(self.covariates)) < len(self.covariates):
            raise ValueError("a covariate is named twice")
        return self

    @property
    def needs_before(self) -> bool:
        """Fixed effects of authorities need an occasion before the start."""
        return self.model == "two_way_fixed_effects"

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws weights, the same for all replicates, if any.

        Returns
        -------
        Estimates
            `p_floor` is the smallest p-value that the draws allow: with all signs 2 / 2^G, G being the
            authorities observed, and 0 for WCU, where the study is not among its draws. Statuses are
            those of the regression with CR1.

        Raises
        ------
        ValueError
            If an arm is not constant over the follow-up, which a clustered regression needs, or a covariate
            is not in the panel.
        """
        found = self._regress(panel)
        plan = plan_bootstrap(found.contrast, found.equations, found.column)
        scores = plan.scores(found.moments)
        squares = np.einsum("rg,rg->r", scores.own, scores.own)
        moments = found.contrast.moments(found.equations)
        plain = found.fit.robust(squares, moments, "CR1", "clusters", panel.alpha)
        unit = np.where(plain.failed, np.inf, np.sqrt(squares))
        weights = self._weights(panel.n_authorities, rng)
        test = bootstrap_test(
            plan,
            scores.scaled(1 / unit),
            found.fit.effect / unit,
            weights,
            imposed=self.null_imposed,
            alpha=panel.alpha if self.interval else None,
        )
        unit = np.where(plain.failed, np.nan, unit)
        return replace(
            plain,
            df=np.full(1, np.nan),
            p_value=np.where(plain.failed, np.nan, test.p_value),
            ci_low=plain.estimate - test.below * unit,
            ci_high=plain.estimate + test.above * unit,
            p_floor=self._floor(panel.n_authorities, found.fit.n_clusters),
        )

    def enumerates(self, n_authorities: int) -> bool:
        """Whether all vectors of signs are taken."""
        return self.weights == "rademacher" and 2 ** (n_authorities - 1) <= self.draws + 1

    def _weights(self, n_authorities: int, rng: Generator) -> BootstrapWeights:
        """The draws; where the null is imposed, those that repeat the study are counted and not compared."""
        if self.enumerates(n_authorities):
            weights = BootstrapWeights.of(sign_vectors(n_authorities), 0)
        else:
            weights = BootstrapWeights.of(draw_weights(self.weights, n_authorities, self.draws, rng), 1)
        return weights.without_repeats() if self.null_imposed else weights

    def _floor(self, n_authorities: int, n_observed: Floats) -> Floats:
        """The smallest p-value that the draws allow, (replicate,)."""
        if not self.enumerates(n_authorities):
            return np.full(1, 1 / (self.draws + 1))
        # An authority that nobody was observed in only repeats the vectors of the others.
        floor = np.minimum(2.0 ** (1 - n_observed), 1.0)
        return np.asarray(floor) if self.null_imposed else np.zeros(1)

    def _regress(self, panel: Panel) -> "Regression":
        cells = Cells(panel.cells.n, panel.cells.mean)
        if self.model == "clustered_regression":
            cells = cells.over(panel.follow_up)
            values = covariates_of(panel, self.covariates)
            return _regress_rows(self.count or "family", panel.roster, cells, follow_up_arm(panel), values)
        path = treatment_path(panel)
        return _regress_two_way(self.count or "authority", cells.pool(panel.roster, "authority"), path)


@dataclass(frozen=True, slots=True)
class Regression(Batch):
    """A regression as the bootstrap needs it.

    Parameters
    ----------
    fit : Fit
    equations : NormalEquations
    column : int
        The treatment's.
    contrast : ContrastPlan
        Of the treatment's coefficient, with CR1.
    moments : float array, (replicate, cluster, column)
        X_g' W_g times the residuals.
    """

    fit: Fit
    equations: NormalEquations
    column: int
    contrast: ContrastPlan
    moments: Annotated[Floats, "replicate cluster column"]


def _regress_rows(
    weighting: Literal["family", "authority"],
    roster: Roster,
    cells: Cells,
    treated: Bools,
    covariates: list[Floats],
) -> Regression:
    rows = regress_rows(weighting, roster, cells, treated, covariates)
    contrast = plan_contrast(rows.grams, rows.equations, TREATED, "CR1")
    # From residuals, not from the outcome's moments, whose level would hide ties.
    pool = partial(roster.pool, level="authority")
    moments = cluster_moments(rows.columns, rows.weights * rows.residual(), pool)
    return Regression(rows.fit, rows.equations, TREATED, contrast, moments)


def _regress_two_way(
    weighting: Literal["family", "authority"], cells: Cells, path: Bools | Floats
) -> Regression:
    panel = regress_two_way(weighting, cells, path)
    contrast, _ = panel.plan("CR1")
    moments = panel.design.bordered(panel.design.demeaned(panel.residual()))
    return Regression(panel.fit, panel.equations, panel.outcome.shape[2], contrast, moments)


def treatment_path(panel: Panel) -> Bools | Floats:
    """Whether an authority is treated at an occasion, (replicate, authority, occasion).

    What share of its families is, where some authority's rows are treated and others not.
    """
    treated = panel.treated
    first = np.searchsorted(panel.roster.authority, np.arange(panel.n_authorities))
    path = treated[:, first]
    if (treated == path[:, panel.roster.authority]).all():
        return path
    n = panel.roster.pool(panel.cells.n, "authority")
    share: Floats = panel.roster.pool(panel.cells.n * treated, "authority") / np.where(n > 0, n, 1.0)
    return share
