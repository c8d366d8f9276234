"""Many mixed models with several nested random intercepts at once: REML with its small-sample test.

y = X beta + leaf + ... + authority + e, each variance a ratio of Var(e). Three routes lead to the same
numbers:

- balanced, and every regressor in one stratum: closed form, by mean squares (`strata`);
- balanced: a search over ratios, from cross-products by stratum (`strata`);
- otherwise: a search from cross-products that are collected from the leaves up (`nested_products`).

See `variance_ratios` for the search and `effect_test` for standard errors and degrees of freedom.
"""

from dataclasses import replace

import numpy as np

from design_sim.arrays import Ints
from design_sim.numerics.mixed.effect_test import SmallSample
from design_sim.numerics.mixed.fitting import fit_in_parts, fit_profile
from design_sim.numerics.mixed.intercept_model import ClusterMoments, Verdict
from design_sim.numerics.mixed.nested_model import LeafMoments, MixedFits
from design_sim.numerics.mixed.nested_profile import NestedProfile
from design_sim.numerics.mixed.strata import balanced, strata_of


def fit_nested_intercepts(
    moments: ClusterMoments, parents: tuple[Ints, ...], small_sample: SmallSample = "satterthwaite"
) -> MixedFits:
    """Fit the model to every replicate by REML.

    Parameters
    ----------
    moments : ClusterMoments
        The data by leaves. Numbers and regressors that do not vary between replicates make the fit faster.
    parents : tuple of int arrays
        The unit that every leaf belongs to, then the unit of the next level that every such unit belongs
        to, and so on to the authorities; numbered from 0, the members of a unit lying together.
    small_sample : {"satterthwaite", "kenward_roger"}
        How standard error and degrees of freedom allow for few units.

    Returns
    -------
    MixedFits
        `TOO_FEW` where the variances cannot be told apart, `SINGULAR` where a regressor is a combination of
        others, `NO_VARIATION` where outcomes do not vary within leaves.

    Examples
    --------
    Two authorities in either arm, two workers in each, five families of each worker: the t test on the means
    of authorities.

    >>> treated = np.repeat([[0.0, 1.0]], 4, axis=1)
    >>> fits = fit_nested_intercepts(ClusterMoments(
    ...     n=np.full((1, 8), 5.0), mean=np.array([[0.0, 2, 1, 5, 3, 4, 6, 8]]), within=np.array([32.0]),
    ...     regressors=np.stack([np.ones((1, 8)), treated], axis=2),
    ...     within_squares=np.zeros((1, 2, 2)), within_products=np.zeros((1, 2))),
    ...     (np.repeat(np.arange(4), 2),))
    >>> fits.estimate, fits.df, fits.residual
    (array([3.25]), array([2.]), array([1.]))
    """
    moments = moments.fixed_sizes()
    verdict = np.where(moments.flat(), Verdict.NO_VARIATION, Verdict.FITTED).astype(np.int64)
    leaves = LeafMoments.of(moments.outcome_centred(), parents)
    with np.errstate(all="ignore"):
        if balanced(leaves):
            strata = strata_of(leaves)
            if strata.left.size == 1:
                fits = strata.fit_by_mean_squares(small_sample)
                return replace(fits, verdict=np.where(verdict == Verdict.FITTED, fits.verdict, verdict))
            verdict = np.where(strata.singular, Verdict.SINGULAR, verdict)
            return fit_profile(strata, strata.place, verdict, small_sample)
        return fit_in_parts(leaves, NestedProfile.of, verdict, small_sample)
