"""Many climbs at once: each ends at its own summit, whatever the others do."""

import numpy as np
import pytest

from design_sim.arrays import Floats, Ints
from design_sim.numerics.newton import Local, maximise

CENTRES = np.array([0.0, 1.0, 3.0, -2.0])


def hills(point: Floats, which: Ints | slice) -> Local:
    """exp(-|x - c|^2 / 2), concave only within a distance of 1."""
    away = point - CENTRES[which][:, np.newaxis]
    value = np.exp(-(away**2).sum(axis=1) / 2)
    hessian = (away[:, :, np.newaxis] * away[:, np.newaxis] - np.eye(2)) * value[:, np.newaxis, np.newaxis]
    return Local(value, -away * value[:, np.newaxis], hessian)


def test_every_replicate_finds_its_own_summit() -> None:
    """Starts are where Newton's own step would lead away from the summit."""
    found = maximise(hills, np.full((4, 2), 0.8))
    assert found.converged.all()
    np.testing.assert_allclose(found.point, np.repeat(CENTRES[:, np.newaxis], 2, axis=1), atol=1e-9)
    np.testing.assert_allclose(found.hessian, np.broadcast_to(-np.eye(2), (4, 2, 2)), atol=1e-9)


def test_those_that_have_converged_are_not_asked_again() -> None:
    """The work is in the few that take long."""
    asked: list[int] = []

    def counted(point: Floats, which: Ints | slice) -> Local:
        asked.append(point.shape[0])
        return hills(point, which)

    start = np.repeat(CENTRES[:, np.newaxis], 2, axis=1)
    start[3] += 0.9
    maximise(counted, start)
    assert asked[0] == 4
    assert set(asked[1:]) == {1}


def test_a_function_without_a_summit_does_not_converge() -> None:
    """A plane rises for ever, and a saddle is no maximum."""

    def plane(point: Floats, which: Ints | slice) -> Local:
        return Local(point[:, 0], np.ones_like(point), np.zeros((point.shape[0], 1, 1)))

    def saddle(point: Floats, which: Ints | slice) -> Local:
        hessian = np.broadcast_to(np.diag([-2.0, 2.0]), (point.shape[0], 2, 2))
        return Local(point[:, 1] ** 2 - point[:, 0] ** 2, point * [-2, 2], hessian)

    assert not maximise(plane, np.zeros((2, 1))).converged.any()
    assert not maximise(saddle, np.zeros((1, 2))).converged.any()


def test_a_replicate_that_cannot_be_evaluated_leaves_the_others_alone() -> None:
    """nan at the start is a failure of that replicate."""

    def broken(point: Floats, which: Ints | slice) -> Local:
        local = hills(point, which)
        return local._replace(value=np.where(CENTRES[which] == 3.0, np.nan, local.value))

    found = maximise(broken, np.full((4, 2), 0.4))
    assert found.converged.tolist() == [True, True, False, True]


@pytest.mark.parametrize(("centre", "converged"), [(0.5, True), (-0.5, False)])
def test_a_coordinate_that_must_stay_positive_stops_at_the_edge(centre: float, converged: bool) -> None:
    """Where the summit lies beyond 0 the search must neither cross nor creep for ever."""

    def ridge(point: Floats, which: Ints | slice) -> Local:
        hessian = np.full((point.shape[0], 1, 1), -2.0)
        return Local(-((point[:, 0] - centre) ** 2), -2 * (point - centre), hessian)

    found = maximise(ridge, np.full((1, 1), 9.0), edge=1e-6)
    assert found.converged[0] == converged
    assert found.point[0, 0] == pytest.approx(centre) if converged else 0 < found.point[0, 0] < 1e-6
