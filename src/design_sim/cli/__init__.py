"""The command line: `design-sim run` and its sister commands, a file for each kind.

Results go to standard output, everything else (progress, messages) to standard error. Every way to end
has its exit code: 0 done, 1 a bug of ours, 2 usage or scenario, 3 folder in use, 4 disk, 5 stored results
damaged, 130 interrupted.

Decision: commands are invoked here and not by Typer's own runner, which ends a broken pipe with 1, the
code of a bug, and an interruption in words of its own.
"""

import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from design_sim import __version__
from design_sim.cli import planning, real_data, telling
from design_sim.errors import DesignSimError, StorageError
from design_sim.screen import note

PROGRAM = "design-sim"
DEBUG = "DESIGN_SIM_DEBUG"
INTERRUPTED = 130
# The base of every misuse that Typer finds, wherever this version of it keeps that class.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Version = Annotated[bool, typer.Option("--version", help="Print the version.")]
Debug = Annotated[bool, typer.Option("--debug", help=f"Show where a bug lies; so does {DEBUG}=1.")]


@app.callback(invoke_without_command=True)
def start(context: typer.Context, version: Version = False, debug: Debug = False) -> None:
    """Plan an evaluation by simulation: which design would see an effect, and which would only seem to."""
    if debug:
        os.environ[DEBUG] = "1"
    if version:
        typer.echo(f"{PROGRAM} {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


for command in (
    planning.run,
    planning.budget,
    planning.allocations,
    planning.certify,
    real_data.calibrate,
    real_data.analyse,
    telling.check,
    telling.list_members,
    telling.settings,
    telling.show,
):
    app.command("list" if command is telling.list_members else None)(command)


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
