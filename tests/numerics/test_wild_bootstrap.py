"""The bootstrap's cluster scores equal dense refits, for both rules of ties and with collinear regressors."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from design_sim.numerics.bootstrap_weights import BootstrapWeights, draw_weights, sign_vectors
from design_sim.numerics.cluster_variance import plan_contrast
from design_sim.numerics.least_squares import solve_normal
from design_sim.numerics.wild_bootstrap import (
    BootstrapPlan,
    Scores,
    bootstrap_test,
    count_as_large,
    draw_forms,
    plan_bootstrap,
    rounding,
)

Floats = NDArray[np.float64]
REFERENCE = Path(__file__).parents[1] / "reference"
STORED = json.loads((REFERENCE / "point" / "wild_cluster_bootstrap.json").read_text())["cases"]


def prepare(design: Floats, outcomes: Floats, cluster: Any) -> tuple[BootstrapPlan, Scores, Floats]:
    """Plan, scores in units of the standard error, and statistic, of the first column; (replicate, row)."""
    members = np.unique(cluster)
    grams = np.array([[design[cluster == g].T @ design[cluster == g] for g in members]])
    equations = solve_normal(grams.sum(axis=1))
    coefficients = equations.coefficients(outcomes @ design)
    residual = outcomes - coefficients @ design.T
    moments = np.stack([residual[:, cluster == g] @ design[cluster == g] for g in members], axis=1)
    plan = plan_bootstrap(plan_contrast(grams, equations, 0, "CR1"), equations, 0)
    scores = plan.scores(moments)
    size = np.sqrt((scores.own**2).sum(axis=1))
    return plan, scores.scaled(1 / size), coefficients[:, 0] / size


def dense(
    design: Floats, outcome: Floats, cluster: Any, weights: Floats, distance: float
) -> tuple[float, float]:
    """Numerator and squared standard error of one draw, in the units of `prepare`, by least squares."""

    def fitted(values: Floats) -> tuple[float, Floats, float]:
        coefficients = np.linalg.pinv(design) @ values
        left = values - design @ coefficients
        scores = [np.linalg.pinv(design)[0, cluster == g] @ left[cluster == g] for g in np.unique(cluster)]
        return float(coefficients[0]), left, float(np.sum(np.square(scores)))

    effect, _, variance = fitted(outcome)
    null = effect - distance * np.sqrt(variance)
    others = design[:, 1:]
    moved = outcome - null * design[:, 0]
    residual = moved - others @ np.linalg.pinv(others) @ moved
    sample = null * design[:, 0] + weights[cluster] * residual
    effect_star, _, variance_star = fitted(sample)
    return (effect_star - null) / np.sqrt(variance), variance_star / variance


def read(name: str, formula: str) -> tuple[Floats, Floats, Any]:
    """Design, the coefficient asked about first and with every dummy; outcome; cluster."""
    with (REFERENCE / "data" / f"{name}.csv").open() as file:
        lines = list(csv.DictReader(file))
    column = {key: np.array([float(line[key]) for line in lines]) for key in lines[0]}
    _, cluster = np.unique(column["cluster"], return_inverse=True)
    if "factor" in formula:
        dummies = [cluster == g for g in range(cluster.max() + 1)]
        dummies += [column["period"] == t for t in np.unique(column["period"])[1:]]
        columns = [column["d"], *dummies]
    else:
        columns = [column["treat"], np.ones(cluster.size), *([column["x"]] if "+ x" in formula else [])]
    return np.column_stack(columns).astype(float), column["y"], cluster


@pytest.mark.parametrize(
    ("name", "formula"), [(name, formula) for name in STORED for formula in STORED[name]]
)
def test_both_rules_of_ties_are_those_stored(name: str, formula: str) -> None:
    """Over all sign vectors, whether a tie counts decides between two p-values that packages print."""
    design, outcome, cluster = read(name, formula)
    plan, scores, statistic = prepare(design, outcome[np.newaxis], cluster)
    half = sign_vectors(int(cluster.max()) + 1)
    weights = BootstrapWeights.of(np.concatenate([half, -half], axis=1), 0)
    restricted = scores.shifted(statistic, plan.shift)
    for version, used in (("WCR_restricted", restricted), ("WCU_unrestricted", scores)):
        forms, expected = draw_forms(plan, (used,), weights), STORED[name][formula][version]
        slack = rounding(used)
        for rule, sign in (("ge", 1), ("gt", -1)):
            counted = count_as_large(forms, statistic, (sign * slack[0], sign * slack[1]))
            p_value = counted[0] / expected["n_draws"]
            assert p_value == pytest.approx(expected[f"p_symmetric_{rule}"], abs=1e-12), (version, rule)


@pytest.mark.parametrize("law", ["rademacher", "webb", "mammen"])
@pytest.mark.parametrize("collinear", [False, True])
def test_draws_equal_dense_refits_at_every_null_value(law: Any, collinear: bool) -> None:
    """Numerator and standard error are polynomials of the null value, also where a column is redundant."""
    rng = np.random.default_rng(2)
    cluster = np.repeat(np.arange(7), rng.integers(1, 6, 7))
    design = np.column_stack([cluster < 3, np.ones(cluster.size), rng.normal(size=(cluster.size, 2))])
    if collinear:
        design = np.column_stack([design, design[:, 1] - 2 * design[:, 2]])
    outcomes = rng.normal(size=(2, cluster.size)) + rng.normal(size=7)[cluster]
    plan, scores, _ = prepare(design, outcomes, cluster)
    assert plan.basis.shape[2] == 4
    values = draw_weights(law, 7, 5, rng)
    forms = draw_forms(plan, (scores, plan.shift), BootstrapWeights.of(values, 1))
    for distance in (-3.0, 0.0, 0.7, 40.0):
        numerator, variance = forms.at(np.full(2, distance))
        for replicate in range(2):
            for draw in range(5):
                expected = dense(design, outcomes[replicate], cluster, values[:, draw], distance)
                found = numerator[replicate, draw], variance[replicate, draw]
                assert found == pytest.approx(expected, rel=1e-9)


def test_two_arms_need_two_dimensions_however_many_columns_there_are() -> None:
    """With a balanced panel of two groups only the groups' own means are shared among authorities."""
    authority, occasion = np.repeat(np.arange(12), 6), np.tile(np.arange(6), 12)
    treated = (authority < 5) & (occasion >= 3)
    dummies = [authority == a for a in range(12)] + [occasion == t for t in range(1, 6)]
    design = np.column_stack([treated, *dummies]).astype(float)
    plan, _, _ = prepare(design, np.random.default_rng(1).normal(size=(1, 72)), authority)
    assert plan.basis.shape == (1, 12, 2)


def test_ties_do_not_depend_on_the_level_of_the_outcome() -> None:
    """A large common level leaves rounding in every residual, which is not a difference."""
    design, outcome, cluster = read("crt_unb6", "y ~ treat")
    half = sign_vectors(6)
    weights = BootstrapWeights.of(np.concatenate([half, -half], axis=1), 0)
    p_values = []
    for level in (0.0, 1e4):
        plan, scores, statistic = prepare(design, outcome[np.newaxis] + level, cluster)
        test = bootstrap_test(plan, scores, statistic, weights, imposed=True, alpha=None)
        p_values.append(float(test.p_value[0]))
    assert p_values == [0.59375, 0.59375]


@pytest.mark.parametrize(
    ("law", "third", "fourth"), [("rademacher", 0, 1), ("webb", 0, 7 / 6), ("mammen", 1, 2)]
)
def test_weights_have_the_moments_of_their_law(law: Any, third: float, fourth: float) -> None:
    """Mean 0 and variance 1 keep the residuals' variance; the higher moments tell the laws apart."""
    values = draw_weights(law, 200, 1_000, np.random.default_rng(3))
    for power, expected in ((1, 0.0), (2, 1.0), (3, third), (4, fourth)):
        error = (values**power).std() / np.sqrt(values.size)
        assert (values**power).mean() == pytest.approx(expected, abs=4 * error + 1e-12)


def test_an_added_cluster_moves_no_other_cluster_s_weights() -> None:
    """Studies of different size share what they can."""
    few, many = (draw_weights("webb", n, 50, np.random.default_rng(4)) for n in (5, 8))
    np.testing.assert_array_equal(many[:5], few)


def test_sign_vectors_and_their_mirror_images_are_all_vectors() -> None:
    """One of each pair is enough, and the first is the study itself."""
    half = sign_vectors(5)
    every = {tuple(vector) for vector in np.concatenate([half, -half], axis=1).T}
    assert half.shape == (5, 16)
    assert len(every) == 32
    assert (half[:, 0] == 1).all()
    assert (half[0] == 1).all()


def test_the_rank_that_is_rejected_beyond_agrees_with_p_values_at_alpha() -> None:
    """A statistic above all but k - 1 of 19 draws has p = k / 20: not above .05 for k = 1, above it for 2."""
    assert BootstrapWeights.of(np.ones((1, 19)), 1).rank(0.05) == 1
    assert BootstrapWeights.of(np.ones((1, 999)), 1).rank(0.05) == 50
    assert BootstrapWeights.of(np.ones((1, 99)), 1).rank(0.29) == 29
    assert BootstrapWeights.of(np.ones((1, 15)), 1).rank(0.05) == 0
    assert BootstrapWeights.of(np.ones((1, 512)), 0).rank(0.05) == 26


def test_draws_that_repeat_the_study_are_counted_and_not_compared() -> None:
    """Equal weights rescale all residuals, which leaves t as it was."""
    values = np.array([[1.0, -1.0, 1.0, 1.0], [1.0, -1.0, -1.0, 1.0]])
    weights = BootstrapWeights.of(values, 1).without_repeats()
    assert weights.values.tolist() == [[1.0], [-1.0]]
    assert (weights.observed, weights.count) == (4, 5)
    assert BootstrapWeights.of(values[:, :2], 0).without_repeats().rank(0.05) < 0
