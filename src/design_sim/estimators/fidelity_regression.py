"""Fidelity regression: how an authority's mean outcome goes with the fidelity that it was scored.

The analysis to choose where authorities differ in how well they practise and the question is what a unit of
fidelity does: the estimand `per_fidelity`. It is observational whatever the design: readier authorities
practise better and do better anyway, and chance does not deal out fidelity. Among all, authorities of
comparison, whose score is 0 where they practise nothing of the framework, pin down the line, and the slope
mixes the difference between arms with that among the treated; among the treated alone nothing but differences
in practice tells. Families who do not take part are averaged in: with an uptake u the slope is u times
`per_fidelity`, which is about those who do.

A score with error flattens the slope by its reliability (attenuation), also where the error is of the few
workers that were audited. Regression calibration divides slope and standard error by a stated reliability,
which is taken as known: neither the standard error nor the interval says how uncertain it is, and the t
statistic is that of the naive slope. The reliability meant is that of the score at follow-up among the
authorities compared, var(fidelity) / var(score), which is larger among all than among the treated.
Where the standard deviation of the error is what a reliability study gives, errors in variables takes its
square from the variance of the score, and its standard error says how uncertain what is left is; the t test
is then an approximation, and among few authorities of unreliable scores estimates scatter without bound: a
score that varies no more than its error is a failed analysis.

Source: Fuller (1987), Measurement Error Models, section 1.1 (attenuation; reliability known) and theorem
1.2.1 (error variance known).
"""

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from design_sim.arrays import Bools, Floats
from design_sim.estimators.base import Estimates, Needs, Status, t_estimates
from design_sim.estimators.cluster_means import authority_means
from design_sim.panel import Panel
from design_sim.stated import Stated

_ROUNDING = 1e-12
"""A standard deviation below this share of the largest value is rounding: nothing varies."""


class FidelityRegression(Stated):
    """Slope of authority means of the outcome on the fidelity score at follow-up, with its t test."""

    estimator: Literal["fidelity_regression"] = "fidelity_regression"
    among: Literal["all", "treated"] = "all"
    """Which authorities: all, or those with the framework alone."""
    correction: Literal["none", "regression_calibration", "errors_in_variables"] = "none"
    """For the error of the score: none; slope and standard error divided by `reliability`; or the variance of
    the score lessened by that of the error, `error_sd` squared."""
    reliability: Annotated[float, Field(gt=0, le=1)] | None = None
    """For `regression_calibration`: share of the variance of the score between the authorities compared that
    is true; taken as known."""
    error_sd: Annotated[float, Field(ge=0, le=10)] | None = None
    """For `errors_in_variables`: standard deviation of the score's error, in units of the score, its square
    being the mean over the authorities compared; taken as known."""

    needs: ClassVar[Needs] = "means"
    needs_fidelity_score: ClassVar[bool] = True
    needs_before: ClassVar[bool] = False
    covariates: ClassVar[tuple[str, ...]] = ()
    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = False
    within: ClassVar[bool] = False

    @model_validator(mode="after")
    def _known_where_it_corrects(self) -> Self:
        if self.correction == "regression_calibration" and self.reliability is None:
            raise ValueError("correction = 'regression_calibration' needs the reliability of the score")
        if self.correction != "regression_calibration" and self.reliability is not None:
            raise ValueError("reliability has no effect without correction = 'regression_calibration'")
        if self.correction == "errors_in_variables" and self.error_sd is None:
            raise ValueError("correction = 'errors_in_variables' needs error_sd, that of the score's error")
        if self.correction != "errors_in_variables" and self.error_sd is not None:
            raise ValueError("error_sd has no effect without correction = 'errors_in_variables'")
        return self

    @property
    def convention(self) -> str:
        """What it does, in words."""
        who = "all clusters" if self.among == "all" else "treated clusters"
        corrected = {
            "none": "",
            "regression_calibration": f"; slope and standard error divided by a reliability of "
            f"{self.reliability or 1:g}, taken as known",
            "errors_in_variables": f"; corrected for an error of the score of SD {self.error_sd or 0:g}, "
            "taken as known (Fuller 1987, theorem 1.2.1)",
        }[self.correction]
        return (
            f"least squares of cluster means on the fidelity score among {who}, every cluster alike; "
            f"t test, df = clusters - 2{corrected}"
        )

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing.

        Returns
        -------
        Estimates
            For each unit of the score. `TOO_FEW_CLUSTERS` where fewer than three authorities count,
            `SINGULAR` where their scores do not differ, or no more than by the stated error.

        Raises
        ------
        ValueError
            If the panel has no fidelity score.
        """
        if panel.fidelity_score is None:
            raise ValueError("fidelity_regression needs the fidelity score, and the panel has none")
        means = authority_means(panel, change=False)
        among = panel.treated_authority if self.among == "treated" else np.ones((1, 1), dtype=np.bool_)
        known = self.reliability or 1.0, (self.error_sd or 0.0) ** 2
        return slope_on_score(means, panel.fidelity_score, among, panel.alpha, *known)

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """Empty: it adjusts for nothing."""
        return {}


def slope_on_score(
    means: Floats,
    score: Floats,
    among: Bools,
    alpha: float = 0.05,
    reliability: float = 1.0,
    error_variance: float = 0.0,
) -> Estimates:
    """Least-squares slope of cluster means on a score, with its t test, corrected for the score's error.

    Parameters
    ----------
    means : float array, (replicate, cluster)
        On the outcome's scale; nan for a cluster that nobody was observed in, which does not count.
    score : float array, (replicate or 1, cluster)
        The score of each cluster.
    among : bool array, (replicate or 1, cluster or 1)
        The clusters that count.
    alpha : float
        Two-sided level of the interval.
    reliability : float
        Above 0 to 1; slope and standard error are divided by it.
    error_variance : float
        Of the score; 0 for none.

    Notes
    -----
    With sample moments m over n clusters and error variance u, slope b = m_xy / (m_xx - u) and its variance
    (m_xx s + b^2 u^2) / ((n - 1) (m_xx - u)^2), s being the mean square of y - b x on n - 2 degrees of
    freedom. With u = 0 that is least squares. Its bias is b 2 u m_xx / ((n - 1) (m_xx - u)^2) to first order.

    Examples
    --------
    >>> means, score = np.array([[1.0, 2.0, 4.0]]), np.array([[0.0, 0.5, 1.0]])
    >>> slope_on_score(means, score, np.array([[True]]), reliability=0.5).estimate.round(3)
    array([6.])
    """
    counts = np.asarray(among & ~np.isnan(means))
    n = counts.sum(axis=1).astype(np.float64)
    x, score_varies = _centred(score, counts, n)
    y, outcome_varies = _centred(means, counts, n)
    square = (x**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        true = square - (n - 1) * error_variance
        slope = (x * y).sum(axis=1) / true
        residual = ((y - slope[:, np.newaxis] * x) ** 2).sum(axis=1)
        of_error = (n - 1) * (slope * error_variance) ** 2
        std_error = np.sqrt(square * residual / (n - 2) + of_error) / np.abs(true)
    status = np.where(outcome_varies, Status.OK, Status.NO_VARIATION)
    status = np.where(score_varies & (true > 0), status, Status.SINGULAR)
    status = np.where(n > 2, status, Status.TOO_FEW_CLUSTERS).astype(np.int64)
    return t_estimates(slope / reliability, std_error / reliability, n - 2, alpha, status)


def _centred(values: Floats, counts: Bools, n: Floats) -> tuple[Floats, Bools]:
    """Values less the mean of those that count, 0 for others, and whether they vary, (replicate,)."""
    known = np.where(counts, values, 0.0)
    mean = known.sum(axis=1) / np.maximum(n, 1.0)
    centred = np.where(counts, known - mean[:, np.newaxis], 0.0)
    varies = np.abs(centred).max(axis=1) > _ROUNDING * np.abs(known).max(axis=1)
    return centred, np.asarray(varies)
