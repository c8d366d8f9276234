"""Where a continuous function falls below 0, for many replicates at once: bracketed false position."""

from collections.abc import Callable

import numpy as np

from design_sim.arrays import Bools, Floats

_CLOSE = 1e-11
"""A function whose size is below this share of the point is 0, as is a bracket of that width."""
_STEPS, _PATIENCE = 300, 6
"""Steps of a search, and those in a row that may leave more than half of the bracket."""


def find_crossing(
    gap: Callable[[Floats], Floats],
    near: tuple[Floats, Floats],
    far: tuple[Floats, Floats],
    wanted: Bools,
) -> Floats:
    """Where a function falls below 0, (replicate,), by false position as Anderson and Björck have it.

    An end that stays has its value lowered as the other end's fell. A bracket that hardly shrinks for some
    steps is halved; not sooner, since false position comes close from one side before it shrinks it.

    Parameters
    ----------
    gap : callable
        The function, (replicate,) to (replicate,).
    near, far : pairs of float arrays, (replicate,)
        A point where it is not below 0, and one where it is, each with its value.
    wanted : bool array, (replicate,)
        Where the root is asked for.

    References
    ----------
    Anderson and Björck (1973), BIT 13, 253-264.
    """
    (near_at, near_gap), (far_at, far_gap) = near, far
    found, done = far_at, ~wanted
    last = stalled = np.zeros(found.size, dtype=np.int64)
    for _ in range(_STEPS):
        width = far_at - near_at
        with np.errstate(invalid="ignore", divide="ignore"):
            point = far_at - far_gap * width / (far_gap - near_gap)
        poor = ~((point > near_at) & (point < far_at)) | (stalled > _PATIENCE)
        point = np.where(poor, near_at + width / 2, point)
        value = gap(point)
        inside = value >= 0
        lowered_far = np.where(last == 1, far_gap * _lowering(value, near_gap), far_gap)
        lowered_near = np.where(last == -1, near_gap * _lowering(value, far_gap), near_gap)
        far_gap = np.where(inside, lowered_far, value)
        near_gap = np.where(inside, value, lowered_near)
        near_at, far_at = np.where(inside, point, near_at), np.where(inside, far_at, point)
        last = np.where(inside, 1, -1)
        stalled = np.where(far_at - near_at > width / 2, stalled + 1, 0)
        found = np.where(done, found, point)
        done = done | (np.minimum(np.abs(value), far_at - near_at) <= _CLOSE * far_at)
        if done.all():
            break
    return found


def _lowering(value: Floats, before: Floats) -> Floats:
    """What the value of the end that stays is multiplied by, once the other end's has changed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = 1 - value / before
    return np.where(factor > 0, factor, 0.5)
