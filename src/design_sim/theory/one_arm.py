"""Treatment clustered in one arm only: workers who deliver a framework, against families on their own.

Families are randomised, and those treated come to share a worker or a group. The arms then have variances
and degrees of freedom of their own, which a model with one random intercept for both gets wrong.
"""

import numpy as np

from design_sim.arrays import Floats
from design_sim.theory.clusters import design_effect
from design_sim.theory.ranges import require_above, require_at_least, require_share


def one_arm_clustered_variance(
    n_clusters: float,
    cluster_size: float,
    n_comparison: float,
    icc: float,
    *,
    variance_treated: float = 1.0,
    variance_comparison: float = 1.0,
) -> float:
    """Variance of the difference between a clustered arm and one of independent families.

    v_1 (1 + (m - 1) icc) / (J m) + v_0 / n.

    Parameters
    ----------
    n_clusters, cluster_size : float
        Clusters J in the treated arm, and families m in each.
    n_comparison : float
        Families n in the other arm.
    icc : float
        Share of the treated arm's variance between clusters.
    variance_treated, variance_comparison : float
        Outcome variance v_1 and v_0 of a family in either arm, clusters included. For a binary outcome
        p (1 - p): the effect is then a risk difference. Where clustering adds to a variance v that the arms
        share, v_1 is v / (1 - icc).

    References
    ----------
    Roberts and Roberts (2005), Clinical Trials 2, 152-162; Moerbeek and Wong (2008), Statistics in
    Medicine 27, 2850-2864.

    Examples
    --------
    >>> round(one_arm_clustered_variance(12, 10, 120, icc=0.05) ** 0.5, 4)
    0.1429
    """
    require_above("numbers", [n_clusters, n_comparison], 0)
    require_at_least("cluster_size", cluster_size, 1)
    require_share("icc", icc)
    require_at_least("variances", [variance_treated, variance_comparison], 0)
    treated = variance_treated * design_effect(cluster_size, icc) / (n_clusters * cluster_size)
    return treated + variance_comparison / n_comparison


def welch_degrees_of_freedom(variances: tuple[float, float], numbers: tuple[float, float]) -> float:
    """Satterthwaite's degrees of freedom where each arm has its own variance.

    (u_1 + u_0)^2 / (u_1^2 / (N_1 - 1) + u_0^2 / (N_0 - 1)), with u_a = v_a / N_a taken as known: near the
    number of clusters less one where the clustered arm makes most of the variance.

    Parameters
    ----------
    variances : (float, float)
        Variance v_a of an independent unit's mean in either arm: of a cluster's mean where the arm is
        clustered (`variance_of_authority_mean`), of a family's outcome where it is not.
    numbers : (float, float)
        Independent units N_a in either arm, more than 1.

    References
    ----------
    Welch (1938), Biometrika 29, 350-362; Satterthwaite (1946), Biometrics Bulletin 2, 110-114.

    Examples
    --------
    >>> round(welch_degrees_of_freedom((0.145, 1.0), (12, 120)), 1)
    30.1
    """
    require_at_least("variances", variances, 0)
    require_above("numbers", numbers, 1)
    counts: Floats = np.asarray(numbers, dtype=float)
    of_means = np.asarray(variances, dtype=float) / counts
    if of_means.sum() == 0:
        raise ValueError("one of the two variances must be above 0")
    return float(of_means.sum() ** 2 / (of_means**2 / (counts - 1)).sum())
