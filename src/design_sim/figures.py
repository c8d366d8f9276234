"""Figures of a run: power beside size, bias, fidelity, and who is allocated to what.

Decision: an answer whose power may not be read as power has another shape of mark, and says so in words
beside it; colour repeats that and never says it alone. Bars are 95 % Monte Carlo intervals.

Decision: with one or two varied settings, one of them numeric, measures are drawn as curves over it; else a
row for each case and answer. Text stays text in the SVG, in DejaVu Sans or any other font: the fonts that
take its place are narrower, so that nothing overlaps. Names come from scenario files: none is read as
mathematics, and the SVG writer escapes them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from design_sim.allocation import NEVER, Allocation
from design_sim.performance import measure
from design_sim.reading import (
    case_words,
    first_allocations,
    first_world,
    format_measure,
    headline_words,
    interval,
    kind_of,
    name_of,
    plain,
    setting_names,
    setting_words,
)
from design_sim.results import Judged, Results
from design_sim.scenario import Scenario, Study
from design_sim.sweep import Case, Sweep, Value
from design_sim.world.fidelity import maturity
from design_sim.world.outcomes import RecordedBinary, SurveyedOutcome

WIDTH = 7.0
MOST_ROWS = 36
MOST_LINES = 8
MOST_PANELS = 12
INK, GREY, PALE = "#222222", "#6b6b6b", "#d9d9d9"
BLUE, RED = "#0072b2", "#c04f00"
LINES = (BLUE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7a5195", "#8c564b")
DASHES = (0, (4, 3))
MARKS = {"power": "o", "size_adjusted": "D", "biased": "X", "cannot_reject": "s"}
MEANINGS = {
    "power": "power, to be read as such",
    "size_adjusted": "rejects too often without effect",
    "biased": "biased: not power",
    "cannot_reject": "cannot reject",
}
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica", "sans-serif"],
    "font.size": 8,
    "figure.dpi": 200,
    "text.hinting": "none",
    "text.color": INK,
    "text.parse_math": False,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.markersize": 5,
    "svg.fonttype": "none",
    "svg.hashsalt": "design-sim",
}


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as SVG and PNG, the same bytes every time.

    Parameters
    ----------
    path : str or Path
        With or without the ending .svg or .png.

    Returns
    -------
    list of Path
        The two files.
    """
    stem = Path(path)
    stem = stem.with_suffix("") if stem.suffix in (".svg", ".png") else stem
    files = [stem.parent / f"{stem.name}{ending}" for ending in (".svg", ".png")]
    files[0].write_bytes(to_svg(figure))
    files[1].write_bytes(to_png(figure))
    return files


def to_svg(figure: Figure) -> bytes:
    """A figure as an SVG file, without date or maker."""
    return _written(figure, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))


def to_png(figure: Figure) -> bytes:
    """A figure as a PNG file of 200 dots to the inch."""
    return _written(figure, format="png", dpi=200, metadata={"Software": None})


def power_and_size(results: Results) -> Figure:
    """Power beside size of every answer, on one scale: per inch the same per cent.

    Answers whose rejections are not power are marked by shape and words.
    """
    with _styled():
        sizes = [_bounded(interval(judged, "size")[1]) for judged in results.judged]
        widest = min(max(0.2, 1.1 * max(sizes, default=0.2)), 1.0)
        parts = [
            _Part("power", "Power", "studies that reject, effect as stated", 1.0),
            _Part("size", "Size", "… no effect", widest),
        ]
        curves = _curves_of(results)
        figure = _rate_curves(results, curves, parts) if curves else _rate_rows(results, parts)
        return _finished(figure)


def bias(results: Results) -> Figure:
    """Bias of every answer, beside what it finds without any effect and the truth that it is judged by.

    What is found where there is no effect is bias of the study. The rest of the bias comes with the effect:
    the study answers another question than the one that it is judged by.
    """
    with _styled():
        curves = _curves_of(results)
        figure = _bias_curves(results, curves) if curves else _bias_rows(results)
        return _finished(figure)


def fidelity(sweep: Sweep) -> Figure:
    """Fidelity over the authorities that the first case draws: mature, in the window, and informal."""
    scenario = sweep.cases[0].scenario
    world = first_world(sweep.cases[0])
    first, last = (scenario.world.time.start + year for year in scenario.window_years)
    mature, informal = world.mature_fidelity, world.informal_fidelity
    reached = mature * maturity(world)[first:last].mean()
    uptake, gain = scenario.world.uptake, reached.mean() - informal.mean()
    with _styled():
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.add_subplot()
        months = f"In months\n{scenario.window[0]} to {scenario.window[1]}"
        rows = [
            ("Once mature", mature, BLUE),
            (months, reached, BLUE),
            ("Informal use\nelsewhere", informal, RED),
        ]
        for place, (_, values, colour) in enumerate(reversed(rows)):
            _ridge(axes, place, values, colour)
        axes.set_yticks([2.3, 1.3, 0.3], [label for label, _, _ in rows])
        axes.tick_params(axis="y", length=0, pad=7)
        axes.spines["left"].set_visible(False)
        axes.set(xlim=(0, 1), ylim=(-0.05, 3.05))
        axes.set_xlabel("Mean fidelity of an authority (0 none, 1 as intended)")
        axes.set_title(f"Fidelity of {scenario.world.authorities} authorities")
        figure.supxlabel(
            f"Dose gained: {reached.mean():.2f} − {informal.mean():.2f} = {gain:.2f} on average. "
            f"With {100 * uptake:.0f} % of families taking part, "
            f"about {100 * uptake * gain:.0f} % of the full effect.",
            fontsize=8,
            x=0.01,
            ha="left",
        )
        return _finished(figure)


def allocations(sweep: Sweep) -> Figure:
    """Who is treated and observed when: every design in the first replicate of the first case."""
    case = sweep.cases[0]
    drawn = first_allocations(case)
    rows = [_arms(allocation) for allocation in drawn.values()]
    heights = [max(sum(shown + (n > shown) + 0.6 for n, shown, _ in arms), 8) for arms in rows]
    with _styled():
        tall = 0.6 + sum(0.105 * height + 0.36 for height in heights)
        figure = Figure(figsize=(WIDTH, tall), layout="constrained")
        panels = figure.subplots(len(drawn), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for axes, (name, allocation), arms in zip(panels, drawn.items(), rows, strict=True):
            _allocation(axes, case.scenario, name, allocation, arms)
        panels[-1].set_xlabel("Years from the start")
        keys = [
            Patch(facecolor=BLUE, edgecolor=BLUE, label="with the framework, observed"),
            Patch(facecolor="white", edgecolor=INK, label="without, observed"),
            Patch(facecolor=PALE, edgecolor=PALE, label="with the framework, not observed"),
        ]
        figure.legend(handles=keys, loc="outside lower left", ncols=3, fontsize=7.5, handlelength=1.2)
        return _finished(figure)


@contextmanager
def _styled() -> Iterator[None]:
    with style.context(["default", STYLE]):
        yield


def _finished(figure: Figure) -> Figure:
    """Lay out once and for all, so that a figure saved twice is the same; no text is mathematics."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with catch_warnings():
        filterwarnings("ignore", "Glyph .* missing")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes in figure.axes:
            _part_labels(axes)
    return figure


def _written(figure: Figure, **how: Any) -> bytes:
    file = BytesIO()
    with _styled(), catch_warnings():
        filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(file, **how)
    return file.getvalue()


@dataclass(frozen=True)
class _Part:
    """A measure with the title and the end of its axis."""

    name: str
    title: str
    meaning: str
    end: float


@dataclass(frozen=True)
class _Curves:
    """Panels of lines over a varied setting; each line one answer in the cases that differ in it."""

    path: str
    panels: dict[str, dict[str, list[Judged]]]


def _curves_of(results: Results) -> _Curves | None:
    """How to draw a sweep as curves; None where rows serve better."""
    every = {path: {case.settings[path] for case in results.sweep.cases} for path in results.sweep.varied}
    varied = {path: found for path, found in every.items() if len(found) > 1}
    numeric = [path for path, found in varied.items() if all(type(value) in (int, float) for value in found)]
    if not numeric or len(varied) > 2:
        return None
    path = max(numeric, key=lambda p: len(varied[p]))
    other = next((p for p in varied if p != path), None)
    names = setting_names(results.sweep.varied)
    panels: dict[str, dict[str, list[Judged]]] = {}
    for judged in results.judged:
        if other is None:
            panel, line = plain(judged.design, 28), plain(judged.answer_name, 20)
        else:
            panel, line = name_of(judged), f"{names[other]} {setting_words(judged.case.settings[other])}"
        panels.setdefault(panel, {}).setdefault(line, []).append(judged)
    if len(panels) > MOST_PANELS or max(map(len, panels.values())) > MOST_LINES:
        return None
    return _Curves(path, panels)


def _grid(curves: _Curves, heights: Sequence[float]) -> tuple[Figure, list[list[Axes]]]:
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


def _rate_curves(results: Results, curves: _Curves, parts: Sequence[_Part]) -> Figure:
    figure, columns = _grid(curves, [max(part.end, 0.45) for part in parts])
    for number, ((panel, lines), stack) in enumerate(zip(curves.panels.items(), columns, strict=True)):
        for part, axes in zip(parts, stack, strict=True):
            _lines(axes, curves.path, lines, part.name, 100)
            axes.set_ylim(0, 103 * part.end)
            axes.yaxis.set_major_formatter(_percent())
            _alpha_line(axes, results, upright=False)
            if number % 3 == 0:
                axes.set_ylabel(part.title)
        stack[0].set_title(panel)
        stack[-1].set_xlabel(setting_names(results.sweep.varied)[curves.path])
    _key(figure, results)
    return figure


def _bias_curves(results: Results, curves: _Curves) -> Figure:
    figure, columns = _grid(curves, [1, 1, 1])
    parts = {"truth": "Truth", "bias": "Bias", "null_bias": "Bias where there\nis no effect"}
    ends: dict[str, list[Axes]] = {}
    for number, ((panel, lines), stack) in enumerate(zip(curves.panels.items(), columns, strict=True)):
        judged = next(iter(lines.values()))[0]
        factor, unit = _scale(judged)
        for (name, title), axes in zip(parts.items(), stack, strict=True):
            _lines(axes, curves.path, lines, name, factor)
            axes.axhline(0, color=INK, linewidth=0.7, zorder=1)
            axes.yaxis.set_major_locator(MaxNLocator(5))
            if number % 3 == 0:
                axes.set_ylabel(title)
        ends.setdefault(judged.study.design.outcome, []).extend(stack)
        stack[0].set_title(f"{panel}\n", pad=2)
        said = f"{plain(judged.study.design.outcome, 20)}, {unit}"
        stack[0].text(0, 1.04, said, transform=stack[0].transAxes, fontsize=7)
        stack[-1].set_xlabel(setting_names(results.sweep.varied)[curves.path])
    for group in ends.values():
        limits = np.array([axes.get_ylim() for axes in group])
        for axes in group:
            axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    _key(figure, results, kinds=("biased",), nominal=False)
    return figure


def _lines(axes: Axes, path: str, lines: dict[str, list[Judged]], name: str, factor: float) -> None:
    """One measure over the varied setting, a line for each answer, labelled at its end."""
    places: list[Value] = sorted({j.case.settings[path] for line in lines.values() for j in line})
    x_all = np.array(places, dtype=float)
    for (label, line), colour in zip(lines.items(), LINES, strict=False):
        x = np.array([float(judged.case.settings[path]) for judged in line])
        order = np.argsort(x, kind="stable")
        ordered = [line[place] for place in order]
        y = np.array([factor * measure(judged.tally, name).value for judged in ordered])
        bounds = factor * np.array([interval(judged, name) for judged in ordered])
        axes.plot(x[order], y, color=colour, linewidth=1.1, alpha=0.8, zorder=2)
        axes.vlines(x[order], bounds[:, 0], bounds[:, 1], color=colour, linewidth=1.1, zorder=2)
        for place, value, judged in zip(x[order], y, ordered, strict=True):
            axes.plot([place], [value], **_mark(judged, colour))
        if np.isfinite(y).any():
            end = np.flatnonzero(np.isfinite(y))[-1]
            axes.annotate(
                label,
                (1, y[end]),
                (4, 0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                color=colour,
                va="center",
                fontsize=7.5,
                annotation_clip=False,
                gid="end-label",
            )
    gap = 0.06 * (x_all[-1] - x_all[0])
    axes.set_xlim(x_all[0] - gap, x_all[-1] + gap)
    if len(x_all) <= 6 and np.diff(x_all).min(initial=np.inf) > 1.5 * gap:
        axes.set_xticks(x_all, [setting_words(place) for place in places])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))


def _part_labels(axes: Axes) -> None:
    """Move the labels at the ends of lines apart, as little as is needed (least squares, kept in order)."""
    from scipy.optimize import isotonic_regression

    labels = [text for text in axes.texts if text.get_gid() == "end-label"]
    if len(labels) < 2:
        return
    dots = axes.figure.dpi / 72
    at = np.array([axes.transData.transform(text.xy)[1] for text in labels]) / dots  # type: ignore[attr-defined]
    order = np.argsort(at, kind="stable")
    steps = 9.0 * np.arange(len(labels))
    wanted = isotonic_regression(at[order] - steps).x + steps
    wanted += max(axes.bbox.y0 / dots + 3 - wanted[0], 0)
    for place, number in enumerate(order):
        labels[number].set_position((4, wanted[place] - at[number]))


def _rows(results: Results) -> tuple[list[Judged | str], str]:
    """Answers with a line before each case, as many as can be read, and what was left out."""
    names, many = setting_names(results.sweep.varied), len(results.sweep.cases) > 1
    rows: list[Judged | str] = []
    last: Case | None = None
    for judged in results.judged[:MOST_ROWS]:
        if many and judged.case is not last:
            rows.append(case_words(judged.case, names))
        rows.append(judged)
        last = judged.case
    left_out = len(results.judged) - MOST_ROWS
    return rows, f"The first {MOST_ROWS} rows; {left_out} more are in the table." if left_out > 0 else ""


def _label_rows(axes: Axes, rows: Sequence[Judged | str]) -> None:
    """Names of answers at the left, a case above its answers in words of its own."""
    axes.set_ylim(len(rows) - 0.4, -0.6)
    answers = [(place, row) for place, row in enumerate(rows) if isinstance(row, Judged)]
    axes.set_yticks([place for place, _ in answers], [name_of(row, 24) for _, row in answers])
    axes.tick_params(axis="y", length=0, pad=7)
    axes.spines["left"].set_visible(False)
    for place, row in enumerate(rows):
        if isinstance(row, str):
            axes.text(
                0.01,
                place + 0.15,
                row,
                transform=axes.get_yaxis_transform(),
                color=GREY,
                va="center",
                fontweight="bold",
                fontsize=7.5,
                bbox={"pad": 1, "color": "white"},
            )
        else:
            axes.axhline(place, color=PALE, linewidth=0.5, zorder=0)


def _rate_rows(results: Results, parts: Sequence[_Part]) -> Figure:
    rows, note = _rows(results)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.26 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True, width_ratios=[part.end for part in parts])
    for axes, part in zip(panels, parts, strict=True):
        for place, row in enumerate(rows):
            if isinstance(row, Judged):
                colour = BLUE if row.headline.kind == "power" else RED
                value, (low, high) = measure(row.tally, part.name).value, interval(row, part.name)
                axes.hlines(place, 100 * low, 100 * high, color=colour, linewidth=1.3)
                axes.plot([100 * value], [place], **_mark(row, colour))
        axes.set_xlim(0, 100 * part.end)
        axes.xaxis.set_major_formatter(_percent())
        axes.xaxis.set_major_locator(
            MultipleLocator(50 if sum(p.end for p in parts) > 1.5 else 20 if part.end > 0.3 else 10)
        )
        axes.xaxis.set_minor_locator(MultipleLocator(10))
        axes.set_title(part.title, pad=14)
        axes.set_xlabel(part.meaning)
        _alpha_line(axes, results, upright=True)
    _label_rows(panels[0], rows)
    panels[0].set_zorder(1)
    panels[0].patch.set_visible(False)
    panels[1].tick_params(axis="y", left=False)
    panels[1].spines["left"].set_color(PALE)
    panels[1].spines["left"].set_visible(True)
    for place, row in enumerate(rows):
        if isinstance(row, Judged):
            said = _row_words(row)
            colour = BLUE if row.headline.kind == "power" else RED
            panels[1].annotate(
                said,
                (1, place),
                (6, 0),
                xycoords=panels[1].get_yaxis_transform(),
                va="center",
                textcoords="offset points",
                fontsize=7,
                color=colour,
                linespacing=1.2,
                annotation_clip=False,
            )
    _key(figure, results, nominal=False, note=note)
    return figure


def _row_words(judged: Judged) -> str:
    """The headline of an answer without what its row shows anyway."""
    said = headline_words(judged).split(", as if")
    words = {"biased": MEANINGS["biased"], "size_adjusted": said[0].split(" (size")[0]}
    return "\n".join([words.get(judged.headline.kind, said[0]), *["as if" + rest for rest in said[1:]]])


def _bias_rows(results: Results) -> Figure:
    rows, note = _rows(results)
    by_outcome: dict[str, list[Judged | str]] = {}
    case = ""
    for row in rows:
        if isinstance(row, str):
            case = row
            continue
        group = by_outcome.setdefault(row.study.design.outcome, [])
        if case and case not in group:
            group.append(case)
        group.append(row)
    lengths = [len(group) + 1.5 for group in by_outcome.values()]
    figure = Figure(figsize=(WIDTH, 1.0 + sum(0.29 * n + 0.35 for n in lengths)), layout="constrained")
    panels = figure.subplots(len(by_outcome), 1, squeeze=False, height_ratios=lengths)[:, 0]
    for axes, (outcome, group) in zip(panels, by_outcome.items(), strict=True):
        _bias_panel(axes, group)
        judged = next(row for row in group if isinstance(row, Judged))
        axes.set_title(plain(outcome))
        axes.set_xlabel(f"{_scale(judged)[1]}")
    keys = [
        _handle("o", INK, "white", "found where there is no effect"),
        _handle("o", INK, INK, "bias: estimate minus truth"),
        _handle("|", INK, INK, "truth"),
        Line2D([], [], color=INK, linewidth=1.3, label="95 % Monte Carlo interval"),
    ]
    figure.legend(handles=keys, loc="outside lower left", ncols=2, fontsize=7.5, handlelength=1.6)
    if note:
        figure.supxlabel(note, fontsize=7.5)
    return figure


def _bias_panel(axes: Axes, rows: Sequence[Judged | str]) -> None:
    """Truth, bias and what is found without effect, for the answers about one outcome."""
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    for place, row in enumerate(rows):
        if isinstance(row, str):
            continue
        factor, colour = _scale(row)[0], RED if row.headline.kind == "biased" else BLUE
        at = {name: factor * measure(row.tally, name).value for name in ("truth", "bias", "null_bias")}
        axes.plot([at["truth"]], [place], marker="|", color=INK, markersize=11, markeredgewidth=1.6)
        for name, shift, face in (("null_bias", -0.13, "white"), ("bias", 0.13, colour)):
            low, high = interval(row, name)
            axes.hlines(place + shift, factor * low, factor * high, color=colour, linewidth=1.2)
            axes.plot([at[name]], [place + shift], marker="o", color=colour, markerfacecolor=face)
        said = [
            f"{word} {format_measure(row, name).split(' (')[0]}"
            for word, name in (("truth", "truth"), ("bias", "bias"), ("without effect", "null_bias"))
        ]
        axes.annotate(
            f"{said[0]}; {said[1]};\n{said[2]}",
            (1, place),
            (6, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=colour,
        )
    axes.margins(x=0.06)
    _label_rows(axes, rows)


def _mark(judged: Judged, colour: str) -> dict[str, Any]:
    """The shape of an answer's mark: full only where its power is power."""
    kind = judged.headline.kind
    full = kind == "power"
    return {
        "marker": MARKS[kind],
        "color": colour,
        "markerfacecolor": colour if full else "white",
        "markersize": 5 if full else 6.5,
        "markeredgewidth": 1.0,
        "zorder": 3,
        "clip_on": False,
    }


def _handle(marker: str, colour: str, face: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker=marker, color=colour, markerfacecolor=face, label=label)


def _key(
    figure: Figure,
    results: Results,
    kinds: Sequence[str] = tuple(MEANINGS),
    *,
    nominal: bool = True,
    note: str = "",
) -> None:
    """What shapes and lines mean, of those that occur."""
    found = {judged.headline.kind for judged in results.judged}
    keys = [
        _handle(MARKS[kind], INK, INK if kind == "power" else "white", MEANINGS[kind])
        for kind in kinds
        if kind in found
    ]
    keys.append(Line2D([], [], color=INK, linewidth=1.3, label="95 % Monte Carlo interval"))
    if nominal:
        alphas = " or ".join(f"{100 * alpha:g} %" for alpha in _alphas(results))
        keys.append(Line2D([], [], color=GREY, linewidth=0.8, linestyle=DASHES, label=f"nominal {alphas}"))
    figure.legend(
        handles=keys,
        loc="outside lower left",
        ncols=3 if figure.get_figwidth() > 6 else 2,
        fontsize=7.5,
        handlelength=1.6,
    )
    if note:
        figure.supxlabel(note, fontsize=7.5)


def _alphas(results: Results) -> list[float]:
    return sorted({judged.tally.alpha for judged in results.judged})


def _alpha_line(axes: Axes, results: Results, *, upright: bool) -> None:
    """The nominal level of the test, as a line with its name."""
    for alpha in _alphas(results):
        said = f"nominal {100 * alpha:g} %"
        if upright:
            axes.axvline(100 * alpha, color=GREY, linewidth=0.8, linestyle=DASHES, zorder=1)
            axes.annotate(
                said,
                (100 * alpha, 1),
                (-2, 3),
                xycoords=axes.get_xaxis_transform(),
                fontsize=6.5,
                textcoords="offset points",
                color=GREY,
            )
        else:
            axes.axhline(100 * alpha, color=GREY, linewidth=0.8, linestyle=DASHES, zorder=1)


def _percent() -> FuncFormatter:
    return FuncFormatter(lambda value, _: f"{value:g} %")


def _bounded(value: float) -> float:
    return value if np.isfinite(value) else 0.0


def _scale(judged: Judged) -> tuple[float, str]:
    """Factor and unit of an outcome's effects."""
    outcome = judged.case.scenario.outcomes[judged.study.design.outcome]
    if isinstance(outcome, RecordedBinary):
        return 100.0, "percentage points"
    return 1.0, "the outcome's own units"


def _ridge(axes: Axes, place: int, values: np.ndarray, colour: str) -> None:
    """A distribution over 0 to 1 as bars on a base line, with its mean."""
    shares, edges = np.histogram(values, bins=50, range=(0, 1))
    shares = shares / shares.sum()
    axes.bar(
        edges[:-1],
        0.72 * shares / shares.max(),
        width=0.02,
        align="edge",
        bottom=place,
        color=colour,
        alpha=0.55,
        linewidth=0,
    )
    axes.axhline(place, color=PALE, linewidth=0.7, zorder=0)
    mean = float(values.mean())
    axes.vlines(mean, place, place + 0.78, color=INK, linewidth=1.1)
    axes.annotate(f"mean {mean:.2f}", (mean, place + 0.78), (3, -2), textcoords="offset points", fontsize=7.5)
    for peak in np.flatnonzero(shares > 0.25):
        where = edges[peak] + 0.01
        exact = float(np.median(values[(values >= edges[peak]) & (values <= edges[peak + 1])]))
        said = f"{100 * shares[peak]:.0f} % at {exact:.2g}" if exact else f"{100 * shares[peak]:.0f} % none"
        axes.annotate(
            said,
            (where, place + 0.72 * shares[peak] / shares.max()),
            (4, -7 if abs(where - mean) < 0.2 else -2),
            textcoords="offset points",
            fontsize=7,
            color=colour,
        )


Arm = tuple[int, int, tuple[int, int]]
"""Slots of an arm, how many of them are drawn, and when it starts and stops."""


def _arms(allocation: Allocation) -> list[Arm]:
    """The arms of the first replicate, earliest start first; a large one is cut short in the middle."""
    times = list(zip(allocation.start[0].tolist(), allocation.stop[0].tolist(), strict=True))
    found = sorted(set(times))
    whole, cut = max(20 // len(found), 4), max(12 // len(found), 2)
    return [(n, n if n <= whole else cut, when) for when in found if (n := times.count(when))]


def _allocation(
    axes: Axes, scenario: Scenario, name: str, allocation: Allocation, arms: Sequence[Arm]
) -> None:
    """The slots of one design over the years, and what it is in words."""
    study, time = scenario.studies[name], scenario.world.time
    observed = set(study.design.occasions(time)[0].tolist())
    top, ticks, labels = 0.0, [], []
    for n, shown, (start, stop) in arms:
        cut = shown // 2 if n > shown else shown
        for row in range(shown):
            y = top + row + (1.0 if row >= cut else 0.0)
            for year in range(time.occasions):
                treated, seen = start <= year < stop, year in observed
                if treated or seen:
                    edge = BLUE if treated and seen else INK if seen else PALE
                    face = BLUE if treated and seen else "white" if seen else PALE
                    box = Rectangle(
                        (year - time.start + 0.03, y + 0.12),
                        0.94,
                        0.76,
                        facecolor=face,
                        edgecolor=edge,
                        linewidth=0.6,
                    )
                    axes.add_patch(box)
        height = shown + (1.0 if n > shown else 0.0)
        if n > shown:
            middle = (min(observed) + max(observed) + 1) / 2 - time.start
            axes.text(
                middle,
                top + cut + 0.5,
                f"{n - shown} more",
                ha="center",
                va="center",
                fontsize=6.5,
                color=GREY,
                bbox={"pad": 0.5, "color": "white"},
            )
        ticks.append(top + height / 2)
        when = "" if start in (time.start, NEVER) else f" from year {start - time.start}"
        labels.append(f"{n} without" if start >= NEVER else f"{n} with framework{when}")
        top += height + 0.6
    axes.set(xlim=(-time.start - 0.1, time.years_after + 0.1), ylim=(max(top, 8), 0))
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(ticks, labels)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(axis="both", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title(plain(name))
    axes.annotate(
        "\n".join(_facts(scenario, study, allocation)),
        (1, 1),
        (10, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        fontsize=7.5,
        linespacing=1.4,
    )


def _facts(scenario: Scenario, study: Study, allocation: Allocation) -> list[str]:
    """What a design is, in a few short lines."""
    outcome, sample = scenario.outcomes[study.design.outcome], study.design.sample
    data = ["data: authorities' records"]
    if isinstance(outcome, SurveyedOutcome) and sample is not None:
        data = [
            f"survey: {sample.teams} teams × {sample.workers} workers ×",
            f"{sample.families} families in each authority",
        ]
    chance = "chance allocates" if getattr(allocation.law, "randomised", True) else "not allocated by chance"
    return [kind_of(study), f"outcome: {plain(study.design.outcome, 24)}", *data, chance]
