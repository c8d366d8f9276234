"""Measures as curves over a varied setting, a panel for each answer.

Decision: with one or two varied settings, one of them numeric, measures are drawn as curves over it; else
rows serve better.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from design_sim.figures.style import (
    BLUE,
    DASHES,
    GREY,
    INK,
    WIDTH,
    alphas_of,
    beside,
    finished,
    key,
    mark,
    percent,
    scale,
)
from design_sim.performance import measure
from design_sim.results import Judged, Results
from design_sim.sweep import Value
from design_sim.wording import interval, name_of, plain, setting_names, setting_words

MOST_LINES = 8
MOST_PANELS = 12
LINES = (BLUE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7a5195", "#8c564b")
EFFECTS = {"truth": "Truth", "bias": "Bias", "null_bias": "Bias where there\nis no effect"}

Lines = dict[str, list[Judged]]
"""By its name, each answer in the cases that differ in the varied setting."""


@dataclass(frozen=True)
class Curves:
    """Panels of lines over a varied setting: its path, its short name, and the panels by their titles."""

    path: str
    name: str
    panels: dict[str, Lines]


def curves_of(results: Results) -> Curves | None:
    """How to draw a sweep as curves; None where rows serve better."""
    every = {path: {case.settings[path] for case in results.sweep.cases} for path in results.sweep.varied}
    varied = {path: found for path, found in every.items() if len(found) > 1}
    numeric = [path for path, found in varied.items() if all(type(value) in (int, float) for value in found)]
    if not numeric or len(varied) > 2:
        return None
    path = max(numeric, key=lambda p: len(varied[p]))
    other = next((p for p in varied if p != path), None)
    names = setting_names(results.sweep.varied)
    panels: dict[str, Lines] = {}
    for judged in results.judged:
        if other is None:
            panel, line = plain(judged.design, 28), plain(judged.answer_name, 20)
        else:
            panel, line = name_of(judged), f"{names[other]} {setting_words(judged.case.settings[other])}"
        panels.setdefault(panel, {}).setdefault(line, []).append(judged)
    if len(panels) > MOST_PANELS or max(map(len, panels.values())) > MOST_LINES:
        return None
    return Curves(path, names[path], panels)


def rate_curves(results: Results, curves: Curves, ends: dict[str, float]) -> Figure:
    """Power above size on one scale, its axes ending as stated."""
    figure, columns = _grid(curves, [max(end, 0.45) for end in ends.values()])
    for number, ((panel, lines), stack) in enumerate(zip(curves.panels.items(), columns, strict=True)):
        for (name, end), axes in zip(ends.items(), stack, strict=True):
            _lines(axes, curves.path, lines, name, 100)
            axes.set_ylim(0, 103 * end)
            axes.yaxis.set_major_formatter(percent())
            for alpha in alphas_of(results):
                axes.axhline(100 * alpha, color=GREY, linewidth=0.8, linestyle=DASHES, zorder=1)
            if number % 3 == 0:
                axes.set_ylabel(name.capitalize())
        stack[0].set_title(panel)
        stack[-1].set_xlabel(curves.name)
    key(figure, results, nominal=True)
    return _parted(finished(figure))


def bias_curves(results: Results, curves: Curves) -> Figure:
    """Truth, bias, and bias where there is no effect; panels about one outcome have one scale."""
    figure, columns = _grid(curves, [1, 1, 1])
    alike: dict[str, list[Axes]] = {}
    for number, ((panel, lines), stack) in enumerate(zip(curves.panels.items(), columns, strict=True)):
        judged = next(iter(lines.values()))[0]
        factor, unit = scale(judged)
        for (name, title), axes in zip(EFFECTS.items(), stack, strict=True):
            _lines(axes, curves.path, lines, name, factor)
            axes.axhline(0, color=INK, linewidth=0.7, zorder=1)
            axes.yaxis.set_major_locator(MaxNLocator(5))
            if number % 3 == 0:
                axes.set_ylabel(title)
        alike.setdefault(judged.study.design.outcome, []).extend(stack)
        stack[0].set_title(f"{panel}\n", pad=2)
        said = f"{plain(judged.study.design.outcome, 20)}, {unit}"
        stack[0].text(0, 1.04, said, transform=stack[0].transAxes, fontsize=7)
        stack[-1].set_xlabel(curves.name)
    for group in alike.values():
        limits = np.array([axes.get_ylim() for axes in group])
        for axes in group:
            axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    key(figure, results, kinds=("biased",), nominal=False)
    return _parted(finished(figure))


def _grid(curves: Curves, heights: Sequence[float]) -> tuple[Figure, list[list[Axes]]]:
    """A figure and, for each panel, its axes from top to bottom; three panels side by side."""
    across = min(len(curves.panels), 3)
    bands = -(-len(curves.panels) // 3)
    tall = (1.75 if len(heights) < 3 else 1.3) * sum(heights) / max(heights) + 0.25 * len(heights)
    figure = Figure(figsize=(WIDTH if across > 1 else 4.6, bands * tall + 0.6), layout="constrained")
    grid = figure.subplots(bands * len(heights), across, squeeze=False, height_ratios=list(heights) * bands)
    columns = []
    for number in range(bands * across):
        band, column = divmod(number, across)
        stack = list(grid[band * len(heights) : (band + 1) * len(heights), column])
        if number < len(curves.panels):
            columns.append(stack)
        else:
            for axes in stack:
                axes.set_axis_off()
    return figure, columns


def _lines(axes: Axes, path: str, lines: Lines, name: str, factor: float) -> None:
    """One measure over the varied setting, a line for each answer, labelled at its end."""
    places: list[Value] = sorted({j.case.settings[path] for line in lines.values() for j in line})
    for (label, line), colour in zip(lines.items(), LINES, strict=False):
        ordered = sorted(line, key=lambda judged: float(judged.case.settings[path]))
        x = np.array([float(judged.case.settings[path]) for judged in ordered])
        y = np.array([factor * measure(judged.tally, name).value for judged in ordered])
        bounds = factor * np.array([interval(judged, name) for judged in ordered])
        axes.plot(x, y, color=colour, linewidth=1.1, alpha=0.8, zorder=2)
        axes.vlines(x, bounds[:, 0], bounds[:, 1], color=colour, linewidth=1.1, zorder=2)
        for place, value, judged in zip(x, y, ordered, strict=True):
            axes.plot([place], [value], **mark(judged, colour))
        if np.isfinite(y).any():
            last = y[np.isfinite(y)][-1]
            how = {"fontsize": 7.5, "color": colour, "annotation_clip": False}
            beside(axes, last, label, xytext=(4, 0), gid="end-label", **how)
    _ticks(axes, places)


def _ticks(axes: Axes, places: list[Value]) -> None:
    """A tick at each value of the setting, where there is room."""
    x = np.array(places, dtype=float)
    gap = 0.06 * (x[-1] - x[0])
    axes.set_xlim(x[0] - gap, x[-1] + gap)
    if len(x) <= 6 and np.diff(x).min(initial=np.inf) > 1.5 * gap:
        axes.set_xticks(x, [setting_words(place) for place in places])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))


def _parted(figure: Figure) -> Figure:
    """Move the labels at the ends of lines apart, as little as is needed (least squares, kept in order)."""
    from scipy.optimize import isotonic_regression

    dots = figure.dpi / 72
    for axes in figure.axes:
        labels = [text for text in axes.texts if text.get_gid() == "end-label"]
        if len(labels) < 2:
            continue
        at = np.array([axes.transData.transform(text.xy)[1] for text in labels]) / dots  # type: ignore[attr-defined]
        order = np.argsort(at, kind="stable")
        steps = 9.0 * np.arange(len(labels))
        wanted = isotonic_regression(at[order] - steps).x + steps
        wanted += max(axes.bbox.y0 / dots + 3 - wanted[0], 0)
        for place, number in enumerate(order):
            labels[number].set_position((4, wanted[place] - at[number]))
    return figure
