"""What goes into a random-intercept model, and what comes out, for many replicates at once."""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated

import numpy as np

from design_sim.arrays import Batch, Bools, Floats, Ints


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
    """What a random-intercept model reads of the data, a cluster being what observations share of it.

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

    def centred(self) -> "ClusterMoments":
        """Outcomes and regressors less their mean over clusters: the same model, without loss of digits."""
        regressors = self.regressors - self.regressors.mean(axis=1, keepdims=True)
        regressors[:, :, 0] = 1.0
        return replace(self.outcome_centred(), regressors=regressors)

    def outcome_centred(self) -> "ClusterMoments":
        """The same with outcomes alone less their mean, and 0 where nobody was observed."""
        n, mean = self.n, self.mean
        if (n == 0).any():
            seen = n > 0
            count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
            mean = np.where(seen, mean, 0.0)
            mean = np.where(seen, mean - mean.sum(axis=1, keepdims=True) / count, 0.0)
        else:
            mean = mean - mean.mean(axis=1, keepdims=True)
        return replace(self, mean=mean)

    def fixed_sizes(self) -> "ClusterMoments":
        """The same with a replicate axis of 1 for the numbers of observations where they do not vary."""
        if self.n.shape[0] > 1 and (self.n == self.n[:1]).all():
            return replace(self, n=self.n[:1])
        return self

    def flat(self) -> Bools:
        """Whether outcomes, given the regressors, vary within clusters by rounding alone, (replicate,)."""
        mean = np.where(self.n > 0, self.mean, 0.0) if (self.n == 0).any() else self.mean
        squares = np.einsum("rg,rg->r", mean, mean)
        between = squares - mean.sum(axis=1) ** 2 / mean.shape[1]
        within, level = self.within, between
        if self.within_products.any():
            inverse = np.linalg.pinv(self.within_squares, hermitian=True)
            within = within - np.einsum("ri,rij,rj->r", self.within_products, inverse, self.within_products)
            level = between + self.within
        flat: Bools = ~(within > 1e-14 * level + 1e-24 * squares)
        return flat


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
