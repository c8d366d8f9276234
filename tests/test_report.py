"""The report: one page that holds everything, asks for nothing, and cannot be made to run anything."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from design_sim.cautions import cautions
from design_sim.figures import FIGURES
from design_sim.performance import MEASURES
from design_sim.reading import reading
from design_sim.report import aim, report
from design_sim.results import Results, run
from design_sim.sweep import parse

SCENARIO = """# Would it be seen?
seed = 7
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
[designs.trial]
kind = "cluster_rct"
outcome = "rereferral"
authorities = 20
[designs.trial.answers.means]
estimator = "cluster_means"
estimand = "offered"
average = "national"
[designs.trial.answers.whole]
estimator = "cluster_means"
estimand = "full_fidelity"
[designs.contrast]
kind = "contrast"
outcome = "engagement"
pilots = 2
comparisons = 2
sample = {teams = 5, workers = 4, families = 3}
[designs.contrast.answers.exact]
estimator = "permutation"
estimand = "offered"
"""


class Page(HTMLParser):
    """What a browser would find in a page: tags with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += f"{data} " if data.isspace() else data


@pytest.fixture(scope="module")
def results() -> Results:
    return run(parse(SCENARIO, "next", {"designs.trial.authorities": 24}), 64)


def as_if_run(results: Results, text: str, name: str) -> Results:
    """A scenario of the same designs, whose every case found what one run did."""
    sweep = replace(parse(text, name), replicates=results.sweep.replicates)
    keys = [
        (name, answer) for name, study in sweep.cases[0].scenario.studies.items() for answer in study.answers
    ]
    return Results(sweep, [dict(zip(keys, results.tallies[0].values(), strict=True)) for _ in sweep.cases])


@pytest.fixture(scope="module")
def html(results: Results) -> str:
    return report(results)


def test_the_page_holds_what_a_reader_needs(results: Results, html: str) -> None:
    """Aim, reading, designs, questions, every measure and how it was made, in one file."""
    text = " ".join(Page(html).text.replace("\N{NO-BREAK SPACE}", " ").split())
    assert "Would it be seen?" in text
    assert reading(results) in text
    for words in (
        "trial: cluster randomised trial",
        "contrast: contrast study",
        "12 authorities with the framework and 12 without it (chance decides which), of 30.",
        "2 authorities with the framework and 2 without it (not decided by chance), of 30.",
        "surveyed: 3 families of each of 4 workers in each of 5 teams of an authority",
        "Choose it where authorities will let chance decide.",
        "averaged over all authorities, each family counting alike, in months 12 to 24 after the start",
        "−3 percentage points on rereferral",
        "Seed 7 Replicates 64 Level",
        "designs.trial.authorities = 24",
        "[designs.trial.answers.means]",
        *(name.replace("_", " ") for name in MEASURES),
    ):
        assert words in text


def test_the_page_asks_nothing_of_the_network(html: str) -> None:
    """A page that is attached to a bid, or opened behind a wall, must look and stay the same."""
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "img", "object", "embed", "form", "base"}
    for _, attributes in page.tags:
        for key in ("href", "xlink:href", "src"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:,"))
        assert not [key for key in attributes if key.startswith("on")]
    addresses = set(re.findall(r'https?://[^"\s<)]*', html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_ids_are_unique_and_every_reference_has_its_target(html: str) -> None:
    """Figures in one page must not take each other's shapes."""
    ids = [value for _, attributes in Page(html).tags if (value := attributes.get("id"))]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', html))
    assert used <= set(ids)
    assert used


def test_figures_have_titles_and_tables_have_headers(html: str) -> None:
    """A screen reader says what a figure shows, and which answer a number belongs to."""
    page = Page(html)
    figures = [attributes for tag, attributes in page.tags if tag == "svg"]
    ids = {attributes.get("id") for tag, attributes in page.tags if tag == "title"}
    assert len(figures) == 4
    assert all(figure["role"] == "img" and figure["aria-labelledby"] in ids for figure in figures)
    assert [attributes["lang"] for tag, attributes in page.tags if tag == "html"] == ["en-GB"]
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")


def test_the_same_run_gives_the_same_page(results: Results, html: str) -> None:
    """No date, no random id: a page changes when its numbers do."""
    assert report(run(parse(SCENARIO, "next", {"designs.trial.authorities": 24}), 64)) == html


def test_text_from_a_scenario_file_is_never_markup(results: Results) -> None:
    """A scenario from elsewhere must not put anything into a page but words."""
    evil = "</pre></svg><script>alert(1)</script><img src=x onerror=alert(1)>"
    text = SCENARIO.replace("# Would it be seen?", f"# {evil}")
    for table in ("designs.trial", "outcomes.rereferral"):
        text = text.replace(f"[{table}", f'[{table.split(".")[0]}."{evil}"')
    text = text.replace('outcome = "rereferral"', f'outcome = "{evil}"').replace(
        "answers.means", f'answers."{evil}"'
    )
    page = Page(report(as_if_run(results, text, evil)))
    assert not [tag for tag, _ in page.tags if tag in ("script", "img")]
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert page.text.count("<script>alert(1)") >= 5


def test_a_score_of_fidelity_is_told_with_its_reliability(results: Results) -> None:
    """Where pilots are chosen by it, and among the facts of the run; not where nobody scores fidelity."""
    text = SCENARIO.replace("[world.informal]", "[world.audit]\ncases = 12\n[world.informal]").replace(
        "pilots = 2", 'pilots = 2\npilots_by = "fidelity_score"'
    )
    said = "Fidelity is scored in 12 cases of each authority in year 1 after the start; its reliability "
    page = Page(report(as_if_run(results, text, "scored"))).text
    assert page.count(said) == 2
    assert said not in Page(report(results)).text
    without = text.replace("cases = 12", "without_error = true")
    assert "Fidelity is scored without error in year 1" in Page(report(as_if_run(results, without, "x"))).text


def test_what_comparisons_have_and_when_fidelity_is_scored_are_told(results: Results) -> None:
    """With how often others stand in by the binomial law, 100 x P(X < 2), X of 28 authorities with share .1."""
    text = (
        SCENARIO.replace("[world.informal]", "[world.audit]\n[world.rival]\nshare = 0.1\n[world.informal]")
        .replace("comparisons = 2", 'comparisons = 2\ncomparisons_with = "rival"')
        .replace("permutation", "fidelity_regression")
    )
    short = 100 * (0.9**28 + 28 * 0.1 * 0.9**27)
    page = Page(report(as_if_run(results, text, "rival"))).text
    assert (
        f"Comparisons have the rival framework; in {short:.0f} % of studies there are too few such "
        "authorities, and others stand in."
    ) in page
    assert "Fidelity as practised is scored in the last year observed" in page
    plain = Page(report(results)).text
    assert "Comparisons have" not in plain
    assert "Fidelity as practised" not in plain


def test_cautions_name_each_trouble_and_its_answers(results: Results) -> None:
    """Each kind of trouble changes how a number is to be read."""
    lines = cautions(results)
    assert lines[0] == "Few replicates (64): ask for more before quoting a number."
    said = "\n".join(lines)
    assert (
        "Cannot reject, whatever the effect: its smallest p-value is above alpha: contrast / exact." in said
    )
    assert "As if randomised: a permutation test where chance did not allocate: contrast / exact." in said
    assert "another question): trial / whole." in said


def test_a_sweep_has_a_table_for_each_case(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases differ in more than a headline can hold; the first is the one that is drawn."""
    drawn = {name: draw for name, draw in FIGURES.items() if name == "fidelity"}
    monkeypatch.setattr("design_sim.figures.FIGURES", drawn)
    text = SCENARIO + '[sweep]\n"designs.trial.authorities" = [12, 24]\n'
    html = report(as_if_run(results, text, "x"))
    assert "<summary>authorities = 12</summary>" in html
    assert "<summary>authorities = 24</summary>" in html
    assert "First case: authorities = 12." in html


def test_the_aim_is_the_first_line_where_that_is_a_comment() -> None:
    """Only a comment is an aim; a setting is not."""
    assert aim(parse(SCENARIO, "x")) == "Would it be seen?"
    assert aim(parse(SCENARIO.partition("\n")[2], "x")) == ""
