"""Cautions: what a reader of a run must not overlook, in a line for each kind of trouble."""

from collections.abc import Callable, Sequence

from design_sim.certificate.cited import warnings
from design_sim.failures import failure_reasons
from design_sim.performance import BIASED_BEYOND, BIASED_FROM, measure
from design_sim.reading import as_if_randomised
from design_sim.results import Judged, Results
from design_sim.wording import name_of, outcome_of, plain

FEW_REPLICATES = 1_000
"""Replicates below which no number should be quoted."""


def cautions(results: Results) -> list[str]:
    """All of them, with what headlines and the calibration certificate say."""
    lines = _lines(results, [_of_headline, _beside_headline])
    for warning, answers in warnings(results.sweep).items():
        about = ", ".join(plain(answer, 60) for answer in answers)
        lines.append(f"{warning} (calibration certificate): {about}.")
    return lines


def more_cautions(results: Results) -> list[str]:
    """Those that the table of headlines does not say itself."""
    return _lines(results, [_beside_headline])


def _lines(results: Results, kinds: Sequence[Callable[[Judged], list[str]]]) -> list[str]:
    lines = []
    if results.sweep.replicates < FEW_REPLICATES:
        lines.append(f"Few replicates ({results.sweep.replicates:,}): ask for more before quoting a number.")
    groups: dict[str, list[Judged]] = {}
    for judged in results.judged:
        for trouble in (trouble for kind in kinds for trouble in kind(judged)):
            groups.setdefault(trouble, []).append(judged)
    cases = len(results.sweep.cases)
    for trouble, group in groups.items():
        counts: dict[str, int] = {}
        for judged in group:
            counts[name_of(judged)] = counts.get(name_of(judged), 0) + 1
        touched = [f"{name} (in {n} of {cases} cases)" if cases > 1 else name for name, n in counts.items()]
        lines.append(f"{trouble}: {', '.join(touched)}.")
    return lines


def _of_headline(judged: Judged) -> list[str]:
    """What is wrong with an answer by its headline."""
    troubles = {
        "biased": "Biased, so that its rejection rate is not power",
        "size_adjusted": "Rejects too often where there is no effect, so that power is given size-adjusted",
        "cannot_reject": "Cannot reject, whatever the effect: its smallest p-value is above alpha",
    }
    return [troubles[judged.headline.kind]] if judged.headline.kind in troubles else []


def _beside_headline(judged: Judged) -> list[str]:
    """What else is wrong with it."""
    found = []
    bias, spread = measure(judged.tally, "bias"), judged.tally.stated.spread_of("error")
    if judged.headline.kind != "biased" and abs(bias.value) > max(
        BIASED_FROM * spread, BIASED_BEYOND * bias.mcse
    ):
        found.append(_off_target(judged))
    if judged.tally.failed or judged.tally.null_failed:
        found.append(f"Some analyses failed{_reasons(judged)}; power, size and bias are of the others")
    truth, effect = measure(judged.tally, "truth").value, outcome_of(judged).effect
    if effect != 0 and truth * effect <= 0:
        found.append("The true value that it is judged by is not on the side of the stated effect")
    if as_if_randomised(judged):
        found.append("As if randomised: a permutation test where chance did not allocate")
    return found


def _reasons(judged: Judged) -> str:
    """Why analyses failed, where they did in the study as stated."""
    reasons = failure_reasons(judged.tally)
    return f" ({', '.join(reasons)})" if reasons else " in the null twin"


def _off_target(judged: Judged) -> str:
    """How an answer misses what it is judged by, where its null twin is not called biased."""
    null = measure(judged.tally, "null_bias")
    if abs(null.value) > 2 * null.mcse:
        return "Off its target, and in part already where there is no effect"
    return "Off its target where there is an effect, not without one (another question)"
