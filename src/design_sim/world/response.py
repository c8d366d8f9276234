"""Response: which share of the full effect a fidelity brings, g(f) with g(1) = 1.

The shapes are those that the debate on fidelity knows: the more the better (`linear`); nothing until
practice is good enough (`threshold`: around 60 % implementation in Durlak and DuPre 2008, American Journal
of Community Psychology 41, 327-350); early gains that level off (`saturating`); and harm where a framework
is done badly (`j_shaped`), as the developers of Signs of Safety fear of poor implementation.
"""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from design_sim.arrays import Floats
from design_sim.stated import OpenShare, Stated

SHAPE_SETTING = {"threshold": "threshold", "saturating": "curvature", "j_shaped": "floor"}
"""The setting that belongs to each shape; `linear` has none."""


class Response(Stated):
    """How the effect depends on fidelity; applied to each worker's fidelity, before any averaging."""

    shape: Literal["linear", "threshold", "saturating", "j_shaped"] = "linear"
    """The curve (assumption)."""
    threshold: OpenShare | None = None
    """For `threshold`: the fidelity from which on the effect is the full one; 0.6 if not given."""
    curvature: Annotated[float, Field(gt=0, le=50)] | None = None
    """For `saturating`: k in (1 - exp(-k f)) / (1 - exp(-k)); 3 if not given (assumption)."""
    floor: Annotated[float, Field(ge=-5, lt=0)] | None = None
    """For `j_shaped`: g(0), a share of the full effect; -0.25 if not given (assumption)."""

    @model_validator(mode="after")
    def _belongs_to_the_shape(self) -> Self:
        for shape, key in SHAPE_SETTING.items():
            if getattr(self, key) is not None and self.shape != shape:
                raise ValueError(f"{key} has no effect with shape {self.shape!r}; it belongs to {shape!r}")
        return self

    def of(self, fidelity: Floats) -> Floats:
        """g(fidelity), element by element.

        Notes
        -----
        f; 1 from the threshold on, else 0; (1 - exp(-k f)) / (1 - exp(-k)); floor + (1 - floor) f^2. Where
        no framework is practised the effect is 0, whatever g(0) is: that is for the caller to know.
        """
        if self.shape == "linear":
            return fidelity
        if self.shape == "threshold":
            from_here = 0.6 if self.threshold is None else self.threshold
            return (fidelity >= from_here).astype(np.float64)
        if self.shape == "saturating":
            k = 3.0 if self.curvature is None else self.curvature
            saturating: Floats = np.expm1(-k * fidelity) / np.expm1(-k)
            return saturating
        floor = -0.25 if self.floor is None else self.floor
        return floor + (1 - floor) * fidelity**2
