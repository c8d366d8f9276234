"""Generalised mixed models against integrals, differences, other software and the model without clusters."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.random import Generator
from scipy import integrate, optimize, special, stats

from design_sim.arrays import Floats
from design_sim.numerics.exponential_family import BINOMIAL, POISSON, Family
from design_sim.numerics.generalised_mixed import Ending, fit_generalised_mixed
from design_sim.numerics.marginal_likelihood import ClusteredEvents, gauss_hermite, log_likelihood
from design_sim.numerics.standardisation import standardised_difference

REFERENCE = Path(__file__).parents[1] / "reference"
GRID = np.linspace(-9, 9, 601)
FAMILIES = pytest.mark.parametrize("family", [BINOMIAL, POISSON], ids=["binomial", "poisson"])


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(31)


def draw(rng: Generator, n: Floats, regressors: Floats, spread: float, family: Family) -> ClusteredEvents:
    """Events of a model with coefficients -0.5, 0.4, 0.4, ...; n (replicate, cluster, cell)."""
    coefficients = np.full(regressors.shape[1], 0.4)
    coefficients[0] = -0.5
    eta = np.einsum("p,rpgc->rgc", coefficients, regressors) + spread * rng.normal(size=(*n.shape[:2], 1))
    mean = family.cumulants(eta, 1, 1)[0]
    events = rng.binomial(n.astype(int), mean) if family is BINOMIAL else rng.poisson(n * mean)
    return ClusteredEvents(n, events.astype(float), regressors)


def small(rng: Generator, family: Family, n_replicates: int = 2) -> ClusteredEvents:
    """Six clusters with four cells, a covariate, and a treatment; some cells empty."""
    n = rng.integers(0, 6, (n_replicates, 6, 4)).astype(float)
    x = rng.normal(size=(n_replicates, 6, 4))
    treated = np.broadcast_to((np.arange(6) < 3).astype(float)[:, np.newaxis], x.shape)
    return draw(rng, n, np.stack([np.ones_like(x), x, treated], axis=1), 0.8, family)


def two_arms(rng: Generator, n_replicates: int, sizes: list[int], spread: float) -> ClusteredEvents:
    """A trial of clusters of given sizes, every second one treated."""
    n = np.broadcast_to(np.array(sizes, dtype=float)[:, np.newaxis], (n_replicates, len(sizes), 1))
    treated = (np.arange(len(sizes)) % 2).astype(float)[:, np.newaxis]
    return draw(rng, n, np.stack([np.ones_like(treated), treated])[np.newaxis], spread, BINOMIAL)


class Slow(NamedTuple):
    """One replicate of the model the slow way: integrals over the random intercept on a fine grid."""

    data: ClusteredEvents
    family: Family
    replicate: int

    def density(self, parameters: Floats, cluster: int, u: Floats | float) -> Floats:
        """What a cluster's likelihood is the integral of."""
        value = stats.norm.pdf(u)
        for cell in range(self.data.n.shape[2]):
            n, events, columns = (
                values[self.replicate, ..., cluster, cell]
                for values in (self.data.n, self.data.events, self.data.regressors)
            )
            eta = np.asarray(parameters[:-1] @ columns + parameters[-1] * u)
            value = value * np.exp(events * eta - n * self.family.cumulants(eta, 0, 0)[0])
        return np.asarray(value)

    def log_likelihood(self, parameters: Floats) -> float:
        """The sum over clusters of the logarithm of an integral."""
        densities = [self.density(parameters, cluster, GRID) for cluster in range(self.data.n.shape[1])]
        return float(sum(np.log(integrate.trapezoid(density, GRID)) for density in densities))

    def difference(self, parameters: Floats) -> float:
        """The mean over families of what treatment does to the mean over the random intercept."""
        columns, n = self.data.regressors[self.replicate], self.data.n[self.replicate]
        total = 0.0
        for cluster, cell in np.ndindex(n.shape):
            for arm, sign in ((1.0, 1.0), (0.0, -1.0)):
                eta = parameters[:-1] @ np.append(columns[:-1, cluster, cell], arm) + parameters[-1] * GRID
                mean = self.family.cumulants(eta, 1, 1)[0]
                total += sign * n[cluster, cell] * integrate.trapezoid(mean * stats.norm.pdf(GRID), GRID)
        return float(total / n.sum())


def slope(function: object, point: Floats, step: float = 1e-4) -> Floats:
    """Central differences of a function, the parameter's axis last."""
    assert callable(function)
    ahead = [function(point + step * unit) for unit in np.eye(point.size)]
    behind = [function(point - step * unit) for unit in np.eye(point.size)]
    return np.stack([(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)], axis=-1)


@FAMILIES
@pytest.mark.parametrize("points", [1, 2, 9])
def test_derivatives_are_those_of_the_quadrature(family: Family, points: int, rng: Generator) -> None:
    """Few nodes are not the integral, and their own derivatives are what leads to their own maximum."""
    data = small(rng, family)
    parameters = np.array([[-0.3, 0.5, 0.2, 0.7], [0.1, 0.3, -0.4, 1.4]])

    def at(values: Floats) -> tuple[Floats, Floats, Floats]:
        local, _ = log_likelihood(
            data, family, gauss_hermite(points), values[:, :-1], values[:, -1], np.zeros((2, 6))
        )
        return local

    found = at(parameters)
    for parameter in range(4):
        step = 1e-5 * np.eye(4)[parameter]
        ahead, behind = at(parameters + step), at(parameters - step)
        gradient, hessian = ((ahead[k] - behind[k]) / 2e-5 for k in (0, 1))
        np.testing.assert_allclose(found[1][:, parameter], gradient, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found[2][:, parameter], hessian, rtol=1e-6, atol=1e-6)


@FAMILIES
def test_many_nodes_give_the_integral(family: Family, rng: Generator) -> None:
    """Quadrature is of the likelihood; an adaptive integrator knows nothing of modes."""
    data, parameters = small(rng, family), np.array([-0.3, 0.5, 0.2, 1.2])
    both = np.broadcast_to(parameters, (2, 4))
    local, _ = log_likelihood(data, family, gauss_hermite(25), both[:, :-1], both[:, -1], np.zeros((2, 6)))
    for replicate in range(2):
        slow, total = Slow(data, family, replicate), 0.0
        for cluster in range(6):
            density = partial(slow.density, parameters, cluster)
            total += np.log(integrate.quad(density, -9, 9, epsabs=0, epsrel=1e-10)[0])
        assert local.value[replicate] == pytest.approx(total, rel=1e-8)


@FAMILIES
def test_fits_equal_a_slow_search_with_exact_integrals(family: Family, rng: Generator) -> None:
    """Estimates, standard errors and the standardised difference of one replicate, by general tools."""
    data = small(rng, family, n_replicates=4)
    fits = fit_generalised_mixed(data, family, 25)
    differences, std_errors = standardised_difference(data, family, fits)
    assert fits.ending.tolist().count(Ending.FITTED) > 0
    replicate = int(np.argmax(fits.ending == Ending.FITTED))
    slow = Slow(data, family, replicate)
    start = np.append(fits.coefficients[replicate] + 0.1, fits.spread[replicate] + 0.1)
    found = optimize.minimize(lambda p: -slow.log_likelihood(p), start, method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(fits.coefficients[replicate], found.x[:-1], atol=2e-5)
    np.testing.assert_allclose(fits.spread[replicate], abs(found.x[-1]), atol=2e-5)
    information = -slope(lambda p: slope(slow.log_likelihood, p, 1e-3), found.x, 1e-3)
    covariance = np.linalg.inv(information)
    np.testing.assert_allclose(fits.covariance[replicate], covariance, rtol=1e-3, atol=1e-4)
    gradient = slope(slow.difference, found.x)
    assert differences[replicate] == pytest.approx(slow.difference(found.x), abs=1e-5)
    assert std_errors[replicate] == pytest.approx(np.sqrt(gradient @ covariance @ gradient), rel=1e-3)


def test_a_variance_of_zero_leaves_the_model_without_clusters() -> None:
    """Where clusters differ less than chance would have it, odds and their errors are those of one table."""
    sizes, events = np.full((1, 4, 1), 50.0), np.array([[[20.0], [20.0], [30.0], [30.0]]])
    treated = np.array([[0.0], [0.0], [1.0], [1.0]])
    data = ClusteredEvents(sizes, events, np.stack([np.ones_like(treated), treated])[np.newaxis])
    fits = fit_generalised_mixed(data, BINOMIAL, 9)
    difference, std_error = standardised_difference(data, BINOMIAL, fits)
    assert fits.ending[0] == Ending.BOUNDARY
    assert fits.spread[0] == 0
    assert fits.coefficients[0, 1] == pytest.approx(2 * np.log(1.5))
    assert fits.covariance[0, 1, 1] == pytest.approx(2 / 40 + 2 / 60)
    assert difference[0] == pytest.approx(0.2)
    assert std_error[0] == pytest.approx(np.sqrt(2 * 0.24 / 100))


def test_a_score_of_exactly_zero_is_the_boundary() -> None:
    """Rounding must not send the search after a variance of 1e-17."""
    events = np.array([2.0, 5, 3, 3, 2, 1, 2, 2, 1, 4]).reshape(1, 10, 1)
    treated = (np.arange(10) < 5).astype(float)[:, np.newaxis]
    data = ClusteredEvents(
        np.full((1, 10, 1), 5.0), events, np.stack([np.ones((10, 1)), treated])[np.newaxis]
    )
    residual = events[0, :, 0] - np.where(np.arange(10) < 5, 3, 2)
    assert (residual**2).sum() == 10 * 5 * 0.24
    assert fit_generalised_mixed(data, BINOMIAL, 9).ending[0] == Ending.BOUNDARY


def test_a_higher_maximum_away_from_the_boundary_is_found_where_one_cluster_dominates(rng: Generator) -> None:
    """The likelihood falls from a variance of 0, and rises again beyond; the higher of the two is the fit."""
    data = two_arms(rng, 1_500, [4, 4, 4, 64, 4, 4, 4, 4], 0.5)
    fits = fit_generalised_mixed(data, BINOMIAL, 9)
    inside = np.flatnonzero(fits.ending == Ending.FITTED)
    columns = data.regressors[0, :, :, 0]
    hidden = []
    for replicate in inside:
        n, events = data.n[replicate, :, 0], data.events[replicate, :, 0]
        arm = [events[columns[1] == k].sum() / n[columns[1] == k].sum() for k in (0, 1)]
        risk = np.where(columns[1] == 1, arm[1], arm[0])
        if ((events - n * risk) ** 2 - n * risk * (1 - risk)).sum() < 0:
            hidden.append(replicate)
            without = special.xlogy(events, risk) + special.xlogy(n - events, 1 - risk)
            assert fits.log_likelihood[replicate] > without.sum()
    assert len(hidden) > 0


def test_what_cannot_be_fitted_says_why() -> None:
    """Each kind of failure in a batch with a sound replicate, which keeps its numbers."""
    treated = np.repeat([0.0, 1.0], 3)[:, np.newaxis]
    columns = np.stack([np.ones((6, 1)), treated])[np.newaxis]
    events = np.array(
        [
            [2.0, 9, 4, 8, 12, 3],
            [0, 0, 0, 8, 12, 3],
            [0] * 6,
            [20] * 6,
            [2, 9, 4, 20, 20, 20],
            [0, 20, 0, 20, 0, 20],
        ]
    )
    data = ClusteredEvents(np.full((1, 6, 1), 20.0), events[..., np.newaxis], columns)
    fits = fit_generalised_mixed(data, BINOMIAL, 9)
    assert fits.ending[:5].tolist() == [
        Ending.FITTED,
        Ending.SEPARATION,
        Ending.NO_VARIATION,
        Ending.NO_VARIATION,
        Ending.SEPARATION,
    ]
    assert fits.ending[5] in {Ending.SEPARATION, Ending.NOT_CONVERGED}
    alone = fit_generalised_mixed(data.of(slice(0, 1)), BINOMIAL, 9)
    np.testing.assert_allclose(fits.coefficients[0], alone.coefficients[0], rtol=1e-9)
    doubled = ClusteredEvents(
        data.n, data.events, np.concatenate([columns, treated[np.newaxis, np.newaxis]], axis=1)
    )
    assert fit_generalised_mixed(doubled, BINOMIAL, 9).ending[0] == Ending.SINGULAR


def test_a_redundant_column_changes_nothing(rng: Generator) -> None:
    """A covariate that another one determines takes nothing from what is asked about."""
    data = small(rng, BINOMIAL)
    first, x, treated = np.moveaxis(data.regressors, 1, 0)
    twice = ClusteredEvents(data.n, data.events, np.stack([first, x, 1 - 2 * x, 0 * x, treated], axis=1))
    plain, redundant = (fit_generalised_mixed(d, BINOMIAL, 9) for d in (data, twice))
    np.testing.assert_allclose(redundant.coefficients[:, -1], plain.coefficients[:, -1], rtol=1e-7)
    np.testing.assert_allclose(redundant.covariance[:, -2, -2], plain.covariance[:, -2, -2], rtol=1e-6)


@pytest.mark.parametrize(("length", "replicates"), [(10, 6_000), (20, 3_000)])
def test_power_of_a_published_poisson_example(length: int, replicates: int, rng: Generator) -> None:
    """A slope over three groups, Laplace and Wald's z, as simulated with lme4; 3.5 combined errors."""
    case = json.loads((REFERENCE / "mc" / "simr_poisson_glmm.json").read_text())
    inputs, expected = case["inputs"], case["recomputed"][f"power_n{length}"]
    x = np.broadcast_to(np.arange(1.0, length + 1), (3, length))
    intercepts = inputs["sd_group"] * rng.normal(size=(replicates, 3, 1))
    events = rng.poisson(np.exp(inputs["intercept"] + inputs["slope"] * x + intercepts)).astype(float)
    data = ClusteredEvents(np.ones((1, 3, length)), events, np.stack([np.ones_like(x), x])[np.newaxis])
    fits = fit_generalised_mixed(data, POISSON, 1)
    assert np.isin(fits.ending, [Ending.FITTED, Ending.BOUNDARY]).all()
    rejected = np.abs(fits.coefficients[:, 1]) > 1.959964 * np.sqrt(fits.covariance[:, 1, 1])
    fewer = 1 / replicates + 1 / case["replications_here"][f"n{length}"]
    assert rejected.mean() == pytest.approx(expected, abs=3.5 * np.sqrt(expected * (1 - expected) * fewer))
