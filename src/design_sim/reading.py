"""What the numbers of a run say: the table a person reads first, three sentences, and what is sound.

Decision: "best" is sought among answers whose headline is `power`: able to reject, not biased, and of a size
at most 1.5 alpha. They are compared by power with failed analyses as misses, so that an answer which fails
nine times in ten and rejects the tenth time is not the best.

Decision: the reading has at most three sentences: the best sound answer, the most misleading one of each
kind, and how precise the rates are. It is read aloud; everything else is in the table.
"""

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING

from design_sim.allocation import Allocation
from design_sim.failures import failure_words
from design_sim.performance import OVERSIZED_FROM, measure
from design_sim.results import Judged, Results
from design_sim.streams import Streams
from design_sim.sweep import Case
from design_sim.wording import (
    COLUMNS,
    RUNGS,
    case_words,
    effect_words,
    estimand_words,
    format_measure,
    interval,
    kind_of,
    name_of,
    number_words,
    outcome_of,
    plain,
    setting_names,
    setting_words,
    short_measure,
    significant,
)
from design_sim.world.draw import World, draw_world
from design_sim.world.settings import block_size

if TYPE_CHECKING:
    from pandas import DataFrame

WANTED = 0.8
"""The power that funders usually ask for."""


def headline_words(judged: Judged) -> str:
    """The headline of an answer in per cent; "as if randomised" where its test supposes what was not so."""
    measures = ("power", "size", "size_adjusted_power", "rmse", "p_floor")
    said = {name: short_measure(judged, name) for name in measures}
    words = {
        "power": f"power {said['power']}",
        "size_adjusted": f"size-adjusted power {said['size_adjusted_power']} (size {said['size']})",
        "biased": f"biased: size {said['size']}, power {said['power']}, RMSE {said['rmse']}",
        "cannot_reject": f"cannot reject: smallest p {said['p_floor']}",
    }[judged.headline.kind]
    if _is_failed(judged):
        words = f"no result: every analysis failed ({failure_words(judged.tally)})"
    return words + (", as if randomised" if as_if_randomised(judged) else "")


def average_words(judged: Judged) -> str:
    """The size in the average null twin, to be said after a headline; empty where that twin was not run."""
    if not judged.tally.average.count:
        return ""
    return f", size {short_measure(judged, 'size_average')} where effects differ about nothing"


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
                "headline": headline_words(judged) + average_words(judged),
            }
            for judged in results.judged
        ],
        columns=[*names.values(), *COLUMNS],
    )


def reading(results: Results) -> str:
    """At most three plain sentences, made from the numbers.

    The best answer that is sound, what is wrong with the most misleading ones, and the Monte Carlo error.
    """
    best = _best_of_sweep(results) if len(results.sweep.cases) > 1 else _best(results)
    return " ".join(filter(None, [best, _flaws(results), _precision(results)]))


def as_if_randomised(judged: Judged) -> bool:
    """Whether an answer's test draws on the law of an allocation that chance did not make."""
    return judged.answer.estimator.by_allocation and not is_randomised(judged.case, judged.design)


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
    """Whether an answer's power may be read as power for the stated effect.

    Not where its size is not known or rests on fewer than half of the replicates, nor where the true
    value that it is judged by is nothing, or on the other side than the stated effect, nor where most of what
    it finds has the wrong sign.
    """
    tally = judged.tally
    known = 2 * tally.null_failed <= tally.asked and not isnan(_value(judged, "size"))
    on_its_side = _value(judged, "truth") * outcome_of(judged).effect > 0
    right = not _value(judged, "type_s") > 0.5
    return (
        judged.headline.kind == "power"
        and known
        and on_its_side
        and right
        and not isnan(judged.headline.value)
    )


def _is_failed(judged: Judged) -> bool:
    return judged.tally.stated.count == 0


def _best(results: Results) -> str:
    """The best answer of a single case."""
    every, sound = results.judged, [judged for judged in results.judged if is_sound(judged)]
    if not sound:
        return _none_sound(every, "")
    best = max(sound, key=_seen)
    rate, name = _rate(best), _full_name(best)
    if len(every) == 1:
        short = "" if _seen(best) >= WANTED else ", short of the 80 % usually asked for"
        return f"The one answer, {name}, would see {_stated([best])} in {rate}{short}."
    whose = " that can be trusted" if len(sound) < len(every) else ""
    if _seen(best) >= WANTED:
        return (
            f"Of the {len(every)} answers, the strongest{whose} is {name}: "
            f"it would see {_stated([best])} in {rate}."
        )
    would = "reaches 80 % power for" if _seen(best) >= WANTED / 2 else "would often see"
    sought = sound if len({j.study.design.outcome for j in sound}) > 1 else [best]
    return (
        f"Of the {len(every)} answers, none{whose} {would} {_stated(sought)}: "
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
        said = f"{_rate(low)} ({where[0]}) to {short_measure(high, 'power_all')} ({where[1]})"
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
    if all(map(_is_failed, every)):
        why = f" ({failure_words(every[0].tally)})" if one else ""
        return f"{answers} {'gave no' if one else 'gave a'} result{where}: every analysis failed{why}."
    if all(judged.headline.kind == "cannot_reject" for judged in every):
        return f"{answers} {'cannot' if one else 'can'} reject{where}, whatever the effect."
    return f"{answers} {'cannot' if one else 'can'} be trusted to tell an effect from none{where}."


_FLAWS = ("biased", "size_adjusted", "cannot_reject", "failed", "power")
"""Kinds of flaw, worst first; `power` holds what is wrong for another reason than its size."""


def _flaws(results: Results) -> str:
    """What is wrong with answers that cannot be trusted, in one sentence: of each kind the worst offender."""
    groups: dict[str, list[Judged]] = {}
    for judged in results.judged:
        if not is_sound(judged):
            groups.setdefault("failed" if _is_failed(judged) else judged.headline.kind, []).append(judged)
    if not groups or len(groups.get("failed", [])) == len(results.judged):
        return ""
    best = max((_seen(judged) for judged in results.judged if is_sound(judged)), default=0.0)
    kinds = [kind for kind in _FLAWS if kind in groups]
    flaws = [_worst(results, kind, groups[kind], best) for kind in kinds]
    return f"Beware: {'; '.join([*flaws[:-1], 'and ' * (len(flaws) > 1) + flaws[-1]])}."


def _worst(results: Results, kind: str, group: Sequence[Judged], best: float) -> str:
    """The most striking answer of a kind of flaw, and how many more there are."""
    worst = max(group, key=_seen if kind == "biased" else lambda judged: _value(judged, "size"))
    names, n_cases = setting_names(results.sweep.varied), len(results.sweep.cases)
    where = f" where {case_words(worst.case, names)}" if names else ""
    others = len({name_of(judged) for judged in group} - {name_of(worst)})
    cases = len({id(judged.case) for judged in group if name_of(judged) == name_of(worst)})
    also = [f"it is so in {cases} of {n_cases} cases"] if names and cases > 1 else []
    also += [f"{others} more likewise"] if others else []
    return f"{name_of(worst)}{where} {_flaw(kind, worst, best)}" + (f" ({', '.join(also)})" if also else "")


def _flaw(kind: str, judged: Judged, best: float) -> str:
    """What is wrong with an answer; `best` is the power of the best sound one."""
    measures = ("size", "power", "size_adjusted_power", "null_bias", "p_floor")
    said = {name: short_measure(judged, name) for name in measures}
    size, power, alpha = _value(judged, "size"), _value(judged, "power"), judged.tally.alpha
    without = f"rejects in {said['size']} of studies where there is no effect"
    if kind == "size_adjusted" and isnan(size):
        return "gave no result in any study without an effect, so that its size is not known"
    if kind == "failed":
        return f"gave no result, as every analysis failed ({failure_words(judged.tally)})"
    if kind == "power":
        if 2 * judged.tally.null_failed > judged.tally.asked:
            return "gave no result in most studies without an effect, so that its size is hardly known"
        if _value(judged, "type_s") > 0.5:
            return f"has the wrong sign in {short_measure(judged, 'type_s')} of what it finds"
        return f"has no effect on the stated side to find (truth {short_measure(judged, 'truth')})"
    if kind == "cannot_reject":
        return f"cannot reject, as its p-value is never below {said['p_floor']}"
    if kind == "size_adjusted":
        power_held = said["size_adjusted_power"]
        instead = f", not {said['power']}" if said["power"] != power_held else ""
        return f"{without}, and held to {number_words(100 * alpha)} % its power is {power_held}{instead}"
    if size <= OVERSIZED_FROM * alpha:
        return f"is biased, and where there is no effect finds {said['null_bias']} on average"
    if power > best and size > power / 2:
        return f"looks strong ({said['power']}) only because it {without}"
    return f"is biased, and {without}, against {said['power']} where there is one"


def _precision(results: Results) -> str:
    """How far Monte Carlo error may move the rates."""
    bounds = [interval(judged, name) for judged in results.judged for name in ("power", "size")]
    widths = [100 * (high - low) / 2 for low, high in bounds if not isnan(low)]
    if not widths:
        return f"There were {results.sweep.replicates:,} replicates."
    replicates = f"{results.sweep.replicates:,} replicate{'s' * (results.sweep.replicates > 1)}"
    return (
        f"With {replicates}, power and size are known to within "
        f"{significant(max(widths), 2)} percentage points (95 % Monte Carlo intervals)."
    )


def _stated(about: Sequence[Judged]) -> str:
    """What some answers look for: the stated effect, or what comes of it, the first one's in numbers."""
    said = {effect_words(judged.study.design.outcome, outcome_of(judged)) for judged in about}
    stated = f"the stated effect of {said.pop()}" if len(said) == 1 else "its stated effect"
    if all(abs(_value(j, "truth") / outcome_of(j).effect - 1) < 0.01 for j in about if outcome_of(j).effect):
        return stated
    rungs = {judged.answer.estimand.rung for judged in about}
    truths = {short_measure(judged, "truth") for judged in about}
    known = f" ({RUNGS[rungs.pop()]}: {truths.pop()})" if len(rungs) == len(truths) == 1 else ""
    return f"what comes of {stated}{known}"


def _full_name(judged: Judged) -> str:
    """An answer with its sort of study, and whether its p-value supposes a lot that was not cast."""
    return f"{name_of(judged)} ({kind_of(judged.study)}{', as if randomised' * as_if_randomised(judged)})"


def _rate(judged: Judged) -> str:
    misses = " (failed analyses counted as misses)" if judged.tally.failed else ""
    return f"{short_measure(judged, 'power_all')} of studies{misses}"


def _seen(judged: Judged) -> float:
    return _value(judged, "power_all")


def _value(judged: Judged, name: str) -> float:
    return measure(judged.tally, name).value
