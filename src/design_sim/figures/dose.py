"""How far practice follows the framework, and what of that a comparison can see."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from design_sim.arrays import Floats
from design_sim.estimands import occasions_in
from design_sim.figures.style import BLUE, INK, PALE, RED, WIDTH, finished, styled
from design_sim.reading import first_world
from design_sim.results import Results
from design_sim.world.fidelity import maturity
from design_sim.world.settings import WorldSettings


def fidelity(results: Results) -> Figure:
    """Fidelity over the authorities that the first case draws: mature, in the window, and informal."""
    case = results.sweep.cases[0]
    scenario, world = case.scenario, first_world(case)
    at = occasions_in(scenario.world.time, scenario.window)
    mature, informal = world.mature_fidelity, world.informal_fidelity
    reached = mature * maturity(world)[at].mean()
    uptake, gain = scenario.world.uptake, reached.mean() - informal.mean()
    rows = [
        ("Once mature", mature, BLUE),
        (f"In months\n{scenario.window[0]} to {scenario.window[1]}", reached, BLUE),
        ("Informal use\nelsewhere", informal, RED),
    ]
    with styled():
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.add_subplot()
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
            + _brings(scenario.world, 100 * uptake * gain),
            fontsize=8,
            x=0.01,
            ha="left",
        )
        return finished(figure)


def _brings(world: WorldSettings, percent: float) -> str:
    """What a gain of fidelity brings, where that is as simple as a product."""
    taking_part = f"With {100 * world.uptake:.0f} % of families taking part, "
    informal = world.informal.response if world.informal else None
    shapes = {world.response.shape, *([informal.shape] if informal else [])}
    if shapes == {"linear"} and world.rival is None:
        return f"{taking_part}about {percent:.0f} % of the full effect."
    return f"{taking_part}what it brings is not in proportion: see the truth of each answer."


def _ridge(axes: Axes, place: int, values: Floats, colour: str) -> None:
    """A distribution over 0 to 1 as bars on a base line, with its mean."""
    shares, edges = np.histogram(values, bins=51, range=(-0.01, 1.01))
    shares = shares / shares.sum()
    heights = 0.72 * shares / shares.max()
    axes.bar(
        edges[:-1],
        heights,
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
            (where, place + heights[peak]),
            (4, -7 if abs(where - mean) < 0.2 else -2),
            textcoords="offset points",
            fontsize=7,
            color=colour,
        )
