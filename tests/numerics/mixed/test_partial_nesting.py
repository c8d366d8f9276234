"""Partially nested REML agrees with dense matrices, a slow search and numerical derivatives, one fit at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from design_sim.arrays import Floats, Ints
from design_sim.numerics.mixed.intercept_model import ClusterMoments, Verdict
from design_sim.numerics.mixed.nested_model import MixedFits
from design_sim.numerics.mixed.partial_nesting import PartialNesting, fit_partially_nested
from design_sim.numerics.mixed.pooling import pool_cells
from design_sim.numerics.mixed.variance_ratios import deviance

EQUAL, UNEQUAL = [6] * 8, [1, 9, 4, 6, 2, 7, 5]


class Data:
    """One trial: outcome, regressors (observation, regressor), and each treated observation's cluster."""

    def __init__(self, seed: int, sizes: list[int], covariates: int = 0, tau: float = 0.4) -> None:
        """Draw a trial of 20 comparison observations, whose variance is 1.7 times that of the treated."""
        rng = np.random.default_rng(seed)
        self.cluster: Ints = np.concatenate([np.full(20, -1), np.repeat(np.arange(len(sizes)), sizes)])
        self.treated = self.cluster >= 0
        n = self.cluster.size
        x = rng.normal(size=(n, covariates))
        x[:, 1:] = np.where(self.treated[:, np.newaxis], x[np.maximum(self.cluster, 0), 1:], x[:, 1:])
        self.x: Floats = np.column_stack([np.ones(n), x, self.treated])
        shared = np.sqrt(tau) * rng.normal(size=len(sizes))[self.cluster] * self.treated
        own = rng.normal(size=n) * np.where(self.treated, 1.0, np.sqrt(1.7))
        self.y: Floats = 0.5 * self.treated + x.sum(axis=1) / 2 + shared + own

    @property
    def parts(self) -> list[Floats]:
        """What the variances of clusters, of treated and of comparison residuals are multiplied by."""
        same = (self.cluster[:, np.newaxis] == self.cluster) & self.treated
        return [same.astype(float), np.diag(self.treated * 1.0), np.diag(~self.treated * 1.0)]


def arms_of(trials: list[Data]) -> tuple[ClusterMoments, ClusterMoments]:
    """The moments of trials of one layout, by arm."""
    cluster = trials[0].cluster
    arms = []
    for rows, labels in ((cluster >= 0, cluster), (cluster < 0, cluster + 1)):
        y = np.stack([trial.y[rows] for trial in trials])
        x = [np.stack([trial.x[rows, k] for trial in trials]) for k in range(trials[0].x.shape[1])]
        n, none = np.ones((1, rows.sum())), np.zeros(len(trials))
        arms.append(pool_cells(n, y, none, x, labels[rows]))
    return arms[0], arms[1]


def solved(data: Data, variances: Floats) -> tuple[float, Floats, Floats]:
    """The REML deviance with dense matrices, the coefficients and their covariance matrix."""
    v = sum(variance * part for variance, part in zip(variances, data.parts, strict=True))
    inverse = np.linalg.inv(v)
    information = data.x.T @ inverse @ data.x
    covariance = np.linalg.inv(information)
    beta = covariance @ data.x.T @ inverse @ data.y
    rest = data.y - data.x @ beta
    log_dets = np.linalg.slogdet(v).logabsdet + np.linalg.slogdet(information).logabsdet
    df = data.y.size - data.x.shape[1]
    return float(df * np.log(2 * np.pi) + log_dets + rest @ inverse @ rest), beta, covariance


def variances_of(parameters: Floats, by_arm: bool) -> Floats:
    """The three variances, of which a common residual variance is two."""
    return parameters if by_arm else parameters[[0, 1, 1]]


def searched(data: Data, by_arm: bool) -> Floats:
    """The variances by a simplex search of their roots, begun again until it stands."""

    def deviance(roots: Floats) -> float:
        return solved(data, variances_of(roots**2 + 1e-12, by_arm))[0]

    roots: Floats = np.ones(3 if by_arm else 2)
    for _ in range(4):
        options = {"xatol": 1e-10, "fatol": 1e-13, "maxiter": 4_000}
        roots = optimize.minimize(deviance, roots, method="Nelder-Mead", options=options).x
    return roots**2


def derivatives(function: Callable[[Floats], float], at: Floats) -> tuple[Floats, Floats]:
    """Gradient and Hessian by central differences."""
    steps = np.diag(3e-4 * at)
    gradient = [(function(at + h) - function(at - h)) / (2 * h.sum()) for h in steps]
    hessian = [
        [
            (function(at + h + k) - function(at + h - k) - function(at - h + k) + function(at - h - k))
            / (4 * h.sum() * k.sum())
            for k in steps
        ]
        for h in steps
    ]
    return np.array(gradient), np.array(hessian)


def satterthwaite_of(data: Data, parameters: Floats, by_arm: bool) -> float:
    """2 v^2 / (g' 2 H^-1 g): v the coefficient's variance, H the Hessian of the deviance, in the variances."""
    v = solved(data, variances_of(parameters, by_arm))[2][-1, -1]
    gradient, _ = derivatives(lambda at: solved(data, variances_of(at, by_arm))[2][-1, -1], parameters)
    _, hessian = derivatives(lambda at: solved(data, variances_of(at, by_arm))[0], parameters)
    return float(2 * v**2 / (gradient @ (2 * np.linalg.inv(hessian)) @ gradient))


def kenward_roger_of(data: Data, parameters: Floats, by_arm: bool) -> tuple[float, float]:
    """Adjusted variance and df with dense matrices: Kenward and Roger (1997), (5) to (7), V linear."""
    of_clusters, of_treated, of_comparison = data.parts
    parts = [of_clusters, of_treated, of_comparison] if by_arm else [of_clusters, of_treated + of_comparison]
    inverse = np.linalg.inv(sum(p * part for p, part in zip(parameters, parts, strict=True)))
    x, covariance = data.x, solved(data, variances_of(parameters, by_arm))[2]
    project = inverse - inverse @ x @ covariance @ x.T @ inverse
    information = [[np.trace(project @ a @ project @ b) / 2 for b in parts] for a in parts]
    w = np.linalg.inv(np.array(information))
    p = [-x.T @ inverse @ part @ inverse @ x for part in parts]
    total = np.zeros_like(covariance)
    for i, a in enumerate(parts):
        for j, b in enumerate(parts):
            q = x.T @ inverse @ a @ inverse @ b @ inverse @ x
            total += w[i, j] * (q - p[i] @ covariance @ p[j])
    adjusted = covariance + 2 * covariance @ total @ covariance
    slopes = np.array([-(covariance @ each @ covariance)[-1, -1] for each in p])
    return float(adjusted[-1, -1]), float(2 * covariance[-1, -1] ** 2 / (slopes @ w @ slopes))


def found_variances(fits: MixedFits, at: int = 0) -> Floats:
    """The variances of a fit in the order of `Data.parts`, those of comparison left out if not their own."""
    residual = fits.residual[at]
    return residual * np.insert(fits.ratios[at], 1, 1.0)


CASES = [
    (seed, sizes, covariates)
    for seed, (sizes, covariates) in enumerate(
        [(EQUAL, 0), (UNEQUAL, 0), (UNEQUAL, 1), (EQUAL, 2), ([8, 5, 9], 1), ([8, 12], 0)]
    )
]


@pytest.mark.parametrize("by_arm", [True, False])
@pytest.mark.parametrize(("seed", "sizes", "covariates"), CASES)
def test_fits_are_those_of_dense_matrices_and_numerical_derivatives(
    seed: int, sizes: list[int], covariates: int, by_arm: bool
) -> None:
    """REML, Satterthwaite's and Kenward and Roger's tests, each written out for one trial."""
    data = Data(seed + 10, sizes, covariates, tau=3.0)
    fits = fit_partially_nested(*arms_of([data]), effect=data.x.shape[1] - 1, by_arm=by_arm)
    parameters = searched(data, by_arm)
    assert fits.verdict[0] == Verdict.FITTED
    assert found_variances(fits) == pytest.approx(parameters, rel=2e-5)
    deviance, beta, covariance = solved(data, variances_of(found_variances(fits), by_arm))
    assert deviance <= solved(data, variances_of(parameters, by_arm))[0] + 1e-9
    assert fits.criterion[0] == pytest.approx(deviance, rel=1e-10)
    assert fits.estimate[0] == pytest.approx(beta[-1], rel=1e-9)
    assert fits.std_error[0] == pytest.approx(np.sqrt(covariance[-1, -1]), rel=1e-9)
    assert fits.df[0] == pytest.approx(satterthwaite_of(data, found_variances(fits), by_arm), rel=1e-5)
    adjusted = fit_partially_nested(*arms_of([data]), data.x.shape[1] - 1, "kenward_roger", by_arm=by_arm)
    variance, df = kenward_roger_of(data, found_variances(fits), by_arm)
    assert adjusted.std_error[0] == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert adjusted.df[0] == pytest.approx(df, rel=1e-9)
    for column in range(1, data.x.shape[1]):
        one = fit_partially_nested(*arms_of([data]), effect=column, by_arm=by_arm)
        assert one.estimate[0] == pytest.approx(beta[column], rel=1e-8)


def test_clusters_of_one_size_give_welchs_test() -> None:
    """REML's variances are then mean squares, independent ones: cluster means against observations."""
    for seed in range(8):
        data = Data(seed, EQUAL, tau=1.0)
        fits = fit_partially_nested(*arms_of([data]), effect=1, by_arm=True)
        means = data.y[data.treated].reshape(8, 6).mean(axis=1)
        expected = stats.ttest_ind(means, data.y[~data.treated], equal_var=False)
        assert fits.verdict[0] == Verdict.FITTED
        assert fits.estimate[0] / fits.std_error[0] == pytest.approx(expected.statistic, rel=1e-10)
        assert fits.df[0] == pytest.approx(expected.df, rel=1e-8)


def test_at_the_boundary_families_are_compared_by_welchs_test() -> None:
    """Clusters that differ less than chance would make them have no part in estimate, error and df."""
    trials = [Data(seed, EQUAL, tau=0.0) for seed in range(20)]
    fits = fit_partially_nested(*arms_of(trials), effect=1, by_arm=True)
    at_edge = np.flatnonzero(fits.verdict == Verdict.BOUNDARY)
    assert 4 < at_edge.size < 16
    for at in at_edge:
        y, treated = trials[at].y, trials[at].treated
        expected = stats.ttest_ind(y[treated], y[~treated], equal_var=False)
        assert fits.ratios[at, 0] == 0
        assert fits.estimate[at] / fits.std_error[at] == pytest.approx(expected.statistic, rel=1e-10)
        assert fits.df[at] == pytest.approx(expected.df, rel=1e-8)


def test_at_the_boundary_one_variance_gives_least_squares() -> None:
    """lmerTest's df: observations less regressors."""
    trials = [Data(seed, UNEQUAL, 1, tau=0.05) for seed in range(20)]
    fits = fit_partially_nested(*arms_of(trials), effect=2, by_arm=False)
    at_edge = fits.verdict == Verdict.BOUNDARY
    assert 4 < at_edge.sum() < 16
    assert fits.df[at_edge] == pytest.approx(20 + sum(UNEQUAL) - 3, rel=1e-10)


@pytest.mark.parametrize("by_arm", [True, False])
def test_a_trial_is_fitted_the_same_alone_and_among_others(by_arm: bool) -> None:
    """Whatever the others need in steps of the search."""
    trials = [Data(seed, UNEQUAL, 1) for seed in range(30)]
    many = fit_partially_nested(*arms_of(trials), effect=2, by_arm=by_arm)
    for at in (0, 7, 29):
        one = fit_partially_nested(*arms_of([trials[at]]), effect=2, by_arm=by_arm)
        for name in ("estimate", "std_error", "df", "criterion"):
            assert getattr(many, name)[at] == pytest.approx(getattr(one, name)[0], rel=1e-7)


@pytest.mark.parametrize("by_arm", [True, False])
def test_no_point_of_a_grid_is_better_than_where_the_search_ends(by_arm: bool) -> None:
    """From one start the search might end in a valley that is not the deepest."""
    arms = arms_of([Data(seed, UNEQUAL, 1, tau=0.2) for seed in range(200)])
    fits = fit_partially_nested(*arms, effect=2, by_arm=by_arm)
    profile = PartialNesting.of(*arms, by_arm=by_arm)
    best = np.full(200, np.inf)
    for growth in (0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0):
        for log_ratio in np.linspace(-3, 3, 25) if by_arm else [0.0]:
            point = np.tile([[growth], [log_ratio]][: 2 if by_arm else 1], 200)
            best = np.minimum(best, deviance(profile, point, slice(None)).value)
    at = profile.at(fits.ratios.T, slice(None))
    ended = profile.df * np.log(at.squares.value) + at.log_det.value
    assert (ended <= best + 1e-9).all()


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_arms_may_vary_on_very_different_scales(factor: float) -> None:
    """A comparison arm a million times as variable, or as steady, has its own mean square."""
    data = Data(3, UNEQUAL, tau=1.0)
    there = ~data.treated
    data.y[there] = data.y[there].mean() + np.sqrt(factor) * (data.y[there] - data.y[there].mean())
    fits = fit_partially_nested(*arms_of([data]), effect=1, by_arm=True)
    assert fits.verdict[0] == Verdict.FITTED
    assert found_variances(fits)[2] == pytest.approx(data.y[there].var(ddof=1), rel=1e-6)


def changed(data: Data, **values: NDArray[Any]) -> Data:
    """The same trial with some of its arrays replaced."""
    for name, value in values.items():
        setattr(data, name, value)
    return data


def verdicts(data: Data) -> tuple[int, int]:
    """How fits of a trial end, by arm and with one residual variance."""
    ends = [
        int(fit_partially_nested(*arms_of([data]), effect=data.x.shape[1] - 1, by_arm=by_arm).verdict[0])
        for by_arm in (True, False)
    ]
    return ends[0], ends[1]


def test_what_cannot_be_fitted_is_said() -> None:
    """One cluster; a variance without observations; a regressor twice; nothing that varies."""
    few, fine = Verdict.TOO_FEW, {Verdict.FITTED, Verdict.BOUNDARY}
    assert verdicts(Data(1, [12])) == (few, few)
    alone = verdicts(Data(1, [1] * 8))
    assert alone[0] == few
    assert alone[1] in fine
    data = Data(1, EQUAL, 1)
    twice = np.insert(data.x, 1, data.x[:, 1], axis=1)
    assert verdicts(changed(data, x=twice)) == (Verdict.SINGULAR, Verdict.SINGULAR)
    data = Data(1, EQUAL)
    assert verdicts(changed(data, y=np.full_like(data.y, 3.7))) == (Verdict.NO_VARIATION,) * 2
    data = Data(1, EQUAL)
    steady = verdicts(changed(data, y=np.where(data.treated, data.y, 3.7)))
    assert steady[0] == Verdict.NO_VARIATION
    assert steady[1] in fine
    data = Data(1, EQUAL)
    whole = data.y[data.treated].reshape(8, 6).mean(axis=1)
    alike = np.where(data.treated, whole[np.maximum(data.cluster, 0)], data.y)
    assert verdicts(changed(data, y=alike))[0] == Verdict.NO_VARIATION
