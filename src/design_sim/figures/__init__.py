"""Figures of a run: power beside size, bias, who is allocated to what, and fidelity.

To add one, write a function from `Results` to a finished figure, and give it a line in `FIGURES` and in
`CAPTIONS`.
"""

from collections.abc import Callable
from math import isfinite

from matplotlib.figure import Figure

from design_sim.figures.curves import bias_curves, curves_of, rate_curves
from design_sim.figures.dose import fidelity
from design_sim.figures.rows import bias_rows, rate_rows
from design_sim.figures.style import save, styled, to_png, to_svg
from design_sim.figures.timetable import allocations
from design_sim.results import Results
from design_sim.wording import interval


def power_and_size(results: Results) -> Figure:
    """Power beside size of every answer, on one scale: per inch the same per cent.

    Answers whose rejections are not power are marked by shape and words.
    """
    sizes = [high for judged in results.judged if isfinite(high := interval(judged, "size")[1])]
    ends = {"power": 1.0, "size": min(max(0.2, 1.1 * max(sizes, default=0.0)), 1.0)}
    with styled():
        curves = curves_of(results)
        return rate_curves(results, curves, ends) if curves else rate_rows(results, ends)


def bias(results: Results) -> Figure:
    """Bias of every answer, beside what it finds without any effect and the truth that it is judged by.

    What is found where there is no effect is bias of the study. The rest of the bias comes with the effect:
    the study answers another question than the one that it is judged by.
    """
    with styled():
        curves = curves_of(results)
        return bias_curves(results, curves) if curves else bias_rows(results)


FIGURES: dict[str, Callable[[Results], Figure]] = {
    "power_and_size": power_and_size,
    "bias": bias,
    "allocations": allocations,
    "fidelity": fidelity,
}
"""Every figure of a run, in the order in which they are shown."""
CAPTIONS: dict[str, str] = {
    "power_and_size": "Power beside size. Power is how often a study rejects when the framework has its "
    "stated effect, size how often when it has none; without trouble, size is at its nominal level. Hollow "
    "marks must not be read as power.",
    "bias": "Bias, beside the truth that it is measured against. What a study finds where there is no effect "
    "is its own bias. Where the bias differs from that, the study answers another question than the one that "
    "it is judged by, or sees less of the effect.",
    "allocations": "Who has the framework and who is observed, in the first replicate of the first case.",
    "fidelity": "Fidelity in the authorities drawn for the first case, and informal use of the framework in "
    "authorities outside a study. The difference is what a comparison can see.",
}


def figure(results: Results, name: str) -> Figure:
    """One of a run's figures: power_and_size, bias, allocations or fidelity.

    Raises
    ------
    ValueError
        If there is no figure of that name.
    """
    if name not in FIGURES:
        raise ValueError(f"{name!r} is not a figure; there are {', '.join(FIGURES)}")
    return FIGURES[name](results)


def draw_all(results: Results) -> dict[str, Figure]:
    """Every figure of a run by its name, in the order in which they are shown."""
    return {name: draw(results) for name, draw in FIGURES.items()}


__all__ = [
    "CAPTIONS",
    "FIGURES",
    "allocations",
    "bias",
    "draw_all",
    "figure",
    "fidelity",
    "power_and_size",
    "save",
    "to_png",
    "to_svg",
]
