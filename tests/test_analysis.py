"""The planned analysis on real data: other software's numbers, through the command and through a frame."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import design_sim
from design_sim import tabular
from design_sim.analysis import Analysis, analyse, as_json, findings, options_of
from design_sim.cli import execute
from design_sim.errors import ScenarioError
from design_sim.estimators import ESTIMATORS

REFERENCE = Path(__file__).parent / "reference"
TRIALS = ("crt_bal10", "crt_bal4", "crt_unb10", "crt_unb6", "crt_unb20_imb")
ADJUSTED = {"unadjusted": (), "adjusted": ("x",), "adjusted_xw": ("x", "w")}


def expected(name: str) -> dict[str, Any]:
    """Other software's numbers on a data set."""
    found: dict[str, Any] = json.loads((REFERENCE / "point" / f"{name}.json").read_text())
    return found


def trial(
    name: str, estimator: str, outcome: str = "y", covariates: tuple[str, ...] = (), **options: Any
) -> Analysis:
    """An analysis of a cluster randomised trial."""
    return analyse(
        REFERENCE / "data" / f"{name}.csv",
        estimator,
        outcome=outcome,
        treated="treat",
        authority="cluster",
        covariates=covariates,
        options=options,
    )


@pytest.mark.parametrize("name", TRIALS)
@pytest.mark.parametrize("model", ADJUSTED)
def test_least_squares_are_those_of_other_software(name: str, model: str) -> None:
    """Estimate, covariates, every robust standard error and the Satterthwaite df (clubSandwich, sandwich)."""
    ols = expected(name)["ols"]
    if model not in ols:
        assert model == "adjusted_xw"
        return
    stated = ols[model]
    for variance in ("CR0", "CR1", "CR1S", "CR2", "CR3"):
        if f"se_{variance}" not in stated:
            continue
        found = trial(name, "clustered_regression", covariates=ADJUSTED[model], variance=variance)
        assert found.estimate == pytest.approx(stated["coef"]["treat"], rel=1e-8)
        assert found.std_error == pytest.approx(stated[f"se_{variance}"]["treat"], rel=1e-8)
        for covariate in ADJUSTED[model]:
            assert found.coefficients[covariate] == pytest.approx(stated["coef"][covariate], rel=1e-8)
        if variance in ("CR2", "CR3"):
            assert found.df == pytest.approx(stated[f"satt_df_{variance}"]["treat"], rel=1e-8)
            assert found.p_value == pytest.approx(stated[f"satt_p_{variance}"]["treat"], rel=1e-7)
    naive = trial(name, "clustered_regression", covariates=ADJUSTED[model], variance="naive")
    assert naive.std_error == pytest.approx(stated["se_classical"]["treat"], rel=1e-8)
    assert (naive.n_observations, naive.n_clusters) == (stated["n"], stated["G"])


@pytest.mark.parametrize("name", TRIALS)
def test_cluster_means_and_permutation_are_exact(name: str) -> None:
    """The t test, the size-weighted one, and the enumerated randomisation test."""
    stated = expected(name)["cluster_means"]
    found = trial(name, "cluster_means")
    assert found.estimate == pytest.approx(stated["t_equal"]["diff"], rel=1e-9)
    assert found.std_error == pytest.approx(stated["t_equal"]["se"], rel=1e-9)
    assert (found.ci_low, found.ci_high) == pytest.approx(stated["t_equal"]["ci"], rel=1e-8)
    weighted = trial(name, "cluster_means", weights="family")
    assert weighted.estimate == pytest.approx(stated["size_weighted"]["diff"], rel=1e-8)
    assert weighted.std_error == pytest.approx(stated["size_weighted"]["se"], rel=1e-8)
    permuted = trial(name, "permutation", draws=99_999)
    assert permuted.p_value == pytest.approx(stated["randomisation_test"]["p_two_sided"], abs=1e-12)


@pytest.mark.parametrize("name", TRIALS)
def test_estimating_equations_have_both_conventions(name: str) -> None:
    """statsmodels' moments with four variances, and geepack's with the plain sandwich."""
    stated = expected(name).get("gee_statsmodels", {})
    for family, outcome in (("gaussian", "y"), ("logit", "ybin")):
        if family not in stated:
            continue
        of = stated[family]
        settings: dict[str, Any] = {"family": "binomial", "report": "link"} if family == "logit" else {}
        for variance in ("robust", "mancl_derouen", "kauermann_carroll", "fay_graubard"):
            key = "se_fay_graubard_b0p75" if variance == "fay_graubard" else f"se_{variance}"
            found = trial(name, "gee", outcome, ("x",), variance=variance, **settings)
            assert found.estimate == pytest.approx(of["coef"]["treat"], rel=1e-7)
            assert found.std_error == pytest.approx(of[key]["treat"], rel=1e-7)
            assert found.coefficients["x"] == pytest.approx(of["coef"]["x"], rel=1e-7)
    plain = expected(name)["gee_gaussian"]["adjusted"]
    found = trial(name, "gee", covariates=("x",), variance="robust", moments="plain")
    assert found.estimate == pytest.approx(plain["coef"]["treat"], rel=1e-7)
    assert found.std_error == pytest.approx(plain["se_robust"]["treat"], rel=1e-7)


@pytest.mark.parametrize("name", TRIALS)
def test_mixed_models_are_those_of_lmer(name: str) -> None:
    """REML estimate and standard error with Satterthwaite's df, and Kenward and Roger's where not singular."""
    for model, covariates in ADJUSTED.items():
        stated = expected(name)["lmer"].get(model)
        if stated is None:
            continue
        found = trial(name, "mixed_model", covariates=covariates)
        assert found.estimate == pytest.approx(stated["estimate"]["treat"], rel=1e-5)
        assert found.std_error == pytest.approx(stated["se"]["treat"], rel=1e-5)
        for covariate in covariates:
            assert found.coefficients[covariate] == pytest.approx(stated["estimate"][covariate], rel=1e-5)
        if not stated["singular"]:
            assert found.df == pytest.approx(stated["satterthwaite"]["df"]["treat"], rel=1e-4)
            adjusted = trial(name, "mixed_model", covariates=covariates, df="kenward_roger")
            assert adjusted.std_error == pytest.approx(stated["kenward_roger"]["se"]["treat"], rel=1e-5)
            assert adjusted.df == pytest.approx(stated["kenward_roger"]["df"]["treat"], rel=1e-5)


@pytest.mark.parametrize("name", ["crt_bal10", "crt_unb10", "crt_unb20_imb"])
@pytest.mark.parametrize(("points", "key"), [(1, "nAGQ1"), (15, "nAGQ15")])
def test_logistic_mixed_models_are_those_of_glmer(name: str, points: int, key: str) -> None:
    """Laplace and adaptive quadrature with fifteen points."""
    stated = expected(name)["glmer_logit"][key]
    found = trial(name, "logistic_mixed_model", "ybin", ("x",), report="link", quadrature_points=points)
    assert found.estimate == pytest.approx(stated["estimate"]["treat"], rel=1e-4)
    assert found.std_error == pytest.approx(stated["se"]["treat"], rel=1e-4)
    assert found.coefficients["x"] == pytest.approx(stated["estimate"]["x"], rel=1e-4)


def test_the_wild_bootstrap_has_its_enumerated_p_values() -> None:
    """Ties count, null imposed or not."""
    cases = json.loads((REFERENCE / "point" / "wild_cluster_bootstrap.json").read_text())["cases"]
    for name in ("crt_bal10", "crt_unb10", "crt_unb6", "crt_bal4"):
        stated = next(value for key, value in cases[name].items() if key.startswith("y ~ treat ("))
        for imposed, key in ((True, "WCR_restricted"), (False, "WCU_unrestricted")):
            found = trial(name, "wild_bootstrap", null_imposed=imposed, draws=1_023)
            assert found.p_value == pytest.approx(stated[key]["p_symmetric_ge"], abs=1e-12)


@pytest.mark.parametrize("name", ["did_8x6", "did_10x4_bal"])
def test_a_panel_of_occasions_is_analysed_whole(name: str) -> None:
    """Two-way fixed effects on families; the change of means; the wild bootstrap of the same regression."""
    columns = {"outcome": "y", "treated": "d", "authority": "cluster", "occasion": "period"}
    data = REFERENCE / "data" / f"{name}.csv"
    stated = expected(name)["ols"]["twfe"]
    for variance in ("CR0", "CR1", "CR1S", "CR2"):
        options = {"variance": variance, "weights": "family"}
        found = analyse(data, "two_way_fixed_effects", options=options, **columns)  # type: ignore[arg-type]
        assert found.estimate == pytest.approx(stated["coef"]["d"], rel=1e-8)
        assert found.std_error == pytest.approx(stated[f"se_{variance}"]["d"], rel=1e-8)
    change = expected(name)["collapsed"]["change"]
    found = analyse(data, "cluster_means", options={"change": True}, **columns)  # type: ignore[arg-type]
    assert found.estimate == pytest.approx(change["diff"], rel=1e-9)
    assert found.p_value == pytest.approx(change["p"], rel=1e-8)
    permuted = analyse(data, "permutation", options={"change": True}, **columns)  # type: ignore[arg-type]
    assert permuted.p_value == pytest.approx(expected(name)["collapsed"]["randomisation_test"]["p_two_sided"])


def test_a_stepped_wedge_is_analysed_with_its_periods() -> None:
    """Hussey and Hughes' model by estimating equations: geepack's numbers."""
    stated = expected("sw_9x4")["gee"]
    found = analyse(
        REFERENCE / "data" / "sw_9x4.csv",
        "gee",
        outcome="y",
        treated="d",
        authority="cluster",
        occasion="period",
        options={"variance": "robust", "moments": "plain"},
    )
    assert found.estimate == pytest.approx(stated["coef"]["d"], rel=1e-7)
    assert found.std_error == pytest.approx(stated["se_robust"]["d"], rel=1e-7)


@pytest.mark.parametrize(
    ("model", "options"),
    [("hussey_hughes", {}), ("nested_exchangeable", {"authority_by_occasion": True})],
)
def test_wedge_models_are_those_of_lmer(model: str, options: dict[str, Any]) -> None:
    """Hussey and Hughes' model and the nested exchangeable one, with both small-sample rules."""
    stated = expected("sw_9x4")["lmer"][model]
    for df, key in (("satterthwaite", "satterthwaite"), ("kenward_roger", "kenward_roger")):
        if stated["singular"]:
            continue
        found = analyse(
            REFERENCE / "data" / "sw_9x4.csv",
            "mixed_model",
            outcome="y",
            treated="d",
            authority="cluster",
            occasion="period",
            options={"period_effects": True, "df": df, **options},
        )
        assert found.estimate == pytest.approx(stated["estimate"]["d"], rel=1e-5)
        assert found.df == pytest.approx(stated[key]["df"]["d"], rel=1e-4)
        std_error = stated["se"]["d"] if df == "satterthwaite" else stated[key]["se"]["d"]
        assert found.std_error == pytest.approx(std_error, rel=1e-5)


@pytest.mark.parametrize("by_instrument", [False, True])
def test_encouragement_is_an_instrument(by_instrument: bool) -> None:
    """Uptake beside assignment, or treatment with an instrument: the same two-stage least squares."""
    stated = expected("iv_a")["iv_d"]
    asked: dict[str, Any] = {"treated": "z", "uptake": "d", "options": {"variance": "CR2"}}
    if by_instrument:
        asked = {"treated": "d", "options": {"variance": "CR2", "instrument": "z"}}
    found = analyse(
        REFERENCE / "data" / "iv_a.csv",
        "instrumental_variables",
        outcome="y",
        authority="cluster",
        covariates=("x",),
        **asked,
    )
    assert found.estimate == pytest.approx(stated["coef"]["d"], rel=1e-8)
    assert found.std_error == pytest.approx(stated["se_CR2"]["d"], rel=1e-8)
    assert found.df == pytest.approx(stated["satt_df_CR2"]["d"], rel=1e-8)


def frame(**changes: object) -> pd.DataFrame:
    """Six clusters of four in two arms at two occasions."""
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(6), 8)
    occasion = np.tile(np.repeat([1, 2], 4), 6)
    family = np.tile(np.tile(np.arange(4), 2), 6)
    data = {
        "y": rng.normal(size=48),
        "d": ((cluster < 3) & (occasion == 2)).astype(int),
        "place": [f"place {number}" for number in cluster],
        "when": occasion,
        "family": family,
        "x": rng.normal(size=48),
    }
    return pd.DataFrame({**data, **changes})


COLUMNS = {"outcome": "y", "treated": "d", "authority": "place", "occasion": "when"}


def test_missing_values_are_counted_and_left_out() -> None:
    """Complete cases, with their number said; as a frame and as a file alike."""
    data = frame()
    data.loc[[0, 7], "y"] = np.nan
    data.loc[3, "x"] = np.nan
    found = design_sim.analyse(
        data,
        "cluster_means",
        options={"change": True},
        covariates=["x"],
        **COLUMNS,  # type: ignore[arg-type]
    )
    assert (found.n_missing, found.n_observations) == (3, 45)
    assert ("left out", "3 rows with something missing") in findings(found)
    assert json.loads(as_json(found))["n_missing"] == 3


@pytest.mark.parametrize(
    ("changes", "asked", "said"),
    [
        ({}, {"outcome": "z"}, "outcome: 'z' is not a column"),
        ({"y": ["text"] * 48}, {}, "column 'y', row 2: found 'text', and 47 more rows; allowed: a number"),
        ({"d": [2] * 48}, {}, "found 2; allowed: 1 where treated, 0 where not"),
        ({"d": [0] * 48}, {}, "nobody is treated; there is nothing to compare"),
        ({"d": [1] * 48}, {}, "nobody is not treated"),
        ({"y": [np.nan] * 48}, {}, "has no row that is complete"),
        ({}, {"covariates": ["nope"]}, "covariate nope: 'nope' is not a column"),
        ({"d": np.tile([1, 0], 24)}, {}, "treated: differs within authorities"),
        ({"d": (frame()["when"] == 1).astype(int)}, {}, "treated and later no longer"),
        ({"d": frame()["place"].isin(["place 0"]).astype(int), "when": 1}, {"occasion": None}, None),
    ],
)
def test_what_a_table_cannot_give_is_said(
    changes: dict[str, Any], asked: dict[str, Any], said: str | None
) -> None:
    """One clear message for each; a single treated cluster is no fault of the t test on means."""
    columns: dict[str, Any] = {**COLUMNS, **asked}
    if said is None:
        assert np.isfinite(analyse(frame(**changes), "cluster_means", **columns).p_value)
        return
    with pytest.raises(ScenarioError, match=said):
        analyse(frame(**changes), "cluster_means", **columns)


def test_one_cluster_in_an_arm_is_refused_where_two_are_needed() -> None:
    """CR2 has no standard error for an arm of one."""
    data = frame(d=frame()["place"].isin(["place 0"]).astype(int))
    columns = {key: value for key, value in COLUMNS.items() if key != "occasion"}
    with pytest.raises(ScenarioError, match="too few clusters for this method"):
        analyse(data, "clustered_regression", **columns)  # type: ignore[arg-type]


def test_a_family_stands_once_at_an_occasion() -> None:
    """A copied row would count twice, silently."""
    data = pd.concat([frame(), frame().iloc[[5]]])
    with pytest.raises(ScenarioError, match="1 family stands there more than once at the same occasion"):
        analyse(data, "cluster_means", family="family", **COLUMNS)  # type: ignore[arg-type]


def test_treatment_within_clusters_is_for_those_who_take_it() -> None:
    """Least squares clustered by authority, with arms in every authority, against a plain sandwich."""
    data = frame(d=np.tile([1, 0], 24))
    columns = {key: value for key, value in COLUMNS.items() if key != "occasion"}
    found = analyse(data, "clustered_regression", options={"variance": "CR0"}, **columns)  # type: ignore[arg-type]
    x = np.column_stack([np.ones(48), data["d"]])
    bread = np.linalg.inv(x.T @ x)
    beta = bread @ x.T @ data["y"].to_numpy()
    residual = data["y"].to_numpy() - x @ beta
    meat = np.zeros((2, 2))
    for place in data["place"].unique():
        of = (data["place"] == place).to_numpy()
        score = x[of].T @ residual[of]
        meat += np.outer(score, score)
    assert found.estimate == pytest.approx(beta[1])
    assert found.std_error == pytest.approx(np.sqrt((bread @ meat @ bread)[1, 1]))


def test_options_are_read_as_a_scenario_file_has_them() -> None:
    """Numbers, booleans, lists, and texts without quotes."""
    read = options_of(["variance=CR2", "draws=99", "change=true", 'levels=["authority", "worker"]'])
    assert read == {"variance": "CR2", "draws": 99, "change": True, "levels": ["authority", "worker"]}
    with pytest.raises(ScenarioError, match="'variance' is not NAME=VALUE"):
        options_of(["variance"])


COMMAND = ["analyse", str(REFERENCE / "data" / "crt_unb10.csv"), "--outcome", "y", "--treated", "treat"]


def test_the_command_prints_a_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Every key that other programs read, and null where there is no number."""
    code = execute([*COMMAND, "--authority", "cluster", "--estimator", "permutation", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert {"estimate", "std_error", "df", "statistic", "p_value", "ci_low", "ci_high"} <= set(printed)
    assert {"n_clusters", "n_observations", "coefficients", "convention"} <= set(printed)
    assert printed["std_error"] is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["--authority", "cluster", "--estimator", "geee"],
            "'geee' is not an estimator; did you mean 'gee'?",
        ),
        (["--authority", "nope", "--estimator", "gee"], "authority: 'nope' is not a column"),
        (
            ["--authority", "cluster", "--estimator", "gee", "--option", "variance=foo"],
            "option.variance: found 'foo'",
        ),
        (
            ["--authority", "cluster", "--estimator", "permutation", "--covariate", "x"],
            "permutation takes none",
        ),
        (["--authority", "cluster", "--estimator", "gee", "--clusters", "town"], "'town' is not a level"),
        (["--authority", "cluster", "--estimator", "gee", "--alpha", "2"], "alpha: 2 is not within"),
        (
            ["--authority", "cluster", "--estimator", "instrumental_variables"],
            "needs a column of what was taken",
        ),
        (["--authority", "cluster", "--estimator", "logistic_mixed_model"], "needs an outcome of 0 and 1"),
    ],
)
def test_a_wrong_command_says_why_and_ends_with_2(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file or option, what was found and what is allowed."""
    assert execute([*COMMAND, *more]) == 2
    assert said in capsys.readouterr().err


def test_an_estimator_that_reads_scores_of_fidelity_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A table of outcomes holds no score of what an authority practised."""
    assert execute([*COMMAND, "--authority", "cluster", "--estimator", "fidelity_regression"]) == 2
    said = "estimator: fidelity_regression needs scores of fidelity, which a table does not hold"
    assert said in capsys.readouterr().err


def study(estimator: str) -> pd.DataFrame:
    """Eight clusters of four families at three occasions, half treated from the second on."""
    rng = np.random.default_rng(3)
    cluster, when = np.repeat(np.arange(8), 12), np.tile(np.repeat([1, 2, 3], 4), 8)
    treated = ((cluster < 4) & (when > 1)).astype(int)
    outcomes = {"logistic_mixed_model": rng.integers(0, 2, 96), "poisson_mixed_model": rng.poisson(2.0, 96)}
    y = outcomes.get(estimator, rng.normal(size=96) + 0.8 * rng.normal(size=8)[cluster])
    names = [f"place {number}" for number in cluster]
    family, x = np.tile(np.arange(4), 24), rng.normal(size=96)
    uptake = treated * rng.integers(0, 2, 96)
    return pd.DataFrame(
        {"y": y, "d": treated, "place": names, "when": when, "family": family, "x": x, "took": uptake}
    )


def command(estimator: str, path: Path, *more: str) -> int:
    """The exit code of an analysis of a file."""
    columns = ["--outcome", "y", "--treated", "d", "--authority", "place", "--occasion", "when"]
    uptake = ["--uptake", "took"] if estimator == "instrumental_variables" else []
    return execute(["analyse", str(path), "--estimator", estimator, *columns, *uptake, *more])


def changed(data: pd.DataFrame, row: int | slice, **values: object) -> pd.DataFrame:
    """A copy with other values in some rows."""
    other = data.astype(dict.fromkeys(values, object))
    for column, value in values.items():
        other.loc[row, column] = value  # type: ignore[index]
    return other


TABLES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "no column": (lambda data: data.drop(columns="y"), "outcome: 'y' is not a column"),
    "text": (lambda data: changed(data, 3, y="much"), "column 'y', row 5: found 'much'; allowed: a number"),
    "infinite": (lambda data: changed(data, 3, y="inf"), "column 'y', row 5: found 'inf'"),
    "enormous": (lambda data: changed(data, 3, y="1e308"), "allowed: a number of at most 1e+50"),
    "no arm": (lambda data: data.assign(d=0), "nobody is treated"),
    "unseen arm": (lambda data: changed(data, slice(4, 47), y=""), "nobody is treated"),
    "half a treatment": (lambda data: data.assign(d=data["d"] / 2), "found 0.5; allowed: 1 where treated"),
    "given up": (lambda data: data.assign(d=data["d"] * (data["when"] == 2)), "treated and later no longer"),
    "twice": (lambda data: pd.concat([data, data.iloc[[5]]]), "1 family stands there more than once"),
    "no rows": (lambda data: data.iloc[:0], "has no rows"),
}
"""What is done to a table, and what must be said of it."""


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_table_that_cannot_be_analysed_has_one_clear_message(
    estimator: str, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the estimator: exit code 2, the reason, and nothing that only a programmer reads."""
    spoil, said = TABLES[table]
    spoil(study(estimator)).to_csv(tmp_path / "table.csv", index=False)
    assert command(estimator, tmp_path / "table.csv", "--family", "family") == 2
    printed = capsys.readouterr()
    expected = "needs scores of fidelity" if estimator == "fidelity_regression" else said
    assert expected in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("estimator", [name for name in ESTIMATORS if name != "fidelity_regression"])
def test_complete_cases_are_analysed_by_every_estimator(
    estimator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three rows lack something, each in another way: they are counted, and the others analysed."""
    data = changed(changed(study(estimator), 3, y=""), 8, place="NA")
    changed(data, 20, when=" nan ").to_csv(tmp_path / "table.csv", index=False)
    code = command(estimator, tmp_path / "table.csv", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (code, found["n_missing"], found["n_observations"]) == (0, 3, 93)
    assert np.isfinite(found["estimate"])


@pytest.mark.parametrize("estimator", [name for name in ESTIMATORS if name != "fidelity_regression"])
def test_one_cluster_in_each_arm_is_refused_or_judged_by_its_families(
    estimator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing tells how clusters differ: no method may be sure of an effect by them."""
    data = study(estimator)
    data = data[data["place"].isin(["place 0", "place 7"])]
    data.to_csv(tmp_path / "table.csv", index=False)
    code = command(estimator, tmp_path / "table.csv", "--json")
    printed = capsys.readouterr()
    if estimator in ("permutation", "likelihood_ratio"):
        assert code == 0
        assert json.loads(printed.out)["p_value"] > (0.99 if estimator == "permutation" else 0.01)
    else:
        assert code == 2
        assert "too few clusters for this method" in printed.err


@pytest.mark.parametrize("estimator", [name for name in ESTIMATORS if name != "fidelity_regression"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_an_outcome_that_is_the_same_for_all_shows_no_effect(
    estimator: str, value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused with the reason, or without any significance."""
    study(estimator).assign(y=value).to_csv(tmp_path / "table.csv", index=False)
    code = command(estimator, tmp_path / "table.csv", "--json")
    printed = capsys.readouterr()
    if code == 0:
        assert json.loads(printed.out)["p_value"] > 0.99
    else:
        assert code == 2
        reasons = ("does not vary", "needs an outcome of", "fitted risk is 0 or 1")
        assert any(reason in printed.err for reason in reasons)


FILES: dict[str, tuple[Callable[[str], bytes], str]] = {
    "empty": (lambda _: b"", "it is empty"),
    "no header": (lambda text: text.partition("\n")[2].encode(), "has no header: its first line is"),
    "semicolons": (lambda text: text.replace(",", ";").encode(), "semicolons stand between its columns"),
    "tabs": (lambda text: text.replace(",", "\t").encode(), "tabs stand between its columns"),
    "latin": (lambda text: text.replace("place 3", "plaçe 3").encode("latin-1"), "is not text in UTF-8"),
    "wide": (lambda text: text.encode("utf-16"), "is not text in UTF-8"),
    "binary": (lambda _: bytes(range(128)) * 9, "it holds bytes that are no text"),
    "two of a name": (lambda text: text.replace("took", "y", 1).encode(), "'y' stands there more than once"),
    "a row too long": (
        lambda text: text.replace("place 3", "place, 3").encode(),
        "has 8 fields, and the header 7",
    ),
    "a row too short": (lambda text: f"{text}1,0\n".encode(), "has 2 fields, and the header 7"),
    "an open quote": (
        lambda text: text.replace("place 3", '"place 3', 1).encode(),
        "fields, and the header 7",
    ),
    "ends of rows": (
        lambda text: text.replace("\n", ",\n").replace("took,", "took", 1).encode(),
        "line 2 has 8",
    ),
}
"""How a file is spoilt, and what must be said of it."""


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_no_table_says_why(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shifted column would give a wrong number without a word."""
    spoil, said = FILES[file]
    (tmp_path / "table.csv").write_bytes(spoil(study("gee").to_csv(index=False)))
    assert command("gee", tmp_path / "table.csv") == 2
    assert said in capsys.readouterr().err


def test_a_folder_and_what_is_absent_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The path and the reason."""
    for path in (tmp_path, tmp_path / "absent.csv"):
        assert command("gee", path) == 2
        assert f"{path}: 1 fault\n  cannot be read" in capsys.readouterr().err


def test_a_mark_of_byte_order_and_blank_lines_are_no_fault(tmp_path: Path) -> None:
    """Spreadsheets write the first, people the second."""
    text = study("gee").to_csv(index=False).replace("\n", "\r\n") + "\r\n\r\n"
    (tmp_path / "table.csv").write_bytes(text.encode("utf-8-sig"))
    columns = {"outcome": "y", "treated": "d", "authority": "place", "occasion": "when"}
    assert analyse(tmp_path / "table.csv", "gee", **columns).n_observations == 96  # type: ignore[arg-type]


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is read."""
    monkeypatch.setattr(tabular, "MOST_BYTES", 1_000)
    study("gee").to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(ScenarioError, match="has more than 1,000 bytes"):
        analyse(tmp_path / "table.csv", "gee", outcome="y", treated="d", authority="place")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--option", "nonsense"], "'nonsense' is not NAME=VALUE"),
        (["--option", "colour=blue"], "option.colour: unknown key"),
        (["--option", "df=normal", "--option", "df=clusters"], "df is set twice"),
        (["--option", "variance=" + "[" * 5_000], "option.variance: found"),
        (["--seed", "-3"], "seed: -3 is below 0"),
        (["--alpha", "nan"], "alpha: nan is not within"),
        (["--covariate", "y"], "covariate: 'y' is the column of outcome already"),
        (["--covariate", "d"], "covariate: 'd' is the column of treated already"),
        (["--covariate", "x", "--covariate", "x"], "is named twice"),
        (["--team", "place"], "team: 'place' is the column of authority already"),
        (["--clusters", "team"], "team: a column of teams is needed"),
        (["--covariate", "same"], "covariate same: is 3 for all"),
        (["--covariate", "huge"], "allowed: a number of at most 1e+50"),
        (["--stratum", "family"], "stratum: has no effect, since gee does not read it"),
        (["--uptake", "x"], "uptake: has no effect, since gee does not read it"),
        (["--option", "covariates=['x']"], "columns to adjust for are named by --covariate"),
    ],
)
def test_what_is_asked_wrongly_of_a_table_says_why(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column in two roles, a level without names, a setting that is none."""
    data = study("gee").assign(same=3, huge=1e200)
    data.to_csv(tmp_path / "table.csv", index=False)
    assert command("gee", tmp_path / "table.csv", *more) == 2
    assert said in capsys.readouterr().err


def asked(data: pd.DataFrame, estimator: str, **more: Any) -> Analysis:
    """An analysis of `study`."""
    columns = {"outcome": "y", "treated": "d", "authority": "place", "occasion": "when"}
    return analyse(data, estimator, **columns, **more)


def test_units_that_a_table_does_not_tell_apart_are_refused() -> None:
    """One worker in every authority, and a permutation of what was not allocated singly."""
    data = study("mixed_model").assign(worker=1, team=lambda data: data["family"] // 2)
    with pytest.raises(ScenarioError, match="every cluster holds one worker"):
        asked(data, "mixed_model", worker="worker", options={"levels": ["authority", "worker"]})
    with pytest.raises(ScenarioError, match="stratum: differs within a unit"):
        asked(study("permutation"), "permutation", stratum="family")
    with pytest.raises(ScenarioError, match="worker: a column of workers is needed"):
        asked(data, "mixed_model", options={"levels": ["authority", "worker"]})
    with pytest.raises(ScenarioError, match="authorities were allocated as a whole"):
        asked(data, "permutation", team="team", clusters="team")


def test_counts_and_events_are_what_their_models_take() -> None:
    """A rate below 0, half an event, or a measure."""
    measure = study("gee")
    for estimator, options in (("logistic_mixed_model", {}), ("gee", {"family": "binomial"})):
        with pytest.raises(ScenarioError, match="needs an outcome of 0 and 1"):
            asked(measure, estimator, options=options)
    for estimator, options in (("poisson_mixed_model", {}), ("gee", {"family": "poisson"})):
        with pytest.raises(ScenarioError, match="needs an outcome of counts"):
            asked(measure, estimator, options=options)


def test_rows_as_clusters_are_families_that_share_everything_too() -> None:
    """Families alike in arm and covariates are pooled otherwise, and would pass for one cluster."""
    data = study("clustered_regression").drop(columns="x")
    found = asked(data, "clustered_regression", clusters="row", options={"variance": "CR2"})
    after = data[data["when"] > 1]
    arms = [after.loc[after["d"] == arm, "y"] for arm in (0, 1)]
    assert found.n_clusters == 96
    assert found.std_error == pytest.approx(np.sqrt(sum(arm.var() / len(arm) for arm in arms)))


def test_too_few_clusters_are_counted() -> None:
    """Two or three are told from none, and which arm they are missing in."""
    data = study("clustered_regression")
    ever = data.groupby("place")["d"].max()
    kept = data[data["place"].isin([ever.idxmax(), ever.idxmin()])]
    with pytest.raises(
        ScenarioError, match=r"too few clusters for this method \(clusters: 1 treated, 1 not\)"
    ):
        asked(kept, "clustered_regression")
