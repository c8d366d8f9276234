"""The covariates that an analysis adjusts for, and the families of whom they are known."""

import numpy as np

from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.panel import Panel


def covariates_of(panel: Panel, names: tuple[str, ...]) -> list[Floats]:
    """The panel's covariates of these names, (replicate, row) each.

    Raises
    ------
    ValueError
        If the panel has none of a name.
    """
    missing = [name for name in names if name not in panel.covariates]
    if missing:
        raise ValueError(
            f"the panel has no covariate {', '.join(map(repr, missing))}, only {sorted(panel.covariates)}"
        )
    return [panel.covariates[name] for name in names]


def spread_of(values: Floats, n: Floats) -> Floats:
    """The standard deviation over families that `standardise` divides a covariate by, (replicate,).

    Parameters
    ----------
    values, n : float arrays, (replicate, row)
        The covariate, and families, none where it is nan.
    """
    share = n / np.maximum(n.sum(axis=1, keepdims=True), 1e-300)
    known = np.nan_to_num(values)
    mean = (share * known).sum(axis=1, keepdims=True)
    spread: Floats = np.sqrt((share * (known - mean) ** 2).sum(axis=1))
    return spread


def complete_cells(n: Floats, mean: Floats, covariates: list[Floats]) -> Cells:
    """Cells with nobody in the rows that lack a covariate (nan), and a mean of 0 where nobody is.

    Parameters
    ----------
    n, mean : float arrays, (replicate, row, occasion)
        Numbers and mean outcomes.
    covariates : list of float arrays, (replicate, row)
        The covariates.
    """
    for values in covariates:
        unknown = np.isnan(values)[:, :, np.newaxis]
        n = np.where(unknown, 0.0, n) if unknown.any() else n
    return Cells(n, np.where(n > 0, mean, 0.0) if (n == 0).any() else mean)
