"""Commands that simulate: run, budget, allocations and certify."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from design_sim.cli.options import (
    Jobs,
    Out,
    Replicates,
    Resolution,
    Seed,
    Set,
    Source,
    load_sweep,
    processes_of,
)
from design_sim.errors import DesignSimError
from design_sim.screen import announced, note, print_frame, print_parts, print_results, progress_shown

if TYPE_CHECKING:
    from design_sim.sweep import Sweep


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

    processes = processes_of(jobs)
    sweep = load_sweep(file, changes, replicates=replicates, seed=seed, resolution=resolution)
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
    note(f"Written to {folder}{os.sep}: report.html, figures, performance.csv, scenario.toml and more")


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

    Runs a file without [sweep] with every combination of its mechanisms switched off, on the same draws.
    Prints the parts, which add up, and writes them with a figure to DIR/NAME-budget.
    """
    from design_sim import store

    processes = processes_of(jobs)
    sweep = load_sweep(file, changes, replicates=replicates, seed=seed, resolution=resolution)
    _refuse_cases(sweep, file, "a budget")
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


def allocations(
    file: Source,
    allocations: Annotated[int, typer.Option(min=2, metavar="N", help="Allocations that are drawn.")] = 200,
    replicates: Annotated[
        int | None, typer.Option(metavar="N", help="Replicates of each allocation; else the file's number.")
    ] = None,
    seed: Seed = None,
    out: Out = Path("results"),
    jobs: Jobs = -1,
    changes: Set = None,
    resolution: Resolution = None,
) -> None:
    """Show how power and size depend on the allocation that a trial draws.

    Draws many allocations of each randomised study of a file without [sweep], and holds each while all else
    is drawn anew. Prints how power is distributed over them, and writes it with a figure to
    DIR/NAME-allocations.
    """
    from design_sim import store

    processes = processes_of(jobs)
    sweep = load_sweep(file, changes, replicates=replicates, seed=seed, resolution=resolution)
    _refuse_cases(sweep, file, "power over allocations")

    from design_sim import attained_report as report
    from design_sim.attained import attained_power, by_chance

    store.check_free(out, report.folder_name(sweep))
    scenario = sweep.cases[0].scenario
    left_out = [name for name in scenario.studies if name not in by_chance(scenario)]
    if left_out:
        note(f"Not allocated by chance, and left out: {', '.join(left_out)}.")
    with progress_shown("allocation") as progress:
        found = attained_power(scenario, allocations, sweep.replicates, processes, progress)
    print_frame(report.table(found, sweep.seed))
    print_parts("", *report.sentences(found, sweep.seed))
    folder = store.save_as(
        sweep, report.folder_name(sweep), out, lambda folder: report.write(found, sweep.seed, folder)
    )
    note(f"Written to {folder}{os.sep}: allocations.csv, .parquet, .svg, .png and .txt, provenance.json")


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
    """Try how often each answer rejects a true null.

    Runs every estimator, in each of its settings that matters, in trials without an effect, of few clusters
    and of many, and writes the table and a page to DIR/certificate.
    """
    from design_sim import store
    from design_sim.certificate import files
    from design_sim.certificate.trials import carry_out, plan

    processes = processes_of(jobs)
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


def _refuse_cases(sweep: "Sweep", file: str, what: str) -> None:
    """A sweep of several cases, where a command looks at one."""
    if len(sweep.cases) > 1:
        raise DesignSimError(
            f"{file}: varies settings over {len(sweep.cases)} cases; {what} is of one. "
            "Remove [sweep] and fix the settings with --set"
        )
