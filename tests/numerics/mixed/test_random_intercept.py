"""Batched REML agrees with lmerTest, with dense matrices and a slow search, and with itself on every route."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from design_sim.arrays import Floats, Ints
from design_sim.numerics.mixed.intercept_model import ClusterMoments, InterceptFits, Verdict
from design_sim.numerics.mixed.random_intercept import fit_random_intercept

REFERENCE = Path(__file__).parents[2] / "reference"
MODELS: dict[str, list[str]] = {"unadjusted": [], "adjusted": ["x"], "adjusted_xw": ["x", "w"]}
CASES = [
    (name, model)
    for name in ("crt_bal10", "crt_unb10", "crt_bal4", "crt_unb6", "crt_unb20_imb")
    for model in MODELS
    if model in json.loads((REFERENCE / "point" / f"{name}.json").read_text())["lmer"]
]


def moments_of(y: Floats, regressors: Floats, cluster: Ints) -> ClusterMoments:
    """The moments of one replicate from single observations; regressors (observation, regressor)."""
    members = [cluster == label for label in np.unique(cluster)]
    centred_y = np.concatenate([y[member] - y[member].mean() for member in members])
    centred_x = np.concatenate([regressors[member] - regressors[member].mean(axis=0) for member in members])
    centred_x[:, np.abs(centred_x).max(axis=0) < 1e-12] = 0
    return ClusterMoments(
        n=np.array([[member.sum() for member in members]], dtype=float),
        mean=np.array([[y[member].mean() for member in members]]),
        within=np.array([centred_y @ centred_y]),
        regressors=np.array([[regressors[member].mean(axis=0) for member in members]]),
        within_squares=(centred_x.T @ centred_x)[np.newaxis],
        within_products=(centred_x.T @ centred_y)[np.newaxis],
    )


def batch_of(many: list[ClusterMoments]) -> ClusterMoments:
    """Several replicates as one batch, nothing of which is held to be fixed."""
    return ClusterMoments(
        *(
            np.concatenate([getattr(one, name) for one in many])
            for name in ("n", "mean", "within", "regressors", "within_squares", "within_products")
        )
    )


def reference_data(name: str, model: str) -> tuple[Floats, Floats, Ints]:
    """Outcome, regressors and cluster of a reference set."""
    data = np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)
    columns = [np.ones(data.size), *(data[column] for column in MODELS[model]), data["treat"]]
    return data["y"], np.column_stack(columns), data["cluster"].astype(np.int64)


def trial(seed: int, icc: float, sizes: list[int], covariate: bool) -> tuple[Floats, Floats, Ints]:
    """One unbalanced trial."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    treated = (cluster < len(sizes) // 2).astype(float)
    x = rng.normal(size=cluster.size) + 0.5 * rng.normal(size=len(sizes))[cluster]
    noise = np.sqrt(1 - icc) * rng.normal(size=cluster.size)
    y = 3 + 0.4 * x + np.sqrt(icc) * rng.normal(size=len(sizes))[cluster] + noise
    columns = [np.ones(cluster.size), *([x] if covariate else []), treated]
    return y, np.column_stack(columns), cluster


def random_batch(n: int, seed: int = 1, n_regressors: int = 2) -> ClusterMoments:
    """A batch of trials of eight clusters whose sizes, means and regressors all vary."""
    rng = np.random.default_rng(seed)
    size = rng.integers(3, 30, (n, 8)).astype(float)
    treated = np.broadcast_to(np.arange(8) < 4, (n, 8)).astype(float)
    others = [rng.normal(size=(n, 8)) for _ in range(n_regressors - 2)]
    return ClusterMoments(
        n=size,
        mean=rng.normal(size=(n, 8)) * np.sqrt(0.1 + 1 / size),
        within=rng.chisquare(size.sum(axis=1) - 8),
        regressors=np.stack([np.ones((n, 8)), *others, treated], axis=2),
        within_squares=np.zeros((1, n_regressors, n_regressors)),
        within_products=np.zeros((1, n_regressors)),
    )


@pytest.mark.parametrize("route", ["fixed", "varying"])
@pytest.mark.parametrize(("name", "model"), CASES)
def test_fits_equal_lmer(name: str, model: str, route: str) -> None:
    """lme4 and lmerTest are the software that people check mixed models against."""
    expected: dict[str, Any] = json.loads((REFERENCE / "point" / f"{name}.json").read_text())["lmer"][model]
    y, x, cluster = reference_data(name, model)
    moments = moments_of(y, x, cluster)
    if route == "varying":
        order = np.random.default_rng(1).permutation(y.size)
        moments = batch_of([moments, moments_of(y[order], x[order], cluster)])
        moments = replace(moments, n=moments.n + np.array([[0.0], [1.0]]))
    fits = fit_random_intercept(moments)
    assert fits.verdict[0] == Verdict.FITTED
    assert fits.estimate[0] == pytest.approx(expected["estimate"]["treat"], rel=1e-6)
    assert fits.std_error[0] == pytest.approx(expected["se"]["treat"], rel=1e-6)
    assert fits.between[0] == pytest.approx(expected["varcomp"]["cluster"], rel=1e-6)
    assert fits.residual[0] == pytest.approx(expected["varcomp"]["Residual"], rel=1e-6)
    assert fits.criterion[0] == pytest.approx(expected["reml_criterion"], rel=1e-8)
    assert fits.df[0] == pytest.approx(expected["satterthwaite"]["df"]["treat"], rel=1e-4)
    adjusted, stated = fit_random_intercept(moments, "kenward_roger"), expected["kenward_roger"]
    assert adjusted.estimate[0] == fits.estimate[0]
    assert adjusted.std_error[0] == pytest.approx(stated["se"]["treat"], rel=1e-5)
    assert adjusted.df[0] == pytest.approx(stated["df"]["treat"], rel=1e-5)


@pytest.mark.parametrize("covariate", [False, True])
@pytest.mark.parametrize("sizes", [[3, 8, 5, 11, 4, 7], [6] * 6])
@pytest.mark.parametrize(("seed", "icc"), [(1, 0.0), (2, 0.0), (3, 0.1), (4, 0.5)])
def test_fits_equal_a_slow_search_with_dense_matrices(
    seed: int, icc: float, sizes: list[int], covariate: bool, dense_model: Any
) -> None:
    """The criterion is one formula, whatever short cut computes it; seeds 1 and 2 include boundary fits."""
    y, x, cluster = trial(seed, icc, sizes, covariate)
    dense = dense_model(y, x, [(cluster[:, np.newaxis] == cluster).astype(float)])
    (ratio,), deviance = dense.fit()
    moments = moments_of(y, x, cluster)
    fits, adjusted = fit_random_intercept(moments), fit_random_intercept(moments, "kenward_roger")
    assert fits.criterion[0] == pytest.approx(deviance, abs=1e-8)
    assert fits.residual[0] == pytest.approx(dense.residual([ratio]), rel=1e-4)
    assert fits.between[0] == pytest.approx(ratio * dense.residual([ratio]), abs=1e-4)
    best = fits.between / fits.residual
    assert fits.std_error[0] ** 2 == pytest.approx(dense.variance(best, dense.residual(best)), rel=1e-8)
    assert fits.df[0] == pytest.approx(dense.satterthwaite(np.sqrt(best)), rel=1e-4)
    assert (adjusted.std_error[0], adjusted.df[0]) == pytest.approx(dense.kenward_roger(best), rel=1e-8)
    assert (fits.verdict[0] == Verdict.BOUNDARY) == (ratio < 1e-8)


def test_a_boundary_fit_is_least_squares_with_its_degrees_of_freedom() -> None:
    """At theta = 0 lmerTest's Hessian and Jacobian have nothing across, so df = observations - regressors.

    lmerTest 3.1-3 gives 84 for 86 observations and 2 regressors, and 57 for 60 and 3.
    """
    for covariate in (False, True):
        n_boundary = 0
        for seed in range(20):
            y, x, cluster = trial(seed, 0.0, [5, 8, 10, 12, 15, 20, 7, 9], covariate)
            fits = fit_random_intercept(moments_of(y, x, cluster))
            if fits.verdict[0] != Verdict.BOUNDARY:
                continue
            n_boundary += 1
            coefficients, squares, _, _ = np.linalg.lstsq(x, y, rcond=None)
            variance = squares[0] / (86 - x.shape[1]) * np.linalg.inv(x.T @ x)[-1, -1]
            assert fits.between[0] == 0
            assert fits.df[0] == pytest.approx(86 - x.shape[1], rel=1e-14)
            assert fits.estimate[0] == pytest.approx(coefficients[-1], rel=1e-8)
            assert fits.std_error[0] == pytest.approx(np.sqrt(variance), rel=1e-8)
        assert n_boundary >= 3


def test_the_optimum_is_the_global_one() -> None:
    """Large clusters that agree and small ones that do not give two minima; a local one would be wrong."""
    rng = np.random.default_rng(3)
    n_trials = 300
    size = np.tile([1000.0, 900.0, 3.0, 4.0, 5.0], (n_trials, 2)) + rng.integers(0, 3, (n_trials, 10))
    mean = np.where(size > 100, 0.005, rng.uniform(0.5, 3, (n_trials, 1))) * rng.normal(size=(n_trials, 10))
    treated = np.broadcast_to(np.arange(10) < 5, (n_trials, 10)).astype(float)
    within = rng.chisquare(size.sum(axis=1) - 10)
    regressors = np.stack([np.ones((n_trials, 10)), treated], axis=2)
    none = np.zeros((1, 2, 2)), np.zeros((1, 2))
    fits = fit_random_intercept(ClusterMoments(size, mean, within, regressors, *none))
    df = size.sum(axis=1) - 2
    least = np.full(n_trials, np.inf)
    n_minima = np.zeros(n_trials)
    previous, falling = least.copy(), np.ones(n_trials, dtype=bool)
    for ratio in np.concatenate([[0], np.geomspace(1e-6, 1e4, 800)]):
        weight = size / (1 + ratio * size)
        squares, log_dets = within.copy(), np.log1p(ratio * size).sum(axis=1)
        for arm in (treated, 1 - treated):
            total = (weight * arm).sum(axis=1)
            centre = (weight * arm * mean).sum(axis=1) / total
            squares += (weight * arm * (mean - centre[:, np.newaxis]) ** 2).sum(axis=1)
            log_dets += np.log(total)
        deviance = df * (1 + np.log(2 * np.pi * squares / df)) + log_dets
        n_minima += falling & (deviance > previous)
        falling = deviance < previous
        previous, least = deviance, np.minimum(least, deviance)
    assert (n_minima > 1).sum() >= 30
    assert (fits.criterion <= least + 1e-8).all()
    assert np.isin(fits.verdict, [Verdict.FITTED, Verdict.BOUNDARY]).all()


@pytest.mark.parametrize("n_regressors", [2, 3, 4])
def test_a_batch_of_one_equals_a_batch_of_many(n_regressors: int) -> None:
    """Replicates are independent; a lone replicate takes the route of fixed regressors, a batch the other."""
    many = random_batch(40, n_regressors=n_regressors)
    fits = fit_random_intercept(many)
    for replicate in range(40):
        at = slice(replicate, replicate + 1)
        one = replace(
            many, n=many.n[at], mean=many.mean[at], within=many.within[at], regressors=many.regressors[at]
        )
        single = fit_random_intercept(one)
        for name in ("estimate", "std_error", "df", "residual", "criterion"):
            assert getattr(single, name)[0] == pytest.approx(getattr(fits, name)[replicate], rel=1e-7)
        assert single.between[0] == pytest.approx(fits.between[replicate], rel=1e-6, abs=1e-9)
        assert single.verdict[0] == fits.verdict[replicate]


@pytest.mark.parametrize("equal", [True, False])
def test_fixed_and_varying_regressors_give_the_same_fits(equal: bool) -> None:
    """An axis of length 1 means the same in all replicates, and is a matter of speed alone."""
    batch = random_batch(200, n_regressors=3)
    size = np.full((1, 8), 12.0) if equal else batch.n[:1]
    fixed = replace(batch, n=size, regressors=batch.regressors[:1])
    last_differs = np.concatenate([np.repeat(batch.regressors[:1], 199, axis=0), batch.regressors[-1:]])
    varying = replace(batch, n=size, regressors=last_differs)
    first, second = fit_random_intercept(fixed), fit_random_intercept(varying)
    for name in ("estimate", "std_error", "residual", "criterion"):
        np.testing.assert_allclose(getattr(first, name)[:-1], getattr(second, name)[:-1], rtol=1e-7)
    df = [np.broadcast_to(fits.df, 200)[:-1] for fits in (first, second)]
    np.testing.assert_allclose(df[0], df[1], rtol=1e-6)
    np.testing.assert_array_equal(first.verdict[:-1], second.verdict[:-1])
    assert len(set(first.verdict)) == 2


@pytest.mark.parametrize("n_regressors", [2, 3])
def test_fits_follow_a_shift_and_a_change_of_unit(n_regressors: int) -> None:
    """The model has an intercept and variances of its own, so that origin and unit of the outcome are free."""
    batch = random_batch(100, n_regressors=n_regressors)
    moved = replace(batch, mean=1e4 + 0.01 * batch.mean, within=1e-4 * batch.within)
    first, second = fit_random_intercept(batch), fit_random_intercept(moved)
    np.testing.assert_allclose(second.estimate, 0.01 * first.estimate, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(second.std_error, 0.01 * first.std_error, rtol=1e-6)
    np.testing.assert_allclose(second.df, first.df, rtol=1e-5)
    np.testing.assert_array_equal(second.verdict, first.verdict)


@pytest.mark.parametrize("varying", [True, False])
def test_a_cluster_without_observations_does_not_count(varying: bool) -> None:
    """Nobody was observed there, so that nothing of it may enter."""
    batch = random_batch(30)
    n = batch.n if varying else batch.n[:1]
    without = replace(batch, n=n)
    padded = replace(
        batch,
        n=np.insert(n, 2, 0.0, axis=1),
        mean=np.insert(batch.mean, 2, np.nan, axis=1),
        regressors=np.insert(batch.regressors, 2, 1.0, axis=1),
    )
    first, second = fit_random_intercept(without), fit_random_intercept(padded)
    for name in ("estimate", "std_error", "df", "criterion"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-7)


def verdict_of(**changed: Floats) -> InterceptFits:
    """The fits of two trials with some of their moments changed."""
    return fit_random_intercept(replace(random_batch(2, n_regressors=3), **changed))


def test_failures_have_their_verdicts() -> None:
    """A failed analysis is a result to be counted by its kind, not an exception."""
    batch = random_batch(2, n_regressors=3)
    three = np.where(np.arange(8) % 3 == 0, batch.n, 0)
    assert (verdict_of(n=three).verdict == Verdict.TOO_FEW).all()
    assert (verdict_of(n=np.ones((2, 8))).verdict == Verdict.TOO_FEW).all()
    assert (verdict_of(n=np.zeros((1, 8)), mean=np.full((2, 8), np.nan)).verdict == Verdict.TOO_FEW).all()
    assert (verdict_of(within=np.zeros(2)).verdict == Verdict.NO_VARIATION).all()
    assert (verdict_of(mean=np.ones((2, 8)), within=np.zeros(2)).verdict == Verdict.NO_VARIATION).all()
    aliased = batch.regressors.copy()
    aliased[:, :, 1] = 1 - 2 * aliased[:, :, 2]
    assert (verdict_of(regressors=aliased).verdict == Verdict.SINGULAR).all()
    assert (verdict_of(regressors=aliased[:1], n=batch.n[:1]).verdict == Verdict.SINGULAR).all()
    assert (verdict_of(regressors=aliased, n=np.full((1, 8), 9.0)).verdict == Verdict.SINGULAR).all()
    assert (verdict_of(regressors=aliased[:1], n=np.full((1, 8), 9.0)).verdict == Verdict.SINGULAR).all()


@pytest.mark.parametrize("n_regressors", [3, 4])
@pytest.mark.parametrize("replicates", [1, 3])
def test_fewer_clusters_than_regressors_are_too_few(n_regressors: int, replicates: int) -> None:
    """Two equal clusters and two covariates or more: a verdict, not an error, with regressors fixed or not."""
    many = random_batch(3, n_regressors=n_regressors)
    few = ClusterMoments(
        n=np.full((1, 2), 5.0),
        mean=many.mean[:, [0, 7]],
        within=many.within,
        regressors=many.regressors[:replicates, [0, 7]],
        within_squares=many.within_squares,
        within_products=many.within_products,
    )
    assert (fit_random_intercept(few).verdict == Verdict.TOO_FEW).all()
    assert (fit_random_intercept(few, "kenward_roger").verdict == Verdict.TOO_FEW).all()
