"""Panel: the only thing that an analyst is handed. No true fidelity, no potential outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from design_sim.allocation import Law
from design_sim.arrays import Batch, Bools, Floats, Ints
from design_sim.cells import Cells
from design_sim.roster import Level, Roster


@dataclass(frozen=True, slots=True)
class Panel(Batch):
    """One outcome of one study, over all replicates of a block.

    Parameters
    ----------
    roster : Roster
        Which authority, team and worker each row belongs to; authorities are the study's slots.
    cells : Cells
        The outcome, (replicate, row, occasion).
    start : int array, (replicate, unit)
        First treated occasion as assigned, `allocation.NEVER` for a unit of comparison. Replicate axis 1
        where arms are tied to slots.
    occasions : int array, (occasion,)
        The world's occasions at which the outcome was observed, rising, one year apart.
    follow_up : bool array, (occasion,)
        Which of them lie after the start: those that arms are compared on.
    law : Law
        How the allocation could have been otherwise.
    alpha : float
        Two-sided level at which the study tests; its intervals have coverage 1 - alpha.
    covariates : mapping of float arrays, (replicate, row)
        Covariates by name, constant in a row; replicate axis 1 where they are fixed.
    assigned : {"authority", "team", "worker", "row"}
        The level whose units were assigned to start when they do.
    fidelity_score : float array or None, (replicate, authority)
        Fidelity to the framework as scored at the last occasion, of what the authority practised then; None
        where nobody scored it, or arms differ within authorities.
    uptake : float array or None, (replicate, row, occasion)
        Share of a cell's observed families that took part in what was assigned; anything where nobody was
        observed. None where that was not recorded.
    """

    roster: Roster
    cells: Cells
    start: Annotated[Ints, "replicate unit"]
    occasions: Annotated[Ints, "occasion"]
    follow_up: Annotated[Bools, "occasion"]
    law: Law
    alpha: float = 0.05
    covariates: Mapping[str, Floats] = field(default_factory=dict)
    assigned: Level = "authority"
    fidelity_score: Annotated[Floats, "replicate authority"] | None = None
    uptake: Annotated[Floats, "replicate row occasion"] | None = None

    @property
    def n_replicates(self) -> int:
        """Number of replicates."""
        return int(self.cells.mean.shape[0])

    @property
    def n_authorities(self) -> int:
        """Number of authorities in the study."""
        return self.roster.n_units("authority")

    @property
    def treated_authority(self) -> Bools:
        """Whether an authority is assigned to treatment at any observed occasion, (replicate, authority).

        Raises
        ------
        ValueError
            If some of an authority are and others are not.
        """
        treated: Bools = self.start <= self.occasions[-1]
        if self.assigned == "authority":
            return treated
        rows = self.roster.spread(treated.astype(np.float64), self.assigned)
        share = self.roster.pool(rows, "authority") / self.roster.pool(np.ones_like(rows), "authority")
        if ((share > 0) & (share < 1)).any():
            raise ValueError("treatment differs within an authority")
        return np.asarray(share == 1)

    @property
    def treated(self) -> Bools:
        """Whether a row is assigned to treatment at an occasion, (replicate, row, occasion)."""
        by_unit = self.start[:, :, np.newaxis] <= self.occasions
        if self.roster.n_units(self.assigned) == self.roster.n_rows:
            return by_unit
        index = self.roster.authority if self.assigned == "authority" else getattr(self.roster, self.assigned)
        treated: Bools = by_unit[:, index]
        return treated

    def clustered_by(self, level: Level) -> "Panel":
        """The panel of an analysis that takes teams, workers or rows as its independent clusters.

        Estimators call the clusters of a panel its authorities: here the units of the level stand in their
        place, and those below keep theirs.
        """
        if level == "authority":
            return self
        unit = np.arange(self.roster.n_rows) if level == "row" else getattr(self.roster, level)
        first = np.searchsorted(unit, np.arange(unit[-1] + 1))
        score = self.fidelity_score
        if score is not None:
            score = score[:, self.roster.authority[first]]
        below = {of: getattr(self.roster, of) for of in _ORDER[_ORDER.index(level) :] if of != "row"}
        roster = Roster(unit, below.get("team", unit), below.get("worker", unit))
        if _ORDER.index(self.assigned) > _ORDER.index(level):
            return replace(self, roster=roster, fidelity_score=score)
        start = self.start
        if self.assigned != level:
            start = start[:, getattr(self.roster, self.assigned)[first]]
        return replace(self, roster=roster, start=start, assigned="authority", fidelity_score=score)


_ORDER: tuple[Level, ...] = ("authority", "team", "worker", "row")
