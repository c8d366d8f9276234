"""Power and MDES of a test on an estimate, its standard error and its degrees of freedom.

Decision: the noncentral t is not taken from SciPy, whose `nct` returns nan far from 0 and whose
accuracy depends on the release. A t statistic is a normal one over the root of an independent variance
estimate, so that its tails are the normal ones averaged over that estimate: a smooth integral in the
logarithm of a chi-square, where the trapezoid rule converges exponentially (to about 1e-12). The same
average over two chi-squares gives the exact size of tests whose variance estimate is a weighted sum,
as the cluster-robust ones are.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from design_sim.arrays import Floats
from design_sim.theory.ranges import require_at_least, require_inside, require_share

TAIL = 1e-16
"""Probability left out at each end of a chi-square."""
MAX_NODES = 2**22
"""Bound on memory, reached only far out with one or two degrees of freedom."""
MOST_UNITS = 1e7
"""Units beyond which no study is looked for."""


def t_test_power(
    effect: float | Floats,
    std_error: float | Floats,
    df: float,
    alpha: float = 0.05,
    *,
    one_sided: bool = False,
) -> Floats:
    """Probability that a t test rejects; two-sided unless stated otherwise, with both tails counted.

    Power = P(|T| > t(1 - alpha/2; df)) with T noncentral t, df degrees of freedom and noncentrality
    effect / std_error (Cohen, 1988). With `effect` 0 it is alpha.

    Parameters
    ----------
    effect, std_error : float or float arrays, any shapes that broadcast
        The true effect and the true standard error of its estimate, on the outcome's scale.
    df : float
        Degrees of freedom of the variance estimate, above 0; infinite: the z test.
    alpha : float
        Level of the test.
    one_sided : bool
        Whether only an estimate above 0 can reject, P(T > t(1 - alpha; df)). At half the level that is
        the upper tail of the two-sided test, which much software reports as its power.

    Returns
    -------
    float array
        Power, 0 to 1, in the broadcast shape.

    Examples
    --------
    >>> round(float(t_test_power(0.5, np.sqrt(2 / 64), df=126)), 4)
    0.8015
    """
    require_inside("alpha", alpha, 0, 0.5 if one_sided else 1)
    noncentrality = np.divide(effect, std_error)
    critical = critical_value(df, 2 * alpha if one_sided else alpha)
    return rejection_rate(noncentrality, critical, [(1.0, df)], one_sided=one_sided)


def mdes(std_error: float | Floats, df: float, alpha: float = 0.05, power: float = 0.8) -> Floats:
    """Smallest true effect that a two-sided t test detects with the stated power.

    The root of `t_test_power(effect, std_error, df, alpha) = power`, so that the two invert each other.
    The customary multiplier, `mdes_multiplier`, is close from about 20 degrees of freedom; at 2 it is 5
    per cent too small.

    Parameters
    ----------
    std_error : float or float array
        True standard error of the estimate.
    df : float
        Degrees of freedom; infinite: the z test.
    alpha, power : float
        Two-sided level, and the power asked for, above alpha and below 1.

    Returns
    -------
    float array
        In the shape of `std_error`, on its scale.

    Examples
    --------
    >>> round(float(mdes(1.0, df=np.inf)), 3)
    2.802
    """
    from scipy.optimize import brentq

    if not 0 < alpha < power < 1:
        raise ValueError(f"power must lie above alpha and below 1: alpha {alpha}, power {power}")

    def shortfall(noncentrality: float) -> float:
        return float(t_test_power(noncentrality, 1.0, df, alpha)) - power

    upper = 4.0
    while shortfall(upper) < 0:
        upper *= 2
    return np.multiply(std_error, float(brentq(shortfall, 0.0, upper, xtol=1e-13, rtol=1e-13)))


def mdes_multiplier(df: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The customary number of standard errors in an MDES, a sum of two quantiles.

    t(1 - alpha/2; df) + t(power; df), as in PowerUp! and most textbooks: it leaves out the other tail, and
    that the noncentral t is skew. `mdes` is exact. Squared, with infinite df, it gives textbook sample
    sizes: multiplier^2 x the variance of one unit's estimate / effect^2.

    Parameters
    ----------
    df : float
        Degrees of freedom, above 0; infinite: the z test.
    alpha, power : float
        Two-sided level, and the power asked for, at least one half.

    References
    ----------
    Bloom (1995), Evaluation Review 19, 547-556; Dong and Maynard (2013), Journal of Research on
    Educational Effectiveness 6, 24-67.

    Examples
    --------
    >>> round(mdes_multiplier(np.inf), 3)
    2.802
    """
    require_inside("alpha", alpha, 0, 1)
    if not 0.5 <= power < 1:
        raise ValueError(f"power must be at least 0.5 and below 1: {power}")
    return critical_value(df, alpha) + critical_value(df, 2 * (1 - power))


def units_for_power(
    power_with: Callable[[float], float | Floats], power: float = 0.8, fewest: float = 2.0
) -> float:
    """Number of units at which the stated power is reached, before rounding up.

    Parameters
    ----------
    power_with : function of a number of units
        Power of a study with so many of them, rising with their number; asked for fractions too.
    power : float
        The power asked for, above 0 and below 1.
    fewest : float
        The number to begin with; it is the answer where it already has the power.

    Raises
    ------
    ValueError
        If ten million units do not reach it, as happens with families of few authorities.

    Examples
    --------
    >>> round(units_for_power(lambda n: t_test_power(0.5, np.sqrt(2 / n), 2 * n - 2)), 2)
    63.77
    """
    from scipy.optimize import brentq

    require_inside("power", power, 0, 1)
    if power_with(fewest) >= power:
        return fewest
    upper = 2 * fewest
    while power_with(upper) < power:
        if upper > MOST_UNITS:
            raise ValueError(
                f"no number of units has a power of {power}: {upper:.0f} have {power_with(upper)}"
            )
        upper *= 2
    return float(brentq(lambda n: float(power_with(n)) - power, upper / 2, upper, xtol=1e-10, rtol=1e-14))


def assurance(
    prior_mean: float | Floats,
    prior_sd: float | Floats,
    std_error: float | Floats,
    df: float = np.inf,
    alpha: float = 0.05,
    *,
    one_sided: bool = False,
) -> Floats:
    """Power averaged over a normal prior for the effect: the probability that the study finds something.

    Over the prior, the estimate is normal with variance std_error^2 + prior_sd^2, so that the power of
    `t_test_power` is taken at that spread with the test's own bound. Two-sided, it counts findings of the
    wrong sign; half the level, one-sided, leaves them out. A diffuse prior's assurance need not reach .8 at
    any size of the study.

    Parameters
    ----------
    prior_mean, prior_sd : float or float arrays, any shapes that broadcast
        Of the true effect; an SD of 0 gives the power at the mean.
    std_error, df : float
        True standard error of the estimate, and the degrees of freedom of its variance estimate.
    alpha, one_sided
        As in `t_test_power`.

    References
    ----------
    O'Hagan, Stevens and Campbell (2005), Pharmaceutical Statistics 4, 187-201; Spiegelhalter, Abrams and
    Myles (2004), Bayesian Approaches to Clinical Trials, section 6.5.

    Examples
    --------
    >>> round(float(assurance(0.5, 0.25, np.sqrt(2 / 64))), 3)
    0.695
    """
    require_inside("alpha", alpha, 0, 0.5 if one_sided else 1)
    require_at_least("prior_sd", prior_sd, 0)
    spread = np.hypot(std_error, prior_sd)
    critical = critical_value(df, 2 * alpha if one_sided else alpha)
    ratio = np.divide(std_error, spread)
    return rejection_rate(np.divide(prior_mean, spread), critical * ratio, [(1.0, df)], one_sided=one_sided)


def risk_difference_std_error(
    risk_treated: float, risk_comparison: float, n_treated: float, n_comparison: float
) -> float:
    """Standard error of a difference between two independent proportions, each with its own variance.

    sqrt(p1 (1 - p1) / n1 + p0 (1 - p0) / n0): the unpooled standard error, as of a linear probability
    model with robust errors.
    """
    require_share("risk", [risk_treated, risk_comparison])
    return float(
        np.sqrt(
            risk_treated * (1 - risk_treated) / n_treated
            + risk_comparison * (1 - risk_comparison) / n_comparison
        )
    )


def two_proportion_power(
    risk_treated: float, risk_comparison: float, n_treated: float, n_comparison: float, alpha: float = 0.05
) -> Floats:
    """Power of the two-sided z test on a difference between two independent proportions.

    The normal approximation with the unpooled standard error, both tails counted (Fleiss, Levin and
    Paik, 2003, chapter 4, without continuity correction). Pooling the variance in the test statistic
    changes power by .002 in a trial of 1,500 families with risks near .4. For clustered families,
    multiply the squared standard error by the design effect and use `t_test_power`.

    Parameters
    ----------
    risk_treated, risk_comparison : float
        True risks, 0 to 1.
    n_treated, n_comparison : float
        Independent units in each arm.
    alpha : float
        Two-sided level.

    Examples
    --------
    >>> round(float(two_proportion_power(0.362, 0.448, 755.5, 755.5)), 2)
    0.93
    """
    std_error = risk_difference_std_error(risk_treated, risk_comparison, n_treated, n_comparison)
    return t_test_power(risk_treated - risk_comparison, std_error, np.inf, alpha)


def size_with_misstated_variance(stated_over_true: float | Floats, alpha: float = 0.05) -> Floats:
    """Size of a two-sided z test that holds its variance for another than it is.

    2 Phi(-z(1 - alpha/2) sqrt(ratio)), where the stated variance is `ratio` times the true one; one
    minus it is the coverage of the interval. Where clusters are ignored and variances known, ratio is
    one over the design effect (Moulton, 1990); where serial correlation is, it is
    `conventional_did_variance / did_variance`.

    Examples
    --------
    >>> round(float(size_with_misstated_variance(1 / 3.45)), 3)
    0.291
    """
    size: Floats = 2 * special.ndtr(-critical_value(np.inf, alpha) * np.sqrt(stated_over_true))
    return size


def critical_value(df: float, alpha: float) -> float:
    """Two-sided critical value of Student's t; infinite df: of the normal distribution."""
    if not df > 0:
        raise ValueError(f"degrees of freedom must be above 0: {df}")
    require_inside("alpha", alpha, 0, 1)
    return float(-special.ndtri(alpha / 2) if np.isinf(df) else -special.stdtrit(df, alpha / 2))


def rejection_rate(
    noncentrality: float | Floats,
    critical: float | Floats,
    variance: Sequence[tuple[float, float]],
    *,
    one_sided: bool = False,
) -> Floats:
    """Probability that |Z + noncentrality| exceeds critical times sqrt(V), V being independent of Z.

    Parameters
    ----------
    noncentrality : float or float array
        True effect over the true standard error.
    critical : float or float array
        Critical value that the statistic is compared with, in a shape that broadcasts with the other.
    variance : sequence of (share, df)
        V, the variance estimate over the true variance, is the sum of share x chi-square(df) / df over
        independent parts; its expectation, the sum of shares, is 1 if the estimate is unbiased. A part
        with infinite df is known; one with df 0 is absent.
    one_sided : bool
        Whether Z + noncentrality must exceed the bound without its sign being taken off.

    Returns
    -------
    float array
        In the broadcast shape.
    """
    shift = np.asarray(noncentrality, dtype=float)[..., np.newaxis]
    # The tails fall from 1 to 0 over about 2 / noncentrality in the logarithm of V.
    farthest = float(np.abs(shift[np.isfinite(shift)]).max(initial=0.0))
    step = min(0.25, 1.2 / (1 + farthest))
    most_steps = int(MAX_NODES ** (1 / len(variance)))
    estimate, weight = np.zeros(1), np.ones(1)
    for share, df in variance:
        nodes, mass = _chi_square_nodes(df, step, most_steps)
        estimate = np.add.outer(estimate, share * nodes).ravel()
        weight = np.multiply.outer(weight, mass).ravel()
    bound = np.asarray(critical, dtype=float)[..., np.newaxis] * np.sqrt(estimate)
    tail = special.ndtr(shift - bound)
    rate: Floats = (tail if one_sided else tail + special.ndtr(-shift - bound)) @ weight
    return rate


def _chi_square_nodes(df: float, step: float, most_steps: int) -> tuple[Floats, Floats]:
    """Nodes and weights that average over chi-square(df) / df; a single node where it does not vary."""
    if df == 0 or np.isinf(df):
        return np.array([float(df > 0)]), np.ones(1)
    half = df / 2
    low, high = np.log([special.gammaincinv(half, TAIL) / half, special.gammainccinv(half, TAIL) / half])
    n_steps = int(min(most_steps, np.ceil((high - low) / min(step, 0.4 / np.sqrt(half)))))
    log_ratio = np.linspace(low, high, n_steps + 1)
    mass = np.exp(half * (log_ratio - np.expm1(log_ratio)))
    return np.exp(log_ratio), mass / mass.sum()
