"""The weights of a wild cluster bootstrap: random ones by three laws, or all vectors of signs."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, Self

import numpy as np
from numpy.random import Generator

from design_sim.arrays import Batch, Floats

WeightLaw = Literal["rademacher", "webb", "mammen"]

_ROUNDING = 1e-12
"""A level times a count that falls short of a whole number by this share is that number."""


@dataclass(frozen=True, slots=True)
class BootstrapWeights(Batch):
    """The draws of a bootstrap, the same for all replicates.

    Parameters
    ----------
    values : float array, (cluster, draw)
        What residuals are multiplied by.
    observed : int
        How often the study itself is counted beside the draws.
    squares : float array or None, (cluster, draw)
        Their squares, None where all are 1.
    """

    values: Annotated[Floats, "cluster draw"]
    observed: int
    squares: Annotated[Floats, "cluster draw"] | None

    @classmethod
    def of(cls, values: Floats, observed: int) -> Self:
        """Draws with these weights; parameters as above."""
        squares = values**2
        return cls(values, observed, None if (squares == 1).all() else squares)

    @property
    def count(self) -> int:
        """Draws, and the study as often as it counts."""
        return int(self.values.shape[1]) + self.observed

    def without_repeats(self) -> Self:
        """The draws that differ from the study, which is counted for those whose weights are all the same."""
        repeats = (self.values == self.values[:1]).all(axis=0)
        return self.of(self.values[:, ~repeats], self.observed + int(repeats.sum()))

    def rank(self, alpha: float) -> int:
        """The rank among the draws, largest first, of the one that a rejected statistic exceeds.

        A p-value is above alpha where at least so many draws are as large; 0 or less where it always is.
        """
        return int(alpha * self.count * (1 + _ROUNDING)) + 1 - self.observed


def draw_weights(law: WeightLaw, n_clusters: int, n_draws: int, rng: Generator) -> Floats:
    """Draw weights of mean 0 and variance 1, (cluster, draw); an added cluster moves no other's.

    Parameters
    ----------
    law : {"rademacher", "webb", "mammen"}
        1 or -1; the roots of 1/2, 1 and 3/2 with either sign, each as likely; or Mammen's two points,
        whose third moment is 1.

    References
    ----------
    Cameron, Gelbach and Miller (2008), Review of Economics and Statistics 90, 414-427 (signs); Webb
    (2014), Queen's Economics Department Working Paper 1315; Mammen (1993), Annals of Statistics 21,
    255-285.
    """
    uniform = rng.random((n_clusters, n_draws))
    if law == "rademacher":
        return np.where(uniform < 0.5, 1.0, -1.0)
    if law == "webb":
        points = np.sqrt(np.array([1.5, 1.0, 0.5, 0.5, 1.0, 1.5])) * np.repeat([-1.0, 1.0], 3)
        chosen: Floats = points[(6 * uniform).astype(np.int64)]
        return chosen
    root = np.sqrt(5.0)
    points = np.array([1 - root, 1 + root]) / 2
    mammen: Floats = points[(uniform >= (root + 1) / (2 * root)).astype(np.int64)]
    return mammen


@lru_cache(maxsize=4)
def sign_vectors(n_clusters: int) -> Floats:
    """One of each two mirror images among the vectors of signs, (cluster, 2^(clusters - 1)).

    The first is all 1, as is the first sign of every vector.
    """
    numbers = np.arange(2 ** (n_clusters - 1))
    negative = (numbers >> np.arange(n_clusters)[::-1, np.newaxis]) & 1
    vectors = np.where(negative == 1, -1.0, 1.0)
    vectors.setflags(write=False)
    return vectors
