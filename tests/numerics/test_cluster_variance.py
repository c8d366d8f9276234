"""Cluster-robust variances, against dense matrices of single observations."""

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from design_sim.arrays import Floats
from design_sim.numerics.cluster_variance import (
    ClusterRobust,
    ContrastPlan,
    WorkingMoments,
    contrast_direction,
    plan_contrast,
    plan_two_arms,
    small_sample_factor,
)
from design_sim.numerics.least_squares import solve_normal

KINDS: tuple[ClusterRobust, ...] = ("CR0", "CR1", "CR1S", "CR2", "CR3")
POWER = {"CR0": 0.0, "CR1": 0.0, "CR1S": 0.0, "CR2": -0.5, "CR3": -1.0}


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(21)


def dense(
    design: Floats, outcome: Floats, cluster: NDArray[np.int64], column: int, kind: ClusterRobust
) -> tuple[float, float, float]:
    """Variance, its expectation under independence, and df: every matrix written out."""
    inverse = np.linalg.inv(design.T @ design)
    annihilator = np.eye(len(outcome)) - design @ inverse @ design.T
    residual = annihilator @ outcome
    loadings = np.zeros((cluster.max() + 1, len(outcome)))
    for member in range(cluster.max() + 1):
        rows = cluster == member
        values, vectors = np.linalg.eigh(annihilator[np.ix_(rows, rows)])
        kept = values > 1e-10
        powered = kept * np.where(kept, values, 1.0) ** POWER[kind]
        adjustment = (vectors * powered) @ vectors.T
        loadings[member, rows] = adjustment @ design[rows] @ inverse[:, column]
    form = loadings @ annihilator @ loadings.T
    variance = ((loadings @ residual) ** 2).sum()
    return variance, np.trace(form), np.trace(form) ** 2 / (form**2).sum()


def blocks(design: Floats, outcome: Floats, cluster: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """X'X and X'y of every cluster, one replicate."""
    members = [cluster == member for member in range(cluster.max() + 1)]
    grams = np.stack([design[rows].T @ design[rows] for rows in members])[np.newaxis]
    moments = np.stack([design[rows].T @ outcome[rows] for rows in members])[np.newaxis]
    return grams, moments


def planned(grams: Floats, moments: Floats, column: int, plan: ContrastPlan) -> Floats:
    """The variance that a plan gives, before factors."""
    coefficients = solve_normal(grams.sum(axis=1)).coefficients(moments.sum(axis=1))
    return plan.variance(np.einsum("rgk,rgk->rg", plan.direction, moments), coefficients)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_clusters", [7, 90])
def test_plan_equals_dense_matrices(rng: Generator, kind: ClusterRobust, n_clusters: int) -> None:
    """The low-rank form is algebra, whether few clusters go by spectrum or many by polynomial."""
    cluster = np.repeat(np.arange(n_clusters), rng.integers(1, 7, n_clusters))
    design = np.column_stack([np.ones(cluster.size), rng.normal(size=(cluster.size, 3))])
    design[:, 3] += rng.normal(size=n_clusters)[cluster]
    outcome = rng.normal(size=cluster.size)
    grams, moments = blocks(design, outcome, cluster)
    equations = solve_normal(grams.sum(axis=1))
    plan = plan_contrast(grams, equations, 3, kind)
    variance, expected, df = dense(design, outcome, cluster, 3, kind)
    np.testing.assert_allclose(planned(grams, moments, 3, plan), variance, rtol=1e-10)
    np.testing.assert_allclose(plan.moments(equations).expected, expected, rtol=1e-10)
    np.testing.assert_allclose(plan.moments(equations).satterthwaite, df, rtol=1e-10)


@pytest.mark.parametrize("kind", ["CR2", "CR3"])
def test_clusters_whose_members_are_alike_go_by_their_trace(rng: Generator, kind: ClusterRobust) -> None:
    """A Gram matrix of rank 1 has its trace for eigenvalue, so both ways must agree."""
    rows = rng.normal(size=(3, 12, 3))
    weights = rng.random((3, 12))
    grams = np.einsum("rg,rgi,rgj->rgij", weights, rows, rows)
    equations = solve_normal(grams.sum(axis=1))
    short = contrast_direction(grams, equations, 1, kind, alike=True)
    long = contrast_direction(grams, equations, 1, kind)
    # Only what meets the cluster's own regressors is defined.
    np.testing.assert_allclose(
        np.einsum("rgk,rgk->rg", rows, short), np.einsum("rgk,rgk->rg", rows, long), rtol=1e-9
    )


def test_cr2_is_unbiased_under_its_working_model(rng: Generator) -> None:
    """That is how CR2 is defined: with independent errors its expectation is the variance."""
    design = rng.normal(size=(5, 60, 4))
    grams = np.einsum("rgni,rgnj->rgij", *[design.reshape(5, 10, 6, 4)] * 2)
    equations = solve_normal(grams.sum(axis=1))
    moments = plan_contrast(grams, equations, 2, "CR2").moments(equations)
    np.testing.assert_allclose(moments.expected, equations.inverse[:, 2, 2], rtol=1e-10)


def test_a_cluster_that_alone_holds_the_effect_leaves_cr2_undefined(rng: Generator) -> None:
    """With one treated cluster no residual speaks of it, so a number would be silent about it."""
    cluster = np.repeat(np.arange(6), 4)
    design = np.column_stack([np.ones(24), cluster == 0]).astype(float)
    grams, _ = blocks(design, rng.normal(size=24), cluster)
    equations = solve_normal(grams.sum(axis=1))
    assert plan_contrast(grams, equations, 1, "CR2").moments(equations).void
    assert plan_contrast(grams, equations, 1, "CR2", alike=True).moments(equations).void
    assert not plan_contrast(grams, equations, 1, "CR1").moments(equations).void


def test_a_covariate_of_one_cluster_alone_does_no_harm(rng: Generator) -> None:
    """The effect does not rest on its fitted direction, which a generalised inverse leaves out."""
    cluster = np.repeat(np.arange(6), 4)
    own = np.where(cluster == 5, np.arange(24) % 4 - 1.5, 0.0)
    design = np.column_stack([np.ones(24), cluster < 3, own]).astype(float)
    outcome = rng.normal(size=24)
    grams, moments = blocks(design, outcome, cluster)
    equations = solve_normal(grams.sum(axis=1))
    plan = plan_contrast(grams, equations, 1, "CR2")
    variance, expected, df = dense(design, outcome, cluster, 1, "CR2")
    np.testing.assert_allclose(planned(grams, moments, 1, plan), variance, rtol=1e-9)
    np.testing.assert_allclose(plan.moments(equations).expected, expected, rtol=1e-9)
    np.testing.assert_allclose(plan.moments(equations).satterthwaite, df, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_two_arm_plan_equals_dense_matrices(rng: Generator, kind: ClusterRobust) -> None:
    """The closed form is the general one with two columns."""
    sizes = rng.integers(2, 9, 9)
    cluster = np.repeat(np.arange(9), sizes)
    treated = np.arange(9) < 4
    outcome = rng.normal(size=cluster.size)
    design = np.column_stack([np.ones(cluster.size), treated[cluster]])
    totals = (np.array([sizes[:4].sum() * 1.0]), np.array([sizes[4:].sum() * 1.0]))
    shares = sizes / np.where(treated, *totals)
    counts, moments = plan_two_arms(shares[np.newaxis], treated[np.newaxis], totals, kind)
    means = np.array([outcome[cluster == member].mean() for member in range(9)])
    arms = np.where(treated, (shares * means)[:4].sum(), (shares * means)[4:].sum())
    variance, expected, df = dense(design, outcome, cluster, 1, kind)
    np.testing.assert_allclose((counts * (means - arms) ** 2).sum(), variance, rtol=1e-11)
    np.testing.assert_allclose(moments.expected, expected, rtol=1e-11)
    np.testing.assert_allclose(moments.satterthwaite, df, rtol=1e-11)


def test_two_equal_arms_have_the_degrees_of_freedom_of_a_t_test() -> None:
    """With equal sizes CR2 is the t test on cluster means: 2 k - 2."""
    shares = np.full((1, 10), 0.2)
    totals = (np.array([100.0]), np.array([100.0]))
    _, moments = plan_two_arms(shares, np.arange(10)[np.newaxis] < 5, totals, "CR2")
    np.testing.assert_allclose(moments.satterthwaite, 8, rtol=1e-12)


def test_small_sample_factors_are_those_of_the_conventions() -> None:
    """CR1 is G/(G-1); CR1S times (N-1)/(N-k); the others have none."""
    clusters, n, rank = np.array([10.0]), np.array([120.0]), np.array([3.0])
    factors = {kind: float(small_sample_factor(kind, clusters, n, rank)[0]) for kind in KINDS}
    assert factors == pytest.approx(
        {"CR0": 1, "CR1": 10 / 9, "CR1S": 10 / 9 * 119 / 117, "CR2": 1, "CR3": 1}, rel=1e-14
    )


def test_moments_that_rounding_has_emptied_are_void() -> None:
    """A sum of squares of nothing but rounding gives no degrees of freedom, rather than infinitely many."""
    moments = WorkingMoments(np.ones(2), np.full(2, 1e-3), np.array([0.0, 1e-6]))
    assert moments.void.tolist() == [True, False]
    assert np.isnan(moments.satterthwaite[0])
    assert moments.satterthwaite[1] == pytest.approx(1.0)
