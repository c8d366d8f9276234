"""What an estimator is, and what it returns: `Estimator` and `Estimates`."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.random import Generator

from design_sim.arrays import Batch, Floats, Ints
from design_sim.numerics.student import t_p_value, t_quantile
from design_sim.panel import Panel

Needs = Literal["means", "cells", "families"]
"""What of a cell an estimator reads: n and mean; the within sum of squares too; every family singly."""


class Status(IntEnum):
    """How an analysis ended; the closed set of ways."""

    OK = 0
    BOUNDARY = 1
    """Fitted, a variance at the edge of its range (an estimate, not a failure)."""
    TOO_FEW_CLUSTERS = 2
    """An arm is empty, or no degrees of freedom are left."""
    SINGULAR = 3
    """The treatment cannot be told from the covariates, or from occasions."""
    NO_VARIATION = 4
    """The outcome does not vary, so that its standard error is 0 or unknown."""
    NOT_CONVERGED = 5
    """An iterative fit did not reach its tolerance."""
    SEPARATION = 6
    """A fitted risk of 0 or 1."""


TEST_WORDS = {
    "normal": "normal test",
    "clusters": "t with clusters - 1 df",
    "satterthwaite": "t with Satterthwaite (Bell-McCaffrey) df",
}
"""What test a rule of degrees of freedom makes of a cluster-robust standard error, in words."""
FAILED = frozenset(Status) - {Status.OK, Status.BOUNDARY}
"""The statuses of a failed analysis, whose numbers are nan."""


@dataclass(frozen=True, slots=True)
class Estimates(Batch):
    """What an analysis reports, one entry for each replicate.

    Parameters
    ----------
    estimate : float array, (replicate,)
        The effect, on the outcome's scale; nan where the analysis failed.
    std_error, df : float arrays, (replicate,)
        Standard error and degrees of freedom of the t statistic (inf: normal); nan for a test that has
        none. Replicate axis 1 where they do not vary.
    p_value : float array, (replicate,)
        Two-sided.
    ci_low, ci_high : float arrays, (replicate,)
        Interval of coverage 1 - alpha, alpha being the panel's; nan where the method gives none.
    p_floor : float array, (replicate,)
        The smallest p-value that the method could have given on this study, 0 where there is none.
    status : int array, (replicate,)
        A `Status`.
    """

    estimate: Annotated[Floats, "replicate"]
    std_error: Annotated[Floats, "replicate"]
    df: Annotated[Floats, "replicate"]
    p_value: Annotated[Floats, "replicate"]
    ci_low: Annotated[Floats, "replicate"]
    ci_high: Annotated[Floats, "replicate"]
    p_floor: Annotated[Floats, "replicate"]
    status: Annotated[Ints, "replicate"]

    @property
    def failed(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Whether the analysis of a replicate failed, (replicate,)."""
        return np.isin(self.status, list(FAILED))


class Estimator(Protocol):
    """From a panel to estimates; a frozen settings model whose fields are its TOML keys."""

    @property
    def estimator(self) -> str:
        """Its name in scenario files and tables."""
        ...

    @property
    def needs(self) -> Needs:
        """What of a cell it reads."""
        ...

    @property
    def needs_before(self) -> bool:
        """Whether it reads occasions before the start."""
        ...

    @property
    def covariates(self) -> tuple[str, ...]:
        """The covariates that it adjusts for, by name."""
        ...

    @property
    def by_allocation(self) -> bool:
        """Whether its test draws on the law of the allocation."""
        ...

    @property
    def staggered(self) -> bool:
        """Whether it takes a study whose units start at different occasions."""
        ...

    @property
    def within(self) -> bool:
        """Whether it takes a study in which treatment differs within clusters."""
        ...

    @property
    def convention(self) -> str:
        """What it does, in words that a paper could print."""
        ...

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """What each covariate adds for each of its units, (replicate,) by name; empty without covariates."""
        ...

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; `rng` serves methods that draw, and no other."""
        ...


def outcomes_of(estimator: Estimator) -> tuple[str, ...] | None:
    """The kinds of outcome that an estimator takes, its `outcomes`; None for one that takes any."""
    kinds: tuple[str, ...] | None = getattr(estimator, "outcomes", None)
    return kinds


def needs_uptake(estimator: Estimator) -> bool:
    """Whether an estimator reads which families took part; it then says so by `needs_uptake`."""
    return bool(getattr(estimator, "needs_uptake", False))


def needs_fidelity_score(estimator: Estimator) -> bool:
    """Whether an estimator reads the fidelity score at follow-up; it then says so by the same name."""
    return bool(getattr(estimator, "needs_fidelity_score", False))


def needs_larger_clusters(estimator: Estimator) -> bool:
    """Whether an estimator needs clusters of several families; it then says so by the same name."""
    return bool(getattr(estimator, "needs_larger_clusters", False))


def levels_below(estimator: Estimator) -> tuple[Literal["authority", "team", "worker", "family"], ...]:
    """Levels below the authority whose units an estimator tells apart, by its setting `levels`, if any.

    `family` among them stands for the rows of families that are observed at several occasions.
    """
    return tuple(getattr(estimator, "levels", ()))[1:]


def no_results(n_replicates: int, status: Status) -> Estimates:
    """What an analysis reports that failed for the same reason in every replicate."""
    nothing = np.full(n_replicates, np.nan)
    statuses = np.full(n_replicates, status, dtype=np.int64)
    return Estimates(nothing, nothing, nothing, nothing, nothing, nothing, np.zeros(1), statuses)


def changes_families(estimator: Estimator) -> bool:
    """Whether an estimator compares each family, and not each cluster, with what it was before the start."""
    return bool(getattr(estimator, "change", False)) and estimator.needs == "families"


def t_estimates(
    estimate: Floats, std_error: Floats, df: Floats, alpha: float, status: Ints | None = None
) -> Estimates:
    """Test and interval from an estimate, its standard error and degrees of freedom.

    Parameters
    ----------
    estimate, std_error, df : float arrays, (replicate,)
        Replicate axis 1 of `df` where it does not vary; infinite df mean the normal distribution.
    alpha : float
        Two-sided level of the interval.
    status : int array, (replicate,), optional
        A `Status` for each replicate; OK where not given.

    Returns
    -------
    Estimates
        nan throughout where the status is that of a failure. An estimate whose standard error is not
        above 0, or not finite, and whose status was not yet one of failure gets `NO_VARIATION`;
        one whose df are not above 0 gets `TOO_FEW_CLUSTERS`.
    """
    if status is None:
        status = np.zeros(estimate.shape, dtype=np.int64)
    df_each = np.broadcast_to(df, estimate.shape)
    good = np.isfinite(estimate) & (std_error > 0) & np.isfinite(std_error) & (df_each > 0)
    if not good.all():
        open_verdict = ~good & ~np.isin(status, list(FAILED))
        few = open_verdict & ~(df_each > 0)
        status = np.where(few, Status.TOO_FEW_CLUSTERS, status)
        status = np.where(open_verdict & ~few, Status.NO_VARIATION, status)
    failed = status >= min(FAILED)
    if failed.any():
        estimate = np.where(failed, np.nan, estimate)
        std_error = np.where(failed, np.nan, std_error)
        df = np.where(failed, np.nan, df_each)
    half_width = t_quantile(1 - alpha / 2, df) * std_error
    return Estimates(
        estimate=estimate,
        std_error=std_error,
        df=df,
        p_value=t_p_value(estimate / std_error, df),
        ci_low=estimate - half_width,
        ci_high=estimate + half_width,
        p_floor=np.zeros(1),
        status=status,
    )
