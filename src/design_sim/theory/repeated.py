"""Trials with measurements before the start: what a baseline buys, for families and for clusters.

Whom the correlations are of decides the design. With the same families measured again, families and
clusters both remember; with new families each time, only clusters do.
"""

from typing import Literal, get_args

from design_sim.arrays import Floats
from design_sim.theory.clusters import design_effect
from design_sim.theory.panels import serial_covariance, variance_of_change
from design_sim.theory.ranges import require_above, require_at_least, require_covariance, require_share

Analysis = Literal["post", "change", "ancova"]


def variance_of_analysed_outcome(covariance: Floats, n_pre: int, analysis: Analysis) -> float:
    """Variance of what one unit contributes to a comparison of two arms, by how its baseline is used.

    With S in four blocks and w equal weights on the occasions of a side: "post", the mean after the start,
    w' S_post w; "change", from the mean before to the mean after, `variance_of_change`; "ancova", the mean
    after adjusted for the mean before, w' S_post w - (w' S_post,pre w)^2 / w' S_pre w, the least that any
    weight on the baseline reaches. The variance of the difference between arms is this times
    1 / n_1 + 1 / n_0; for "ancova" times `ancova_inflation` as well.

    Parameters
    ----------
    covariance : float array, (occasion, occasion)
        Covariance of one unit's outcomes, as from `serial_covariance`; with equal correlations at all lags
        (`permanent_share` rho, `autocorrelation` 0) these are the formulas of Frison and Pocock.
    n_pre : int
        Occasions before the start, at least 1 (for "post" 0 will do) and fewer than all.
    analysis : "post", "change" or "ancova"
        How the occasions before the start are used.

    References
    ----------
    Frison and Pocock (1992), Statistics in Medicine 11, 1685-1704; McKenzie (2012), Journal of Development
    Economics 99, 210-221.

    Examples
    --------
    >>> covariance = serial_covariance(2, sd=1.0, autocorrelation=0.0, permanent_share=0.5)
    >>> [variance_of_analysed_outcome(covariance, 1, how) for how in ("post", "change", "ancova")]
    [1.0, 1.0, 0.75]
    """
    _require_analysis(analysis)
    require_covariance("covariance", covariance)
    least = 0 if analysis == "post" else 1
    if not least <= n_pre < covariance.shape[0]:
        raise ValueError(f"{n_pre} of {covariance.shape[0]} occasions before the start: each side needs one")
    if analysis == "change":
        return variance_of_change(covariance, n_pre)
    after = float(covariance[n_pre:, n_pre:].mean())
    if analysis == "post":
        return after
    return after - float(covariance[n_pre:, :n_pre].mean() ** 2 / covariance[:n_pre, :n_pre].mean())


def ancova_inflation(n_units: float, n_covariates: int = 1) -> float:
    """Factor by which estimating the slopes on covariates inflates a randomised comparison's variance.

    1 + q / (N - q - 3), exact for jointly normal covariates whose balance is left to chance: by it the
    variance of the adjusted difference exceeds that with known slopes. A tenth with twelve authorities and
    one covariate; where it outweighs 1 - R^2, adjusting does harm.

    Parameters
    ----------
    n_units : float
        Units of randomisation N in both arms together, more than q + 3.
    n_covariates : int
        Covariates q, of which each unit has one value.

    References
    ----------
    Cox and McCullagh (1982), Biometrics 38, 541-561: the expectation of one over a within-arm sum of
    squares with N - 2 degrees of freedom.

    Examples
    --------
    >>> ancova_inflation(12)
    1.125
    """
    require_at_least("n_covariates", n_covariates, 0)
    require_above("n_units", n_units, n_covariates + 3)
    return 1 + n_covariates / (n_units - n_covariates - 3)


def cluster_mean_correlation(
    cluster_size: float, icc: float, cluster_autocorrelation: float, family_autocorrelation: float = 0.0
) -> float:
    """Correlation of a cluster's mean with its mean on another occasion.

    (m icc CAC + (1 - icc) SAC) / (1 + (m - 1) icc). It tends to CAC as clusters grow, and is far below it
    where a small cluster's mean is mostly noise.

    Parameters
    ----------
    cluster_size : float
        Families m measured in a cluster on each occasion, at least 1.
    icc : float
        Share of outcome variance between clusters on one occasion.
    cluster_autocorrelation : float
        CAC, of a cluster's true mean with itself on the other occasion.
    family_autocorrelation : float
        SAC, of a family's deviation from its cluster with itself; 0 where other families are measured.

    References
    ----------
    Teerenstra, Eldridge, Graff, de Hoop and Borm (2012), Statistics in Medicine 31, 2169-2178; Hooper,
    Teerenstra, de Hoop and Eldridge (2016), Statistics in Medicine 35, 4718-4728.
    """
    require_at_least("cluster_size", cluster_size, 1)
    require_share("icc", icc)
    require_share("autocorrelation", [cluster_autocorrelation, family_autocorrelation])
    shared = cluster_size * icc * cluster_autocorrelation + (1 - icc) * family_autocorrelation
    return shared / design_effect(cluster_size, icc)


def baseline_design_effect(
    cluster_size: float,
    icc: float,
    cluster_autocorrelation: float,
    family_autocorrelation: float = 0.0,
    analysis: Analysis = "ancova",
) -> float:
    """Design effect of a cluster trial with one baseline and one follow-up measurement.

    (1 + (m - 1) icc) times 1 for "post", 2 (1 - r) for "change" and 1 - r^2 for "ancova", r being
    `cluster_mean_correlation`; relative to individually randomised families measured once, as many as are
    measured on each occasion. The analysis is of cluster means; families' own baselines are not used
    beyond that. Parameters are those of `cluster_mean_correlation` and `variance_of_analysed_outcome`.

    References
    ----------
    Teerenstra, Eldridge, Graff, de Hoop and Borm (2012), Statistics in Medicine 31, 2169-2178; Rutterford,
    Copas and Eldridge (2015), International Journal of Epidemiology 44, 1051-1067.

    Examples
    --------
    >>> round(baseline_design_effect(20, 0.05, 0.7, 0.5), 2)
    1.24
    """
    r = cluster_mean_correlation(cluster_size, icc, cluster_autocorrelation, family_autocorrelation)
    of_means = serial_covariance(2, 1.0, 0.0, r)
    return design_effect(cluster_size, icc) * variance_of_analysed_outcome(of_means, 1, analysis)


def cohort_variance(
    n_clusters: tuple[float, float],
    n_occasions: tuple[int, int],
    cluster_size: float,
    icc: float,
    cluster_autocorrelation: float,
    family_autocorrelation: float,
    analysis: Analysis | Literal["own_baseline"],
) -> float:
    """Variance of the effect in a cluster trial that follows the same families.

    The total outcome variance being 1, it is (1 + (m - 1) icc) / m x (1 / J_1 + 1 / J_0) times, for "post",
    "change" and "ancova", the factor that `variance_of_analysed_outcome` has for cluster means that correlate
    by r = `cluster_mean_correlation` at any two occasions. "ancova" is that of the cluster's mean, and of the
    constrained baseline analysis (cLDA) with known variances: the least there is. For "own_baseline", least
    squares of the families' means after the start on their own means before it, it is S + b^2 P - 2 b r with
    S = (1 + (q - 1) r) / q after and P = (1 + (p - 1) r) / p before the start: the slope b =
    p s / (1 + (p - 1) s), s = icc CAC + (1 - icc) SAC, is that of single families, and not of their clusters.

    Parameters
    ----------
    n_clusters : tuple of float
        Clusters J_1 in the treated and J_0 in the comparison arm.
    n_occasions : tuple of int
        Occasions p before and q after the start; 0 before will do for "post".
    cluster_size, icc, cluster_autocorrelation, family_autocorrelation
        As in `cluster_mean_correlation`.
    analysis : "post", "change", "ancova" or "own_baseline"
        How what was before the start is used.

    References
    ----------
    Teerenstra, Eldridge, Graff, de Hoop and Borm (2012), Statistics in Medicine 31, 2169-2178; Liang and
    Zeger (2000), Sankhya B 62, 134-148; Hooper, Forbes, Hemming, Takeda and Beresford (2018), British Medical
    Journal 360, k1121.

    Examples
    --------
    >>> trial = (10, 10), (1, 1), 30, 0.1, 1.0, 0.6
    >>> [round(cohort_variance(*trial, how) ** 0.5, 4) for how in ("change", "ancova", "own_baseline")]
    [0.0693, 0.0677, 0.0803]
    """
    require_above("n_clusters", list(n_clusters), 0)
    before, after = n_occasions
    r = cluster_mean_correlation(cluster_size, icc, cluster_autocorrelation, family_autocorrelation)
    of_mean = design_effect(cluster_size, icc) / cluster_size * (1 / n_clusters[0] + 1 / n_clusters[1])
    if analysis != "own_baseline":
        covariance = serial_covariance(before + after, 1.0, 0.0, r)
        return of_mean * variance_of_analysed_outcome(covariance, before, analysis)
    if min(n_occasions) < 1:
        raise ValueError(f"{before} occasions before and {after} after the start: each side needs one")
    of_families = icc * cluster_autocorrelation + (1 - icc) * family_autocorrelation
    slope = before * of_families / (1 + (before - 1) * of_families)
    sides = [(1 + (n - 1) * r) / n for n in (before, after)]
    return of_mean * (sides[1] + slope**2 * sides[0] - 2 * slope * r)


def crossover_variance(
    n_treated_first: float,
    n_treated_second: float,
    cluster_size: float,
    icc: float,
    cluster_autocorrelation: float,
    family_autocorrelation: float = 0.0,
) -> float:
    """Variance of the effect in a trial whose clusters cross over after the first of two occasions.

    Half the difference between orders in the change of a cluster's mean, which is free of what the
    occasions have in common: 2 (1 + (m - 1) icc) (1 - r) / m x (1 / J_1 + 1 / J_2) / 4, r being
    `cluster_mean_correlation`; the total outcome variance is 1. No effect may carry over, so that a
    framework, which cannot be unlearnt, does not qualify.

    Parameters
    ----------
    n_treated_first, n_treated_second : float
        Clusters J_1 that have the intervention first, and J_2 that have it second.
    cluster_size, icc, cluster_autocorrelation, family_autocorrelation
        As in `cluster_mean_correlation`.

    References
    ----------
    Giraudeau, Ravaud and Donner (2008), Statistics in Medicine 27, 5578-5585.
    """
    require_above("n_treated_first and n_treated_second", [n_treated_first, n_treated_second], 0)
    change = baseline_design_effect(
        cluster_size, icc, cluster_autocorrelation, family_autocorrelation, "change"
    )
    return change / cluster_size * (1 / n_treated_first + 1 / n_treated_second) / 4


def _require_analysis(analysis: Analysis) -> None:
    """Refuse a word that names no analysis."""
    if analysis not in get_args(Analysis):
        raise ValueError(f"analysis must be one of {', '.join(get_args(Analysis))}: {analysis}")
