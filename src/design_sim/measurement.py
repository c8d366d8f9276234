"""Measurement: what is observed of a delivery, as the panel that an analyst is handed.

In this order: pilots that left are replaced; families that do not consent or are lost at random are never
seen (fewer are drawn, which is exact); others are lost for their outcome; what is seen is measured with
error; observers who know the arm shade it; figures of whole authorities and years go missing; pilots that
left are dropped or censored. Each is off by default, and then draws nothing. Of a cohort, whoever is lost
stays lost.

Decision: where loss depends on the outcome, the stated loss is that of families whose outcomes are those
without any framework, on average over them: the share that a report of the trial would give, rather than the
chance of a family at the mean, whom nobody can find. An effect that improves outcomes then keeps more
families, and the null twin has the stated loss. The outcome that counts is the true one, and families are
drawn singly. In a cohort that of the first follow-up counts, and decides for all later ones: so the stated
loss is that of the first follow-up, and of all. All occasions of a wedge are follow-up, so that of its cohort
the lost are never seen.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import special

from design_sim.allocation import NEVER, Allocation
from design_sim.arrays import Bools, Floats, Ints
from design_sim.cells import Cells
from design_sim.leavers import left_out
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.stated import Quantity, Stated
from design_sim.world.audit import fidelity_score, observed_score
from design_sim.world.delivery import Delivery
from design_sim.world.draw import World, enrolled
from design_sim.world.logit_normal import NORMAL_POINTS, centre_for
from design_sim.world.outcome import Outcome, national_mean
from design_sim.world.settings import WorldSettings

COVARIATES = {
    "baseline": "mean outcome of the authority in the years before the start",
    "deprivation": "deprivation of the authority, standardised",
    "rating": "last inspection rating before the start, 0 inadequate to 3 outstanding",
    "covariate": "covariate of each family, as the outcome states it (outcomes.NAME.covariate), standardised",
    "own_baseline": "mean outcome of each family in the years before the start, as measured; of families "
    "that are followed from before it (sample.cohort with baseline_years)",
    "competence": "competence of each sampled worker, as the study measures it "
    "(measurement.competence_reliability), standardised",
    "fidelity_score": "score of the authority's fidelity in the audit that the world states (world.audit): "
    "of the framework as it would implement it, not of what it practises in the study",
}
"""What an analyst can adjust for, by name."""
OF_FAMILIES = frozenset({"covariate"})
"""The covariates that families of a worker differ in, as their outcome states them."""
OF_COHORTS = frozenset({"own_baseline"})
"""The covariates that families of a worker differ in, as they were before the start."""
OF_WORKERS = frozenset({"competence"})
"""The covariates that workers of an authority differ in, and families of a worker not."""


class Measurement(Stated):
    """What stands between an outcome and the figures that an analyst has of it."""

    reliability: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the variance between families, as measured once, that is true; the rest is random error. 1 for
    the outcome itself. Continuous outcomes only."""
    visits: Annotated[int, Field(ge=1, le=100)] = 1
    """Times that each family is measured, such as visits observed or interviews held; its outcome is their
    mean, of reliability k r / (1 + (k - 1) r) after k of them (Spearman-Brown). Their errors are independent
    of each other; what an observer who knows the arm adds does not average out."""
    competence_reliability: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the variance of workers' competence, as measured, that is true, for answers that adjust for
    `competence`; left out, it is not measured. Cronbach's alpha of a scale of child welfare competence was
    .89 to .97 (Lu et al. 2011)."""
    observer_bias: Quantity = 0.0
    """What observers who know the arm add to each treated family's outcome after the start, in the outcome's
    units (assumption); surveyed outcomes only."""
    consent: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Chance of a sampled family to be observed at all, at random; .46 were in a trial in children's
    services. Surveyed outcomes only."""
    loss_treated: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of treated families lost by the follow-up (parents seen again after six months in Signs of Safety
    pilots: 60 to 64 %), at random unless `loss_by_outcome` says otherwise; surveyed outcomes only."""
    loss_comparison: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The same in comparison authorities."""
    loss_by_outcome: Annotated[float, Field(ge=-10, le=10)] = 0.0
    """What the log-odds of being lost gain for each standard deviation that the family's outcome is worse
    than the national mean (assumption). The stated losses are then means over families without any framework:
    exact for normal outcomes and for those of yes or no."""
    missing_years: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Chance of an authority's figures of a year to be missing, at random."""
    leavers: Literal["keep", "drop", "censor", "replace"] = "keep"
    """What the analyst does with pilots that left the framework: keeps them as allocated, drops them whole,
    censors their years without it, or replaces them, in all years, by authorities outside the study that
    have had it since the study's start: informal users first, then those whose quality has risen most. The
    estimand is the same."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("the table is empty; leave it out, or state what is measured how")
        if self.visits > 1 and self.reliability == 1:
            raise ValueError("visits have no effect while reliability is 1: one tells all")
        if self.loss_by_outcome and not self.loses_some:
            raise ValueError("loss_by_outcome has no effect while loss_treated and loss_comparison are 0")
        return self

    @property
    def loses_some(self) -> bool:
        """Whether some families are lost between consent and follow-up."""
        return self.loss_treated > 0 or self.loss_comparison > 0

    @property
    def error_ratio(self) -> float:
        """Variance of the error of a family's outcome, over all its visits, as a multiple of the true one."""
        return (1 - self.reliability) / (self.visits * self.reliability)

    @property
    def drawn_singly(self) -> bool:
        """Whether what is seen of a family depends on the family, so that each must be drawn."""
        return self.loss_by_outcome != 0


def measurement_faults(
    measurement: Measurement, outcome: Outcome, world: WorldSettings, *, whole: bool = True
) -> list[str]:
    """What has no effect on an outcome, or cannot be had, `key: reason` each.

    `whole` is whether treatment is that of whole authorities.
    """
    faults = []
    if measurement.leavers != "keep" and not whole:
        faults.append(
            f"leavers: {measurement.leavers!r} is a rule for pilots that left, and here every authority has "
            "both arms; allowed: 'keep'"
        )
    if measurement.reliability < 1 and outcome.kind != "continuous":
        faults.append(
            f"reliability: {measurement.reliability:g} has no meaning for a {outcome.kind} outcome, whose "
            "errors are not normal; allowed for continuous ones"
        )
    if outcome.source != "survey":
        for key in ("observer_bias", "consent", "loss_treated", "loss_comparison", "loss_by_outcome"):
            if getattr(measurement, key) != Measurement.model_fields[key].default:
                faults.append(f"{key}: has no effect, since the outcome is recorded for everyone")
    if measurement.leavers != "keep" and world.leaving is None:
        faults.append(f"leavers: {measurement.leavers!r} has no effect without the table world.leaving")
    return faults


def reached(measurement: Measurement | None, allocation: Allocation, follow_up: Bools) -> Floats | None:
    """Chance of a sampled family to be seen, but for what its outcome does.

    (1 or replicate, assigned, occasion), by what is assigned; None where everybody is.
    """
    at_random = measurement is not None and measurement.loses_some and not measurement.loss_by_outcome
    if measurement is None or (measurement.consent == 1 and not at_random):
        return None
    if not at_random:
        return np.full((1, allocation.start.shape[1], follow_up.size), measurement.consent)
    treated = (allocation.start < NEVER)[:, :, np.newaxis]
    kept = np.where(treated, 1 - measurement.loss_treated, 1 - measurement.loss_comparison)
    return measurement.consent * np.where(follow_up, kept, 1.0)


def measured(
    measurement: Measurement,
    world: World,
    allocation: Allocation,
    delivery: Delivery,
    outcome: tuple[str, Cells],
    follow_up: Bools,
    *,
    followed: bool = False,
) -> Cells:
    """An outcome of a delivery as it is on the analyst's table, (replicate, row, occasion).

    Parameters
    ----------
    outcome : name and Cells
        The true outcome; stated study and null twin meet the same errors.
    follow_up : bool array, (occasion,)
        The occasions by which families may be lost.
    followed : bool
        Whether a row is the same family at all occasions.
    """
    name, cells = outcome
    if measurement.loss_by_outcome:
        chance = loss_chance(measurement, world, allocation, delivery, outcome)
        shape = cells.mean.shape
        if followed:
            first = int(np.argmax(follow_up))
            chance, shape = chance[:, :, first : first + 1], (*shape[:2], 1)
        draw = world.streams.rng("loss_by_outcome", name).random(shape)
        cells = without(cells, draw < chance * follow_up)
    if measurement.reliability < 1:
        total = world.outcomes[name].sd
        sd = total * np.sqrt(measurement.error_ratio)
        cells = with_error(cells, float(sd), world, name)
    occasions, roster = delivery.occasions, delivery.roster
    if measurement.observer_bias:
        practised = row_starts(allocation, delivery)[:, :, np.newaxis] <= occasions
        shade = measurement.observer_bias * practised.astype(np.float64)
        cells = Cells(cells.n, cells.mean + shade, cells.ss)
    gone = np.zeros((1, roster.n_units("authority"), occasions.size), dtype=np.bool_)
    if measurement.missing_years:
        years, of_year = np.unique(world.settings.time.year_of(occasions), return_inverse=True)
        shape = (world.n_replicates, roster.n_units("authority"), years.size)
        missing = world.streams.rng("missing_years", name).random(shape) < measurement.missing_years
        gone = gone | missing[:, :, of_year]
    if measurement.leavers in ("drop", "censor"):
        gone = gone | left_out(measurement.leavers, world, allocation, occasions)
    return without(cells, roster.spread(gone.astype(np.float64), "authority") > 0) if gone.any() else cells


def loss_chance(
    measurement: Measurement,
    world: World,
    allocation: Allocation,
    delivery: Delivery,
    outcome: tuple[str, Cells],
) -> Floats:
    """Chance of each family to be lost for its outcome by the follow-up, (replicate, row, occasion).

    Inverse logit of (base of the arm + loss_by_outcome x how many SDs the outcome is worse than the national
    mean without any framework); nan where there is no family.
    """
    name, cells = outcome
    stated = world.outcomes[name]
    mean = national_mean(stated, world.settings.time.years[delivery.occasions])
    slope = measurement.loss_by_outcome * (1.0 if stated.better == "lower" else -1.0) / stated.sd
    binary = stated.kind == "binary"
    treated, comparison = (
        np.array([_base_of(loss, slope, stated.sd, float(at) if binary else None) for at in mean])
        for loss in (measurement.loss_treated, measurement.loss_comparison)
    )
    base = np.where((row_starts(allocation, delivery) < NEVER)[:, :, np.newaxis], treated, comparison)
    worse = slope * (cells.mean - mean)
    chance: Floats = special.expit(base + worse)
    return chance


def row_starts(allocation: Allocation, delivery: Delivery) -> Ints:
    """First treated occasion of every row of a delivery, (replicate or 1, row)."""
    if delivery.start is not None:
        return delivery.start
    return delivery.roster.spread(allocation.start, allocation.assigned)


@cache
def _base_of(loss: float, slope: float, sd: float, risk: float | None) -> float:
    """Log-odds of loss at the national mean for which so many are lost of all, with a slope for each unit.

    Outcomes are normal around it with an SD, or yes or no with a risk.
    """
    if loss == 0:
        return -np.inf
    if risk is None:
        places, weights = NORMAL_POINTS
        return centre_for(loss, slope * sd * places, weights)
    return centre_for(loss, slope * np.array([-risk, 1 - risk]), np.array([1 - risk, risk]))


def with_error(cells: Cells, sd: float, world: World, name: str) -> Cells:
    """Cells of families each of whose outcomes has a normal error: exact for mean and sum of squares.

    Notes
    -----
    The errors' deviations point in a uniform direction whatever the outcomes are. With z the part of them
    along the outcomes' own deviations, in SDs of the error, the sum of squares becomes
    (root of ss + sd z)^2 + sd^2 chi-square(n - 2).
    """
    rng = world.streams.rng("measurement_error", name)
    n, shape = np.maximum(cells.n, 1.0), cells.mean.shape
    mean = cells.mean + sd / np.sqrt(n) * rng.standard_normal(shape)
    if cells.ss is None or (cells.n <= 1).all():
        return Cells(cells.n, mean, cells.ss)
    along = rng.standard_normal(shape)
    across = 2 * rng.standard_gamma(np.broadcast_to(np.maximum(n - 2, 0) / 2, shape))
    ss = (np.sqrt(cells.ss) + sd * along) ** 2 + sd**2 * across
    return Cells(cells.n, mean, np.where(cells.n > 1, ss, 0.0))


def without(cells: Cells, gone: Bools) -> Cells:
    """The cells with nobody in those that are gone, (replicate or 1, row, occasion)."""
    n = np.where(gone, 0.0, cells.n)
    mean = np.where(gone, np.nan, cells.mean)
    return Cells(n, mean, None if cells.ss is None else np.where(gone, 0.0, cells.ss))


def observe(
    world: World,
    allocation: Allocation,
    rows: tuple[Roster, Ints],
    outcome: Cells,
    follow_up: Bools,
    covariates: Sequence[str],
    alpha: float,
    known: Mapping[str, Floats] | None = None,
) -> Panel:
    """The panel of one study: outcomes, assignment and the covariates asked for.

    Parameters
    ----------
    rows : Roster and int array, (occasion,)
        What the outcome's rows are, and the occasions observed.
    outcome : Cells
        The outcome as stated, or that of its null twin.
    follow_up : bool array, (occasion,)
        Which of the delivery's occasions arms are compared on.
    covariates : sequence of str
        Keys of `COVARIATES`.
    alpha : float
        Two-sided level of the study's tests.
    known : mapping of float arrays, (replicate, row), optional
        The covariates of the rows' families and workers, where they are asked for.
    """
    roster, occasions = rows
    by_authority = {
        name: _covariate(name, world, allocation, roster, outcome, follow_up)
        for name in covariates
        if name not in OF_FAMILIES | OF_COHORTS | OF_WORKERS
    }
    of_rows = dict(known or {})
    if OF_COHORTS.intersection(covariates):
        of_rows["own_baseline"] = outcome.over(~follow_up).mean[:, :, 0]
    scored = None
    if world.settings.audit and allocation.assigned == "authority":
        scored = observed_score(world, allocation, int(occasions[-1]))
    return Panel(
        roster=roster,
        cells=outcome,
        start=allocation.start,
        occasions=occasions,
        follow_up=follow_up,
        law=allocation.law,
        assigned=allocation.assigned,
        alpha=alpha,
        covariates=of_rows
        | {name: roster.spread(values, "authority") for name, values in by_authority.items()},
        fidelity_score=scored,
    )


def _covariate(
    name: str, world: World, allocation: Allocation, roster: Roster, outcome: Cells, follow_up: Bools
) -> Floats:
    """A covariate of the enrolled authorities, (replicate, authority)."""
    if name == "baseline":
        baseline: Floats = outcome.pool(roster, "authority").over(~follow_up).mean[:, :, 0]
        return baseline
    if name == "fidelity_score":
        scored = enrolled(fidelity_score(world), allocation.unit)
        return np.broadcast_to(scored, allocation.unit.shape)
    values = world.deprivation if name == "deprivation" else world.events.rating.astype(np.float64)
    return enrolled(values, allocation.unit)
