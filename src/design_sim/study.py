"""Study: a design with its answers, and how finely its families have to be drawn for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from design_sim.cohorts import follows_families, is_followed
from design_sim.designs import Design
from design_sim.designs.base import Unit, assigned_unit
from design_sim.estimands import Estimand
from design_sim.estimators import Estimator
from design_sim.measurement import OF_FAMILIES, OF_WORKERS
from design_sim.world.delivery import Resolution
from design_sim.world.outcomes import Outcome


class Answer(NamedTuple):
    """An estimator together with the estimand that it is judged against; always a pair.

    `clusters` is what the analysis takes as independent; None for the unit that the design assigns.
    """

    estimator: Estimator
    estimand: Estimand
    clusters: Unit | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """A design and its answers, by name."""

    design: Design
    answers: Mapping[str, Answer]

    def clusters_of(self, answer: Answer) -> Unit:
        """What an answer takes as independent: what it says, or the unit that the design assigns."""
        return answer.clusters or assigned_unit(self.design)


def wanted_resolution(study: Study, resolution: str) -> Resolution:
    """The resolution that answers get: as stated, or for `auto` the coarsest that they can work with."""
    families = any(needs_families(study, answer) for answer in study.answers.values())
    return "unit" if resolution == "unit" or (resolution == "auto" and families) else "cell"


def needs_families(study: Study, answer: Answer) -> bool:
    """Whether an answer reads families singly, a covariate that they differ in, or has them as clusters."""
    estimator = answer.estimator
    singly = estimator.needs == "families" or not OF_FAMILIES.isdisjoint(estimator.covariates)
    return singly or follows_families(estimator) or study.clusters_of(answer) == "family"


def asks_of_families(study: Study) -> bool:
    """Whether an answer reads a covariate of families."""
    return any(not OF_FAMILIES.isdisjoint(answer.estimator.covariates) for answer in study.answers.values())


def asks_of_workers(study: Study) -> bool:
    """Whether an answer reads a covariate of workers."""
    return any(not OF_WORKERS.isdisjoint(answer.estimator.covariates) for answer in study.answers.values())


def drawn_resolution(study: Study, outcome: Outcome, resolution: str) -> Resolution:
    """The resolution that is drawn: single families where answers get them, or are not exchangeable."""
    measurement = study.design.measurement
    singly = outcome.drawn_singly or (measurement is not None and measurement.drawn_singly)
    singly = singly or is_followed(study.design)
    return "unit" if singly else wanted_resolution(study, resolution)
