"""The second opinions are statsmodels' own, agree with ours where they should, and let no warning out."""

import json
from pathlib import Path

import numpy as np
import pytest

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Status
from design_sim.estimators.mixed_model import MixedModel
from design_sim.estimators.statsmodels_reference import StatsmodelsMixedLM, StatsmodelsOLS
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
RNG = np.random.default_rng(0)


def panel_of(y: Floats, sizes: list[int], n_treated: int, n: Floats | None = None) -> Panel:
    """A panel with a row for each family; y (replicate, family) or (replicate, family, occasion)."""
    y = y if y.ndim == 3 else y[:, :, np.newaxis]
    authority = np.repeat(np.arange(len(sizes)), sizes)
    cells = Cells(np.ones((1, *y.shape[1:])) if n is None else n, y, np.zeros((1, *y.shape[1:])))
    return Panel(
        roster=Roster(authority, authority, np.arange(authority.size)),
        cells=cells,
        start=np.where(np.arange(len(sizes)) < n_treated, 0, NEVER)[np.newaxis],
        occasions=np.arange(y.shape[2]),
        follow_up=np.full(y.shape[2], True),
        law=complete_randomisation(len(sizes), n_treated),
    )


def trials(n: int, sizes: list[int], icc: float, seed: int = 1) -> Panel:
    """Trials whose first half of authorities is treated."""
    rng = np.random.default_rng(seed)
    authority = np.repeat(np.arange(len(sizes)), sizes)
    noise = np.sqrt(1 - icc) * rng.normal(size=(n, authority.size))
    return panel_of(
        np.sqrt(icc) * rng.normal(size=(n, len(sizes)))[:, authority] + noise, sizes, len(sizes) // 2
    )


def reference_panel(name: str) -> Panel:
    data = np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)
    order = np.lexsort((data["cluster"], -data["treat"]))
    _, first, sizes = np.unique(data["cluster"][order], return_index=True, return_counts=True)
    in_order = np.argsort(first)
    treated = data["treat"][order][np.sort(first)] == 1
    return panel_of(data["y"][order][np.newaxis], sizes[in_order].tolist(), int(treated.sum()))


@pytest.mark.parametrize("name", ["crt_bal10", "crt_unb10", "crt_unb6"])
def test_clustered_least_squares_is_that_of_the_reference(name: str) -> None:
    """CR1S of R's sandwich is the same matrix as statsmodels' clustered covariance."""
    expected = json.loads((REFERENCE / "point" / f"{name}.json").read_text())["ols"]["unadjusted"]
    answer = StatsmodelsOLS().estimate(reference_panel(name), RNG)
    assert answer.estimate[0] == pytest.approx(expected["coef"]["treat"], rel=1e-8)
    assert answer.std_error[0] == pytest.approx(expected["se_CR1S"]["treat"], rel=1e-8)
    naive = StatsmodelsOLS(variance="naive").estimate(reference_panel(name), RNG)
    assert naive.std_error[0] == pytest.approx(expected["se_classical"]["treat"], rel=1e-8)


def test_naive_least_squares_is_the_two_sample_t_test() -> None:
    """With one binary regressor and families as independent there is only that."""
    panel = trials(3, [5, 7, 4, 6], icc=0.1)
    answer = StatsmodelsOLS(variance="naive").estimate(panel, RNG)
    for replicate in range(3):
        y = panel.cells.mean[replicate, :, 0]
        pooled = (11 * y[:12].var(ddof=1) + 9 * y[12:].var(ddof=1)) / 20
        assert answer.estimate[replicate] == pytest.approx(y[:12].mean() - y[12:].mean())
        assert answer.std_error[replicate] == pytest.approx(np.sqrt(pooled * (1 / 12 + 1 / 10)))
    assert (answer.df == 20).all()


@pytest.mark.parametrize(
    ("sizes", "std_error_tolerance"), [([12] * 8, 1e-4), ([5, 20, 9, 14, 7, 11, 16, 8], 0.1)]
)
def test_the_mixed_model_agrees_with_ours(sizes: list[int], std_error_tolerance: float) -> None:
    """The same criterion has the same optimum; standard errors are of two kinds unless sizes are equal."""
    panel = trials(25, sizes, icc=0.3)
    theirs = StatsmodelsMixedLM().estimate(panel, RNG)
    ours = MixedModel(df="normal").estimate(panel, RNG)
    good = theirs.status == Status.OK
    assert good.sum() >= 15
    assert (ours.status[good] == Status.OK).all()
    np.testing.assert_allclose(theirs.estimate[good], ours.estimate[good], atol=1e-5)
    np.testing.assert_allclose(theirs.std_error[good], ours.std_error[good], rtol=std_error_tolerance)
    assert np.isinf(theirs.df[good]).all()


def test_warnings_become_statuses() -> None:
    """Without variance between authorities statsmodels warns; warnings are errors here, so none got out."""
    answer = StatsmodelsMixedLM().estimate(trials(20, [6] * 8, icc=0.0), RNG)
    ours = MixedModel().estimate(trials(20, [6] * 8, icc=0.0), RNG)
    kinds = set(answer.status.tolist())
    assert Status.BOUNDARY in kinds
    assert (ours.status[answer.status == Status.BOUNDARY] == Status.BOUNDARY).all()
    assert np.isnan(answer.estimate[answer.status == Status.NOT_CONVERGED]).all()


def test_occasions_and_unseen_families_are_flattened() -> None:
    """Each occasion surveys other families; a family that was not seen is no observation."""
    rng = np.random.default_rng(2)
    y = rng.normal(size=(2, 12, 2))
    n = np.ones((2, 12, 2))
    n[0, 3, 1] = 0
    y[0, 3, 1] = np.nan
    answer = StatsmodelsOLS().estimate(panel_of(y, [3, 3, 3, 3], 2, n), RNG)
    for replicate in range(2):
        arms = y[replicate, :6].ravel(), y[replicate, 6:].ravel()
        expected = np.nanmean(arms[0]) - np.nanmean(arms[1])
        assert answer.estimate[replicate] == pytest.approx(expected)


def test_pooled_cells_are_refused_and_empty_arms_counted() -> None:
    """statsmodels reads single families only; an arm that nobody was seen in is a failed analysis."""
    with pytest.raises(ValueError, match="single families"):
        StatsmodelsOLS().estimate(panel_of(np.zeros((1, 4)), [1] * 4, 2, np.full((1, 4, 1), 3.0)), RNG)
    n = np.ones((1, 12, 1))
    n[0, :6] = 0
    empty = panel_of(np.random.default_rng(3).normal(size=(1, 12)), [3] * 4, 2, n)
    for estimator in (StatsmodelsOLS(), StatsmodelsMixedLM()):
        assert estimator.estimate(empty, RNG).status.tolist() == [Status.TOO_FEW_CLUSTERS]


@pytest.mark.parametrize("sizes", [[12, 12], [1, 1]])
def test_one_authority_in_each_arm_leaves_nothing_to_judge_by(sizes: list[int]) -> None:
    """Both are fitted exactly, and what statsmodels then gives as a standard error is rounding."""
    panel = panel_of(np.random.default_rng(4).normal(size=(2, sum(sizes))), sizes, 1)
    answer = StatsmodelsOLS().estimate(panel, RNG)
    assert answer.status.tolist() == [Status.TOO_FEW_CLUSTERS] * 2
    assert np.isnan(answer.p_value).all()
