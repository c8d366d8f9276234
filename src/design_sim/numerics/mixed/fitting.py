"""From a mixed model's profile to its fits: search the variance ratios, and judge the effect there."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np

from design_sim.arrays import Ints
from design_sim.numerics.mixed.effect_test import Reml, SmallSample, kenward_roger, satterthwaite_df
from design_sim.numerics.mixed.nested_model import LeafMoments, MixedFits
from design_sim.numerics.mixed.variance_ratios import Profile, search_ratios

NUMBERS = 2**21
"""Numbers that a search holds at once, roughly; replicates beyond that wait for their turn."""


def fit_in_parts(
    leaves: LeafMoments,
    profile_of: Callable[[LeafMoments], Profile],
    verdict: Ints,
    small_sample: SmallSample,
) -> MixedFits:
    """Fit every replicate, as many at once as memory should hold.

    Parameters
    ----------
    leaves : LeafMoments
        The data.
    profile_of : callable
        The model with everything but its variance ratios solved for, from the data of some replicates.
    verdict : int array, (replicate,)
        A `Verdict`; only replicates that are `FITTED` so far are searched.
    small_sample : {"satterthwaite", "kenward_roger"}
        How standard error and degrees of freedom allow for few units.
    """
    n_columns, n_units = leaves.varying.shape[2] + 2, int(leaves.parents[0][-1]) + 1
    n_jets = (leaves.n_ratios + 1) * (leaves.n_ratios + 2) // 2
    at_once = max(1, NUMBERS // (n_columns**2 * (leaves.n.shape[1] + n_jets * n_units)))
    parts = []
    for first in range(0, leaves.n_replicates, at_once):
        part = slice(first, first + at_once)
        profile = profile_of(leaves.of_replicates(part))
        parts.append(fit_profile(profile, leaves.effect, verdict[part], small_sample))
    names = [field.name for field in fields(MixedFits)]
    return MixedFits(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def fit_profile(profile: Profile, effect: int, verdict: Ints, small_sample: SmallSample) -> MixedFits:
    """Fit every replicate.

    Parameters
    ----------
    profile : Profile
        The model with everything but its variance ratios solved for.
    effect : int
        The column asked about.
    verdict : int array, (replicate,)
        A `Verdict`; only replicates that are `FITTED` so far are searched.
    small_sample : {"satterthwaite", "kenward_roger"}
        How standard error and degrees of freedom allow for few units.
    """
    coordinates = profile.coordinates
    point, verdict = search_ratios(profile, verdict)
    ratio = coordinates.ratios(point)
    at = profile.at(ratio, slice(None))
    reml = at.reml(profile.df, effect)
    if small_sample == "kenward_roger":
        variance, df = kenward_roger(reml, ratio)
    else:
        free = ~coordinates.bounded | (point > 0)
        squares, log_det, spread = (coordinates.pull(function, point) for function in reml[:3])
        pulled = Reml(squares, log_det, spread, reml.df)
        variance, df = reml.variance.value, satterthwaite_df(pulled, free)
    residual = reml.squares.value / reml.df
    return MixedFits(
        estimate=at.coefficients[effect],
        std_error=np.sqrt(residual * variance),
        df=df,
        ratios=ratio.T,
        residual=residual,
        criterion=reml.df * (1 + np.log(2 * np.pi * residual)) + reml.log_det.value,
        verdict=verdict,
    )
