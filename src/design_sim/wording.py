"""How numbers, estimands, settings, kinds and names are said.

The one place where numbers become words, so that table, figures, report and command line say them alike:
rates in per cent, effects on a yes or no in percentage points (pp), on events per so many units, on durations
in years, and others in the outcome's own units.
"""

from collections.abc import Mapping, Sequence
from math import floor, isfinite, isnan, log10, nan
from typing import NamedTuple
from unicodedata import category

from design_sim.allocation import NEVER, Allocation
from design_sim.designs.base import assigned_unit
from design_sim.estimands import Estimand
from design_sim.estimators.base import needs_fidelity_score
from design_sim.performance import measure, wilson_interval
from design_sim.plurals import counted
from design_sim.results import Judged
from design_sim.study import Study
from design_sim.sweep import Case, Value
from design_sim.world.audit import cases_of, score_reliability
from design_sim.world.outcomes import Outcome, RecordedCount
from design_sim.world.settings import WorldSettings

RATES = (
    "coverage",
    "power",
    "power_all",
    "size",
    "size_average",
    "size_adjusted_power",
    "type_s",
    "failure_rate",
)
EFFECTS = ("truth", "estimate", "bias", "null_bias", "empirical_se", "model_se", "rmse")
SIGNED = ("truth", "estimate", "bias", "null_bias", "relative_bias", "model_se_error")
KINDS = {
    "cluster_rct": "cluster randomised trial",
    "family_rct": "trial of families",
    "stepped_wedge": "stepped-wedge trial",
    "contrast": "contrast study",
    "difference_in_differences": "difference-in-differences",
}
PLURALS = {"authority": "authorities", "team": "teams", "worker": "workers", "family": "families"}
RUNGS = {
    "offered": "effect of offering it",
    "delivered": "effect on families who take part",
    "full_fidelity": "effect at full fidelity",
    "per_fidelity": "effect for each unit of fidelity",
    "versus_rival": "effect against the rival",
    "one_component": "effect of one component",
}
AVERAGES = {
    "sample": "in the enrolled authorities",
    "adopters": "in the authorities that would adopt",
    "national": "in all authorities",
    "superpopulation": "in all that could have been drawn",
}
EXITS = {"no_exit": "had nobody left", "while_in": "while they practise"}
OWN_UNITS = "the outcome's own units"
COLUMNS = ("design", "answer", "estimand", "truth", "bias", "size", "power", "headline")
"""Columns of the headline table after the varied settings."""


class Unit(NamedTuple):
    """In what effects are said: what they are multiplied by, and the unit's short and full name."""

    factor: float
    short: str
    full: str


def plain(text: object, longest: int = 60) -> str:
    """A name as it may be shown: one line, without control characters, cut short where it is long."""
    shown = "".join("\N{REPLACEMENT CHARACTER}" if category(c)[0] == "C" else c for c in str(text))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def name_of(judged: Judged, longest: int = 28) -> str:
    """Which answer it is: the design's name and the answer's."""
    return f"{plain(judged.design, longest)} / {plain(judged.answer_name, longest)}"


def kind_of(study: Study) -> str:
    """What sort of study it is, in words."""
    kind = str(getattr(study.design, "kind", type(study.design).__name__))
    if kind == "cluster_rct" and assigned_unit(study.design) != "authority":
        return f"trial of {PLURALS[assigned_unit(study.design)]}"
    return KINDS.get(kind, plain(kind.replace("_", " ")))


def arms_of(study: Study, allocation: Allocation) -> list[tuple[int, int, int]]:
    """Arms of the first replicate, those that start first in front, without units that are not there.

    Returns
    -------
    list of three int
        The first occasion with the framework, the first one without it again, and how many units.
    """
    there = allocation.stratum[0] >= 0
    times = list(zip(allocation.start[0][there].tolist(), allocation.stop[0][there].tolist(), strict=True))
    counts = {when: times.count(when) for when in sorted(set(times))}
    if allocation.families is not None and study.design.sample is not None:
        # every worker stands there twice, with the families that start and with the others, or else each
        # comparison family with a worker of its own
        starting, families = int(allocation.families[0].sum()), study.design.sample.families
        if allocation.own_workers:
            return [(*when, starting if when[0] < NEVER else n) for when, n in counts.items()]
        counts = {
            when: starting if when[0] < NEVER else n * families - starting for when, n in counts.items()
        }
    return [(*when, n) for when, n in counts.items()]


def arms_words(study: Study, allocation: Allocation, end: int) -> str:
    """How many units a study has with the framework by an occasion, and how many without it."""
    unit, arms = assigned_unit(study.design), arms_of(study, allocation)
    treated = sum(n for start, _, n in arms if start < end)
    others = sum(n for start, _, n in arms if start >= end)
    where = "" if unit == "authority" else f", in {counted(allocation.n_slots, 'authority', 'authorities')}"
    if others == 0:
        return f"{counted(treated, unit, PLURALS[unit])}, all with the framework in the end{where}"
    return f"{counted(treated, unit, PLURALS[unit])} with the framework and {others:,} without it{where}"


def outcome_of(judged: Judged) -> Outcome:
    """The outcome that an answer is about."""
    return judged.case.scenario.outcomes[judged.study.design.outcome]


def unit_of(outcome: Outcome) -> Unit:
    """In what effects on an outcome are said; without a short name where the unit is the outcome's own."""
    if outcome.kind == "binary":
        return Unit(100.0, "pp", "percentage points")
    if isinstance(outcome, RecordedCount):
        return Unit(1.0, f"per {outcome.per:,.12g}", f"per {outcome.per:,.12g} a year")
    if outcome.kind == "count":
        return Unit(1.0, "events", "events a family")
    return Unit(1.0, "years", "years") if outcome.kind == "duration" else Unit(1.0, "", OWN_UNITS)


def estimand_words(estimand: Estimand) -> str:
    """The quantity that an answer is judged against, in a few words."""
    rung = RUNGS.get(estimand.rung, estimand.rung.replace("_", " "))
    counting = "" if estimand.weights == "family" else ", each counting once"
    which = f" ({plain(estimand.component)})" if estimand.component else ""
    leaving = f", {EXITS[estimand.exit]}" if estimand.exit in EXITS else ""
    return f"{rung}{which} {AVERAGES[estimand.average]}{counting}{leaving}"


def score_words(world: WorldSettings) -> str:
    """How fidelity is scored and how reliably, in a sentence; empty where nobody scores it."""
    audit = world.audit
    if audit is None:
        return ""
    if audit.without_error:
        return f"Fidelity is scored without error in year {audit.year} after the start."
    reliability, cases = score_reliability(world), cases_of(world)
    each = f"{cases.max()}" if cases.min() == cases.max() else f"{cases.min()} to {cases.max()}"
    how_reliably = (
        "authorities do not differ in it"
        if isnan(reliability)
        else f"its reliability (share of the variance between authorities that is true) is {reliability:.2f}"
    )
    return (
        f"Fidelity is scored in {each} {'case' if each == '1' else 'cases'} of each authority in year "
        f"{audit.year} after the start; {how_reliably}."
    )


def uses_score(study: Study) -> bool:
    """Whether a study chooses authorities by the fidelity score, or adjusts for it."""
    adjusts = any("fidelity_score" in answer.estimator.covariates for answer in study.answers.values())
    return adjusts or getattr(study.design, "pilots_by", "") == "fidelity_score"


def follow_up_score_words(study: Study) -> str:
    """When fidelity is scored that answers regress on; empty where none does."""
    if not any(needs_fidelity_score(answer.estimator) for answer in study.answers.values()):
        return ""
    return "Fidelity as practised is scored in the last year observed, with the errors of the audit."


def comparison_words(study: Study, world: WorldSettings) -> str:
    """What comparisons have of their own where a study chooses them by it, and how often others stand in."""
    kind = getattr(study.design, "comparisons_with", "any")
    if kind == "any":
        return ""
    what = "the rival framework" if kind == "rival" else "no framework of their own"
    chance: float = study.design.stand_ins(world)  # type: ignore[attr-defined]
    rare = "in fewer than 1 of 1,000 studies" if chance < 0.001 else f"in {significant(100 * chance, 2)} %"
    often = "" if chance < 0.001 else " of studies"
    return f"Comparisons have {what}; {rare}{often} there are too few such authorities, and others stand in."


def effect_words(name: str, outcome: Outcome) -> str:
    """The stated effect of an outcome, in words."""
    factor, short, full = unit_of(outcome)
    said = number_words(factor * outcome.effect, signed=True)
    if not short:
        return f"{said} on {plain(name)} (SD {number_words(outcome.sd)})"
    level = "" if outcome.kind == "binary" else f" (mean {number_words(outcome.mean)})"
    return f"{said} {full} on {plain(name)}{level}"


def setting_names(varied: Sequence[str]) -> dict[str, str]:
    """Short names of varied settings: of each path the shortest end that no other path shares."""
    names = {}
    for path in varied:
        parts = path.split(".")
        for length in range(1, len(parts) + 1):
            end = ".".join(parts[-length:])
            if end not in COLUMNS and not any(p != path and f".{p}".endswith(f".{end}") for p in varied):
                break
        names[path] = plain(end)
    return names


def setting_words(value: Value) -> str:
    """The value of a varied setting, as a scenario file writes it but for quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else plain(value)


def case_words(case: Case, names: Mapping[str, str]) -> str:
    """Which case of a sweep it is."""
    return ", ".join(f"{name} = {setting_words(case.settings[path])}" for path, name in names.items())


def format_value(name: str, value: float, outcome: Outcome, mcse: float = nan) -> str:
    """A performance measure in words, with its Monte Carlo standard error in brackets where given.

    Parameters
    ----------
    name : str
        A key of `performance.MEASURES`.
    value, mcse : float
        In its own unit: rates 0 to 1, effects on the outcome's scale.
    outcome : Outcome
        Effects are given in its unit: percentage points, "pp", for a yes or no.

    Examples
    --------
    >>> from design_sim.world.outcomes import RecordedBinary
    >>> outcome = RecordedBinary(kind="binary", source="record", mean=0.2, effect=-0.03)
    >>> format_value("power", 0.4365, outcome, 0.0111), format_value("size", 0.0615, outcome, 0.0054)
    ('44 % (1.1)', '6.2 % (0.5)')
    >>> format_value("bias", -0.02034, outcome, 0.00038)
    '−2.03 pp (0.04)'
    """
    if isnan(value):
        return "not known"
    percent = name in RATES or name in ("relative_bias", "model_se_error")
    factor, short, _ = unit_of(outcome) if name in EFFECTS else Unit(1.0, "", "")
    factor, short = (100.0, "%") if percent else (factor, short)
    # Below that the error is one of rounding: the value is the same in every replicate.
    error = factor * mcse if isfinite(mcse) and mcse > 1e-12 * abs(value) else nan
    said = number_words(factor * value, error, signed=name in SIGNED)
    return f"{said} {short}".rstrip() + (
        "" if isnan(error) else f" ({significant(error, 2 if error >= 1 else 1)})"
    )


def format_measure(judged: Judged, name: str) -> str:
    """A measure of an answer with its Monte Carlo standard error in brackets.

    A rate of 0 or 1, whose standard error would be 0, has the far end of its Wilson interval instead.
    """
    measured = measure(judged.tally, name)
    if name in RATES and measured.value in (0, 1):
        low, high = interval(judged, name)
        bound = f"at most {100 * high:.2g}" if measured.value == 0 else f"at least {100 * low:.3g}"
        return f"{100 * measured.value:.0f} %" + ("" if isnan(low) else f" ({bound})")
    return format_value(name, measured.value, outcome_of(judged), measured.mcse)


def interval(judged: Judged, name: str) -> tuple[float, float]:
    """95 % Monte Carlo interval of a measure: Wilson's for a proportion, else 1.96 standard errors."""
    tally, measured = judged.tally, measure(judged.tally, name)
    counts = {
        "power": tally.stated.count,
        "coverage": tally.stated.count,
        "power_all": tally.asked,
        "failure_rate": tally.asked,
        "size": tally.null.count,
        "size_average": tally.average.count,
    }
    if name in counts:
        if isnan(measured.value):
            return nan, nan
        return wilson_interval(round(measured.value * counts[name]), counts[name])
    low, high = measured.value - 1.96 * measured.mcse, measured.value + 1.96 * measured.mcse
    return (max(low, 0.0), min(high, 1.0)) if name in RATES else (low, high)


def short_measure(judged: Judged, name: str) -> str:
    """A measure in words without its error."""
    return format_measure(judged, name).split(" (")[0]


def number_words(value: float, error: float = nan, *, signed: bool = False) -> str:
    """As many decimals as the error has sense for, or three digits that count; a true minus sign."""
    known = isfinite(error) and error > 0
    digits = max(1 + _place(value) - _place(error), 1) if known and value else 3
    text = significant(value, min(digits, 3))
    if known and value and _place(error) > _place(value):
        text = f"{value:.{max(-_place(error), 0)}f}"
    text = text if known or "." not in text else text.rstrip("0").rstrip(".")
    if float(text) == 0:
        return text.lstrip("-")
    return text.replace("-", "−") if value < 0 else f"+{text}" if signed else text


def _place(value: float) -> int:
    """The decimal place of the first digit that counts: 0 for 1 to 9.9."""
    return floor(log10(abs(value)))


def significant(value: float, digits: int) -> str:
    """A number with so many digits that count, or all those before its decimal point."""
    if value == 0 or not isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(digits - 1 - _place(value), 0)}f}"
