"""Panel: the only thing that an analyst is handed. No true fidelity, no potential outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from design_sim.allocation import CompleteRandomisation
from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Roster


@dataclass(frozen=True, slots=True)
class Panel(Batch):
    """One outcome of one study, over all replicates of a block.

    Parameters
    ----------
    roster : Roster
        Which authority, team and worker each row belongs to; authorities are the study's slots.
    cells : Cells
        The outcome, (replicate, row, occasion).
    start : int array, (replicate, authority)
        First treated occasion as assigned, `allocation.NEVER` for a comparison authority. Replicate
        axis 1 where arms are tied to slots, as in every built-in design.
    occasions : int array, (occasion,)
        The world's occasions at which the outcome was observed, rising, one year apart.
    follow_up : bool array, (occasion,)
        Which of them lie after the start: those that arms are compared on.
    law : CompleteRandomisation
        How the allocation could have been otherwise.
    alpha : float
        Two-sided level at which the study tests; its intervals have coverage 1 - alpha.
    covariates : mapping of float arrays, (replicate, row)
        Covariates by name, constant in a row; replicate axis 1 where they are fixed.
    uptake : float array or None, (replicate, row, occasion)
        Share of a cell's observed families that took part in what its authority offers, the framework or
        another; anything where nobody was observed. None where that was not recorded.
    """

    roster: Roster
    cells: Cells
    start: Annotated[Ints, "replicate authority"]
    occasions: Annotated[Ints, "occasion"]
    follow_up: Annotated[Bools, "occasion"]
    law: CompleteRandomisation
    alpha: float = 0.05
    covariates: Mapping[str, Floats] = field(default_factory=dict)
    uptake: Annotated[Floats, "replicate row occasion"] | None = None

    @property
    def n_replicates(self) -> int:
        """Number of replicates."""
        return int(self.cells.mean.shape[0])

    @property
    def n_authorities(self) -> int:
        """Number of authorities in the study."""
        return int(self.start.shape[1])

    @property
    def treated_authority(self) -> Bools:
        """Whether an authority is assigned to treatment at any observed occasion, (replicate, authority)."""
        treated: Bools = self.start <= self.occasions[-1]
        return treated

    @property
    def treated(self) -> Bools:
        """Whether a row is assigned to treatment at an occasion, (replicate, row, occasion)."""
        by_authority = self.start[:, :, np.newaxis] <= self.occasions
        treated: Bools = by_authority[:, self.roster.authority]
        return treated
