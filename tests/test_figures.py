"""Figures: what they name, how they mark what is not power, and that their files are the same every time."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from design_sim.estimators.base import Estimates, Status
from design_sim.figures import (
    CAPTIONS,
    FIGURES,
    allocations,
    bias,
    draw_all,
    fidelity,
    power_and_size,
    save,
    to_svg,
)
from design_sim.figures import figure as figure_of
from design_sim.figures.style import BLUE, MARKS, MEANINGS, PALE
from design_sim.results import Results, run
from design_sim.sweep import parse
from design_sim.tally import Tally

_DRAWN: dict[int, tuple[Results, dict[str, Figure]]] = {}


def drawn_of(results: Results) -> dict[str, Figure]:
    """The figures of a run, drawn once for all tests that look at them."""
    if id(results) not in _DRAWN:
        _DRAWN[id(results)] = results, draw_all(results)
    return _DRAWN[id(results)][1]


WORLD = """
[world]
authorities = 30
[world.informal]
[outcomes.rereferral]
kind = "binary"
source = "record"
mean = 0.209
effect = -0.03
[outcomes.engagement]
kind = "continuous"
source = "survey"
sd = 16.8
effect = 5.0
"""
DESIGNS = """
[designs.pilots]
kind = "difference_in_differences"
outcome = "rereferral"
adopters = 9
[designs.pilots.answers.change]
estimator = "cluster_means"
change = true
estimand = "offered"
[designs.contrast]
kind = "contrast"
outcome = "engagement"
pilots = 2
comparisons = 2
sample = {teams = 5, workers = 4, families = 3}
[designs.contrast.answers.means]
estimator = "cluster_means"
estimand = "offered"
[designs.contrast.answers.exact]
estimator = "permutation"
estimand = "full_fidelity"
"""
ONE = '\n[sweep]\n"designs.pilots.adopters" = [12, 4, 9]\n'
SWEEPS = {
    "one case": "",
    "a numeric setting": ONE,
    "two settings": ONE + '"designs.contrast.pilots_by" = ["chance", "rating"]\n',
    "three settings": ONE
    + '"designs.contrast.pilots_by" = ["chance", "rating"]\n"designs.contrast.pilots" = [1, 2]\n',
}
ANSWERS = ("change", "means", "exact")


def texts(figure: Figure) -> str:
    """Everything that a figure says."""
    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())


@pytest.fixture(scope="module")
def one() -> Results:
    return run(parse(WORLD + DESIGNS, "one"), 32)


def as_if_run(one: Results, text: str) -> Results:
    """A scenario of the same designs, whose every case found what one run did."""
    sweep = replace(parse(text, "x"), replicates=one.sweep.replicates)
    keys = [
        (name, answer) for name, study in sweep.cases[0].scenario.studies.items() for answer in study.answers
    ]
    return Results(sweep, [dict(zip(keys, one.tallies[0].values(), strict=True)) for _ in sweep.cases])


def unrun(text: str) -> Results:
    """A scenario without any numbers."""
    return Results(parse(text, "x"), [])


@pytest.mark.parametrize(
    ("draw", "sweep"),
    [
        (power_and_size, "one case"),
        (power_and_size, "a numeric setting"),
        (power_and_size, "three settings"),
        (bias, "one case"),
        (bias, "a numeric setting"),
        (bias, "two settings"),
    ],
)
def test_every_design_and_answer_is_named(
    one: Results, draw: Callable[[Results], Figure], sweep: str
) -> None:
    """An answer that a figure leaves out would be taken for one that does not exist."""
    said = texts(draw(as_if_run(one, WORLD + DESIGNS + SWEEPS[sweep])))
    for name in ("pilots", "contrast", *ANSWERS):
        assert name in said
    assert "95 % Monte Carlo interval" in said


def test_power_stands_beside_size_with_the_nominal_level(one: Results) -> None:
    """Power alone misleads wherever size is not what it should be."""
    figure = drawn_of(one)["power_and_size"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Power", "Size"]
    assert texts(figure).count("nominal 5 %") == 2
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["studies that reject,\neffect as stated", "studies that reject,\nno effect"]


def tally(power: float, size: float, null_bias: float, p_floor: float) -> Tally:
    """A hundred analyses with a stated power, size, bias and smallest p-value."""

    def estimates(share: float, mean: float) -> Estimates:
        values = mean + 0.01 * np.tile([-1.0, 1.0], 50)
        p_value = np.where(np.arange(100) < 100 * share, 0.001, 0.5)
        return Estimates(
            values, np.full(100, 0.01), np.full(1, 8.0), p_value, values - 0.02, values + 0.02,
            np.full(1, p_floor), np.full(1, Status.OK, dtype=np.int64),
        )  # fmt: skip

    return Tally.of(estimates(power, null_bias), estimates(size, null_bias), np.zeros(100), 0.05)


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        ("biased", tally(0.9, 0.5, 0.02, 0.0)),
        ("size_adjusted", tally(0.9, 0.2, 0.0, 0.0)),
        ("cannot_reject", tally(0.0, 0.0, 0.0, 1 / 3)),
    ],
)
def test_what_is_not_power_has_a_hollow_shape_of_its_own_and_words(
    one: Results, kind: str, of: Tally
) -> None:
    """Colour alone is lost in print and on one reader in twelve."""
    sweep = replace(one.sweep, replicates=100)
    figure = power_and_size(Results(sweep, [dict.fromkeys(one.tallies[0], of)]))
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() in MARKS.values()]
    assert {line.get_marker() for line in marks} == {MARKS[kind]}
    assert all(line.get_markerfacecolor() == "white" for line in marks)
    said = texts(figure)
    assert MEANINGS[kind] in said
    assert MEANINGS["power"] not in said
    words = {
        "biased": "biased: not power",
        "size_adjusted": "size-adjusted power",
        "cannot_reject": "cannot reject:",
    }
    assert words[kind] in said


def test_a_run_in_which_every_analysis_failed_can_be_drawn(one: Results) -> None:
    """Numbers that are not known leave gaps, not tracebacks."""
    nothing = np.full(16, np.nan)
    failed = Estimates(
        nothing, nothing, nothing, nothing, nothing, nothing, np.zeros(1),
        np.full(16, Status.SINGULAR, dtype=np.int64),
    )  # fmt: skip
    results = Results(
        one.sweep, [dict.fromkeys(one.tallies[0], Tally.of(failed, failed, np.zeros(16), 0.05))]
    )
    assert "no result" in texts(power_and_size(results))
    assert "not known" in texts(bias(results))


def test_bias_is_drawn_on_the_scale_of_each_outcome(one: Results) -> None:
    """Risks go in percentage points; scores do not, and the two cannot share an axis."""
    figure = drawn_of(one)["bias"]
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert panels["rereferral"].get_xlabel() == "percentage points"
    assert panels["engagement"].get_xlabel() == "the outcome's own units"
    pilots = next(judged for judged in one.judged if judged.design == "pilots")
    found = pilots.tally.stated.mean_of("error")
    drawn = [line.get_xdata() for line in panels["rereferral"].get_lines()]
    assert any(np.allclose(np.asarray(x, dtype=float), 100 * found) for x in drawn)
    said = texts(figure)
    assert "truth" in said
    assert "found where there is no effect" in said


def test_curves_go_through_the_values_of_the_varied_setting(one: Results) -> None:
    """The power that is drawn at 9 adopters is that of the case with 9 adopters."""
    asked = as_if_run(one, WORLD + DESIGNS + ONE)
    powers = {12: 0.6, 4: 0.2, 9: 0.5}
    tallies = [dict.fromkeys(one.tallies[0], tally(power, 0.05, 0.0, 0.0)) for power in powers.values()]
    axes = power_and_size(Results(asked.sweep, tallies)).axes[0]
    curve = next(line for line in axes.get_lines() if len(np.asarray(line.get_xdata())) == 3)
    assert list(np.asarray(curve.get_xdata())) == [4, 9, 12]
    np.testing.assert_allclose(np.asarray(curve.get_ydata()), [100 * powers[n] for n in (4, 9, 12)])


def test_labels_at_the_ends_of_lines_do_not_overlap(one: Results) -> None:
    """Two answers of one design often have nearly the same power."""
    figure = power_and_size(as_if_run(one, WORLD + DESIGNS + ONE))
    several = 0
    for axes in figure.axes:
        ends = [text for text in axes.texts if text.get_gid() == "end-label"]
        boxes = sorted((text.get_window_extent() for text in ends), key=lambda box: box.y0)
        assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))
        several += len(boxes) > 1
    assert several == 2


def test_fidelity_shows_mature_reached_and_informal(one: Results) -> None:
    """What a comparison can see is the difference between what is reached and informal use."""
    said = texts(drawn_of(one)["fidelity"])
    for words in ("Once mature", "In months\n12 to 24", "Informal use", "Dose gained", "mean 0.60"):
        assert words in said


def test_fidelity_without_variation_or_informal_use_can_be_drawn() -> None:
    """A world in which every authority is the same has one number for all."""
    world = WORLD.replace("[world.informal]", "[world.fidelity]\nauthority_sd = 0.0\nworker_sd = 0.0")
    said = texts(fidelity(unrun(world + DESIGNS)))
    assert "100 % none" in said
    assert "100 % at 0.6" in said


def test_allocations_say_who_is_compared_on_what_and_how_it_came_about() -> None:
    """A design is read off its arms, its data and whether chance decided."""
    trial = '\n[designs.trial]\nkind = "cluster_rct"\noutcome = "rereferral"\nauthorities = 20\n'
    trial += '[designs.trial.answers.a]\nestimator = "cluster_means"\nestimand = "offered"\n'
    said = texts(allocations(unrun(WORLD + DESIGNS + trial)))
    for words in (
        "9 with framework",
        "21 without",
        "2 with framework",
        "10 with framework",
        "survey: 5 teams × 4 workers ×",
        "3 families in each authority",
        "data: authorities' records",
        "not allocated by chance",
        "chance allocates",
        "difference-in-differences",
        "cluster randomised trial",
    ):
        assert words in said


def test_a_large_arm_is_cut_short_and_says_so() -> None:
    """142 rows cannot be told apart on a page; their number can."""
    world = WORLD.replace("authorities = 30", "authorities = 151")
    figure = allocations(unrun(world + DESIGNS))
    assert "142 without" in texts(figure)
    assert "136 more" in texts(figure)
    boxes = [box for box in figure.axes[0].patches if box.get_height() < 1]
    assert len(boxes) == (9 + 6) * 4


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ("batches = 2\nbetween_batches = 4\nauthorities = 4", ["WTT", "WWT", "    WTT", "    WWT"]),
        ("batches = 2\nbetween_batches = 1\nauthorities = 4", ["WTT", "WWT", " WTT", " WWT"]),
        ("authorities = 2\nafter = 2\ntransition = 1", ["W-TT", "WW-T"]),
    ],
)
def test_allocations_show_each_slot_where_it_is_observed(settings: str, lines: list[str]) -> None:
    """Batches over their own occasions, and none in transition; boxes are blue where treated and observed."""
    world, _, _ = WORLD.partition("[outcomes.engagement]")
    world = world.replace("[world]", "[world]\ntime = {years_before = 1, years_after = 8}", 1)
    wedge = f'\n[designs.wedge]\nkind = "stepped_wedge"\noutcome = "rereferral"\nsteps = 2\n{settings}\n'
    wedge += '[designs.wedge.answers.a]\nestimator = "two_way_fixed_effects"\nestimand = "offered"\n'
    (axes,) = allocations(unrun(world + wedge)).axes
    rows: dict[float, dict[int, str]] = {}
    for box in axes.patches:
        if isinstance(box, Rectangle) and box.get_height() < 1:
            kind = {BLUE: "T", "#ffffff": "W", PALE: "-"}[to_hex(box.get_facecolor())]
            rows.setdefault(box.get_y(), {})[round(box.get_x() - 0.03) + 1] = kind
    drawn = ["".join(row.get(at, " ") for at in range(9)) for _, row in sorted(rows.items())]
    assert [line.rstrip("-") for line in drawn] == lines


def test_files_are_the_same_every_time(one: Results, tmp_path: Path) -> None:
    """A figure in a repository must not change where nothing changed."""
    drawn = drawn_of(one)["power_and_size"]
    first = save(drawn, tmp_path / "a.b")
    second = save(power_and_size(one), tmp_path / "again.svg")
    assert [file.name for file in first] == ["a.b.svg", "a.b.png"]
    assert [file.name for file in second] == ["again.svg", "again.png"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    assert to_svg(drawn) == first[0].read_bytes()


def test_names_from_a_file_are_only_ever_text(one: Results) -> None:
    """A name with markup, mathematics, or letters that no font has must be drawn as it is written."""
    nasty = "<script>alert(1)</script>", "$\\\\frac{$ & $x_1$", "漢字\\u0001"
    text = WORLD + DESIGNS
    for old, new in zip(("pilots", "change", "contrast"), nasty, strict=True):
        text = text.replace(f"designs.{old}", f'designs."{new}"').replace(
            f"answers.{old}", f'answers."{new}"'
        )
    results = as_if_run(one, text)
    for name in ("power_and_size", "bias", "allocations"):
        figure = drawn_of(results)[name]
        svg = to_svg(figure).decode()
        root = ElementTree.fromstring(svg)
        assert not [element for element in root.iter() if element.tag.endswith("script")]
        assert "<script" not in svg
        said = "".join(root.itertext())
        assert "<script>alert(1)</s" in said
    assert "$\\frac{$ & $x_1$" in texts(drawn_of(results)["power_and_size"])


def test_a_user_s_own_style_does_not_change_a_figure(one: Results) -> None:
    """The same run gives the same file, whatever a person's matplotlibrc holds."""
    import matplotlib

    plainly = to_svg(drawn_of(one)["power_and_size"])
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "svg.fonttype": "path"}):
        assert to_svg(power_and_size(one)) == plainly


def test_marks_in_the_key_are_those_of_the_figure() -> None:
    """A key that showed another shape would name the wrong answers."""
    assert len(set(MARKS.values())) == len(MARKS) == len(MEANINGS)
    assert all(marker in Line2D.markers for marker in MARKS.values())


def test_every_figure_has_a_caption_and_its_name_gives_it() -> None:
    """What is drawn is explained, and an unknown name is told the known ones."""
    assert list(FIGURES) == list(CAPTIONS)


def test_an_unknown_figure_is_refused(one: Results) -> None:
    """The message names those that there are."""
    with pytest.raises(ValueError, match="'pie' is not a figure; there are power_and_size, bias"):
        figure_of(one, "pie")
