"""The sweep operator: regressions and inverses of many small matrices at once, by Gauss-Jordan steps.

For matrices of a few columns a step over all replicates costs less than a call of LAPACK for each, and a
singular matrix spoils its own replicate only, whose numbers are then not finite.

Source: Goodnight (1979), A Tutorial on the SWEEP Operator, The American Statistician 33, 149-158.
"""

import numpy as np

from design_sim.arrays import Floats


def sweep(matrix: Floats, pivot: int) -> Floats:
    """Sweep one row and column in place, and give the pivot: (replicate,).

    Swept on the regressors, a matrix of cross-products [[X'X, X'y], [y'X, y'y]] is
    [[inverse of X'X, coefficients], [-coefficients', residual squares]].

    Parameters
    ----------
    matrix : float array, (replicate, row, column)
        The matrices, overwritten.
    pivot : int
        Row and column to sweep.
    """
    at = matrix[:, pivot, pivot].copy()
    row = matrix[:, pivot] / at[:, np.newaxis]
    column = matrix[:, :, pivot].copy()
    matrix -= column[:, :, np.newaxis] * row[:, np.newaxis]
    matrix[:, pivot] = row
    matrix[:, :, pivot] = -column / at[:, np.newaxis]
    matrix[:, pivot, pivot] = 1 / at
    return at


def inverse(matrix: Floats) -> Floats:
    """Inverses of small matrices without a zero on the way; not finite where there are none.

    Parameters
    ----------
    matrix : float array, (replicate, row, column)
        Positive definite, or at least with leading minors other than 0.
    """
    swept = matrix.copy()
    for pivot in range(matrix.shape[1]):
        sweep(swept, pivot)
    return swept
