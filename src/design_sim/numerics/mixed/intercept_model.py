"""What goes into a random-intercept model, and what comes out, for many replicates at once."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from design_sim.arrays import Batch, Floats, Ints


class Verdict(IntEnum):
    """How a fit ended."""

    FITTED = 0
    BOUNDARY = 1
    """The variance between clusters is 0."""
    TOO_FEW = 2
    """No degrees of freedom are left between or within clusters."""
    SINGULAR = 3
    """A regressor is a combination of the others."""
    NO_VARIATION = 4
    """Outcomes do not vary within clusters, so that the variance ratio is infinite or unknown."""
    NOT_CONVERGED = 5


@dataclass(frozen=True, slots=True)
class ClusterMoments(Batch):
    """What a random-intercept model reads of the data.

    Parameters
    ----------
    n : float array, (replicate, cluster)
        Observations; 0 for a cluster that then does not count. Replicate axis 1 where fixed.
    mean : float array, (replicate, cluster)
        Mean outcome; anything, nan included, where n = 0.
    within : float array, (replicate,)
        Sum of squared deviations of outcomes from their cluster's mean, over all clusters.
    regressors : float array, (replicate, cluster, regressor)
        Cluster means of the regressors: the intercept's ones first, the one asked about last. Replicate
        axis 1 where fixed; finite where n = 0.
    within_squares : float array, (replicate, regressor, regressor)
        Cross-products of the regressors' deviations from their cluster means; 0 where constant in clusters.
    within_products : float array, (replicate, regressor)
        Cross-products of those deviations with the outcome.
    """

    n: Annotated[Floats, "replicate cluster"]
    mean: Annotated[Floats, "replicate cluster"]
    within: Annotated[Floats, "replicate"]
    regressors: Annotated[Floats, "replicate cluster regressor"]
    within_squares: Annotated[Floats, "replicate regressor regressor"]
    within_products: Annotated[Floats, "replicate regressor"]


@dataclass(frozen=True, slots=True)
class InterceptFits(Batch):
    """The fits, one entry for each replicate; numbers of a failed one mean nothing.

    Parameters
    ----------
    estimate, std_error : float arrays, (replicate,)
        Coefficient of the last regressor and its standard error.
    df : float array, (replicate,)
        Satterthwaite's, or Kenward and Roger's.
    between, residual : float arrays, (replicate,)
        Variances of the random intercept and of the residual.
    criterion : float array, (replicate,)
        Minus twice the REML log-likelihood, as lme4 counts it.
    verdict : int array, (replicate,)
        A `Verdict`.
    """

    estimate: Annotated[Floats, "replicate"]
    std_error: Annotated[Floats, "replicate"]
    df: Annotated[Floats, "replicate"]
    between: Annotated[Floats, "replicate"]
    residual: Annotated[Floats, "replicate"]
    criterion: Annotated[Floats, "replicate"]
    verdict: Annotated[Ints, "replicate"]
