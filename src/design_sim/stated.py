"""`Stated`: the base of everything that a person states, in a scenario file or in Python.

Both ways meet the same rules: nothing extra, no silent conversion of types, no infinity, no change
afterwards.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
"""A share or a probability, 0 to 1."""
OpenShare = Annotated[float, Field(gt=0, lt=1)]
"""A share that is neither nothing nor all."""
Correlation = Annotated[float, Field(ge=-1, le=1)]
UNBOUNDED = 1e12
"""A number so large that squares of it leave no digits for anything else."""
Quantity = Annotated[float, Field(ge=-UNBOUNDED, le=UNBOUNDED)]
"""A number in an outcome's own units."""
Positive = Annotated[float, Field(ge=1 / UNBOUNDED, le=UNBOUNDED)]
"""The same, where it must be above 0."""
NotNegative = Annotated[float, Field(ge=0)]

Group = Literal["all", "subgroup", "others"]
"""Whose outcomes a study is about: of all families, of the subgroup's alone, or of the others."""


class Stated(BaseModel):
    """A frozen settings model: its fields are its settings and its TOML keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
