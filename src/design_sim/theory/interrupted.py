"""Interrupted time series: what a change of level and of slope can be told with, in one series.

With a comparison series of its own, independent of the first, the variances of the two add up.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np

from design_sim.arrays import Floats
from design_sim.theory.ranges import require_covariance

Fit = Literal["gls", "ols", "reported"]


class InterruptedVariances(NamedTuple):
    """Variances of the two changes at the interruption."""

    level: float
    slope: float


def interrupted_variances(covariance: Floats, n_pre: int, fit: Fit = "gls") -> InterruptedVariances:
    """Variances of the changes of level and slope in a segmented regression with known covariance.

    The regressors at occasion t = 0, 1, ... are 1, t, [t >= m] and [t >= m] (t - m): the change of level is
    that at the first occasion m after the interruption.

    Parameters
    ----------
    covariance : float array, (occasion, occasion)
        Covariance of the series around its line, as from `serial_covariance`.
    n_pre : int
        Occasions m before the interruption; two are needed on either side.
    fit : "gls", "ols" or "reported"
        Generalised least squares, (X' S^-1 X)^-1; least squares, (X'X)^-1 X' S X (X'X)^-1; or the
        variance that least squares reports on average, taking occasions as independent,
        tr(M S) / (T - 4) (X'X)^-1 with M = I - X (X'X)^-1 X'. With positive autocorrelation it is too small.

    References
    ----------
    Wagner, Soumerai, Zhang and Ross-Degnan (2002), Journal of Clinical Pharmacy and Therapeutics 27, 299-309,
    for the model; the rest is the algebra of least squares.

    Examples
    --------
    >>> from design_sim.theory.panels import serial_covariance
    >>> covariance = serial_covariance(48, sd=1.0, autocorrelation=0.3)
    >>> round(interrupted_variances(covariance, n_pre=24).level ** 0.5, 3)
    0.715
    """
    if fit not in get_args(Fit):
        raise ValueError(f"fit must be one of {', '.join(get_args(Fit))}: {fit}")
    require_covariance("covariance", covariance)
    n_occasions = covariance.shape[0]
    if min(n_pre, n_occasions - n_pre) < 2:
        raise ValueError(
            f"{n_pre} of {n_occasions} occasions before: each side of the interruption needs two"
        )
    time = np.arange(n_occasions, dtype=float)
    after = (time >= n_pre).astype(float)
    design = np.column_stack([np.ones(n_occasions), time, after, after * (time - n_pre)])
    if fit == "gls":
        variances = np.linalg.inv(design.T @ np.linalg.solve(covariance, design))
    else:
        bread = np.linalg.inv(design.T @ design)
        meat = design.T @ covariance @ design
        if fit == "ols":
            variances = bread @ meat @ bread
        elif n_occasions == 4:
            raise ValueError("four occasions leave nothing to report a variance from")
        else:
            residual = np.trace(covariance) - np.trace(bread @ meat)
            variances = residual / (n_occasions - 4) * bread
    return InterruptedVariances(float(variances[2, 2]), float(variances[3, 3]))
