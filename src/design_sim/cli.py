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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from design_sim import __version__
from design_sim.errors import DesignSimError, StorageError

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console
    from rich.table import Table

    from design_sim.results import Results
    from design_sim.sweep import Sweep

PROGRAM = "design-sim"
DEBUG = "DESIGN_SIM_DEBUG"
INTERRUPTED = 130
MOST_ROWS = 40
"""Rows of the table that are printed; the files hold them all."""
LOG_EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""
MEASURED = ("truth", "bias", "size", "power")
"""Columns of the table that are never wrapped."""
UNSEEN_WIDTH = 200
"""Width of a table that goes to a file or a pipe."""

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

    from design_sim.results import run as run_sweep

    _note(_announced(sweep))
    with _progress() as progress:
        results = run_sweep(sweep, jobs=processes, progress=progress)
    try:
        folder = store.save(results, out)
    except Exception:
        # It may be hours of work: what can still be had of it is shown.
        with suppress(BrokenPipeError):
            _print_results(results)
        raise
    _print_results(results)
    _note(f"Written to {folder}{os.sep}: report.html, figures, performance.csv and .parquet, provenance.json")


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
    from design_sim.budget import budget as divide

    store.check_free(out, report.folder_name(sweep))
    scenario = sweep.cases[0].scenario
    with _progress() as progress:
        budgets = divide(scenario, sweep.replicates, processes, progress)
    _print_frame(report.table(budgets, scenario))
    _print("", *report.sentences(budgets, scenario))
    folder = store.save_as(
        sweep, report.folder_name(sweep), out, lambda folder: report.write(budgets, scenario, folder)
    )
    _note(f"Written to {folder}{os.sep}: budget.csv and .parquet, budget.svg and .png, budget.txt")


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
    from design_sim.calibrate import calibrate as fit
    from design_sim.calibrate import findings, sections

    found = fit(panel, unit, time, value=value, numerator=numerator, denominator=denominator, size=size)
    table = _table()
    for column in ("found", "value", "95 % interval"):
        table.add_column(column, overflow="fold")
    for row in findings(found):
        table.add_row(*row)
    _print(table, "", sections(found, name))


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
    varied = {path: dict.fromkeys(str(case.settings[path]) for case in sweep.cases) for path in sweep.varied}
    lines = [f"varied: {path} = {', '.join(values)}" for path, values in varied.items()]
    _print(_announced(sweep), *lines, "", _answers_table(sweep), "", _size_in_words(sweep))


@app.command("list")
def list_members(kind: Kind) -> None:
    """List what a scenario file can name, each with its meaning."""
    from design_sim.faults import nearest

    members = _members()
    if kind not in members:
        raise DesignSimError(f"{kind!r} cannot be listed{nearest(kind, members)}")
    table = _table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, meaning in members[kind].items():
        table.add_row(_plain(name), _plain(meaning))
    _print(table)


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
        _note(str(refused))
        return refused.exit_code
    except _UsageError as misuse:
        context = getattr(misuse, "ctx", None)
        command = context.command_path if context else PROGRAM
        said = re.sub(r"\S{80,}", lambda word: f"{word[0][:57]}...", misuse.format_message())
        _note(f"{said}\nSee: {command} --help")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        _note("Interrupted; nothing is left half-written.")
        return INTERRUPTED
    except OSError as reason:
        _traceback()
        where = f"{reason.filename}: " if reason.filename else ""
        _note(f"{where}cannot be read or written: {reason.strerror or reason}")
        return StorageError.exit_code
    except MemoryError:
        _traceback()
        _note("This needs more memory than there is; fewer authorities, families or --jobs need less.")
        return 2
    except Exception as bug:
        _traceback()
        _note(_apology(bug, arguments))
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


def _announced(sweep: "Sweep") -> str:
    """What is about to run, in a line."""
    designs = len(sweep.cases[0].scenario.studies)
    return (
        f"{sweep.name}: {_count(len(sweep.cases), 'case')} of {_count(designs, 'design')}, "
        f"{_count(sweep.replicates, 'replicate')} each, seed {sweep.seed}"
    )


def _size_in_words(sweep: "Sweep") -> str:
    """Roughly how much work a sweep is."""
    from design_sim.world.settings import block_size

    blocks = sum(-(-sweep.replicates // block_size(case.scenario.world)) for case in sweep.cases)
    studies = 2 * sweep.replicates * sum(len(case.scenario.studies) for case in sweep.cases)
    return f"{studies:,} simulated studies, half of them without any effect, in {_count(blocks, 'block')}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _answers_table(sweep: "Sweep") -> "Table":
    """Designs and answers of the first case."""
    table = _table()
    for column in ("design", "kind", "outcome", "answer", "estimator", "judged against"):
        table.add_column(column, overflow="fold")
    for name, study in sweep.cases[0].scenario.studies.items():
        for answer_name, answer in study.answers.items():
            kind, judge = getattr(study.design, "kind", ""), answer.estimand
            target = f"{judge.rung}, {judge.average}"
            row = (name, kind, study.design.outcome, answer_name, answer.estimator.estimator, target)
            table.add_row(*map(_plain, row))
    return table


def _print_results(results: "Results") -> None:
    """The headline table and the sentence that reads it, on standard output."""
    from design_sim.reading import headline_table, reading

    frame = headline_table(results)
    hidden = _too_wide(frame.head(MOST_ROWS), _console().width)
    table = _table()
    for column in frame.columns.drop(hidden):
        table.add_column(_plain(column), overflow="fold", no_wrap=column in MEASURED)
    for row in frame.drop(columns=hidden).head(MOST_ROWS).itertuples(index=False):
        table.add_row(*map(_plain, row))
    more = len(frame) - MOST_ROWS
    notes = [f"... and {_count(more, 'row')} more, all in performance.csv"] if more > 0 else []
    notes += [f"Not shown on so narrow a screen: {', '.join(hidden)}."] if hidden else []
    _print(table, *notes, "", reading(results))


def _print_frame(frame: "DataFrame") -> None:
    """A frame of texts as a table on standard output."""
    table = _table()
    for column in frame.columns:
        table.add_column(_plain(column), overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*map(_plain, row))
    _print(table)


def _too_wide(frame: "DataFrame", width: int) -> list[str]:
    """The columns that a table of texts must do without to leave its headline room."""
    widths = {column: 2 + min(frame[column].map(len).max(), 30) for column in frame.columns} | {
        "headline": 24
    }
    hidden: list[str] = []
    for column in ("estimand", "truth", "bias"):
        if sum(widths.values()) > width:
            hidden.append(column)
            del widths[column]
    return hidden


def _print(*parts: "str | Table") -> None:
    """Print texts and tables on standard output, without the blanks that a table ends its lines with."""
    console = _console()
    with console.capture() as captured:
        for part in parts:
            console.print(_plain(part) if isinstance(part, str) else part)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _table(*, show_header: bool = True) -> "Table":
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=show_header)


def _console() -> "Console":
    """Standard output: as wide as the terminal, or wide enough where nobody sees it wrapped."""
    from rich.console import Console

    seen = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = None if seen else UNSEEN_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def _note(text: str) -> None:
    """Say something on standard error, lines kept whole; a run goes on where nobody listens."""
    with suppress(OSError):
        typer.echo(_plain(text), err=True)


def _plain(text: str) -> str:
    """Text whose control characters are spelt out: names in a file must not steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """What to call with the blocks done: a bar on a terminal, elsewhere a line now and then."""
    if not sys.stderr.isatty():
        yield _log_lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("run", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _log_lines() -> Callable[[int, int], None]:
    begun = last = monotonic()

    def log(done: int, total: int) -> None:
        nonlocal last
        now = monotonic()
        if done == total or now - last >= LOG_EVERY:
            last = now
            share, seconds = f"{100 * done / total:.0f} %", f"{now - begun:.0f} s"
            _note(f"{done:,} of {_count(total, 'block')} done ({share}) after {seconds}")

    return log


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
        "estimators": _first_lines(ESTIMATORS),
        "estimands": rungs | averages,
        "measures": MEASURES,
        "presets": presets(),
        "covariates": COVARIATES,
        "outcomes": _first_lines(outcomes),
    }


def _first_lines(family: Mapping[str, type]) -> dict[str, str]:
    return {name: (member.__doc__ or "").strip().partition("\n")[0] for name, member in family.items()}
