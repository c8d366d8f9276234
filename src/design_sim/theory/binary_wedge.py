"""Stepped wedges with a binary outcome, analysed by maximum likelihood with a random intercept for clusters.

The variance of the effect comes from the expected information, summed over every count of events that the
cells of a cluster can show. No normal approximation of the cells is made, so that small cells and rare events
are taken as they are; many periods and large cells are out of reach.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy import special

from design_sim.arrays import Floats, Ints
from design_sim.theory.logistic_normal import marginal_risk
from design_sim.theory.ranges import require_at_least, require_inside

Link = Literal["logit", "identity"]
MOST_COUNTS = 2_000_000
"""Combinations of counts in a cluster's cells that are summed over."""
_STEP = 1e-4
_Z = np.linspace(-8.5, 8.5, 171)
_Z_WEIGHTS = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(100)


class BinaryWedge(NamedTuple):
    """The effect on the link's scale within a cluster, and the variance of its estimate."""

    effect: float
    variance: float


def binary_wedge_effect(
    treated: Ints,
    cell_size: int,
    risk_first: float,
    risk_last: float,
    risk_treated_last: float,
    icc: float,
    link: Link = "logit",
) -> BinaryWedge:
    """Effect, and its variance by maximum likelihood, in a stepped wedge with new families in each period.

    Risks are stated over all clusters. Without the intervention they move from `risk_first` to `risk_last` in
    equal steps on the link's scale; the intervention shifts them by the difference there between
    `risk_treated_last` and `risk_last`. The model has an effect for each period (none, where the two are the
    same), the intervention's effect, and the variance of the intercepts.

    Parameters
    ----------
    treated : int array, (cluster, period)
        0 or 1, every cell observed.
    cell_size : int
        Families in a cell.
    risk_first, risk_last : float
        Risk without the intervention in the first and in the last period.
    risk_treated_last : float
        Risk with it in the last period.
    icc : float
        Share of the outcome's variance between clusters in the first period, without the intervention, on
        the scale of risks; above 0.
    link : "logit" or "identity"
        Scale on which clusters' intercepts are normal and effects add up. On the scale of risks themselves,
        intercepts that would take a risk out of 0 to 1 are cut off.

    References
    ----------
    Zhou, Liao, Kunz, Normand, Wang and Spiegelman (2020), Biostatistics 21, 102-121; Chen, Zhou, Li and
    Spiegelman (2022), Computer Methods and Programs in Biomedicine 213, 106522 (swdpwr).

    Examples
    --------
    >>> treated = np.repeat([[0, 1, 1], [0, 0, 1]], 6, axis=0)
    >>> found = binary_wedge_effect(treated, 30, 0.2, 0.3, 0.4, icc=0.01)
    >>> round(found.effect, 3), round(found.variance ** 0.5, 3)
    (0.447, 0.26)
    """
    design = np.asarray(treated)
    if design.ndim != 2 or not np.isin(design, [0, 1]).all():
        raise ValueError("treated must be a matrix of 0 and 1, (cluster, period)")
    if link not in get_args(Link):
        raise ValueError(f"link must be one of {', '.join(get_args(Link))}: {link}")
    require_inside("risks", [risk_first, risk_last, risk_treated_last], 0, 1)
    require_inside("icc", icc, 0, 1)
    require_at_least("cell_size", cell_size, 1)
    risks = (risk_first, risk_last, risk_treated_last)
    n_periods = design.shape[1]
    trend = _linear_trend(link, n_periods, risks)
    if link == "logit":
        lines, effect, variance = _conditional(*trend, icc)
    else:
        (lines, effect), variance = trend, icc * risk_first * (1 - risk_first)
    periods = np.eye(n_periods) if risk_first != risk_last else np.ones((n_periods, 1))
    parameters = np.array([*lines[: periods.shape[1]], effect, variance])
    sequences, repeats = np.unique(design, axis=0, return_counts=True)
    information = np.zeros((parameters.size, parameters.size))
    for sequence, repeat in zip(sequences, repeats, strict=True):
        regressors = np.column_stack([periods, sequence])
        likelihood = partial(_count_probabilities, link, periods, regressors, cell_size)
        information += repeat * _expected_information(likelihood, parameters)
    if np.linalg.matrix_rank(information, hermitian=True) < parameters.size:
        raise ValueError("the effect cannot be told from the periods in this design")
    return BinaryWedge(float(effect), float(np.linalg.inv(information)[-2, -2]))


def _linear_trend(link: Link, n_periods: int, risks: tuple[float, float, float]) -> tuple[Floats, float]:
    """Periods' levels without the intervention and its effect, on the link's scale of risks over all."""
    first, last, treated = special.logit(risks) if link == "logit" else risks
    return np.linspace(first, last, n_periods), float(treated - last)


def _conditional(marginal: Floats, effect: float, icc: float) -> tuple[Floats, float, float]:
    """The same within a typical cluster, and the variance of intercepts that are normal as logits."""
    from scipy.optimize import brentq

    def level(target: float, sd: float) -> float:
        """Log odds in a typical cluster that make the stated log odds over all."""
        risk, reach = special.expit(target), abs(target) + 10 * (1 + sd)
        return float(brentq(lambda at: float(marginal_risk(at, sd)) - risk, -reach, reach, xtol=1e-13))

    def excess(sd: float) -> float:
        risk = special.expit(level(marginal[0], sd) + sd * _Z)
        mean = risk @ _Z_WEIGHTS
        return float((risk - mean) ** 2 @ _Z_WEIGHTS / (mean * (1 - mean)) - icc)

    widest = 0.1
    while excess(widest) < 0:
        widest *= 2
    sd = float(brentq(excess, 1e-9, widest, xtol=1e-13))
    lines = np.array([level(each, sd) for each in marginal])
    return lines, level(marginal[0] + effect, sd) - lines[0], sd**2


def _count_probabilities(
    link: Link, periods: Floats, regressors: Floats, cell_size: int, parameters: Floats
) -> Floats:
    """Probability of every combination of a cluster's event counts, like periods being taken together."""
    coefficients, sd = parameters[:-1], np.sqrt(parameters[-1])
    if link == "logit":
        intercepts, weights = sd * _Z, _Z_WEIGHTS
    else:
        # Over all periods with and without the intervention, whether or not a cluster has them.
        risks = np.add.outer(periods @ coefficients[:-1], [0.0, coefficients[-1]])
        low, high = -risks.min(), 1 - risks.max()
        intercepts = low + (high - low) * (_NODES + 1) / 2
        weights = _NODE_WEIGHTS * np.exp(-(intercepts**2) / (2 * parameters[-1]))
        weights = weights / weights.sum()
    cells, times = np.unique(regressors, axis=0, return_counts=True)
    totals = times * cell_size
    if np.prod(totals + 1.0) > MOST_COUNTS:
        raise ValueError(f"more than {MOST_COUNTS} combinations of counts: too many periods, or families")
    laws = [
        _binomial(n, special.expit(line + intercepts) if link == "logit" else line + intercepts)
        for line, n in zip(cells @ coefficients, totals, strict=True)
    ]
    joint = weights[np.newaxis]
    for law in laws[:-1]:
        joint = (joint[:, np.newaxis] * law).reshape(-1, intercepts.size)
    return np.asarray((joint @ laws[-1].T).ravel())


def _binomial(n: int, risk: Floats) -> Floats:
    """Probability of each count from 0 to n at each risk, (count, risk)."""
    count = np.arange(n + 1)[:, np.newaxis]
    ways = special.gammaln(n + 1) - special.gammaln(count + 1) - special.gammaln(n - count + 1)
    return np.asarray(np.exp(ways + special.xlogy(count, risk) + special.xlog1py(n - count, -risk)))


def _expected_information(likelihood: Callable[[Floats], Floats], parameters: Floats) -> Floats:
    """Expected information of a discrete law, sum of dP dP' / P, by central differences."""
    steps = _STEP * np.maximum(np.abs(parameters), 0.01)
    moved = np.diag(steps)
    slopes = np.stack(
        [
            (likelihood(parameters + up) - likelihood(parameters - up)) / (2 * h)
            for up, h in zip(moved, steps, strict=True)
        ]
    )
    law = likelihood(parameters)
    possible = law > 0
    return np.asarray((slopes[:, possible] / law[possible]) @ slopes[:, possible].T)
