"""Rejection rates of published simulations, by our arithmetic: within 3.5 combined Monte Carlo errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators.cluster_means import ClusterMeans
from design_sim.estimators.clustered_regression import ClusteredRegression
from design_sim.estimators.two_way_fixed_effects import TwoWayFixedEffects
from design_sim.numerics.bootstrap_weights import BootstrapWeights, sign_vectors
from design_sim.numerics.cluster_variance import ClusterRobust, plan_contrast, small_sample_factor
from design_sim.numerics.least_squares import NormalEquations, solve_normal
from design_sim.numerics.mixed.intercept_model import Verdict
from design_sim.numerics.mixed.pooling import pool_cells
from design_sim.numerics.mixed.random_slopes import fit_random_slopes
from design_sim.numerics.student import t_p_value
from design_sim.numerics.wild_bootstrap import bootstrap_test, plan_bootstrap
from design_sim.panel import Panel
from design_sim.roster import Roster

STORED = Path(__file__).parent / "reference" / "mc"


def stored(name: str) -> dict[str, Any]:
    """A published simulation."""
    found: dict[str, Any] = json.loads((STORED / f"{name}.json").read_text())
    return found


def agrees(rate: float, n: int, stated: float, replications: int) -> bool:
    """Whether two rates differ by no more than 3.5 standard errors of their difference."""
    pooled = (rate * n + stated * replications) / (n + replications)
    error = np.sqrt(max(pooled * (1 - pooled), 1e-9) * (1 / n + 1 / replications))
    return bool(abs(rate - stated) <= 3.5 * error)


RANDOM_REGRESSOR = stored("cgm2008_random_regressor")["results"]


class Clusters:
    """Regressions of thirty observations in each cluster, regressor and error both with a part in common."""

    def __init__(self, n: int, n_clusters: int, rng: Generator) -> None:
        shape = (n, n_clusters, 30)
        x = rng.normal(size=(n, n_clusters, 1)) + rng.normal(size=shape)
        y = rng.normal(size=(n, n_clusters, 1)) + rng.normal(size=shape)  # less the true effect of x
        columns = np.stack([x, np.ones(shape)], axis=3)
        self.grams = np.einsum("rgik,rgil->rgkl", columns, columns)
        self.moments = np.einsum("rgik,rgi->rgk", columns, y)
        self.equations: NormalEquations = solve_normal(self.grams.sum(axis=1))
        self.coefficients = self.equations.coefficients(self.moments.sum(axis=1))
        self.squares = np.einsum("rgi,rgi->r", y, y)
        self.sizes = np.full(1, float(n_clusters)), np.full(1, 30.0 * n_clusters)

    def statistic(self, kind: ClusterRobust) -> tuple[Floats, Floats]:
        """t of the slope, and the Satterthwaite df of its standard error."""
        plan = plan_contrast(self.grams, self.equations, 0, kind)
        own = np.einsum("rgk,rgk->rg", np.broadcast_to(plan.direction, self.moments.shape), self.moments)
        factor = small_sample_factor(kind, *self.sizes, self.equations.rank)
        std_error = np.sqrt(plan.variance(own, self.coefficients) * factor)
        return self.coefficients[:, 0] / std_error, plan.moments(self.equations).satterthwaite

    def naive(self) -> Floats:
        """t of the slope with observations taken as independent."""
        left = self.squares - np.einsum("rk,rk->r", self.coefficients, self.moments.sum(axis=1))
        variance = left / (self.sizes[1] - 2) * self.equations.inverse[:, 0, 0]
        return self.coefficients[:, 0] / np.sqrt(variance)

    def bootstrap(self) -> Floats:
        """p-values of the restricted wild bootstrap over all signs, on which ties count."""
        plan = plan_bootstrap(plan_contrast(self.grams, self.equations, 0, "CR1"), self.equations, 0)
        left = self.moments - np.einsum("rgkl,rl->rgk", self.grams, self.coefficients)
        scores = plan.scores(left)
        size = np.sqrt((scores.own**2).sum(axis=1))
        weights = BootstrapWeights.of(sign_vectors(int(self.sizes[0][0])), 0)
        statistic = self.coefficients[:, 0] / size
        scaled = scores.scaled(1 / size)
        return bootstrap_test(plan, scaled, statistic, weights, imposed=True, alpha=None).p_value


@pytest.mark.parametrize("case", RANDOM_REGRESSOR, ids=lambda case: str(case["G"]))
def test_a_regressor_alike_in_clusters_is_rejected_as_often_as_published(case: dict[str, Any]) -> None:
    """Eleven tests of Cameron, Gelbach and Miller's design, of which some reject far too often."""
    n, n_clusters, rng = 8_000, case["G"], np.random.default_rng(case["G"])
    drawn = Clusters(n, n_clusters, rng)
    df = {"z": np.inf, "t(G-1)": n_clusters - 1, "t(G-2)": n_clusters - 2, "t(N-k)": 30 * n_clusters - 2}
    for name, rate in case["rejection"].items():
        replications = case["replications"]
        if name == "WCR_rademacher_enumerated":
            p_value, replications = drawn.bootstrap(), case["replications_wcr"]
        elif name == "ols_iid_t":
            p_value = t_p_value(drawn.naive(), np.array([df["t(N-k)"]]))
        else:
            kind, _, rule = name.partition("_")
            statistic, satterthwaite = drawn.statistic(kind)  # type: ignore[arg-type]
            if rule == "satterthwaite":
                error = satterthwaite.std() * np.sqrt(1 / n + 1 / replications)
                assert abs(satterthwaite.mean() - case["mean_satterthwaite_df"]) <= 3.5 * error
            p_value = t_p_value(statistic, df[rule] * np.ones(1) if rule in df else satterthwaite)
        assert agrees(float((p_value <= 0.05).mean()), n, rate, replications), name


def placebo_laws(n: int, states: int, start: int, correlation: float, rng: Generator) -> Panel:
    """Twenty-one years of states whose errors remember the year before; half have a law that does nothing."""
    noise = rng.normal(size=(n, states, 21))
    noise[:, :, 1:] *= np.sqrt(1 - correlation**2)
    for year in range(1, 21):
        noise[:, :, year] += correlation * noise[:, :, year - 1]
    return Panel(
        roster=Roster.of_authorities(states),
        cells=Cells(np.ones((1, states, 21)), noise, np.zeros((1, states, 21))),
        start=np.where(np.arange(states) < states // 2, start, NEVER)[np.newaxis],
        occasions=np.arange(21),
        follow_up=np.arange(21) >= start,
        law=complete_randomisation(states, states // 2),
    )


@pytest.mark.parametrize(
    "case", stored("bdm2004_ar1")["results"], ids=lambda case: f"{case['states']}-{case['ar1']}"
)
def test_placebo_laws_are_found_as_often_as_published(case: dict[str, Any]) -> None:
    """Bertrand, Duflo and Mullainathan's design: naive, clustered and collapsed to two spans of years.

    The published factor of the clustered variance leaves the states' effects out of k.
    """
    states, rng, each = case["states"], np.random.default_rng(7), 300
    found: dict[str, list[Floats]] = {name: [] for name in case["rejection"]}
    factor = np.sqrt((21 * states - 1) / (21 * states - 21 - 1))
    for start in range(7, 18):
        panel = placebo_laws(each, states, start, case["ar1"], rng)
        naive = TwoWayFixedEffects(variance="naive").estimate(panel, rng)
        clustered = TwoWayFixedEffects(variance="CR1").estimate(panel, rng)
        statistic = clustered.estimate / (clustered.std_error * factor)
        found["conventional_ols_t"].append(naive.p_value)
        found["cluster_CR1_t_N1"].append(t_p_value(statistic, np.array([states - 1.0])))
        found["collapsed_two_period_t"].append(ClusterMeans(change=True).estimate(panel, rng).p_value)
    for name, rate in case["rejection"].items():
        rejected = np.concatenate(found[name]) <= 0.05
        assert agrees(float(rejected.mean()), rejected.size, rate, case["replications"]), name


def growth(n: int, rng: Generator) -> tuple[Floats, Floats]:
    """Outcomes of forty people in either arm at eleven times, (replicate, person, time), and who is treated."""
    given = stored("powerlmm_readme_simulation")["inputs"]
    covariance = given["corr_intercept_slope"] * np.sqrt(given["var_intercept"] * given["var_slope"])
    spread = np.array([[given["var_intercept"], covariance], [covariance, given["var_slope"]]])
    own = rng.multivariate_normal([0, 0], spread, (n, 80))
    treated = (np.arange(80) >= 40).astype(float)
    time = np.arange(11.0)
    y = own[:, :, :1] + (own[:, :, 1] + given["slope_difference"] * treated)[:, :, np.newaxis] * time
    return y + np.sqrt(given["var_error"]) * rng.normal(size=y.shape), treated


def test_growth_models_and_their_last_values_have_the_published_power() -> None:
    """powerlmm's example: slopes of a mixed model against the last value given the first."""
    case, n = stored("powerlmm_readme_simulation"), 400
    y, treated = growth(n, np.random.default_rng(1))
    time, person = np.tile(np.arange(11.0), 80), np.repeat(np.arange(80), 11)
    columns = [np.ones((1, 880)), time[np.newaxis], (time * np.repeat(treated, 11))[np.newaxis]]
    moments = pool_cells(np.ones((1, 880)), y.reshape(n, 880), np.zeros(n), columns, np.arange(880))
    fits = fit_random_slopes(moments, person, time, correlated=True, by_occasion=False)
    assert (fits.verdict == Verdict.FITTED).all()
    p_value = t_p_value(fits.estimate / fits.std_error, fits.df)
    slopes = (fits.estimate, fits.std_error, p_value)
    panel = Panel(
        roster=Roster.of_authorities(80),
        cells=Cells(np.ones((1, 80, 1)), y[:, :, -1:], np.zeros((1, 80, 1))),
        start=np.where(treated == 1, 0, NEVER)[np.newaxis],
        occasions=np.arange(1),
        follow_up=np.ones(1, dtype=bool),
        law=complete_randomisation(80, 40),
        covariates={"first": y[:, :, 0]},
    )
    model = ClusteredRegression(variance="naive", covariates=("first",))
    last = model.estimate(panel, np.random.default_rng(1))
    for name, (estimate, std_error, p) in {
        "LMM": slopes,
        "ANCOVA": (last.estimate, last.std_error, last.p_value),
    }.items():
        expected, replications = case["expected"][name], case["replications"]
        rounding = 0.05 if name == "LMM" else 0.5
        spread = estimate.std() * np.sqrt(1 / n + 1 / replications)
        assert abs(estimate.mean() - expected["mean_estimate"]) <= 3.5 * spread + rounding
        assert std_error.mean() == pytest.approx(expected["mean_se"], abs=0.1 * rounding)
        assert agrees(float((p <= 0.05).mean()), n, expected["power"], replications)
