"""Least squares of stored sets whose regressor is no arm of a study: the arithmetic below the estimators.

Public sets are read where the validation data stand beside the package; the others are in `tests/reference`.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from design_sim.arrays import Floats, Ints
from design_sim.estimators.instrumental_variables import (
    InstrumentalVariables,
    InstrumentedCells,
    two_stage_least_squares,
)
from design_sim.numerics.cluster_variance import ClusterRobust, plan_contrast, small_sample_factor
from design_sim.numerics.least_squares import solve_normal
from design_sim.numerics.student import t_p_value
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
PUBLIC = Path(__file__).parents[3] / "shared" / "validation"


@dataclass(frozen=True)
class Regression:
    """A regression with its clusters, the columns that are asked about first."""

    outcome: Floats
    design: Floats
    cluster: Ints
    names: tuple[str, ...]


def table(folder: Path, name: str) -> dict[str, list[str]]:
    """The columns of a stored set, as text."""
    with (folder / "data" / f"{name}.csv").open() as file:
        lines = list(csv.DictReader(file))
    return {key: [line[key] for line in lines] for key in lines[0]}


def numbers(values: list[str]) -> Floats:
    """A column of numbers."""
    return np.array([float(value) for value in values])


def codes(values: list[str]) -> Ints:
    """A column of names as numbers from 0."""
    return np.unique(values, return_inverse=True)[1]


def dummies(code: Ints, first: int) -> list[Floats]:
    """Which observations have each value, from the given one on."""
    return [(code == value).astype(float) for value in range(first, int(code.max()) + 1)]


def point(folder: Path, name: str) -> dict[str, Any]:
    """What other software found."""
    found: dict[str, Any] = json.loads((folder / "point" / f"{name}.json").read_text())
    return found


def panel_regression(name: str, model: str) -> Regression:
    """Repeated cross-sections: full dummies, or the two by two of groups and spans."""
    column = table(REFERENCE, name)
    cluster, y, d = codes(column["cluster"]), numbers(column["y"]), numbers(column["d"])
    effects = dummies(cluster, 0) + dummies(codes(column["period"]), 1)
    if model in ("twfe", "ols_fixed_cluster"):
        return Regression(y, np.column_stack([d, *effects]), cluster, ("d",))
    group, post, x = (numbers(column[key]) for key in ("group", "post", "x"))
    if model == "two_by_two":
        design = np.column_stack([group * post, group, post, np.ones(y.size)])
        return Regression(y, design, cluster, ("group:post", "group", "post", "(Intercept)"))
    return Regression(y, np.column_stack([d, x, *effects]), cluster, ("d", "x"))


def mortality() -> Regression:
    """Deaths in motor vehicles by state and year, on drinking age and the tax of beer."""
    column = table(PUBLIC, "mortality_mv")
    state = codes(column["state"])
    effects = dummies(state, 0) + dummies(codes(column["year"]), 1)
    design = np.column_stack([numbers(column["legal"]), numbers(column["beertaxa"]), *effects])
    return Regression(numbers(column["mrate"]), design, state, ("legal", "beertaxa"))


def petersen(cluster: str) -> Regression:
    """Five hundred firms in ten years."""
    column = table(PUBLIC, "petersen")
    x, y = numbers(column["x"]), numbers(column["y"])
    unit = np.arange(y.size) if cluster == "alone" else codes(column[cluster])
    return Regression(y, np.column_stack([x, np.ones(y.size)]), unit, ("x", "(Intercept)"))


@dataclass(frozen=True)
class Fit:
    """What the arithmetic makes of one coefficient, in a batch whose second replicate is the set."""

    estimate: float
    std_error: float
    df: float


def fitted(regression: Regression, column: int, kind: ClusterRobust, *, shared: bool) -> Fit:
    """The second of three replicates: the others have other outcomes, and where asked other regressors."""
    rng = np.random.default_rng(11)
    y, x = regression.outcome, regression.design
    members = [regression.cluster == label for label in range(int(regression.cluster.max()) + 1)]
    outcomes = [rng.permutation(y), y, rng.permutation(y)]
    turned = x * np.where(np.arange(x.shape[1]) == column, -2.0, 1.0)
    designs = [x] if shared else [turned, x, turned]
    grams = np.stack([[of[rows].T @ of[rows] for rows in members] for of in designs])
    each = [x] * 3 if shared else designs
    moments = np.stack(
        [[of[rows].T @ out[rows] for rows in members] for of, out in zip(each, outcomes, strict=True)]
    )
    equations = solve_normal(grams.sum(axis=1))
    coefficients = equations.coefficients(moments.sum(axis=1))
    plan = plan_contrast(grams, equations, column, kind)
    own = np.einsum("rgk,rgk->rg", *np.broadcast_arrays(plan.direction, moments))
    counts = (np.full(1, float(size)) for size in (len(members), y.size))
    variance = plan.variance(own, coefficients) * small_sample_factor(kind, *counts, equations.rank)
    df = np.broadcast_to(plan.moments(equations).satterthwaite, 3)
    return Fit(coefficients[1, column], np.sqrt(variance[1]), df[1])


def alone(regression: Regression) -> Regression:
    """Every observation a cluster of its own."""
    return Regression(
        regression.outcome, regression.design, np.arange(regression.outcome.size), regression.names
    )


SETS: dict[str, tuple[Regression, dict[str, Any]]] = {
    f"{name}-{model}": (panel_regression(name, model), point(REFERENCE, name)["ols"][model])
    for name in ("did_8x6", "did_10x4_bal")
    for model in ("twfe", "twfe_x", "two_by_two")
}
SETS["sw_9x4"] = (
    panel_regression("sw_9x4", "ols_fixed_cluster"),
    point(REFERENCE, "sw_9x4")["ols_fixed_cluster"],
)
if PUBLIC.exists():  # public sets, which the package does not distribute
    SETS["mortality_mv"] = (mortality(), point(PUBLIC, "mortality_mv"))


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR1S", "CR2", "CR3"])
@pytest.mark.parametrize("name", SETS)
def test_standard_errors_and_their_df_are_those_of_clubsandwich(
    name: str, kind: ClusterRobust, shared: bool
) -> None:
    """Any regressor, also a share that comes and goes, with a dummy for everything; in a batch."""
    regression, of = SETS[name]
    if f"se_{kind}" not in of:
        assert kind == "CR3"  # not defined where clusters have dummies
        return
    for column, label in enumerate(regression.names):
        found = fitted(regression, column, kind, shared=shared)
        assert found.estimate == pytest.approx(of["coef"][label], rel=1e-8)
        assert found.std_error == pytest.approx(of[f"se_{kind}"][label], rel=1e-8)
        if f"satt_df_{kind}" in of:
            assert found.df == pytest.approx(of[f"satt_df_{kind}"][label], rel=1e-8)
            p_value = t_p_value(np.array([found.estimate / found.std_error]), np.array([found.df]))
            assert p_value[0] == pytest.approx(of[f"satt_p_{kind}"][label], rel=1e-7)


def classical(regression: Regression, column: int) -> float:
    """The standard error of independent observations of equal variance."""
    x, y = regression.design[np.newaxis], regression.outcome[np.newaxis]
    equations = solve_normal(x.swapaxes(1, 2) @ x)
    coefficients = equations.coefficients(np.einsum("rik,ri->rk", x, y))
    left = y - np.einsum("rik,rk->ri", x, coefficients)
    variance = (left**2).sum(axis=1) / (y.size - equations.rank) * equations.inverse[:, column, column]
    return float(np.sqrt(variance[0]))


@pytest.mark.parametrize("name", SETS)
def test_clusters_of_one_have_whites_variances(name: str) -> None:
    """HC1 is Stata's factor, HC2 and HC3 are CR2 and CR3, where every observation is a cluster."""
    regression, of = SETS[name]
    for white, kind in (("HC1", "CR1S"), ("HC2", "CR2"), ("HC3", "CR3")):
        for column, label in enumerate(regression.names):
            assert classical(regression, column) == pytest.approx(of["se_classical"][label], rel=1e-8)
            found = fitted(alone(regression), column, kind, shared=True)  # type: ignore[arg-type]
            assert found.std_error == pytest.approx(of[f"se_{white}"][label], rel=1e-8)


def petersen_cases() -> Iterator[tuple[str, ClusterRobust, dict[str, float], dict[str, float] | None]]:
    """Cluster, variance, its standard errors and their df."""
    of = point(PUBLIC, "petersen")
    yield "alone", "CR1S", of["se_HC1"], None
    yield "firm", "CR0", of["firm_HC0"], None
    yield "firm", "CR1S", of["firm_HC1"], None
    yield "year", "CR1S", of["year_HC1"], None
    for kind in ("CR1", "CR2", "CR3"):
        yield "year", kind, of[f"year_{kind}"]["se"], of[f"year_{kind}"]["satt_df"]


if PUBLIC.exists():

    @pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
    @pytest.mark.parametrize(
        ("cluster", "kind", "std_errors", "df"), list(petersen_cases()), ids=lambda value: str(value)[:4]
    )
    def test_a_continuous_regressor_has_the_standard_errors_of_sandwich(
        cluster: str,
        kind: ClusterRobust,
        std_errors: dict[str, float],
        df: dict[str, float] | None,
        shared: bool,
    ) -> None:
        """Large clusters: the df of clubSandwich, some 1e-6 above what they can be, are met to 1e-5."""
        regression, of = petersen(cluster), point(PUBLIC, "petersen")
        for column, label in enumerate(regression.names):
            found = fitted(regression, column, kind, shared=shared)
            assert found.estimate == pytest.approx(of["coef"][label], rel=1e-8)
            assert found.std_error == pytest.approx(std_errors[label], rel=1e-8)
            assert classical(regression, column) == pytest.approx(of["se_classical"][label], rel=1e-8)
            if df is not None:
                assert found.df == pytest.approx(df[label], rel=1e-5)

    def test_an_instrument_that_is_a_measure_gives_what_ivreg_gives() -> None:
        """Price by its difference in tax, every state a cluster of its own, in a batch of three."""
        of, column = point(PUBLIC, "cigarettes_iv")["just_identified"], table(PUBLIC, "cigarettes_1995")
        packs, price, income = (np.log(numbers(column[key])) for key in ("packs", "rprice", "rincome"))
        rng = np.random.default_rng(12)
        outcome = np.stack([rng.permutation(packs), packs, rng.permutation(packs)])
        data = InstrumentedCells(
            n=np.ones((1, packs.size)),
            outcome=outcome,
            uptake=price[np.newaxis],
            instrument=numbers(column["tdiff"])[np.newaxis],
        )
        roster = Roster.of_authorities(packs.size)
        for variance, white in (("CR0", "HC0"), ("CR1S", "HC1")):
            model = InstrumentalVariables(variance=variance)  # type: ignore[arg-type]
            found = two_stage_least_squares(model, roster, data, [income[np.newaxis]], 0.05)
            assert found.estimate[1] == pytest.approx(of["coef"]["log(rprice)"], rel=1e-8)
            assert found.std_error[1] == pytest.approx(of[f"se_{white}"]["log(rprice)"], rel=1e-8)
