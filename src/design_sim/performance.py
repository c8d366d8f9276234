"""Bias, power, coverage and the rest: what a tally says of an answer, each with its Monte Carlo error.

The Monte Carlo standard error (MCSE) is the standard deviation that a measure would have over repetitions
of the whole simulation. Failed analyses are left out (complete cases) but for `power_all` and
`failure_rate`. A measure that is not defined, as any is without an analysed replicate, is nan; so is
an MCSE from fewer than two of the replicates that a measure rests on.

Sources: Morris, White and Crowther (2019), Statistics in Medicine 38, 2074-2102, table 6, for the
measures and their MCSE; Joshi and Pustejovsky, simhelpers (R), for relative measures; Gelman and
Carlin (2014), Perspectives on Psychological Science 9, 641-651, for Type S and Type M; Davidson and
MacKinnon (1998), Manchester School 66, 1-26, for power against true size. Where those take normal
errors, a fixed truth or independent parts, the delta method with observed covariances stands here.

Decision: the empirical standard error is the standard deviation of the error, estimate minus the replicate's
own truth, and not of the estimate. The truth varies between replicates where units are drawn anew, and an
estimate that follows it is right, not imprecise. With one truth both are the same.

Decision: the critical value of size-adjusted power is one at which the null twin rejects with a rate of
exactly alpha. Where p-values are few (permutation) none does, and the rates are interpolated along
the line between the null twin's p-values on either side, which is the power of the test that tosses a coin
there. To stop at the last p-value whose rate does not exceed alpha would make the power of an exact
test all or nothing as its observed size falls on this or that side of alpha. Only a test whose
smallest attainable p is above alpha gets 0: no coin is tossed for that one.

Decision: the headline of an answer is the first that holds of

1. `cannot_reject`: the smallest attainable p is above alpha, known before any result;
2. `biased`: in the null twin |bias| is above 0.1 empirical SE, and above 3 MCSE, which matters below 900
   replicates: without it one sound answer in twenty would be called biased at 400, and one in three at 100.
   Before size, because no critical value mends a bias and adjusting for size would reward it;
3. `size_adjusted`: the size is above 1.5 alpha, and its Wilson interval above alpha, which matters below
   300 replicates: without it one sound answer in twenty would be called liberal at 200;
4. `power`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, nan, sqrt
from typing import Literal

import numpy as np
from scipy import special

from design_sim.arrays import Floats
from design_sim.tally import ROUNDING, Tally

Formula = Callable[[Tally], tuple[float, float]]
"""From a tally to the value of a measure and its Monte Carlo standard error."""
Rate = Callable[[float], float]
"""From the size of a test to a rate of rejection."""

MEASURES: dict[str, str] = {
    "truth": "mean true value of the estimand",
    "estimate": "mean estimate",
    "bias": "mean error, estimate minus the replicate's own truth",
    "relative_bias": "bias as a share of the mean truth",
    "empirical_se": "standard deviation of the error over replicates",
    "model_se": "root mean square of the standard errors that the analysis reports",
    "model_se_error": "model SE over empirical SE, minus 1",
    "rmse": "root mean squared error",
    "coverage": "share of intervals that hold the replicate's own truth",
    "power": "share of tests that reject",
    "power_all": "the same with failed analyses as tests that do not reject",
    "size": "share of tests that reject in the null twin, where there is no effect",
    "size_average": "share of tests that reject in the average null twin (`average_twin`), where effects "
    "differ about a mean of nothing",
    "null_bias": "mean estimate in the null twin",
    "size_adjusted_power": "power at the critical value that gives the null twin a size of alpha",
    "type_s": "share of rejections whose estimate has the wrong sign",
    "type_m": "mean distance from 0 of the estimates that reject, over that of the mean truth",
    "failure_rate": "share of analyses that failed",
    "p_floor": "smallest p-value that the method could have given",
}

BIASED_FROM = 0.1
"""The null twin's bias from which an answer is biased, in empirical standard errors ..."""
BIASED_BEYOND = 3.0
"""... and in Monte Carlo standard errors."""
OVERSIZED_FROM = 1.5
"""The size from which a test does not keep it, in alphas."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A performance measure, and its Monte Carlo standard error."""

    measure: str
    value: float
    mcse: float


@dataclass(frozen=True, slots=True)
class Headline:
    """What is shown first of an answer.

    Parameters
    ----------
    kind : str
        Which of the four cases in the module's Decision it is.
    value, mcse : float
        Power or size-adjusted power; where the answer is biased, the RMSE; where it cannot reject, the
        smallest attainable p.
    label : str
        The same in a few words.
    """

    kind: Literal["power", "size_adjusted", "biased", "cannot_reject"]
    value: float
    mcse: float
    label: str


def performance(tally: Tally) -> list[Measured]:
    """Every measure of an answer, in the order of `MEASURES`; `size_average` where that twin was run."""
    there = [name for name in MEASURES if name != "size_average" or tally.average.count]
    return [measure(tally, name) for name in there]


def measure(tally: Tally, name: str) -> Measured:
    """One measure of an answer, by its name in `MEASURES`."""
    value, mcse = _FORMULAS[name](tally)
    return Measured(name, value, nan if isnan(value) else mcse)


def headline(tally: Tally) -> Headline:
    """What is shown first of an answer, so that no power is read without what it rests on."""
    floor, power = measure(tally, "p_floor"), measure(tally, "power")
    size, rmse = measure(tally, "size"), measure(tally, "rmse")
    if _cannot_reject(tally):
        label = f"cannot reject (smallest p {_short(floor.value, 'g')})"
        return Headline("cannot_reject", floor.value, floor.mcse, label)
    if is_biased(tally):
        label = f"biased: size {_short(size.value)}, power {_short(power.value)}"
        return Headline("biased", rmse.value, rmse.mcse, f"{label}, RMSE {_short(rmse.value, 'g')}")
    if is_oversized(tally) or (isnan(size.value) and not isnan(power.value)):
        adjusted = measure(tally, "size_adjusted_power")
        label = f"size-adjusted power {_short(adjusted.value)} (size {_short(size.value)})"
        return Headline("size_adjusted", adjusted.value, adjusted.mcse, label)
    return Headline("power", power.value, power.mcse, f"power {_short(power.value)}")


def is_oversized(tally: Tally) -> bool:
    """Whether the answer rejects too often where there is no effect, by more than noise.

    A size above 1.5 alpha, whose 95 % Wilson interval is above alpha.
    """
    size = measure(tally, "size").value
    if not size > OVERSIZED_FROM * tally.alpha * (1 + ROUNDING):
        return False
    low, _ = wilson_interval(round(size * tally.null.count), tally.null.count)
    return low > tally.alpha


def is_biased(tally: Tally) -> bool:
    """Whether the answer finds an effect where there is none, by more than noise.

    In the null twin, |mean estimate| above both 0.1 of the estimate's standard deviation and 3 of its Monte
    Carlo standard errors. Not with fewer than two replicates.
    """
    bias, mcse = _null_bias(tally)
    return abs(bias) > max(BIASED_FROM * tally.null.spread_of("estimate"), BIASED_BEYOND * mcse)


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval for a proportion that holds its level near 0 and 1 too; nan where n is 0.

    References
    ----------
    Wilson (1927), Journal of the American Statistical Association 22, 209-212; Brown, Cai and DasGupta
    (2001), Statistical Science 16, 101-133.

    Examples
    --------
    >>> low, high = wilson_interval(0, 10)
    >>> round(low, 3), round(high, 3)
    (0.0, 0.278)
    """
    if n == 0:
        return nan, nan
    z = float(special.ndtri((1 + level) / 2))
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # The bounds are exactly 0 and 1 there, but for rounding.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def _cannot_reject(tally: Tally) -> bool:
    return tally.p_floor > tally.alpha * (1 + ROUNDING)


def _short(value: float, style: Literal["f", "g"] = "f") -> str:
    """Two decimals, or two digits that count (g), without the 0 in front."""
    if isnan(value):
        return "not known"
    return f"{value:.2{style}}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2{style}}"


def _ratio(above: float, below: float) -> float:
    return above / below if below != 0 else nan


def _share(successes: float, n: int) -> tuple[float, float]:
    """A proportion, MCSE sqrt(p (1 - p) / n)."""
    share = _ratio(successes, n)
    return share, sqrt(max(share * (1 - share), 0.0) / n) if n > 1 else nan


def _mean(name: str) -> Formula:
    """A mean over analysed replicates, MCSE SD / sqrt n."""
    return lambda tally: (tally.stated.mean_of(name), tally.stated.std_error_of({name: 1.0}))


def _relative_bias(tally: Tally) -> tuple[float, float]:
    """Ratio of means, r = mean error / mean truth: MCSE by the slopes 1 / truth and -r / truth."""
    stated = tally.stated
    truth = stated.mean_of("truth")
    ratio = _ratio(stated.mean_of("error"), truth)
    return ratio, stated.std_error_of({"error": _ratio(1, truth), "truth": _ratio(-ratio, truth)})


def _empirical_se(tally: Tally) -> tuple[float, float]:
    """SD of the error. MCSE of a variance through (error - bias)^2 / n, of its root by 1 / (2 SD).

    With normal errors that is Morris's SD / sqrt(2 (n - 1)); it also holds where they are not.
    """
    spread = tally.stated.spread_of("error")
    return spread, tally.stated.std_error_of(_slopes_of_variance(tally, _ratio(1, 2 * spread)))


def _slopes_of_variance(tally: Tally, factor: float) -> dict[str, float]:
    """Of factor x variance of the error: mean of the square less the square of the mean."""
    return {"squared_error": factor, "error": -2 * tally.stated.mean_of("error") * factor}


def _model_se(tally: Tally) -> tuple[float, float]:
    """Root of the mean squared standard error, MCSE that of the mean by 1 / (2 model SE)."""
    model = sqrt(tally.stated.mean_of("variance"))
    return model, tally.stated.std_error_of({"variance": _ratio(1, 2 * model)})


def _model_se_error(tally: Tally) -> tuple[float, float]:
    """Model SE / empirical SE - 1, MCSE from both slopes and their covariance."""
    model, _ = _model_se(tally)
    spread = tally.stated.spread_of("error")
    ratio = _ratio(model, spread)
    slopes = _slopes_of_variance(tally, _ratio(-ratio, 2 * spread * spread))
    return ratio - 1, tally.stated.std_error_of(slopes | {"variance": _ratio(ratio, 2 * model * model)})


def _rmse(tally: Tally) -> tuple[float, float]:
    """Root of the mean squared error, MCSE that of the mean by 1 / (2 RMSE)."""
    rmse = sqrt(tally.stated.mean_of("squared_error"))
    return rmse, tally.stated.std_error_of({"squared_error": _ratio(1, 2 * rmse)})


def _coverage(tally: Tally) -> tuple[float, float]:
    return _share(tally.stated.count_of("covered"), tally.stated.count)


def _rejections(tally: Tally) -> int:
    return int(tally.stated.count_of("rejected")) if tally.stated.count else 0


def _power(tally: Tally) -> tuple[float, float]:
    return _share(_rejections(tally), tally.stated.count)


def _power_all(tally: Tally) -> tuple[float, float]:
    return _share(_rejections(tally), tally.asked)


def _size(tally: Tally) -> tuple[float, float]:
    return _share(tally.null.count_of("rejected"), tally.null.count)


def _size_average(tally: Tally) -> tuple[float, float]:
    return _share(tally.average.count_of("rejected"), tally.average.count)


def _null_bias(tally: Tally) -> tuple[float, float]:
    return tally.null.mean_of("estimate"), tally.null.std_error_of({"estimate": 1.0})


def _type_s(tally: Tally) -> tuple[float, float]:
    """Share of wrong signs among rejections; the wrong one is that which the mean truth has not."""
    stated, truth = tally.stated, tally.stated.mean_of("truth")
    if not abs(truth) > 0:
        return nan, nan
    wrong = stated.count_of("rejected_below" if truth > 0 else "rejected_above")
    return _share(wrong, _rejections(tally))


def _type_m(tally: Tally) -> tuple[float, float]:
    """Mean |estimate| among rejections / |mean truth|, MCSE by the slopes of a ratio of three means."""
    stated, truth = tally.stated, tally.stated.mean_of("truth")
    rejected, distance = stated.mean_of("rejected"), stated.mean_of("rejected_distance")
    ratio = _ratio(_ratio(distance, rejected), abs(truth))
    slopes = {
        "rejected_distance": _ratio(ratio, distance),
        "rejected": _ratio(-ratio, rejected),
        "truth": _ratio(-ratio, truth),
    }
    return ratio, stated.std_error_of(slopes) if _rejections(tally) > 1 else nan


def _failure_rate(tally: Tally) -> tuple[float, float]:
    return _share(tally.failed, tally.asked)


def _p_floor(tally: Tally) -> tuple[float, float]:
    return tally.p_floor, 0.0


def _size_adjusted_power(tally: Tally) -> tuple[float, float]:
    """Power at the null twin's alpha quantile of p; nan where the answer is biased.

    The quantile is itself estimated. With power p, the slope s of power against size there, and R
    replicates, Var = p (1 - p) / R + s^2 alpha (1 - alpha) / R - 2 s (j - p alpha) / R, where j is the
    rate at which both reject: the twins share their draws. (Without failures; with them, each term
    has the replicates that it rests on.) Where the null twin rejects only a handful of times, or p-values
    are few, the slope is known badly and the error tends to come out too large.
    """
    power_at, both_at, (n, null_n, both_n) = _rates_by_size(tally)
    alpha = tally.alpha
    if is_biased(tally) or not n or not null_n:
        return nan, nan
    if _cannot_reject(tally):
        return 0.0, 0.0
    power = power_at(alpha)
    if n < 2 or null_n < 2:
        return power, nan
    slope = _slope_at(power_at, alpha, n, null_n)
    variance = power * (1 - power) / n + slope**2 * alpha * (1 - alpha) / null_n
    if both_n:
        variance -= 2 * slope * (both_at(alpha) - power * alpha) * both_n / (n * null_n)
    return power, sqrt(max(variance, 0.0))


def _rates_by_size(tally: Tally) -> tuple[Rate, Rate, tuple[int, int, int]]:
    """The rates at which the study, and it and its null twin both, reject at a size; and their n.

    Straight lines between the critical values at which the null twin's rate steps up, from (0, 0).
    """
    steps = np.flatnonzero(tally.p_counts[1])
    counts = tally.p_counts.cumsum(axis=1)
    n, null_n, both_n = (int(count) for count in counts[:, -1])

    def rate(which: int, n: int) -> Rate:
        sizes: Floats = np.concatenate([[0.0], counts[1, steps] / max(null_n, 1)])
        rates: Floats = np.concatenate([[0.0], counts[which, steps] / max(n, 1)])
        return lambda size: float(np.interp(size, sizes, rates))

    return rate(0, n), rate(2, both_n), (n, null_n, both_n)


def _slope_at(power_at: Rate, alpha: float, n: int, null_n: int) -> float:
    """How fast power rises with size at alpha: the ratio of the two densities of p there.

    From a chord on the scale of normal quantiles, on which the curve of a normal statistic is straight, so
    that a wide chord does little harm. Half a rejection is added to either side, as power may be 1.

    References
    ----------
    Width of the chord: Bofinger (1975), Australian Journal of Statistics 17, 1-7, as in Koenker (2005),
    Quantile Regression, section 3.4.2.
    """
    z = float(special.ndtri(alpha))
    density = _normal_density(z)
    half_width = (4.5 * density**4 / ((2 * z**2 + 1) ** 2 * null_n)) ** 0.2
    low, high = max(alpha - half_width, alpha / 4), min(alpha + half_width, (1 + alpha) / 2)

    def probit(size: float) -> float:
        return float(special.ndtri((power_at(size) * n + 0.5) / (n + 1)))

    chord = (probit(high) - probit(low)) / float(special.ndtri(high) - special.ndtri(low))
    return chord * _normal_density(probit(alpha)) / density


def _normal_density(z: float) -> float:
    return float(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))


_FORMULAS: dict[str, Formula] = {
    "truth": _mean("truth"),
    "estimate": _mean("estimate"),
    "bias": _mean("error"),
    "relative_bias": _relative_bias,
    "empirical_se": _empirical_se,
    "model_se": _model_se,
    "model_se_error": _model_se_error,
    "rmse": _rmse,
    "coverage": _coverage,
    "power": _power,
    "power_all": _power_all,
    "size": _size,
    "size_average": _size_average,
    "null_bias": _null_bias,
    "size_adjusted_power": _size_adjusted_power,
    "type_s": _type_s,
    "type_m": _type_m,
    "failure_rate": _failure_rate,
    "p_floor": _p_floor,
}
