"""The command line: `design-sim run`, `check`, `list` and `show`.

Results go to standard output, everything else (progress, messages) to standard error. Every way to end
has its exit code: 0 done, 1 a bug of ours, 2 usage or scenario, 3 folder in use, 4 disk, 5 stored results
damaged, 130 interrupted.

Decision: commands are invoked here and not by Typer's own runner, which ends a broken pipe with 1, the
code of a bug, and an interruption in words of its own.
"""

import json
import os
import re
import signal
import sys
import tomllib
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from design_sim import __version__
from design_sim.errors import DesignSimError, StorageError
from design_sim.screen import (
    announced,
    answers_table,
    note,
    plain_table,
    print_frame,
    print_parts,
    print_results,
    progress_shown,
    size_in_words,
    without_controls,
)

if TYPE_CHECKING:
    from design_sim.sweep import Sweep

PROGRAM = "design-sim"
DEBUG = "DESIGN_SIM_DEBUG"
INTERRUPTED = 130
# The base of every misuse that Typer finds, wherever this version of it keeps that class.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Source = Annotated[
    str, typer.Argument(metavar="FILE", help="A scenario file (TOML), or a preset by its name.")
]
Replicates = Annotated[int | None, typer.Option(metavar="N", help="Replicates of every case.")]
Seed = Annotated[int | None, typer.Option(metavar="S", help="Root of all chance: same seed, same numbers.")]
Resolution = Annotated[
    str | None, typer.Option(metavar="R", help="auto, or draw families in cells (cell) or singly (unit).")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting by its path; may be given many times."),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="The folder of all results.")]
Jobs = Annotated[
    int, typer.Option(metavar="N", help="Processes, at most one a core; -1: every core. Changes no number.")
]
Version = Annotated[bool, typer.Option("--version", help="Print the version.")]
Debug = Annotated[bool, typer.Option("--debug", help=f"Show where a bug lies; so does {DEBUG}=1.")]
Kind = Annotated[
    str, typer.Argument(help="designs, estimators, estimands, measures, presets, covariates or outcomes.")
]
Preset = Annotated[str, typer.Argument(help="A name from `design-sim list presets`.")]


@app.callback(invoke_without_command=True)
def start(context: typer.Context, version: Version = False, debug: Debug = False) -> None:
    """Plan an evaluation by simulation: which design would see an effect, and which would only seem to."""
    if debug:
        os.environ[DEBUG] = "1"
    if version:
        typer.echo(f"{PROGRAM} {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(
    file: Source,
    replicates: Replicates = None,
    seed: Seed = None,
    out: Out = Path("results"),
    jobs: Jobs = -1,
    changes: Set = None,
    resolution: Resolution = None,
) -> None:
    """Run the studies of a scenario file.

    Prints how each of them does; writes tables, figures and a report to DIR/NAME.
    """
    from design_sim import store

    processes = _processes(jobs)
    sweep = _load(file, changes, replicates=replicates, seed=seed, resolution=resolution)
    store.check_free(out, sweep.name)

    from design_sim.certificate.cited import warnings
    from design_sim.results import run as run_sweep

    note(announced(sweep))
    for warning, answers in warnings(sweep).items():
        note(f"Certificate: {warning}: {', '.join(answers)}.")
    with progress_shown() as progress:
        results = run_sweep(sweep, jobs=processes, progress=progress)
    try:
        folder = store.save(results, out)
    except Exception:
        # It may be hours of work: what can still be had of it is shown.
        with suppress(BrokenPipeError):
            print_results(results)
        raise
    print_results(results)
    note(f"Written to {folder}{os.sep}: report.html, figures, performance.csv and .parquet, provenance.json")


@app.command()
def budget(
    file: Source,
    replicates: Replicates = None,
    seed: Seed = None,
    out: Out = Path("results"),
    jobs: Jobs = -1,
    changes: Set = None,
    resolution: Resolution = None,
) -> None:
    """Divide each answer's error among the mechanisms that make it.

    Runs the first case with every combination of its mechanisms switched off, on the same draws. Prints the
    parts, which add up, and writes them with a figure to DIR/NAME-budget.
    """
    from design_sim import store

    processes = _processes(jobs)
    sweep = _load(file, changes, replicates=replicates, seed=seed, resolution=resolution)
    if len(sweep.cases) > 1:
        raise DesignSimError(
            f"{file}: varies settings over {len(sweep.cases)} cases; a budget is of one. "
            "Remove [sweep] and fix the settings with --set"
        )
    if sweep.replicates < 2:
        raise DesignSimError(f"replicates: {sweep.replicates} is below 2, and a part needs its error")

    from design_sim import budget_report as report
    from design_sim.error_budget import budget as divide

    store.check_free(out, report.folder_name(sweep))
    scenario = sweep.cases[0].scenario
    with progress_shown() as progress:
        budgets = divide(scenario, sweep.replicates, processes, progress)
    print_frame(report.table(budgets, scenario))
    print_parts("", *report.sentences(budgets, scenario))
    folder = store.save_as(
        sweep, report.folder_name(sweep), out, lambda folder: report.write(budgets, scenario, folder)
    )
    note(f"Written to {folder}{os.sep}: budget.csv and .parquet, budget.svg and .png, budget.txt")


@app.command()
def certify(
    replicates: Annotated[
        int | None, typer.Option(metavar="N", help="The most of any answer; slow ones have fewer anyway.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Root of all chance.")] = 1,
    out: Out = Path("results"),
    jobs: Jobs = -1,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="ESTIMATOR", help="Only this one; may be given many times."),
    ] = None,
    cite: Annotated[
        bool, typer.Option("--cite", help="Also make it the certificate that the program itself cites.")
    ] = False,
) -> None:
    """Try how often each answer rejects a true null, where clusters are few and many.

    Runs every estimator, in each of its settings that matters, in trials without an effect, and writes the
    table and a page to DIR/certificate.
    """
    from design_sim import store
    from design_sim.certificate import files
    from design_sim.certificate.trials import carry_out, plan

    processes = _processes(jobs)
    if cite and only:
        raise DesignSimError("--cite: needs the certificate of every estimator; leave out --only")
    wanted = plan(replicates, seed, only or ())
    store.check_free(out, files.NAME)
    with progress_shown() as progress:
        certificate = carry_out(wanted, processes, progress)
    print_frame(files.overview(certificate))
    folder = files.save(certificate, out)
    note(f"Written to {folder}{os.sep}: certificate.md, certificate.csv and .parquet, provenance.json")
    if cite:
        note(f"Cited from now on: {files.cite(certificate)}")


@app.command()
def calibrate(
    panel: Annotated[Path, typer.Argument(metavar="PANEL.csv", help="A row for each authority and year.")],
    unit: Annotated[str, typer.Option(metavar="COL", help="Column of the authority.")],
    time: Annotated[str, typer.Option(metavar="COL", help="Column of the year.")],
    value: Annotated[str | None, typer.Option(metavar="COL", help="Column of a mean or rate.")] = None,
    numerator: Annotated[str | None, typer.Option(metavar="COL", help="Or: column of events,")] = None,
    denominator: Annotated[str | None, typer.Option(metavar="COL", help="and of families.")] = None,
    size: Annotated[str | None, typer.Option(metavar="COL", help="Column of resident children.")] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the outcome.")] = "outcome",
) -> None:
    """Estimate the settings of a world from a panel of authorities by year.

    Prints what was found, with 95 % intervals, and the sections of a scenario file to paste.
    """
    from design_sim.calibration import calibrate as fit
    from design_sim.calibration import findings, sections

    found = fit(panel, unit, time, value=value, numerator=numerator, denominator=denominator, size=size)
    table = plain_table()
    for column in ("found", "value", "95 % interval"):
        table.add_column(column, overflow="fold")
    for row in findings(found):
        table.add_row(*row)
    print_parts(table, "", sections(found, name))


@app.command()
def analyse(
    data: Annotated[Path, typer.Argument(metavar="DATA.csv", help="A row for each observation.")],
    estimator: Annotated[str, typer.Option(metavar="KIND", help="From `design-sim list estimators`.")],
    outcome: Annotated[str, typer.Option(metavar="COL", help="Column of the outcome, a number.")],
    treated: Annotated[str, typer.Option(metavar="COL", help="Column: 1 where treated at the time, else 0.")],
    authority: Annotated[str, typer.Option(metavar="COL", help="Column of the authority, or cluster.")],
    team: Annotated[str | None, typer.Option(metavar="COL", help="Column of the team.")] = None,
    worker: Annotated[str | None, typer.Option(metavar="COL", help="Column of the worker.")] = None,
    family: Annotated[str | None, typer.Option(metavar="COL", help="Column of the family.")] = None,
    occasion: Annotated[str | None, typer.Option(metavar="COL", help="Column of the time.")] = None,
    stratum: Annotated[
        str | None,
        typer.Option(metavar="COL", help="Column of the stratum or pair that chance allocated within."),
    ] = None,
    uptake: Annotated[
        str | None,
        typer.Option(metavar="COL", help="Column of what was taken up, for instrumental_variables."),
    ] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COL",
            help="Column to adjust for; may be given many times. own_baseline is computed where there are "
            "families and occasions.",
        ),
    ] = None,
    clusters: Annotated[
        str, typer.Option(metavar="LEVEL", help="What is independent: authority, team, worker or row.")
    ] = "authority",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A setting of the estimator; may be given many times."),
    ] = None,
    alpha: Annotated[float, typer.Option(metavar="A", help="Two-sided level of the interval.")] = 0.05,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Root of the random numbers of methods that draw.")
    ] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run the planned analysis on real data, by the code that the simulation judged."""
    from design_sim.analysis import analyse as run_on
    from design_sim.analysis import as_json, findings, options_of

    found = run_on(
        data,
        estimator,
        outcome=outcome,
        treated=treated,
        authority=authority,
        team=team,
        worker=worker,
        family=family,
        occasion=occasion,
        stratum=stratum,
        uptake=uptake,
        covariates=covariate or [],
        clusters=clusters,
        options=options_of(option or []),
        alpha=alpha,
        seed=seed,
    )
    if json:
        typer.echo(as_json(found))
        return
    table = plain_table()
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for row in findings(found):
        table.add_row(*map(without_controls, row))
    print_parts(table)


@app.command()
def check(
    file: Source,
    replicates: Replicates = None,
    seed: Seed = None,
    changes: Set = None,
    resolution: Resolution = None,
) -> None:
    """Find every fault of a scenario file, or say what would run."""
    sweep = _load(file, changes, replicates=replicates, seed=seed, resolution=resolution)

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


@app.command("list")
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


@app.command()
def settings() -> None:
    """Print a page of every setting with its meaning, default and source, as Markdown."""
    from design_sim.settings_page import page

    typer.echo(page(), nl=False)


@app.command()
def show(preset: Preset) -> None:
    """Print a packaged scenario file, to be saved and changed."""
    from design_sim.sweep import preset_text

    typer.echo(preset_text(preset), nl=False)


def main() -> None:
    """Run the command line of this process; the entry point of the script."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing that goes wrong passes it."""
    try:
        _invoke(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (`| head`). Nothing may be flushed to it at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except typer.Exit as end:
        return int(end.exit_code)
    except DesignSimError as refused:
        note(str(refused))
        return refused.exit_code
    except _UsageError as misuse:
        context = getattr(misuse, "ctx", None)
        command = context.command_path if context else PROGRAM
        said = re.sub(r"\S{80,}", lambda word: f"{word[0][:57]}...", misuse.format_message())
        note(f"{said}\nSee: {command} --help")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        note("Interrupted; nothing is left half-written.")
        return INTERRUPTED
    except OSError as reason:
        _traceback()
        where = f"{reason.filename}: " if reason.filename else ""
        note(f"{where}cannot be read or written: {reason.strerror or reason}")
        return StorageError.exit_code
    except MemoryError:
        _traceback()
        note("This needs more memory than there is; fewer authorities, families or --jobs need less.")
        return 2
    except Exception as bug:
        _traceback()
        note(_apology(bug, arguments))
        return 1
    return 0


def _invoke(arguments: Sequence[str]) -> None:
    command = typer.main.get_command(app)
    with command.make_context(PROGRAM, list(arguments)) as context:
        command.invoke(context)


def _apology(bug: Exception, arguments: Sequence[str]) -> str:
    said = " ".join(str(bug).split())
    again = "" if DEBUG in os.environ else f"; `{PROGRAM} --debug {' '.join(arguments)}` shows where"
    return (
        f"Sorry, this is a fault of {PROGRAM} and not yours: {type(bug).__name__}: {said[:300]}\n"
        f"Please report it together with the scenario file{again}."
    )


def _traceback() -> None:
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        traceback.print_exc()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _load(file: str, assignments: Sequence[str] | None, **options: object) -> "Sweep":
    """The scenario file, with what the command line sets differently."""
    from design_sim.sweep import load

    changes: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    for assignment in assignments or ():
        path, equals, value = assignment.partition("=")
        path = path.strip()
        if not equals or not path:
            raise DesignSimError(
                f"--set {assignment!r}: a path, an equals sign and a value are needed, "
                "such as --set designs.trial.authorities=40"
            )
        if path in changes:
            raise DesignSimError(f"--set {assignment!r}: {path} is set twice; set it once")
        changes[path] = _value(value)
    return load(file, changes)


def _value(text: str) -> Any:
    """A value as TOML would have it, or else the text itself, so that words need no quotes."""
    try:
        stated = tomllib.loads(f"value = {text}")
        json.dumps(stated)
    except (ValueError, TypeError, RecursionError):
        return text
    return stated["value"] if len(stated) == 1 else text


def _processes(jobs: int) -> int:
    """How many processes to use; more than there are cores would only wait for one another."""
    if jobs < 1 and jobs != -1:
        raise DesignSimError(f"--jobs: found {jobs}; allowed: 1 or more, or -1 for every core")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if jobs == -1 else min(jobs, cores)


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
