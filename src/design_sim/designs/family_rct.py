"""Trial of families: some are offered the framework and some are not, by one worker or by different ones.

Choose it where one worker can work both ways, case by case. Authorities, teams and workers are the same in
both arms, so that nothing but families makes the scatter and few are needed; the price is contamination,
since a worker who has learnt the framework hardly forgets it with the next family. Nothing else biases the
effect of being offered.

Where trained workers take the families of the framework alone, and the others go to whoever has them
(`comparison_workers = "own"`), nothing slips over, but clusters are in one arm only: families of a trained
worker have something in common, a comparison family shares its worker with nobody in the study. The analysis
is then `partially_nested_model` with clusters of workers, and power is that of `theory.one_arm`.

Decision: chance deals out the cases that a worker has at an occasion; those of another occasion are others,
or where the sample is a cohort the same, each in its arm throughout.
Within workers the numbers of both arms are fixed; within authorities or the whole study, which one list for
all of them makes, the number of each worker is hypergeometric. A worker practises with the families of the
framework's arm as if all of hers were in it.

Decision: `contamination` is no part of any estimand, since without the study nobody would have it.

Decision: comparison families with workers of their own are one each of the workers in the teams that follow
the sampled ones, who are not trained. An authority with too few teams gives as many as it has. Chance deals
out families within authorities, so many to each arm, before they go to a worker: the law of the allocation
knows nothing of workers, and a permutation of families leaves out what those of a trained worker share.

Source: Pocock (1983), Clinical Trials: A Practical Approach, chapter 5, for randomisation within strata;
Torgerson (2001), British Medical Journal 322, 355-357, for contamination against clusters; Roberts and
Roberts (2005), Clinical Trials 2, 152-162, for clusters in one arm.
"""

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.allocation import NEVER, Allocation, Randomisation
from design_sim.arrays import Bools, Ints
from design_sim.designs.base import FollowUp, Unit, follow_up_faults, follow_up_occasions, too_many
from design_sim.designs.dealing import families_dealt, quotas, units_there
from design_sim.stated import OpenShare, Share
from design_sim.streams import Streams
from design_sim.world.delivery import Sample
from design_sim.world.draw import World, teams_of
from design_sim.world.families import sampled_workers, teams_present
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
    comparison_workers: Literal["same", "own"] = "same"
    """Who has the comparison families: the `same` workers as the treated ones, or each family an untrained
    worker of its `own`. Then all `families` of a sampled worker are treated, comparison families come on top
    of them in the number that `treated_share` says, and arms are dealt out within authorities."""

    unit: ClassVar[Unit] = "family"

    @model_validator(mode="after")
    def _belongs_to_the_workers(self) -> Self:
        if self.comparison_workers == "own":
            without = "has no effect with comparison_workers 'own'"
            if "within" in self.model_fields_set:
                raise ValueError(f"within {without}: arms are dealt out within authorities")
            if self.contamination:
                raise ValueError(f"contamination {without}: nothing reaches the families of other workers")
        return self

    @property
    def own_workers(self) -> int:
        """How many comparison families of an authority have a worker of their own."""
        if self.comparison_workers == "same" or self.sample is None:
            return 0
        treated = self.sample.teams * self.sample.workers * self.sample.families
        return int(treated * (1 - self.treated_share) / self.treated_share + 0.5)

    def allocate(self, world: World, streams: Streams) -> Allocation:
        """Enrol by chance, and deal out the families of every sampled worker."""
        order = np.tile(np.arange(world.n_authorities), (world.n_replicates, 1))
        streams.rng("allocation").permuted(order, axis=1, out=order)
        unit, sample = order[:, : self.authorities], self._sampled
        if self.own_workers:
            return self._in_one_arm(world, unit)
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

    def _in_one_arm(self, world: World, unit: Ints) -> Allocation:
        """All families of the sampled workers start, and those of as many others as needed do not."""
        sample, start, slots = self._sampled, world.settings.time.start, unit.shape[1]
        per_team = world.settings.workers.per_team
        workers, teams = sampled_workers(sample, per_team, self.own_workers)
        trained = np.arange(workers.size) < sample.teams * sample.workers
        there = teams < teams_present(world, unit, int(teams[-1]) + 1)[:, :, np.newaxis]
        starts = np.tile(np.where(trained, start, NEVER), slots)
        families = np.where(trained, sample.families, 1)
        stratum = np.repeat(np.arange(slots), workers.size)
        there = there.reshape(there.shape[0], -1)
        return Allocation(
            unit=unit,
            start=starts[np.newaxis],
            stop=np.full((1, starts.size), NEVER),
            stratum=np.where(there, stratum, -1),
            law=Randomisation(
                tuple(np.repeat(starts, np.tile(families, slots)).tolist()),
                tuple(np.repeat(np.arange(slots), families.sum()).tolist()),
            ),
            assigned="row",
            families=np.where(there, np.tile(trained * sample.families, slots), 0),
            own_workers=self.own_workers,
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
        if self.comparison_workers == "own":
            return faults + self._own_worker_faults(self.sample, world)
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

    def _own_worker_faults(self, sample: Sample, world: WorldSettings) -> list[str]:
        """No comparison family at all, or more than any authority has workers for."""
        if self.own_workers == 0:
            return [f"treated_share: {self.treated_share:g} leaves no comparison family in an authority"]
        _, teams = sampled_workers(sample, world.workers.per_team, self.own_workers)
        most = int(teams_of(world).max())
        if most > teams[-1]:
            return []
        more = int(teams[-1]) + 1 - sample.teams
        return [
            f"comparison_workers: {self.own_workers} untrained workers of {more} teams wanted beside the "
            f"{sample.teams} sampled, and no authority has more than {most} teams"
        ]
