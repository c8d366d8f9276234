"""Exposure time: for how many occasions a family's unit has had the framework, and effects that differ by it.

An effect that grows while a framework beds in, or wanes, is not one number. A stepped wedge analysed as if it
were estimates an average of the effects by exposure time whose weights may be negative, so that it may even
have the other sign. A model with an effect of its own for every exposure time has no such bias; its answer is
the plain average of those effects, the time-averaged treatment effect, or the effect at the longest.

Its price is precision: in a wedge of a few steps the average has about twice the variance of an immediate
effect (`theory.wedge`). The two are the same where there is one exposure time only.

Decision: exposure time is counted in occasions of the panel, periods where those are pooled, since the unit's
start, the first being 1. Those left out of the study, or in which nobody was observed, are counted too, and
have no effect of their own. The average is over exposure times that somebody was observed at.

Source: Hughes, Granston and Heagerty (2015), Contemporary Clinical Trials 45, 55-60; Kenny, Voldal, Xia,
Heagerty and Hughes (2022), Statistics in Medicine 41, 4311-4339; Maleyeff, Li, Haneuse and Wang (2023),
Biometrics 79, 2551-2564.
"""

from typing import Literal

import numpy as np

from design_sim.arrays import Bools, Floats, Ints

Effect = Literal["immediate", "by_exposure_time", "longest_exposure"]
"""One effect from the start on; an effect for each exposure time, averaged; the same, at the longest."""


def exposure_of(treated: Bools) -> Ints:
    """How many occasions a row has been treated for, the present one included; 0 where it is not treated.

    Parameters
    ----------
    treated : bool array, (replicate, row, occasion)
        Whether a row is treated at an occasion; stays so once it is.

    Examples
    --------
    >>> exposure_of(np.array([[[False, True, True], [False, False, True]]])).tolist()
    [[[0, 1, 2], [0, 0, 1]]]
    """
    exposure: Ints = np.cumsum(treated, axis=2)
    return exposure


def exposure_regressors(exposure: Ints, seen: Bools, effect: Effect) -> tuple[list[Floats], Floats]:
    """Regressors of effects by exposure time, one of which has the effect asked about as its coefficient.

    Parameters
    ----------
    exposure : int array, (replicate or 1, row, occasion)
        0 where not treated.
    seen : bool array, (replicate or 1, row, occasion)
        Whether anybody was observed.
    effect : {"immediate", "by_exposure_time", "longest_exposure"}
        What is asked about.

    Returns
    -------
    list of float arrays, (replicate or 1, row, occasion)
        The others: one for each exposure time that somebody was observed at, in any replicate, but the
        longest; none for an immediate effect.
    float array, (replicate or 1, row, occasion)
        That with the coefficient asked about.

    Notes
    -----
    With Z_s = 1 at exposure time s and b_s the effect there, the model has sum_s b_s Z_s, s = 1 to S. The
    average is d = sum_s b_s / S, so that b_S = S d - sum_(s < S) b_s, and

        sum_s b_s Z_s = sum_(s < S) b_s (Z_s - Z_S) + d S Z_S:

    the same model, in which d is the coefficient of S Z_S. Nothing that follows need know of contrasts.
    """
    if effect == "immediate":
        return [], (exposure > 0).astype(np.float64)
    times = np.unique(np.where(seen, exposure, 0))
    at = [(exposure == time).astype(np.float64) for time in times[times > 0]]
    if not at:
        return [], np.zeros(exposure.shape)
    *shorter, longest = at
    if effect == "longest_exposure":
        return shorter, longest
    return [each - longest for each in shorter], len(at) * longest
