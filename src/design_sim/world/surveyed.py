"""What a person states of a surveyed outcome: how alike families are, their children, and a covariate.

Authority, team and worker each have a part with a stated share of the variance; the families of a worker
share what is left, and so do the children of a family where it has several.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from design_sim.stated import Correlation, Share, Stated
from design_sim.world.outcome import OverTime
from design_sim.world.settings import WorldSettings

if TYPE_CHECKING:
    from design_sim.world.delivery import Sample

Part = Literal["authority", "team", "worker", "family"]
PARTS: tuple[Part, ...] = ("authority", "team", "worker", "family")
"""The parts that outcomes and covariates are made of, from the top."""


class ICC(Stated):
    """Share of the variance at each level above the family."""

    authority: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share between authorities (assumption)."""
    team: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share between the teams of an authority; .02 would be plausible (assumption)."""
    worker: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share between the workers of a team; .02, for engagement .08, would be plausible (assumption)."""

    @property
    def family(self) -> float:
        """Share of the variance between the families of a worker."""
        return 1 - self.authority - self.team - self.worker

    @model_validator(mode="after")
    def _leaves_families_some(self) -> Self:
        if self.family <= 0:
            raise ValueError(f"the shares sum to {1 - self.family:g}; they must leave families some")
        return self


def _of_authorities(icc: object) -> object:
    """A plain number as the share between authorities, for short."""
    whole = isinstance(icc, int | float) and not isinstance(icc, bool)
    return {"authority": float(icc)} if whole else icc  # type: ignore[arg-type]


Shares = Annotated[ICC, BeforeValidator(_of_authorities)]
"""The shares at all levels, or that of authorities alone."""


class Correlations(Stated):
    """Correlation of a covariate's part at each level with that of the outcome."""

    authority: Correlation = 0.0
    """Of the parts of authorities, the outcome's being that of the year it is observed in."""
    team: Correlation = 0.0
    """Of the parts of teams."""
    worker: Correlation = 0.0
    """Of the parts of workers."""
    family: Correlation
    """Of the parts of families: 0 for a covariate that tells families of a worker not apart."""


class Covariate(Stated):
    """A number known of each sampled family before treatment, standardised; left out, there is none.

    A baseline measure of the families that are followed up, or a case-mix score. It reaches answers that
    adjust for `covariate`, and a study with such an answer draws single families.
    """

    icc: Shares = ICC()
    correlation: Correlations

    @model_validator(mode="after")
    def _has_parts_to_correlate(self) -> Self:
        for part in PARTS:
            if getattr(self.correlation, part) != 0 and getattr(self.icc, part) == 0:
                raise ValueError(f"correlation.{part} has no effect while icc.{part} is 0")
        return self


class Surveyed(OverTime):
    """What every surveyed outcome states of the families that a study samples."""

    icc: Shares = ICC()
    """A table of shares, or a number for that of authorities alone."""
    competence_correlation: Correlation = 0.0
    """Correlation of the worker part with competence, within an authority."""
    children_per_family: Annotated[float, Field(ge=1, le=10)] = 1.0
    """Mean number of children of a family, each observed: 1, and as many more as a Poisson number. 1 for
    families observed as a whole; 1.73 were in a trial of family group conferences."""
    sibling_correlation: Share = 0.7
    """Share of the variance below the worker that the children of a family share (assumption)."""
    family_autocorrelation: Share = 0.5
    """Correlation of what a family of a cohort (`sample.cohort`) has of its own at any two occasions: the
    share of the variance below the worker that it keeps (assumption). With `bounds`, of the latent score; for
    a yes or no, of the normal variable behind it, which correlates more than the yes or no itself."""
    covariate: Covariate | None = None

    @property
    def drawn_singly(self) -> bool:
        """Whether families are not exchangeable given their worker, which siblings are not."""
        return self.has_siblings

    @property
    def has_siblings(self) -> bool:
        """Whether a family may be several children, and so more than one observation."""
        return self.children_per_family > 1

    @property
    def has_covariate(self) -> bool:
        """Whether a covariate of the families is stated."""
        return self.covariate is not None

    def most_rows(self, world: WorldSettings, sample: "Sample | None", *, families: bool) -> int:
        """Sampled workers, or all their families."""
        if sample is None:
            return 0
        singly = families or self.drawn_singly
        return sample.teams * sample.workers * (sample.families if singly else 1)

    @model_validator(mode="after")
    def _has_parts_to_correlate(self) -> Self:
        if self.competence_correlation != 0 and self.icc.worker == 0:
            raise ValueError("competence_correlation has no effect while icc.worker is 0")
        if self.quality_correlation != 0 and self.icc.authority == 0:
            raise ValueError("quality_correlation has no effect while icc.authority is 0")
        if self.covariate is not None:
            for part in PARTS:
                if getattr(self.covariate.correlation, part) != 0 and getattr(self.icc, part) == 0:
                    raise ValueError(f"covariate.correlation.{part} has no effect while icc.{part} is 0")
        return self

    @model_validator(mode="after")
    def _has_siblings_to_correlate(self) -> Self:
        if "sibling_correlation" in self.model_fields_set and not self.has_siblings:
            raise ValueError("sibling_correlation has no effect while children_per_family is 1")
        return self
