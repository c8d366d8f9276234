"""Who is treated and who is observed, and when: the arms of every design over the years."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from design_sim.allocation import NEVER, Allocation
from design_sim.arrays import Ints
from design_sim.designs.base import assigned_unit, own_workers_of
from design_sim.figures.style import BLUE, GREY, INK, PALE, WIDTH, finished, legend, styled
from design_sim.plurals import counted
from design_sim.reading import first_allocations
from design_sim.results import Results
from design_sim.scenario import Scenario
from design_sim.study import Study
from design_sim.wording import PLURALS, arms_of, kind_of, plain
from design_sim.world.settings import Time


@dataclass(frozen=True)
class Arm:
    """Slots that start, stop and are observed together; of a large arm only some are drawn."""

    n: int
    shown: int
    start: int
    stop: int
    observed: frozenset[int]

    @property
    def height(self) -> int:
        """Lines that it takes, one of them for those left out."""
        return self.shown + (self.n > self.shown)


def allocations(results: Results) -> Figure:
    """Who is treated and observed when: every design in the first replicate of the first case."""
    case = results.sweep.cases[0]
    drawn = first_allocations(case)
    time = case.scenario.world.time
    rows = [_arms(allocation, case.scenario.studies[name], time) for name, allocation in drawn.items()]
    heights = [max(sum(arm.height + 0.6 for arm in arms), 8) for arms in rows]
    with styled():
        tall = 0.6 + sum(0.105 * height + 0.36 for height in heights)
        figure = Figure(figsize=(WIDTH, tall), layout="constrained")
        panels = figure.subplots(len(drawn), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for axes, (name, allocation), arms in zip(panels, drawn.items(), rows, strict=True):
            _panel(axes, case.scenario, name, arms, _noun(case.scenario.studies[name]))
            axes.annotate(
                "\n".join(_facts(case.scenario, case.scenario.studies[name], allocation)),
                (1, 1),
                (10, 0),
                xycoords="axes fraction",
                textcoords="offset points",
                va="top",
                fontsize=7.5,
                linespacing=1.4,
            )
        panels[-1].set_xlabel("Years from the start")
        keys = [
            Patch(facecolor=BLUE, edgecolor=BLUE, label="with the framework, observed"),
            Patch(facecolor="white", edgecolor=INK, label="without, observed"),
            Patch(facecolor=PALE, edgecolor=PALE, label="with the framework, not observed"),
        ]
        legend(figure, keys, 3, length=1.2)
        return finished(figure)


def _arms(allocation: Allocation, study: Study, time: Time) -> list[Arm]:
    """The arms of the first replicate, earliest start first; a large one is cut short in the middle."""
    found = _observed_alike(allocation, study, study.design.occasions(time)[0])
    whole, cut = max(20 // len(found), 4), max(12 // len(found), 2)
    return [Arm(n, n if n <= whole else cut, start, stop, seen) for start, stop, seen, n in found]


def _observed_alike(
    allocation: Allocation, study: Study, occasions: Ints
) -> list[tuple[int, int, frozenset[int], int]]:
    """Arms by start, stop and the occasions at which they are observed, and how many units each has."""
    if allocation.observed is None:
        seen = frozenset(occasions.tolist())
        return [(start, stop, seen, n) for start, stop, n in arms_of(study, allocation)]
    counts: dict[tuple[int, int, frozenset[int]], int] = {}
    starts, stops = allocation.start[0].tolist(), allocation.stop[0].tolist()
    for start, stop, seen_by in zip(starts, stops, allocation.observed[0], strict=True):
        arm = start, stop, frozenset(occasions[seen_by].tolist())
        counts[arm] = counts.get(arm, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (item[0][:2], min(item[0][2], default=0)))
    return [(*arm, n) for arm, n in ordered]


def _noun(study: Study) -> str:
    """What the lines of a design are, where they are not authorities."""
    unit = assigned_unit(study.design)
    return "" if unit == "authority" else f"{PLURALS[unit]} "


def _panel(axes: Axes, scenario: Scenario, name: str, arms: list[Arm], noun: str) -> None:
    """The slots of one design over the years, or the units below them."""
    time = scenario.world.time
    top, ticks, labels = 0.0, [], []
    for arm in arms:
        _arm(axes, arm, top, time)
        ticks.append(top + arm.height / 2)
        year = (arm.start - time.start) / time.per_year
        when = "" if arm.start in (time.start, NEVER) else f" from year {year:g}"
        labels.append(
            f"{arm.n} {noun}without" if arm.start >= NEVER else f"{arm.n} {noun}with framework{when}"
        )
        top += arm.height + 0.6
    axes.set(xlim=(-time.years_before - 0.1, time.years_after + 0.1), ylim=(max(top, 8), 0))
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(ticks, labels)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(axis="both", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title(plain(name))


def _arm(axes: Axes, arm: Arm, top: float, time: Time) -> None:
    """The slots of one arm, a box for each occasion that is treated or observed."""
    wide, gap = 1 / time.per_year, 0.03 / time.per_year
    cut = arm.shown // 2 if arm.n > arm.shown else arm.shown
    for row in range(arm.shown):
        y = top + row + (1.0 if row >= cut else 0.0)
        for occasion in range(time.occasions):
            treated, seen = arm.start <= occasion < arm.stop, occasion in arm.observed
            if treated or seen:
                edge = BLUE if treated and seen else INK if seen else PALE
                face = BLUE if treated and seen else "white" if seen else PALE
                corner = ((occasion - time.start) * wide + gap, y + 0.12)
                box = Rectangle(corner, wide - 2 * gap, 0.76, facecolor=face, edgecolor=edge, linewidth=0.6)
                axes.add_patch(box)
    if arm.n > arm.shown:
        axes.text(
            ((min(arm.observed) + max(arm.observed) + 1) / 2 - time.start) * wide,
            top + cut + 0.5,
            f"{arm.n - arm.shown} more",
            ha="center",
            va="center",
            fontsize=6.5,
            color=GREY,
            bbox={"pad": 0.5, "color": "white"},
        )


def _facts(scenario: Scenario, study: Study, allocation: Allocation) -> list[str]:
    """What a design is, in a few short lines."""
    outcome, sample = scenario.outcomes[study.design.outcome], study.design.sample
    data = ["data: authorities' records"]
    if outcome.source == "survey" and sample is not None:
        data = [
            f"survey: {counted(sample.teams, 'team')} × {counted(sample.workers, 'worker')} ×",
            f"{counted(sample.families, 'family', 'families')} in each authority",
        ]
        if others := own_workers_of(study.design):
            data.append(f"and {others} with a worker of their own")
    chance = "chance allocates" if getattr(allocation.law, "randomised", True) else "not allocated by chance"
    return [kind_of(study), f"outcome: {plain(study.design.outcome, 24)}", *data, chance]
