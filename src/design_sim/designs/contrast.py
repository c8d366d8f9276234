"""Contrast study: pilots chosen on purpose against comparisons, workers and families sampled within.

Choose it to look closely at practice where few authorities can be had. What makes a pilot worth
choosing (readiness, quality) also moves outcomes, and a handful of authorities cannot tell a framework
from an authority: its bias is the choice, its standard error the spread between authorities.
Randomisation inference on it is "as if randomised".

Source: Baginsky et al. (2021), Signs of Safety round 2 evaluation, Department for Education: two pilots
against two authorities with other frameworks.
"""

from typing import Literal

import numpy as np

from design_sim.allocation import Allocation, two_arms
from design_sim.arrays import Bools, Floats, Ints
from design_sim.designs.base import Count, FollowUp, follow_up_faults, follow_up_occasions, highest, too_many
from design_sim.streams import Streams
from design_sim.world.audit import fidelity_score
from design_sim.world.draw import World
from design_sim.world.settings import Time, WorldSettings


class Contrast(FollowUp):
    """Set pilots against comparisons, neither drawn by lot."""

    kind: Literal["contrast"] = "contrast"
    pilots: Count
    """Authorities with the framework."""
    comparisons: Count
    """Authorities without it."""
    pilots_by: Literal["reputation", "rating", "fidelity_score", "chance"] = "reputation"
    """What pilots are chosen by: the best reputed, the best rated (ties by chance), those with the highest
    fidelity score (of the audit `world.audit`, of the framework as each authority would implement it), or
    any."""
    comparisons_by: Literal["chance", "rating"] = "chance"
    """Comparisons: any, or those whose rating is nearest to the pilots' mean rating (ties by chance)."""

    def allocate(self, world: World, streams: Streams) -> Allocation:
        """Choose pilots by the highest score and comparisons from the rest."""
        chance = streams.rng("enrolment").random((2, world.n_replicates, world.n_authorities))
        pilots = highest(self._promise(world, chance[0]), self.pilots)
        likeness = chance[1]
        if self.comparisons_by == "rating":
            rating = world.events.rating
            aim = np.take_along_axis(rating, pilots, axis=1).mean(axis=1, keepdims=True)
            likeness = likeness - np.abs(rating - aim) * 10
        np.put_along_axis(likeness, pilots, -np.inf, axis=1)
        comparisons = highest(likeness, self.comparisons)
        unit = np.concatenate([pilots, comparisons], axis=1)
        return two_arms(unit, self.pilots, world.settings.time.start, randomised=False)

    def occasions(self, time: Time) -> tuple[Ints, Bools]:
        """The baseline years and the follow-up year."""
        return follow_up_occasions(self, time)

    def n_enrolled(self, world: WorldSettings) -> int:
        """Pilots and comparisons."""
        return self.pilots + self.comparisons

    @property
    def n_treated(self) -> int:
        """The pilots."""
        return self.pilots

    def faults(self, world: WorldSettings) -> list[str]:
        """More authorities or years than there are, or a choice by what nobody scores."""
        wanted = self.pilots + self.comparisons
        faults = too_many("pilots and comparisons", wanted, world) + follow_up_faults(self, world.time)
        if self.pilots_by == "fidelity_score" and world.audit is None:
            faults.append(
                "pilots_by: 'fidelity_score' needs the table world.audit, which says how it is scored"
            )
        return faults

    def _promise(self, world: World, chance: Floats) -> Floats:
        """What the choice of pilots goes by, ties broken by chance: (replicate, authority)."""
        if self.pilots_by == "reputation":
            return world.reputation
        if self.pilots_by == "fidelity_score":
            score = np.broadcast_to(fidelity_score(world), chance.shape)
            return np.lexsort((chance, score), axis=1).argsort(axis=1).astype(np.float64)
        return chance if self.pilots_by == "chance" else world.events.rating + chance
