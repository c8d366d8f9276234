"""Cluster randomised trial: authorities drawn by chance, and by chance offered the framework or not.

Choose it where authorities will let chance decide. Nothing in it biases the effect of being offered;
informal use among the comparison authorities is part of what it compares with. Few authorities make it
weak, and its inference delicate.

Source: Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials in Health Research.
"""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.allocation import Allocation, two_arms
from design_sim.arrays import Bools, Ints
from design_sim.designs.base import Count, FollowUp, follow_up_faults, follow_up_occasions, too_many
from design_sim.streams import Streams
from design_sim.world.draw import World
from design_sim.world.settings import Time, WorldSettings


class ClusterRCT(FollowUp):
    """Randomise authorities, half of them to the framework unless `treated` says otherwise."""

    kind: Literal["cluster_rct"] = "cluster_rct"
    authorities: Annotated[int, Field(ge=2, le=100_000)]
    """Authorities enrolled, drawn by chance from all."""
    treated: Count | None = None
    """How many of them are randomised to the framework; half, rounded down, if not given."""

    @model_validator(mode="after")
    def _both_arms(self) -> Self:
        if self.treated is not None and self.treated >= self.authorities:
            raise ValueError(f"treated {self.treated} leaves none of {self.authorities} to compare with")
        return self

    def allocate(self, world: World, streams: Streams) -> Allocation:
        """Enrol by chance and randomise: a random order of all authorities, treated slots first."""
        order = np.tile(np.arange(world.n_authorities), (world.n_replicates, 1))
        streams.rng("allocation").permuted(order, axis=1, out=order)
        unit = order[:, : self.authorities]
        return two_arms(unit, self.n_treated, world.settings.time.start, randomised=True)

    @property
    def n_treated(self) -> int:
        """How many are treated."""
        return self.authorities // 2 if self.treated is None else self.treated

    def occasions(self, time: Time) -> tuple[Ints, Bools]:
        """The baseline years and the follow-up year."""
        return follow_up_occasions(self, time)

    def n_enrolled(self, world: WorldSettings) -> int:
        """Both arms."""
        return self.authorities

    def faults(self, world: WorldSettings) -> list[str]:
        """More authorities or years than there are."""
        return too_many("authorities", self.authorities, world) + follow_up_faults(self, world.time)
