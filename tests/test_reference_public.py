"""Published sets in which a treatment begins and stays: the planned analysis, and batches of replicates.

The package does not distribute them; they are read where the validation data stand beside it.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from design_sim.analysis import analyse, planned
from design_sim.cells import Cells
from design_sim.observations import observations_of, panel_of

PUBLIC = Path(__file__).parents[2] / "shared" / "validation"
SOWN = ("sow2", "sow3", "sow4", "sow5")


@dataclass(frozen=True)
class Case:
    """One fit of a published set, and what other software found: each number with its tolerance."""

    name: str
    frame: pd.DataFrame
    columns: dict[str, str]
    estimator: str
    options: dict[str, Any]
    numbers: dict[str, tuple[float, float]]
    covariates: tuple[str, ...] = ()


def point(name: str) -> dict[str, Any]:
    """What other software found."""
    found: dict[str, Any] = json.loads((PUBLIC / "point" / f"{name}.json").read_text())
    return found


def data(name: str) -> pd.DataFrame:
    """A published set."""
    return pd.read_csv(PUBLIC / "data" / f"{name}.csv")


def staggered_panels() -> list[Case]:
    """Two-way fixed effects of fixest, whose k has no effects of units; and of clubSandwich."""
    renamed = {
        "mpdta": {"countyreal": "unit", "year": "period", "lemp": "y", "first.treat": "first"},
        "base_stagg": {"id": "unit", "year": "period", "year_treated": "first"},
    }
    columns = {"outcome": "y", "treated": "d", "authority": "unit", "occasion": "period"}
    cases = []
    for name, names in renamed.items():
        frame, of = data(name).rename(columns=names), point(name)["twfe"]
        frame["d"] = ((frame["first"] > 0) & (frame["period"] >= frame["first"])).astype(int)
        n, k = len(frame), frame["period"].nunique() + 1
        numbers = {
            "estimate": (of["est"], 1e-8),
            "std_error": (of["se_cluster_fixest"] / np.sqrt((n - 1) / (n - k)), 1e-8),
            "df": (of["df_t_fixest"], 1e-12),
        }
        cases.append(Case(name, frame, columns, "two_way_fixed_effects", {"variance": "CR1"}, numbers))
        if of["se_CR2"] is not None:
            numbers = {"std_error": (of["se_CR2"], 1e-8), "df": (of["df_satt_CR2"], 1e-8)}
            cases.append(Case(name, frame, columns, "two_way_fixed_effects", {"variance": "CR2"}, numbers))
    columns = {"outcome": "PacksPerCapita", "treated": "treated", "authority": "State", "occasion": "Year"}
    numbers = {"estimate": (point("prop99")["did"]["est"], 1e-8)}
    one = {"variance": "CR1"}
    return [*cases, Case("prop99", data("prop99"), columns, "two_way_fixed_effects", one, numbers)]


def beets() -> list[Case]:
    """A split plot: the harvest of whole plots, by their random intercepts, and what was sown within them."""
    of, frame = point("lmm_classics"), data("beets")
    frame["plot"] = frame["block"] + frame["harvest"]
    frame["late"] = (frame["harvest"] == "harv2").astype(int)
    for name in ("block2", "block3"):
        frame[name] = (frame["block"] == name).astype(int)
    for name in SOWN:
        frame[name] = (frame["sow"] == name).astype(int)
    regressors = {"late": "harvestharv2", **{name: f"sow{name}" for name in SOWN}}
    cases = []
    for treated, label in regressors.items():
        columns = {"outcome": "sugpct", "treated": treated, "authority": "plot"}
        others = tuple(name for name in ("block2", "block3", *regressors) if name != treated)
        for rule in ("satterthwaite", "kenward_roger"):
            model, judged = of["beets"], of["beets"][rule]
            numbers = {
                "estimate": (model["estimate"][label], 1e-6),
                "std_error": ((judged if rule == "kenward_roger" else model)["se"][label], 1e-6),
                "df": (judged["df"][label], 1e-5),
                "p_value": (judged["p"][label], 1e-4),
            }
            cases.append(Case("beets", frame, columns, "mixed_model", {"df": rule}, numbers, others))
    test, late = of["beets_KR_F_harvest"], cases[1]
    numbers = {"df": (test["ddf"], 1e-5), "p_value": (test["p"], 1e-5)}
    return [*cases, replace(late, name="beets_KR_F_harvest", numbers=numbers)]


def equations() -> list[Case]:
    """geepack's own examples: children whose mother smokes, and pigs that are fed copper."""
    of, ohio, pigs = point("gee_classics"), data("ohio"), data("dietox")
    ohio["both"] = ohio["age"] * ohio["smoke"]
    pigs["low"], pigs["high"] = ((pigs["Cu"] == dose).astype(int) for dose in ("Cu035", "Cu175"))
    binary = {"family": "binomial", "report": "link"}
    asked: list[tuple[str, pd.DataFrame, str, dict[str, str], tuple[str, ...], dict[str, str]]] = [
        (
            "ohio",
            ohio,
            "smoke",
            {"outcome": "resp", "treated": "smoke", "authority": "id"},
            ("age", "both"),
            binary,
        ),
        (
            "dietox",
            pigs,
            "CuCu035",
            {"outcome": "Weight", "treated": "low", "authority": "Pig"},
            ("Time", "high"),
            {},
        ),
    ]
    cases = []
    for name, frame, label, columns, others, link in asked:
        for working, values in (("exchangeable", of[name]), ("independence", of[name]["independence"])):
            plain = {"moments": "plain"} if working == "exchangeable" else {}
            options = {"variance": "robust", "working": working, **plain, **link}
            numbers = {
                "estimate": (values["coef"][label], 1e-7),
                "std_error": (values["se_robust"][label], 1e-7),
            }
            cases.append(Case(name, frame, columns, "gee", options, numbers, others))
    return cases


CASES = [*staggered_panels(), *beets(), *equations()] if PUBLIC.exists() else []


def name_of(case: Case) -> str:
    """What tells a case from the others."""
    return "-".join([case.name, case.columns["treated"], *map(str, case.options.values())])


if CASES:

    @pytest.mark.parametrize("case", CASES, ids=name_of)
    def test_published_sets_give_the_numbers_of_other_software(case: Case) -> None:
        """What R says of them comes out of `analyse`."""
        columns: dict[str, Any] = case.columns
        found = analyse(
            case.frame, case.estimator, covariates=case.covariates, options=case.options, **columns
        )
        for attribute, (value, tolerance) in case.numbers.items():
            assert getattr(found, attribute) == pytest.approx(value, rel=tolerance), attribute

    @pytest.mark.parametrize("case", CASES, ids=name_of)
    def test_they_give_them_among_other_replicates(case: Case) -> None:
        """The set is the second of three replicates; the others have its outcomes in another order."""
        observations = observations_of(case.frame, case.columns, case.covariates, case.name)
        panel, rng = panel_of(observations, case.name, singly=True), np.random.default_rng(8)
        seen = panel.cells.n[0] > 0
        mean = np.repeat(panel.cells.mean, 3, axis=0)
        for replicate in (0, 2):
            mean[replicate, seen] = rng.permutation(panel.cells.mean[0, seen])
        cells = Cells(panel.cells.n, mean, np.zeros_like(mean))
        model = planned(case.estimator, case.covariates, case.options)
        found = model.estimate(replace(panel, cells=cells), rng)
        for attribute, (value, tolerance) in case.numbers.items():
            second = np.broadcast_to(getattr(found, attribute), 3)[1]
            assert second == pytest.approx(value, rel=tolerance), attribute
