"""An error budget as people see it: a table, a figure, the sentence that reads it, and files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from design_sim.error_budget import Budget, Part
from design_sim.figures.style import BLUE, GREY, INK, RED, WIDTH, finished, save, styled
from design_sim.mechanisms import MEANINGS, SAMPLING
from design_sim.scenario import Scenario
from design_sim.sweep import Sweep
from design_sim.wording import number_words, plain, significant, unit_of

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("study", "answer", "part", "share of MSE", "of bias")
MOST_BUDGETS = 24
"""Answers that one figure holds."""


def frame(budgets: Sequence[Budget]) -> "DataFrame":
    """Every part in long form, the total last of each answer.

    Columns: study, answer, part, mse and mse_error (squared units of the outcome), share (of the total mean
    squared error), bias and bias_error (units of the outcome), replicates, failures.
    """
    from pandas import DataFrame

    return DataFrame(
        [
            {
                "study": budget.study,
                "answer": budget.answer,
                "part": part.mechanism,
                "mse": part.mse,
                "mse_error": part.mse_error,
                "share": part.mse / budget.total.mse if budget.total.mse else np.nan,
                "bias": part.bias,
                "bias_error": part.bias_error,
                "replicates": budget.replicates,
                "failures": budget.failures,
            }
            for budget in budgets
            for part in (*budget.parts, budget.total)
        ]
    )


def table(budgets: Sequence[Budget], scenario: Scenario) -> "DataFrame":
    """The parts of every answer in words, for a screen: each with its Monte Carlo standard error.

    Parts that are exactly nothing are left out: the mechanism does not reach that study.
    """
    from pandas import DataFrame

    rows = []
    for budget in budgets:
        factor, unit = _unit(budget, scenario)
        for part in (*_moving(budget), budget.total):
            total = part is budget.total
            rms = _rmse(part, factor, unit) if total else _percent(part, budget)
            row = (budget.study, budget.answer, part.mechanism, rms, _bias(part, factor, unit))
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    return DataFrame(rows, columns=COLUMNS)


def sentences(budgets: Sequence[Budget], scenario: Scenario) -> list[str]:
    """What errors are made of, a sentence for each study and for answers whose budgets are alike."""
    lost = [budget for budget in budgets if not budget.total.mse > 0]
    return [sentence(budget, scenario, name) for budget, name in _distinct(budgets)] + [
        sentence(budget, scenario) for budget in lost
    ]


def sentence(budget: Budget, scenario: Scenario, name: str = "") -> str:
    """What an answer's error is mostly made of, and where its bias comes from.

    Parameters
    ----------
    name : str
        Who is spoken of; the study and the answer if not given.
    """
    factor, unit = _unit(budget, scenario)
    name = name or f"{plain(budget.study)}: {plain(budget.answer)}"
    if not np.isfinite(budget.total.mse):
        return f"{name}: no replicate could be analysed with every mechanism on and off; there is no budget."
    rmse = f"{number_words(factor * np.sqrt(budget.total.mse))}{unit}"
    said = (
        f"{name} {'miss' if name.endswith(' alike') else 'misses'} the estimand by {rmse} "
        "(root mean squared error); "
        f"{_percent(budget.parts[0], budget)} of the squared error is sampling"
    )
    others = sorted(_moving(budget)[1:], key=lambda part: -part.mse)
    if others and others[0].mse > 2 * others[0].mse_error:
        most = others[0]
        said += (
            f", and most of the rest {most.mechanism} ({_percent(most, budget)}: {MEANINGS[most.mechanism]})"
        )
    leaning = [part for part in others if abs(part.bias) > 3 * part.bias_error and part.bias_error > 0]
    if not leaning:
        return f"{said}. No mechanism makes a bias that can be told from chance."
    leaning.sort(key=lambda part: -abs(part.bias))
    parts = ", ".join(f"{part.mechanism} {_bias(part, factor, unit)}" for part in leaning)
    return f"{said}. Its bias of {_bias(budget.total, factor, unit)} is made by {parts}."


def figure(budgets: Sequence[Budget]) -> Figure:
    """The parts of the mean squared error and of the bias of every answer, with Monte Carlo intervals.

    Answers of one study whose budgets are the same to the eye (within 1 % of the total) share a row.
    """
    shown = _distinct(budgets)[:MOST_BUDGETS]
    rows = [(budget, name, part) for budget, name in shown for part in _moving(budget)]
    with styled():
        height = 1.1 + 0.19 * len(rows) + 0.34 * len(shown)
        drawing = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = drawing.subplots(1, 2, sharey=True)
        place, ticks = 0.0, []
        for budget, name in shown:
            place -= 1.4
            axes[0].annotate(
                name, (0, place), (-4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="right", va="center", fontweight="bold", fontsize=7.5, annotation_clip=False,
            )  # fmt: skip
            for part in _moving(budget):
                place -= 1
                _bar(
                    axes[0],
                    place,
                    100 * part.mse / budget.total.mse,
                    100 * part.mse_error / budget.total.mse,
                    part,
                )
                root = np.sqrt(budget.total.mse)
                _bar(axes[1], place, part.bias / root, part.bias_error / root, part)
                ticks.append((place, part.mechanism.replace("_", " ")))
        axes[0].set_yticks([at for at, _ in ticks], [label for _, label in ticks])
        axes[0].set_ylim(place - 0.8, 0.2)
        axes[0].set_title("Mean squared error, %")
        axes[1].set_title("Bias, as a share of the RMSE")
        for of in axes:
            of.axvline(0, color=GREY, linewidth=0.7)
            of.tick_params(axis="y", length=0)
            of.spines["left"].set_visible(False)
        drawing.supxlabel(
            "Sampling is what is left with every mechanism off; parts add up, and may be negative. "
            "Lines: 95 % Monte Carlo intervals.",
            fontsize=7.5, x=0.01, ha="left",
        )  # fmt: skip
        return finished(drawing)


def write(budgets: Sequence[Budget], scenario: Scenario, folder: Path) -> None:
    """Write budget.csv and .parquet, budget.svg and .png, and budget.txt with the sentences."""
    from design_sim.store import write_table

    write_table(frame(budgets), folder / "budget.parquet")
    save(figure(budgets), folder / "budget")
    text = "\n".join(sentences(budgets, scenario))
    (folder / "budget.txt").write_text(text + "\n", encoding="utf-8")


def folder_name(sweep: Sweep) -> str:
    """Name of the folder that a sweep's budget is written to."""
    return f"{sweep.name}-budget"


def _moving(budget: Budget) -> list[Part]:
    """Sampling, and the mechanisms that reach the study."""
    rounding = 1e-9 * budget.total.mse if np.isfinite(budget.total.mse) else 0.0
    return [
        part
        for part in budget.parts
        if part.mechanism == SAMPLING or part.mse_error > rounding or abs(part.mse) > rounding
    ]


def _distinct(budgets: Sequence[Budget]) -> list[tuple[Budget, str]]:
    """Budgets that look different, each with the names of the answers that it stands for."""
    kept: list[tuple[Budget, list[str]]] = []
    for budget in budgets:
        if not np.isfinite(budget.total.mse) or budget.total.mse == 0:
            continue
        for other, names in kept:
            if other.study == budget.study and _alike(other, budget):
                names.append(budget.answer)
                break
        else:
            kept.append((budget, [budget.answer]))
    return [(budget, f"{plain(budget.study, 24)}: {_joined(names)}") for budget, names in kept]


def _joined(names: Sequence[str]) -> str:
    return plain(names[0], 20) if len(names) == 1 else f"{plain(names[0], 20)} and {len(names) - 1} alike"


def _alike(one: Budget, other: Budget) -> bool:
    """Whether two budgets differ by less than 1 % of the first one's error."""
    mse, bias = (
        np.array([[getattr(part, what) for part in (*of.parts, of.total)] for of in (one, other)])
        for what in ("mse", "bias")
    )
    apart = np.ptp(mse, axis=0).max() / one.total.mse, np.ptp(bias, axis=0).max() / one.total.mse**0.5
    return bool(max(apart) < 0.01)


def _bar(axes: Axes, place: float, value: float, error: float, part: Part) -> None:
    colour = GREY if part.mechanism == SAMPLING else BLUE if value >= 0 else RED
    axes.barh(place, value, height=0.7, color=colour, alpha=0.75, linewidth=0)
    axes.hlines(place, value - 1.96 * error, value + 1.96 * error, color=INK, linewidth=0.9)


def _unit(budget: Budget, scenario: Scenario) -> tuple[float, str]:
    """Factor and unit in which errors on an outcome are said."""
    unit = unit_of(scenario.outcomes[scenario.studies[budget.study].design.outcome])
    return unit.factor, f" {unit.short}".rstrip()


def _rmse(total: Part, factor: float, unit: str) -> str:
    return (
        f"RMSE {number_words(factor * np.sqrt(total.mse))}{unit}" if np.isfinite(total.mse) else "not known"
    )


def _percent(part: Part, budget: Budget) -> str:
    if not budget.total.mse > 0:
        return "not known"
    share, error = (100 * value / budget.total.mse for value in (part.mse, part.mse_error))
    return f"{number_words(share, error)} % ({error:.1f})"


def _bias(part: Part, factor: float, unit: str) -> str:
    if not np.isfinite(part.bias):
        return "not known"
    error = factor * part.bias_error
    said = number_words(factor * part.bias, error, signed=True)
    return f"{said}{unit} ({significant(error, 1)})" if error > 0 else f"{said}{unit}"
