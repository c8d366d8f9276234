"""Analysis: the planned analysis, run on real data by the code that the simulation judged.

A table of observations becomes a panel of one replicate, which estimators cannot tell from a simulated one.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from design_sim.allocation import NEVER
from design_sim.errors import ScenarioError
from design_sim.estimators import ESTIMATORS, Estimator, Status
from design_sim.estimators.base import levels_below, needs_fidelity_score, needs_uptake, outcomes_of
from design_sim.faults import nearest, validate
from design_sim.followed import OWN_BASELINE, followed
from design_sim.observations import Observations, observations_of, panel_of
from design_sim.panel import Panel
from design_sim.roster import Level, Roster
from design_sim.tabular import has_column, read_table

if TYPE_CHECKING:
    from pandas import DataFrame

WHY = {
    Status.TOO_FEW_CLUSTERS: "there are too few clusters for this method",
    Status.SINGULAR: "the treatment cannot be told from covariates or occasions, or one of these from others",
    Status.NO_VARIATION: "the outcome does not vary, so that its standard error is 0 or unknown",
    Status.NOT_CONVERGED: "the fit did not reach its tolerance",
    Status.SEPARATION: "a fitted risk is 0 or 1: an arm has no event, or nothing but events",
}
"""Why an analysis gave no result, by its status."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the planned analysis says of a table.

    Parameters
    ----------
    estimator : str
        Its name.
    convention : str
        What was done, in words.
    estimate, std_error, df, statistic, p_value, ci_low, ci_high : float
        nan where the method gives none; infinite df are those of a normal distribution.
    n_clusters, n_observations : int
        Clusters, and rows of the table, that were analysed.
    n_missing : int
        Rows that were left out because something asked for was empty (complete cases).
    p_floor : float
        The smallest p-value that the method could have given, 0 where there is none.
    status : str
        How it ended: ok, or boundary where a variance was estimated as 0.
    coefficients : mapping of float by covariate
        What the covariates add for each of their units, in the same fit.
    """

    estimator: str
    convention: str
    estimate: float
    std_error: float
    df: float
    statistic: float
    p_value: float
    ci_low: float
    ci_high: float
    n_clusters: int
    n_observations: int
    n_missing: int
    p_floor: float
    status: str
    coefficients: Mapping[str, float]


def analyse(
    data: "DataFrame | str | Path",
    estimator: str,
    *,
    outcome: str,
    treated: str,
    authority: str,
    team: str | None = None,
    worker: str | None = None,
    family: str | None = None,
    occasion: str | None = None,
    stratum: str | None = None,
    uptake: str | None = None,
    covariates: Sequence[str] = (),
    clusters: str = "authority",
    options: Mapping[str, Any] | None = None,
    alpha: float = 0.05,
    seed: int = 1,
) -> Analysis:
    """Run an estimator on a table, a row for each observation.

    Parameters
    ----------
    data : DataFrame, str or Path
        The table, or a CSV file with a header.
    estimator : str
        A key of `ESTIMATORS`.
    outcome, treated, authority : str
        Columns: a number; 1 where treated at the time and 0 where not; the authority.
    team, worker, family, occasion, stratum : str, optional
        Columns. Teams and workers are named within what is above them. Occasions are numbers, or dates of
        which the order counts. The stratum is that of the allocation, for permutation.
    uptake : str, optional
        Column of whether, or how much of, treatment was taken up; for `instrumental_variables`.
    covariates : sequence of str
        Columns of numbers to adjust for. `own_baseline`, where there is no such column, is each family's mean
        outcome before treatment begins, computed where `family` and `occasion` are given.
    clusters : {"authority", "team", "worker", "row"}
        What is taken as independent; rows are families where they have a column, and observations where not.
    options : mapping, optional
        Settings of the estimator, as a scenario file has them; for `instrumental_variables` also
        `instrument`, a column: `treated` is then what was taken up.
    alpha : float
        Two-sided level of the interval.
    seed : int
        Root of the random numbers of methods that draw.

    Raises
    ------
    ScenarioError
        With every fault of the table and of what was asked, or with the reason why there is no result.
    """
    options = dict(options or {})
    if estimator == "instrumental_variables" and "instrument" in options:
        treated, uptake = str(options.pop("instrument")), treated
    model = planned(estimator, covariates, options)
    columns = {"outcome": outcome, "treated": treated, "authority": authority}
    asked = {"team": team, "worker": worker, "family": family, "occasion": occasion}
    asked |= {"stratum": stratum, "uptake": uptake}
    columns |= {role: column for role, column in asked.items() if column is not None}
    computed = OWN_BASELINE in covariates and not has_column(data, OWN_BASELINE)
    in_table = [name for name in covariates if not (computed and name == OWN_BASELINE)]
    _refuse_wrong(model, columns, covariates, clusters, alpha, seed)
    frame, where = read_table(data, columns | {f"covariate {name}": name for name in in_table})
    observations = observations_of(frame, columns, in_table, where)
    observations = followed(observations, model, where, computed=computed)
    _refuse_values(model, observations, where)
    singly = model.needs == "families" or clusters == "row"
    panel = panel_of(observations, where, singly=singly, alpha=alpha)
    level: Level = clusters  # type: ignore[assignment]
    _refuse_unfit(model, panel, where, level)
    panel = panel.clustered_by(level)
    with np.errstate(all="ignore"):
        found = model.estimate(panel, np.random.default_rng(seed))
        coefficients = model.coefficients(panel)
    status = Status(int(found.status[0]))
    if status in WHY:
        raise ScenarioError([f"{estimator} gives no result: {_why(status, panel)}"], where)
    estimate, std_error = float(found.estimate[0]), float(found.std_error[0])
    return Analysis(
        estimator=estimator,
        convention=model.convention,
        estimate=estimate,
        std_error=std_error,
        df=float(found.df[0]),
        statistic=estimate / std_error if std_error > 0 else float("nan"),
        p_value=float(found.p_value[0]),
        ci_low=float(found.ci_low[0]),
        ci_high=float(found.ci_high[0]),
        n_clusters=_n_clusters(panel),
        n_observations=int(panel.cells.n.sum()),
        n_missing=observations.n_missing,
        p_floor=float(found.p_floor[0]),
        status=status.name.lower(),
        coefficients={name: float(value[0]) for name, value in coefficients.items()},
    )


def _why(status: Status, panel: Panel) -> str:
    """Why there is no result, with the numbers of clusters where these are too few."""
    if status != Status.TOO_FEW_CLUSTERS:
        return WHY[status]
    seen = panel.roster.pool(panel.cells.n, "authority")[0].sum(axis=1) > 0
    treated = panel.roster.pool(panel.cells.n * panel.treated, "authority")[0].sum(axis=1) > 0
    return f"{WHY[status]} (clusters: {treated.sum()} treated, {(seen & ~treated).sum()} not)"


def planned(estimator: str, covariates: Sequence[str], options: Mapping[str, Any]) -> Estimator:
    """The estimator that was asked for, with its settings.

    Raises
    ------
    ScenarioError
        If there is none of that name, or a setting is wrong or would be ignored.
    """
    if estimator not in ESTIMATORS:
        raise ScenarioError(
            [f"{estimator!r} is not an estimator{nearest(estimator, ESTIMATORS)}"], "estimator"
        )
    kind = ESTIMATORS[estimator]
    settings = dict(options)
    if "covariates" in settings:
        raise ScenarioError(["option.covariates: columns to adjust for are named by --covariate"], estimator)
    if covariates:
        if "covariates" not in kind.model_fields:  # type: ignore[attr-defined]
            raise ScenarioError([f"covariate: {estimator} takes none"], estimator)
        settings["covariates"] = list(covariates)
    faults: list[str] = []
    model = validate(kind, settings, "option", faults)
    if model is None:
        raise ScenarioError(faults, estimator)
    made: Estimator = model
    return made


def _n_clusters(panel: Panel) -> int:
    """Clusters in which anybody was observed."""
    return int((panel.roster.pool(panel.cells.n, "authority").sum(axis=2) > 0).sum())


def _refuse_wrong(
    model: Estimator,
    columns: Mapping[str, str],
    covariates: Sequence[str],
    clusters: str,
    alpha: float,
    seed: int,
) -> None:
    """What was asked that no table can give, as faults."""
    faults = []
    if clusters not in _PLURAL:
        faults.append(f"clusters: {clusters!r} is not a level{nearest(clusters, _PLURAL)}")
    if not 0.0001 <= alpha <= 0.5:
        faults.append(f"alpha: {alpha:g} is not within 0.0001 to 0.5")
    if seed < 0:
        faults.append(f"seed: {seed} is below 0, the least")
    if needs_uptake(model) and "uptake" not in columns:
        faults.append(f"uptake: {model.estimator} needs a column of what was taken up")
    if needs_fidelity_score(model):
        faults.append(f"estimator: {model.estimator} needs scores of fidelity, which a table does not hold")
    for role, read in (("uptake", needs_uptake(model)), ("stratum", model.by_allocation)):
        if role in columns and not read:
            faults.append(f"{role}: has no effect, since {model.estimator} does not read it; leave it out")
    for level in dict.fromkeys([clusters, *levels_below(model)]):
        if level in ("team", "worker") and level not in columns:
            faults.append(f"{level}: a column of {_PLURAL[level]} is needed to tell them apart")
    roles: dict[str, str] = {}
    for role, column in columns.items():
        if column in roles:
            faults.append(f"{role}: {column!r} is the column of {roles[column]} already")
        roles.setdefault(column, role)
    for place, name in enumerate(covariates):
        if name in (columns["outcome"], columns["treated"]):
            faults.append(f"covariate: {name!r} is the column of {roles[name]} already")
        if name in covariates[:place]:
            faults.append(f"covariate: {name!r} is named twice")
    if faults:
        raise ScenarioError(faults, model.estimator)


def _refuse_values(model: Estimator, observations: Observations, where: str) -> None:
    """Outcomes that the estimator is not for, and covariates that are the same for all, as faults."""
    faults = []
    values, kinds = observations.outcome, outcomes_of(model)
    if kinds == ("binary",) and not np.isin(values, (0, 1)).all():
        faults.append(f"outcome: {model.estimator} needs an outcome of 0 and 1")
    elif kinds is not None and ((values < 0) | (values != np.rint(values))).any():
        faults.append(f"outcome: {model.estimator} needs an outcome of counts: 0, 1, 2 and so on")
    for name, covariate in observations.covariates.items():
        if (covariate == covariate[0]).all():
            faults.append(
                f"covariate {name}: is {covariate[0]:g} for all, and there is nothing to adjust for"
            )
    if faults:
        raise ScenarioError(faults, where)


def _refuse_unfit(model: Estimator, panel: Panel, where: str, clusters: Level) -> None:
    """What the estimator cannot take of this table, as faults."""
    faults = []
    arms = panel.treated[0][panel.cells.n[0] > 0]
    for arm, name in ((True, "treated"), (False, "not treated")):
        if not (arms == arm).any():
            faults.append(f"treated: nobody is {name}; there is nothing to compare")
    staggered = np.unique(panel.start[panel.start < NEVER]).size > 1
    if staggered and not model.staggered:
        faults.append(
            f"treated: units start at different occasions; {model.estimator} compares arms at one follow-up"
            + _unless(model)
        )
    if model.needs_before and not staggered and panel.follow_up.all():
        faults.append(f"occasion: {model.estimator} needs an occasion before treatment begins")
    order = ("authority", "team", "worker", "row")
    if order.index(panel.assigned) > order.index(clusters) and not model.within:
        faults.append(
            f"treated: differs within {_PLURAL[clusters]}, and {model.estimator} needs it constant there; "
            "name the units that were treated as clusters, or take an estimator that allows it"
        )
    elif model.by_allocation and clusters != panel.assigned:
        allocated = _PLURAL[panel.assigned]
        faults.append(
            f"clusters: {allocated} were allocated as a whole, and {model.estimator} needs them here"
        )
    faults += _merged(panel.clustered_by(clusters).roster, levels_below(model))
    if faults:
        raise ScenarioError(faults, where)


def _unless(model: Estimator) -> str:
    """The setting with which an estimator takes staggered starts, if it has one."""
    if hasattr(model, "period_effects"):
        return ", unless --option period_effects=true"
    if "two_way_fixed_effects" in str(type(model).model_fields.get("model")):  # type: ignore[attr-defined]
        return ", unless --option model=two_way_fixed_effects"
    return ""


def _merged(roster: Roster, below: Sequence[Literal["authority", "team", "worker", "family"]]) -> list[str]:
    """Levels that the estimator tells apart and the table does not, as faults."""
    n_units = {level: roster.n_units("row" if level == "family" else level) for level in below}
    n_units = {"authority": roster.n_units("authority"), **n_units}
    return [
        f"{level}: every {'cluster' if above == 'authority' else above} holds one {level}; "
        "the two cannot be told apart"
        for above, level in pairwise(n_units)
        if n_units[level] == n_units[above]
    ]


def options_of(stated: Sequence[str]) -> dict[str, Any]:
    """Settings from texts such as "variance=CR2"; values as in a scenario file, quotes left out.

    Raises
    ------
    ScenarioError
        If a text has no "=", or a setting stands there twice.
    """
    found: dict[str, Any] = {}
    for text in stated:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ScenarioError([f"{text!r} is not NAME=VALUE"], "option")
        if key.strip() in found:
            raise ScenarioError([f"{key.strip()} is set twice; set it once"], "option")
        found[key.strip()] = _value(value)
    return found


def _value(text: str) -> Any:
    """A value as TOML has it, or else the text itself, so that words need no quotes."""
    try:
        stated = tomllib.loads(f"x = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text.strip()
    return stated["x"] if len(stated) == 1 else text.strip()


def as_json(found: Analysis) -> str:
    """One JSON object; null where there is no number, and for infinite degrees of freedom."""

    def plain(value: object) -> object:
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return json.dumps({name: plain(value) for name, value in asdict(found).items()})


def findings(found: Analysis) -> list[tuple[str, str]]:
    """What a person reads of an analysis: label and value."""
    rows = [("estimate", f"{found.estimate:.6g}")]
    if np.isfinite(found.std_error):
        rows.append(("standard error", f"{found.std_error:.6g}"))
        df = "normal" if np.isinf(found.df) else f"{found.df:.4g}"
        rows += [("degrees of freedom", df)] if not np.isnan(found.df) else []
        rows.append(("statistic", f"{found.statistic:.4g}"))
    rows.append(("p-value", f"{found.p_value:.4g}"))
    if found.p_floor > 0:
        rows.append(("", f"this method cannot give less than {found.p_floor:.3g} here"))
    if np.isfinite(found.ci_low) or np.isfinite(found.ci_high):
        rows.append(("interval", f"{found.ci_low:.6g} to {found.ci_high:.6g}"))
    rows += [(f"coefficient of {name}", f"{value:.6g}") for name, value in found.coefficients.items()]
    rows.append(("clusters", f"{found.n_clusters:,}"))
    rows.append(("observations", f"{found.n_observations:,}"))
    if found.n_missing:
        rows.append(("left out", f"{found.n_missing:,} rows with something missing"))
    if found.status != "ok":
        rows.append(("note", "a variance is estimated as 0 (boundary)"))
    rows.append(("convention", found.convention))
    return rows


_PLURAL = {"authority": "authorities", "team": "teams", "worker": "workers", "row": "rows"}
