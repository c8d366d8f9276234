"""Real tables that follow families: own baselines, changes and constrained baselines, by rows and columns."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from design_sim.analysis import Analysis, analyse
from design_sim.cli import execute
from design_sim.errors import ScenarioError

REFERENCE = Path(__file__).parent / "reference"
COHORT = REFERENCE / "data" / "cohort_unb.csv"
COLUMNS = {"outcome": "y", "treated": "d", "authority": "authority"}
NAMED = {**COLUMNS, "family": "family", "occasion": "occasion"}
CLDA = {"levels": ["authority", "family"], "period_effects": True}


def expected(model: str) -> dict[str, Any]:
    """What lmer gives for the cohort."""
    found: dict[str, Any] = json.loads((REFERENCE / "point" / "cohort_unb.json").read_text())["lmer"][model]
    return found


def followed(estimator: str, covariates: tuple[str, ...] = (), **options: Any) -> Analysis:
    """An analysis of the cohort."""
    return analyse(COHORT, estimator, **NAMED, covariates=covariates, options=options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "covariates", "options"),
    [
        ("clda", (), CLDA),
        ("clda_x", ("x",), CLDA),
        ("ancova_family", ("own_baseline", "x"), {"levels": ["authority", "family"]}),
        ("change", (), {"change": True}),
    ],
)
def test_tables_of_followed_families_give_what_lmer_gives(
    model: str, covariates: tuple[str, ...], options: dict[str, Any]
) -> None:
    """The three analyses of a real cohort, by columns of families and occasions."""
    stated = expected(model)
    for df, tolerance in (("satterthwaite", 1e-4), ("kenward_roger", 1e-5)):
        found = followed("mixed_model", covariates, df=df, **options)
        assert found.estimate == pytest.approx(stated["estimate"], rel=1e-6)
        assert found.std_error == pytest.approx(stated[df]["se"], rel=1e-6)
        assert found.df == pytest.approx(stated[df]["df"], rel=tolerance)


def test_workers_stand_between_authorities_and_families() -> None:
    """Four levels, named by columns."""
    options = {"levels": ["authority", "team", "worker", "family"], "period_effects": True}
    found = analyse(COHORT, "mixed_model", **NAMED, team="team", worker="worker", options=options)  # type: ignore[arg-type]
    assert found.estimate == pytest.approx(expected("clda_team_worker")["estimate"], rel=1e-6)


def test_own_baselines_are_computed_from_the_table() -> None:
    """Pandas merges every family's mean before the start to its rows after it; the rest is left out."""
    data = pd.read_csv(COHORT)
    before = data[data["occasion"] == 0].groupby("family")["y"].mean().rename("own")
    after = data[data["occasion"] > 0].merge(before, on="family")
    model = smf.ols("y ~ d + own", after)
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": after["authority"]})
    found = followed("clustered_regression", ("own_baseline",), variance="CR1S")
    assert found.estimate == pytest.approx(fitted.params["d"], rel=1e-9)
    assert found.std_error == pytest.approx(fitted.bse["d"], rel=1e-8)
    assert found.coefficients["own_baseline"] == pytest.approx(fitted.params["own"], rel=1e-9)
    assert found.n_missing == int((~data["family"].isin(before.index)).sum()) > 0
    gee = followed("gee", ("own_baseline",), working="independence", variance="robust")
    assert gee.estimate == pytest.approx(fitted.params["d"], rel=1e-8)


def test_a_column_of_the_name_is_read_as_it_is() -> None:
    """Who has own baselines in the table need not have families in it."""
    data = pd.read_csv(COHORT)
    data["own_baseline"] = np.random.default_rng(1).normal(size=len(data))
    renamed = data.rename(columns={"own_baseline": "z"})
    found, same = (
        analyse(frame, "clustered_regression", **COLUMNS, occasion="occasion", covariates=[name])  # type: ignore[arg-type]
        for frame, name in ((data, "own_baseline"), (renamed, "z"))
    )
    assert found.estimate == same.estimate


def test_changes_leave_out_who_was_seen_on_one_side_alone() -> None:
    """Complete cases, counted as such."""
    data = pd.read_csv(COHORT)
    sides = data.assign(after=data["occasion"] > 0).groupby("family")["after"].nunique()
    found = followed("clustered_regression", change=True)
    assert found.n_missing == int((~data["family"].isin(sides.index[sides == 2])).sum()) > 0
    assert found.n_observations == len(data) - found.n_missing
    assert found.estimate == pytest.approx(
        float(smf.ols("change ~ treat", changes_of(data)).fit().params["treat"]), rel=1e-9
    )


def changes_of(data: pd.DataFrame) -> pd.DataFrame:
    """Every complete family's change and arm."""
    sides = data.assign(after=np.where(data["occasion"] > 0, "after", "before"))
    wide = sides.pivot_table(index=["family", "treat"], columns="after", values="y", aggfunc="mean")
    wide = wide.dropna().reset_index()
    return wide.assign(change=wide["after"] - wide["before"])


def test_the_command_prints_the_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """The columns are options of the command."""
    line = f"analyse {COHORT} --estimator clustered_regression --outcome y --treated d --authority authority"
    line += " --family family --occasion occasion --covariate own_baseline --option variance=CR2 --json"
    assert execute(line.split()) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["estimate"] == followed("clustered_regression", ("own_baseline",)).estimate


def asked(
    data: pd.DataFrame, estimator: str, columns: dict[str, str], *covariates: str, **options: Any
) -> str:
    """Why an analysis is refused."""
    with pytest.raises(ScenarioError) as refused:
        analyse(data, estimator, **columns, covariates=covariates, options=options)  # type: ignore[arg-type]
    return " ".join(refused.value.faults)


def test_tables_that_follow_nobody_are_refused_with_the_reason() -> None:
    """What each analysis needs is said in a sentence."""
    data = pd.read_csv(COHORT)
    needs = "needs the columns of family and occasion"
    assert needs in asked(data, "clustered_regression", COLUMNS, "own_baseline")
    assert needs in asked(data, "clustered_regression", {**COLUMNS, "occasion": "occasion"}, change=True)
    assert needs in asked(data, "mixed_model", {**COLUMNS, "occasion": "occasion"}, **CLDA)
    others = data.assign(family=np.arange(len(data)))
    assert "no family stands there at more than one" in asked(others, "mixed_model", NAMED, **CLDA)
    varying = data.assign(x=np.arange(len(data)))
    assert "'x' differs between the occasions" in asked(varying, "mixed_model", NAMED, "x", **CLDA)
    assert "reads anyway" in asked(data, "mixed_model", NAMED, "own_baseline", period_effects=True)
    after = data[data["occasion"] > 0]
    assert "needs an occasion before" in asked(after, "gee", NAMED, "own_baseline")
    assert "before" in asked(after, "clustered_regression", NAMED, change=True)
    wedge = pd.read_csv(REFERENCE / "data" / "cohort_wedge.csv")
    assert "one start for all" in asked(wedge, "gee", NAMED, "own_baseline")
