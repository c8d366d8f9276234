"""The stored stepped wedge, block by block, through the planned analysis: what other software finds, it finds."""

import json
from pathlib import Path
from typing import Any

import pytest

from design_sim.analysis import Analysis, analyse

REFERENCE = Path(__file__).parent / "reference"
STORED: dict[str, Any] = json.loads((REFERENCE / "point" / "sw_9x4.json").read_text())
TESTED = {"lmer", "ols_fixed_cluster", "gee", "gee_logit", "glmer_logit"}
NOT_OFFERED = {"se_HC1", "se_HC2", "se_HC3"}
"""Standard errors of independent families whose variances differ: no answer has them."""


def analysed(estimator: str, outcome: str = "y", **options: Any) -> Analysis:
    """An analysis of the wedge of nine clusters and four periods."""
    return analyse(
        REFERENCE / "data" / "sw_9x4.csv",
        estimator,
        outcome=outcome,
        treated="d",
        authority="cluster",
        occasion="period",
        options=options,
    )


def test_no_block_is_left_out() -> None:
    """A block without a test here would be taken for checked."""
    assert set(STORED) - {"id", "data", "category", "design", "software"} == TESTED
    errors = {key for key in STORED["ols_fixed_cluster"] if key.startswith("se_")}
    assert errors - NOT_OFFERED == {f"se_{kind}" for kind in ("classical", "CR0", "CR1", "CR1S", "CR2")}


@pytest.mark.parametrize("model", ["hussey_hughes", "nested_exchangeable"])
@pytest.mark.parametrize("df", ["satterthwaite", "kenward_roger"])
def test_mixed_models_are_those_of_lmer(model: str, df: str) -> None:
    """One of them with a variance of 0, where df are those without it."""
    stated = STORED["lmer"][model]
    by_occasion = model == "nested_exchangeable"
    found = analysed("mixed_model", period_effects=True, df=df, authority_by_occasion=by_occasion)
    assert (found.status == "boundary") == stated["singular"]
    std_error = (stated if df == "satterthwaite" else stated[df])["se"]["d"]
    assert found.estimate == pytest.approx(stated["estimate"]["d"], rel=1e-6)
    assert found.std_error == pytest.approx(std_error, rel=1e-6)
    assert found.df == pytest.approx(stated[df]["df"]["d"], rel=1e-4)
    assert found.p_value == pytest.approx(stated[df]["p"]["d"], rel=1e-4)


@pytest.mark.parametrize("variance", ["naive", "CR0", "CR1", "CR1S", "CR2"])
def test_fixed_effects_of_clusters_and_periods_are_those_of_lm_and_clubsandwich(variance: str) -> None:
    """A dummy for every cluster and period, every family alike: two-way fixed effects are that regression."""
    stated = STORED["ols_fixed_cluster"]
    test = {"df": "satterthwaite"} if variance in ("CR1S", "CR2") else {}
    found = analysed("two_way_fixed_effects", weights="family", variance=variance, **test)
    key = "se_classical" if variance == "naive" else f"se_{variance}"
    assert found.estimate == pytest.approx(stated["coef"]["d"], rel=1e-8)
    assert found.std_error == pytest.approx(stated[key]["d"], rel=1e-8)
    if test:
        assert found.df == pytest.approx(stated[f"satt_df_{variance}"]["d"], rel=1e-8)
        assert found.p_value == pytest.approx(stated[f"satt_p_{variance}"]["d"], rel=1e-8)
    else:
        assert found.df == (stated["n"] - stated["k"] if variance == "naive" else stated["G"] - 1)


@pytest.mark.parametrize(("block", "outcome"), [("gee", "y"), ("gee_logit", "ybin")])
@pytest.mark.parametrize("working", ["exchangeable", "independence"])
def test_estimating_equations_are_those_of_geepack(block: str, outcome: str, working: str) -> None:
    """Means and risks, with a common correlation and without."""
    stated = STORED[block] if working == "exchangeable" else STORED[block]["independence"]
    events = {"family": "binomial", "report": "link"} if outcome == "ybin" else {}
    moments = {"moments": "plain"} if working == "exchangeable" else {}
    found = analysed("gee", outcome, variance="robust", working=working, **moments, **events)
    assert found.estimate == pytest.approx(stated["coef"]["d"], rel=1e-7)
    assert found.std_error == pytest.approx(stated["se_robust"]["d"], rel=1e-7)


@pytest.mark.parametrize("points", [1, 9])
def test_logistic_mixed_models_are_those_of_glmer(points: int) -> None:
    """By Laplace's approximation and by quadrature; the variance between clusters is 0."""
    stated = STORED["glmer_logit"][f"nAGQ{points}"]
    found = analysed(
        "logistic_mixed_model", "ybin", period_effects=True, quadrature_points=points, report="link"
    )
    assert found.status == "boundary"
    assert found.estimate == pytest.approx(stated["estimate"]["d"], rel=1e-5)
    assert found.std_error == pytest.approx(stated["se"]["d"], rel=1e-5)
