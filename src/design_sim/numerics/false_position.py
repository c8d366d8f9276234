"""Where a continuous function falls below 0, for many replicates at once: bracketed false position."""

from collections.abc import Callable

import numpy as np

from design_sim.arrays import Bools, Floats

_CLOSE = 1e-11
"""A function whose size is below this share of the point is 0, as is a bracket of that width."""
_STEPS, _PATIENCE = 200, 2
"""Steps of a search, and those in a row that may leave more than half of the bracket."""


def find_crossing(
    gap: Callable[[Floats], Floats],
    near: tuple[Floats, Floats],
    far: tuple[Floats, Floats],
    wanted: Bools,
) -> Floats:
    """Where a function falls below 0, (replicate,), by false position in its Illinois variant.

    An end that stays has its value halved; a bracket that shrinks too slowly is halved itself.

    Parameters
    ----------
    gap : callable
        The function, (replicate,) to (replicate,).
    near, far : pairs of float arrays, (replicate,)
        A point where it is not below 0, and one where it is, each with its value.
    wanted : bool array, (replicate,)
        Where the root is asked for.
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
        far_gap = np.where(inside, np.where(last == 1, far_gap / 2, far_gap), value)
        near_gap = np.where(inside, value, np.where(last == -1, near_gap / 2, near_gap))
        near_at, far_at = np.where(inside, point, near_at), np.where(inside, far_at, point)
        last = np.where(inside, 1, -1)
        stalled = np.where(far_at - near_at > width / 2, stalled + 1, 0)
        found = np.where(done, found, point)
        done = done | (np.minimum(np.abs(value), far_at - near_at) <= _CLOSE * far_at)
        if done.all():
            break
    return found
