"""Every block of the simulated reference sets, through the planned analysis and as a batch of replicates.

A case is what other software says of one fit. It must come out of `analyse`, which reads the table, and of
the estimator on a panel of three replicates with the table's outcome as one of them: with the sizes and starts
that all share, and with sizes and starts of their own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from design_sim.analysis import analyse, planned
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.observations import observations_of, panel_of
from design_sim.panel import Panel
from design_sim.tabular import read_table

REFERENCE = Path(__file__).parent / "reference"
TRIALS = ("crt_bal10", "crt_bal4", "crt_unb10", "crt_unb6", "crt_unb20_imb")
ADJUSTED: dict[str, tuple[str, ...]] = {"unadjusted": (), "adjusted": ("x",), "adjusted_xw": ("x", "w")}
HETEROSKEDASTIC = {"HC1": "CR1S", "HC2": "CR2", "HC3": "CR3"}
"""White's variances are the cluster-robust ones of families that each are a cluster."""
GEE_VARIANCES = ("robust", "mancl_derouen", "kauermann_carroll", "fay_graubard_b0p75")
EXACT, OLS, P, REML, SATTERTHWAITE, KENWARD_ROGER, GEE, LOOSE = (
    1e-12,
    1e-8,
    1e-7,
    1e-6,
    1e-4,
    1e-5,
    1e-7,
    1e-4,
)
Numbers = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Case:
    """One fit: what is asked of a table, and the numbers that must come out, each with its tolerance."""

    file: str
    block: str
    estimator: str
    options: dict[str, Any]
    numbers: Numbers
    columns: dict[str, str]
    covariates: tuple[str, ...] = ()
    clusters: str = "authority"
    coefficients: dict[str, float] = field(default_factory=dict)
    """Of covariates, at the tolerance of the estimate."""

    @property
    def name(self) -> str:
        """What tells it from the others."""
        options = "-".join(str(value) for value in self.options.values())
        return f"{self.file}-{self.block}-{self.estimator}-{options}"

    @property
    def data(self) -> Path:
        """Its table."""
        return REFERENCE / "data" / f"{self.file}.csv"


def stated(file: str) -> dict[str, Any]:
    """Other software's numbers on a set."""
    found: dict[str, Any] = json.loads((REFERENCE / "point" / f"{file}.json").read_text())
    return found


def least_squares(
    file: str, block: str, of: dict[str, Any], target: str, columns: dict[str, str], **more: Any
) -> Iterator[Case]:
    """Standard errors of a regression by every rule, with their df: lm, sandwich and clubSandwich."""
    estimator = more.pop("estimator", "clustered_regression")
    weights = more.pop("weights", {})
    covariates: tuple[str, ...] = more.get("covariates", ())
    others = {name: of["coef"][name] for name in covariates}
    known: Numbers = {"estimate": (of["coef"][target], OLS)}
    naive = known | {
        "std_error": (of["se_classical"][target], OLS),
        "df": (of["n"] - of["k"], EXACT),
        "n_observations": (of["n"], EXACT),
    }
    yield Case(file, block, estimator, {"variance": "naive", **weights}, naive, columns, **more)
    for variance in ("CR0", "CR1", "CR1S", "CR2", "CR3"):
        if f"se_{variance}" in of:
            numbers = known | {
                "std_error": (of[f"se_{variance}"][target], OLS),
                "n_clusters": (of["G"], EXACT),
            }
            options = {"variance": variance, **weights}
            if f"satt_df_{variance}" in of:
                numbers |= {"df": (of[f"satt_df_{variance}"][target], OLS)}
                numbers |= {"p_value": (of[f"satt_p_{variance}"][target], P)}
                options["df"] = "satterthwaite"
            yield Case(file, block, estimator, options, numbers, columns, coefficients=others, **more)
    if estimator == "clustered_regression" and "clusters" not in more:
        for name, variance in HETEROSKEDASTIC.items():
            numbers = known | {"std_error": (of[f"se_{name}"][target], OLS)}
            yield Case(
                file, block, estimator, {"variance": variance}, numbers, columns, clusters="row", **more
            )


def reml(
    file: str, block: str, of: dict[str, Any], target: str, columns: dict[str, str], options: Any, **more: Any
) -> Iterator[Case]:
    """lmer with the small-sample rules of lmerTest and pbkrtest."""
    others = {name: of["estimate"][name] for name in more.get("covariates", ())}
    for rule, tolerance in (("satterthwaite", SATTERTHWAITE), ("kenward_roger", KENWARD_ROGER)):
        judged = of[rule]
        std_error = judged["se"] if rule == "kenward_roger" else of["se"]
        numbers: Numbers = {
            "estimate": (of["estimate"][target], REML),
            "std_error": (std_error[target], KENWARD_ROGER if rule == "kenward_roger" else REML),
            "df": (judged["df"][target], 1e-3 if of["singular"] else tolerance),
            "p_value": (judged["p"][target], 1e-3 if of["singular"] else tolerance),
        }
        settings = {"df": rule, **options}
        yield Case(file, block, "mixed_model", settings, numbers, columns, coefficients=others, **more)


def estimating_equations(
    file: str, block: str, of: dict[str, Any], target: str, columns: dict[str, str], **more: Any
) -> Iterator[Case]:
    """geepack, exchangeable and independent."""
    link: dict[str, Any] = {"family": "binomial", "report": "link"} if of["family"] == "binomial" else {}
    for working, at in (("exchangeable", of), ("independence", of["independence"])):
        numbers: Numbers = {
            "estimate": (at["coef"][target], GEE),
            "std_error": (at["se_robust"][target], GEE),
        }
        moments = {"moments": "plain"} if working == "exchangeable" else {}
        options = {"variance": "robust", "working": working, **moments, **link}
        others = {name: at["coef"][name] for name in more.get("covariates", ())}
        yield Case(file, block, "gee", options, numbers, columns, coefficients=others, **more)


def corrected_equations(file: str, columns: dict[str, str]) -> Iterator[Case]:
    """statsmodels with four variances, and geesmv, whose search stops early."""
    of = stated(file)
    for family, outcome in (("gaussian", "y"), ("logit", "ybin")):
        link: dict[str, Any] = {"family": "binomial", "report": "link"} if family == "logit" else {}
        asked = columns | {"outcome": outcome}
        if family in of.get("gee_statsmodels", {}):
            at = of["gee_statsmodels"][family]
            for variance in GEE_VARIANCES:
                numbers: Numbers = {
                    "estimate": (at["coef"]["treat"], GEE),
                    "std_error": (at[f"se_{variance}"]["treat"], GEE),
                }
                options = {"variance": variance.removesuffix("_b0p75"), **link}
                others = {"x": at["coef"]["x"]}
                yield Case(
                    file, "gee_statsmodels", "gee", options, numbers, asked, ("x",), coefficients=others
                )
        if f"geesmv_{family}" in of:
            at = of[f"geesmv_{family}"]
            for key, name in (("lz", "robust"), ("md", "mancl_derouen")):
                if key in at["se"]:
                    numbers = {
                        "estimate": (at["coef"]["treat"], LOOSE),
                        "std_error": (at["se"][key][1], LOOSE),
                    }
                    yield Case(
                        file, f"geesmv_{family}", "gee", {"variance": name, **link}, numbers, asked, ("x",)
                    )


def generalised(
    file: str, block: str, of: dict[str, Any], target: str, columns: dict[str, str], options: Any, **more: Any
) -> Iterator[Case]:
    """glmer by Laplace's method and by quadrature."""
    for key, at in of.items():
        if key.startswith("nAGQ"):
            numbers: Numbers = {
                "estimate": (at["estimate"][target], LOOSE),
                "std_error": (at["se"][target], LOOSE),
            }
            settings = {"report": "link", "quadrature_points": int(key.removeprefix("nAGQ")), **options}
            others = {name: at["estimate"][name] for name in more.get("covariates", ())}
            yield Case(
                file, block, "logistic_mixed_model", settings, numbers, columns, coefficients=others, **more
            )


def means(
    file: str, block: str, of: dict[str, Any], columns: dict[str, str], **options: Any
) -> Iterator[Case]:
    """The t test on cluster means, by families too, and the enumerated randomisation test."""
    equal = of.get("t_equal", of.get("change", of))
    numbers: Numbers = {key: (equal[stated_as], OLS) for key, stated_as in COMPARED.items()}
    if "ci" in equal:
        numbers |= {"ci_low": (equal["ci"][0], OLS), "ci_high": (equal["ci"][1], OLS)}
    yield Case(file, block, "cluster_means", options, numbers, columns)
    if "size_weighted" in of:
        weighted = of["size_weighted"]
        numbers = {key: (weighted[name], OLS) for key, name in COMPARED.items() if name in weighted}
        yield Case(file, block, "cluster_means", {"weights": "family"}, numbers, columns)
    if "welch" in of:
        numbers = {"statistic": (of["welch"]["t"], OLS)}
        unpooled = {"weights": "authority", "variance": "CR2"}
        yield Case(file, f"{block}.welch", "clustered_regression", unpooled, numbers, columns)
    test = of["randomisation_test"]
    numbers = {"estimate": (test["diff"], OLS), "p_value": (test["p_two_sided"], EXACT)}
    numbers |= {"p_floor": (2 / test["n_assign"], EXACT)}
    if file != "crt_unb20_imb":
        yield Case(file, block, "permutation", options, numbers, columns)
    else:
        del numbers["p_floor"]
        yield Case(file, block, "permutation", {"draws": 99_999}, numbers, columns)


COMPARED = {"estimate": "diff", "std_error": "se", "statistic": "t", "df": "df", "p_value": "p"}


def bootstraps(file: str, columns: dict[str, str], model: str) -> Iterator[Case]:
    """Every sign vector, with and without the null imposed; ties count."""
    for formula, of in stated("wild_cluster_bootstrap")["cases"][file].items():
        covariates = ("x",) if "+ x" in formula else ()
        for imposed, key in ((True, "WCR_restricted"), (False, "WCU_unrestricted")):
            numbers: Numbers = {"p_value": (of[key]["p_symmetric_ge"], EXACT)}
            options = {"model": model, "null_imposed": imposed, "draws": 1_023, "interval": False}
            if model == "two_way_fixed_effects":
                options["count"] = "family"
            yield Case(file, "wild", "wild_bootstrap", options, numbers, columns, covariates)


def instruments(columns: dict[str, str]) -> Iterator[Case]:
    """Two-stage least squares with a share taken up, yes or no, and a degree of fidelity."""
    of = stated("iv_a")
    for uptake in ("d", "fidelity"):
        at, asked = of[f"iv_{uptake}"], columns | {"uptake": uptake}
        others = {"x": at["coef"]["x"]}
        for variance in ("CR0", "CR1", "CR1S", "CR2"):
            numbers: Numbers = {
                "estimate": (at["coef"][uptake], OLS),
                "std_error": (at[f"se_{variance}"][uptake], OLS),
                "df": (at[f"satt_df_{variance}"][uptake], OLS),
            }
            options = {"variance": variance, "df": "satterthwaite"}
            yield Case(
                "iv_a",
                f"iv_{uptake}",
                "instrumental_variables",
                options,
                numbers,
                asked,
                ("x",),
                coefficients=others,
            )
        for variance, name in (("CR0", "CR0"), ("CR1S", "stata"), ("CR2", "CR2")):
            numbers = {
                "std_error": (at["estimatr"][name]["se"][uptake], OLS),
                "df": (at["estimatr"][name]["df"][uptake], OLS),
            }
            yield Case(
                "iv_a",
                f"iv_{uptake}.estimatr",
                "instrumental_variables",
                {"variance": variance},
                numbers,
                asked,
                ("x",),
            )
        first, asked = at["first_stage"], columns | {"outcome": uptake}
        block, estimator = f"iv_{uptake}.first_stage", "clustered_regression"
        numbers = {"estimate": (first["coef"], OLS), "std_error": (first["se_cl_stata"], OLS)}
        numbers |= {"statistic": (first["F_cluster"] ** 0.5, OLS)}
        yield Case("iv_a", block, estimator, {"variance": "CR1S"}, numbers, asked, ("x",))
        numbers = {"statistic": (first["F_classical"] ** 0.5, OLS)}
        yield Case("iv_a", block, estimator, {"variance": "naive"}, numbers, asked, ("x",))
        numbers = {"estimate": (at["reduced_form"]["coef"], OLS)}
        yield Case("iv_a", f"iv_{uptake}.reduced_form", estimator, {}, numbers, columns, ("x",))
        ratio: Numbers = {"estimate": (at["wald_ratio"], OLS)}
        asked = columns | {"uptake": uptake}
        yield Case("iv_a", f"iv_{uptake}.wald_ratio", "instrumental_variables", {}, ratio, asked, ("x",))
    of, block = of["cace_unadjusted"], "cace_unadjusted"
    numbers = {"estimate": (of["itt"], OLS)}
    yield Case("iv_a", block, "clustered_regression", {}, numbers, columns)
    numbers = {"estimate": (of["take_up_difference"], OLS)}
    yield Case("iv_a", block, "clustered_regression", {}, numbers, columns | {"outcome": "d"})
    numbers = {"estimate": (of["cace"], OLS)}
    yield Case("iv_a", block, "instrumental_variables", {}, numbers, columns | {"uptake": "d"})


def cluster_trial(file: str) -> Iterator[Case]:
    """A parallel cluster trial: everything that was stored of it."""
    of, columns = stated(file), {"outcome": "y", "treated": "treat", "authority": "cluster"}
    for model, covariates in ADJUSTED.items():
        if model in of["ols"]:
            yield from least_squares(
                file, f"ols.{model}", of["ols"][model], "treat", columns, covariates=covariates
            )
            adjusted, block = of["dfadjust"][model], f"dfadjust.{model}"
            numbers: Numbers = {
                "std_error": (adjusted["CR2_se"]["treat"], OLS),
                "df": (adjusted["BM_df"]["treat"], OLS),
            }
            yield Case(file, block, "clustered_regression", {}, numbers, columns, covariates)
        for name, variance in {"CR0": "CR0", "stata": "CR1S", "CR2": "CR2"}.items():
            if model in of["estimatr"]:
                at = of["estimatr"][model][name]
                named = {"estimate": "estimate", "std_error": "se", "df": "df", "p_value": "p"}
                numbers = {key: (at[stated_as]["treat"], P) for key, stated_as in named.items()}
                block, options = f"estimatr.{model}", {"variance": variance}
                yield Case(file, block, "clustered_regression", options, numbers, columns, covariates)
        if model in of["lmer"]:
            yield from reml(
                file, f"lmer.{model}", of["lmer"][model], "treat", columns, {}, covariates=covariates
            )
        if model in of["gee_gaussian"]:
            at = of["gee_gaussian"][model]
            block = f"gee_gaussian.{model}"
            yield from estimating_equations(file, block, at, "treat", columns, covariates=covariates)
    fit = of["lmer"]["unadjusted"]["ml"]
    numbers = {"estimate": (fit["estimate"]["treat"], REML)}
    yield Case(file, "lmer.unadjusted", "likelihood_ratio", {}, numbers, columns)
    yield from means(file, "cluster_means", of["cluster_means"], columns)
    yes_or_no = columns | {"outcome": "ybin"}
    if "gee_logit" in of:
        yield from estimating_equations(
            file, "gee_logit", of["gee_logit"], "treat", yes_or_no, covariates=("x",)
        )
        yield from generalised(
            file, "glmer_logit", of["glmer_logit"], "treat", yes_or_no, {}, covariates=("x",)
        )
    yield from corrected_equations(file, columns)
    if file in stated("wild_cluster_bootstrap")["cases"]:
        yield from bootstraps(file, columns, "clustered_regression")


def panel_of_occasions(file: str) -> Iterator[Case]:
    """Difference-in-differences of repeated cross-sections."""
    of = stated(file)
    columns = {"outcome": "y", "treated": "d", "authority": "cluster", "occasion": "period"}
    yield from least_squares(
        file,
        "ols.twfe",
        of["ols"]["twfe"],
        "d",
        columns,
        estimator="two_way_fixed_effects",
        weights={"weights": "family"},
    )
    yield from means(file, "collapsed", of["collapsed"], columns, change=True)
    for model, options in (
        ("random_intercept", {}),
        ("nested_exchangeable", {"authority_by_occasion": True}),
    ):
        settings = {"period_effects": True, **options}
        yield from reml(
            file, f"lmer.{model}", of["lmer"][model], "d", columns, settings, covariates=("group", "x")
        )
    yield from bootstraps(file, columns, "two_way_fixed_effects")


def wedge() -> Iterator[Case]:
    """The stepped wedge, with its periods."""
    file, of = "sw_9x4", stated("sw_9x4")
    columns = {"outcome": "y", "treated": "d", "authority": "cluster", "occasion": "period"}
    yes_or_no, periods = columns | {"outcome": "ybin"}, {"period_effects": True}
    for model, options in (("hussey_hughes", {}), ("nested_exchangeable", {"authority_by_occasion": True})):
        yield from reml(file, f"lmer.{model}", of["lmer"][model], "d", columns, periods | options)
    yield from least_squares(
        file,
        "ols_fixed_cluster",
        of["ols_fixed_cluster"],
        "d",
        columns,
        estimator="two_way_fixed_effects",
        weights={"weights": "family"},
    )
    yield from estimating_equations(file, "gee", of["gee"], "d", columns)
    yield from estimating_equations(file, "gee_logit", of["gee_logit"], "d", yes_or_no)
    yield from generalised(file, "glmer_logit", of["glmer_logit"], "d", yes_or_no, periods)


def nested() -> Iterator[Case]:
    """Five nested levels; the occasion is a covariate, and a family's two occasions are two observations."""
    file, of = "nested5_a", stated("nested5_a")
    columns = {
        "outcome": "y",
        "treated": "treat",
        "authority": "authority",
        "team": "team",
        "worker": "worker",
    }
    covariates = ("occasion", "x")
    yield from least_squares(
        file, "ols.authority", of["ols"]["authority"], "treat", columns, covariates=covariates
    )
    yield from least_squares(
        file, "ols.team", of["ols"]["team"], "treat", columns, covariates=covariates, clusters="team"
    )
    for model, levels in (("two_level_authority", ["authority"]), ("three_level", ["authority", "worker"])):
        at, block = of["lmer"][model], f"lmer.{model}"
        yield from reml(file, block, at, "treat", columns, {"levels": levels}, covariates=covariates)
    yield from means(file, "authority_means", of["authority_means"], columns)


def one_arm() -> Iterator[Case]:
    """Clusters in the treated arm alone, every comparison family a cluster of its own, by regression."""
    file, of = "irgt_a", stated("irgt_a")
    columns = {"outcome": "y", "treated": "treat", "authority": "cl_single"}
    yield from least_squares(
        file, "ols_cluster_single", of["ols_cluster_single"], "treat", columns, covariates=("x",)
    )
    naive: Numbers = {"estimate": (of["naive"]["est"], OLS), "std_error": (of["naive"]["se"], OLS)}
    options = {"variance": "naive"}
    yield Case(file, "naive", "clustered_regression", options, naive, columns, ("x",))


def staggered(file: str) -> Iterator[Case]:
    """Two-way fixed effects of units that start at different times; fixest's factor has effects of times in k."""
    of = stated(file)["twfe"]
    columns = {"outcome": "y", "treated": "d", "authority": "unit", "occasion": "period"}
    rows = np.genfromtxt(REFERENCE / "data" / f"{file}.csv", delimiter=",", names=True)
    n, k = rows.size, np.unique(rows["period"]).size + 1
    numbers: Numbers = {
        "estimate": (of["est"], OLS),
        "std_error": (of["se_CR2"], OLS),
        "df": (of["df_satt_CR2"], OLS),
    }
    yield Case(file, "twfe", "two_way_fixed_effects", {"variance": "CR2"}, numbers, columns)
    unscaled = of["se_cluster_fixest"] / np.sqrt((n - 1) / (n - k))
    numbers = {"std_error": (unscaled, OLS), "df": (of["df_t_fixest"], EXACT)}
    yield Case(file, "twfe", "two_way_fixed_effects", {"variance": "CR1"}, numbers, columns)


CASES = [
    *(case for name in TRIALS for case in cluster_trial(name)),
    *(case for name in ("did_8x6", "did_10x4_bal") for case in panel_of_occasions(name)),
    *(case for name in ("stag_a", "stag_few") for case in staggered(name)),
    *wedge(),
    *nested(),
    *one_arm(),
    *instruments({"outcome": "y", "treated": "z", "authority": "cluster"}),
]


def held(case: Case, attribute: str, found: float) -> None:
    """What was found is what was stated; a statistic that is known by its square has either sign."""
    value, tolerance = case.numbers[attribute]
    if attribute == "statistic" and "first_stage" in case.block:
        found = abs(found)
    message = f"{attribute} of {case.name}"
    assert found == pytest.approx(value, rel=tolerance, abs=tolerance * 1e-6), message


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_planned_analysis_gives_the_numbers_of_other_software(case: Case) -> None:
    """A person who analyses real data must get what R and statsmodels give."""
    found = analyse(
        case.data,
        case.estimator,
        covariates=case.covariates,
        clusters=case.clusters,
        options=case.options,
        **case.columns,  # type: ignore[arg-type]
    )
    for attribute in case.numbers:
        held(case, attribute, getattr(found, attribute))
    for name, value in case.coefficients.items():
        tolerance = case.numbers["estimate"][1]
        assert found.coefficients[name] == pytest.approx(value, rel=tolerance), f"{name} of {case.name}"


def panel_of_one(case: Case) -> Panel:
    """The table as a panel of one replicate, every family a row."""
    named = case.columns | {name: name for name in case.covariates}
    frame, where = read_table(case.data, named)
    observations = observations_of(frame, case.columns, case.covariates, where)
    panel = panel_of(observations, where, singly=True)
    return panel.clustered_by(case.clusters)  # type: ignore[arg-type]


def among_others(panel: Panel, *, shared: bool) -> Panel:
    """Three replicates, the second of them the panel; the others have its outcomes in another order.

    Where sizes and starts are not shared, every replicate has its own axis of them, and the others each lack
    a family.
    """
    rng = np.random.default_rng(7)
    n, mean, ss = panel.cells.n, panel.cells.mean, panel.cells.ss
    seen = n[0] > 0
    outcomes = np.repeat(mean, 3, axis=0)
    for replicate in (0, 2):
        outcomes[replicate, seen] = rng.permutation(mean[0, seen])
    squares = np.zeros_like(outcomes) if ss is not None else None
    uptake = panel.uptake
    if shared:
        return replace(panel, cells=Cells(n, outcomes, squares))
    numbers = np.repeat(n, 3, axis=0)
    for replicate in (0, 2):
        lost = np.argwhere(seen)[replicate + 1]
        numbers[replicate, *lost] = 0
        outcomes[replicate, *lost] = np.nan
    return replace(
        panel,
        cells=Cells(numbers, outcomes, squares),
        start=np.repeat(panel.start, 3, axis=0),
        uptake=None if uptake is None else np.repeat(uptake, 3, axis=0),
        covariates={name: np.repeat(values, 3, axis=0) for name, values in panel.covariates.items()},
    )


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_batch_of_replicates_gives_the_same_numbers(case: Case, shared: bool) -> None:
    """The simulation's path: the set is one of three replicates, whose design is shared or each one's own."""
    panel = among_others(panel_of_one(case), shared=shared)
    model = planned(case.estimator, case.covariates, case.options)
    found = model.estimate(panel, np.random.default_rng(1))

    def second(values: Floats) -> float:
        return float(np.broadcast_to(values, (3,))[1])

    for attribute in case.numbers:
        if attribute == "statistic":
            held(case, attribute, second(found.estimate) / second(found.std_error))
        elif hasattr(found, attribute):
            held(case, attribute, second(getattr(found, attribute)))
    assert not found.failed[1]
    others = model.coefficients(panel)
    for name, value in case.coefficients.items():
        tolerance = case.numbers["estimate"][1]
        assert second(others[name]) == pytest.approx(value, rel=tolerance), f"{name} of {case.name}"


@pytest.mark.parametrize("name", ["did_8x6", "did_10x4_bal"])
def test_means_after_given_means_before_are_those_of_lm(name: str) -> None:
    """Analysis of covariance on the clusters' means over all occasions before the start, and after it."""
    data = np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)
    groups = pd.DataFrame(data).groupby(["cluster", "post"])["y"].mean().unstack()
    treated = pd.DataFrame(data).groupby("cluster")["group"].first()
    frame = pd.DataFrame({"after": groups[1], "before": groups[0], "treated": treated}).reset_index()
    of = stated(name)["collapsed"]["ancova"]
    asked = {"outcome": "after", "treated": "treated", "authority": "cluster"}
    for estimator, options in (("cluster_means", {}), ("clustered_regression", {"variance": "naive"})):
        found = analyse(frame, estimator, covariates=["before"], options=options, **asked)  # type: ignore[arg-type]
        assert found.estimate == pytest.approx(of["est"], rel=1e-8)
        assert found.std_error == pytest.approx(of["se"], rel=1e-8)
        assert found.p_value == pytest.approx(of["p"], rel=1e-8)
