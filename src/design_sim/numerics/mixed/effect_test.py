"""Standard error and degrees of freedom of one coefficient of a mixed model, from three scalar functions.

With V = I + sum of ratio x Z Z' and everything but the variance ratios solved for, a REML fit is described
by the weighted residual squares, by the log determinant log|V| + log|X'V^-1 X| and by the coefficient's unit
variance, each with its derivatives with respect to the ratios. Both ways of judging a coefficient with few
units need no more than these:

- Satterthwaite's df, as lmerTest has them, by the delta method with the inverse Hessian of the deviance. At
  an inner optimum the choice of parameters does not matter. A ratio at 0 drops out: lmerTest's parameter,
  its square root, enters through its square alone, so that its derivatives vanish there.
- Kenward and Roger's standard error and df, as pbkrtest has them. Variances enter V linearly, so that their
  expected information is minus half the Hessian of the log determinant, and the adjustment of the variance
  v is minus the trace of the variances' covariance times the Hessian of v. For one coefficient the df are
  Satterthwaite's with the expected in the place of the observed information, and ratios at 0 stay in.

Source: Kuznetsova, Brockhoff and Christensen (2017), Journal of Statistical Software 82(13); Kenward and
Roger (1997), Biometrics 53, 983-997, (7) and section 3; Halekoh and Hojsgaard (2014), Journal of Statistical
Software 59(9).
"""

from typing import Literal, NamedTuple

import numpy as np

from design_sim.arrays import Bools, Floats
from design_sim.numerics.mixed.sweep import inverse

SmallSample = Literal["satterthwaite", "kenward_roger"]


class Local(NamedTuple):
    """A function of the variance ratios at one point of every replicate, with its derivatives.

    Parameters
    ----------
    value : float array, (replicate,)
    gradient : float array, (ratio, replicate)
    hessian : float array, (ratio, ratio, replicate)
    """

    value: Floats
    gradient: Floats
    hessian: Floats


class Reml(NamedTuple):
    """A mixed model at given variance ratios.

    Parameters
    ----------
    squares : Local
        Residual squares weighted by V^-1.
    log_det : Local
        log|V| + log|X'V^-1 X|.
    variance : Local
        Variance of the coefficient where the residual variance is 1.
    df : float array, (replicate,)
        Observations less regressors.
    """

    squares: Local
    log_det: Local
    variance: Local
    df: Floats


def satterthwaite_df(fit: Reml, free: Bools) -> Floats:
    """Degrees of freedom by the observed information, (replicate,).

    Parameters
    ----------
    fit : Reml
        The model at its optimum, its derivatives with respect to the ratios or to any functions of them.
    free : bool array, (ratio, replicate)
        Which of those are not held at the edge of their range.
    """
    residual = fit.squares.value / fit.df
    across = -fit.squares.gradient / residual
    relative = fit.variance.gradient / fit.variance.value
    # The last parameter, the logarithm of the residual variance, has information df and relative change 1.
    information = (
        fit.log_det.hessian + fit.squares.hessian / residual - across[:, np.newaxis] * across / fit.df
    )
    spread = _quadratic(information, relative - across / fit.df, free)
    df: Floats = 1 / (1 / fit.df + spread)
    return df


def kenward_roger(fit: Reml, ratio: Floats) -> tuple[Floats, Floats]:
    """The adjusted unit variance and its degrees of freedom, (replicate,) each.

    Parameters
    ----------
    fit : Reml
        The model at its optimum.
    ratio : float array, (ratio, replicate)
        The optimum, variances and covariances as shares of the residual variance.
    """
    information = -with_residual(fit.log_det, ratio, fit.df, degree=0).hessian
    variance = with_residual(fit.variance, ratio, fit.variance.value, degree=1)
    covariance = 2 * inverse(information)
    adjusted = variance.value - (covariance * variance.hessian).sum(axis=(0, 1))
    slopes = variance.gradient
    spread = (covariance * slopes * slopes[:, np.newaxis]).sum(axis=(0, 1))
    return adjusted, 2 * variance.value**2 / spread


def with_residual(function: Local, ratio: Floats, total: Floats, degree: int) -> Local:
    """A function of ratios as one of variances, the residual variance the last, where that is 1.

    Multiplying all variances multiplies a function of degree 1, divides one of degree -1 and adds to one of
    degree 0, so that by Euler's rule the derivatives along the variances themselves are known: `total` is
    the first of them.
    """
    size = ratio.shape[0] + 1
    gradient = np.empty((size, *function.value.shape))
    hessian = np.empty((size, *gradient.shape))
    gradient[:-1], hessian[:-1, :-1] = function.gradient, function.hessian
    gradient[-1] = total - (ratio * function.gradient).sum(axis=0)
    across = (degree - 1) * function.gradient - (ratio * function.hessian).sum(axis=1)
    hessian[:-1, -1] = hessian[-1, :-1] = across
    hessian[-1, -1] = (degree - 1) * gradient[-1] - (ratio * across).sum(axis=0)
    return Local(function.value, gradient, hessian)


def _quadratic(matrix: Floats, vector: Floats, kept: Bools) -> Floats:
    """vector' matrix^-1 vector of the entries kept, (replicate,)."""
    vector = np.where(kept, vector, 0.0)
    matrix = np.where(kept & kept[:, np.newaxis], matrix, np.eye(vector.shape[0])[:, :, np.newaxis])
    form: Floats = (inverse(matrix) * vector * vector[:, np.newaxis]).sum(axis=(0, 1))
    return form
