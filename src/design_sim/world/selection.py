"""Selection: who would adopt the framework unprompted, and why.

Propensity = sum of weight x reason + noise of variance 1; adopters are those that stand highest. Where
reasons are independent and standardised, one of weight w makes w^2 / (1 + sum of w^2) of its variance.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from design_sim.arrays import Floats, Ints
from design_sim.world.events import last_year_before
from design_sim.world.outcome import national_mean
from design_sim.world.settings import Adoption

if TYPE_CHECKING:
    from design_sim.world.draw import World


def adoption_order(world: "World") -> Ints:
    """The authorities from the most to the least likely to adopt, (replicate, authority)."""
    propensity = world.normal("adoption")
    if world.settings.adoption:
        for weight, reason in _reasons(world, world.settings.adoption):
            if weight:
                propensity = propensity + weight * reason()
    order: Ints = np.argsort(-propensity, axis=1, kind="stable")
    return order


def _reasons(world: "World", adoption: Adoption) -> list[tuple[float, Callable[[], Floats]]]:
    """The weights of adoption's reasons, and how each is had: (replicate, authority), standardised."""
    last, outcome = last_year_before(world.settings.time), str(adoption.bad_year_outcome)
    return [
        (adoption.quality_weight, lambda: world.quality_in(last)),
        (adoption.bad_year_weight, lambda: badness(world, outcome, last)),
        (
            adoption.worsening_weight,
            lambda: badness(world, outcome, last) - badness(world, outcome, last - 1),
        ),
        (adoption.deprivation_weight, lambda: world.deprivation),
        (adoption.requires_improvement_weight, lambda: _requires_improvement(world)),
    ]


def _requires_improvement(world: "World") -> Floats:
    """Whether the rating requires improvement, standardised by its stated share."""
    share = world.settings.rating.requires_improvement
    which: Floats = ((world.events.rating == 1) - share) / np.sqrt(share * (1 - share))
    return which


def badness(world: "World", name: str, year: int) -> Floats:
    """How bad an outcome's recorded year was, in standard deviations between authorities.

    Parameters
    ----------
    name : str
        A recorded outcome.
    year : int
        The year, from 0, the first on record.
    """
    outcome, time = world.outcomes[name], world.settings.time
    at = time.occasions_of(year)
    recorded = world.record(name).mean[:, :, at].mean(axis=2)
    centred = recorded - national_mean(outcome, time.years[at]).mean()
    worse = 1.0 if outcome.better == "lower" else -1.0
    spread = outcome.authority_sd or float(centred.std()) or 1.0
    of_year: Floats = worse * centred / spread
    return of_year
