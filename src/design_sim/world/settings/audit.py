"""How fidelity is scored: the audit that an evaluator sees of it."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from design_sim.stated import Stated


class Audit(Stated):
    """How fidelity is scored, which is all that an evaluator sees of it; left out, nobody scores it.

    Score = mean over the audited cases of (fidelity of the case's worker + error of its rater) + what
    self-report adds. It is not held within 0..1, so that its error is the same at every fidelity. Cases are
    of a worker each, drawn at random from the authority's teams in turn; they need not be the sampled ones.
    """

    cases: Annotated[int, Field(ge=1, le=500)] = 20
    """Cases audited in an authority, each of another worker; one of every worker where it has fewer
    (assumption)."""
    rater_reliability: Annotated[float, Field(gt=0, le=1)] = 0.80
    """ICC of one rater's score of one case: with V the variance of mature fidelity between workers, those of
    all authorities together, V / (V + variance of the rater's error), errors being independent between
    cases. .73 to .97 where 28 recordings of practice were coded three times (Whittaker et al. 2017); .80 is
    an assumption."""
    inflation: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """What self-report adds to the score of an authority that practises the framework, on average, on the
    scale of fidelity (assumption)."""
    inflation_sd: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Standard deviation between authorities of what self-report adds (assumption)."""
    year: Annotated[int, Field(ge=1, le=30)] = 1
    """The year after the start in whose middle all authorities are audited, each as it would practise had it
    started with the world (assumption); studies choose pilots by this score and adjust for it."""
    without_error: bool = False
    """Whether the score is the mean fidelity of the authority's workers itself: no audit gives that, but it
    tells what the error of one does."""

    @model_validator(mode="after")
    def _error_or_none(self) -> Self:
        if self.without_error:
            for key in ("cases", "rater_reliability", "inflation", "inflation_sd"):
                if key in self.model_fields_set:
                    raise ValueError(f"{key} has no effect with without_error; leave one of them out")
        return self
