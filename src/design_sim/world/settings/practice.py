"""How well the framework is practised, how much that matters, and what authorities do without a study."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.stated import Correlation, NotNegative, OpenShare, Positive, Share, Stated
from design_sim.world.logit_normal import FidelityScale, fidelity_scale
from design_sim.world.response import Response


class Components(Stated):
    """The parts of a framework that a worker can practise each for itself; left out, it is of one piece.

    Fidelity is their weighted mean. A worker's components share the readiness of the authority and the
    deviation of the team, and are correlated beyond that.
    """

    weights: Mapping[str, Positive] = {"principles": 1.0, "disciplines": 1.0, "tools": 1.0}
    """Weight of each component by name; they are divided by their sum (assumption: alike)."""
    correlation: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Correlation of two components of a worker on the logit scale, beyond authority and team
    (assumption)."""

    @model_validator(mode="after")
    def _several(self) -> Self:
        if len(self.weights) < 2:
            raise ValueError(f"weights: {len(self.weights)} component stated; two or more are needed")
        return self

    def __hash__(self) -> int:
        return hash((tuple(self.weights.items()), self.correlation))

    @property
    def shares(self) -> dict[str, float]:
        """Each component's weight as a share of all."""
        total = sum(self.weights.values())
        return {name: weight / total for name, weight in self.weights.items()}


class Fidelity(Stated):
    """Fidelity of a mature implementation, 0 to 1, by its mean and standard deviations.

    The program solves for a logit-normal with these values; a mean and standard deviations that
    cannot be had together are refused. The standard deviations are assumptions.
    """

    mean: Share = 0.60
    """Mean over workers and authorities, once mature."""
    authority_sd: NotNegative = 0.15
    """Standard deviation between authorities of their mean (assumption)."""
    team_sd: NotNegative = 0.0
    """Standard deviation between the teams of an authority (assumption)."""
    worker_sd: NotNegative = 0.20
    """Standard deviation between the workers of a team (assumption)."""
    quality_correlation: Correlation = 0.3
    """Correlation of an authority's readiness with its quality in the first year after the start
    (assumption)."""
    competence_correlation: Correlation = 0.0
    """Correlation of a worker's fidelity, on the logit scale, with competence within an authority
    (assumption)."""
    components: Components | None = None
    """The parts that fidelity is made of; left out, it is of one piece."""
    ramp: Literal["fast", "linear", "slow"] = "fast"
    """How fidelity grows: steeply at first, evenly (and level from the mature value on), or after a slow
    start (assumption)."""
    years_to_80_percent: NotNegative = 2.0
    """Years from the start until fidelity is at 80 % of its mature value; 0: at once (assumption). A year's
    fidelity is that of its middle."""
    starts_at: Annotated[float, Field(ge=0, lt=0.8)] = 0.0
    """Share of mature fidelity on the first day (assumption)."""
    drift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of fidelity lost in each year since the start. It falls in the Family Check-Up (Society for
    Prevention Research 2015); 0.05 would lose the first year .03 of .60 (assumption)."""
    turnover: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of workers replaced at the end of a year, whose successors begin the ramp anew. England:
    .157 (2013 to 2025)."""
    shock: Share = 0.0
    """Share of fidelity lost while an authority's rating, given after the start, is inadequate
    (assumption); needs `world.inspections`."""

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        _ = self.scale
        unused = {
            "quality_correlation": ("authority_sd", self.authority_sd),
            "competence_correlation": ("worker_sd", self.worker_sd),
            "ramp": ("years_to_80_percent", self.years_to_80_percent),
            "starts_at": ("years_to_80_percent", self.years_to_80_percent),
            "turnover": ("years_to_80_percent", self.years_to_80_percent),
        }
        for key, (needed, value) in unused.items():
            silent = getattr(self, key) in (0, "fast")
            if value == 0 and key in self.model_fields_set and not silent:
                raise ValueError(f"{key} has no effect while {needed} is 0; leave it out or raise {needed}")
        if self.components and self.worker_sd == 0:
            raise ValueError(
                "components differ between workers only: they have no effect while worker_sd is 0"
            )
        return self

    @property
    def scale(self) -> FidelityScale | None:
        """The logit scale; None where fidelity is the same everywhere."""
        if self.components is None:
            return fidelity_scale(self.mean, self.authority_sd, self.worker_sd, self.team_sd)
        weights = np.array(list(self.components.shares.values()))
        return fidelity_scale(
            self.mean,
            self.authority_sd,
            self.worker_sd,
            self.team_sd,
            float((weights**2).sum()),
            self.components.correlation,
        )


class Subgroup(Stated):
    """A kind of family whose workers practise otherwise and whom it helps otherwise; left out, there is none.

    Such as disabled children, whose teams rework templates of their own. Each of its families has a worker of
    a team of its own; without the framework its outcomes are like the others'.
    """

    share: OpenShare = 0.123
    """Share of families that belong to it (children in need with a recorded disability, England 2022)."""
    mean: Share = 0.60
    """Mean fidelity of its workers, once mature; spread, ramp and all else are as in `world.fidelity`
    (assumption)."""
    effect: Annotated[float, Field(ge=-10, le=10)] = 1.0
    """Its effect at fidelity 1, as a multiple of the effect that an outcome states (assumption)."""


class Informal(Stated):
    """Informal use of the framework where no study put it; leave the table out for none.

    An authority that uses it does so in every year, a pilot until its start, with the world's uptake.

    Two thirds of English authorities use the framework in some form; how well is an assumption.
    """

    share: Share = 0.67
    """Chance of an authority to use it informally."""
    fidelity: Share = 0.30
    """Their fidelity, the same in every one of them (assumption)."""
    response: Response = Response()
    """How its effect depends on its fidelity (assumption: linear, without a floor)."""


class Rival(Stated):
    """Another framework in some of the authorities that no study reached; leave the table out for none.

    An authority with a rival has it in every year, a pilot until its start, with the world's uptake; it
    then does not use this framework informally.
    """

    share: OpenShare = 0.20
    """Chance of an authority to have it (assumption)."""
    mean: Annotated[float, Field(gt=0, lt=1)] = 0.60
    """Mean fidelity to the rival, mature in every year (assumption)."""
    authority_sd: NotNegative = 0.15
    """Standard deviation of that fidelity between authorities (assumption)."""
    effect: Annotated[float, Field(ge=-10, le=10)] = 0.5
    """Effect of what is the rival's own, at fidelity 1, as a multiple of this framework's effect on the
    same outcome (assumption)."""
    shares: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Names of the components of this framework that the rival has too; their weight adds to its effect."""

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        fidelity_scale(self.mean, self.authority_sd, 0.0)
        return self
