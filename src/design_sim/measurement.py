"""Measurement: what is observed of a delivery, as the panel that an analyst is handed."""

from collections.abc import Sequence

import numpy as np

from design_sim.allocation import Allocation
from design_sim.arrays import Bools, Floats
from design_sim.cells import Cells
from design_sim.panel import Panel
from design_sim.world.delivery import Delivery
from design_sim.world.draw import World, enrolled

COVARIATES = {
    "baseline": "mean outcome of the authority in the years before the start",
    "deprivation": "deprivation of the authority, standardised",
    "rating": "last inspection rating before the start, 0 inadequate to 3 outstanding",
}
"""What an analyst can adjust for, by name."""


def observe(
    world: World,
    allocation: Allocation,
    delivery: Delivery,
    outcome: Cells,
    follow_up: Bools,
    covariates: Sequence[str],
    alpha: float,
) -> Panel:
    """The panel of one study: outcomes, assignment and the covariates asked for.

    Parameters
    ----------
    outcome : Cells
        The delivery's outcome as stated, or that of its null twin.
    follow_up : bool array, (occasion,)
        Which of the delivery's occasions arms are compared on.
    covariates : sequence of str
        Keys of `COVARIATES`.
    alpha : float
        Two-sided level of the study's tests.
    """
    roster = delivery.roster
    by_authority = {
        name: _covariate(name, world, allocation, delivery, outcome, follow_up) for name in covariates
    }
    return Panel(
        roster=roster,
        cells=outcome,
        start=allocation.start,
        occasions=delivery.occasions,
        follow_up=follow_up,
        law=allocation.law,
        alpha=alpha,
        covariates={name: roster.spread(values, "authority") for name, values in by_authority.items()},
    )


def _covariate(
    name: str, world: World, allocation: Allocation, delivery: Delivery, outcome: Cells, follow_up: Bools
) -> Floats:
    """A covariate of the enrolled authorities, (replicate, authority)."""
    if name == "baseline":
        baseline: Floats = outcome.pool(delivery.roster, "authority").over(~follow_up).mean[:, :, 0]
        return baseline
    values = world.deprivation if name == "deprivation" else world.rating.astype(np.float64)
    return enrolled(values, allocation.unit)
