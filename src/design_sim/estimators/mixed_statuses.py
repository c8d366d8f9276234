"""How the fit of a linear mixed model ended, as the status of an analysis."""

import numpy as np

from design_sim.arrays import Ints
from design_sim.estimators.base import Status
from design_sim.numerics.mixed.intercept_model import Verdict

_STATUS_OF = {
    Verdict.FITTED: Status.OK,
    Verdict.BOUNDARY: Status.BOUNDARY,
    Verdict.TOO_FEW: Status.TOO_FEW_CLUSTERS,
    Verdict.SINGULAR: Status.SINGULAR,
    Verdict.NO_VARIATION: Status.NO_VARIATION,
    Verdict.NOT_CONVERGED: Status.NOT_CONVERGED,
}


def statuses_of(verdict: Ints) -> Ints:
    """The `Status` of every `Verdict`, (replicate,)."""
    return np.array([_STATUS_OF[each] for each in Verdict], dtype=np.int64)[verdict]
