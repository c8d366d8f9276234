"""Instrumental variables: other software, single families and dense matrices, and what uptake must do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.random import Generator

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.clustered_regression import ClusteredRegression
from design_sim.estimators.instrumental_variables import (
    InstrumentalVariables,
    InstrumentedCells,
    two_stage_least_squares,
)
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
Variance = Literal["CR0", "CR1", "CR1S", "CR2"]
VARIANCES: tuple[Variance, ...] = ("CR0", "CR1", "CR1S", "CR2")


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(50)


def panel_of(
    n: Floats, mean: Floats, uptake: Floats | None, start: list[int], authority: Any, **covariates: Floats
) -> Panel:
    """A panel of follow-up occasions; arrays (replicate, row, occasion)."""
    rows = np.arange(mean.shape[1])
    return Panel(
        roster=Roster(np.asarray(authority), rows, rows),
        cells=Cells(n, mean),
        start=np.array([start], dtype=np.int64),
        occasions=np.arange(mean.shape[2]),
        follow_up=np.ones(mean.shape[2], dtype=bool),
        law=complete_randomisation(len(start), 1),
        covariates=covariates,
        uptake=uptake,
    )


def stored(endogenous: str) -> Panel:
    """The stored encouragement trial, with a row for each family."""
    data = np.genfromtxt(REFERENCE / "data" / "iv_a.csv", delimiter=",", names=True)
    data = data[np.argsort(data["cluster"], kind="stable")]
    authority = data["cluster"].astype(int) - 1
    first = np.flatnonzero(np.diff(authority, prepend=-1))
    start = [0 if assigned else NEVER for assigned in data["z"][first]]
    y, d = (data[key].reshape(1, -1, 1) for key in ("y", endogenous))
    return panel_of(np.ones_like(y), y, d, start, authority, x=data["x"][np.newaxis])


def draw(rng: Generator, n_replicates: int = 4) -> Panel:
    """Workers as rows over two occasions, with partial uptake in both arms and rows that nobody is in."""
    authority = np.repeat(np.arange(8), [1, 3, 2, 4, 2, 3, 2, 2])
    shape = (n_replicates, authority.size, 2)
    n = rng.integers(0, 6, shape).astype(float)
    n[:, [0, -1]], n[:, 5] = 3.0, 0.0
    risk = np.where(authority < 4, 0.7, 0.2)[:, np.newaxis]
    with np.errstate(invalid="ignore"):
        uptake = rng.binomial(n.astype(int), risk) / n
    mean = np.where(n > 0, rng.normal(size=shape) + uptake, np.nan)
    x = rng.normal(size=(n_replicates, authority.size))
    return panel_of(n, mean, uptake, [0] * 4 + [NEVER] * 4, authority, x=x)


def estimate(panel: Panel, rng: Generator, **settings: Any) -> Estimates:
    return InstrumentalVariables(**settings).estimate(panel, rng)


def oracle(panel: Panel, variance: Variance, replicate: int) -> tuple[float, float]:
    """Effect and standard error from single families: those who take part have their own row of X."""
    assert panel.uptake is not None
    rows = []
    for row, occasion in np.ndindex(panel.cells.mean.shape[1:]):
        n = int(panel.cells.n[replicate, row, occasion])
        taking = round(n * panel.uptake[replicate, row, occasion]) if n else 0
        for family in range(n):
            rows.append(
                (
                    panel.cells.mean[replicate, row, occasion],
                    float(family < taking),
                    float(panel.treated[0, row, occasion]),
                    panel.covariates["x"][replicate, row],
                    panel.roster.authority[row],
                )
            )
    y, d, z, x, cluster = np.array(rows).T
    design, instruments = np.column_stack([np.ones_like(d), d, x]), np.column_stack([np.ones_like(d), z, x])
    coefficients = np.linalg.solve(instruments.T @ design, instruments.T @ y)
    residual = y - design @ coefficients
    predicted = instruments @ np.linalg.lstsq(instruments, design, rcond=None)[0]
    bread = np.linalg.inv(predicted.T @ predicted)
    meat = np.zeros((3, 3))
    for member in np.unique(cluster):
        own = cluster == member
        adjustment = np.eye(own.sum())
        if variance == "CR2":
            leverage = predicted[own] @ bread @ predicted[own].T
            values, vectors = np.linalg.eigh(np.eye(own.sum()) - leverage)
            adjustment = vectors @ np.diag(values**-0.5) @ vectors.T
        score = predicted[own].T @ adjustment @ residual[own]
        meat += np.outer(score, score)
    n_clusters, total = np.unique(cluster).size, y.size
    factor = {"CR1": 1.0, "CR1S": (total - 1) / (total - 3)}.get(variance)
    scale = 1.0 if factor is None else factor * n_clusters / (n_clusters - 1)
    return coefficients[1], np.sqrt(scale * (bread @ meat @ bread)[1, 1])


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("endogenous", ["d", "fidelity"])
def test_agrees_with_ivreg_and_clubsandwich(endogenous: str, variance: Variance, rng: Generator) -> None:
    """Two-stage least squares with a covariate, cluster-robust in four ways, with Satterthwaite's df."""
    found = estimate(stored(endogenous), rng, variance=variance, covariates=("x",), df="satterthwaite")
    expected = json.loads((REFERENCE / "point" / "iv_a.json").read_text())[f"iv_{endogenous}"]
    assert found.estimate[0] == pytest.approx(expected["coef"][endogenous], rel=1e-8)
    assert found.std_error[0] == pytest.approx(expected[f"se_{variance}"][endogenous], rel=1e-8)
    assert found.df[0] == pytest.approx(expected[f"satt_df_{variance}"][endogenous], rel=1e-8)
    of_x = InstrumentalVariables(covariates=("x",)).coefficients(stored(endogenous))
    assert of_x["x"][0] == pytest.approx(expected["coef"]["x"], rel=1e-8)


def test_without_covariates_it_is_the_ratio_of_two_differences(rng: Generator) -> None:
    """Wald's ratio: outcomes between arms over uptake between arms."""
    found = estimate(stored("d"), rng)
    expected = json.loads((REFERENCE / "point" / "iv_a.json").read_text())["cace_unadjusted"]
    assert found.estimate[0] == pytest.approx(expected["cace"], rel=1e-8)


@pytest.mark.parametrize("variance", VARIANCES)
def test_cells_give_what_single_families_give(variance: Variance, rng: Generator) -> None:
    """Uptake varies within cells and instruments do not, so that means of cells are enough."""
    panel = draw(rng)
    found = estimate(panel, rng, variance=variance, covariates=("x",))
    for replicate in range(4):
        effect, std_error = oracle(panel, variance, replicate)
        assert found.estimate[replicate] == pytest.approx(effect, rel=1e-9)
        assert found.std_error[replicate] == pytest.approx(std_error, rel=1e-9)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("covariates", [(), ("x",)], ids=["plain", "covariate"])
def test_full_uptake_gives_the_difference_between_arms(
    covariates: tuple[str, ...], variance: Variance, rng: Generator
) -> None:
    """Where everybody assigned takes part and nobody else does, taking part is being assigned."""
    panel = draw(rng)
    panel = replace(panel, uptake=panel.treated.astype(float))
    found = estimate(panel, rng, variance=variance, covariates=covariates)
    plain = ClusteredRegression(variance=variance, covariates=covariates).estimate(panel, rng)
    for field in ("estimate", "std_error", "df", "p_value", "ci_low"):
        np.testing.assert_allclose(getattr(found, field), getattr(plain, field), rtol=1e-9)


def test_half_the_uptake_is_twice_the_effect_with_twice_the_error(rng: Generator) -> None:
    """The same difference in outcomes, brought about by fewer."""
    panel = draw(rng)
    full, half = (replace(panel, uptake=share * panel.treated) for share in (1.0, 0.5))
    first, second = estimate(full, rng), estimate(half, rng)
    np.testing.assert_allclose(second.estimate, 2 * first.estimate)
    np.testing.assert_allclose(second.std_error, 2 * first.std_error)
    np.testing.assert_allclose(second.p_value, first.p_value)


def test_an_effect_of_taking_part_is_found_whoever_takes_part(rng: Generator) -> None:
    """Whatever the reasons of families, an effect on those who take part moves the estimate by itself."""
    panel = draw(rng)
    assert panel.uptake is not None
    moved = replace(panel, cells=Cells(panel.cells.n, panel.cells.mean + 3 * panel.uptake))
    plain, shifted = (estimate(p, rng, covariates=("x",)) for p in (panel, moved))
    np.testing.assert_allclose(shifted.estimate, plain.estimate + 3)
    np.testing.assert_allclose(shifted.std_error, plain.std_error)


def test_where_arms_do_not_differ_in_uptake_there_is_no_answer(rng: Generator) -> None:
    """A ratio over 0 is a failure of its replicate, and of no other."""
    panel = draw(rng)
    assert panel.uptake is not None
    uptake = panel.uptake.copy()
    uptake[1] = 0.0
    uptake[2] = 0.3
    found = estimate(replace(panel, uptake=uptake), rng)
    assert found.status.tolist() == [Status.OK, Status.SINGULAR, Status.SINGULAR, Status.OK]
    arm = panel.treated[:, :, 0].astype(float)
    n = np.where(panel.treated, 0.0, panel.cells.n)
    lost = estimate(replace(panel, cells=Cells(n, panel.cells.mean)), rng)
    assert (lost.status == Status.TOO_FEW_CLUSTERS).all()
    confounded = replace(panel, covariates={"x": arm})
    assert (estimate(confounded, rng, covariates=("x",)).status == Status.SINGULAR).all()


def test_a_panel_without_uptake_is_refused(rng: Generator) -> None:
    """Nobody can tell who took part."""
    with pytest.raises(ValueError, match="the panel has none"):
        estimate(replace(draw(rng), uptake=None), rng)


def test_coverage_is_nominal_where_the_instrument_is_strong(rng: Generator) -> None:
    """Families with better prospects take part more: the naive comparison is biased, this one is not."""
    replicates, size = 4_000, (20, 30)
    prospects = rng.normal(size=(replicates, *size))
    assigned = (np.arange(20) < 10)[:, np.newaxis]
    takes = (prospects + rng.normal(size=prospects.shape) > 0) & assigned
    outcome = prospects + 0.5 * takes + 0.3 * rng.normal(size=(replicates, 20, 1))
    data = InstrumentedCells(
        np.full((1, 20), 30.0), outcome.mean(axis=2), takes.mean(axis=2), assigned.T.astype(float)
    )
    found = two_stage_least_squares(InstrumentalVariables(), Roster.of_authorities(20), data, [], 0.05)
    covered = ((found.ci_low < 0.5) & (found.ci_high > 0.5)).mean()
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / replicates))
    assert found.estimate.mean() == pytest.approx(0.5, abs=4 * found.estimate.std() / np.sqrt(replicates))
    naive = [outcome[takes].mean() - outcome[~takes].mean()]
    assert naive[0] > 1.0
