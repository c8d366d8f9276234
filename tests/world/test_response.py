"""The response to fidelity: each shape has the ends and the bend that its name promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from design_sim.world.response import Response

SHAPES = {
    "linear": Response(),
    "threshold": Response(shape="threshold", threshold=0.6),
    "saturating": Response(shape="saturating", curvature=3.0),
    "j_shaped": Response(shape="j_shaped", floor=-0.25),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_full_fidelity_brings_the_full_effect(shape: str) -> None:
    """g(1) = 1: the stated effect is that at full fidelity, whatever the shape."""
    assert SHAPES[shape].of(np.array([1.0]))[0] == pytest.approx(1.0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_shapes_are_what_their_formula_says(one: float, other: float) -> None:
    """A step; early gains; harm below the root of floor / (floor - 1); none falls as fidelity rises."""
    low, high = sorted((one, other))
    for response in SHAPES.values():
        assert response.of(np.array([low]))[0] <= response.of(np.array([high]))[0] + 1e-12
    at = np.array([low])
    assert SHAPES["threshold"].of(at)[0] == float(low >= 0.6)
    assert SHAPES["saturating"].of(at)[0] >= low - 1e-12
    assert (SHAPES["j_shaped"].of(at)[0] < 0) == (low < np.sqrt(0.2))


@pytest.mark.parametrize("key", ["threshold", "curvature", "floor"])
def test_a_setting_of_another_shape_is_refused(key: str) -> None:
    """It would be ignored."""
    with pytest.raises(ValidationError, match=f"{key} has no effect with shape 'linear'"):
        Response.model_validate({key: -0.5 if key == "floor" else 0.5})
