"""Attained power as people see it: a table, a figure, the sentences that read it, and files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from design_sim.arrays import Floats
from design_sim.attained import Attained, Spread
from design_sim.figures.style import BLUE, GREY, INK, WIDTH, finished, percent, save, styled
from design_sim.sweep import Sweep
from design_sim.wording import number_words, plain, significant

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (
    "study",
    "answer",
    "power",
    "SD of power",
    "lowest tenth below",
    "highest tenth above",
    "size",
    "SD of size",
    "highest size tenth above",
)
MOST_ROWS = 12
"""Answers that one figure holds."""
LEAST = 0.005
"""A standard deviation between allocations below which there is nothing to say of it."""


def frame(found: Sequence[Attained]) -> "DataFrame":
    """Every allocation of every answer in long form.

    Columns: study, answer, allocation (numbered from 1), treated_share (of the observed families), with_time
    (correlation of being treated with the occasion), power, size, analysed and null_analysed (replicates
    whose analysis did not fail), replicates.
    """
    from pandas import DataFrame, concat

    return concat(
        [
            DataFrame(
                {
                    "study": of.study,
                    "answer": of.answer,
                    "allocation": np.arange(1, of.power.size + 1),
                    "treated_share": of.treated_share,
                    "with_time": of.with_time,
                    "power": of.power,
                    "size": of.size,
                    "analysed": of.analysed.astype(np.int64),
                    "null_analysed": of.null_analysed.astype(np.int64),
                    "replicates": of.asked,
                }
            )
            for of in found
        ],
        ignore_index=True,
    )


def table(found: Sequence[Attained], seed: int) -> "DataFrame":
    """How power and size are distributed, in words: each with its Monte Carlo standard error."""
    from pandas import DataFrame

    rows = []
    for of in found:
        power, size = of.spread_of_power(seed), of.spread_of_size(seed)
        of_power = (power.mean, power.between, power.quantiles[0], power.quantiles[-1])
        said = (*of_power, size.mean, size.between, size.quantiles[-1])
        rows.append((plain(of.study, 28), plain(of.answer, 28), *map(_percent, said)))
    return DataFrame(rows, columns=COLUMNS)


def sentences(found: Sequence[Attained], seed: int) -> list[str]:
    """What the draw of the allocation does to each answer."""
    return [sentence(of, seed) for of in found]


def sentence(of: Attained, seed: int) -> str:
    """What the draw of the allocation does to an answer's power, and what the unlucky ones have."""
    name, power, size = (
        f"{plain(of.study)}: {plain(of.answer)}",
        of.spread_of_power(seed),
        of.spread_of_size(seed),
    )
    if not np.isfinite(power.mean[0]):
        return f"{name}: no allocation could be analysed."
    drawn = f"over {of.power.size:,} allocations"
    said = f"{name} has a power of {_rate(power.mean)} on average {drawn}"
    if not _told(power):
        said += "; no difference between them can be told from Monte Carlo error."
    else:
        low, _, high = power.quantiles
        said += (
            f"; the tenth of them with the least power has below {_rate(low)}, that with the most above "
            f"{_rate(high)}. {_reason(of)}"
        )
    said = said.rstrip() + f" Its size is {_rate(size.mean)} on average"
    if _told(size):
        said += f", and above {_rate(size.quantiles[-1])} in a tenth of them"
    return f"{said}."


def figure(found: Sequence[Attained], seed: int) -> Figure:
    """Power of every allocation, and beside it what in the allocation goes with it."""
    shown = found[:MOST_ROWS]
    with styled():
        drawing = Figure(figsize=(WIDTH, 0.9 + 1.55 * len(shown)), layout="constrained")
        axes = drawing.subplots(len(shown), 2, squeeze=False, width_ratios=(3, 2))
        for (left, right), of in zip(axes, shown, strict=True):
            _distribution(left, of, of.spread_of_power(seed))
            _against(right, of)
        axes[-1, 0].set_xlabel("power of an allocation, Monte Carlo error taken out")
        drawing.supxlabel(
            "Each mark is an allocation that the trial could draw. Line: the mean, which is what is usually "
            "called power.",
            fontsize=7.5, x=0.01, ha="left",
        )  # fmt: skip
        return finished(drawing)


def write(found: Sequence[Attained], seed: int, folder: Path) -> None:
    """Write allocations.csv and .parquet, allocations.svg and .png, and allocations.txt (sentences)."""
    from design_sim.store import write_table

    write_table(frame(found), folder / "allocations.parquet")
    save(figure(found, seed), folder / "allocations")
    text = "\n".join(sentences(found, seed))
    (folder / "allocations.txt").write_text(text + "\n", encoding="utf-8")


def folder_name(sweep: Sweep) -> str:
    """Name of the folder that is written to."""
    return f"{sweep.name}-allocations"


def _distribution(axes: Axes, of: Attained, spread: Spread) -> None:
    """A mark for each allocation, those of the same power above each other."""
    axes.set_title(f"{plain(of.study, 24)}: {plain(of.answer, 24)}")
    axes.xaxis.set_major_formatter(percent())
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    power = of.power[np.isfinite(of.power)]
    if power.size < 2:
        axes.set_xlim(0, 100)
        return
    total = power.std(ddof=1)
    kept = spread.between[0] / total if total > 0 else 0.0
    values = 100 * (spread.mean[0] + kept * (power - power.mean()))
    centre, width = 100 * spread.mean[0], max(np.ptp(values) / 40, 0.25)
    place = np.round((values - centre) / width).astype(np.int64)
    height = np.zeros(values.size)
    for at in np.unique(place):
        same = np.flatnonzero(place == at)
        height[same] = np.arange(same.size)
    axes.plot(centre + place * width, height, "o", color=BLUE, markersize=2.6, alpha=0.8, markeredgewidth=0)
    axes.axvline(centre, color=INK, linewidth=0.9)
    middle = (values.min() + values.max()) / 2
    half = max(np.ptp(values) / 2 * 1.15, 2.5)
    axes.set_xlim(middle - half, middle + half)
    axes.set_ylim(-1, max(height.max() * 1.1, 8))


def _against(axes: Axes, of: Attained) -> None:
    """Power as simulated against the characteristic of the allocation that belongs to the design."""
    x, label = _characteristic(of)
    axes.plot(x, 100 * of.power, "o", color=GREY, markersize=2.4, alpha=0.7, markeredgewidth=0)
    axes.yaxis.set_major_formatter(percent())
    axes.set_xlabel(label, fontsize=7.5)
    axes.set_ylabel("power as simulated", fontsize=7.5)


def _characteristic(of: Attained) -> tuple[Floats, str]:
    """Correlation with time in a study in which it differs, otherwise how unequal the arms are."""
    if np.isfinite(of.with_time).all() and np.ptp(of.with_time) > 1e-9:
        return of.with_time, "correlation of treatment with time"
    return np.abs(100 * of.treated_share - 50), "share of families treated: points off one half"


def _reason(of: Attained) -> str:
    """What the power of allocations goes with, where that is beyond chance."""
    x, _ = _characteristic(of)
    known = np.isfinite(of.power)
    if known.sum() < 10 or np.ptp(x[known]) <= 1e-9:
        return ""
    correlation = float(np.corrcoef(x[known], of.power[known])[0, 1])
    if abs(np.arctanh(correlation)) * np.sqrt(known.sum() - 3) < 3:
        return ""
    staggered = x is of.with_time
    what = "the closer treatment goes with time" if staggered else "the more unequal arms are in families"
    return (
        f"It is {'lower' if correlation < 0 else 'higher'} {what} (correlation {number_words(correlation)}). "
    )


def _told(spread: Spread) -> bool:
    """Whether a spread between allocations is beyond chance."""
    return spread.p_alike < 0.01 and spread.between[0] >= LEAST


def _rate(value: tuple[float, float]) -> str:
    return f"{number_words(100 * value[0], 100 * value[1])} %"


def _percent(value: tuple[float, float]) -> str:
    if not np.isfinite(value[0]):
        return "not known"
    return f"{number_words(100 * value[0], 100 * value[1])} % ({significant(100 * value[1], 1)})"
