"""Cluster randomised trial: authorities drawn by chance, and by chance offered the framework or not.

Choose it where authorities will let chance decide. Nothing in it biases the effect of being offered;
informal use among the comparison authorities is part of what it compares with. Few authorities make it
weak, and its inference delicate. Teams or workers of an authority can be randomised in its place: then
authorities are the same in both arms and units are many; but what a treated worker practises can reach the
colleagues of her team (contamination), which makes the arms alike.

Decision: `contamination` reaches within a team alone. It is no part of any estimand, since without the
study nobody would have it.

Source: Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials in Health Research; on
contamination, Torgerson (2001), British Medical Journal 322, 355-357.
"""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.allocation import Allocation, two_arms
from design_sim.arrays import Bools, Ints
from design_sim.designs.balance import Balance, balance_faults, balanced
from design_sim.designs.base import Count, FollowUp, follow_up_faults, follow_up_occasions, too_many
from design_sim.designs.dealing import Within, deal, quotas, strata_of
from design_sim.stated import OpenShare, Share
from design_sim.streams import Streams
from design_sim.world.delivery import Sample
from design_sim.world.draw import World
from design_sim.world.settings import Time, WorldSettings


class ClusterRCT(FollowUp):
    """Randomise authorities, their sampled teams, or workers; half of them to the framework if not stated."""

    kind: Literal["cluster_rct"] = "cluster_rct"
    authorities: Annotated[int, Field(ge=2, le=100_000)]
    """Authorities enrolled, drawn by chance from all."""
    treated: Count | None = None
    """How many of them are randomised to the framework; half, rounded down, if not given."""
    balance: Balance | None = None
    """What chance is held in check by; without the table every choice of the arms is as likely."""
    unit: Literal["authority", "team", "worker"] = "authority"
    """What is randomised; the sampled teams or workers of a surveyed outcome, or whole authorities."""
    within: Literal["study", "authority", "team"] | None = None
    """For teams and workers: within what chance deals arms out, each with its share of both; authority if
    not given."""
    treated_share: OpenShare | None = None
    """For teams and workers: the share of them that is randomised to the framework; 0.5 if not given."""
    contamination: Share = 0.0
    """For workers: what reaches a comparison worker, on top of what she does anyway, as a share of the mean
    gain in dose of the treated workers of her team, times their share of the team (assumption)."""

    @model_validator(mode="after")
    def _belongs_to_the_unit(self) -> Self:
        of_authorities, below = ("treated", "balance"), ("within", "treated_share")
        for key in below if self.unit == "authority" else of_authorities:
            if getattr(self, key) is not None:
                raise ValueError(f"{key} has no effect with unit {self.unit!r}")
        if self.contamination and self.unit != "worker":
            raise ValueError(f"contamination has no effect with unit {self.unit!r}, only with 'worker'")
        if self.unit == "team" and self.within == "team":
            raise ValueError("within 'team' has no meaning where teams are randomised")
        return self

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
        if self.unit != "authority":
            rng = streams.rng("dealing")
            return deal(world, unit, self._sampled, (self.unit, self._within, self._share), rng)
        if self.balance is None:
            return two_arms(unit, self.n_treated, world.settings.time.start, randomised=True)
        rng = streams.rng("balance")
        return balanced(self.balance, world, self.outcome, unit, self.n_treated, rng)

    @property
    def n_treated(self) -> int:
        """How many authorities are treated; all of them where arms are dealt out within authorities."""
        if self.unit != "authority":
            return self.authorities
        return self.authorities // 2 if self.treated is None else self.treated

    @property
    def _within(self) -> Within:
        return self.within or "authority"

    @property
    def _share(self) -> float:
        return 0.5 if self.treated_share is None else self.treated_share

    @property
    def _sampled(self) -> Sample:
        """The sample, without which there are no units below the authority: ValueError."""
        if self.sample is None:
            raise ValueError(f"unit {self.unit!r} needs a sample")
        return self.sample

    def occasions(self, time: Time) -> tuple[Ints, Bools]:
        """The baseline years and the follow-up year."""
        return follow_up_occasions(self, time)

    def n_enrolled(self, world: WorldSettings) -> int:
        """Both arms."""
        return self.authorities

    def faults(self, world: WorldSettings) -> list[str]:
        """More authorities or years than there are."""
        faults = too_many("authorities", self.authorities, world) + follow_up_faults(self, world.time)
        if self.balance:
            faults += balance_faults(self.balance, self.authorities, self.n_treated)
        return faults + self._unit_faults()

    def _unit_faults(self) -> list[str]:
        """Why sampled units cannot be dealt out: there are none, or too few for two arms."""
        if self.unit == "authority":
            return []
        if self.sample is None:
            return [f"unit: {self.unit!r} needs the table sample, which says how many there are"]
        if self.contamination and self.sample.workers == 1:
            return ["contamination: has no effect while sample.workers is 1, since nobody has a colleague"]
        stratum = strata_of(self.authorities, self.sample, self.unit, self._within)
        sizes = np.bincount(stratum)
        treated = quotas(sizes, self._share)
        if ((treated > 0) & (treated < sizes)).all():
            return []
        where = "the study" if self._within == "study" else f"each {self._within}"
        return [
            f"within: the {int(sizes[0])} {self.unit}s sampled in {where} cannot be divided into two arms "
            f"with a treated_share of {self._share:g}"
        ]
