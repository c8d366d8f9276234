"""Crossings are found where they are known, whatever the function's shape."""

import numpy as np
import pytest
from numpy.typing import NDArray

from design_sim.numerics.false_position import find_crossing

Floats = NDArray[np.float64]
ROOTS = np.array([0.3, 1.0, 7.0, 11.9])


def crossing(shape: str, wanted: list[bool]) -> Floats:
    """The crossings of four functions of a shape, looked for between 0 and 12."""

    def gap(at: Floats) -> Floats:
        left = ROOTS - at
        shapes = {
            "line": left,
            "curve": np.expm1(left),
            "kink": np.where(left > 0, 0.1 * left, 100 * left),
            "step": np.where(left >= 0, 1.0, -1e-6),
            "pole": np.where(left > 0.2, np.inf, left),
        }
        return shapes[shape]

    near, far = np.zeros(4), np.full(4, 12.0)
    return find_crossing(gap, (near, gap(near)), (far, gap(far)), np.array(wanted))


@pytest.mark.parametrize("shape", ["line", "curve", "kink", "step", "pole"])
def test_known_crossings_are_found(shape: str) -> None:
    """Kinks, jumps and infinite values are what ranked statistics have."""
    np.testing.assert_allclose(crossing(shape, [True] * 4), ROOTS, rtol=1e-9)


def test_a_crossing_that_is_not_wanted_does_not_keep_the_others_waiting() -> None:
    """Its value is of no use, and the others are as without it."""
    found = crossing("curve", [True, False, True, False])
    np.testing.assert_allclose(found[[0, 2]], ROOTS[[0, 2]], rtol=1e-9)
