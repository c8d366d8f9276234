"""Clusters: design effects, the balanced nested design, and the exact size of tests with few of them."""

from collections.abc import Sequence
from math import comb, floor
from typing import Literal

import numpy as np

from design_sim.arrays import Floats
from design_sim.theory.power import critical_value, rejection_rate, t_test_power
from design_sim.theory.ranges import require_above, require_at_least, require_share

Weighting = Literal["equal", "size", "optimal"]
RobustVariance = Literal["CR0", "CR1", "CR1S", "CR2", "CR3", "pooled"]


def design_effect(cluster_size: float, icc: float, cv: float = 0.0) -> float:
    """Variance of a mean of clustered families over that of as many independent ones.

    1 + ((cv^2 + 1) m - 1) icc. With equal sizes (cv 0) it is exact; with unequal sizes it is exact
    for an analysis that weights clusters by their size, and an upper bound for better weights.

    Parameters
    ----------
    cluster_size : float
        Families in a cluster; with unequal sizes, their mean.
    icc : float
        Share of outcome variance between clusters.
    cv : float
        Coefficient of variation of cluster sizes, with divisor k (population form).

    References
    ----------
    Kish (1965), Survey Sampling; Eldridge, Ashby and Kerry (2006), International Journal of
    Epidemiology 35, 1292-1300.
    """
    require_above("cluster_size", cluster_size, 0)
    require_share("icc", icc)
    require_at_least("cv", cv, 0)
    return 1 + ((cv**2 + 1) * cluster_size - 1) * icc


def unequal_size_efficiency(cluster_size: float, icc: float, cv: float) -> float:
    """Efficiency that clusters of unequal sizes have, relative to as many families in equal ones.

    1 - cv^2 L (1 - L) with L = m icc / (1 + (m - 1) icc), when clusters are weighted as well as can be: a
    second-order approximation, good to about .01 while cv stays below .7. It is at least 1 - cv^2 / 4:
    clusters lose little by being unequal, unless they are weighted by their size (`design_effect`).
    `variance_of_arm_mean` is exact for given sizes.

    Parameters
    ----------
    cluster_size : float
        Mean number of families m in a cluster.
    icc : float
        Share of outcome variance between clusters.
    cv : float
        Coefficient of variation of cluster sizes, with divisor k (population form).

    Raises
    ------
    ValueError
        If the sizes vary so much that the approximation is not above 0.

    References
    ----------
    van Breukelen, Candel and Berger (2007), Statistics in Medicine 26, 2589-2603.

    Examples
    --------
    >>> round(unequal_size_efficiency(25, 0.05, cv=0.6), 3)
    0.912
    """
    require_above("cluster_size", cluster_size, 0)
    require_share("icc", icc)
    require_at_least("cv", cv, 0)
    reliability = cluster_size * icc / design_effect(cluster_size, icc)
    efficiency = 1 - cv**2 * reliability * (1 - reliability)
    if efficiency <= 0:
        raise ValueError(
            f"cluster sizes with a coefficient of variation of {cv} vary too much to approximate"
        )
    return efficiency


def variance_of_arm_mean(cluster_sizes: Sequence[float] | Floats, icc: float, weights: Weighting) -> float:
    """Exact variance of an arm's mean over clusters of given sizes, total outcome variance being 1.

    sum w_j^2 v_j / (sum w_j)^2 with v_j = icc + (1 - icc) / n_j.

    Parameters
    ----------
    cluster_sizes : float array, (cluster,)
        Families in each cluster of the arm.
    icc : float
        Share of outcome variance between clusters.
    weights : "equal", "size" or "optimal"
        Each cluster counts once; each family counts once; or w_j = 1 / v_j, the smallest variance
        that weights can reach, what a mixed model with known variances does. One over the last is the
        effective number of independent families.

    References
    ----------
    van Breukelen, Candel and Berger (2007), Statistics in Medicine 26, 2589-2603.
    """
    sizes = np.asarray(cluster_sizes, dtype=float)
    require_above("cluster_sizes", sizes, 0)
    require_share("icc", icc)
    of_mean = icc + (1 - icc) / sizes
    weight = {"equal": np.ones(sizes.size), "size": sizes, "optimal": 1 / of_mean}[weights]
    return float((weight**2 * of_mean).sum() / weight.sum() ** 2)


def variance_of_authority_mean(variances: Sequence[float], numbers: Sequence[float]) -> float:
    """Variance of an authority's mean outcome in the balanced nested design.

    v_authority + v_team / T + v_worker / (T W) + v_family / (T W F) + v_occasion / (T W F O), for T teams
    an authority, W workers a team, F families a worker and O occasions a family; any depth will do.

    Parameters
    ----------
    variances : sequence of float
        Variance component of each level, from the authority down.
    numbers : sequence of float
        Units of each lower level in a unit of the one above; one fewer than the variances.

    References
    ----------
    Raudenbush (1997), Psychological Methods 2, 173-185, for two levels; further levels alike.

    Examples
    --------
    >>> round(variance_of_authority_mean((0.05, 0.05, 0.1, 0.4, 0.4), (3, 4, 5, 2)), 3)
    0.085
    """
    if len(numbers) != len(variances) - 1:
        raise ValueError(f"{len(variances)} variances need {len(variances) - 1} numbers, not {len(numbers)}")
    require_at_least("variances", variances, 0)
    require_above("numbers", numbers, 0)
    units = np.cumprod([1, *numbers])
    return float((np.asarray(variances) / units).sum())


def authority_mean_power(
    effect: float | Floats, variance: float, n_treated: int, n_comparison: int, alpha: float = 0.05
) -> Floats:
    """Exact power of the pooled t test on authority means, every mean having the same variance.

    Noncentral t with n - 2 degrees of freedom and noncentrality
    effect / sqrt(variance (1 / n_treated + 1 / n_comparison)).

    Parameters
    ----------
    effect : float or float array
        True difference between arms.
    variance : float
        Variance of an authority's mean, as from `variance_of_authority_mean`.
    n_treated, n_comparison : int
        Authorities in each arm, together at least 3.
    alpha : float
        Two-sided level.

    References
    ----------
    Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials in Health Research.
    """
    std_error = np.sqrt(variance * (1 / n_treated + 1 / n_comparison))
    return t_test_power(effect, float(std_error), n_treated + n_comparison - 2, alpha)


def naive_t_size(
    n_treated: int, n_comparison: int, cluster_size: int, icc: float, alpha: float = 0.05
) -> float:
    """Exact size of the t test that takes the families of equal clusters as independent.

    The naive residual sum of squares is (1 - icc) chi-square(G (m - 1)) + (1 + (m - 1) icc)
    chi-square(G - 2), independent of the difference between arms, whose variance is the design effect
    times what it is taken for. With many clusters the size tends to
    `size_with_misstated_variance(1 / design_effect(m, icc))`.

    Parameters
    ----------
    n_treated, n_comparison : int
        Clusters in each arm.
    cluster_size : int
        Families m in every cluster.
    icc : float
        Share of outcome variance between clusters.
    alpha : float
        Two-sided nominal level of the naive test, which has G m - 2 degrees of freedom.

    Examples
    --------
    >>> round(naive_t_size(2, 2, 50, 0.03), 2)
    0.21
    """
    n_clusters = n_treated + n_comparison
    naive_df = n_clusters * cluster_size - 2
    within_df = n_clusters * (cluster_size - 1)
    within_share = (1 - icc) * within_df / (naive_df * design_effect(cluster_size, icc))
    parts = [(within_share, within_df), ((n_clusters - 2) / naive_df, n_clusters - 2)]
    return float(rejection_rate(0.0, critical_value(naive_df, alpha), parts))


def cluster_robust_rejection(
    robust: RobustVariance,
    n_treated: int,
    n_comparison: int,
    df: float,
    *,
    effect: float = 0.0,
    variances: tuple[float, float] = (1.0, 1.0),
    cluster_size: int | None = None,
    alpha: float = 0.05,
) -> float:
    """Exact rejection rate of a cluster-robust t test of two arms with equal cluster sizes.

    The difference between arms is normal; its robust variance is a weighted sum of the sums of squares
    of cluster means in each arm, S_a = v_a chi-square(G_a - 1), which are independent of it. Weights of
    S_a: CR0 1 / G_a^2; CR1 that times G / (G - 1); CR1S that times (N - 1) / (N - 2) too; CR2
    1 / (G_a (G_a - 1)); CR3 1 / (G_a - 1)^2; pooled (1 / G_1 + 1 / G_0) / (G - 2), the t test on cluster
    means. With `effect` 0 this is the size, whatever the ICC.

    Parameters
    ----------
    robust : "CR0", "CR1", "CR1S", "CR2", "CR3" or "pooled"
        The variance estimator.
    n_treated, n_comparison : int
        Clusters in each arm, together at least 3. One cluster in an arm: its S_a is 0, so that CR0,
        CR1 and CR1S hold that arm's mean for certain, and CR2 and CR3 do not exist.
    df : float
        Degrees of freedom the statistic is referred to: G - 1, G - 2, `cr2_degrees_of_freedom`, or
        infinite.
    effect : float
        True difference between arms.
    variances : (float, float)
        Variance of a cluster's mean in the treated and in the comparison arm.
    cluster_size : int
        Families in every cluster; CR1S alone depends on it, and needs it.
    alpha : float
        Two-sided nominal level.

    Raises
    ------
    ValueError
        For CR2 or CR3 with a single cluster in an arm, or CR1S without a cluster size.

    References
    ----------
    Bell and McCaffrey (2002), Survey Methodology 28, 169-181; Cameron and Miller (2015), Journal of
    Human Resources 50, 317-372, for the estimators. The integral is elementary normal theory.
    """
    counts = np.array([n_treated, n_comparison], dtype=float)
    spread = np.asarray(variances)
    true_variance = float((spread / counts).sum())
    expected = _robust_weights(robust, counts, cluster_size) * spread * (counts - 1)
    parts = [(float(e) / true_variance, float(n) - 1) for e, n in zip(expected, counts, strict=True)]
    return float(rejection_rate(effect / np.sqrt(true_variance), critical_value(df, alpha), parts))


def _robust_weights(robust: RobustVariance, counts: Floats, cluster_size: int | None) -> Floats:
    """Weight of each arm's sum of squares of cluster means in the variance of the difference, (arm,)."""
    n_clusters = counts.sum()
    if robust == "pooled":
        return np.full(2, (1 / counts).sum() / (n_clusters - 2))
    if robust in ("CR2", "CR3"):
        if counts.min() < 2:
            raise ValueError(f"{robust} needs two clusters in each arm")
        return 1 / (counts * (counts - 1)) if robust == "CR2" else 1 / (counts - 1) ** 2
    weights = 1 / counts**2
    if robust == "CR0":
        return weights
    weights *= n_clusters / (n_clusters - 1)
    if robust == "CR1S":
        if cluster_size is None:
            raise ValueError("CR1S needs the cluster size")
        n_families = n_clusters * cluster_size
        weights *= (n_families - 1) / (n_families - 2)
    return weights


def cr2_degrees_of_freedom(n_treated: int, n_comparison: int) -> float:
    """Satterthwaite degrees of freedom of CR2 for two arms with equal cluster sizes.

    (1 / G_1 + 1 / G_0)^2 / (1 / (G_1^2 (G_1 - 1)) + 1 / (G_0^2 (G_0 - 1))): those of Welch's test with
    equal variances (Bell and McCaffrey, 2002). G - 2 where arms are equal; near the smaller arm's
    number less one where they are not.
    """
    if min(n_treated, n_comparison) < 2:
        raise ValueError("CR2 needs two clusters in each arm")
    counts = np.array([n_treated, n_comparison], dtype=float)
    return float((1 / counts).sum() ** 2 / (1 / (counts**2 * (counts - 1))).sum())


def smallest_permutation_p(n_treated: int, n_comparison: int, *, two_sided: bool = True) -> float:
    """Smallest p-value that a permutation test over complete randomisation can give.

    1 / C(G, G_1), or 2 / C(G, G_1) two-sided with equal arms, where the mirror arrangement gives the same
    absolute difference (outcomes without ties; Fisher, 1935, The Design of Experiments).

    Examples
    --------
    >>> round(smallest_permutation_p(2, 2), 3), round(smallest_permutation_p(2, 2, two_sided=False), 3)
    (0.333, 0.167)
    """
    ties = 2 if two_sided and n_treated == n_comparison else 1
    return ties / comb(n_treated + n_comparison, n_treated)


def permutation_size(n_treated: int, n_comparison: int, alpha: float = 0.05) -> float:
    """Exact size of the two-sided permutation test: the largest attainable p-value not above alpha.

    0 where the smallest attainable p exceeds alpha: the test cannot reject.
    """
    step = smallest_permutation_p(n_treated, n_comparison)
    return floor(alpha / step * (1 + 1e-12)) * step
