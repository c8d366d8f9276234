"""Student's t for many statistics at once: p-values and quantiles."""

import numpy as np
from scipy import special

from design_sim.arrays import Floats

_CAREFUL_BELOW = 1e-3
_WORTH_IT = 12


def t_p_value(statistic: Floats, df: Floats) -> Floats:
    """Two-sided p-value of a t statistic.

    Parameters
    ----------
    statistic : float array, (replicate,)
        The statistic; nan gives nan.
    df : float array, (replicate,)
        Degrees of freedom, above 0; infinite ones mean the normal distribution. Axis 1 where they do not
        vary: for one whole number the probability is a finite sum, some thirty times as fast as the
        incomplete beta function. Being 1 less that sum, it is computed the long way where it is below
        1e-3, so that at most a part in 1e12 is lost.

    References
    ----------
    Abramowitz and Stegun (1964), Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    size = np.abs(statistic)
    whole = _whole(df)
    if whole is None or statistic.size < _WORTH_IT * whole:
        exact: Floats = 2 * special.stdtr(df, -size)
        return exact
    p_value = 1 - _central_probability(np.minimum(size, 1e150), whole)
    careful = p_value < _CAREFUL_BELOW
    p_value[careful] = 2 * special.stdtr(whole, -size[careful])
    return p_value


def _whole(df: Floats) -> int | None:
    """The one whole number that the df are, but for rounding; None where they are not."""
    if df.size > 1 or not np.isfinite(df.flat[0]):
        return None
    whole = round(float(df.flat[0]))
    return whole if whole > 0 and abs(df.flat[0] - whole) < 1e-12 * whole else None


def _central_probability(size: Floats, df: int) -> Floats:
    """P(|t| < size) for whole df, by the finite sum in powers of cos^2 = df / (df + size^2)."""
    spread = df + size * size
    square = df / spread
    odd = df % 2
    total = np.ones_like(size)
    for k in range((df - 2) // 2 if not odd else (df - 3) // 2, 0, -1):
        ratio = 2 * k / (2 * k + 1) if odd else (2 * k - 1) / (2 * k)
        total *= ratio * square
        total += 1
    sine = size / np.sqrt(spread)
    if not odd:
        return sine * total
    wave = sine * np.sqrt(square) * total if df > 1 else 0.0
    probability: Floats = 2 / np.pi * (np.arctan2(size, np.sqrt(df)) + wave)
    return probability


def t_quantile(probability: float, df: Floats) -> Floats:
    """Quantile of Student's t, for every df (infinite: the normal quantile)."""
    if df.size == 1:
        return _quantiles(probability, df)
    values, which = np.unique(df, return_inverse=True)
    return np.asarray(_quantiles(probability, values)[which])


def _quantiles(probability: float, df: Floats) -> Floats:
    quantile = special.stdtrit(df, probability)
    return np.where(np.isinf(df), special.ndtri(probability), quantile)
