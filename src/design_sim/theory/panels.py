"""Panels of authorities over time: what serial correlation does to a difference-in-differences.

The covariance of one unit's outcomes over the occasions says everything. Units are independent, and
share that covariance whatever their arm; what is common to all units in an occasion cancels.
"""

import numpy as np
from scipy import special

from design_sim.arrays import Floats
from design_sim.theory.ranges import require_above, require_at_least, require_share


def serial_covariance(
    n_occasions: int, sd: float, autocorrelation: float, permanent_share: float = 0.0
) -> Floats:
    """Covariance over occasions of a unit with a permanent and a first-order autoregressive part.

    sd^2 (rho0 + (1 - rho0) phi^k) at lag k, stationary. A `permanent_share` of 0 is AR(1); an
    `autocorrelation` of 0 is compound symmetry.

    Parameters
    ----------
    n_occasions : int
        Occasions, equally spaced.
    sd : float
        Cross-sectional standard deviation of a unit's outcome, the same in every occasion.
    autocorrelation : float
        phi, from one occasion to the next, of what is not permanent.
    permanent_share : float
        rho0, the share of the variance that never changes.

    Returns
    -------
    float array, (occasion, occasion)
    """
    require_at_least("n_occasions", n_occasions, 1)
    require_at_least("sd", sd, 0)
    require_share("permanent_share", permanent_share)
    if not -1 < autocorrelation <= 1:
        raise ValueError(f"autocorrelation must be above -1 and at most 1: {autocorrelation}")
    lag = np.abs(np.subtract.outer(np.arange(n_occasions), np.arange(n_occasions)))
    correlation = permanent_share + (1 - permanent_share) * np.power(float(autocorrelation), lag)
    return np.asarray(sd**2 * correlation)


def variance_of_change(covariance: Floats, n_pre: int) -> float:
    """Variance of a unit's change from its mean before the start to its mean after it.

    w' S w, with weights -1 / m on the m occasions before and 1 / r on the r after. A permanent part
    cancels. For independent sampling noise add its variance to the diagonal first.

    Parameters
    ----------
    covariance : float array, (occasion, occasion)
        Covariance S of one unit's outcomes, as from `serial_covariance`.
    n_pre : int
        Occasions m before the start, at least 1 and fewer than all.

    References
    ----------
    Frison and Pocock (1992), Statistics in Medicine 11, 1685-1704; Burlig, Preonas and Woerman (2020),
    Journal of Development Economics 144, 102458.

    Examples
    --------
    >>> covariance = serial_covariance(4, sd=5.6, autocorrelation=0.62, permanent_share=0.28)
    >>> round(variance_of_change(covariance, n_pre=2) ** 0.5, 1)
    4.3
    """
    n_post = covariance.shape[0] - n_pre
    if min(n_pre, n_post) < 1:
        raise ValueError(f"{n_pre} of {n_post + n_pre} occasions before the start: each side needs one")
    weights = np.repeat([-1 / n_pre, 1 / n_post], [n_pre, n_post])
    return float(weights @ covariance @ weights)


def did_variance(covariance: Floats, n_pre: int, n_treated: int, n_comparison: int) -> float:
    """True variance of the two-group difference-in-differences, J treated against K comparison units.

    `variance_of_change` x (1 / J + 1 / K): the serial-correlation-robust formula of Burlig, Preonas and
    Woerman (2020). With one start for all, two-way fixed effects give the same estimate.
    """
    require_above("n_treated and n_comparison", [n_treated, n_comparison], 0)
    return variance_of_change(covariance, n_pre) * (1 / n_treated + 1 / n_comparison)


def conventional_did_variance(covariance: Floats, n_pre: int, n_treated: int, n_comparison: int) -> float:
    """Expected variance that two-way fixed effects with conventional errors report for the same estimate.

    E[s^2] / D, where D = (J K / (J + K)) (m r / (m + r)) is the sum of squares of the doubly demeaned
    treatment, and s^2 has (J + K - 1) (T - 1) - 1 degrees of freedom and the expected sum of squares
    (J + K - 1) tr(C S) - D x `did_variance`, C taking the mean over occasions out. It equals the true
    variance when errors are independent over time; nan where no degrees of freedom are left.

    References
    ----------
    Bertrand, Duflo and Mullainathan (2004), Quarterly Journal of Economics 119, 249-275, for the
    problem; the expectation is that of a quadratic form.
    """
    n_occasions = covariance.shape[0]
    n_units = n_treated + n_comparison
    df = (n_units - 1) * (n_occasions - 1) - 1
    if df < 1:
        return float("nan")
    demeaned = n_treated * n_comparison / n_units * n_pre * (n_occasions - n_pre) / n_occasions
    within = float(np.trace(covariance) - covariance.sum() / n_occasions)
    explained = demeaned * did_variance(covariance, n_pre, n_treated, n_comparison)
    return float(((n_units - 1) * within - explained) / df / demeaned)


def did_trend_bias(slope_difference: float, n_pre: int, n_post: int) -> float:
    """Bias of the two-group difference-in-differences from linear trends that differ between groups.

    slope difference x (m + r) / 2, the distance between the middle of the m occasions before and that of
    the r after; the slope is for each occasion.
    """
    return slope_difference * (n_pre + n_post) / 2


def regression_to_the_mean(sd: float, correlation: float, share: float) -> float:
    """Expected return towards the mean of the units that were the worst, without any intervention.

    sd (1 - correlation) phi(z) / share with z = Phi^-1(1 - share): the mean of the top `share` of a
    normal population lies phi(z) / share standard deviations out, and keeps `correlation` of that.

    Parameters
    ----------
    sd : float
        Cross-sectional standard deviation, the same on both occasions.
    correlation : float
        Of a unit with itself from selection to the later occasion.
    share : float
        Share of units selected, above 0 and at most 1 (of all units: no return).

    References
    ----------
    Davis (1976), American Journal of Epidemiology 104, 493-498.

    Examples
    --------
    >>> round(regression_to_the_mean(sd=10, correlation=0.5, share=0.25), 2)
    6.36
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie above 0 and at most at 1: {share}")
    z = special.ndtri(1 - share)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return float(sd * (1 - correlation) * density / share)
