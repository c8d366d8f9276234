"""Likelihood of clustered events with a normal random intercept, integrated by adaptive quadrature.

The cells of a cluster have eta = x' beta + sigma u, with one standard normal u. With f their
log-likelihoods, H(u) = sum of f(eta) - u^2 / 2, m its mode, q = -H''(m) and s = q^(-1/2),

    log L = log s + log sum over k of W_k exp H(m + s z_k)

is the cluster's log-likelihood, where z_k / sqrt 2 and sqrt(pi) W_k exp(-z_k^2 / 2) are nodes and weights of
Gauss and Hermite. One node is Laplace's approximation. Families with the same regressors enter by their
number and events alone.

The gradient and the Hessian are those of this very sum, whose nodes move with the parameters, so that they
belong to it however few the nodes are. Subscripts a and b are derivatives by two parameters, l = log s,
u_k = m + s z_k, and p_k is a node's share of the sum. Then

    (log L)_a  = l_a + mean of psi_a,    psi_a = H_a(u_k) + H'(u_k) (m_a + s_a z_k),
    (log L)_ab = l_ab + mean of psi_ab + covariance of psi_a and psi_b,

the means over nodes with shares p_k. By H'(m) = 0, with e_a the derivative of eta at the mode along which the
mode moves, f2 to f4 derivatives of f there, sums over cells, and [a] = 1 where a is sigma, else 0,

    q m_ab = [a] (sum f2 e_b + sigma m_b sum f2) + [b] (the same of a) + sigma sum f3 e_a e_b,
    2 q (l_ab - 2 l_a l_b) = 2 [a][b] sum f2 + sigma [a] (2 sum f3 e_b + sigma m_b sum f3)
        + sigma [b] (the same of a) + sigma^2 sum f4 e_a e_b + sigma^3 m_ab sum f3.

Source: Pinheiro and Bates (1995), Journal of Computational and Graphical Statistics 4, 12-35; Liu and Pierce
(1994), Biometrika 81, 624-629, for the rule. The derivatives are tested against differences.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from design_sim.arrays import Batch, Floats, Ints
from design_sim.numerics.exponential_family import Family
from design_sim.numerics.newton import Local

_STEPS = 100
_CLOSE = 1e-8
"""A step of a mode, in units of s, after which it is exact but for rounding."""


@dataclass(frozen=True, slots=True)
class ClusteredEvents(Batch):
    """Events in cells of clusters.

    Parameters
    ----------
    n : float array, (replicate, cluster, cell)
        Trials, or units of exposure; 0 where nobody was observed. Replicate axis 1 where fixed.
    events : float array, (replicate, cluster, cell)
        Their events; 0 where n = 0.
    regressors : float array, (replicate, column, cluster, cell)
        Finite throughout; replicate axis 1 where fixed.
    """

    n: Annotated[Floats, "replicate cluster cell"]
    events: Annotated[Floats, "replicate cluster cell"]
    regressors: Annotated[Floats, "replicate column cluster cell"]

    def of(self, which: Ints | slice) -> "ClusteredEvents":
        """Some of the replicates."""
        n, events, regressors = (
            values if values.shape[0] == 1 else values[which]
            for values in (self.n, self.events, self.regressors)
        )
        return ClusteredEvents(n, events, regressors)

    @property
    def _flat(self) -> Floats:
        """The regressors of all cells in a row, (replicate, column, cluster x cell)."""
        return self.regressors.reshape(*self.regressors.shape[:2], self.n[0].size)

    def predictor(self, coefficients: Floats) -> Floats:
        """x' beta of every cell: (replicate, column) to (replicate, cluster, cell)."""
        flat = self._flat
        if flat.shape[0] == 1:
            predictor = coefficients @ flat[0]
        else:
            predictor = np.einsum("rp,rpi->ri", coefficients, flat)
        return np.asarray(predictor.reshape(coefficients.shape[0], *self.regressors.shape[2:]))

    def cross(self, values: Floats) -> Floats:
        """Products of the columns with values, (replicate, cluster, cell) to (replicate, column)."""
        flat = self._flat
        if flat.shape[0] == 1:
            cross: Floats = values.reshape(values.shape[0], -1) @ flat[0].T
            return cross
        return np.asarray(np.einsum("rpi,ri->rp", flat, values.reshape(values.shape[0], -1)))

    def gram(self, weights: Floats) -> Floats:
        """Weighted products of the columns, (replicate, column, column).

        Parameters
        ----------
        weights : float array, (replicate, cluster, cell)
            Of either sign.
        """
        flat = self._flat
        gram: Floats = (flat * weights.reshape(weights.shape[0], 1, flat.shape[2])) @ flat.swapaxes(1, 2)
        return gram


class Quadrature(NamedTuple):
    """The nodes z_k and the logarithms of their weights W_k, (node,)."""

    places: Floats
    log_weights: Floats


def gauss_hermite(points: int) -> Quadrature:
    """The rule with a number of nodes."""
    nodes, weights = np.polynomial.hermite.hermgauss(points)
    return Quadrature(np.sqrt(2) * nodes, np.log(weights) + nodes**2 - np.log(np.pi) / 2)


def log_likelihood(
    data: ClusteredEvents,
    family: Family,
    rule: Quadrature,
    coefficients: Floats,
    spread: Floats,
    modes: Floats,
) -> tuple[Local, Floats]:
    """The log-likelihood, its derivatives with respect to (beta, sigma), and the clusters' modes.

    What does not depend on the parameters, binomial coefficients and factorials, is left out.

    Parameters
    ----------
    coefficients : float array, (replicate, column)
        beta.
    spread : float array, (replicate,)
        sigma, above 0.
    modes : float array, (replicate, cluster)
        Where to begin the search for the modes: anywhere.
    """
    predictor = data.predictor(coefficients)
    place = find_modes(data, family, predictor, spread, modes)
    at = _at_modes(data, family, predictor, spread, place)
    z, log_weights = (values[:, np.newaxis, np.newaxis] for values in rule)
    effect = place + at.scale * z
    eta = predictor + (spread[:, np.newaxis] * effect)[..., np.newaxis]
    cumulant, mean, variance = family.cumulants(eta, 0, 2)
    exponent = _over_cells(data.events * eta - data.n * cumulant) - effect**2 / 2 + log_weights
    highest = exponent.max(axis=0)
    share = np.exp(exponent - highest)
    total = share.sum(axis=0)
    share /= total
    value = (np.log(at.scale * total) + highest).sum(axis=1)
    curve = -data.n * variance * share[..., np.newaxis]
    nodes = _Nodes(z, effect, share, data.events - data.n * mean, curve)
    return Local(value, *_derivatives(data, at, nodes, spread[:, np.newaxis])), place


def find_modes(
    data: ClusteredEvents, family: Family, predictor: Floats, spread: Floats, start: Floats
) -> Floats:
    """The mode m of every cluster's H, (replicate, cluster).

    H'(u) = sigma F(u) - u falls in u, so that its root lies between 0 and sigma F(0). Newton's steps are kept
    within a bracket that shrinks, which they halve where they would leave it.

    Parameters
    ----------
    predictor : float array, (replicate, cluster, cell)
        x' beta.
    spread : float array, (replicate,)
        sigma.
    start : float array, (replicate, cluster)
        Where to begin: anywhere.
    """
    sigma = spread[:, np.newaxis]
    reach = sigma * _over_cells(data.events - data.n * family.cumulants(predictor, 1, 1)[0])
    low, high = np.minimum(reach, 0.0), np.maximum(reach, 0.0)
    mode = np.clip(start, low, high)
    for _ in range(_STEPS):
        mean, variance = family.cumulants(predictor + (sigma * mode)[..., np.newaxis], 1, 2)
        slope = sigma * _over_cells(data.events - data.n * mean) - mode
        precision = 1 + sigma**2 * _over_cells(data.n * variance)
        low, high = np.where(slope > 0, mode, low), np.where(slope > 0, high, mode)
        new = mode + slope / precision
        new = np.where((new >= low) & (new <= high), new, (low + high) / 2)
        step = np.abs(new - mode) * np.sqrt(precision)
        mode = new
        if not (step > _CLOSE).any():
            break
    return mode


@dataclass(frozen=True, slots=True)
class _Modes(Batch):
    """How modes and scales of the clusters move with the parameters (beta, sigma), whose axis is first.

    In the letters of the module: m, s, m_a, l_a, e_a, and f2 to f4.
    """

    place: Annotated[Floats, "replicate cluster"]
    scale: Annotated[Floats, "replicate cluster"]
    place_slope: Annotated[Floats, "parameter replicate cluster"]
    log_scale_slope: Annotated[Floats, "parameter replicate cluster"]
    path: Annotated[Floats, "parameter replicate cluster cell"]
    second: Annotated[Floats, "replicate cluster cell"]
    third: Annotated[Floats, "replicate cluster cell"]
    fourth: Annotated[Floats, "replicate cluster cell"]


@dataclass(frozen=True, slots=True)
class _Nodes(Batch):
    """The nodes, whose axis is first: z_k, u_k, p_k, the derivative f1 there, and p_k f2."""

    z: Annotated[Floats, "node one one"]
    effect: Annotated[Floats, "node replicate cluster"]
    share: Annotated[Floats, "node replicate cluster"]
    score: Annotated[Floats, "node replicate cluster cell"]
    curve: Annotated[Floats, "node replicate cluster cell"]

    def mean(self, values: Floats, power: int = 0) -> Floats:
        """Mean of values x z^power over nodes: (node, replicate, cluster) to (replicate, cluster)."""
        shared = self.share * values
        return np.asarray((shared * self.z**power if power else shared).sum(axis=0))


def _at_modes(
    data: ClusteredEvents, family: Family, predictor: Floats, spread: Floats, place: Floats
) -> _Modes:
    sigma, columns = spread[:, np.newaxis], np.moveaxis(data.regressors, 1, 0)
    derivatives = family.cumulants(predictor + (sigma * place)[..., np.newaxis], 1, 4)
    second, third, fourth = (-data.n * derivative for derivative in derivatives[1:])
    total = _over_cells(second)
    precision = 1 - sigma**2 * total
    place_slope = np.empty((columns.shape[0] + 1, *place.shape))
    place_slope[:-1] = sigma * _over_cells(columns * second)
    place_slope[-1] = _over_cells(data.events - data.n * derivatives[0]) + sigma * place * total
    place_slope /= precision
    path = np.empty((*place_slope.shape, predictor.shape[2]))
    path[:] = (sigma * place_slope)[..., np.newaxis]
    path[:-1] += columns
    path[-1] += place[..., np.newaxis]
    log_scale_slope = sigma**2 * _over_cells(path * third)
    log_scale_slope[-1] += 2 * sigma * total
    log_scale_slope /= 2 * precision
    return _Modes(place, precision**-0.5, place_slope, log_scale_slope, path, second, third, fourth)


def _derivatives(data: ClusteredEvents, at: _Modes, nodes: _Nodes, sigma: Floats) -> tuple[Floats, Floats]:
    """Gradient and Hessian of the log-likelihood, (replicate, parameter) and (replicate, p, p)."""
    score = _over_cells(nodes.score)
    tilt = sigma * score - nodes.effect
    scale_slope = at.scale * at.log_scale_slope
    psi = np.empty((at.path.shape[0], *score.shape))
    for parameter in range(psi.shape[0]):
        psi[parameter] = tilt * (at.place_slope[parameter] + scale_slope[parameter] * nodes.z)
    for column in range(psi.shape[0] - 1):
        psi[column] += _over_cells(nodes.score * data.regressors[:, column])
    psi[-1] += nodes.effect * score
    mean = np.einsum("akrg,krg->arg", psi, nodes.share)
    gradient = (mean + at.log_scale_slope).sum(axis=2).T
    psi -= mean[:, np.newaxis]
    hessian = _covariances(psi, nodes.share)
    # m_ab and l_ab occur with these factors, which vanish as nodes grow many.
    place_factor = nodes.mean(tilt)
    scale_factor = 1 + at.scale * nodes.mean(tilt, 1)
    precision = at.scale**-2
    place_factor += scale_factor * sigma**3 * _over_cells(at.third) / (2 * precision)
    place_factor /= precision
    weights = nodes.curve.sum(axis=0)
    weights += (place_factor * sigma)[..., np.newaxis] * at.third
    weights += (scale_factor * (sigma * at.scale) ** 2 / 2)[..., np.newaxis] * at.fourth
    hessian += _products(at.path * weights, at.path)
    half = _node_curvature(at, nodes, sigma, scale_slope, scale_factor)
    half[:, -1] += _border(at, nodes, sigma, score, scale_slope, place_factor, scale_factor)
    hessian += half + half.swapaxes(1, 2)
    return gradient, hessian


def _node_curvature(
    at: _Modes, nodes: _Nodes, sigma: Floats, scale_slope: Floats, scale_factor: Floats
) -> Floats:
    """Half of what the nodes' moving apart adds to the Hessian, beside the terms of path and sigma alone."""
    apart = sigma * scale_slope
    apart[-1] += at.scale
    along = (nodes.curve * nodes.z[..., np.newaxis]).sum(axis=0)
    square = _over_cells((nodes.curve * nodes.z[..., np.newaxis] ** 2).sum(axis=0))
    ones = np.ones_like(nodes.share[:1])
    half = _products(apart, _over_cells(at.path * along) + square / 2 * apart)
    half -= _products(at.place_slope, at.place_slope / 2 + nodes.mean(ones, 1) * scale_slope)
    weight = (3 * scale_factor - 1) * at.scale**-2 - nodes.mean(ones, 2)
    half += _products(scale_slope * weight / 2, scale_slope)
    return half


def _border(
    at: _Modes,
    nodes: _Nodes,
    sigma: Floats,
    score: Floats,
    scale_slope: Floats,
    place_factor: Floats,
    scale_factor: Floats,
) -> Floats:
    """Half of what stands in the row and column of sigma alone, (replicate, parameter)."""
    total, third = _over_cells(at.second), _over_cells(at.third)
    scale_weight = scale_factor * at.scale**2 / 2
    weight = nodes.mean(score) + place_factor * sigma * total + scale_weight * sigma**2 * third
    border = weight * at.place_slope + nodes.mean(score, 1) * scale_slope
    border += place_factor * _over_cells(at.path * at.second)
    border += 2 * scale_weight * sigma * _over_cells(at.path * at.third)
    border[-1] += scale_weight * total
    rows: Floats = border.sum(axis=2).T
    return rows


def _over_cells(values: Floats) -> Floats:
    """Sums over the last axis, which is short: a product with ones is faster than a sum."""
    return values[..., 0] if values.shape[-1] == 1 else np.asarray(values @ np.ones(values.shape[-1]))


def _covariances(psi: Floats, share: Floats) -> Floats:
    """Sums of products over nodes and clusters, (replicate, p, p), of (p, node, replicate, cluster)."""
    size = psi.shape[0]
    products = np.empty((psi.shape[2], size, size))
    for row in range(size):
        shared = share * psi[row]
        for column in range(row + 1):
            product = np.einsum("krg,krg->r", shared, psi[column])
            products[:, row, column] = products[:, column, row] = product
    return products


def _products(first: Floats, second: Floats) -> Floats:
    """Sums of products over all axes but two: (parameter, replicate, ...) to (replicate, p, p)."""
    left, right = (values.reshape(*values.shape[:2], -1) for values in (first, second))
    products: Floats = left.transpose(1, 0, 2) @ right.transpose(1, 2, 0)
    return products
