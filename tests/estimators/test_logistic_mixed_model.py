"""Logistic and Poisson mixed models agree with glmer from whatever rows, read the right occasions, fail as said."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from pydantic import ValidationError

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Bools, Floats
from design_sim.cells import Cells
from design_sim.estimands import true_value
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.generalised_mixed_model import clustered_events
from design_sim.estimators.logistic_mixed_model import LogisticMixedModel
from design_sim.estimators.poisson_mixed_model import PoissonMixedModel
from design_sim.numerics.exponential_family import BINOMIAL
from design_sim.numerics.generalised_mixed import fit_generalised_mixed
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.simulate import carry_out
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import draw_world

REFERENCE = Path(__file__).parents[1] / "reference"
TRIALS = ("crt_bal10", "crt_unb10", "crt_unb20_imb")
FIELDS = ("estimate", "std_error", "df", "p_value", "ci_low", "ci_high")


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(40)


def panel_of(
    n: Floats,
    mean: Floats,
    start: list[int],
    authority: list[int] | None = None,
    follow_up: list[bool] | None = None,
    **covariates: Floats,
) -> Panel:
    """A panel of cells (replicate, row, occasion); rows are authorities where no other is said."""
    rows = np.arange(mean.shape[1])
    roster = Roster(np.array(authority), rows, rows) if authority else Roster.of_authorities(rows.size)
    return Panel(
        roster=roster,
        cells=Cells(n, mean),
        start=np.array([start], dtype=np.int64),
        occasions=np.arange(mean.shape[2]),
        follow_up=np.array(follow_up) if follow_up else np.ones(mean.shape[2], dtype=bool),
        law=complete_randomisation(len(start), 1),
        covariates=covariates,
    )


def read(name: str) -> np.ndarray:
    """A stored set of data."""
    return np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)


def expected_of(name: str, key: str) -> dict[str, Any]:
    """What glmer gave."""
    found: dict[str, Any] = json.loads((REFERENCE / "point" / f"{name}.json").read_text())[key]
    return found


def family_panel(name: str) -> Panel:
    """A stored trial with a row for each family."""
    data = read(name)
    data = data[np.argsort(data["cluster"], kind="stable")]
    authority = data["cluster"].astype(int) - 1
    first = np.flatnonzero(np.diff(authority, prepend=-1))
    start = [0 if treated else NEVER for treated in data["treat"][first]]
    shape = (1, data.size, 1)
    mean, x = data["ybin"].reshape(shape), data["x"][np.newaxis]
    return panel_of(np.ones(shape), mean, start, authority.tolist(), x=x)


def table(data: np.ndarray, n: Floats, events: Floats, treated: Floats) -> Panel:
    """Cells by authority and occasion, from lines with a cluster and a period."""
    cluster, period = (data[key].astype(int) - 1 for key in ("cluster", "period"))
    shape = (cluster.max() + 1, period.max() + 1)
    totals = []
    for values in (n, events, n * treated):
        totals.append(np.zeros(shape))
        np.add.at(totals[-1], (cluster, period), values)
    path = totals[2] > 0
    start = [int(row.argmax()) if row.any() else NEVER for row in path]
    return panel_of(totals[0][np.newaxis], (totals[1] / totals[0])[np.newaxis], start)


def estimate(panel: Panel, rng: Generator, **settings: Any) -> Estimates:
    return LogisticMixedModel(**settings).estimate(panel, rng)


def same(first: Estimates, second: Estimates, rtol: float = 1e-7) -> None:
    """Both say the same."""
    for field in FIELDS:
        np.testing.assert_allclose(getattr(first, field), getattr(second, field), rtol=rtol, err_msg=field)
    assert (first.status == second.status).all()


def workers(rng: Generator, n_replicates: int = 5) -> Panel:
    """Workers with a covariate, in eight authorities of different size."""
    authority = np.repeat(np.arange(8), [1, 3, 2, 4, 2, 3, 2, 2])
    n = rng.integers(2, 9, (1, authority.size, 1)).astype(float)
    x = rng.normal(size=(n_replicates, authority.size))
    risk = 1 / (
        1 + np.exp(0.5 - 0.5 * x[:, :, np.newaxis] - rng.normal(size=(n_replicates, 8, 1))[:, authority])
    )
    mean = rng.binomial(n.astype(int), risk) / n
    return panel_of(n, mean, [0] * 4 + [NEVER] * 4, authority.tolist(), x=x)


@pytest.mark.parametrize("points", [1, 15])
@pytest.mark.parametrize("name", TRIALS)
def test_family_rows_give_what_glmer_gives(name: str, points: int, rng: Generator) -> None:
    """The same model on the same families, by Laplace's method and by quadrature, at the boundary and inside."""
    found = estimate(
        family_panel(name), rng, covariates=("x",), quadrature_points=points, report="link", df="normal"
    )
    expected = expected_of(name, "glmer_logit")[f"nAGQ{points}"]
    assert found.estimate[0] == pytest.approx(expected["estimate"]["treat"], rel=1e-5)
    assert found.std_error[0] == pytest.approx(expected["se"]["treat"], rel=1e-5)
    assert found.status[0] == (Status.OK if expected["sd_cluster"] > 0 else Status.BOUNDARY)
    of_x = LogisticMixedModel(covariates=("x",), quadrature_points=points).coefficients(family_panel(name))
    assert of_x["x"][0] == pytest.approx(expected["estimate"]["x"], rel=1e-5)


@pytest.mark.parametrize("points", [1, 15])
@pytest.mark.parametrize("name", TRIALS)
def test_spread_and_likelihood_are_those_of_glmer(name: str, points: int) -> None:
    """Families are single events, whose likelihood has no binomial coefficients."""
    data = clustered_events(family_panel(name), ("x",), period_effects=False)
    fits = fit_generalised_mixed(data, BINOMIAL, points)
    expected = expected_of(name, "glmer_logit")[f"nAGQ{points}"]
    assert fits.spread[0] == pytest.approx(expected["sd_cluster"], rel=1e-4, abs=1e-6)
    assert fits.log_likelihood[0] == pytest.approx(expected["loglik"], rel=1e-6)


@pytest.mark.parametrize("points", [1, 9])
def test_a_stepped_wedge_gives_what_glmer_gives(points: int, rng: Generator) -> None:
    """Treatment changes within authorities, and every period has an effect."""
    data = read("sw_9x4")
    panel = table(data, np.ones(data.size), data["ybin"], data["d"])
    found = estimate(panel, rng, period_effects=True, quadrature_points=points, report="link")
    expected = expected_of("sw_9x4", "glmer_logit")[f"nAGQ{points}"]
    assert found.estimate[0] == pytest.approx(expected["estimate"]["d"], rel=1e-5)
    assert found.std_error[0] == pytest.approx(expected["se"]["d"], rel=1e-5)
    assert found.df[0] == 9 - 1


@pytest.mark.parametrize("points", [1, 9])
def test_exposure_is_an_offset_as_in_glmer(points: int, rng: Generator) -> None:
    """Events are n x mean, and n units of exposure multiply the rate."""
    data = read("poisson_8x5")
    panel = table(data, data["n"], data["events"], data["treated"])
    model = PoissonMixedModel(period_effects=True, quadrature_points=points, report="link")
    found = model.estimate(panel, rng)
    expected = expected_of("poisson_8x5", "glmer_poisson")[f"nAGQ{points}"]
    assert found.estimate[0] == pytest.approx(expected["estimate"], rel=1e-5)
    assert found.std_error[0] == pytest.approx(expected["se"], rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"covariates": ("x",)}], ids=["plain", "covariate"])
def test_rows_of_workers_equal_rows_of_families(settings: dict[str, Any], rng: Generator) -> None:
    """Families with the same regressors are told apart by nothing, so that cells lose nothing."""
    panel = workers(rng)
    n = panel.cells.n[0, :, 0].astype(int)
    row = np.repeat(np.arange(n.size), n)
    number = np.concatenate([np.arange(size) for size in n])
    events = np.rint(panel.cells.n * panel.cells.mean)[:, row, 0] > number
    authority = panel.roster.authority[row].tolist()
    families = panel_of(
        np.ones((1, row.size, 1)),
        events[:, :, np.newaxis].astype(float),
        panel.start[0].tolist(),
        authority,
        x=panel.covariates["x"][:, row],
    )
    same(estimate(panel, rng, **settings), estimate(families, rng, **settings))


def test_a_covariate_of_the_authority_needs_no_rows_below_it(rng: Generator) -> None:
    """What is constant in an authority is so for all of its workers, and costs a degree of freedom."""
    panel = workers(rng)
    deprivation = rng.normal(size=(5, 8))
    spread = replace(panel, covariates={"x": deprivation[:, panel.roster.authority]})
    pooled = panel.cells.pool(panel.roster, "authority")
    authorities = panel_of(pooled.n, pooled.mean, panel.start[0].tolist(), x=deprivation)
    found = estimate(spread, rng, covariates=("x",))
    same(found, estimate(authorities, rng, covariates=("x",)))
    assert (found.df == 8 - 3).all()
    assert (estimate(panel, rng, covariates=("x",)).df == 8 - 2).all()
    assert np.isinf(estimate(panel, rng, df="normal").df).all()


class WithinAuthorities(Panel):
    """A panel in which every second row of an authority is treated, the first ones in one authority."""

    __slots__ = ()

    @property
    def treated(self) -> Bools:
        """As said, whatever the start."""
        rows = np.arange(self.roster.n_rows)
        path = np.where(self.roster.authority == 3, rows < 8, rows % 2 == 0)
        return np.broadcast_to(path[np.newaxis, :, np.newaxis], (1, *self.cells.mean.shape[1:]))


def test_treatment_may_differ_within_an_authority(rng: Generator) -> None:
    """Families are pooled with those of their own arm only, and authorities count as they are, not by arm."""
    plain = workers(rng)
    panel = WithinAuthorities(**{f.name: getattr(plain, f.name) for f in fields(plain)})
    data = clustered_events(panel, (), period_effects=False)
    assert data.n.shape == (1, 8, 2)
    singly = clustered_events(panel, ("x",), period_effects=False)
    assert singly.n.shape == (1, 8, 4)
    by_row = replace(singly, regressors=singly.regressors[:1, [0, 2]])
    fits = [fit_generalised_mixed(d, BINOMIAL, 9) for d in (data, by_row)]
    np.testing.assert_allclose(fits[0].coefficients, fits[1].coefficients, rtol=1e-8)
    found = estimate(panel, rng, report="link")
    np.testing.assert_allclose(found.estimate, fits[0].coefficients[:, -1])
    assert (found.df == 8 - 1).all()


def test_rows_without_families_or_covariate_leave_no_trace(rng: Generator) -> None:
    """Their mean is nan, and may not reach the numbers."""
    panel = workers(rng)
    n, mean = panel.cells.n.repeat(5, axis=0), panel.cells.mean.copy()
    x = panel.covariates["x"].copy()
    n[:, 4], mean[:, 4], x[:, 9] = 0.0, np.nan, np.nan
    authority = panel.roster.authority
    gaps = panel_of(n, mean, panel.start[0].tolist(), authority.tolist(), x=x)
    kept = np.delete(np.arange(authority.size), [4, 9])
    rest = panel_of(
        n[:1, kept], mean[:, kept], panel.start[0].tolist(), authority[kept].tolist(), x=x[:, kept]
    )
    same(estimate(gaps, rng, covariates=("x",)), estimate(rest, rng, covariates=("x",)))


def test_only_period_effects_look_before_the_start(rng: Generator) -> None:
    """Without them the follow-up alone is analysed, its families of several occasions together."""
    n = np.full((1, 8, 3), 30.0)
    mean = rng.binomial(30, 0.4, (6, 8, 3)) / 30
    start, follow_up = [1] * 4 + [NEVER] * 4, [False, True, True]
    panel = panel_of(n, mean, start, follow_up=follow_up)
    other = mean.copy()
    other[:, :, 0] = rng.binomial(30, 0.2, (6, 8)) / 30
    changed = panel_of(n, other, start, follow_up=follow_up)
    plain = estimate(panel, rng)
    same(plain, estimate(changed, rng))
    same(
        plain,
        estimate(
            panel_of(2 * n[:, :, :1], mean[:, :, 1:].mean(axis=2, keepdims=True), [0] * 4 + [NEVER] * 4), rng
        ),
    )
    every, moved = (estimate(p, rng, period_effects=True) for p in (panel, changed))
    assert (every.estimate != moved.estimate).all()


def test_an_occasion_that_nobody_saw_is_no_period(rng: Generator) -> None:
    """Its effect cannot be told, and need not be."""
    n, start = np.full((1, 8, 4), 30.0), [1, 1, 1, 2, 2, 3, 3, 3]
    mean = rng.binomial(30, 0.4, (6, 8, 4)) / 30
    gone = n.copy()
    gone[:, :, 2] = 0.0
    seen = [0, 1, 3]
    found = estimate(panel_of(gone, mean, start), rng, period_effects=True)
    without = panel_of(n[:, :, seen], mean[:, :, seen], [1, 1, 1, 2, 2, 2, 2, 2])
    same(found, estimate(without, rng, period_effects=True))


def test_failed_analyses_are_statuses(rng: Generator) -> None:
    """A replicate without an answer is counted by its reason and has no numbers."""
    events = np.array([[5.0, 9, 7, 12, 8, 15], [0, 0, 0, 12, 8, 15], [0] * 6, [5, 9, 7, 12, 8, 15]])[
        ..., np.newaxis
    ]
    n = np.full((4, 6, 1), 20.0)
    n[3, :3] = 0
    found = estimate(panel_of(n, np.where(n > 0, events / 20, np.nan), [NEVER] * 3 + [0] * 3), rng)
    assert found.status.tolist() == [
        found.status[0],
        Status.SEPARATION,
        Status.NO_VARIATION,
        Status.TOO_FEW_CLUSTERS,
    ]
    assert found.failed.tolist() == [False, True, True, True]
    assert np.isnan(found.p_value).tolist() == [False, True, True, True]
    arm = (np.arange(6) >= 3).astype(float)[np.newaxis]
    confounded = panel_of(n[:1], events[:1] / 20, [NEVER] * 3 + [0] * 3, x=arm)
    assert estimate(confounded, rng, covariates=("x",)).status[0] == Status.SINGULAR
    assert (
        estimate(panel_of(n[:1, :2], events[:1, :2] / 20, [NEVER, 0]), rng).status[0]
        == Status.TOO_FEW_CLUSTERS
    )


def test_what_is_no_event_is_an_error(rng: Generator) -> None:
    """A mean outside 0 to 1 belongs to another model, and a misspelt covariate to nobody."""
    n = np.full((1, 6, 1), 20.0)
    start = [NEVER] * 3 + [0] * 3
    with pytest.raises(ValueError, match="logistic_mixed_model needs events"):
        estimate(panel_of(n, rng.normal(size=(2, 6, 1)), start), rng)
    with pytest.raises(ValueError, match="poisson_mixed_model needs events"):
        PoissonMixedModel().estimate(panel_of(n, -n, start), rng)
    with pytest.raises(ValueError, match="no covariate 'poverty'"):
        estimate(panel_of(n, n / 50, start), rng, covariates=("poverty",))
    for key, value in (("quadrature_points", 0), ("report", "odds"), ("df", "satterthwaite")):
        with pytest.raises(ValidationError):
            LogisticMixedModel.model_validate({key: value})


@pytest.mark.parametrize("name", ["logistic_mixed_model", "poisson_mixed_model"])
def test_the_difference_is_that_of_the_world(name: str) -> None:
    """In a world whose risks are logit-normal the standardised difference has no bias, and errors as stated."""
    scenario = (
        parse(
            f"""
        [world]
        authorities = 40
        fidelity = {{mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}}
        uptake = 1.0
        size = {{log_mean = 10.0, log_sd = 0.0, smallest = 8000.0, largest = 355000.0}}
        quality = {{permanent_share = 1.0}}
        [outcomes.entry]
        kind = "binary"
        source = "survey"
        mean = 0.3
        effect = -0.1
        icc = 0.05
        [designs.trial]
        kind = "cluster_rct"
        outcome = "entry"
        authorities = 40
        sample = {{teams = 1, workers = 1, families = 40}}
        answers.model = {{estimator = "{name}", estimand = "offered"}}
        """,
            "test",
        )
        .cases[0]
        .scenario
    )
    world = draw_world(scenario.world, scenario.outcomes, 1024, Streams(3, 0))
    study = scenario.studies["trial"]
    allocation, panel, *_ = carry_out(scenario, study, world)
    estimator, estimand, _ = study.answers["model"]
    found = estimator.estimate(panel, np.random.default_rng(1))
    truth = true_value(estimand, world, allocation, "entry", scenario.window)
    error = found.estimate - truth
    assert not found.failed.any()
    assert error.mean() == pytest.approx(0.0, abs=4 * error.std() / np.sqrt(error.size))
    if name == "logistic_mixed_model":
        assert found.std_error.mean() == pytest.approx(
            error.std(), abs=4 * error.std() / np.sqrt(2 * error.size)
        )
