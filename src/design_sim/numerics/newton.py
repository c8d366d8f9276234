"""Newton's method with a line search, for many functions at once; those that have converged are dropped."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from design_sim.arrays import Batch, Bools, Floats, Ints

TOLERANCE = 1e-12
"""Twice what a step gains, were the function quadratic, below which it is the last."""
_STEPS = 60
_ROUNDING = 1e-11
"""A loss below this share of the value is rounding."""
_SHORTER = 0.25
_SHORTEST = 1e-12
_FLAT = 1e-8
"""Eigenvalues below this share of the largest count as much as that."""
_KEPT = 0.1
"""The share of the last coordinate that a step leaves at least."""


class Local(NamedTuple):
    """A function at one point of every replicate: (replicate,), (replicate, i), (replicate, i, i)."""

    value: Floats
    gradient: Floats
    hessian: Floats


Evaluate = Callable[[Floats, Ints | slice], Local]
"""The functions of some replicates, which the second argument numbers, at a point (replicate, i) each."""


@dataclass(frozen=True, slots=True)
class Maxima(Batch):
    """Where the functions are highest.

    Parameters
    ----------
    point : float array, (replicate, coordinate)
        The last point, a local maximum where converged.
    value : float array, (replicate,)
        The function there.
    hessian : float array, (replicate, coordinate, coordinate)
        Its second derivatives there.
    converged : bool array, (replicate,)
        Whether the search ended, at a Hessian that is negative definite.
    """

    point: Annotated[Floats, "replicate coordinate"]
    value: Annotated[Floats, "replicate"]
    hessian: Annotated[Floats, "replicate coordinate other"]
    converged: Annotated[Bools, "replicate"]


def maximise(
    evaluate: Evaluate, start: Floats, *, tolerance: float = TOLERANCE, edge: float | None = None
) -> Maxima:
    """Climb to a local maximum in every replicate.

    A step that loses is shortened. Where Newton's step does not lead upwards, the eigenvalues of the
    Hessian are taken by their size.

    Parameters
    ----------
    evaluate : callable
        The functions and their first two derivatives.
    start : float array, (replicate, coordinate)
        Where to begin.
    tolerance : float
        As `TOLERANCE`.
    edge : float, optional
        The last coordinate is to stay above 0, as at the start: a step leaves a share of it at least, and a
        replicate in which it falls below the edge leaves, not converged.

    Examples
    --------
    >>> def parabola(point, which):
    ...     return Local(-(point[:, 0] - 3) ** 2, -2 * (point - 3), np.full((1, 1, 1), -2.0))
    >>> maximise(parabola, np.zeros((1, 1))).point
    array([[3.]])
    """
    n, size = start.shape
    point, value = start.copy(), np.full(n, -np.inf)
    hessian, converged = np.full((n, size, size), np.nan), np.zeros(n, dtype=bool)
    active, step, scale = np.arange(n), np.zeros_like(start), np.ones(n)
    for _ in range(_STEPS):
        if active.size == 0:
            break
        trial = _moved(point[active], scale[active, np.newaxis] * step[active], edge is not None)
        local = evaluate(trial, slice(None) if active.size == n else active)
        better = local.value >= value[active] - _ROUNDING * np.abs(value[active])
        moved = active[better]
        point[moved], value[moved], hessian[moved] = trial[better], local.value[better], local.hessian[better]
        scale[active] = np.where(better, 1.0, _SHORTER * scale[active])
        step[moved], gain = _ascent(local.gradient[better], local.hessian[better])
        last = gain < tolerance
        point[moved[last]] = _moved(point[moved[last]], step[moved[last]], edge is not None)
        converged[moved[last]] = True
        going = scale[active] > _SHORTEST
        going[better] &= gain >= tolerance
        if edge is not None:
            going &= point[active, -1] >= edge
        active = active[going]
    converged[converged] = np.linalg.eigvalsh(hessian[converged])[:, -1] < 0
    return Maxima(point, value, hessian, converged)


def _moved(point: Floats, step: Floats, positive: bool) -> Floats:
    moved: Floats = point + step
    if positive:
        moved[:, -1] = np.maximum(moved[:, -1], _KEPT * point[:, -1])
    return moved


def _ascent(gradient: Floats, hessian: Floats) -> tuple[Floats, Floats]:
    """Newton's step, and twice what it gains were the function quadratic; nan where it cannot be told."""
    step = np.full_like(gradient, np.nan)
    sound = np.isfinite(gradient).all(axis=1) & np.isfinite(hessian).all(axis=(1, 2))
    hessian = np.broadcast_to(hessian, (*gradient.shape, gradient.shape[1]))
    with suppress(np.linalg.LinAlgError):  # one singular matrix spoils all, which then go by eigenvalues
        step[sound] = np.linalg.solve(-hessian[sound], gradient[sound, :, np.newaxis])[:, :, 0]
    gain = np.einsum("ri,ri->r", step, gradient)
    wrong = np.flatnonzero(sound & ~(gain >= 0))
    if wrong.size:
        values, vectors = np.linalg.eigh(hessian[wrong])
        size = np.abs(values)
        size = np.maximum(size, _FLAT * size.max(axis=1, keepdims=True))
        along = np.einsum("rij,ri->rj", vectors, gradient[wrong])
        step[wrong] = np.einsum("rij,rj->ri", vectors, along / np.where(size > 0, size, 1.0))
        gain[wrong] = np.einsum("ri,ri->r", step[wrong], gradient[wrong])
    return step, gain
