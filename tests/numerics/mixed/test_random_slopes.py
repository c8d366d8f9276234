"""Random slopes agree with dense matrices, correlated or not, at the edge of their range and inside."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from design_sim.arrays import Floats, Ints
from design_sim.numerics.mixed.coordinates import CorrelatedSlopes, Logarithms
from design_sim.numerics.mixed.effect_test import Local
from design_sim.numerics.mixed.intercept_model import ClusterMoments, Verdict
from design_sim.numerics.mixed.nested_model import MixedFits
from design_sim.numerics.mixed.pooling import pool_cells
from design_sim.numerics.mixed.random_slopes import fit_random_slopes

KINDS = [(False, False), (False, True), (True, False), (True, True)]


def panel(
    seed: int, sds: tuple[float, float, float], correlation: float = 0.0
) -> tuple[Floats, Floats, Ints, Ints, Floats]:
    """Outcome and regressors of seven authorities at four occasions, their clusters, authorities and times."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 5, (7, 4))
    authority, time = (index.repeat(size.ravel()) for index in np.indices((7, 4)).reshape(2, -1))
    start = 1 + np.arange(7) % 3
    z = rng.normal(size=(2, 7))
    level, slope = sds[0] * z[0], sds[1] * (correlation * z[0] + np.sqrt(1 - correlation**2) * z[1])
    occasion = sds[2] * rng.normal(size=(7, 4))
    y = level[authority] + slope[authority] * time + occasion[authority, time] + rng.normal(size=time.size)
    effects = [(time == at).astype(float) for at in range(1, 4)]
    treated = (time >= start[authority]).astype(float)
    return y, np.column_stack([np.ones(y.size), *effects, treated]), authority, time, authority * 4.0 + time


def fitted(data: tuple[Any, ...], small_sample: Any, correlated: bool, by_occasion: bool) -> MixedFits:
    y, x, authority, time, cluster = data
    moments = pool_cells(
        np.ones((1, y.size)),
        y[np.newaxis],
        np.zeros(1),
        [c[np.newaxis] for c in x.T],
        cluster.astype(np.int64),
    )
    first = np.unique(cluster, return_index=True)[1]
    times = time[first].astype(float)
    return fit_random_slopes(
        moments, authority[first], times, small_sample, correlated=correlated, by_occasion=by_occasion
    )


def layers_of(data: tuple[Any, ...], correlated: bool, by_occasion: bool) -> list[Floats]:
    """What the ratios multiply, in the order of the fits."""
    _, _, authority, time, cluster = data
    same = (authority[:, np.newaxis] == authority).astype(float)
    layers = [(cluster[:, np.newaxis] == cluster).astype(float)] if by_occasion else []
    layers += [same, same * np.outer(time, time)]
    return [*layers, same * (time[:, np.newaxis] + time)] if correlated else layers


def ratios_of(roots: Floats, correlated: bool) -> Floats:
    """Ratios from standard deviations, or for the last three from a Cholesky factor's entries."""
    if not correlated:
        return roots**2
    a, b, c = roots[-3:]
    return np.array([*roots[:-3] ** 2, a**2, b**2 + c**2, a * b])


def roots_of(ratios: Floats, correlated: bool) -> Floats:
    """The other way round."""
    if not correlated:
        return np.sqrt(ratios)
    intercept, slope, covariance = ratios[-3:]
    b = covariance / np.sqrt(intercept) if intercept > 0 else 0.0
    return np.array([*np.sqrt(ratios[:-3]), np.sqrt(intercept), b, np.sqrt(max(slope - b**2, 0.0))])


@pytest.mark.parametrize(("correlated", "by_occasion"), KINDS)
@pytest.mark.parametrize("sds", [(0.7, 0.5, 0.5), (0.5, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_fits_equal_dense_matrices(
    sds: tuple[float, float, float], correlated: bool, by_occasion: bool, dense_model: Callable[..., Any]
) -> None:
    """Criterion, standard errors and df are the textbook's at the fitted ratios, and no ratio nearby is better."""
    rng = np.random.default_rng(1)
    verdicts = set()
    for seed in range(4):
        data = panel(seed, sds, -0.3)
        fits = fitted(data, "satterthwaite", correlated, by_occasion)
        adjusted = fitted(data, "kenward_roger", correlated, by_occasion)
        dense = dense_model(data[0], data[1], layers_of(data, correlated, by_occasion))
        best = fits.ratios[0]
        roots, residual = roots_of(best, correlated), dense.residual(best)
        verdicts.add(fits.verdict[0])
        assert fits.criterion[0] == pytest.approx(dense.deviance(best, residual), abs=1e-8)
        assert fits.estimate[0] == pytest.approx(dense.coefficients(best)[-1], rel=1e-7)
        assert fits.std_error[0] ** 2 == pytest.approx(dense.variance(best, residual), rel=1e-7)
        assert (adjusted.std_error[0], adjusted.df[0]) == pytest.approx(dense.kenward_roger(best), rel=1e-6)
        if best[-3 if correlated else 0] > 1e-9:
            df = dense.satterthwaite(roots, lambda roots: ratios_of(roots, correlated))
            assert fits.df[0] == pytest.approx(df, rel=1e-3)
        for size in (1e-3, 0.03, 0.3):
            for _ in range(8):
                moved = ratios_of(roots + size * rng.normal(size=roots.size), correlated)
                assert dense.deviance(moved, dense.residual(moved)) >= fits.criterion[0] - 1e-8
    assert verdicts <= {Verdict.FITTED, Verdict.BOUNDARY}


@pytest.mark.parametrize("coordinates", [Logarithms, CorrelatedSlopes])
def test_coordinates_pull_derivatives_back(coordinates: type) -> None:
    """By finite differences of a function of the ratios; and a point found from ratios leads back to them."""
    rng = np.random.default_rng(2)
    made = coordinates(rng.uniform(1, 20, (3, 5)))
    n = made.prior.shape[0]
    ratio = rng.uniform(0.5, 1, (n, 5))
    if coordinates is CorrelatedSlopes:
        ratio[-1] = 0.6 * np.sqrt(ratio[-3] * ratio[-2]) * np.array([1, -1, 1, -1, 1])
    point = made.points(ratio)
    np.testing.assert_allclose(made.ratios(point), ratio, rtol=1e-10)
    linear, square = rng.normal(size=n), rng.normal(size=(n, n))
    square = square + square.T

    def function(point: Floats) -> Floats:
        at = made.ratios(point)
        return linear @ at + np.einsum("kr,kl,lr->r", at, square, at) / 2

    at = made.ratios(point)
    pulled = made.pull(
        Local(function(point), linear[:, np.newaxis] + square @ at, np.repeat(square[..., np.newaxis], 5, 2)),
        point,
    )
    steps = 1e-4 * np.eye(n)[:, :, np.newaxis]
    for i in range(n):
        slope = (function(point + steps[i]) - function(point - steps[i])) / 2e-4
        np.testing.assert_allclose(pulled.gradient[i], slope, rtol=1e-5, atol=1e-7)
        for j in range(n):
            corners = [
                function(point + a * steps[i] + b * steps[j]) * a * b for a in (1, -1) for b in (1, -1)
            ]
            np.testing.assert_allclose(pulled.hessian[i, j], sum(corners) / 4e-8, rtol=1e-4, atol=1e-5)


def test_a_batch_of_one_equals_a_batch_of_many() -> None:
    """Replicates are independent, at the edge of the range as inside."""
    rng = np.random.default_rng(4)
    authority, time = np.indices((6, 5)).reshape(2, -1)
    n = rng.integers(2, 9, (1, 30)).astype(float)
    slopes = 0.3 * rng.normal(size=(40, 6))[:, authority] * time
    mean = 0.5 * rng.normal(size=(40, 6))[:, authority] + slopes + rng.normal(size=(40, 30)) / np.sqrt(n)
    effects = [(time == at).astype(float) for at in range(1, 5)]
    x = np.stack([np.ones(30), *effects, (time > authority % 4).astype(float)], axis=1)[np.newaxis]
    none = np.zeros((1, 6, 6)), np.zeros((1, 6))
    within = rng.chisquare(n.sum() - 30, 40)
    many = fit_random_slopes(
        ClusterMoments(n, mean, within, x, *none), authority, time * 1.0, correlated=True, by_occasion=False
    )
    for replicate in range(40):
        at = slice(replicate, replicate + 1)
        one = fit_random_slopes(
            ClusterMoments(n, mean[at], within[at], x, *none),
            authority,
            time * 1.0,
            correlated=True,
            by_occasion=False,
        )
        for name in ("estimate", "std_error", "df", "criterion"):
            assert getattr(one, name)[0] == pytest.approx(getattr(many, name)[replicate], rel=1e-7)
        assert one.verdict[0] == many.verdict[replicate]
    assert len(set(many.verdict)) == 2


def test_what_cannot_be_fitted_has_its_verdict() -> None:
    """With two occasions a correlated slope cannot be told from their own effects; a flat outcome says nothing."""
    rng = np.random.default_rng(5)
    authority, time = np.indices((8, 2)).reshape(2, -1)
    x = np.stack([np.ones(16), time, (time > 0) * (authority < 4)], axis=1)[np.newaxis].astype(float)
    none = np.zeros((1, 3, 3)), np.zeros((1, 3))
    n = np.full((1, 16), 5.0)
    data = ClusterMoments(n, rng.normal(size=(3, 16)), rng.chisquare(64, 3), x, *none)
    flat = ClusterMoments(np.ones((1, 16)), np.ones((3, 16)), np.zeros(3), x, *none)
    for correlated in (False, True):
        both = fit_random_slopes(data, authority, time * 1.0, correlated=correlated, by_occasion=True)
        assert (both.verdict == Verdict.TOO_FEW).all() == correlated
        nothing = fit_random_slopes(flat, authority, time * 1.0, correlated=correlated, by_occasion=False)
        assert (nothing.verdict == Verdict.NO_VARIATION).all()
