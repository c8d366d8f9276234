"""The report of a run: one HTML page that needs nothing else, to read, print or attach.

Decision: no script, no outside link, no date, so that a page says the same bytes for the same run and asks
nothing of the network. Texts from scenario files are untrusted: the template escapes each of them, the SVG
writer escapes those in figures, and the page's own policy forbids scripts and requests.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from typing import TYPE_CHECKING, Any

from design_sim.cautions import cautions
from design_sim.certificate.cited import verdict_on
from design_sim.designs.base import own_workers_of
from design_sim.estimands import AVERAGES, RUNGS
from design_sim.performance import MEASURES
from design_sim.reading import first_allocations, headline_table, is_sound, reading
from design_sim.results import Judged, Results
from design_sim.sweep import Case, Sweep
from design_sim.wording import (
    arms_words,
    case_words,
    comparison_words,
    effect_words,
    follow_up_score_words,
    format_measure,
    interval,
    kind_of,
    name_of,
    outcome_of,
    plain,
    score_words,
    setting_names,
    setting_words,
    uses_score,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 500
"""Rows of the headline table that a page shows."""
MOST_CASES = 24
"""Cases whose every measure a page shows."""


def report(results: Results, drawn: "Mapping[str, Figure] | None" = None) -> str:
    """The page of a run, as HTML.

    Title and aim, the reading, cautions, the headline table, the designs and questions in words, figures,
    every measure, and how it was made. The same results give the same page.

    Parameters
    ----------
    drawn : mapping of figures by name, optional
        The run's figures where they are drawn already, from `figures.draw_all`.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["tie"] = _tie
    text = (resources.files("design_sim") / "templates" / "report.html.jinja").read_text("utf-8")
    table = headline_table(results)
    sweep, cases = results.sweep, results.sweep.cases
    return environment.from_string(text).render(
        name=plain(sweep.name),
        aim=aim(sweep),
        reading=reading(results),
        cautions=cautions(results),
        columns=list(table.columns),
        rows=table.head(MOST_ROWS).to_numpy().tolist(),
        troubled=[not is_sound(judged) for judged in results.judged[:MOST_ROWS]],
        rows_left_out=max(len(table) - MOST_ROWS, 0),
        first_case=case_words(cases[0], setting_names(sweep.varied)) if len(cases) > 1 else "",
        designs=_designs(cases[0]),
        questions=_questions(results),
        figures=_figures(results, drawn),
        measures=MEASURES,
        tables=_tables(results),
        cases_left_out=max(len(cases) - MOST_CASES, 0),
        made=_made(sweep),
        text=sweep.text,
    )


def aim(sweep: Sweep) -> str:
    """The aim of a scenario file: its first line, where that is a comment."""
    first = sweep.text.lstrip().partition("\n")[0]
    return plain(first.lstrip("# ").rstrip(), 400) if first.startswith("#") else ""


def _designs(case: Case) -> list[dict[str, Any]]:
    """What each design of a case is: sort, facts, settings, and what its own page says of it."""
    return [
        {
            "name": plain(name),
            "kind": kind_of(case.scenario.studies[name]),
            "facts": _facts(case, name, allocation),
            "settings": _settings(case.scenario.studies[name].design),
            "about": _about(case.scenario.studies[name].design),
            "answers": [
                (
                    plain(answer_name),
                    answer.estimator.estimator.replace("_", " "),
                    [
                        *_settings(answer.estimator),
                        ("clusters", case.scenario.studies[name].clusters_of(answer)),
                        *_certified(case, name, answer_name),
                    ],
                )
                for answer_name, answer in case.scenario.studies[name].answers.items()
            ],
        }
        for name, allocation in first_allocations(case).items()
    ]


def _certified(case: Case, name: str, answer_name: str) -> list[tuple[str, str]]:
    """What the calibration certificate says of an answer, as one more line of its settings."""
    study = case.scenario.studies[name]
    answer = study.answers[answer_name]
    if study.clusters_of(answer) != "authority":
        return []
    said = verdict_on(case.scenario, study, answer.estimator)
    return [("calibration certificate", said)] if said else []


def _facts(case: Case, name: str, allocation: Any) -> str:
    """Who is compared on what, when, and how that came about, in a sentence."""
    scenario, study = case.scenario, case.scenario.studies[name]
    time, outcome = scenario.world.time, scenario.outcomes[study.design.outcome]
    chance = (
        "chance decides which" if getattr(allocation.law, "randomised", True) else "not decided by chance"
    )
    observed = time.year_of(study.design.occasions(time)[0]).tolist()
    years = [year - time.years_before for year in sorted(set(observed))]
    seen = ", ".join(f"{year} to {year + 1}" if year >= 0 else f"{-year} before" for year in years)
    often = "" if time.per_year == 1 else f", with {time.per_year} figures in each"
    data, sample = "from the authorities' records", study.design.sample
    if outcome.source == "survey" and sample is not None:
        data = (
            f"surveyed: {sample.families} families of each of {sample.workers} workers in each of "
            f"{sample.teams} teams of an authority"
        )
        if others := own_workers_of(study.design):
            data += f", and {others} comparison families with a worker of their own"
    about = plain(study.design.outcome)
    score = f" {score_words(scenario.world)}" if uses_score(study) else ""
    more = filter(None, (follow_up_score_words(study), comparison_words(study, scenario.world)))
    return (
        f"{arms_words(study, allocation, time.occasions)} ({chance}), "
        f"of {scenario.world.authorities}. Outcome: {about}, {data}; years from the start: {seen}{often}. "
        f"Stated effect at full fidelity: {effect_words(study.design.outcome, outcome)}.{score}"
        f"{''.join(f' {sentence}' for sentence in more)}"
    )


def _settings(model: object) -> list[tuple[str, str]]:
    """The settings of a design or estimator, nested ones by their path; those not given left out."""
    given: Mapping[str, Any] = getattr(model, "model_dump", dict)(exclude_none=True)
    flat: list[tuple[str, str]] = []
    for key, value in given.items():
        if key in ("kind", "estimator", "outcome"):
            continue
        parts = value.items() if isinstance(value, dict) else [("", value)]
        flat += [(f"{key} {part}".strip().replace("_", " "), _said(inner)) for part, inner in parts]
    return flat


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_said(part) for part in value) or "none"
    return setting_words(value) if isinstance(value, bool | int | float | str) else plain(value)


def _about(model: object) -> str:
    """When one would choose a design and what biases it: the second paragraph of its module's docstring."""
    module = inspect.getmodule(type(model))
    paragraphs = (inspect.getdoc(module) or "").split("\n\n") if module else []
    return " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else ""


def _questions(results: Results) -> list[tuple[str, str]]:
    """For each answer of the first case, the true quantity that it is judged by, in words."""
    first = results.sweep.cases[0]
    return [(name_of(judged, 60), _question(judged)) for judged in results.judged if judged.case is first]


def _question(judged: Judged) -> str:
    estimand, (start, end) = judged.answer.estimand, judged.case.scenario.window
    rung = RUNGS.get(estimand.rung, estimand.rung)
    return (
        f"The effect of the framework {rung}; averaged over {AVERAGES[estimand.average]}, each "
        f"{estimand.weights} counting alike, in months {start} to {end} after the start. "
        f"Its mean true value is {format_measure(judged, 'truth')}; the stated effect at full fidelity is "
        f"{effect_words(judged.study.design.outcome, outcome_of(judged))}."
    )


def _tables(results: Results) -> list[dict[str, Any]]:
    """Every measure of every answer, a table for each case: answers side by side."""
    names, cases = setting_names(results.sweep.varied), results.sweep.cases[:MOST_CASES]
    tables = []
    for case in cases:
        group = [judged for judged in results.judged if judged.case is case]
        rows = [
            (name.replace("_", " "), meaning, [_with_interval(judged, name) for judged in group])
            for name, meaning in MEASURES.items()
        ]
        title = case_words(case, names) if len(results.sweep.cases) > 1 else "All answers"
        tables.append({"title": title, "answers": [name_of(judged, 60) for judged in group], "rows": rows})
    return tables


def _with_interval(judged: Judged, name: str) -> tuple[str, str]:
    """A measure and, for a rate, its 95 % Monte Carlo interval."""
    low, high = interval(judged, name)
    rate = name in ("power", "size", "coverage", "power_all", "failure_rate") and not isnan(low)
    return format_measure(judged, name), f"{100 * low:.1f} to {100 * high:.1f} %" if rate else ""


def _figures(results: Results, drawn: "Mapping[str, Figure] | None") -> list[dict[str, str]]:
    """Names, captions and pictures of the figures, as SVG elements to stand in a page."""
    from markupsafe import Markup

    from design_sim.figures import CAPTIONS, draw_all, to_svg

    return [
        {
            "name": name,
            "caption": CAPTIONS[name],
            "svg": Markup(_inline(to_svg(figure).decode(), name, CAPTIONS[name].split(".")[0])),
        }
        for name, figure in (drawn or draw_all(results)).items()
    ]


def _inline(svg: str, name: str, label: str) -> str:
    """An SVG file as an element: no prologue, no fixed size, ids of its own, a title for screen readers."""
    element = svg[svg.index("<svg") :]
    own = re.compile(r'(\bid="|\bhref="#|url\(#)')
    element = re.sub(r"<[^>]*>", lambda tag: own.sub(rf"\g<1>{name}-", tag[0]), element)
    opening, rest = element.split(">", 1)
    opening = re.sub(r' (width|height)="[^"]*"', "", opening)
    title = f"{name}-title"
    return f'{opening} role="img" aria-labelledby="{title}"><title id="{title}">{label}</title>{rest}'


def _made(sweep: Sweep) -> Sequence[tuple[str, str]]:
    """How the run was made."""
    try:
        own = version("design-sim")
    except PackageNotFoundError:
        own = "not installed"
    scenario = sweep.cases[0].scenario
    n, cases = f"{sweep.replicates:,}", len(sweep.cases)
    score = score_words(scenario.world)
    changes = ", ".join(f"{plain(path)} = {setting_words(value)}" for path, value in sweep.changes.items())
    return [
        ("design-sim", own),
        ("Seed", str(sweep.seed)),
        ("Replicates", f"{n} of each of {cases:,} cases" if cases > 1 else n),
        ("Level of tests (alpha)", f"{scenario.alpha:g}, two-sided"),
        *([("Fidelity score", score)] if score else []),
        ("Set differently from the file", changes or "nothing"),
    ]


def _tie(text: str) -> str:
    """A number and its unit on one line."""
    return re.sub(r"(?<=\d) (?=%|pp\b)", "\N{NO-BREAK SPACE}", text)
