"""Every registered estimator keeps the contract: shapes, determinism, equivariance, failures that are counted."""

from dataclasses import fields, replace

import numpy as np
import pytest

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.cells import Cells
from design_sim.estimators import ESTIMATORS, Estimates, Estimator, Status
from design_sim.estimators.base import needs_fidelity_score, outcomes_of
from design_sim.panel import Panel
from design_sim.roster import Roster

MEMBERS = [
    ("cluster_means", {}),
    ("cluster_means", {"change": True}),
    *[("clustered_regression", {"variance": v}) for v in ("naive", "CR0", "CR1", "CR1S", "CR2", "CR3")],
    ("clustered_regression", {"weights": "authority"}),
    ("clustered_regression", {"covariates": ["deprivation"]}),
    ("gee", {}),
    *[("gee", {"variance": v, "df": "normal"}) for v in ("robust", "mancl_derouen", "fay_graubard")],
    ("gee", {"working": "independence"}),
    ("gee", {"moments": "plain"}),
    *[("gee", {"covariates": ["deprivation"], "variance": v}) for v in ("kauermann_carroll", "fay_graubard")],
    ("mixed_model", {}),
    ("likelihood_ratio", {}),
    ("mixed_model", {"df": "normal"}),
    ("mixed_model", {"df": "kenward_roger"}),
    ("mixed_model", {"covariates": ["deprivation"]}),
    ("mixed_model", {"levels": ["authority", "worker"]}),
    ("mixed_model", {"levels": ["authority", "team", "worker"], "df": "kenward_roger"}),
    ("mixed_model", {"levels": ["authority", "team"], "covariates": ["deprivation"]}),
    ("mixed_model", {"period_effects": True}),
    ("mixed_model", {"period_effects": True, "levels": ["authority", "worker"]}),
    ("mixed_model", {"period_effects": True, "authority_by_occasion": True, "df": "kenward_roger"}),
    ("mixed_model", {"period_effects": True, "random_slopes": "uncorrelated"}),
    ("mixed_model", {"period_effects": True, "random_slopes": "correlated", "df": "kenward_roger"}),
    *[("partially_nested_model", {"df": df}) for df in ("satterthwaite", "kenward_roger", "normal")],
    ("partially_nested_model", {"residuals": "common"}),
    ("partially_nested_model", {"covariates": ["deprivation"]}),
    *[("two_way_fixed_effects", {"variance": v}) for v in ("naive", "CR1S", "CR2")],
    ("two_way_fixed_effects", {"weights": "family"}),
    ("wild_bootstrap", {}),
    ("wild_bootstrap", {"null_imposed": False, "weights": "webb", "draws": 99}),
    ("wild_bootstrap", {"weights": "mammen", "draws": 99, "covariates": ["deprivation"]}),
    ("wild_bootstrap", {"model": "two_way_fixed_effects", "count": "family"}),
    *[("logistic_mixed_model", {"report": report}) for report in ("difference", "link")],
    ("logistic_mixed_model", {"period_effects": True, "covariates": ["deprivation"]}),
    ("poisson_mixed_model", {}),
    *[("instrumental_variables", {"variance": v}) for v in ("CR0", "CR1", "CR1S", "CR2")],
    ("instrumental_variables", {"covariates": ["deprivation"]}),
    ("fidelity_regression", {}),
    ("fidelity_regression", {"among": "treated"}),
    ("fidelity_regression", {"correction": "regression_calibration", "reliability": 0.5}),
    ("fidelity_regression", {"correction": "errors_in_variables", "error_sd": 0.1}),
    ("permutation", {}),
    ("permutation", {"change": True, "draws": 99}),
    ("statsmodels_ols", {}),
    ("statsmodels_mixed_model", {}),
]
AUTHORITIES, ROWS, REPLICATES = 8, 5, 6


def made(member: tuple[str, dict[str, object]]) -> Estimator:
    """An estimator from its name and settings."""
    name, settings = member
    estimator: Estimator = ESTIMATORS[name].model_validate(settings)
    return estimator


def label(member: tuple[str, dict[str, object]]) -> str:
    """A name for it in the list of tests."""
    return f"{member[0]}-{'-'.join(map(str, member[1].values()))}"


def takes_any_number(member: tuple[str, dict[str, object]]) -> bool:
    """Whether it takes outcomes that are not events, so that scale and shift are its business."""
    return "continuous" in (outcomes_of(made(member)) or ("continuous",))


def compares_arms(member: tuple[str, dict[str, object]]) -> bool:
    """Whether its estimate is a difference between arms, and no slope on how well the framework is practised."""
    return takes_any_number(member) and not needs_fidelity_score(made(member))


@pytest.fixture(params=MEMBERS, ids=label)
def estimator(request: pytest.FixtureRequest) -> Estimator:
    """Each registered estimator, in each of its settings that matters."""
    return made(request.param)


@pytest.fixture(params=filter(takes_any_number, MEMBERS), ids=label)
def linear_estimator(request: pytest.FixtureRequest) -> Estimator:
    """Those of continuous outcomes."""
    return made(request.param)


@pytest.fixture(params=filter(compares_arms, MEMBERS), ids=label)
def arm_estimator(request: pytest.FixtureRequest) -> Estimator:
    """Those of continuous outcomes whose estimate is a difference between arms."""
    return made(request.param)


def panel_of(estimator: Estimator, treated: int = 3, replicates: int = REPLICATES, seed: int = 1) -> Panel:
    """Single families of eight authorities of unequal size, before the start and after it; all take part.

    Three of them, or the rest, have a team, of which two, or the rest, have a worker.

    Fidelity is scored, 0 where there is no framework.

    Where the estimator takes events alone, authorities differ less, and a family has one if it is above 0.
    """
    rng = np.random.default_rng(seed)
    sizes = np.array([3, 5, 4, 6, 3, 7, 5, 4])
    authority = np.repeat(np.arange(AUTHORITIES), sizes)
    rows = authority.size
    place = np.concatenate([np.arange(size) for size in sizes])
    team = np.cumsum(place % 3 == 0) - 1
    worker = np.cumsum(place % 3 % 2 == 0) - 1
    effect = rng.normal(size=(replicates, AUTHORITIES))[:, authority]
    mean = rng.normal(size=(replicates, rows, 2)) + effect[:, :, np.newaxis]
    if "continuous" not in (outcomes_of(estimator) or ("continuous",)):
        mean = (mean - effect[:, :, np.newaxis] / 2 > 0).astype(np.float64)
    start = np.full((1, AUTHORITIES), NEVER)
    start[:, :treated] = 1
    return Panel(
        roster=Roster(authority, team, worker),
        cells=Cells(np.ones((1, rows, 2)), mean, np.zeros((1, rows, 2))),
        start=start,
        occasions=np.array([0, 1]),
        follow_up=np.array([False, True]),
        law=complete_randomisation(AUTHORITIES, treated),
        covariates={"deprivation": rng.normal(size=(replicates, AUTHORITIES))[:, authority]},
        fidelity_score=np.where(start < NEVER, rng.uniform(0.5, 1, (replicates, AUTHORITIES)), 0.0),
        uptake=(start[:, authority, np.newaxis] <= np.array([0, 1])).astype(np.float64),
    )


def analysed(estimator: Estimator, panel: Panel) -> Estimates:
    """The estimates, from the same stream every time."""
    return estimator.estimate(panel, np.random.default_rng(9))


def with_outcome(panel: Panel, mean: np.ndarray) -> Panel:
    """The panel with other outcomes."""
    return replace(panel, cells=Cells(panel.cells.n, mean, panel.cells.ss))


def test_every_estimator_is_tried() -> None:
    """An estimator that is not listed here would escape the contract."""
    tried = {name for name, _ in MEMBERS}
    assert tried == set(ESTIMATORS), "give every estimator a line in MEMBERS of this file"


def test_estimates_have_one_entry_for_each_replicate(estimator: Estimator) -> None:
    """Every field has the replicate axis alone, of length 1 where it does not vary."""
    estimates = analysed(estimator, panel_of(estimator))
    for field in fields(estimates):
        assert getattr(estimates, field.name).shape in {(REPLICATES,), (1,)}
    assert estimates.estimate.shape == (REPLICATES,)
    if estimator.estimator == "statsmodels_mixed_model":
        return  # its optimiser gives up on some of these panels, which is for its own tests to say
    assert np.isfinite(estimates.estimate).all()
    assert ((estimates.p_value >= 0) & (estimates.p_value <= 1)).all()
    assert set(np.unique(estimates.status)) <= {Status.OK, Status.BOUNDARY}


def test_the_same_panel_gives_the_same_bits_and_is_left_alone(estimator: Estimator) -> None:
    """Nothing but the panel and the given stream is read, and nothing is written."""
    panel = panel_of(estimator)
    before = panel.cells.mean.copy()
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    first, second = analysed(estimator, panel), analysed(estimator, panel)
    for field in fields(first):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name), equal_nan=True)
    assert np.array_equal(panel.cells.mean, before)
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[index]  # noqa: NPY002


def test_a_replicate_is_analysed_the_same_alone_and_among_others(estimator: Estimator) -> None:
    """A batch of one and a batch of many give the same numbers."""
    panel = panel_of(estimator)
    assert panel.fidelity_score is not None
    many = analysed(estimator, panel)
    alone = replace(
        panel,
        cells=Cells(panel.cells.n, panel.cells.mean[2:3], panel.cells.ss),
        covariates={name: values[2:3] for name, values in panel.covariates.items()},
        fidelity_score=panel.fidelity_score[2:3],
    )
    one = analysed(estimator, alone)
    for name in ("estimate", "std_error", "df", "p_value", "ci_low", "ci_high"):
        expected = np.broadcast_to(getattr(many, name), REPLICATES)[2]
        assert getattr(one, name)[0] == pytest.approx(expected, rel=1e-7, nan_ok=True)


def test_estimates_follow_scale_and_shift_of_the_outcome(linear_estimator: Estimator) -> None:
    """Other units give the same test, and the estimate in those units."""
    panel = panel_of(linear_estimator)
    plain = analysed(linear_estimator, panel)
    moved = analysed(linear_estimator, with_outcome(panel, 10 + 4 * panel.cells.mean))
    tolerance = 1e-4 if linear_estimator.estimator == "statsmodels_mixed_model" else 1e-7
    both = np.flatnonzero(~(moved.failed | plain.failed))
    assert both.size > REPLICATES / 2
    assert moved.estimate[both] == pytest.approx(4 * plain.estimate[both], rel=tolerance)
    for name, factor in (("std_error", 4), ("p_value", 1)):
        ours, theirs = (np.broadcast_to(getattr(e, name), REPLICATES)[both] for e in (moved, plain))
        assert ours == pytest.approx(factor * theirs, rel=10 * tolerance, abs=tolerance, nan_ok=True)


def test_an_effect_on_the_treated_shifts_the_estimate_by_itself(arm_estimator: Estimator) -> None:
    """An effect of 2 for every treated family after the start raises the estimate by 2."""
    panel = panel_of(arm_estimator)
    plain = analysed(arm_estimator, panel)
    treated = analysed(arm_estimator, with_outcome(panel, panel.cells.mean + 2.0 * panel.treated))
    tolerance = 1e-3 if arm_estimator.estimator == "statsmodels_mixed_model" else 1e-7
    assert treated.estimate == pytest.approx(plain.estimate + 2.0, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("treated", [0, AUTHORITIES])
def test_an_empty_arm_is_a_failed_analysis_and_no_exception(estimator: Estimator, treated: int) -> None:
    """A study that lost an arm is counted as failed, with nan for its numbers."""
    if needs_fidelity_score(estimator) and treated:
        return  # practice differs where everybody is treated, and a slope on it needs no other arm
    estimates = analysed(estimator, panel_of(estimator, treated))
    assert estimates.failed.all()
    assert np.isnan(estimates.estimate).all()
    assert np.isnan(estimates.p_value).all()


def test_an_outcome_that_does_not_vary_is_not_significant(estimator: Estimator) -> None:
    """Zero over zero must not become a discovery."""
    panel = panel_of(estimator)
    estimates = analysed(estimator, with_outcome(panel, np.ones_like(panel.cells.mean)))
    p_value = np.broadcast_to(estimates.p_value, REPLICATES)
    assert (estimates.failed | (p_value >= 0.999)).all()
