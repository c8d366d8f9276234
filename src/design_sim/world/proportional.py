"""Proportions of a mean: what counts and durations have in common.

The means of authorities are lognormal, with the stated mean at every occasion, own trends and shocks
included. Practice multiplies the mean of a family that takes part by 1 + dose x effect / mean, so that the
effect is a share of an authority's own mean.

Decision: the factor is linear in the dose, unlike a log link, so that the effect at the mean dose over an
authority's workers is their mean effect exactly. It is held at 0, which only an authority whose own effect is
far above the mean one can meet.
"""

from typing import Annotated, Protocol

import numpy as np
from pydantic import Field

from design_sim.arrays import Floats, Ints
from design_sim.world.outcome import Deviations, Outcome, in_shock, national_mean
from design_sim.world.settings import Time

MOST_TIMES = 20.0
"""Times the stated mean that an effect, a standard deviation within authorities or a national mean may be."""
Mean = Annotated[float, Field(ge=1e-6, le=1e9)]
"""A mean above 0, with room for what is divided by it."""


class ProportionalOutcome(Outcome, Protocol):
    """An outcome whose authorities' means are lognormal."""

    @property
    def log_sd(self) -> float:
        """Standard deviation of the logarithm of a year's true mean between authorities."""
        ...


def lognormal_means(outcome: ProportionalOutcome, deviations: Deviations) -> Floats:
    """True means of the authorities, (replicate, authority, occasion).

    Notes
    -----
    mean(t) exp(s z - s^2 v / 2), with s the log_sd, z the deviation and v its variance: that of an occasion,
    of the slopes, and of the shock. The factor averages 1, so the mean over authorities is mean(t).
    """
    years = deviations.years
    variance = deviations.occasion_sd**2 + (outcome.slope_sd * years) ** 2
    if outcome.shock is not None:
        variance = variance + outcome.shock.authority_sd**2 * in_shock(outcome.shock, years)
    multiple = np.exp(outcome.log_sd * deviations.deviation - outcome.log_sd**2 * variance / 2)
    means: Floats = national_mean(outcome, years) * multiple
    return means


def sd_of_means(mean: float, log_sd: float) -> float:
    """Standard deviation of a lognormal variable, from its mean and the SD of its logarithm."""
    return float(mean * np.sqrt(np.expm1(log_sd**2)))


def practice_factor(outcome: Outcome, dose: Floats) -> Floats:
    """What a dose multiplies the mean of a family that takes part by."""
    factor: Floats = np.maximum(1 + dose * (outcome.effect / outcome.mean), 0.0)
    return factor


def proportional_effect(outcome: Outcome, expected: Floats, at: Ints, dose: Floats, uptake: float) -> Floats:
    """Mean effect of a dose in each authority, uptake x (factor - 1) x its own mean.

    Parameters
    ----------
    expected : float array, (replicate, authority, occasion)
        The authorities' means without any framework.
    at : int array, (occasion,)
        The occasions.
    dose : float array, (replicate, authority, occasion)
        The dose of those who take part; any axis may be 1.
    uptake : float
        Share of families that take part.
    """
    if outcome.effect == 0:
        return np.zeros((1, 1, 1))
    effect: Floats = expected[:, :, at] * (uptake * (practice_factor(outcome, dose) - 1))
    return effect


def refuse_impossible(outcome: ProportionalOutcome) -> None:
    """Raise where an effect leads below 0, or a correlation has nothing to work on: ValueError."""
    if outcome.effect <= -outcome.mean:
        raise ValueError(
            f"an effect of {outcome.effect:g} would leave nothing of a mean of {outcome.mean:g}; "
            f"above {-outcome.mean:g} it can be had"
        )
    refuse_too_many_times("an effect", outcome.effect, outcome.mean)
    for key in ("quality_correlation", "deprivation_correlation", "slope_sd"):
        if getattr(outcome, key) != 0 and outcome.log_sd == 0:
            raise ValueError(f"{key} has no effect while log_sd is 0")


def refuse_too_many_times(what: str, value: float, mean: float) -> None:
    """Raise where a value is out of all proportion to the mean: ValueError."""
    if value > MOST_TIMES * mean * (1 + 1e-9):
        raise ValueError(
            f"{what} of {value:g} is more than {MOST_TIMES:g} times a mean of {mean:g}, which is the most"
        )


def proportional_faults(outcome: Outcome, time: Time) -> list[str]:
    """A trend or a shock that leads the national mean out of range: the first occasion that it does."""
    most = MOST_TIMES * outcome.mean
    for year, mean in zip(time.years, national_mean(outcome, time.years), strict=True):
        if not 0 < mean <= most:
            key = "shock.change" if outcome.shock and in_shock(outcome.shock, year) else "trend"
            return [
                f"{key}: in year {int(np.floor(year + 0.5))} from the start, the mean would be {mean:.3g}; "
                f"it must be above 0 and at most {most:g}"
            ]
    return []
