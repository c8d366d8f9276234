"""Differences on the outcome's own scale from a generalised mixed model: standardised over families.

A coefficient on the scale of a log odds or log rate is for families of one and the same cluster. What is
asked about is a difference of risks or rates: the mean over all families, were all of them treated, less
that were none of them:

    D = sum over cells of n (m(x1' beta) - m(x0' beta)) / sum of n,    m(eta) = E h(eta + sigma u),

with h the inverse link, u standard normal, and x1, x0 a cell's regressors with the treatment set to 1 and
to 0. Its standard error is by the delta method: sqrt(d' V d), d the gradient of D by (beta, sigma) and V
their covariance, n being taken as given.

Source: Zeger, Liang and Albert (1988), Biometrics 44, 1049-1060 (marginal means of a random intercept); Lane
and Nelder (1982), Biometrics 38, 613-621 (standardisation).
"""

import numpy as np

from design_sim.arrays import Floats
from design_sim.numerics.exponential_family import Family
from design_sim.numerics.generalised_mixed import GeneralisedFits
from design_sim.numerics.marginal_likelihood import ClusteredEvents

_U = np.linspace(-9.0, 9.0, 49)
_WEIGHT = np.exp(-(_U**2) / 2) / np.exp(-(_U**2) / 2).sum()
"""Trapezoidal sums: for a spread s of the log odds their error is of the order exp(-2 pi^2 / (0.375 s))."""


def standardised_difference(
    data: ClusteredEvents, family: Family, fits: GeneralisedFits
) -> tuple[Floats, Floats]:
    """The difference D and its standard error, (replicate,) each.

    Parameters
    ----------
    data : ClusteredEvents
        What was fitted; the treatment stands last.
    family : Family
        The family that was fitted.
    fits : GeneralisedFits
        The fits; a failed one gives numbers without meaning.

    Examples
    --------
    Rates of 2 and 3, and no random intercept: the difference is 1, with a variance of 2/40 + 3/40.

    >>> from design_sim.numerics.exponential_family import POISSON
    >>> from design_sim.numerics.generalised_mixed import fit_generalised_mixed
    >>> columns = np.array([[[[1.0]] * 4, [[0.0], [0.0], [1.0], [1.0]]]])
    >>> data = ClusteredEvents(np.full((1, 4, 1), 20.0), np.array([[[39.0], [41], [58], [62]]]), columns)
    >>> fits = fit_generalised_mixed(data, POISSON, 9)
    >>> difference, std_error = standardised_difference(data, POISSON, fits)
    >>> difference.round(6), (std_error**2).round(6)
    (array([1.]), array([0.125]))
    """
    columns, share = _settings(data)
    gradient = np.zeros_like(fits.covariance[:, 0])
    difference = np.zeros(fits.spread.size)
    with np.errstate(all="ignore"):
        untreated = np.einsum("rp,rpi->ri", *_alike(fits.coefficients[:, :-1], columns))
        for sign, eta in ((1.0, untreated + fits.coefficients[:, -1:]), (-1.0, untreated)):
            mean, by_eta, by_spread = _marginal(family, eta, fits.spread[:, np.newaxis])
            moved = sign * share * by_eta
            difference += (sign * share * mean).sum(axis=1)
            gradient[:, :-2] += np.einsum("ri,rpi->rp", *_alike(moved, columns))
            gradient[:, -2] += moved.sum(axis=1) if sign > 0 else 0.0
            gradient[:, -1] += (sign * share * by_spread).sum(axis=1)
        variance = np.einsum("ri,rij,rj->r", gradient, fits.covariance, gradient)
        return difference, np.sqrt(variance)


def _settings(data: ClusteredEvents) -> tuple[Floats, Floats]:
    """The regressors before the treatment, (replicate, column, setting), and their shares of the families.

    Where the regressors are fixed, cells that have the same are one setting.
    """
    columns = data.regressors[:, :-1].reshape(data.regressors.shape[0], data.regressors.shape[1] - 1, -1)
    n = data.n.reshape(data.n.shape[0], -1)
    if columns.shape[0] == 1:
        distinct, which = np.unique(columns[0], axis=1, return_inverse=True)
        columns, n = distinct[np.newaxis], n @ np.eye(distinct.shape[1])[which.ravel()]
    return columns, n / n.sum(axis=1, keepdims=True)


def _alike(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Both with all replicates."""
    n = max(first.shape[0], second.shape[0])
    return np.broadcast_to(first, (n, *first.shape[1:])), np.broadcast_to(second, (n, *second.shape[1:]))


def _marginal(family: Family, eta: Floats, spread: Floats) -> tuple[Floats, Floats, Floats]:
    """m(eta) and its derivatives by eta and by sigma, (replicate, setting) each."""
    mean, by_eta, by_spread = np.zeros_like(eta), np.zeros_like(eta), np.zeros_like(eta)
    for u, weight in zip(_U, _WEIGHT, strict=True):
        at, slope = family.cumulants(eta + spread * u, 1, 2)
        mean += weight * at
        by_eta += weight * slope
        by_spread += weight * u * slope
    return mean, by_eta, by_spread
