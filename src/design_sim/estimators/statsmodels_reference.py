"""Second opinions: the same analyses by statsmodels, one replicate at a time.

Choose them to check this package's own numbers, never for a study of many replicates: they fit every
replicate anew and take some 1 to 50 milliseconds for each, a thousand times as long as the others. Rows
must be single families. They are biased where who is treated is not random.

Source: Seabold and Perktold (2010), statsmodels, Proceedings of the 9th Python in Science Conference, 92-96.
"""

import warnings
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from design_sim.arrays import Floats, Ints
from design_sim.estimators.base import Estimates, Needs, Status, t_estimates
from design_sim.panel import Panel
from design_sim.stated import Stated

_NEGLIGIBLE = 1e-5
"""A variance ratio at which statsmodels, whose search never reaches 0, is at the boundary."""


class StatsmodelsOLS(Stated):
    """Difference between arms over families, by statsmodels; slow, one replicate at a time."""

    estimator: Literal["statsmodels_ols"] = "statsmodels_ols"
    variance: Literal["naive", "CR1S"] = "CR1S"
    """`CR1S`: clustered by authority, with Stata's factor and df of authorities less 1. `naive`: families as
    independent, with df of families less 2, which rejects far too often where authorities differ."""

    needs: ClassVar[Needs] = "families"
    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = False
    within: ClassVar[bool] = False
    needs_before: ClassVar[bool] = False
    covariates: ClassVar[tuple[str, ...]] = ()

    @property
    def convention(self) -> str:
        """What it does, in words."""
        return "statsmodels OLS; " + (
            "CR1S, t with clusters - 1 df" if self.variance == "CR1S" else "families as independent"
        )

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """None: it takes no covariates."""
        return {}

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel in turn; draws nothing."""
        from statsmodels.regression.linear_model import OLS

        estimate, std_error, df, status = _blank(panel.n_replicates)
        for replicate in range(panel.n_replicates):
            outcome, regressors, authority = families_of(panel, replicate)
            n_authorities = np.unique(authority).size
            clustered = self.variance == "CR1S"
            df[replicate] = n_authorities - 1 if clustered else outcome.size - 2
            # An authority alone in its arm is fitted exactly: two such have rounding for a standard error.
            few = outcome.size <= 2 or (clustered and n_authorities <= 2)
            if few or not _both_arms(regressors):
                status[replicate] = Status.TOO_FEW_CLUSTERS
                continue
            if np.ptp(outcome) == 0:
                status[replicate] = Status.NO_VARIATION
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                options = {"cov_type": "cluster", "cov_kwds": {"groups": authority}} if clustered else {}
                fit = OLS(outcome, regressors).fit(**options)
            estimate[replicate], std_error[replicate] = fit.params[1], fit.bse[1]
        return t_estimates(estimate, std_error, df, panel.alpha, status)


class StatsmodelsMixedLM(Stated):
    """The random-intercept model by statsmodels' REML with its normal test; slow, one replicate at a time."""

    estimator: Literal["statsmodels_mixed_model"] = "statsmodels_mixed_model"

    needs: ClassVar[Needs] = "families"
    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = False
    within: ClassVar[bool] = False
    needs_before: ClassVar[bool] = False
    covariates: ClassVar[tuple[str, ...]] = ()

    @property
    def convention(self) -> str:
        """What it does, in words."""
        return "statsmodels MixedLM, random intercept of the cluster by REML; normal test"

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """None: it takes no covariates."""
        return {}

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel in turn; draws nothing.

        Its standard errors invert the observed information of all parameters and so differ a little from
        those of `MixedModel` where authorities differ in size. Warnings become statuses: `NOT_CONVERGED`
        where any of its searches failed, as it goes on to another and may stop in the wrong place;
        `BOUNDARY` where the variance between authorities is below 1e-5 of that within; `SINGULAR` where it
        stops on a matrix; `NO_VARIATION` where it gives no standard error. That the variance "may be on the
        boundary" it says of any below 0.01, whatever the outcome's scale, and it is not heeded.
        """
        estimate, std_error, df, status = _blank(panel.n_replicates)
        df[:] = np.inf
        for replicate in range(panel.n_replicates):
            outcome, regressors, authority = families_of(panel, replicate)
            n_authorities = np.unique(authority).size
            if not _both_arms(regressors) or not 2 < n_authorities < outcome.size:
                status[replicate] = Status.TOO_FEW_CLUSTERS
                continue
            estimate[replicate], std_error[replicate], status[replicate] = _mixed_fit(
                outcome, regressors, authority
            )
        return t_estimates(estimate, std_error, df, panel.alpha, status)


def families_of(panel: Panel, replicate: int) -> tuple[Floats, Floats, Ints]:
    """The families observed after the start in one replicate, every occasion's as different ones.

    Returns
    -------
    outcome : float array, (family,)
    regressors : float array, (family, 2)
        Ones, and whether the family's authority is assigned to treatment.
    authority : int array, (family,)

    Raises
    ------
    ValueError
        If a cell holds more than one family.
    """
    n = panel.cells.n[replicate % panel.cells.n.shape[0]][:, panel.follow_up]
    if (n > 1).any():
        raise ValueError("statsmodels needs single families, and a cell of the panel holds several")
    row, occasion = np.nonzero(n)
    outcome = panel.cells.mean[replicate][:, panel.follow_up][row, occasion]
    authority = panel.roster.authority[row]
    treated = panel.treated_authority[replicate % panel.start.shape[0]][authority]
    return outcome, np.column_stack([np.ones(outcome.size), treated]), authority


def _mixed_fit(outcome: Floats, regressors: Floats, authority: Ints) -> tuple[float, float, Status]:
    """One fit: the effect, its standard error, and how it ended."""
    from statsmodels.regression.mixed_linear_model import MixedLM
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit = MixedLM(outcome, regressors, groups=authority).fit(reml=True)
        except np.linalg.LinAlgError:
            return np.nan, np.nan, Status.SINGULAR
        numbers = float(fit.fe_params[1]), float(fit.bse_fe[1])
    if fit.cov_re[0, 0] <= _NEGLIGIBLE * fit.scale:
        return *numbers, Status.BOUNDARY
    doubts = [
        warning
        for warning in caught
        if issubclass(warning.category, ConvergenceWarning) and "on the boundary" not in str(warning.message)
    ]
    return *numbers, Status.OK if fit.converged and not doubts else Status.NOT_CONVERGED


def _both_arms(regressors: Floats) -> bool:
    return bool((regressors[:, 1] == 0).any() and (regressors[:, 1] == 1).any())


def _blank(n: int) -> tuple[Floats, Floats, Floats, Ints]:
    return np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, dtype=np.int64)
