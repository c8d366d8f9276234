"""Commands that read real data: calibrate and analyse."""

from pathlib import Path
from typing import Annotated

import typer

from design_sim.screen import plain_table, print_parts, without_controls


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
    """Estimate the settings of a world from records.

    Reads a panel of authorities by year. Prints what was found, with 95 % intervals, and the sections of a
    scenario file to paste.
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
    """Run the planned analysis on real data.

    By the code that the simulation judged: what was planned is what is run.
    """
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
