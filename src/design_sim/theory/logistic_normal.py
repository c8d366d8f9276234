"""Binary outcomes in clusters whose log odds vary: conditional and marginal effects, and power.

What an authority's own odds ratio is (conditional) and what the odds of all families show (marginal) are
not the same number, since the logit of a mean is not the mean of logits.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from design_sim.arrays import Floats
from design_sim.theory.ranges import require_above, require_at_least, require_inside

_NODES = np.linspace(-9.0, 9.0, 361)
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()


class MarginalRisks(NamedTuple):
    """What all families show where clusters' log odds vary."""

    comparison: float
    treated: float
    log_odds_ratio: float


def marginal_risk(log_odds: float | Floats, sd_cluster: float) -> Floats:
    """Risk over all clusters, when log odds vary between them normally around a mean.

    The trapezoid rule over 18 standard deviations, exact to about 1e-12 up to an SD of 14.

    Parameters
    ----------
    log_odds : float or float array
        Mean of the clusters' log odds.
    sd_cluster : float
        Their standard deviation between clusters.

    Returns
    -------
    float array
        In the shape of `log_odds`.
    """
    require_at_least("sd_cluster", sd_cluster, 0)
    centre = np.asarray(log_odds, dtype=float)[..., np.newaxis]
    risk: Floats = special.expit(centre + sd_cluster * _NODES) @ _WEIGHTS
    return risk


def marginal_risks(log_odds: float, log_odds_ratio: float, sd_cluster: float) -> MarginalRisks:
    """Marginal risks and marginal log odds ratio of a random-intercept logistic model.

    Parameters
    ----------
    log_odds : float
        Log odds in a typical cluster without the intervention.
    log_odds_ratio : float
        What the intervention adds to it within a cluster: the conditional effect.
    sd_cluster : float
        Standard deviation of the log odds between clusters.

    Examples
    --------
    >>> round(marginal_risks(-1.0, 0.5, 0.5).log_odds_ratio, 4)
    0.4748
    """
    without, treated = marginal_risk(np.array([log_odds, log_odds + log_odds_ratio]), sd_cluster)
    difference = special.logit(treated) - special.logit(without)
    return MarginalRisks(float(without), float(treated), float(difference))


def approximate_marginal_log_odds_ratio(log_odds_ratio: float, sd_cluster: float) -> float:
    """The marginal log odds ratio by a rule of thumb, without the risks.

    Conditional log odds ratio / sqrt(1 + c^2 sd^2) with c = 16 sqrt(3) / (15 pi).

    References
    ----------
    Zeger, Liang and Albert (1988), Biometrics 44, 1049-1060.
    """
    require_at_least("sd_cluster", sd_cluster, 0)
    c = 16 * np.sqrt(3) / (15 * np.pi)
    return float(log_odds_ratio / np.sqrt(1 + (c * sd_cluster) ** 2))


def latent_icc(sd_cluster: float) -> float:
    """Share of the variance of the latent log odds between clusters: sd^2 / (sd^2 + pi^2 / 3).

    Not the ICC of the binary outcome itself, which is smaller and falls with the risk.
    """
    require_at_least("sd_cluster", sd_cluster, 0)
    return sd_cluster**2 / (sd_cluster**2 + np.pi**2 / 3)


def log_odds_ratio_variance(
    risk_treated: float, risk_comparison: float, n_clusters: float, cluster_size: float, sd_cluster: float
) -> float:
    """Variance of the log odds ratio of a cluster trial with equal arms, by first-order approximation.

    4 (s^2 + m sd^2) / (J m), where s^2 is the mean over arms of 1 / (p (1 - p)): each cluster's log odds are
    taken as normal. Better approximations of the likelihood have more: Crespi (2025, Power and Sample Size
    in R) multiplies by 1.2 for second-order penalised quasi-likelihood.

    Parameters
    ----------
    risk_treated, risk_comparison : float
        Risks in a typical cluster of each arm.
    n_clusters : float
        Clusters J in both arms together.
    cluster_size : float
        Families m in each.
    sd_cluster : float
        Standard deviation of the log odds between clusters.

    References
    ----------
    Moerbeek, van Breukelen and Berger (2001), The Statistician 50, 17-30; Candel and van Breukelen (2010),
    Statistics in Medicine 29, 1488-1501.
    """
    require_inside("risks", [risk_treated, risk_comparison], 0, 1)
    require_above("numbers", [n_clusters, cluster_size], 0)
    require_at_least("sd_cluster", sd_cluster, 0)
    risks = np.array([risk_treated, risk_comparison])
    within = float((1 / (risks * (1 - risks))).mean())
    return 4 * (within + cluster_size * sd_cluster**2) / (n_clusters * cluster_size)
