"""Binomial and Poisson outcomes on their natural scales, by the cumulant function and its derivatives.

The log-likelihood of y events in n trials, or in n units of exposure, is y eta - n b(eta) plus what does
not depend on eta: eta is a log odds with b = log(1 + e^eta), or a log rate with b = e^eta. The mean of an
event is b', and its variance b''.

Source: McCullagh and Nelder (1989), Generalized Linear Models, 2nd edition, section 2.2.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from design_sim.arrays import Floats


class Family(NamedTuple):
    """A distribution of events.

    cumulants : callable
        Derivatives of b at eta, from the order of the second argument (0: b itself) to that of the third.
    link : callable
        eta of a mean, infinite for a mean at the end of its range.
    """

    cumulants: Callable[[Floats, int, int], list[Floats]]
    link: Callable[[Floats], Floats]


def _binomial(eta: Floats, first: int, last: int) -> list[Floats]:
    """Derivatives of log(1 + e^eta), orders within 0 to 4."""
    odds_against = np.exp(-eta)
    mean = 1 / (1 + odds_against)
    derivatives = [eta + np.log1p(odds_against), mean] if first == 0 else [mean]
    if last > 1:
        variance = mean * (1 - mean)
        derivatives.append(variance)
    if last > 2:
        derivatives += [variance * (1 - 2 * mean), variance * (1 - 6 * variance)]
    return derivatives[: last + 1 - first]


def _poisson(eta: Floats, first: int, last: int) -> list[Floats]:
    """Derivatives of e^eta, of any order."""
    return [np.exp(eta)] * (last + 1 - first)


BINOMIAL = Family(_binomial, special.logit)
POISSON = Family(_poisson, np.log)
