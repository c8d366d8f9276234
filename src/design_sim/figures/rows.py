"""A row for each case and answer: power beside size, and bias beside the truth."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from design_sim.figures.style import (
    BLUE,
    DASHES,
    GREY,
    INK,
    MEANINGS,
    PALE,
    RED,
    WIDTH,
    alphas_of,
    beside,
    finished,
    handle,
    interval_handle,
    key,
    legend,
    mark,
    percent,
    scale,
)
from design_sim.performance import measure
from design_sim.reading import headline_words
from design_sim.results import Judged, Results
from design_sim.sweep import Case
from design_sim.wording import case_words, format_measure, interval, name_of, plain, setting_names

MOST_ROWS = 36
AMONG = {"power": "effect as stated", "size": "no effect"}
"""Among which studies the rejections are counted that make a rate."""

Row = Judged | str
"""An answer, or the case that the answers below it belong to."""


def rate_rows(results: Results, ends: dict[str, float]) -> Figure:
    """Power beside size on one scale, its axes ending as stated; what is not power is said at the right."""
    rows, note = _rows(results)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.26 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True, width_ratios=list(ends.values()))
    for axes, (name, end) in zip(panels, ends.items(), strict=True):
        for place, row in enumerate(rows):
            if isinstance(row, Judged):
                _rate(axes, place, row, name)
        step = 50 if sum(ends.values()) > 1.5 else 20 if end > 0.3 else 10
        axes.set_xlim(0, 100 * end)
        axes.xaxis.set_major_formatter(percent())
        axes.xaxis.set_major_locator(MultipleLocator(step))
        axes.xaxis.set_minor_locator(MultipleLocator(10))
        axes.set_title(name.capitalize(), pad=14)
        axes.set_xlabel(f"studies that reject,\n{AMONG[name]}")
        _alpha_lines(axes, results)
    _label_rows(panels[0], rows)
    panels[0].set_zorder(1)
    panels[0].patch.set_visible(False)
    panels[1].tick_params(axis="y", left=False)
    panels[1].spines["left"].set_color(PALE)
    panels[1].spines["left"].set_visible(True)
    for place, row in enumerate(rows):
        if isinstance(row, Judged):
            how = {"fontsize": 7, "color": _rate_colour(row), "linespacing": 1.2, "annotation_clip": False}
            beside(panels[1], place, _row_words(row), xytext=(6, 0), **how)
    key(figure, results, nominal=False)
    if note:
        figure.supxlabel(note, fontsize=7.5)
    return finished(figure)


def bias_rows(results: Results) -> Figure:
    """Truth, bias and what is found without any effect; a panel for each outcome, in its own unit."""
    rows, note = _rows(results)
    by_outcome = _by_outcome(rows)
    lengths = [len(group) + 1.5 for group in by_outcome.values()]
    figure = Figure(figsize=(WIDTH, 1.0 + sum(0.29 * n + 0.35 for n in lengths)), layout="constrained")
    panels = figure.subplots(len(by_outcome), 1, squeeze=False, height_ratios=lengths)[:, 0]
    for axes, (outcome, group) in zip(panels, by_outcome.items(), strict=True):
        _bias_panel(axes, group)
        judged = next(row for row in group if isinstance(row, Judged))
        axes.set_title(plain(outcome))
        axes.set_xlabel(scale(judged)[1])
    keys = [
        handle("o", "white", "found where there is no effect"),
        handle("o", INK, "bias: estimate minus truth"),
        handle("|", INK, "truth"),
        interval_handle(),
    ]
    legend(figure, keys, 2)
    if note:
        figure.supxlabel(note, fontsize=7.5)
    return finished(figure)


def _rows(results: Results) -> tuple[list[Row], str]:
    """Answers with a line before each case, as many as can be read, and what was left out."""
    names, many = setting_names(results.sweep.varied), len(results.sweep.cases) > 1
    rows: list[Row] = []
    last: Case | None = None
    for judged in results.judged[:MOST_ROWS]:
        if many and judged.case is not last:
            rows.append(case_words(judged.case, names))
        rows.append(judged)
        last = judged.case
    left_out = len(results.judged) - MOST_ROWS
    return rows, f"The first {MOST_ROWS} rows; {left_out} more are in the table." if left_out > 0 else ""


def _by_outcome(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The same rows for each outcome, with the cases that have answers about it."""
    groups: dict[str, list[Row]] = {}
    case = ""
    for row in rows:
        if isinstance(row, str):
            case = row
            continue
        group = groups.setdefault(row.study.design.outcome, [])
        if case and case not in group:
            group.append(case)
        group.append(row)
    return groups


def _label_rows(axes: Axes, rows: Sequence[Row]) -> None:
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


def _rate(axes: Axes, place: int, judged: Judged, name: str) -> None:
    """A rate of an answer with its interval."""
    colour = _rate_colour(judged)
    value, (low, high) = measure(judged.tally, name).value, interval(judged, name)
    axes.hlines(place, 100 * low, 100 * high, color=colour, linewidth=1.3)
    axes.plot([100 * value], [place], **mark(judged, colour))


def _rate_colour(judged: Judged) -> str:
    return BLUE if judged.headline.kind == "power" else RED


def _row_words(judged: Judged) -> str:
    """The headline of an answer without what its row shows anyway."""
    said = headline_words(judged).split(", as if")
    words = {"biased": MEANINGS["biased"], "size_adjusted": said[0].split(" (size")[0]}
    return "\n".join([words.get(judged.headline.kind, said[0]), *["as if" + rest for rest in said[1:]]])


def _alpha_lines(axes: Axes, results: Results) -> None:
    """The nominal level of the test, as a line with its name."""
    for alpha in alphas_of(results):
        axes.axvline(100 * alpha, color=GREY, linewidth=0.8, linestyle=DASHES, zorder=1)
        axes.annotate(
            f"nominal {100 * alpha:g} %",
            (100 * alpha, 1),
            (-2, 3),
            xycoords=axes.get_xaxis_transform(),
            fontsize=6.5,
            textcoords="offset points",
            color=GREY,
        )


def _bias_panel(axes: Axes, rows: Sequence[Row]) -> None:
    """Truth, bias and what is found without effect, for the answers about one outcome."""
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    for place, row in enumerate(rows):
        if isinstance(row, Judged):
            _bias_row(axes, place, row)
    axes.margins(x=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _label_rows(axes, rows)


def _bias_row(axes: Axes, place: int, judged: Judged) -> None:
    factor, colour = scale(judged)[0], RED if judged.headline.kind == "biased" else BLUE
    at = {name: factor * measure(judged.tally, name).value for name in ("truth", "bias", "null_bias")}
    axes.plot([at["truth"]], [place], marker="|", color=INK, markersize=11, markeredgewidth=1.6)
    for name, shift, face in (("null_bias", -0.13, "white"), ("bias", 0.13, colour)):
        low, high = interval(judged, name)
        axes.hlines(place + shift, factor * low, factor * high, color=colour, linewidth=1.2)
        axes.plot([at[name]], [place + shift], marker="o", color=colour, markerfacecolor=face)
    said = {name: format_measure(judged, name).split(" (")[0] for name in at}
    words = f"truth {said['truth']}; bias {said['bias']};\nwithout effect {said['null_bias']}"
    beside(axes, place, words, xytext=(6, 0), fontsize=7, color=colour)
