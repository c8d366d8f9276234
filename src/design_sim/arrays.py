"""Array types, and `Batch`: arrays with named axes, the replicate first, checked once."""

from dataclasses import fields
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Batch:
    """Base of the drawn dataclasses: fields annotated with their axes must agree in size.

    A field declares its axes where it stands, `mean: Annotated[Floats, "replicate row occasion"]`.
    An axis of length 1 means the same along that axis, so that what does not change between
    replicates is held, and planned for, once. A field that is None is not there and not checked.

    Raises
    ------
    ValueError
        If a field has another number of axes than it declares, or two fields disagree on a size.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        """Check every annotated field against the sizes that the others have."""
        sizes: dict[str, int] = {}
        for name, axes in _declared_axes(type(self)):  # type: ignore[arg-type]
            array = getattr(self, name)
            if array is None:
                continue
            if array.ndim != len(axes):
                raise ValueError(f"{name} has {array.ndim} axes, not {' '.join(axes)}")
            for axis, size in zip(axes, array.shape, strict=True):
                known = sizes.get(axis, 1)
                if size != 1 and known != 1 and size != known:
                    raise ValueError(f"{name} has {size} along {axis}, where others have {known}")
                sizes[axis] = max(known, size) if size else 0


@cache
def _declared_axes(batch: type) -> tuple[tuple[str, tuple[str, ...]], ...]:
    hints = get_type_hints(batch, include_extras=True)
    return tuple(
        (field.name, axes) for field in fields(batch) if (axes := _axes_of(hints[field.name])) is not None
    )


def _axes_of(hint: Any) -> tuple[str, ...] | None:
    if get_origin(hint) is Annotated:
        return tuple(get_args(hint)[1].split())
    for part in get_args(hint):
        axes = _axes_of(part)
        if axes is not None:
            return axes
    return None
