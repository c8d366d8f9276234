"""Poisson mixed model: numbers of events, a normal random intercept of the authority.

The model to choose for events that a family or child can have several times, and for rates with a
denominator: a cell's n are its units of exposure, and its mean the events of each, so that n x mean are its
events and log n is the offset. For a yes or no it stands in for the logistic model where risks are low, and
errs on the safe side, since the variance of an event is taken as p and not p (1 - p). Otherwise as the
logistic mixed model, whose caveats hold; events that come in bunches within an authority's cells
(overdispersion) make its standard error too small.

Source: Breslow and Clayton (1993), Journal of the American Statistical Association 88, 9-25; Li and Redden
(2015), BMC Medical Research Methodology 15, 38, for the degrees of freedom.
"""

from typing import ClassVar, Literal

from numpy.random import Generator

from design_sim.arrays import Floats
from design_sim.estimators.base import Estimates
from design_sim.estimators.generalised_mixed_model import (
    GeneralisedMixedModel,
    analyse_events,
    covariate_coefficients,
)
from design_sim.numerics.exponential_family import POISSON
from design_sim.panel import Panel


class PoissonMixedModel(GeneralisedMixedModel):
    """Effect of assigned treatment on a rate of events, with a random intercept of the authority."""

    estimator: Literal["poisson_mixed_model"] = "poisson_mixed_model"

    outcomes: ClassVar[tuple[str, ...]] = ("count", "binary")

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel, as `analyse_events` says; draws nothing."""
        return analyse_events(self, POISSON, panel)

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """What each covariate adds for each of its units to the log rate, (replicate,) by name."""
        return covariate_coefficients(self, POISSON, panel)
