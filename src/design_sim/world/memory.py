"""Memory: how the deviations of an authority hang together over time.

The deviations of years have corr(k years) = rho0 + (1 - rho0) phi^k: a part that never changes and an AR(1)
part. Such correlations are those of annual means.

Decision: where a year has several occasions, the AR(1) part steps by phi^(1/m) from one of the m occasions to
the next, and every occasion has an independent part of its own, so large that the annual means have
exactly the stated correlations at every lag. The means of an AR(1) process alone would not: their
correlations fall by phi from the second year on, but from a higher value. The price is that an occasion
varies more than a year does, as a month's rates do.
"""

import numpy as np

from design_sim.arrays import Floats
from design_sim.world.settings import Memory


def correlation_of_occasions(memory: Memory, occasions: int, per_year: int) -> Floats:
    """Covariances of an authority's deviations, with annual means of variance 1: (occasion, occasion).

    Notes
    -----
    With r = phi^(1/m), the annual means of an AR(1) process of variance s^2 have, k years apart, the
    covariance s^2 r^(m (k - 1) + 1) ((1 - r^m) / (m (1 - r)))^2, which is (1 - rho0) phi^k for
    s^2 = (1 - rho0) m^2 r^(m - 1) ((1 - r) / (1 - r^m))^2. What their variance falls short of 1 - rho0 is
    made up by the independent part.
    """
    m, rest = per_year, 1 - memory.permanent_share
    step = np.float64(memory.autocorrelation) ** (1 / m)
    squared = rest * m**2 * step ** (m - 1) * ((1 - step) / (1 - step**m)) ** 2
    within = np.arange(1, m)
    of_means = squared / m**2 * (m + 2 * ((m - within) * step**within).sum())
    own = m * (rest - of_means)
    lag = np.abs(np.subtract.outer(np.arange(occasions), np.arange(occasions)))
    covariance: Floats = memory.permanent_share + squared * step**lag + own * (lag == 0)
    return covariance


def memory_root(memory: Memory, occasions: int, per_year: int = 1) -> Floats:
    """Root of those covariances: deviations = normals @ root, (normal, occasion).

    A memory that is all permanent needs one normal for all occasions.
    """
    if memory.permanent_share == 1:
        return np.ones((1, 1))
    covariance = correlation_of_occasions(memory, occasions, per_year)
    return np.ascontiguousarray(np.linalg.cholesky(covariance).T)


def occasion_variance(memory: Memory, per_year: int) -> float:
    """Variance of an occasion's deviation, where that of an annual mean is 1; 1 for yearly occasions."""
    return float(correlation_of_occasions(memory, 1, per_year)[0, 0])
