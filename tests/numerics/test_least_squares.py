"""Batched normal equations, against numpy's own solver one regression at a time."""

import numpy as np
import pytest
from numpy.random import Generator

from design_sim.numerics.least_squares import cluster_grams, cluster_moments, solve_normal, standardise


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(20)


def test_coefficients_equal_those_of_single_regressions(rng: Generator) -> None:
    """A batch must be nothing but many regressions."""
    design = rng.normal(size=(30, 25, 4))
    outcome = rng.normal(size=(30, 25))
    equations = solve_normal(design.swapaxes(1, 2) @ design)
    found = equations.coefficients(np.einsum("rnk,rn->rk", design, outcome))
    for replicate in range(30):
        expected = np.linalg.lstsq(design[replicate], outcome[replicate], rcond=None)[0]
        np.testing.assert_allclose(found[replicate], expected, rtol=1e-10)
    np.testing.assert_allclose(equations.root @ equations.root.swapaxes(1, 2), equations.inverse)
    assert equations.estimable.all()
    assert (equations.rank == 4).all()


def test_collinear_columns_are_dropped_and_the_others_keep_their_coefficient(rng: Generator) -> None:
    """Software drops a redundant column; what does not depend on it must not change."""
    design = rng.normal(size=(1, 25, 3))
    outcome = rng.normal(size=(1, 25))
    redundant = np.concatenate([design, design[:, :, :1] - 2 * design[:, :, 1:2]], axis=2)
    equations = solve_normal(redundant.swapaxes(1, 2) @ redundant)
    found = equations.coefficients(np.einsum("rnk,rn->rk", redundant, outcome))
    expected = np.linalg.lstsq(design[0], outcome[0], rcond=None)[0]
    np.testing.assert_array_equal(equations.estimable, [[False, False, True, False]])
    assert equations.rank == 3
    assert found[0, 2] == pytest.approx(expected[2], rel=1e-10)


def test_an_empty_gram_matrix_has_rank_zero() -> None:
    """A replicate in which nobody was observed is a failed analysis, not an exception."""
    equations = solve_normal(np.zeros((1, 2, 2)))
    assert equations.rank == 0
    assert not equations.estimable.any()


def test_standardised_covariate_has_weighted_mean_zero_and_variance_one(rng: Generator) -> None:
    """The conditioning of the normal equations rests on it."""
    weights = rng.integers(0, 5, (6, 40)).astype(float)
    scaled = standardise(1e6 + rng.normal(size=(6, 40)), weights)
    total = weights.sum(axis=1)
    np.testing.assert_allclose((weights * scaled).sum(axis=1) / total, 0, atol=1e-8)
    np.testing.assert_allclose((weights * scaled**2).sum(axis=1) / total, 1, rtol=1e-8)


def test_a_constant_covariate_becomes_zero() -> None:
    """Rounding of a constant must not be blown up into a regressor."""
    np.testing.assert_array_equal(standardise(np.full((1, 7), 0.1), np.ones((3, 7)) / 3), 0)


def test_cluster_blocks_equal_dense_products(rng: Generator) -> None:
    """What is pooled over rows must be X'WX and X'Wy of each cluster."""
    cluster = np.array([0, 0, 1, 1, 1, 2])
    columns = [np.ones((1, 6)), rng.normal(size=(1, 6)), rng.normal(size=(4, 6))]
    weights, outcome = rng.random((4, 6)), rng.normal(size=(4, 6))
    indicator = (cluster[:, np.newaxis] == np.arange(3)).astype(float)
    grams = cluster_grams(columns, weights, lambda values: values @ indicator)
    moments = cluster_moments(columns, weights * outcome, lambda values: values @ indicator)
    for replicate in range(4):
        dense = np.stack([np.broadcast_to(column, (4, 6))[replicate] for column in columns], axis=1)
        for member in range(3):
            rows = cluster == member
            weighted = dense[rows] * weights[replicate, rows, np.newaxis]
            np.testing.assert_allclose(grams[replicate, member], weighted.T @ dense[rows])
            np.testing.assert_allclose(moments[replicate, member], weighted.T @ outcome[replicate, rows])
