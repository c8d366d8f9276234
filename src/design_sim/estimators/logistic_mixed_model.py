"""Logistic mixed model: yes-or-no outcomes of families, a normal random intercept of the authority.

The model to choose for a binary outcome where authorities differ in numbers or families in covariates, and,
with `period_effects`, for a stepped wedge. It is fitted by maximum likelihood with adaptive Gauss-Hermite
quadrature, as lme4's glmer does. Its coefficient compares families of one authority; what is reported is by
default the difference of risks over all families that follows from it. It is biased where who is treated is
not random, given the covariates and, over time, given the period effects. With few authorities the variance
between them is underestimated, so that the normal test rejects too often; the t test with df between
authorities does so less.

Source: Breslow and Clayton (1993), Journal of the American Statistical Association 88, 9-25, for the model;
Pinheiro and Bates (1995), Journal of Computational and Graphical Statistics 4, 12-35, for the quadrature; Li
and Redden (2015), BMC Medical Research Methodology 15, 38, for the degrees of freedom.
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
from design_sim.numerics.exponential_family import BINOMIAL
from design_sim.panel import Panel


class LogisticMixedModel(GeneralisedMixedModel):
    """Effect of assigned treatment on a yes or no, with a random intercept of the authority."""

    estimator: Literal["logistic_mixed_model"] = "logistic_mixed_model"

    outcomes: ClassVar[tuple[str, ...]] = ("binary",)

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel, as `analyse_events` says; draws nothing."""
        return analyse_events(self, BINOMIAL, panel)

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """What each covariate adds for each of its units to the log odds, (replicate,) by name."""
        return covariate_coefficients(self, BINOMIAL, panel)
