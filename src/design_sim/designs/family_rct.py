"""Trial of families: every sampled worker has some who are offered the framework, and some who are not.

Choose it where one worker can work both ways, case by case. Authorities, teams and workers are the same in
both arms, so that nothing but families makes the scatter and few are needed; the price is contamination,
since a worker who has learnt the framework hardly forgets it with the next family. Nothing else biases the
effect of being offered.

Decision: chance deals out the cases that a worker has at an occasion; those of another occasion are others,
or where the sample is a cohort the same, each in its arm throughout.
Within workers the numbers of both arms are fixed; within authorities or the whole study, which one list for
all of them makes, the number of each worker is hypergeometric. A worker practises with the families of the
framework's arm as if all of hers were in it.

Decision: `contamination` is no part of any estimand, since without the study nobody would have it.

Source: Pocock (1983), Clinical Trials: A Practical Approach, chapter 5, for randomisation within strata;
Torgerson (2001), British Medical Journal 322, 355-357, for contamination against clusters.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from design_sim.allocation import NEVER, Allocation, Randomisation
from design_sim.arrays import Bools, Ints
from design_sim.designs.base import FollowUp, Unit, follow_up_faults, follow_up_occasions, too_many
from design_sim.designs.dealing import families_dealt, quotas, units_there
from design_sim.stated import OpenShare, Share
from design_sim.streams import Streams
from design_sim.world.delivery import Sample
from design_sim.world.draw import World
from design_sim.world.settings import Time, WorldSettings


class FamilyRCT(FollowUp):
    """Randomise the sampled families of every worker in the authorities enrolled."""

    kind: Literal["family_rct"] = "family_rct"
    authorities: Annotated[int, Field(ge=1, le=100_000)]
    """Authorities enrolled, drawn by chance from all."""
    within: Literal["worker", "authority", "study"] = "worker"
    """Within what chance deals families out: each worker's have the stated share of both arms, or only those
    of an authority or of the study together."""
    treated_share: OpenShare = 0.5
    """Share of the families that are randomised to the framework."""
    contamination: Share = 0.0
    """What reaches comparison families, on top of what their worker does anyway, as a share of what the
    worker gains in dose with the others (assumption)."""

    unit: ClassVar[Unit] = "family"

    def allocate(self, world: World, streams: Streams) -> Allocation:
        """Enrol by chance, and deal out the families of every sampled worker."""
        order = np.tile(np.arange(world.n_authorities), (world.n_replicates, 1))
        streams.rng("allocation").permuted(order, axis=1, out=order)
        unit, sample = order[:, : self.authorities], self._sampled
        n_workers, start = unit.shape[1] * sample.teams * sample.workers, world.settings.time.start
        stratum = self._strata(n_workers)
        families = families_dealt(world, unit, sample, (stratum, self.treated_share), streams.rng("dealing"))
        there = units_there(world, unit, sample.teams, sample.workers)
        return Allocation(
            unit=unit,
            start=np.tile([start, NEVER], n_workers)[np.newaxis],
            stop=np.full((1, 2 * n_workers), NEVER),
            stratum=np.repeat(np.where(there, stratum, -1), 2, axis=1),
            law=self._law(stratum, sample.families, start),
            assigned="row",
            families=families,
        )

    def _strata(self, n_workers: int) -> Ints:
        """The stratum of every sampled worker's families, (worker,)."""
        per_stratum = {"worker": 1, "authority": n_workers // self.authorities, "study": n_workers}
        return np.arange(n_workers) // per_stratum[self.within]

    def _law(self, stratum: Ints, families: int, start: int) -> Randomisation:
        """Every choice of so many of a stratum's families as likely."""
        sizes = np.bincount(stratum) * families
        place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        starts = np.where(place < np.repeat(quotas(sizes, self.treated_share), sizes), start, NEVER)
        return Randomisation(tuple(starts.tolist()), tuple(np.repeat(stratum, families).tolist()))

    @property
    def _sampled(self) -> Sample:
        """The sample, without which there are no families: ValueError."""
        if self.sample is None:
            raise ValueError("a trial of families needs a sample")
        return self.sample

    @property
    def n_treated(self) -> int:
        """All authorities have the framework."""
        return self.authorities

    def occasions(self, time: Time) -> tuple[Ints, Bools]:
        """The baseline years and the follow-up year."""
        return follow_up_occasions(self, time)

    def n_enrolled(self, world: WorldSettings) -> int:
        """All of them with both arms."""
        return self.authorities

    def faults(self, world: WorldSettings) -> list[str]:
        """More authorities or years than there are, or too few families for two arms."""
        faults = too_many("authorities", self.authorities, world) + follow_up_faults(self, world.time)
        if self.sample is None:
            return [*faults, "sample: missing; its families are what the design randomises"]
        sizes = np.bincount(self._strata(self.authorities * self.sample.teams * self.sample.workers))
        sizes = sizes * self.sample.families
        treated = quotas(sizes, self.treated_share)
        if ((treated == 0) | (treated == sizes)).any():
            where = "the study" if self.within == "study" else f"each {self.within}"
            faults.append(
                f"treated_share: the {int(sizes[0])} families sampled in {where} cannot be divided into two "
                f"arms with a share of {self.treated_share:g}"
            )
        return faults
