"""Clusters: what an analysis takes as independent, and what it cannot take so.

By default the unit that the design assigns. Coarser clusters need an estimator for treatment that differs
within them; finer ones than were assigned are possible, and wrong where their outcomes have something in
common.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import prod

from design_sim.designs.base import UNITS, Unit
from design_sim.estimators import Estimator
from design_sim.estimators.base import levels_below, needs_larger_clusters
from design_sim.world.delivery import Sample
from design_sim.world.outcomes import Outcome


def cluster_faults(
    estimator: Estimator,
    clusters: Unit,
    unit: Unit,
    outcome: Outcome | None,
    *,
    followed: bool,
    beside_covariate: bool,
) -> Iterator[str]:
    """Clusters that an answer cannot have, or that its estimator cannot take; `key: reason` each.

    Parameters
    ----------
    clusters, unit : {"authority", "team", "worker", "family"}
        What the answer takes as independent, and what the design assigns.
    followed : bool
        Whether families are the same at all occasions.
    beside_covariate : bool
        Whether an answer of the study adjusts for a covariate of families.
    """
    if outcome is not None and outcome.source == "record" and clusters in ("team", "worker"):
        yield f"clusters: {clusters!r} needs a surveyed outcome; records do not tell {clusters}s apart"
    if UNITS.index(unit) > UNITS.index(clusters) and not estimator.within:
        yield (
            f"clusters: treatment differs within each {clusters}, since the design assigns each {unit}, and "
            f"{estimator.estimator} needs it constant there; {unit!r} would do"
        )
    if clusters == "family" and needs_larger_clusters(estimator):
        yield (
            f"clusters: {estimator.estimator} needs to know what treated families have in common; 'worker' "
            "would do"
        )
    if clusters == "family" and estimator.needs_before and not followed:
        yield (
            f"clusters: {estimator.estimator} compares clusters with what they were before the start, when "
            "the families are others (but for sample.cohort = true)"
        )
    if estimator.by_allocation and unit == "family" and beside_covariate and not followed:
        yield (
            f"estimator: {estimator.estimator} draws on how families were dealt out, which cannot be had "
            "beside an answer that adjusts for their covariate"
        )
    if estimator.by_allocation and clusters != unit:
        yield (
            f"clusters: {estimator.estimator} draws on how chance dealt out each {unit}; allowed: {unit!r}"
        )


def level_faults(
    estimator: Estimator, sample: Sample | None, occasions: int, clusters: Unit
) -> Iterator[str]:
    """Levels that an answer wants told apart, and the study has no more units of than of the one above.

    Parameters
    ----------
    occasions : int
        How many occasions the answer reads.
    clusters : {"authority", "team", "worker", "family"}
        What the answer takes as independent, in the place of authorities.
    """
    levels = levels_below(estimator)
    if not levels:
        return
    if sample is None:
        yield f"{levels[0]} has no meaning for an outcome on record, which is known by authority"
        return
    if "family" in levels and not sample.cohort:
        yield (
            "family tells families from their observations, and the study observes other families at every "
            "occasion (sample.cohort is false)"
        )
        return
    for level in levels:
        if UNITS.index(level) <= UNITS.index(clusters):
            yield f"{level} is no level below the clusters, which are each {clusters}"
            return
    within = {"team": sample.teams, "worker": sample.workers, "family": sample.families, "": occasions}
    order = ["authority", *within]
    for above, below in pairwise((clusters, *levels, "")):
        between = order[order.index(above) + 1 : order.index(below) + 1]
        if prod(within[level] for level in between) > 1:
            continue
        if above == "family":
            yield "the answer reads one occasion of every family, and cannot tell the two apart"
        else:
            yield f"the study samples one {below or 'family'} in every {above}, and cannot tell the two apart"
