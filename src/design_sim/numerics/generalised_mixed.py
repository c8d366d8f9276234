"""Many generalised mixed models at once: events of clusters with a normal random intercept.

Maximum likelihood in stages, each begun where the one before ended: the model without a random intercept,
Laplace's approximation roughly, and the adaptive quadrature asked for. All climb by Newton's method with
exact derivatives, and a replicate leaves once it has converged.

Decision: whether the likelihood rises from a variance of 0 is told by the score of the variance at the fit
without a random intercept: half the sum over clusters of (sum of residuals)^2 - sum of variances. It does
not depend on the number of nodes, and no search has to creep towards 0. Where it does not rise, the fit is
at the boundary. The likelihood may then still have another maximum inside: among 40,000 such replicates of 4
to 20 clusters of like size none was seen; where one cluster was three to six times as large as the mean, up
to 8 in 100 had one. Where a cluster's information is above twice the mean, the inside is therefore searched
from a spread of 1, where lme4's glmer begins, and the higher of the two is the fit.

Decision: the search is in log(1 + variance x the largest information of a cluster), like the variance itself
near 0 and like its logarithm far from it.

Source: Bates, Maechler, Bolker and Walker (2015), Journal of Statistical Software 67(1), for lme4, with whose
glmer the fits agree; Self and Liang (1987), Journal of the American Statistical Association 82, 605-610, for
the boundary.
"""

from dataclasses import dataclass, fields
from enum import IntEnum
from functools import partial
from typing import Annotated

import numpy as np

from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.numerics.exponential_family import Family
from design_sim.numerics.least_squares import solve_normal
from design_sim.numerics.marginal_likelihood import (
    ClusteredEvents,
    Quadrature,
    gauss_hermite,
    log_likelihood,
)
from design_sim.numerics.newton import TOLERANCE, Local, Maxima, maximise

_FURTHEST = 15.0
"""A fitted log odds or log rate this far from that of all together is one of a risk or rate of 0 or 1."""
_WIDEST = 10.0
"""A spread at which clusters are all or nothing."""
_ROUNDING = 1e-10
"""A score of the variance below this share of its parts is 0, as it can be exactly with few families."""
_UNEVEN = 2.0
"""How many times the mean the largest information may be without a search for a maximum inside."""
_EDGE = 1e-6
"""A variance x information below which it is 0."""
_ROUGH = 1e-3
"""The tolerance of a stage that only tells the next one where to begin."""


class Ending(IntEnum):
    """How a fit ended."""

    FITTED = 0
    BOUNDARY = 1
    """The variance of the random intercept is 0."""
    SINGULAR = 2
    """The last regressor is a combination of the others."""
    NO_VARIATION = 3
    """There are no events, or nothing but events."""
    SEPARATION = 4
    """A fitted risk or rate of 0, or a risk of 1."""
    NOT_CONVERGED = 5


@dataclass(frozen=True, slots=True)
class GeneralisedFits(Batch):
    """The fits, one entry for each replicate; numbers of a failed one mean nothing.

    Parameters
    ----------
    coefficients : float array, (replicate, column)
        beta.
    spread : float array, (replicate,)
        Standard deviation of the random intercept.
    covariance : float array, (replicate, parameter, parameter)
        Inverse of the observed information of beta and the spread, which stands last; at the boundary that
        of beta in the model without a random intercept, and 0 for the spread.
    log_likelihood : float array, (replicate,)
        Without binomial coefficients and factorials.
    ending : int array, (replicate,)
        An `Ending`.
    """

    coefficients: Annotated[Floats, "replicate column"]
    spread: Annotated[Floats, "replicate"]
    covariance: Annotated[Floats, "replicate parameter other"]
    log_likelihood: Annotated[Floats, "replicate"]
    ending: Annotated[Ints, "replicate"]

    def replaced(self, which: Ints, some: "GeneralisedFits") -> "GeneralisedFits":
        """These fits, with others in the place of some."""
        for field in fields(self):
            getattr(self, field.name)[which] = getattr(some, field.name)
        return self


def fit_generalised_mixed(data: ClusteredEvents, family: Family, points: int) -> GeneralisedFits:
    """Fit the model to every replicate by maximum likelihood.

    Standard errors come from the observed information of beta and the spread together, as those of lme4's
    glmer do (`use.hessian`, which has the Hessian by finite differences). Which function of the spread is
    the parameter makes no difference to beta at a maximum inside. At the boundary they are those of the
    model without a random intercept: the likelihood is an even function of the spread, so that beta and the
    spread have no common curvature there.

    Parameters
    ----------
    data : ClusteredEvents
        The events; the column of the intercept stands first, and the one asked about last.
    family : Family
        `BINOMIAL` or `POISSON`.
    points : int
        Nodes of the quadrature; 1 is Laplace's approximation.

    Examples
    --------
    Four clusters of 20, the last two treated.

    >>> from design_sim.numerics.exponential_family import BINOMIAL
    >>> columns = np.array([[[[1.0]] * 4, [[0.0], [0.0], [1.0], [1.0]]]])
    >>> fits = fit_generalised_mixed(ClusteredEvents(
    ...     np.full((1, 4, 1), 20.0), np.array([[[2.0], [9.0], [8.0], [16.0]]]), columns), BINOMIAL, 9)
    >>> fits.coefficients.round(3), fits.spread.round(3)
    (array([[-1.116,  1.583]]), array([0.806]))
    """
    with np.errstate(all="ignore"):
        gram = data.gram(data.n)
        equations = solve_normal(gram)
        total, events = data.n.sum(axis=(1, 2)), data.events.sum(axis=(1, 2))
        level = family.link(events / total)
        ending = np.where(equations.estimable[:, -1], Ending.FITTED, Ending.SINGULAR)
        ending = np.where(np.isfinite(level), ending, Ending.NO_VARIATION).astype(np.int64)
        silent = total[:, np.newaxis, np.newaxis] * (np.eye(gram.shape[1]) - equations.inverse @ gram)
        sound = np.flatnonzero(ending == Ending.FITTED)
        fits = _blank(ending, gram.shape[1])
        if sound.size == 0:
            return fits
        model = _Model(data, family, silent).of(sound)
        return fits.replaced(sound, _fit(model, level[sound], points))


@dataclass(frozen=True, slots=True)
class _Model:
    """Data and family; `silent`, (replicate, column, column), holds at 0 what the data do not speak of."""

    data: ClusteredEvents
    family: Family
    silent: Floats

    def of(self, which: Ints | slice) -> "_Model":
        """Some of the replicates."""
        silent = self.silent if self.silent.shape[0] == 1 else self.silent[which]
        return _Model(self.data.of(which), self.family, silent)

    def without_intercepts(self, point: Floats, which: Ints | slice) -> Local:
        """The log-likelihood of beta where clusters do not differ."""
        model = self.of(which)
        data = model.data
        predictor = data.predictor(point)
        cumulant, mean, variance = self.family.cumulants(predictor, 0, 2)
        value = (data.events * predictor - data.n * cumulant).sum(axis=(1, 2))
        gradient = data.cross(data.events - data.n * mean)
        return Local(value, gradient, -data.gram(data.n * variance) - model.silent)

    def residuals(self, coefficients: Floats) -> tuple[Floats, Floats]:
        """Sums over each cluster of residuals and of variances, (replicate, cluster)."""
        data = self.data
        mean, variance = self.family.cumulants(data.predictor(coefficients), 1, 2)
        return (data.events - data.n * mean).sum(axis=2), (data.n * variance).sum(axis=2)


def _fit(model: _Model, level: Floats, points: int) -> GeneralisedFits:
    """Fit replicates whose last regressor can be told from the others."""
    start = np.zeros((level.size, model.data.regressors.shape[1]))
    start[:, 0] = level
    fixed = maximise(model.without_intercepts, start)
    fits = _at_boundary(fixed, _separated(model, fixed.point, level))
    residual, information = model.residuals(fixed.point)
    score, largest = (residual**2 - information).sum(axis=1), information.max(axis=1)
    rises = score > _ROUNDING * information.sum(axis=1)
    uneven = largest > _UNEVEN * information.sum(axis=1) / (information > 0).sum(axis=1)
    inside = np.flatnonzero((fits.ending == Ending.BOUNDARY) & (rises | uneven))
    if inside.size == 0:
        return fits
    variance = np.where(rises, score / (information**2).sum(axis=1), 1.0)[inside]
    found = _climb(model.of(inside), fixed.point[inside], variance, largest[inside], points)
    higher = (found.ending == Ending.FITTED) & (found.log_likelihood > fixed.value[inside])
    better = np.where(rises[inside], found.ending != Ending.BOUNDARY, higher)
    return fits.replaced(inside[better], _some(found, better))


def _separated(model: _Model, coefficients: Floats, level: Floats) -> Bools:
    """Whether a cell with families is as far from all together as a risk or rate of 0 or 1, (replicate,)."""
    away = np.abs(model.data.predictor(coefficients) - level[:, np.newaxis, np.newaxis])
    return np.asarray(((away > _FURTHEST) & (model.data.n > 0)).any(axis=(1, 2)))


def _at_boundary(fixed: Maxima, separated: Bools) -> GeneralisedFits:
    """The fits without a random intercept."""
    n, size = fixed.point.shape
    covariance = np.zeros((n, size + 1, size + 1))
    covariance[:, :-1, :-1] = _inverse(-fixed.hessian)
    ending = np.where(fixed.converged, Ending.BOUNDARY, Ending.NOT_CONVERGED)
    ending = np.where(separated, Ending.SEPARATION, ending).astype(np.int64)
    return GeneralisedFits(fixed.point, np.zeros(n), covariance, fixed.value, ending)


def _climb(
    model: _Model, coefficients: Floats, variance: Floats, scale: Floats, points: int
) -> GeneralisedFits:
    """Fit by quadrature, from beta and a variance to begin with."""
    point = np.column_stack([coefficients, np.log1p(variance * scale)])
    modes = np.zeros((point.shape[0], model.data.n.shape[1]))
    for nodes in sorted({1, points}):
        along = partial(_along, model, gauss_hermite(nodes), scale, modes)
        tolerance = TOLERANCE if nodes == points else _ROUGH
        found = maximise(along, point, tolerance=tolerance, edge=_EDGE)
        point = found.point
    spread = np.sqrt(np.expm1(point[:, -1]) / scale)
    covariance = _inverse(-found.hessian)
    rate = _spread_slope(spread, scale)[:, np.newaxis]
    covariance[:, -1] *= rate
    covariance[:, :, -1] *= rate
    ending = np.where(found.converged, Ending.FITTED, Ending.NOT_CONVERGED)
    ending = np.where(point[:, -1] < _EDGE, Ending.BOUNDARY, ending)
    ending = np.where(spread > _WIDEST, Ending.SEPARATION, ending).astype(np.int64)
    return GeneralisedFits(point[:, :-1], spread, covariance, found.value, ending)


def _along(
    model: _Model, rule: Quadrature, scale: Floats, modes: Floats, point: Floats, which: Ints | slice
) -> Local:
    """The log-likelihood of beta and log(1 + scale x variance); `modes` are kept for the next time."""
    model, scale = model.of(which), scale[which]
    spread = np.sqrt(np.expm1(point[:, -1]) / scale)
    found, modes[which] = log_likelihood(model.data, model.family, rule, point[:, :-1], spread, modes[which])
    value, gradient, hessian = found
    rate = _spread_slope(spread, scale)
    hessian[:, -1] *= rate[:, np.newaxis]
    hessian[:, :, -1] *= rate[:, np.newaxis]
    hessian[:, -1, -1] += gradient[:, -1] * (rate - rate**2 / spread)
    hessian[:, :-1, :-1] -= model.silent
    gradient[:, -1] *= rate
    return Local(value, gradient, hessian)


def _spread_slope(spread: Floats, scale: Floats) -> Floats:
    """Derivative of the spread by log(1 + scale x variance); its own is itself less its square / spread."""
    slope: Floats = (1 / scale + spread**2) / (2 * spread)
    return slope


def _inverse(matrices: Floats) -> Floats:
    """Inverses; nan for a matrix that is not finite."""
    sound = np.isfinite(matrices).all(axis=(1, 2))
    inverse = np.full_like(matrices, np.nan)
    inverse[sound] = np.linalg.pinv(matrices[sound], hermitian=True)
    return inverse


def _some(fits: GeneralisedFits, which: Bools) -> GeneralisedFits:
    """Some of the replicates."""
    return GeneralisedFits(*(getattr(fits, field.name)[which] for field in fields(fits)))


def _blank(ending: Ints, n_columns: int) -> GeneralisedFits:
    """Fits without numbers."""
    shape = (ending.size, n_columns + 1, n_columns + 1)
    covariance = np.full(shape, np.nan)
    coefficients, number = covariance[:, 1:, 0], covariance[:, 0, 0]
    return GeneralisedFits(coefficients.copy(), number.copy(), covariance, number.copy(), ending)
