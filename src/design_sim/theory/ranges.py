"""What an argument may be, said in a sentence when it is not."""

from collections.abc import Sequence

import numpy as np

from design_sim.arrays import Floats

Number = float | Sequence[float] | Floats


def require_share(name: str, value: Number) -> None:
    """Refuse what is not within 0 to 1."""
    if not np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1)):
        raise ValueError(f"{name} must lie within 0 to 1: {value}")


def require_inside(name: str, value: Number, low: float, high: float) -> None:
    """Refuse what does not lie between two bounds, or lies on one of them."""
    if not np.all((np.asarray(value) > low) & (np.asarray(value) < high)):
        raise ValueError(f"{name} must lie above {low} and below {high}: {value}")


def require_at_least(name: str, value: Number, least: float) -> None:
    """Refuse what is below a bound, and nan."""
    if not np.all(np.asarray(value) >= least):
        raise ValueError(f"{name} must be at least {least}: {value}")


def require_above(name: str, value: Number, bound: float) -> None:
    """Refuse what is at a bound or below, and nan."""
    if not np.all(np.asarray(value) > bound):
        raise ValueError(f"{name} must be above {bound}: {value}")


def require_covariance(name: str, matrix: Floats) -> None:
    """Refuse what is no covariance matrix: not square, not symmetric, or with a negative variance."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be a square matrix, not of shape {matrix.shape}")
    scale = np.abs(matrix).max(initial=0)
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-9 * scale):
        raise ValueError(f"{name} must be symmetric")
    if matrix.size and np.linalg.eigvalsh(matrix)[0] < -1e-9 * scale:
        raise ValueError(f"{name} must have no negative eigenvalue")
