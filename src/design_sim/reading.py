"""What the numbers of a run say: the table a person reads first, a sentence or two, and what to beware of.

The one place where numbers become words, so that table, figures, report and command line say them alike:
rates in per cent, effects of a binary outcome in percentage points (pp), others in the outcome's units.

Decision: "best" is sought among answers whose headline is `power`: able to reject, not biased, and of a size
at most 1.5 alpha. They are compared by power with failed analyses as misses, so that an answer which fails
nine times in ten and rejects the tenth time is not the best.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import floor, isfinite, isnan, log10, nan
from typing import TYPE_CHECKING
from unicodedata import category

from design_sim.allocation import Allocation
from design_sim.estimands import Estimand
from design_sim.performance import OVERSIZED_FROM, Measured, measure, wilson_interval
from design_sim.results import Judged, Results
from design_sim.scenario import Study
from design_sim.simulate import block_size
from design_sim.streams import Streams
from design_sim.sweep import Case, Value
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import Outcome, RecordedBinary, SurveyedOutcome

if TYPE_CHECKING:
    from pandas import DataFrame

RATES = ("coverage", "power", "power_all", "size", "size_adjusted_power", "type_s", "failure_rate")
EFFECTS = ("truth", "estimate", "bias", "null_bias", "empirical_se", "model_se", "rmse")
SIGNED = ("truth", "estimate", "bias", "null_bias", "relative_bias", "model_se_error")
KINDS = {
    "cluster_rct": "cluster randomised trial",
    "contrast": "contrast study",
    "difference_in_differences": "difference-in-differences",
}
RUNGS = {
    "offered": "effect of offering it",
    "full_fidelity": "effect at full fidelity",
    "per_fidelity": "effect for each unit of fidelity",
}
AVERAGES = {
    "sample": "in the enrolled authorities",
    "adopters": "in the authorities that would adopt",
    "national": "in all authorities",
}
COLUMNS = ("design", "answer", "estimand", "truth", "bias", "size", "power", "headline")
WANTED = 0.8
"""The power that funders usually ask for."""


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
    return KINDS.get(kind, plain(kind.replace("_", " ")))


def outcome_of(judged: Judged) -> Outcome:
    """The outcome that an answer is about."""
    return judged.case.scenario.outcomes[judged.study.design.outcome]


def estimand_words(estimand: Estimand) -> str:
    """The quantity that an answer is judged against, in a few words."""
    rung = RUNGS.get(estimand.rung, estimand.rung.replace("_", " "))
    counting = "" if estimand.weights == "family" else ", each counting once"
    return f"{rung} {AVERAGES[estimand.average]}{counting}"


def effect_words(name: str, outcome: Outcome) -> str:
    """The stated effect of an outcome, in words."""
    if isinstance(outcome, RecordedBinary):
        return f"{_number(100 * outcome.effect, signed=True)} percentage points on {plain(name)}"
    spread = outcome.sd if isinstance(outcome, SurveyedOutcome) else outcome.family_sd
    return f"{_number(outcome.effect, signed=True)} on {plain(name)} (SD {_number(spread)})"


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
        Binary: effects are given in percentage points, "pp".

    Examples
    --------
    >>> outcome = RecordedBinary(kind="binary", source="record", mean=0.2, effect=-0.03)
    >>> format_value("power", 0.4365, outcome, 0.0111), format_value("size", 0.0615, outcome, 0.0054)
    ('44 % (1.1)', '6.2 % (0.5)')
    >>> format_value("bias", -0.02034, outcome, 0.00038)
    '−2.03 pp (0.04)'
    """
    if isnan(value):
        return "not known"
    percent = name in RATES or name in ("relative_bias", "model_se_error")
    points = name in EFFECTS and isinstance(outcome, RecordedBinary)
    factor = 100 if percent or points else 1
    unit = " %" if percent else " pp" if points else ""
    error = factor * mcse if isfinite(mcse) and mcse > 0 else nan
    number = _number(factor * value, error, signed=name in SIGNED)
    return f"{number}{unit}" + ("" if isnan(error) else f" ({_significant(error, 2 if error >= 1 else 1)})")


def format_measure(judged: Judged, name: str) -> str:
    """A measure of an answer with its Monte Carlo standard error in brackets.

    A rate of 0 or 1, whose standard error would be 0, has the far end of its Wilson interval instead.
    """
    measured = _measured(judged, name)
    if name in RATES and measured.value in (0, 1):
        low, high = interval(judged, name)
        bound = f"at most {100 * high:.2g}" if measured.value == 0 else f"at least {100 * low:.3g}"
        return f"{100 * measured.value:.0f} %" + ("" if isnan(low) else f" ({bound})")
    return format_value(name, measured.value, outcome_of(judged), measured.mcse)


def interval(judged: Judged, name: str) -> tuple[float, float]:
    """95 % Monte Carlo interval of a measure: Wilson's for a proportion, else 1.96 standard errors."""
    tally, measured = judged.tally, _measured(judged, name)
    counts = {
        "power": tally.stated.count,
        "coverage": tally.stated.count,
        "power_all": tally.asked,
        "failure_rate": tally.asked,
        "size": tally.null.count,
    }
    if name in counts:
        if isnan(measured.value):
            return nan, nan
        return wilson_interval(round(measured.value * counts[name]), counts[name])
    low, high = measured.value - 1.96 * measured.mcse, measured.value + 1.96 * measured.mcse
    return (max(low, 0.0), min(high, 1.0)) if name in RATES else (low, high)


def headline_words(judged: Judged) -> str:
    """The headline of an answer in per cent; "as if randomised" where its test supposes what was not so."""
    kind, outcome = judged.headline.kind, outcome_of(judged)
    said = {
        name: format_value(name, _measured(judged, name).value, outcome, _measured(judged, name).mcse)
        for name in ("power", "size", "size_adjusted_power", "rmse", "p_floor")
    }
    said = {name: words.split(" (")[0] for name, words in said.items()}
    words = {
        "power": f"power {said['power']}",
        "size_adjusted": f"size-adjusted power {said['size_adjusted_power']} (size {said['size']})",
        "biased": f"biased: size {said['size']}, power {said['power']}, RMSE {said['rmse']}",
        "cannot_reject": f"cannot reject: smallest p {said['p_floor']}",
    }[kind]
    if judged.tally.stated.count == 0:
        words = "no result: every analysis failed"
    return words + (", as if randomised" if as_if_randomised(judged) else "")


def headline_table(results: Results) -> "DataFrame":
    """The table that a person reads first: a row for each case, design and answer, ready to print.

    Columns: one for each varied setting by its short name, then design, answer, estimand, truth, bias, size,
    power, headline. Texts, with Monte Carlo standard errors in brackets; `results.performance` has numbers.
    """
    from pandas import DataFrame

    names = setting_names(results.sweep.varied)
    return DataFrame(
        [
            {
                **{name: setting_words(judged.case.settings[path]) for path, name in names.items()},
                "design": plain(judged.design),
                "answer": plain(judged.answer_name),
                "estimand": estimand_words(judged.answer.estimand),
                **{name: format_measure(judged, name) for name in ("truth", "bias", "size", "power")},
                "headline": headline_words(judged),
            }
            for judged in results.judged
        ],
        columns=[*names.values(), *COLUMNS],
    )


def reading(results: Results) -> str:
    """One or two plain sentences, made from the numbers, and the Monte Carlo error they stand on."""
    sentences = [_best_of_sweep(results) if len(results.sweep.cases) > 1 else _best(results)]
    flaws = list(_flaws(results))
    if flaws:
        sentences.append("; ".join(flaws) + ".")
    return " ".join([*sentences, _precision(results)])


def as_if_randomised(judged: Judged) -> bool:
    """Whether an answer permutes an allocation that chance did not make."""
    estimator = judged.answer.estimator
    settings: Mapping[str, object] = getattr(estimator, "model_dump", dict)()
    permutes = any("permut" in str(value) for value in (estimator.estimator, *settings.values()))
    return permutes and not is_randomised(judged.case, judged.design)


def is_randomised(case: Case, design: str) -> bool:
    """Whether chance decides who is treated, by the law of an allocation drawn for the purpose."""
    world = first_world(case, 1)
    allocation = case.scenario.studies[design].design.allocate(world, world.streams)
    return bool(getattr(allocation.law, "randomised", True))


def first_world(case: Case, replicates: int | None = None) -> World:
    """The authorities of a case's first block, as the run has them unless fewer replicates will do."""
    scenario = case.scenario
    n = block_size(scenario.world) if replicates is None else replicates
    return draw_world(scenario.world, scenario.outcomes, n, Streams(scenario.seed, 0))


def first_allocations(case: Case) -> dict[str, Allocation]:
    """The allocations of a case's first block, by design."""
    world = first_world(case)
    return {name: s.design.allocate(world, world.streams) for name, s in case.scenario.studies.items()}


def is_sound(judged: Judged) -> bool:
    """Whether an answer's power may be read as power."""
    return judged.headline.kind == "power" and not isnan(judged.headline.value)


def _best(results: Results) -> str:
    """The best answer of a single case."""
    every, sound = results.judged, [judged for judged in results.judged if is_sound(judged)]
    if not sound:
        return _none_sound(every, "")
    best = max(sound, key=_seen)
    rate, name = _rate(best), _full_name(best)
    if len(every) == 1:
        short = "" if _seen(best) >= WANTED else ", short of the 80 % usually asked for"
        return f"The one answer, {name}, would see {_stated(sound)} in {rate}{short}."
    whose = " that can be trusted" if len(sound) < len(every) else ""
    if _seen(best) >= WANTED:
        return (
            f"Of the {len(every)} answers, the strongest{whose} is {name}: "
            f"it would see {_stated([best])} in {rate}."
        )
    would = "reaches 80 % power for" if _seen(best) >= WANTED / 2 else "would often see"
    return (
        f"Of the {len(every)} answers, none{whose} {would} {_stated(sound)}: "
        f"the best, {name}, sees it in {rate}."
    )


def _best_of_sweep(results: Results) -> str:
    """The best answers of a sweep: from which case to which, and where there is enough power."""
    cases, names = results.sweep.cases, setting_names(results.sweep.varied)
    sound = [judged for judged in results.judged if is_sound(judged)]
    if not sound:
        return _none_sound(results.judged, f" in any of the {len(cases)} cases")
    by_case = [[j for j in sound if j.case is case] for case in cases]
    bests = [max(group, key=_seen) for group in by_case if group]
    low, high = min(bests, key=_seen), max(bests, key=_seen)
    where = [f"{name_of(j)}, where {case_words(j.case, names)}" for j in (low, high)]
    said = f"{_rate(high)} in every case ({name_of(high)})"
    if _rate(low) != _rate(high):
        said = f"{_rate(low)} ({where[0]}) to {_short(high, 'power_all')} ({where[1]})"
    text = f"Over {len(cases)} cases, the best answer that can be trusted sees {_stated(bests)} in {said}"
    enough = [j for j in bests if _seen(j) >= WANTED]
    if 0 < len(enough) < len(cases):
        reached = "; ".join(case_words(j.case, names) for j in enough)
        text += f"; 80 % is reached in {len(enough)} of them" + (f" ({reached})" if len(enough) <= 3 else "")
    elif not enough:
        text += "; 80 % is reached in none"
    missing = len(cases) - len(bests)
    return text + (f"; in {missing} no answer can be trusted." if missing else ".")


def _none_sound(every: Sequence[Judged], where: str) -> str:
    n_answers = len({name_of(judged) for judged in every})
    one = n_answers == 1
    answers = "The one answer" if one else f"None of the {n_answers} answers"
    if all(judged.tally.stated.count == 0 for judged in every):
        return f"{answers} {'gave no' if one else 'gave a'} result{where}: every analysis failed."
    if all(judged.headline.kind == "cannot_reject" for judged in every):
        return f"{answers} {'cannot' if one else 'can'} reject{where}, whatever the effect."
    return f"{answers} {'cannot' if one else 'can'} be trusted to tell an effect from none{where}."


def _flaws(results: Results) -> Iterable[str]:
    """What is wrong with the answers that cannot be trusted: for each kind the most striking one."""
    groups: dict[str, list[Judged]] = {}
    for judged in results.judged:
        if judged.tally.stated.count == 0:
            groups.setdefault("failed", []).append(judged)
        elif not is_sound(judged):
            groups.setdefault(judged.headline.kind, []).append(judged)
    best = max((_seen(j) for j in results.judged if is_sound(j)), default=0.0)
    names = setting_names(results.sweep.varied)
    for kind in ("biased", "size_adjusted", "cannot_reject", "failed"):
        group = groups.get(kind, [])
        if group:
            worst = max(group, key=lambda j: _value(j, "size") if kind != "biased" else _seen(j))
            where = f" where {case_words(worst.case, names)}" if names else ""
            others = len({name_of(j) for j in group} - {name_of(worst)})
            cases = len({id(j.case) for j in group if name_of(j) == name_of(worst)})
            also = [f"it is so in {cases} of {len(results.sweep.cases)} cases"] if names and cases > 1 else []
            also += [f"{others} more likewise"] if others else []
            yield _flaw(kind, worst, best, where) + (f" ({', '.join(also)})" if also else "")


def _flaw(kind: str, judged: Judged, best: float, where: str) -> str:
    name, alpha = name_of(judged) + where, judged.tally.alpha
    size, power = _value(judged, "size"), _value(judged, "power")
    measures = ("size", "power", "size_adjusted_power", "null_bias", "p_floor")
    said = {key: _short(judged, key) for key in measures}
    if kind == "failed":
        return f"{name} gave no result: every analysis failed"
    if kind == "cannot_reject":
        return f"{name} cannot reject: its smallest p-value is {said['p_floor']}, above {alpha:g}"
    if kind == "size_adjusted":
        return (
            f"{name} rejects in {said['size']} of studies where there is no effect; held to "
            f"{_number(100 * alpha)} %, its power is {said['size_adjusted_power']} and not {said['power']}"
        )
    if size <= OVERSIZED_FROM * alpha:
        return f"{name} is biased: where there is no effect it finds {said['null_bias']} on average"
    if power > best and size > power / 2:
        return (
            f"{name} looks strong ({said['power']}) only because it rejects in {said['size']} of studies "
            "where there is no effect"
        )
    return (
        f"{name} is biased: it rejects in {said['power']} of studies, "
        f"and in {said['size']} where there is no effect"
    )


def _precision(results: Results) -> str:
    bounds = [interval(judged, name) for judged in results.judged for name in ("power", "size")]
    widths = [100 * (high - low) / 2 for low, high in bounds if not isnan(low)]
    if not widths:
        return f"({results.sweep.replicates:,} replicates.)"
    within = f"±{_significant(max(widths), 2)} percentage points"
    return f"({results.sweep.replicates:,} replicates; 95 % Monte Carlo intervals of rates within {within}.)"


def _stated(about: Sequence[Judged]) -> str:
    """The stated effects of the outcomes that some answers are about."""
    said = {effect_words(judged.study.design.outcome, outcome_of(judged)) for judged in about}
    return f"the stated effect of {said.pop()}" if len(said) == 1 else "its stated effect"


def _full_name(judged: Judged) -> str:
    """An answer with its sort of study, and whether its p-value supposes a lot that was not cast."""
    return f"{name_of(judged)} ({kind_of(judged.study)}{', as if randomised' * as_if_randomised(judged)})"


def _rate(judged: Judged) -> str:
    misses = " (failed analyses counted as misses)" if judged.tally.failed else ""
    return f"{_short(judged, 'power_all')} of studies{misses}"


def _seen(judged: Judged) -> float:
    return _value(judged, "power_all")


def _measured(judged: Judged, name: str) -> Measured:
    return measure(judged.tally, name)


def _value(judged: Judged, name: str) -> float:
    return _measured(judged, name).value


def _short(judged: Judged, name: str) -> str:
    """A measure in words without its error."""
    return format_measure(judged, name).split(" (")[0]


def _number(value: float, error: float = nan, *, signed: bool = False) -> str:
    """As many decimals as the error has sense for, or three digits that count; a true minus sign."""
    known = isfinite(error) and error > 0
    digits = max(1 + _place(value) - _place(error), 1) if known and value else 3
    text = _significant(value, min(digits, 3))
    if known and value and _place(error) > _place(value):
        text = f"{value:.{max(-_place(error), 0)}f}"
    text = text if known or "." not in text else text.rstrip("0").rstrip(".")
    if float(text) == 0:
        return text.lstrip("-")
    return text.replace("-", "−") if value < 0 else f"+{text}" if signed else text


def _place(value: float) -> int:
    """The decimal place of the first digit that counts: 0 for 1 to 9.9."""
    return floor(log10(abs(value)))


def _significant(value: float, digits: int) -> str:
    if value == 0 or not isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(digits - 1 - _place(value), 0)}f}"
