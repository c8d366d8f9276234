"""The planned analysis on real data: other software's numbers, through the command and through a frame."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import design_sim
from design_sim.analysis import Analysis, analyse, as_json, findings, options_of
from design_sim.cli import execute
from design_sim.errors import ScenarioError

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
