"""The sweep operator: regressions and inverses of many small matrices at once, by Gauss-Jordan steps.

For matrices of a few columns a step over all replicates costs less than a call of LAPACK for each, and a
singular matrix spoils its own replicate only, whose numbers are then not finite.

Source: Goodnight (1979), A Tutorial on the SWEEP Operator, The American Statistician 33, 149-158.
"""

import numpy as np

from design_sim.arrays import Floats


def swept(matrix: Floats, n_pivots: int) -> tuple[Floats, Floats]:
    """The matrices swept on their first rows, and the pivots.

    Swept on the regressors, a matrix of cross-products [[X'X, X'y], [y'X, y'y]] is
    [[inverse of X'X, coefficients], [-coefficients', residual squares]].

    Parameters
    ----------
    matrix : float array, (row, column, replicate)
        Symmetric matrices.
    n_pivots : int
        How many rows and columns to sweep.

    Returns
    -------
    float array, (row, column, replicate)
        Swept.
    float array, (row, replicate)
        The pivots: what was left on the diagonal as its turn came.
    """
    done, pivots = matrix.copy(), np.empty((n_pivots, *matrix.shape[2:]))
    for at in range(n_pivots):
        pivots[at] = done[at, at]
        inverse = 1 / pivots[at]
        row, column = done[at] * inverse, done[:, at].copy()
        done -= column[:, np.newaxis] * row
        done[at] = row
        done[:, at] = -column * inverse
        done[at, at] = inverse
    return done, pivots


def inverse(matrix: Floats) -> Floats:
    """Inverses of small matrices without a zero on the way; not finite where there are none.

    Parameters
    ----------
    matrix : float array, (row, column, replicate)
        Positive definite, or at least with leading minors other than 0.
    """
    return swept(matrix, matrix.shape[0])[0]
