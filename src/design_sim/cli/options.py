"""Options that several commands share, and what is made of them."""

import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from design_sim.errors import DesignSimError

if TYPE_CHECKING:
    from design_sim.sweep import Sweep

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


def load_sweep(file: str, assignments: Sequence[str] | None, **options: object) -> "Sweep":
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
        changes[path] = value_of(value)
    return load(file, changes)


def value_of(text: str) -> Any:
    """A value as TOML would have it, or else the text itself, so that words need no quotes."""
    try:
        stated = tomllib.loads(f"value = {text}")
        json.dumps(stated)
    except (ValueError, TypeError, RecursionError):
        return text
    return stated["value"] if len(stated) == 1 else text


def processes_of(jobs: int) -> int:
    """How many processes to use; more than there are cores would only wait for one another."""
    if jobs < 1 and jobs != -1:
        raise DesignSimError(f"--jobs: found {jobs}; allowed: 1 or more, or -1 for every core")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if jobs == -1 else min(jobs, cores)
