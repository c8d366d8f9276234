"""Nested random intercepts agree with dense matrices, with each other on every route, and fail as they say."""

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from design_sim.arrays import Floats, Ints
from design_sim.numerics.mixed import fitting
from design_sim.numerics.mixed.effect_test import SmallSample
from design_sim.numerics.mixed.fitting import fit_profile
from design_sim.numerics.mixed.intercept_model import ClusterMoments, Verdict
from design_sim.numerics.mixed.nested_model import LeafMoments, MixedFits
from design_sim.numerics.mixed.nested_profile import NestedProfile
from design_sim.numerics.mixed.pooling import pool_cells
from design_sim.numerics.mixed.random_intercept import fit_random_intercept
from design_sim.numerics.mixed.several_intercepts import fit_nested_intercepts
from design_sim.numerics.mixed.strata import strata_of
from design_sim.numerics.mixed.variance_ratios import search_ratios

NUMBERS = ("estimate", "std_error", "df", "residual", "criterion")
Trial = tuple[Floats, Floats, list[Ints]]
"""Outcome and regressors of every observation, and its unit at every level, the leaf first."""


def trial(seed: int, sds: list[float], covariates: int = 0, balanced: bool = False) -> Trial:
    """Six authorities, treated from the fourth on, with units of as many levels as there are SDs."""
    rng = np.random.default_rng(seed)
    index = np.arange(6)
    levels = [index]
    for level in range(len(sds)):
        low, high = (2, 4) if level == 0 else (1, 3)
        copies = np.full(index.size, high - 1) if balanced else rng.integers(low, high + 1, index.size)
        parent = np.repeat(np.arange(index.size), copies)
        levels = [upper[parent] for upper in levels]
        index = np.arange(parent.size)
        levels.insert(0, index)
    levels = levels[1:]  # the lowest were single observations
    y = 2 + rng.normal(size=index.size)
    for sd, unit in zip(sds, levels, strict=True):
        y += sd * rng.normal(size=unit.max() + 1)[unit]
    others = [
        rng.normal(size=index.size) + 0.5 * rng.normal(size=levels[0].max() + 1)[levels[0]],
        rng.normal(size=6)[levels[-1]],
    ][:covariates]
    treated = (levels[-1] > 2).astype(float)
    return y, np.column_stack([np.ones(index.size), *others, treated]), levels


def moments_of(y: Floats, x: Floats, levels: list[Ints]) -> tuple[ClusterMoments, tuple[Ints, ...]]:
    """The moments of one replicate by leaves, and the leaves' parents."""
    columns = [column[np.newaxis] for column in x.T]
    moments = pool_cells(np.ones((1, y.size)), y[np.newaxis], np.zeros(1), columns, levels[0])
    parents = [above[np.unique(unit, return_index=True)[1]] for unit, above in pairwise(levels)]
    return moments, tuple(parents)


def layers_of(levels: list[Ints]) -> list[Floats]:
    """Which observations share a unit, level by level."""
    return [(unit[:, np.newaxis] == unit).astype(float) for unit in levels]


def search(leaves: LeafMoments, profile: Any, effect: int, small_sample: str = "satterthwaite") -> MixedFits:
    """The fit by a search over one of the profiles."""
    return fit_profile(profile, effect, np.zeros(leaves.n_replicates, dtype=np.int64), small_sample)


def random_batch(n: int, seed: int = 1, varying: bool = True) -> tuple[ClusterMoments, tuple[Ints, ...]]:
    """A batch of trials of four authorities, sixteen workers in each and a covariate of the workers."""
    rng = np.random.default_rng(seed)
    authority = np.repeat(np.arange(4), 16)
    size = rng.binomial(4, 0.7, (n if varying else 1, 64)).astype(float)
    mean = 0.5 * rng.normal(size=(n, 4))[:, authority] + 0.5 * rng.normal(size=(n, 64))
    mean += rng.normal(size=(n, 64)) / np.sqrt(np.maximum(size, 1))
    within = rng.chisquare(np.broadcast_to(np.maximum(size - 1, 0).sum(axis=1), n))
    x = np.stack([np.ones((n, 64)), rng.normal(size=(n, 64)), np.tile(authority < 2, (n, 1))], axis=2)
    none = np.zeros((1, 3, 3)), np.zeros((1, 3))
    return ClusterMoments(size, np.where(size > 0, mean, np.nan), within, x, *none), (authority,)


@pytest.mark.parametrize("covariates", [0, 2])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("sds", [[0.6, 0.5], [0.0, 0.0], [0.3, 0.3, 0.3], [0.6, 0.0, 0.6]])
@pytest.mark.parametrize("seed", [1, 2])
def test_fits_equal_a_slow_search_with_dense_matrices(
    seed: int, sds: list[float], balanced: bool, covariates: int, dense_model: Callable[..., Any]
) -> None:
    """The criterion is one formula, whatever short cut computes it, and so are both tests' numbers."""
    y, x, levels = trial(seed, sds, covariates, balanced)
    dense = dense_model(y, x, layers_of(levels))
    ratios, deviance = dense.fit()
    moments, parents = moments_of(y, x, levels)
    fits = fit_nested_intercepts(moments, parents)
    adjusted = fit_nested_intercepts(moments, parents, "kenward_roger")
    best = fits.ratios[0]
    assert fits.criterion[0] == pytest.approx(deviance, abs=1e-8)
    assert best == pytest.approx(ratios, abs=1e-4)
    assert fits.residual[0] == pytest.approx(dense.residual(best), rel=1e-9)
    assert fits.estimate[0] == pytest.approx(dense.coefficients(best)[-1], rel=1e-8, abs=1e-10)
    assert fits.std_error[0] ** 2 == pytest.approx(dense.variance(best, dense.residual(best)), rel=1e-8)
    assert fits.df[0] == pytest.approx(dense.satterthwaite(np.sqrt(best)), rel=1e-4)
    assert (adjusted.std_error[0], adjusted.df[0]) == pytest.approx(dense.kenward_roger(best), rel=1e-7)
    assert fits.verdict[0] == (Verdict.BOUNDARY if (best == 0).any() else Verdict.FITTED)


@pytest.mark.parametrize("small_sample", ["satterthwaite", "kenward_roger"])
@pytest.mark.parametrize("covariates", [0, 1, 2])
@pytest.mark.parametrize("sds", [[0.5, 0.5], [0.2, 0.2], [0.3, 0.3, 0.3]])
def test_all_routes_give_the_same_fits(sds: list[float], covariates: int, small_sample: str) -> None:
    """Closed form, strata and leaves are ways to the same numbers, of which balanced data may take any."""
    n_boundary = 0
    for seed in range(12):
        moments, parents = moments_of(*trial(seed, sds, covariates, balanced=True))
        fits = fit_nested_intercepts(moments, parents, small_sample)
        leaves = LeafMoments.of(moments.centred(), parents)
        strata = strata_of(leaves)
        assert (strata.left.size == 1) == (covariates == 0)
        others = [search(leaves, NestedProfile.of(leaves), leaves.effect, small_sample)]
        if strata.left.size > 1:
            others.append(search(leaves, strata, strata.place, small_sample))
        for other in others:
            for name in NUMBERS:
                assert getattr(fits, name)[0] == pytest.approx(getattr(other, name)[0], rel=1e-8)
            assert fits.ratios[0] == pytest.approx(other.ratios[0], rel=1e-7, abs=1e-12)
            assert fits.verdict[0] == other.verdict[0]
        n_boundary += fits.verdict[0] == Verdict.BOUNDARY
    assert 1 <= n_boundary <= 11


def test_a_variance_of_0_is_tested_as_if_it_were_not_in_the_model() -> None:
    """lmerTest's derivatives along a root of 0 vanish, so that df are those of the smaller model."""
    n_boundary = 0
    for seed in range(20):
        y, x, levels = trial(seed, [0.1, 0.6], covariates=1)
        moments, parents = moments_of(y, x, levels)
        fits = fit_nested_intercepts(moments, parents)
        if fits.ratios[0, 0] > 0 or fits.ratios[0, 1] == 0:
            continue
        n_boundary += 1
        smaller = fit_random_intercept(moments_of(y, x, levels[1:])[0])
        for name in NUMBERS:
            assert getattr(fits, name)[0] == pytest.approx(getattr(smaller, name)[0], rel=1e-7)
    assert n_boundary >= 5


@pytest.mark.parametrize("small_sample", ["satterthwaite", "kenward_roger"])
@pytest.mark.parametrize("varying", [True, False])
def test_a_batch_of_one_equals_a_batch_of_many(varying: bool, small_sample: str) -> None:
    """Replicates are independent, and numbers of families that do not vary are a matter of speed alone."""
    many, parents = random_batch(40, varying=varying)
    fits = fit_nested_intercepts(many, parents, small_sample)
    for replicate in range(40):
        at = slice(replicate, replicate + 1)
        arrays = {field.name: getattr(many, field.name) for field in fields(ClusterMoments)}
        one = ClusterMoments(**{k: v if v.shape[0] == 1 else v[at] for k, v in arrays.items()})
        single = fit_nested_intercepts(one, parents, small_sample)
        for name in NUMBERS:
            assert getattr(single, name)[0] == pytest.approx(getattr(fits, name)[replicate], rel=1e-8)
        assert single.verdict[0] == fits.verdict[replicate]
    assert len(set(fits.verdict)) == 2


def test_a_large_batch_is_fitted_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory must not grow with the replicates; where the parts end moves no number."""
    many, parents = random_batch(50)
    whole = fit_nested_intercepts(many, parents)
    monkeypatch.setattr(fitting, "NUMBERS", 20_000)
    parted = fit_nested_intercepts(many, parents)
    for name in (*NUMBERS, "ratios", "verdict"):
        np.testing.assert_allclose(getattr(parted, name), getattr(whole, name), rtol=1e-9)


def test_fits_follow_a_shift_and_a_change_of_unit() -> None:
    """The model has an intercept and variances of its own, so that origin and unit of the outcome are free."""
    batch, parents = random_batch(60)
    moved = replace(batch, mean=1e4 + 0.01 * batch.mean, within=1e-4 * batch.within)
    first, second = (fit_nested_intercepts(moments, parents) for moments in (batch, moved))
    np.testing.assert_allclose(second.estimate, 0.01 * first.estimate, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(second.std_error, 0.01 * first.std_error, rtol=1e-6)
    np.testing.assert_allclose(second.df, first.df, rtol=1e-5)
    np.testing.assert_array_equal(second.verdict, first.verdict)


def test_the_deviance_has_its_least_value_where_the_search_ends() -> None:
    """No point around may be lower, at the edge no point inside; 2,000 trials, with few or many families."""
    rng = np.random.default_rng(5)
    n_failed = 0
    for seed, share in enumerate((0.02, 0.3, 3.0, 100.0)):
        moments, parents = random_batch(500, seed)
        moments = replace(moments, mean=moments.mean * np.sqrt(share))
        leaves = LeafMoments.of(moments.fixed_sizes().centred(), parents)
        profile = NestedProfile.of(leaves)
        point, verdict = search_ratios(profile, np.zeros(500, dtype=np.int64))
        ratio = profile.coordinates.ratios(point)
        n_failed += (verdict > Verdict.BOUNDARY).sum()

        def deviance(ratio: Floats, profile: NestedProfile = profile) -> Floats:
            at = profile.at(ratio, slice(None))
            return profile.df * np.log(at.squares.value) + at.log_det.value

        least = deviance(ratio)
        for size in (1e-3, 0.1, 1.0):
            for _ in range(10):
                moved = ratio * np.exp(size * rng.normal(size=ratio.shape)) + 0.01 * size * rng.random(
                    ratio.shape
                )
                assert (deviance(moved) >= least - 1e-9).all()
    assert n_failed == 0


def test_failures_have_their_verdicts() -> None:
    """A failed analysis is a result to be counted by its kind, not an exception."""
    batch, parents = random_batch(3)
    batch = replace(batch, n=np.maximum(batch.n, 1.0), mean=np.nan_to_num(batch.mean))

    def verdict_of(parents: tuple[Ints, ...] = parents, **changed: Floats) -> set[int]:
        return set(fit_nested_intercepts(replace(batch, **changed), parents).verdict.tolist())

    aliased = batch.regressors.copy()
    aliased[:, :, 1] = 1 - 2 * aliased[:, :, 2]
    assert verdict_of() <= {Verdict.FITTED, Verdict.BOUNDARY}
    assert verdict_of(regressors=aliased) == {Verdict.SINGULAR}
    assert verdict_of(regressors=aliased[:1], n=np.full((1, 64), 2.0)) == {Verdict.SINGULAR}
    assert verdict_of(within=np.zeros(3)) == {Verdict.NO_VARIATION}
    assert verdict_of(n=np.ones((3, 64))) == {Verdict.TOO_FEW}
    assert verdict_of((np.arange(64),)) == {Verdict.TOO_FEW}
    plain = batch.regressors[:, :, [0, 2]]
    none = {"within_squares": np.zeros((1, 2, 2)), "within_products": np.zeros((1, 2))}
    two = np.where(np.isin(parents[0], (0, 3)), batch.n, 0.0)
    assert verdict_of(n=two, regressors=plain, **none) == {Verdict.TOO_FEW}
    pair = np.repeat(np.arange(2), 32)
    plain = np.stack([np.ones((1, 64)), pair[np.newaxis] * 1.0], axis=2)
    assert verdict_of((pair,), n=np.full((1, 64), 2.0), regressors=plain, **none) == {Verdict.TOO_FEW}


@pytest.mark.parametrize("small_sample", ["satterthwaite", "kenward_roger"])
def test_leaves_without_observations_in_every_unit_leave_no_trace(small_sample: SmallSample) -> None:
    """The fourth worker of every authority was seen by nobody: the fit is that without those workers."""
    batch, (authority,) = random_batch(3)
    n = np.random.default_rng(3).integers(1, 60, (3, 64)).astype(float)
    n[:, 3::16] = 0
    mean = np.where(n > 0, np.nan_to_num(batch.mean), np.nan)
    whole = fit_nested_intercepts(replace(batch, n=n, mean=mean), (authority,), small_sample)
    seen = n[0] > 0
    part = replace(batch, n=n[:, seen], mean=mean[:, seen], regressors=batch.regressors[:, seen])
    expected = fit_nested_intercepts(part, (authority[seen],), small_sample)
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(whole, name), getattr(expected, name), rtol=1e-9)
