"""How every figure looks: fonts, colours, marks with their key, scales, and the files that it is written to.

Decision: an answer whose power may not be read as power has another shape of mark, and says so in words
beside it; colour repeats that and never says it alone. Bars are 95 % Monte Carlo intervals.

Decision: text stays text in the SVG, in DejaVu Sans or any other font: the fonts that take its place are
narrower, so that nothing overlaps. Names come from scenario files: none is read as mathematics, and the SVG
writer escapes them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from design_sim.results import Judged, Results
from design_sim.wording import outcome_of, unit_of

WIDTH = 7.0
INK, GREY, PALE = "#222222", "#6b6b6b", "#d9d9d9"
BLUE, RED = "#0072b2", "#c04f00"
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


@contextmanager
def styled() -> Iterator[None]:
    """The style of all figures, whatever a person's own matplotlibrc says."""
    with style.context(["default", STYLE]):
        yield


def finished(figure: Figure) -> Figure:
    """Lay out once and for all, so that a figure saved twice is the same; no text is mathematics."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with catch_warnings():
        filterwarnings("ignore", "Glyph .* missing")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


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


def _written(figure: Figure, **how: Any) -> bytes:
    file = BytesIO()
    with styled(), catch_warnings():
        filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(file, **how)
    return file.getvalue()


def mark(judged: Judged, colour: str) -> dict[str, Any]:
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


def handle(marker: str, face: str, label: str) -> Line2D:
    """A mark in a key."""
    return Line2D([], [], linestyle="none", marker=marker, color=INK, markerfacecolor=face, label=label)


def interval_handle() -> Line2D:
    """What the bars are, in a key."""
    return Line2D([], [], color=INK, linewidth=1.3, label="95 % Monte Carlo interval")


def key(figure: Figure, results: Results, kinds: Sequence[str] = tuple(MEANINGS), *, nominal: bool) -> None:
    """What shapes and lines mean, of those that occur; with the nominal level where that has no name yet."""
    found = {judged.headline.kind for judged in results.judged}
    keys = [
        handle(MARKS[kind], INK if kind == "power" else "white", MEANINGS[kind])
        for kind in kinds
        if kind in found
    ]
    keys.append(interval_handle())
    if nominal:
        alphas = " or ".join(f"{100 * alpha:g} %" for alpha in alphas_of(results))
        keys.append(Line2D([], [], color=GREY, linewidth=0.8, linestyle=DASHES, label=f"nominal {alphas}"))
    legend(figure, keys, 3 if figure.get_figwidth() > 6 else 2)


def legend(figure: Figure, keys: Sequence[Any], columns: int, length: float = 1.6) -> None:
    """A key below a figure; its marks as long as stated, in heights of its letters."""
    figure.legend(
        handles=list(keys), loc="outside lower left", ncols=columns, fontsize=7.5, handlelength=length
    )


def alphas_of(results: Results) -> list[float]:
    """The nominal levels of the tests of a run."""
    return sorted({judged.tally.alpha for judged in results.judged})


def percent() -> FuncFormatter:
    """Ticks in per cent, for an axis in per cent."""
    return FuncFormatter(lambda value, _: f"{value:g} %")


def scale(judged: Judged) -> tuple[float, str]:
    """Factor and unit of an outcome's effects."""
    unit = unit_of(outcome_of(judged))
    return unit.factor, unit.full


def beside(axes: Axes, y: float, said: str, **how: Any) -> None:
    """Words at the right of the axes, at a height of the data."""
    axes.annotate(
        said,
        (1, y),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        va="center",
        **how,
    )
