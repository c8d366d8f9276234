"""Variance of a contrast of fitted estimating equations, robust and corrected for few clusters.

With u_g = D' V^-1 (y - mu) and G_g = D' V^-1 D of cluster g, M the inverse of the sum of G_g, and c the
contrast, every variance is the sum over clusters of (c' M A_g u_g)^2:

- robust: A_g = I, the sandwich of Liang and Zeger.
- mancl_derouen: residuals times (I - H)^-1, where H = D M D' V^-1 is the leverage of the cluster.
- kauermann_carroll: residuals times (I - H)^-1/2, the principal root.
- fay_graubard: A_g diagonal, the j-th element (1 - min(b, (G_g M)_jj))^-1/2, with b = 0.75.

D' V^-1 f(H) = f(G_g M) D' V^-1 for the first three, so that A_g = (I - G_g M)^-1 or ^-1/2, of as many rows
as there are coefficients, however many observations a cluster holds. Both H and G_g M are similar to
symmetric matrices with eigenvalues within 0 to 1, which have the principal root. c' M A_g is the direction of
CR3 and CR2 in `cluster_variance`, of which these are the versions with weights V^-1.

The first three do not depend on how the regressors are coded; Fay and Graubard's does, and is
that of the regressors as stated, uncentred, the first occasion without a dummy.

Source: Liang and Zeger (1986), Biometrika 73, 13-22; Mancl and DeRouen (2001), Biometrics 57, 126-134;
Kauermann and Carroll (2001), Journal of the American Statistical Association 96, 1387-1396; Fay and Graubard
(2001), Biometrics 57, 1198-1206.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from design_sim.arrays import Batch, Bools, Floats
from design_sim.numerics.cluster_variance import ContrastPlan, adjusted_direction
from design_sim.numerics.equation_search import EquationFit

GeeVariance = Literal["robust", "mancl_derouen", "kauermann_carroll", "fay_graubard"]

_POWER = {"mancl_derouen": 1.0, "kauermann_carroll": 0.5}
BOUND = 0.75
"""Fay and Graubard's b, the largest leverage that is corrected in full."""
ROUNDING = 1e-10
"""A standard error below this share of the model's is rounding."""


@dataclass(frozen=True, slots=True)
class ContrastVariance(Batch):
    """The estimated variance of a contrast.

    Parameters
    ----------
    variance : float array, (replicate,)
        0 where nothing is left of it but rounding; nan where the contrast rests on a single cluster and the
        correction has none.
    void : bool array, (replicate,)
        Whether the estimator is 0 whatever the outcome, or undefined.
    """

    variance: Annotated[Floats, "replicate"]
    void: Annotated[Bools, "replicate"]


def contrast_variance(
    fit: EquationFit,
    contrast: Floats,
    kind: GeeVariance,
    *,
    coding: Floats | None = None,
    alike: bool = False,
) -> ContrastVariance:
    """Variance of a contrast of the coefficients.

    Parameters
    ----------
    fit : EquationFit
        The fitted equations.
    contrast : float array, (replicate, column)
        c; replicate axis 1 where it does not vary.
    kind : {"robust", "mancl_derouen", "kauermann_carroll", "fay_graubard"}
        The estimator.
    coding : float array, (replicate, column, column), optional
        The regressors as stated are those of the fit times this matrix; read by Fay and Graubard's.
    alike : bool
        Whether all of a cluster has the same regressors.
    """
    direction = _direction(fit, contrast, kind, coding, alike)
    direction = np.broadcast_to(direction, fit.scores.shape)
    own = np.einsum("rgk,rgk->rg", direction, fit.scores)
    variance = np.einsum("rg,rg->r", own, own)
    plan = ContrastPlan(direction, np.einsum("rgij,rgj->rgi", fit.grams, direction))
    moments = plan.moments(fit.equations)
    with np.errstate(invalid="ignore"):
        rounding = variance <= ROUNDING**2 * fit.unit * moments.size
    return ContrastVariance(np.where(rounding, 0.0, variance), moments.void)


def _direction(
    fit: EquationFit, contrast: Floats, kind: GeeVariance, coding: Floats | None, alike: bool
) -> Floats:
    """A_g' M c, (replicate, cluster, column), cluster axis 1 where it is the same in all."""
    equations = fit.equations
    solved = np.einsum("rij,rj->ri", equations.inverse, np.broadcast_to(contrast, fit.coefficients.shape))
    if kind == "robust":
        same: Floats = solved[:, np.newaxis, :]
        return same
    if kind == "fay_graubard":
        return _bounded_direction(
            fit, solved, np.eye(solved.shape[1])[np.newaxis] if coding is None else coding
        )
    target = np.einsum("rij,ri->rj", equations.root, np.broadcast_to(contrast, fit.coefficients.shape))
    return adjusted_direction(fit.grams, equations, target, _POWER[kind], alike=alike)


def _bounded_direction(fit: EquationFit, solved: Floats, coding: Floats) -> Floats:
    """A_g' M c by Fay and Graubard.

    With T the coding, the regressors as stated have G M = T' (G M of the fit) T'^-1, and their M c is
    T^-1 times that of the fit.
    """
    back = np.linalg.inv(coding)
    leverages = coding.swapaxes(1, 2)[:, np.newaxis] @ fit.grams @ fit.equations.inverse[:, np.newaxis]
    leverage = np.einsum(
        "rgij,rji->rgi", leverages, np.broadcast_to(back.swapaxes(1, 2), fit.equations.inverse.shape)
    )
    factor = (1 - np.minimum(BOUND, leverage)) ** -0.5
    stated = np.einsum("rij,rj->ri", np.broadcast_to(back, fit.equations.inverse.shape), solved)
    scaled = factor * stated[:, np.newaxis, :]
    direction: Floats = scaled @ coding.swapaxes(1, 2)
    return direction
