"""Generalised estimating equations: the average outcome by arm, families of an authority being alike.

The usual analysis of a cluster-randomised trial in public health. The mean outcome after the start is
modelled on treatment, covariates and, where treatment varies over the follow-up, occasions. Families of an
authority are taken as equally correlated, or as independent, and the standard error does not rest on that
being right. The answer lies between that of the average family and that of the average authority, nearer to
the latter the more families correlate. It is biased where who is treated is not random, given the covariates.

With few authorities the robust standard error is too small and a normal test rejects far too often. The
default is Kauermann and Carroll's correction with a t test, which Li and Redden (2015) found to keep its size
with as few as 10 authorities of not too unequal sizes, and which is exact for a normal outcome and two arms
of equally many authorities, all of one size. With very unequal ones they advise Fay and Graubard's, which in
Thompson et al. (2022) held in nearly all trials of 8 to 30; `working = "independence"` is then safer too, as
authorities' weights are not estimated. Mancl and DeRouen's is the largest and tends to be conservative.

Decision: the effect on a risk or a rate is reported as a difference, since estimands are differences. It is
standardised to the N families analysed, of both arms and all occasions,

    sum over families of [mu(x, treated) - mu(x, not treated)] / N

with mu the fitted mean at the family's own covariates and occasion. Its standard error is by the delta
method: the gradient by the coefficients is the families' mean of v(mu1) x1 - v(mu0) x0, where v is the
variance function, mu1 and x1 are treated and mu0 and x0 are not; the families' covariates are taken as given.

Decision: the t test has G - p degrees of freedom, G counting the authorities that hold anybody, and p all
coefficients. Some count only coefficients of authorities, which differs where occasions have effects or
covariates vary within an authority.

Decision: nothing is refused for an outcome outside its family's range (a shaded yes or no may exceed 1): only
fitted means must lie within, and those that do not are counted as separated. `poisson` with a yes or no is
the modified Poisson regression of Zou (2004).

Source: Liang and Zeger (1986), Biometrika 73, 13-22; Li and Redden (2015), Statistics in Medicine 34,
281-296; Thompson, Leyrat, Fielding and Hayes (2022), BMC Medical Research Methodology 22, 222; Zou (2004),
American Journal of Epidemiology 159, 702-706.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.estimators.base import Estimates, Needs, Status, t_estimates
from design_sim.estimators.regression_cells import TREATED, RegressionCells, regression_cells
from design_sim.estimators.regression_fit import arms_status
from design_sim.numerics.canonical_link import Family, expected, linked, variance
from design_sim.numerics.equation_search import fit_equations, scale_of_rounding
from design_sim.numerics.estimating_equations import ClusteredCells, Ending, Working, row_sums
from design_sim.numerics.gee_variance import ContrastVariance, GeeVariance, contrast_variance
from design_sim.numerics.least_squares import solve_normal
from design_sim.numerics.two_arm_equations import TwoArms, arm_variance, fit_two_arms
from design_sim.panel import Panel
from design_sim.stated import Stated

_CONSTANT = 1e-26
"""An outcome whose variance is below this share of its mean square does not vary."""
_STATUS_OF = {
    Ending.FITTED: Status.OK,
    Ending.INDEPENDENT: Status.BOUNDARY,
    Ending.SEPARATED: Status.SEPARATION,
    Ending.NOT_CONVERGED: Status.NOT_CONVERGED,
}


class Gee(Stated):
    """Effect of treatment on the families observed after the start, by estimating equations."""

    estimator: Literal["gee"] = "gee"
    family: Family = "gaussian"
    """The outcome's distribution, with its canonical link: gaussian (identity), binomial (logit) for a yes or
    no, poisson (log) for a count."""
    working: Literal["exchangeable", "independence"] = "exchangeable"
    """How families of an authority are taken to correlate; it weighs authorities, and the standard error is
    right even where it is wrong."""
    report: Literal["difference", "link"] = "difference"
    """The effect as a difference of risks or rates, standardised to the families analysed, or as the
    coefficient, a log odds ratio or a log rate ratio, which is on another scale than estimands are."""
    variance: GeeVariance = "kauermann_carroll"
    """The standard error: robust, or with one of three corrections for few authorities."""
    df: Literal["clusters", "normal"] = "clusters"
    """Degrees of freedom of the test and interval: authorities less coefficients (G - p), or infinite, which
    much software takes and which rejects too often where authorities are few."""
    moments: Literal["corrected", "plain"] = "corrected"
    """Divisors of the moment estimators of dispersion and correlation: observations and pairs less
    coefficients (statsmodels, R's gee), or as they are (geepack)."""
    period_effects: bool = True
    """Whether occasions have effects of their own where treatment varies over the follow-up, as in a stepped
    wedge; where it does not, both arms share them and they are left out."""
    covariates: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Covariates of the panel to adjust for, by name."""

    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = True
    within: ClassVar[bool] = True
    needs_before: ClassVar[bool] = False

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.family == "gaussian" and self.report == "link":
            raise ValueError("report has no effect with family = 'gaussian', whose link is the identity")
        if self.working == "independence" and self.moments == "plain":
            raise ValueError("moments has no effect with working = 'independence', which estimates none")
        if len(set(self.covariates)) < len(self.covariates):
            raise ValueError("a covariate is named twice")
        return self

    @property
    def needs(self) -> Needs:
        """What of a cell it reads: the sum of squares only to estimate a correlation."""
        return "cells" if self.working == "exchangeable" else "means"

    @property
    def outcomes(self) -> tuple[str, ...] | None:
        """The kinds of outcome that its family is for."""
        return {"gaussian": None, "binomial": ("binary",), "poisson": ("count",)}[self.family]

    @property
    def convention(self) -> str:
        """What it does, in words."""
        link = {"gaussian": "identity", "binomial": "logit", "poisson": "log"}[self.family]
        scale = "coefficient on the link scale" if self.report == "link" else "difference of means"
        if self.family != "gaussian" and self.report == "difference":
            scale = "difference of fitted means, standardised to the families analysed (delta method)"
        test = "t with clusters - coefficients df" if self.df == "clusters" else "normal test"
        divisors = "less" if self.moments == "corrected" else "not less"
        moments = f", moments {divisors} coefficients" if self.working == "exchangeable" else ""
        return (
            f"GEE, {self.family} with {link} link, {self.working} working correlation in a cluster{moments}; "
            f"{'occasions have effects where treatment varies over them; ' * self.period_effects}"
            f"{scale}; {self.variance.replace('_', ' ')} standard error; {test}"
        )

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """What each covariate adds for each of its units on the link scale, (replicate,) by name."""
        if not self.covariates:
            return {}
        correlated = self.working == "exchangeable"
        seen = regression_cells(
            panel, self.covariates, squares=correlated, period_effects=self.period_effects
        )
        cells = _centred(seen.cells, self.family)
        known = solve_normal(cells.gram())
        status = _status_before(seen.cells, known.estimable[:, TREATED])
        found = fit_equations(cells, known, self.model, status == Status.OK).coefficients
        first = found.shape[1] - len(self.covariates)
        return {
            name: found[:, place] / seen.coding[:, place, place]
            for place, name in enumerate(self.covariates, start=first)
        }

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing.

        Returns
        -------
        Estimates
            `BOUNDARY` where the estimated correlation is none and 0 stands in its place. `TOO_FEW_CLUSTERS`
            where nobody observed is treated or everybody is, where coefficients are as many as authorities,
            and where a correction does not exist, the effect resting on one authority. `SINGULAR`
            where treatment is a combination of the covariates, `NO_VARIATION` where the outcome or its mean
            over authorities does not vary, `SEPARATION` where a fitted risk is 0 or 1 or a fitted rate 0.

        Raises
        ------
        ValueError
            If a covariate is not in the panel, or its cells carry no sums of squares to estimate a
            correlation from.
        """
        correlated = self.working == "exchangeable"
        seen = regression_cells(
            panel, self.covariates, squares=correlated, period_effects=self.period_effects
        )
        fitted = fit_arms(self, seen.cells) if seen.two_arms else fit_regression(self, seen)
        df = seen.n_authorities - fitted.rank if self.df == "clusters" else np.full(1, np.inf)
        void = fitted.variance.void & np.isin(fitted.status, [Status.OK, Status.BOUNDARY])
        status = np.where(void, Status.TOO_FEW_CLUSTERS, fitted.status)
        with np.errstate(invalid="ignore"):
            std_error = np.sqrt(fitted.variance.variance)
        return t_estimates(fitted.effect, std_error, df, panel.alpha, status)

    @property
    def model(self) -> Working:
        """The working model of its equations."""
        return Working(self.family, self.working == "exchangeable", self.moments == "corrected")


@dataclass(frozen=True, slots=True)
class FittedEffect(Batch):
    """A fitted effect, before its test.

    Parameters
    ----------
    effect : float array, (replicate,)
        The effect.
    variance : ContrastVariance
        Its variance.
    rank : float array, (replicate,)
        Number of coefficients.
    status : int array, (replicate,)
        A `Status`, as far as the fit can tell.
    """

    effect: Annotated[Floats, "replicate"]
    variance: ContrastVariance
    rank: Annotated[Floats, "replicate"]
    status: Annotated[Ints, "replicate"]


def fit_arms(model: Gee, cells: ClusteredCells) -> FittedEffect:
    """The effect where authorities are in two arms and there is nothing else, nearly in closed form.

    Parameters
    ----------
    model : Gee
        Its covariates are not looked at.
    cells : ClusteredCells
        One for each authority.
    """
    status = _status_before(cells, np.ones(1, dtype=np.bool_))
    cells = _centred(cells, model.family)
    arms = TwoArms(cells.n, cells.mean, cells.ss, cells.regressors[TREATED])
    fit = fit_two_arms(arms, model.model, cells.typical)
    comparison, treated = fit.means.comparison, fit.means.treated
    effect, divisors = treated - comparison, (np.ones(1), np.ones(1))
    if model.report == "link":
        with np.errstate(invalid="ignore"):
            effect = linked(model.family, treated) - linked(model.family, comparison)
        divisors = variance(model.family, comparison), variance(model.family, treated)
    unit = scale_of_rounding(cells, model.family)
    found = arm_variance(arms, fit.means, model.variance, divisors, unit)
    return FittedEffect(effect, found, np.full(1, 2.0), _status_after(status, fit.ending))


def fit_regression(model: Gee, seen: RegressionCells) -> FittedEffect:
    """The effect, whatever the other regressors are.

    Parameters
    ----------
    model : Gee
        Its covariates are not looked at.
    seen : RegressionCells
        The families and their regressors.
    """
    cells = _centred(seen.cells, model.family)
    known = solve_normal(cells.gram())
    status = _status_before(seen.cells, known.estimable[:, TREATED])
    fit = fit_equations(cells, known, model.model, status == Status.OK)
    if model.family == "gaussian" or model.report == "link":
        effect, contrast = fit.coefficients[:, TREATED], np.zeros((1, len(cells.regressors)))
        contrast[:, TREATED] = 1.0
    else:
        effect, contrast = standardised_difference(model.family, cells, fit.coefficients)
    found = contrast_variance(fit, contrast, model.variance, coding=seen.coding, alike=seen.alike)
    return FittedEffect(effect, found, known.rank, _status_after(status, fit.ending))


def standardised_difference(
    family: Family, cells: ClusteredCells, coefficients: Floats
) -> tuple[Floats, Floats]:
    """Difference of fitted means, treated and not, averaged over all observations.

    Parameters
    ----------
    family : Family
        With its canonical link.
    cells : ClusteredCells
        The observations, treatment being their second regressor.
    coefficients : float array, (replicate, column)
        The fitted coefficients.

    Returns
    -------
    float array, (replicate,)
        The difference.
    float array, (replicate, column)
        Its gradient by the coefficients.
    """
    share = cells.n / np.maximum(cells.n.sum(axis=1, keepdims=True), 1.0)
    without = coefficients.copy()
    without[:, TREATED] = 0.0
    base = cells.predictor(without)
    treated = expected(family, base + coefficients[:, TREATED, np.newaxis])
    comparison = expected(family, base)
    slopes = share * variance(family, treated), share * variance(family, comparison)
    change = slopes[0] - slopes[1]
    gradient = np.stack([(change * column).sum(axis=1) for column in cells.regressors], axis=1)
    gradient[:, TREATED] = slopes[0].sum(axis=1)
    return (share * (treated - comparison)).sum(axis=1), gradient


def _centred(cells: ClusteredCells, family: Family) -> ClusteredCells:
    """The cells with the mean of a Gaussian outcome taken off, which changes the intercept alone."""
    if family != "gaussian":
        return cells
    return replace(cells, mean=cells.mean - cells.typical[:, np.newaxis])


def _status_before(cells: ClusteredCells, estimable: Bools) -> Ints:
    """What stands in the way of a fit, (replicate,)."""
    status = arms_status(cells.n, cells.regressors[TREATED] > 0, estimable)
    return np.where((status == Status.OK) & ~_varies(cells), Status.NO_VARIATION, status)


def _status_after(status: Ints, ending: Ints) -> Ints:
    """The status, with how the fit ended where nothing stood in its way."""
    ended = np.array([_STATUS_OF[ending] for ending in Ending], dtype=np.int64)[ending]
    return np.where(status == Status.OK, ended, status)


def _varies(cells: ClusteredCells) -> Bools:
    """Whether the outcome differs between any two observations, (replicate,)."""
    deviation = cells.mean - cells.typical[:, np.newaxis]
    squares = row_sums(cells.n, deviation**2) + cells.ss.sum(axis=1)
    varies: Bools = squares > _CONSTANT * row_sums(cells.n, cells.mean**2)
    return varies
