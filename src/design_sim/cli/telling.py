"""Commands that tell what there is: check, list, settings and show."""

from collections.abc import Mapping
from typing import Annotated

import typer

from design_sim.cli.options import Replicates, Resolution, Seed, Set, Source, load_sweep
from design_sim.errors import DesignSimError
from design_sim.screen import (
    announced,
    answers_table,
    plain_table,
    print_parts,
    size_in_words,
    without_controls,
)

Kind = Annotated[
    str, typer.Argument(help="designs, estimators, estimands, measures, presets, covariates or outcomes.")
]
Preset = Annotated[str, typer.Argument(help="A name from `design-sim list presets`.")]


def check(
    file: Source,
    replicates: Replicates = None,
    seed: Seed = None,
    changes: Set = None,
    resolution: Resolution = None,
) -> None:
    """Find every fault of a scenario file, or say what would run."""
    sweep = load_sweep(file, changes, replicates=replicates, seed=seed, resolution=resolution)

    from design_sim.wording import comparison_words, score_words

    varied = {path: dict.fromkeys(str(case.settings[path]) for case in sweep.cases) for path in sweep.varied}
    lines = [f"varied: {path} = {', '.join(values)}" for path, values in varied.items()]
    lines += filter(None, dict.fromkeys(score_words(case.scenario.world) for case in sweep.cases))
    compared = (
        comparison_words(study, case.scenario.world)
        for case in sweep.cases
        for study in case.scenario.studies.values()
    )
    lines += filter(None, dict.fromkeys(compared))
    print_parts(announced(sweep), *lines, "", answers_table(sweep), "", size_in_words(sweep))


def list_members(kind: Kind) -> None:
    """List what a scenario file can name, each with its meaning."""
    from design_sim.faults import nearest

    members = _members()
    if kind not in members:
        raise DesignSimError(f"{kind!r} cannot be listed{nearest(kind, members)}")
    table = plain_table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, meaning in members[kind].items():
        table.add_row(without_controls(name), without_controls(meaning))
    print_parts(table)


def settings() -> None:
    """Print a page of every setting with its meaning, default and source, as Markdown."""
    from design_sim.settings_page import page

    typer.echo(page(), nl=False)


def show(preset: Preset) -> None:
    """Print a packaged scenario file, to be saved and changed."""
    from design_sim.sweep import preset_text

    typer.echo(preset_text(preset), nl=False)


def _members() -> dict[str, dict[str, str]]:
    """What a scenario file can name, by kind: each name with its meaning."""
    from design_sim.designs import DESIGNS
    from design_sim.estimands import AVERAGES, RUNGS
    from design_sim.estimators import ESTIMATORS
    from design_sim.measurement import COVARIATES
    from design_sim.performance import MEASURES
    from design_sim.sweep import presets
    from design_sim.world.outcomes import OUTCOMES

    rungs = {f'estimand = "{name}"': meaning for name, meaning in RUNGS.items()}
    averages = {f'average = "{name}"': meaning for name, meaning in AVERAGES.items()}
    outcomes = {f'kind = "{kind}", source = "{source}"': model for (kind, source), model in OUTCOMES.items()}
    return {
        "designs": _first_lines(DESIGNS),
        "estimators": _with_verdicts(_first_lines(ESTIMATORS)),
        "estimands": rungs | averages,
        "measures": MEASURES,
        "presets": presets(),
        "covariates": COVARIATES,
        "outcomes": _first_lines(outcomes),
    }


def _with_verdicts(estimators: Mapping[str, str]) -> dict[str, str]:
    """Meanings of estimators, each with what the certificate says of its size as it stands."""
    from design_sim.certificate.cited import verdicts_in_words

    said = {name: verdicts_in_words(name) for name in estimators}
    return {
        name: f"{meaning} Size: {said[name]}." if said[name] else meaning
        for name, meaning in estimators.items()
    }


def _first_lines(family: Mapping[str, type]) -> dict[str, str]:
    return {name: (member.__doc__ or "").strip().partition("\n")[0] for name, member in family.items()}
