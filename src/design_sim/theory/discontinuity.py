"""Regression discontinuity: what deciding treatment by a score costs over deciding it by chance."""

from typing import Literal, get_args

import numpy as np
from scipy import special

from design_sim.theory.ranges import require_inside

Running = Literal["normal", "uniform"]


def assignment_correlation(share_treated: float, running: Running = "normal") -> float:
    """Correlation of treatment with the score that decides it.

    Treated are those beyond a cutoff: with a normal score phi(z) / sqrt(p (1 - p)), z being the cutoff;
    with a uniform one sqrt(3 p (1 - p)).

    Parameters
    ----------
    share_treated : float
        p, above 0 and below 1.
    running : "normal" or "uniform"
        Distribution of the score.

    References
    ----------
    Goldberger (1972), Selection bias in evaluating treatment effects, Institute for Research on Poverty
    discussion paper 123-72; Schochet (2009), Journal of Educational and Behavioral Statistics 34, 238-266.
    """
    require_inside("share_treated", share_treated, 0, 1)
    if running not in get_args(Running):
        raise ValueError(f"running must be one of {', '.join(get_args(Running))}: {running}")
    spread = share_treated * (1 - share_treated)
    if running == "uniform":
        return float(np.sqrt(3 * spread))
    cutoff = special.ndtri(share_treated)
    return float(np.exp(-(cutoff**2) / 2) / np.sqrt(2 * np.pi * spread))


def discontinuity_design_effect(share_treated: float, running: Running = "normal") -> float:
    """Factor by which the sample of a randomised trial with the same split must grow.

    1 / (1 - `assignment_correlation`^2), with a line in the score that is the same on both sides. Each
    side's own line, a curve, or a bandwidth that leaves out those far from the cutoff cost more.

    Examples
    --------
    >>> round(discontinuity_design_effect(0.5), 2), round(discontinuity_design_effect(0.5, "uniform"), 2)
    (2.75, 4.0)
    """
    return 1 / (1 - assignment_correlation(share_treated, running) ** 2)
