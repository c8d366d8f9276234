"""Families' changes: what an analysis of change scores reads of a panel whose rows are families.

A family's change is its mean outcome after the start less that before it. A family that was not observed on
both sides has none, and does not count (complete cases).
"""

from dataclasses import replace

import numpy as np

from design_sim.cells import Cells
from design_sim.panel import Panel


def family_changes(panel: Panel) -> Panel:
    """The panel of families' changes, with one occasion, after the start; every family counts once.

    Parameters
    ----------
    panel : Panel
        Its rows are families, the same at all occasions.

    Raises
    ------
    ValueError
        If a row holds several families, or the panel was not observed before the start.
    """
    if (panel.cells.n > 1).any():
        raise ValueError("a change of families needs a row for each of them, and rows hold several")
    if panel.follow_up.all():
        raise ValueError("change needs an occasion before the start, and the panel has none")
    before, after = panel.cells.over(~panel.follow_up), panel.cells.over(panel.follow_up)
    seen = (before.n > 0) & (after.n > 0)
    change = np.where(seen, after.mean - before.mean, np.nan)
    cells = Cells(seen.astype(np.float64), change, np.zeros((1, *seen.shape[1:])))
    return replace(
        panel, cells=cells, occasions=panel.occasions[-1:], follow_up=np.ones(1, dtype=np.bool_), uptake=None
    )
