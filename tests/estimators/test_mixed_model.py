"""The mixed model agrees with lmer from whatever rows, keeps its rates, and fails as it says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.cluster_means import ClusterMeans
from design_sim.estimators.clustered_regression import ClusteredRegression
from design_sim.estimators.mixed_model import MixedModel
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
MODELS: dict[str, tuple[str, ...]] = {"unadjusted": (), "adjusted": ("x",), "adjusted_xw": ("x", "w")}
NAMES = ("crt_bal10", "crt_unb10", "crt_bal4", "crt_unb6", "crt_unb20_imb")
MONTE_CARLO = sorted((REFERENCE / "mc").glob("mc_lmm_*.json"))
RNG = np.random.default_rng(0)


def expected_of(name: str) -> dict[str, Any]:
    """What lme4 and lmerTest give."""
    lmer: dict[str, Any] = json.loads((REFERENCE / "point" / f"{name}.json").read_text())["lmer"]
    return lmer


def panel_of(
    n: Floats,
    mean: Floats,
    ss: Floats,
    treated: np.ndarray[Any, np.dtype[np.bool_]],
    roster: Roster | None = None,
    covariates: dict[str, Floats] | None = None,
    alpha: float = 0.05,
) -> Panel:
    """A panel of one occasion; arrays (replicate, row), treated (authority,)."""
    start = np.where(treated, 0, NEVER)[np.newaxis]
    return Panel(
        roster=roster or Roster.of_authorities(treated.size),
        cells=Cells(n[:, :, np.newaxis], mean[:, :, np.newaxis], ss[:, :, np.newaxis]),
        start=start,
        occasions=np.array([0]),
        follow_up=np.array([True]),
        law=complete_randomisation(treated.size, int(treated.sum())),
        alpha=alpha,
        covariates=covariates or {},
    )


def family_panel(name: str) -> Panel:
    """A reference set with a row for each family."""
    data = np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)
    authority = data["cluster"].astype(np.int64) - 1
    first = np.flatnonzero(np.diff(authority, prepend=-1))
    rows = np.arange(authority.size)
    return panel_of(
        np.ones((1, data.size)),
        data["y"][np.newaxis],
        np.zeros((1, data.size)),
        data["treat"][first] == 1,
        Roster(authority, authority, rows),
        {"x": data["x"][np.newaxis], "w": data["w"][np.newaxis]},
    )


def random_panel(n_replicates: int, sizes: Floats, icc: float, effect: float = 0.0, seed: int = 1) -> Panel:
    """Trials whose first half of authorities is treated, drawn as authority cells; sizes (replicate or 1, G)."""
    rng = np.random.default_rng(seed)
    n_authorities = sizes.shape[1]
    treated = np.arange(n_authorities) < n_authorities // 2
    shape = (n_replicates, n_authorities)
    each = np.broadcast_to(sizes, shape)
    mean = rng.normal(size=shape) * np.sqrt(icc + (1 - icc) / each) + effect * treated
    return panel_of(sizes, mean, (1 - icc) * rng.chisquare(each - 1), treated)


def estimate(panel: Panel, **settings: Any) -> Estimates:
    return MixedModel(**settings).estimate(panel, RNG)


@pytest.mark.parametrize("name", NAMES)
def test_family_rows_give_what_lmer_gives(name: str) -> None:
    """The same model on the same families, with and without covariates that vary within authorities."""
    for model, expected in expected_of(name).items():
        answer = estimate(family_panel(name), covariates=MODELS[model])
        satterthwaite = expected["satterthwaite"]
        assert answer.status[0] == Status.OK
        assert answer.estimate[0] == pytest.approx(expected["estimate"]["treat"], rel=1e-6)
        assert answer.std_error[0] == pytest.approx(expected["se"]["treat"], rel=1e-6)
        assert answer.df[0] == pytest.approx(satterthwaite["df"]["treat"], rel=1e-4)
        assert answer.p_value[0] == pytest.approx(satterthwaite["p"]["treat"], rel=1e-4)
        adjusted = estimate(family_panel(name), covariates=MODELS[model], df="kenward_roger")
        for ours, field in (("std_error", "se"), ("df", "df"), ("p_value", "p")):
            theirs = expected["kenward_roger"][field]["treat"]
            assert getattr(adjusted, ours)[0] == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_authority_cells_give_what_family_rows_give(name: str) -> None:
    """Number, mean and sum of squares are all that the model reads where regressors do not vary within."""
    panel = family_panel(name)
    cells = panel.cells.pool(panel.roster, "authority")
    assert cells.ss is not None
    pooled = panel_of(cells.n[:, :, 0], cells.mean[:, :, 0], cells.ss[:, :, 0], panel.treated_authority[0])
    by_family, by_authority = estimate(panel), estimate(pooled)
    for field in ("estimate", "std_error", "p_value", "ci_low"):
        assert getattr(by_authority, field)[0] == pytest.approx(getattr(by_family, field)[0], rel=1e-9)


def test_families_of_several_occasions_count_as_different_ones() -> None:
    """Each occasion surveys other families, so that two occasions of one family each are two families."""
    rng = np.random.default_rng(4)
    y = rng.normal(size=(3, 24, 2))
    authority = np.repeat(np.arange(6), 4)
    start = np.where(np.arange(6) < 3, 1, NEVER)[np.newaxis]
    long = Panel(
        roster=Roster(authority, authority, np.arange(24)),
        cells=Cells(np.ones((1, 24, 3)), np.concatenate([y[:, :, :1] + 9, y], axis=2), np.zeros((1, 24, 3))),
        start=start,
        occasions=np.array([0, 1, 2]),
        follow_up=np.array([False, True, True]),
        law=complete_randomisation(6, 3),
    )
    flat = panel_of(
        np.ones((1, 48)),
        y.reshape(3, 48),
        np.zeros((1, 48)),
        start[0] == 1,
        Roster(np.repeat(authority, 2), np.repeat(authority, 2), np.arange(48)),
    )
    np.testing.assert_allclose(estimate(long).p_value, estimate(flat).p_value, rtol=1e-9)


@pytest.mark.parametrize("path", MONTE_CARLO, ids=lambda path: path.stem)
def test_rates_are_those_of_reference_software(path: Path) -> None:
    """Size, power, boundary share and spread over random allocations; 3.5 combined Monte Carlo errors."""
    case = json.loads(path.read_text())
    n, inputs, expected = 20_000, case["inputs"], case["expected"]
    sizes = np.tile(np.array(inputs["cluster_sizes"], dtype=float), (n, 1))
    sizes = np.random.default_rng(7).permuted(sizes, axis=1)
    panel = random_panel(n, sizes, inputs["icc"], inputs["effect"])
    satterthwaite, normal = estimate(panel), estimate(panel, df="normal")
    adjusted = estimate(panel, df="kenward_roger")
    means = ClusterMeans().estimate(panel, RNG)
    boundary = satterthwaite.status == Status.BOUNDARY

    def rate_agrees(rejected: Floats, stated: float) -> bool:
        rate = rejected.mean()
        error = np.sqrt(stated * (1 - stated) * (1 / n + 1 / case["replications"]))
        return bool(abs(rate - stated) <= 3.5 * error)

    assert not satterthwaite.failed.any()
    assert rate_agrees(satterthwaite.p_value <= 0.05, expected["rejection"]["lmm_satterthwaite"])
    assert rate_agrees(adjusted.p_value <= 0.05, expected["rejection"]["lmm_kr"])
    assert rate_agrees(normal.p_value <= 0.05, expected["rejection"]["lmm_z"])
    assert rate_agrees(means.p_value <= 0.05, expected["rejection"]["cluster_mean_t"])
    stata, linearised = (ClusteredRegression(variance=kind).estimate(panel, RNG) for kind in ("CR1S", "CR2"))
    assert rate_agrees(stata.p_value <= 0.05, expected["rejection"]["cr1s_tG1"])
    assert rate_agrees(linearised.p_value <= 0.05, expected["rejection"]["cr2_satt"])
    assert rate_agrees(boundary, expected["share_singular"])
    spread = satterthwaite.estimate.std()
    fewer = np.sqrt(1 / n + 1 / case["replications"])
    assert satterthwaite.estimate.mean() == pytest.approx(expected["mean_estimate"], abs=3.5 * spread * fewer)
    assert spread == pytest.approx(expected["empirical_se"], abs=3.5 * spread * fewer / np.sqrt(2))
    model_spread = satterthwaite.std_error.std()
    assert satterthwaite.std_error.mean() == pytest.approx(
        expected["mean_model_se"], abs=3.5 * model_spread * fewer
    )


def test_equal_authorities_give_the_t_test_on_their_means() -> None:
    """With equal numbers generalised least squares is least squares on means, and so is its test."""
    panel = random_panel(500, np.full((1, 10), 25.0), icc=0.1)
    mixed, means = estimate(panel), ClusterMeans().estimate(panel, RNG)
    inside = mixed.status == Status.OK
    assert 0.5 < inside.mean() < 1
    np.testing.assert_allclose(mixed.estimate, means.estimate, rtol=1e-10)
    np.testing.assert_allclose(mixed.p_value[inside], means.p_value[inside], rtol=1e-9)
    np.testing.assert_allclose(mixed.df[~inside], 248)


def test_rows_of_workers_with_a_covariate_equal_rows_of_families() -> None:
    """A covariate that is constant in a worker loses nothing when families are kept by worker."""
    rng = np.random.default_rng(5)
    n_workers, per_worker = 24, 3
    of_worker = np.repeat(np.arange(n_workers), per_worker)
    authority = np.repeat(np.arange(6), 4)
    x = rng.normal(size=(20, n_workers))
    y = (
        rng.normal(size=(20, n_workers * per_worker))
        + x[:, of_worker]
        + rng.normal(size=(20, 6))[:, authority][:, of_worker]
    )
    treated = np.arange(6) < 3
    families = panel_of(
        np.ones((1, y.shape[1])),
        y,
        np.zeros((1, y.shape[1])),
        treated,
        Roster(authority[of_worker], authority[of_worker], of_worker),
        {"x": x[:, of_worker]},
    )
    cells = families.cells.pool(families.roster, "worker")
    assert cells.ss is not None
    workers = panel_of(
        cells.n[:, :, 0],
        cells.mean[:, :, 0],
        cells.ss[:, :, 0],
        treated,
        Roster(authority, authority, np.arange(n_workers)),
        {"x": x},
    )
    by_family, by_worker = estimate(families, covariates=("x",)), estimate(workers, covariates=("x",))
    np.testing.assert_allclose(by_worker.estimate, by_family.estimate, rtol=1e-7)
    np.testing.assert_allclose(by_worker.p_value, by_family.p_value, rtol=1e-6)


def test_a_row_without_families_leaves_no_trace() -> None:
    """Its mean is nan and its covariate may be anything; neither may reach the numbers."""
    rng = np.random.default_rng(6)
    authority = np.repeat(np.arange(6), 4)
    x, y = rng.normal(size=(2, 15, 24))
    n = np.ones((15, 24))
    n[:, 5] = 0
    treated = np.arange(6) < 3
    full = (
        np.where(n > 0, y, np.nan),
        np.zeros((15, 24)),
        treated,
        Roster(authority, authority, np.arange(24)),
    )
    gaps = panel_of(n, *full, {"x": np.where(n > 0, x, np.nan)})
    kept = n[0] > 0
    rest = panel_of(
        np.ones((1, 23)),
        y[:, kept],
        np.zeros((1, 23)),
        treated,
        Roster(authority[kept], authority[kept], np.arange(23)),
        {"x": x[:, kept]},
    )
    first, second = estimate(gaps, covariates=("x",)), estimate(rest, covariates=("x",))
    np.testing.assert_allclose(first.p_value, second.p_value, rtol=1e-7)


def test_an_authority_without_a_covariate_does_not_count() -> None:
    """A value that is not known cannot be adjusted for; lmer leaves such families out, too."""
    panel = random_panel(10, np.full((1, 9), 12.0), icc=0.2)
    x = np.random.default_rng(9).normal(size=(10, 9))
    x[:, 8] = np.nan
    treated = panel.treated_authority[0]
    n, mean, ss = panel.cells.n[:, :, 0], panel.cells.mean[:, :, 0], panel.cells.ss
    assert ss is not None
    gap = panel_of(n, mean, ss[:, :, 0], treated, covariates={"x": x})
    rest = panel_of(n[:, :8], mean[:, :8], ss[:, :8, 0], treated[:8], covariates={"x": x[:, :8]})
    first, second = estimate(gap, covariates=("x",)), estimate(rest, covariates=("x",))
    np.testing.assert_allclose(first.p_value, second.p_value, rtol=1e-8)


def test_failed_analyses_are_statuses() -> None:
    """A replicate without an answer is counted by its reason and has no numbers."""
    sizes = np.full((3, 8), 20.0)
    sizes[1, :4] = 0
    sizes[2, [0, 1, 2, 4, 5, 6]] = 0
    rng = np.random.default_rng(8)
    mean = np.where(sizes > 0, rng.normal(size=sizes.shape), np.nan)
    panel = panel_of(sizes, mean, np.where(sizes > 0, 19.0, 0.0), np.arange(8) < 4)
    answer = estimate(panel)
    assert answer.status.tolist() == [Status.OK, Status.TOO_FEW_CLUSTERS, Status.TOO_FEW_CLUSTERS]
    assert np.isnan(answer.p_value).tolist() == [False, True, True]
    arm = {"x": np.arange(8)[np.newaxis] * 0.0 + (np.arange(8) < 4)}
    confounded = panel_of(
        np.full((1, 8), 20.0),
        rng.normal(size=(2, 8)),
        np.full((1, 8), 19.0).repeat(2, 0),
        np.arange(8) < 4,
        covariates=arm,
    )
    assert (estimate(confounded, covariates=("x",)).status == Status.SINGULAR).all()


def test_what_the_panel_lacks_is_an_error() -> None:
    """A misspelt covariate or missing sums of squares is a mistake of the caller, not of a replicate."""
    panel = random_panel(2, np.full((1, 6), 9.0), 0.1)
    with pytest.raises(ValueError, match="no covariate 'deprivation'"):
        estimate(panel, covariates=("deprivation",))
    without = Panel(
        panel.roster,
        Cells(panel.cells.n, panel.cells.mean),
        panel.start,
        panel.occasions,
        panel.follow_up,
        panel.law,
    )
    with pytest.raises(ValueError, match="sums of squares"):
        estimate(without)


def test_covariates_may_come_as_a_list() -> None:
    """TOML knows lists only."""
    assert MixedModel.model_validate({"covariates": ["x"]}).covariates == ("x",)
    with pytest.raises(ValidationError):
        MixedModel.model_validate({"covariates": [1]})
