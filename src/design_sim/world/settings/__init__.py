"""What a person states about the world, a file for each subject.

Defaults are the figures of English children's social care, 2013 to 2025 (Department for Education,
children in need and workforce statistics), unless a field says "assumption". A table that is left out
switches its mechanism off where the docstring says so.
"""

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.stated import Correlation, Share, Stated
from design_sim.world.response import Response
from design_sim.world.settings.audit import Audit
from design_sim.world.settings.events import Inspections, Leaving
from design_sim.world.settings.people import Size, Workers
from design_sim.world.settings.practice import Components, Fidelity, Informal, Rival, Subgroup
from design_sim.world.settings.selection import Adoption, Rating
from design_sim.world.settings.time import Memory, Shock, Time

__all__ = [
    "Adoption",
    "Audit",
    "Components",
    "Fidelity",
    "Informal",
    "Inspections",
    "Leaving",
    "Memory",
    "Rating",
    "Response",
    "Rival",
    "Shock",
    "Size",
    "Subgroup",
    "Time",
    "Workers",
    "WorldSettings",
    "block_size",
]


class WorldSettings(Stated):
    """The whole world but its outcomes."""

    authorities: Annotated[int, Field(ge=2, le=2_000)] = 151
    """How many authorities there are; studies enrol from them."""
    size: Size = Size()
    time: Time = Time()
    quality: Memory = Memory()
    """Memory of organisational quality, and of the authority part of every outcome."""
    workers: Workers = Workers()
    fidelity: Fidelity = Fidelity()
    response: Response = Response()
    """How the effect depends on fidelity."""
    effect_sd: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Standard deviation between authorities of the effect at full fidelity, as a multiple of its mean
    (assumption)."""
    uptake: Share = 0.70
    """Chance of a family offered the framework to take part, informal use included."""
    informal: Informal | None = None
    rival: Rival | None = None
    subgroup: Subgroup | None = None
    rating: Rating = Rating()
    inspections: Inspections | None = None
    leaving: Leaving | None = None
    adoption: Adoption | None = None
    """Who would adopt unprompted; without the table nobody would, and any adopter is a chance one."""
    anticipation: Share = 0.0
    """Dose in the year before an authority starts, as a share of that of its first year (assumption)."""
    reputation_correlation: Correlation = 0.5
    """Correlation of an authority's reputation with its readiness (assumption)."""
    audit: Audit | None = None

    @model_validator(mode="after")
    def _adopters_exist(self) -> Self:
        if self.adoption and self.adoption.authorities > self.authorities:
            raise ValueError(
                f"adoption.authorities is {self.adoption.authorities}, "
                f"above the {self.authorities} authorities"
            )
        return self

    @model_validator(mode="after")
    def _states_exclude_each_other(self) -> Self:
        if self.rival is None:
            return self
        used = self.rival.share + (self.informal.share if self.informal else 0.0)
        if used > 1 + 1e-12:
            raise ValueError(f"informal.share and rival.share sum to {used:g}; at most 1 is allowed")
        known = self.fidelity.components.shares if self.fidelity.components else {}
        for name in self.rival.shares:
            if name not in known:
                there = ", ".join(known) or "none: fidelity.components is not stated"
                raise ValueError(f"rival.shares: {name!r} is not a component; there are {there}")
        return self

    @model_validator(mode="after")
    def _subgroup_can_be_had(self) -> Self:
        if self.subgroup:
            try:
                _ = self.fidelity.model_copy(update={"mean": self.subgroup.mean}).scale
            except ValueError as reason:
                raise ValueError(
                    f"subgroup.mean: {reason} (the standard deviations of world.fidelity)"
                ) from None
        return self

    @model_validator(mode="after")
    def _inspected(self) -> Self:
        if self.inspections is not None:
            return self
        if self.fidelity.shock > 0:
            raise ValueError("fidelity.shock has no effect without the table inspections")
        if (
            self.leaving
            and "after_inadequate" in self.leaving.model_fields_set
            and self.leaving.after_inadequate
        ):
            raise ValueError("leaving.after_inadequate has no effect without the table inspections")
        return self

    @model_validator(mode="after")
    def _audited(self) -> Self:
        if self.audit is None:
            return self
        if self.audit.year > self.time.years_after:
            raise ValueError(
                f"audit.year is {self.audit.year}, above time.years_after, {self.time.years_after}"
            )
        if "rater_reliability" in self.audit.model_fields_set and self.fidelity.scale is None:
            raise ValueError(
                "audit.rater_reliability has no effect while fidelity is the same everywhere; leave it out, "
                "or raise authority_sd or worker_sd of fidelity"
            )
        return self


def block_size(world: WorldSettings) -> int:
    """Replicates drawn from one set of streams: a power of two from 16 to 4,096.

    The largest with replicates x authorities x occasions <= 2^19. It comes from the world's settings alone,
    so that neither designs, nor the number of replicates, nor the machine can move a number.
    """
    numbers = world.authorities * world.time.occasions
    return int(np.clip(2 ** int(np.log2(2**19 / numbers)), 16, 4_096))
