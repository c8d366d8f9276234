"""The engine: one scenario, block by block, each block from its own streams.

For each block the world is drawn once and shared by every study; each study is delivered as stated and
as its null twin on the same draws; every estimator runs once on each, and is tallied against every
estimand that it is judged by. Blocks are independent and merged in order, so that nothing depends on how
many processes there are or how many replicates are asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.random import Generator
from threadpoolctl import threadpool_limits

from design_sim.allocation import NEVER, Allocation
from design_sim.arrays import Bools, Floats, Ints
from design_sim.cells import Cells, pooled_occasions
from design_sim.designs.base import Unit, spillover_of
from design_sim.estimands import true_value
from design_sim.estimators import Estimates, Estimator
from design_sim.estimators.base import levels_below, needs_uptake
from design_sim.leavers import with_replacements
from design_sim.measurement import OF_FAMILIES, measured, observe, reached, without
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.scenario import Scenario
from design_sim.streams import Streams
from design_sim.study import Study, asks_of_workers
from design_sim.tally import Tally
from design_sim.world.competence import measured_competence
from design_sim.world.delivery import Delivery, Fieldwork, deliver
from design_sim.world.draw import World, draw_world
from design_sim.world.families import sampled_workers
from design_sim.world.settings import block_size

Tallies = dict[tuple[str, str], Tally]
"""By study and answer."""
Progress = Callable[[int, int], None]
"""Called with the blocks done and the blocks in all."""


def simulate(
    scenarios: Sequence[Scenario], replicates: int, jobs: int = 1, progress: Progress | None = None
) -> list[Tallies]:
    """Run every scenario for a number of replicates.

    Parameters
    ----------
    scenarios : sequence of Scenario
        The cases of a sweep, or one.
    replicates : int
        Replicates of each, at least 1. A longer run begins with the shorter one.
    jobs : int
        Processes; the numbers are the same for any.
    progress : callable, optional
        Called with (blocks done, blocks in all).

    Returns
    -------
    list of Tallies
        For each scenario, a tally by study and answer.
    """
    tasks = [
        (case, block, min(replicates - first, block_size(scenario.world)))
        for case, scenario in enumerate(scenarios)
        for block, first in enumerate(range(0, replicates, block_size(scenario.world)))
    ]
    results: list[Tallies] = [{} for _ in scenarios]
    done = _run_tasks([(scenarios[case], block, kept) for case, block, kept in tasks], jobs)
    for number, ((case, _, _), tallies) in enumerate(zip(tasks, done, strict=True), start=1):
        for key, tally in tallies.items():
            so_far = results[case].get(key)
            results[case][key] = tally if so_far is None else so_far + tally
        if progress:
            progress(number, len(tasks))
    return results


def _run_tasks(tasks: Sequence[tuple[Scenario, int, int]], jobs: int) -> Iterator[Tallies]:
    if jobs == 1 or len(tasks) == 1:
        with threadpool_limits(1):
            yield from (run_block(*task) for task in tasks)
    else:
        parallel = Parallel(n_jobs=jobs, return_as="generator", batch_size="auto")
        yield from parallel(delayed(_run_pinned)(*task) for task in tasks)


def _run_pinned(scenario: Scenario, block: int, kept: int) -> Tallies:
    with threadpool_limits(1):
        return run_block(scenario, block, kept)


def run_block(scenario: Scenario, block: int, kept: int) -> Tallies:
    """Draw one block whole, run every study on it, and tally its first `kept` replicates."""
    streams = Streams(scenario.seed, block)
    world = draw_world(scenario.world, scenario.outcomes, block_size(scenario.world), streams)
    return {
        (name, answer): tally
        for name, study in scenario.studies.items()
        for answer, tally in run_study(scenario, study, world, kept).items()
    }


class Twins(NamedTuple):
    """What an analyst has of a study and of its null twins, on the same draws.

    Parameters
    ----------
    allocation : Allocation
        Who stands in the study's slots.
    stated, null : Panel
        With the effect as stated, and with every framework's effect zero.
    average : Panel or None
        With effects that differ about a mean of nothing; where the scenario asks for it.
    """

    allocation: Allocation
    stated: Panel
    null: Panel
    average: Panel | None = None


def carry_out(
    scenario: Scenario,
    study: Study,
    world: World,
    *,
    average: bool = False,
    allocation: Allocation | None = None,
) -> Twins:
    """Allocate, deliver and observe one study.

    Parameters
    ----------
    average : bool
        Whether the average null twin is wanted too.
    allocation : Allocation, optional
        In the place of what the design would draw.
    """
    design = study.design
    if allocation is None:
        allocation = design.allocate(world, world.streams)
    world = world.of_group(design.group)
    occasions, follow_up = design.occasions(scenario.world.time)
    estimators = [answer.estimator for answer in study.answers.values()]
    covariates = {name for estimator in estimators for name in estimator.covariates}
    # Estimands are about who was enrolled, panels about who stands there in the end.
    enrolled = allocation
    if design.measurement is not None and design.measurement.leavers == "replace":
        allocation = with_replacements(world, enrolled, int(occasions[-1]))
    fieldwork = Fieldwork(
        world,
        allocation,
        design.outcome,
        occasions,
        design.sample,
        scenario.drawn_resolution_of(study),
        spread=any(estimator.needs == "cells" for estimator in estimators),
        reached=reached(design.measurement, allocation, follow_up),
        covariate=not OF_FAMILIES.isdisjoint(covariates),
        workers=tells_workers_apart(study),
        uptake=any(needs_uptake(estimator) for estimator in estimators),
        contamination=spillover_of(design),
    )
    delivery = deliver(fieldwork)
    twins = [delivery.stated, delivery.null]
    if average:
        twins.append(deliver(replace(fieldwork, centred=True)).stated)
    panels = [_panel(scenario, study, fieldwork, delivery, cells, follow_up) for cells in twins]
    return Twins(enrolled, *panels)


def _panel(
    scenario: Scenario,
    study: Study,
    fieldwork: Fieldwork,
    delivery: Delivery,
    cells: Cells,
    follow_up: Bools,
) -> Panel:
    """Measure and observe one outcome of a delivery."""
    world, allocation, design = fieldwork.world, fieldwork.allocation, study.design
    if design.measurement is not None:
        outcome, followed = (design.outcome, cells), fieldwork.followed
        cells = measured(
            design.measurement, world, allocation, delivery, outcome, follow_up, followed=followed
        )
    roster = delivery.roster
    if allocation.observed is not None:
        cells = without(cells, ~roster.spread(allocation.observed, "authority"))
    uptake, start = delivery.uptake, delivery.start
    parts = [cells]
    if uptake is not None:
        parts.append(Cells(cells.n, np.broadcast_to(uptake, cells.mean.shape)))
    if fieldwork.resolution == "unit" and scenario.resolution_of(study) == "cell":
        arms = None if allocation.own_workers else start
        parts, roster = [pooled(part, roster, arms) for part in parts], roster_of_cells(roster, arms)
        start = None if start is None else allocation.start
    occasions, period = delivery.occasions, design.pooled(delivery.occasions)
    if period is not None:
        first = np.flatnonzero(np.diff(period, prepend=-1))
        parts = [pooled_occasions(part, period) for part in parts]
        occasions, follow_up = occasions[first], follow_up[first]
    estimators = [answer.estimator for answer in study.answers.values()]
    covariates = sorted({name for estimator in estimators for name in estimator.covariates})
    known = {} if delivery.covariate is None else {"covariate": delivery.covariate}
    if "competence" in covariates:
        known["competence"] = roster.spread(_competence(fieldwork, study), "worker")
    rows = roster, occasions
    panel = observe(world, allocation, rows, parts[0], follow_up, covariates, scenario.alpha, known)
    uptake = None if uptake is None else parts[1].mean
    return replace(panel, start=panel.start if start is None else start, uptake=uptake)


def _competence(fieldwork: Fieldwork, study: Study) -> Floats:
    """Competence of the sampled workers as the study measures it, (replicate, slot x worker)."""
    world, measurement = fieldwork.world, study.design.measurement
    if measurement is None or measurement.competence_reliability is None:
        raise ValueError("competence is not measured: measurement.competence_reliability is not stated")
    own_workers = fieldwork.allocation.own_workers
    workers, _ = sampled_workers(fieldwork.sampled, world.settings.workers.per_team, own_workers)
    found = measured_competence(world, fieldwork.unit, workers, measurement.competence_reliability)
    return found.reshape(found.shape[0], -1)


def pooled(cells: Cells, roster: Roster, start: Ints | None) -> Cells:
    """Single families as cells of workers, or of workers and arms where families are assigned."""
    return cells.pool(roster, "worker") if start is None else cells.by_arm(roster, start < NEVER)


def roster_of_cells(roster: Roster, start: Ints | None) -> Roster:
    """The roster of these cells."""
    workers = roster.above("worker")
    return workers if start is None else workers.repeated(2)


def tells_workers_apart(study: Study) -> bool:
    """Whether an answer tells the teams or workers of an authority apart."""
    return asks_of_workers(study) or any(
        levels_below(answer.estimator) or study.clusters_of(answer) in ("team", "worker")
        for answer in study.answers.values()
    )


def run_study(scenario: Scenario, study: Study, world: World, kept: int) -> dict[str, Tally]:
    """Run one study on a block of worlds: a tally for each answer."""
    twins = carry_out(scenario, study, world, average=scenario.average_twin)
    return judge(scenario, study, world, twins, kept)


def judge(scenario: Scenario, study: Study, world: World, twins: Twins, kept: int) -> dict[str, Tally]:
    """What every answer makes of a study that was carried out, beside the truth: a tally for each."""
    estimates: dict[tuple[Estimator, Unit], tuple[Estimates, Estimates, Estimates | None]] = {}
    tallies = {}
    of_group = world.of_group(study.design.group)
    for name, answer in study.answers.items():
        analysis = answer.estimator, study.clusters_of(answer)
        if analysis not in estimates:
            estimates[analysis] = _analysed(*analysis, twins, kept, world.streams)
        truth = true_value(answer.estimand, of_group, twins.allocation, study.design.outcome, scenario.window)
        stated, null, average = estimates[analysis]
        tallies[name] = Tally.of(stated, null, _first(truth, kept), scenario.alpha, average)
    return tallies


def _analysed(
    estimator: Estimator, clusters: Unit, twins: Twins, kept: int, streams: Streams
) -> tuple[Estimates, Estimates, Estimates | None]:
    """What an analysis finds in a study, in its null twin and in the average one where there is one."""

    def found(panel: Panel) -> Estimates:
        return analyse(estimator, clustered(panel, clusters), streams, kept)

    average = None if twins.average is None else found(twins.average)
    return found(twins.stated), found(twins.null), average


def clustered(panel: Panel, clusters: Unit) -> Panel:
    """The panel of an analysis that takes the units of a level as independent."""
    return panel.clustered_by("row" if clusters == "family" else clusters)


def analyse(estimator: Estimator, panel: Panel, streams: Streams, kept: int) -> Estimates:
    """The first `kept` replicates of an estimator's answers."""
    rng: Generator = streams.rng("analysis")
    estimates = estimator.estimate(panel, rng)
    if kept == panel.n_replicates:
        return estimates
    cut = {f.name: getattr(estimates, f.name)[:kept] for f in fields(Estimates)}
    return Estimates(**cut)


def _first(values: Floats, kept: int) -> Floats:
    return values if values.shape[0] == 1 else values[:kept]
