"""Coordinates of variance ratios in which the search for them is well behaved.

Both kinds are like the ratio, or its root, near 0 and like its logarithm far from it.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.numerics.mixed.effect_test import Local

FARTHEST = 25.0
"""A coordinate beyond which a ratio has no bound; half of it for the coordinates of roots."""
_LEAST = 0.01
"""Least ratio, in its unit, of an intercept or slope where a search begins."""
_LARGEST = 0.95
"""Largest correlation there."""


class Coordinates(Protocol):
    """A way to write variance ratios, (ratio, replicate) each."""

    @property
    def prior(self) -> Floats:
        """Ratios of a moderate size."""
        ...

    @property
    def bounded(self) -> Bools:
        """Which coordinates may not be below 0, (coordinate, 1)."""
        ...

    def of_replicates(self, which: Ints | slice) -> "Coordinates":
        """Those of some replicates."""
        ...

    def points(self, ratio: Floats) -> Floats:
        """The point nearest to ratios that may be out of range."""
        ...

    def ratios(self, point: Floats) -> Floats:
        """The ratios at a point."""
        ...

    def pull(self, function: Local, point: Floats) -> Local:
        """A function of the ratios as one of the coordinates, with its derivatives."""
        ...

    def singular(self, point: Floats) -> Bools:
        """Whether a variance, or a correlation, is at the edge of its range, (replicate,)."""
        ...


@dataclass(frozen=True, slots=True)
class Logarithms:
    """log(1 + scale x ratio), for variances that have nothing to do with each other.

    Parameters
    ----------
    scale : float array, (ratio, replicate)
        Observations in a unit of each ratio, roughly.
    """

    scale: Floats

    @property
    def prior(self) -> Floats:
        """Ratios of a moderate size."""
        return 1 / self.scale

    @property
    def bounded(self) -> Bools:
        """All of them."""
        return np.ones((self.scale.shape[0], 1), dtype=np.bool_)

    def of_replicates(self, which: Ints | slice) -> "Logarithms":
        """Those of some replicates."""
        return Logarithms(self.scale[:, which])

    def points(self, ratio: Floats) -> Floats:
        """The point nearest to ratios that may be out of range."""
        return np.minimum(np.log1p(self.scale * np.maximum(ratio, 0.0)), FARTHEST / 2)

    def ratios(self, point: Floats) -> Floats:
        """The ratios at a point."""
        return np.expm1(point) / self.scale

    def pull(self, function: Local, point: Floats) -> Local:
        """A function of the ratios as one of the coordinates, with its derivatives."""
        rate = np.exp(point) / self.scale
        gradient = function.gradient * rate
        hessian = function.hessian * rate * rate[:, np.newaxis]
        diagonal = np.arange(rate.shape[0])
        hessian[diagonal, diagonal] += gradient
        return Local(function.value, gradient, hessian)

    def singular(self, point: Floats) -> Bools:
        """Whether a variance is 0, (replicate,)."""
        singular: Bools = (point == 0).any(axis=0)
        return singular


@dataclass(frozen=True, slots=True)
class CorrelatedSlopes:
    """The same for all but the last three ratios, which are an intercept's, a slope's and their covariance.

    Those are a^2, b^2 + c^2 and a b, the products of a Cholesky factor, with coordinates asinh(a), asinh(b)
    and log(1 + c^2) on the scales of intercept and slope; a and b may have either sign.

    Parameters
    ----------
    scale : float array, (ratio, replicate)
        Of all ratios but the covariance.
    """

    scale: Floats

    @property
    def prior(self) -> Floats:
        """Ratios of a moderate size, the covariance 0."""
        return np.concatenate([1 / self.scale, np.zeros((1, self.scale.shape[1]))])

    @property
    def bounded(self) -> Bools:
        """All but a and b."""
        bounded = np.ones((self.scale.shape[0] + 1, 1), dtype=np.bool_)
        bounded[-3:-1] = False
        return bounded

    def of_replicates(self, which: Ints | slice) -> "CorrelatedSlopes":
        """Those of some replicates."""
        return CorrelatedSlopes(self.scale[:, which])

    def points(self, ratio: Floats) -> Floats:
        """The point nearest to ratios that may be out of range."""
        others, (intercept, slope, covariance) = ratio[:-3], ratio[-3:]
        intercept = np.maximum(intercept * self.scale[-2], _LEAST)
        slope = np.maximum(slope * self.scale[-1], _LEAST)
        covariance = covariance * np.sqrt(self.scale[-2] * self.scale[-1])
        correlation = np.clip(covariance / np.sqrt(intercept * slope), -_LARGEST, _LARGEST)
        roots = np.sqrt(intercept), correlation * np.sqrt(slope)
        last = np.log1p((1 - correlation**2) * slope)
        logarithms = Logarithms(self.scale[:-2]).points(others)
        return np.concatenate([logarithms, np.minimum([*np.arcsinh(roots), last], FARTHEST / 2)])

    def ratios(self, point: Floats) -> Floats:
        """The ratios at a point."""
        a, b = np.sinh(point[-3:-1]) / np.sqrt(self.scale[-2:])
        rest = np.expm1(point[-1]) / self.scale[-1]
        others = Logarithms(self.scale[:-2]).ratios(point[:-3])
        return np.concatenate([others, [a**2, b**2 + rest, a * b]])

    def pull(self, function: Local, point: Floats) -> Local:
        """A function of the ratios as one of the coordinates, with its derivatives."""
        n_others, shape = point.shape[0] - 3, (*point.shape[:1], *point.shape)
        root = np.sqrt(self.scale[-2:])
        (a, b), (da, db) = np.sinh(point[-3:-1]) / root, np.cosh(point[-3:-1]) / root
        rate, zero = np.exp(point[-1]) / self.scale[-1], np.zeros(point.shape[1])
        jacobian = np.zeros(shape)
        others = np.arange(n_others)
        jacobian[others, others] = np.exp(point[:-3]) / self.scale[:-2]
        jacobian[-3:, -3:] = [[2 * a * da, zero, zero], [zero, 2 * b * db, rate], [da * b, a * db, zero]]
        gradient = np.einsum("kr,kxr->xr", function.gradient, jacobian)
        hessian = np.einsum("klr,lyr->kyr", function.hessian, jacobian)
        hessian = np.einsum("kxr,kyr->xyr", jacobian, hessian)
        by_intercept, by_slope, by_covariance = function.gradient[-3:]
        hessian[others, others] += gradient[others]
        hessian[-3, -3] += 2 * by_intercept * (da**2 + a**2) + by_covariance * a * b
        hessian[-2, -2] += 2 * by_slope * (db**2 + b**2) + by_covariance * a * b
        hessian[-3, -2] += by_covariance * da * db
        hessian[-2, -3] += by_covariance * da * db
        hessian[-1, -1] += by_slope * rate
        return Local(function.value, gradient, hessian)

    def singular(self, point: Floats) -> Bools:
        """Whether a variance is 0, or the correlation 1 in size, (replicate,)."""
        singular: Bools = (point[self.bounded[:, 0]] == 0).any(axis=0) | (np.abs(point[-3]) < 1e-4)
        return singular
