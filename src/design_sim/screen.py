"""What the command line shows: tables and sentences on standard output, progress on standard error."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console
    from rich.table import Table

    from design_sim.results import Results
    from design_sim.sweep import Sweep

MOST_ROWS = 40
"""Rows of the table that are printed; the files hold them all."""
LOG_EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""
MEASURED = ("truth", "bias", "size", "power")
"""Columns of the table that are never wrapped."""
UNSEEN_WIDTH = 200
"""Width of a table that goes to a file or a pipe."""


def announced(sweep: "Sweep") -> str:
    """What is about to run, in a line."""
    designs = len(sweep.cases[0].scenario.studies)
    return (
        f"{sweep.name}: {_count(len(sweep.cases), 'case')} of {_count(designs, 'design')}, "
        f"{_count(sweep.replicates, 'replicate')} each, seed {sweep.seed}"
    )


def size_in_words(sweep: "Sweep") -> str:
    """Roughly how much work a sweep is."""
    from design_sim.world.settings import block_size

    blocks = sum(-(-sweep.replicates // block_size(case.scenario.world)) for case in sweep.cases)
    cases = [case.scenario for case in sweep.cases]
    studies = sweep.replicates * sum(len(case.studies) * (2 + case.average_twin) for case in cases)
    twins = sweep.replicates * sum(len(case.studies) for case in cases)
    return (
        f"{studies:,} simulated studies, {twins:,} of them without any effect, in {_count(blocks, 'block')}."
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def answers_table(sweep: "Sweep") -> "Table":
    """Designs and answers of the first case."""
    table = plain_table()
    for column in ("design", "kind", "outcome", "answer", "estimator", "judged against"):
        table.add_column(column, overflow="fold")
    for name, study in sweep.cases[0].scenario.studies.items():
        for answer_name, answer in study.answers.items():
            kind, judge = getattr(study.design, "kind", ""), answer.estimand
            target = f"{judge.rung}, {judge.average}"
            row = (name, kind, study.design.outcome, answer_name, answer.estimator.estimator, target)
            table.add_row(*map(without_controls, row))
    return table


def print_results(results: "Results") -> None:
    """The headline table and the sentence that reads it, on standard output."""
    from design_sim.cautions import more_cautions
    from design_sim.reading import headline_table, reading

    frame = headline_table(results)
    hidden = _too_wide(frame.head(MOST_ROWS), _console().width)
    table = plain_table()
    for column in frame.columns.drop(hidden):
        table.add_column(without_controls(column), overflow="fold", no_wrap=column in MEASURED)
    for row in frame.drop(columns=hidden).head(MOST_ROWS).itertuples(index=False):
        table.add_row(*map(without_controls, row))
    more = len(frame) - MOST_ROWS
    notes = [f"... and {_count(more, 'row')} more, all in performance.csv"] if more > 0 else []
    notes += [f"Not shown on so narrow a screen: {', '.join(hidden)}."] if hidden else []
    print_parts(table, *notes, "", reading(results), *more_cautions(results))


def print_frame(frame: "DataFrame") -> None:
    """A frame of texts as a table on standard output."""
    table = plain_table()
    for column in frame.columns:
        table.add_column(without_controls(column), overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*map(without_controls, row))
    print_parts(table)


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


def print_parts(*parts: "str | Table") -> None:
    """Print texts and tables on standard output, without the blanks that a table ends its lines with."""
    console = _console()
    with console.capture() as captured:
        for part in parts:
            console.print(without_controls(part) if isinstance(part, str) else part)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def plain_table(*, show_header: bool = True) -> "Table":
    """An empty table without lines."""
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=show_header)


def _console() -> "Console":
    """Standard output: as wide as the terminal, or wide enough where nobody sees it wrapped."""
    from rich.console import Console

    seen = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = None if seen else UNSEEN_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def note(text: str) -> None:
    """Say something on standard error, lines kept whole; a run goes on where nobody listens."""
    with suppress(OSError):
        typer.echo(without_controls(text), err=True)


def without_controls(text: str) -> str:
    """Text whose control characters are spelt out: names in a file must not steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def progress_shown(unit: str = "block") -> Iterator[Callable[[int, int], None]]:
    """What to call with the units of work done: a bar on a terminal, elsewhere a line now and then."""
    if not sys.stderr.isatty():
        yield _log_lines(unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Simulating"), BarColumn(), MofNCompleteColumn(), TextColumn(f"{unit}s"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("run", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _log_lines(unit: str) -> Callable[[int, int], None]:
    begun = last = monotonic()

    def log(done: int, total: int) -> None:
        nonlocal last
        now = monotonic()
        if done == total or now - last >= LOG_EVERY:
            last = now
            share, seconds = f"{100 * done / total:.0f} %", f"{now - begun:.0f} s"
            note(f"{done:,} of {_count(total, unit)} done ({share}) after {seconds}")

    return log
