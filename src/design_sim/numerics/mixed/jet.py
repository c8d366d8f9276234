"""Functions of one variable with their first two derivatives, for every replicate."""

from dataclasses import dataclass

import numpy as np

from design_sim.arrays import Floats
from design_sim.numerics.mixed.effect_test import Local


@dataclass(frozen=True, slots=True)
class Jet:
    """A function of the variance ratio by its value and first two derivatives, with the rules of calculus."""

    value: Floats
    slope: Floats
    curve: Floats

    def __sub__(self, other: "Jet") -> "Jet":
        return Jet(self.value - other.value, self.slope - other.slope, self.curve - other.curve)

    def __mul__(self, other: "Jet") -> "Jet":
        return Jet(
            self.value * other.value,
            self.slope * other.value + self.value * other.slope,
            self.curve * other.value + 2 * self.slope * other.slope + self.value * other.curve,
        )

    def __truediv__(self, other: "Jet") -> "Jet":
        value = self.value / other.value
        slope = (self.slope - value * other.slope) / other.value
        return Jet(value, slope, (self.curve - 2 * slope * other.slope - value * other.curve) / other.value)

    def local(self) -> Local:
        """The same with the axes of functions of several ratios."""
        return Local(self.value, self.slope[np.newaxis], self.curve[np.newaxis, np.newaxis])
