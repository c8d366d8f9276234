"""Contrast study: pilots chosen on purpose against comparisons, workers and families sampled within.

Choose it to look closely at practice where few authorities can be had. What makes a pilot worth
choosing (readiness, quality) also moves outcomes, and a handful of authorities cannot tell a framework
from an authority: its bias is the choice, its standard error the spread between authorities. Matching takes
out what is known of authorities before the start, and no more.
Randomisation inference on it is "as if randomised".

Source: Baginsky et al. (2021), Signs of Safety round 2 evaluation, Department for Education: two pilots
against two authorities with other frameworks.
"""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.allocation import Allocation, two_arms
from design_sim.arrays import Bools, Floats, Ints
from design_sim.designs.balance import KNOWN, Known
from design_sim.designs.base import Count, FollowUp, follow_up_faults, follow_up_occasions, highest, too_many
from design_sim.designs.matching import (
    OTHER_KIND,
    chance_of_too_few,
    nearest,
    of_kind,
    places_of,
    share_of_kind,
)
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
    pilots_by: Literal["reputation", "rating", "fidelity_score", "willingness", "chance"] = "reputation"
    """What pilots are chosen by: the best reputed, the best rated (ties by chance), those with the highest
    fidelity score (of the audit `world.audit`, of the framework as each authority would implement it), those
    that would adopt most readily (the propensity of `world.adoption`), or any."""
    comparisons_by: Literal["chance", "rating", "matched"] = "chance"
    """Comparisons: any, those whose rating is nearest to the pilots' mean rating (ties by chance), or each
    pilot's nearest neighbours in `match_on`: pilots in turn, nobody taken twice, Mahalanobis distance."""
    match_on: Annotated[tuple[Known, ...], Field(strict=False)] = ()
    """What is matched on: size, deprivation, rating, baseline."""
    comparisons_with: Literal["any", "no_framework", "rival"] = "any"
    """What comparisons have of their own before the start: whatever it be, nothing (neither informal use of
    this framework nor a rival), or the rival framework (`world.rival`). Where a replicate has too few of the
    kind, others stand in, chosen in the same way; a report says how often."""

    @model_validator(mode="after")
    def _matched_on_something(self) -> Self:
        if self.comparisons_by == "matched" and not self.match_on:
            raise ValueError(f"comparisons_by = 'matched' needs match_on, some of {', '.join(KNOWN)}")
        if self.comparisons_by != "matched" and self.match_on:
            raise ValueError("match_on has no effect without comparisons_by = 'matched'")
        if len(set(self.match_on)) < len(self.match_on):
            raise ValueError("match_on: name what is matched on, each once")
        return self

    def allocate(self, world: World, streams: Streams) -> Allocation:
        """Choose pilots by the highest score and comparisons from the rest."""
        chance = streams.rng("enrolment").random((2, world.n_replicates, world.n_authorities))
        pilots = highest(self._promise(world, chance[0]), self.pilots)
        comparisons = self._likest(world, pilots, chance[1])
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
        """More authorities or years than there are, or a choice by what nobody knows."""
        wanted = self.pilots + self.comparisons
        faults = too_many("pilots and comparisons", wanted, world) + follow_up_faults(self, world.time)
        if self.pilots_by == "fidelity_score" and world.audit is None:
            faults.append(
                "pilots_by: 'fidelity_score' needs the table world.audit, which says how it is scored"
            )
        if self.pilots_by == "willingness" and world.adoption is None:
            faults.append(
                "pilots_by: 'willingness' needs the table world.adoption, which says who would adopt"
            )
        return faults + self._kind_faults(world)

    def stand_ins(self, world: WorldSettings) -> float:
        """Chance that some comparisons are not of the kind that is wanted, for want of such authorities."""
        return chance_of_too_few(world, self.comparisons_with, self.pilots, self.comparisons)

    def _kind_faults(self, world: WorldSettings) -> list[str]:
        """Comparisons of a kind of which the world has none, or on average too few."""
        kind = self.comparisons_with
        if kind == "rival" and world.rival is None:
            return ["comparisons_with: 'rival' needs the table world.rival"]
        there = max(world.authorities - self.pilots, 0) * share_of_kind(world, kind)
        if kind == "any" or there >= self.comparisons:
            return []
        shares = "world.rival.share" if kind == "rival" else "world.informal.share, world.rival.share"
        return [
            f"comparisons_with: {kind!r} wants {self.comparisons} authorities, and the world has {there:.3g} "
            f"beside the pilots on average ({shares})"
        ]

    def _promise(self, world: World, chance: Floats) -> Floats:
        """What the choice of pilots goes by, ties broken by chance: (replicate, authority)."""
        if self.pilots_by == "reputation":
            return world.reputation
        if self.pilots_by == "willingness":
            return -world.adoption_order.argsort(axis=1).astype(np.float64)
        if self.pilots_by == "fidelity_score":
            score = np.broadcast_to(fidelity_score(world), chance.shape)
            return np.lexsort((chance, score), axis=1).argsort(axis=1).astype(np.float64)
        return chance if self.pilots_by == "chance" else world.events.rating + chance

    def _likest(self, world: World, pilots: Ints, chance: Floats) -> Ints:
        """The comparisons, those that are wanted most first: (replicate, comparison)."""
        wanted = of_kind(world, self.comparisons_with)
        if self.comparisons_by == "matched":
            places = places_of(world, self.outcome, self.match_on)
            return nearest(places, pilots, wanted, chance, self.comparisons)
        likeness = chance
        if self.comparisons_by == "rating":
            rating = world.events.rating
            aim = np.take_along_axis(rating, pilots, axis=1).mean(axis=1, keepdims=True)
            likeness = likeness - np.abs(rating - aim) * 10
        if not wanted.all():
            likeness = np.where(wanted, likeness, likeness - OTHER_KIND)
        np.put_along_axis(likeness, pilots, -np.inf, axis=1)
        return highest(likeness, self.comparisons)
