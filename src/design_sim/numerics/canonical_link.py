"""Families of outcomes with their canonical links: from a linear predictor to a mean and its variance.

With a canonical link the derivative of the mean by the predictor is the variance function itself: identity
and 1, logit and mu (1 - mu), log and mu. A binomial outcome is that of a single family, yes or no.

Source: McCullagh and Nelder (1989), Generalized Linear Models, second edition, chapter 2.
"""

from typing import Literal

import numpy as np
from scipy import special

from design_sim.arrays import Bools, Floats

Family = Literal["gaussian", "binomial", "poisson"]

_EDGE = 1e-9
"""A fitted risk this close to 0 or 1, or a rate this small a share of the mean rate, runs off to the edge."""
_LEAST = 1e-100
"""Variances are kept above this, lest what is divided by them overflow when squared."""
_LARGEST = 500.0
"""Logarithms of rates are kept below this, lest a search that fails overflow."""


def linked(family: Family, mean: Floats) -> Floats:
    """The linear predictor of a mean; infinite or nan for one that has none."""
    if family == "gaussian":
        return mean
    with np.errstate(divide="ignore", invalid="ignore"):
        predictor: Floats = special.logit(mean) if family == "binomial" else np.log(mean)
    return predictor


def held_within(family: Family, mean: Floats) -> Floats:
    """A mean that has a linear predictor, near the given one: where a search may start."""
    if family == "gaussian":
        return mean
    return np.clip(mean, 0.001, 0.999 if family == "binomial" else None)


def expected(family: Family, predictor: Floats) -> Floats:
    """The mean that belongs to a linear predictor."""
    if family == "gaussian":
        return predictor
    if family == "binomial":
        risk: Floats = special.expit(predictor)
        return risk
    return np.exp(np.minimum(predictor, _LARGEST))


def variance(family: Family, mean: Floats) -> Floats:
    """Variance of an outcome of dispersion 1, and derivative of its mean by the predictor.

    Of the same axes as the mean, each of length 1 for a Gaussian outcome.
    """
    if family == "gaussian":
        return np.ones((1,) * mean.ndim)
    spread: Floats = mean * (1 - mean) if family == "binomial" else mean
    return np.maximum(spread, _LEAST)


def at_edge(family: Family, mean: Floats, typical: Floats) -> Bools:
    """Whether a fitted mean is 0, or 1 for a risk, but for what a search has not gone yet.

    Parameters
    ----------
    mean : float array
        Fitted means.
    typical : float array, broadcast against them
        The mean outcome: what a small rate is compared with.
    """
    if family == "gaussian":
        return np.zeros(mean.shape, dtype=np.bool_)
    low: Bools = mean < _EDGE * (1.0 if family == "binomial" else np.maximum(typical, 0.0))
    return low | (mean > 1 - _EDGE) if family == "binomial" else low
