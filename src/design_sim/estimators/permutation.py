"""Permutation: how often the law of the allocation would have given as large a difference.

The analysis to choose where nothing may be assumed of the outcome: under the hypothesis that treatment
changed nobody's outcome its size is right for any number of authorities and any distribution. Its price is a
floor under the p-value: with 2 of 4 authorities treated no result is below 1/3. It is biased where who is
treated is not random; where the law was not one of chance (`law.randomised` is False), its p-value is one
"as if randomised" and should be shown so.

Decision: authorities that nobody was observed in are left out, and those observed are dealt out again, so
many of a stratum to either arm as there were. Given these numbers every choice was as likely, whether a
sampled team was never there or an authority dropped out for reasons that have nothing to do with its arm.
Random arrangements serve also where all could be listed. Of a law that chose among the best balanced
arrangements that does not hold, and the replicate has no answer.

Source: Edgington and Onghena (2007), Randomization Tests, 4th edition; Phipson and Smyth (2010),
Statistical Applications in Genetics and Molecular Biology 9(1), article 39, for counting the allocation
itself among the draws.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field
from scipy.special import gammaln

from design_sim.allocation import NEVER, Randomisation
from design_sim.arrays import Bools, Floats, Ints
from design_sim.estimators.base import Estimates, Needs, Status
from design_sim.estimators.cluster_means import authority_means
from design_sim.panel import Panel
from design_sim.stated import Stated

_CHUNK = 2**20
"""Statistics held at a time, over replicates and arrangements."""
_SLACK = 1e-12
"""What counts as a tie, as a share of the largest deviation of an authority's mean."""


class Permutation(Stated):
    """Difference between arms in the mean of authority means, tested by the law of the allocation."""

    estimator: Literal["permutation"] = "permutation"
    draws: Annotated[int, Field(ge=19, le=99_999)] = 999
    """Random arrangements to compare with; where `draws` + 1 or fewer exist, all of them are taken."""
    change: bool = False
    """Compare changes from before the start to after it, in place of levels after it."""

    needs: ClassVar[Needs] = "means"
    by_allocation: ClassVar[bool] = True
    staggered: ClassVar[bool] = False
    within: ClassVar[bool] = False
    covariates: ClassVar[tuple[str, ...]] = ()

    @property
    def needs_before(self) -> bool:
        """A change needs an occasion before the start."""
        return self.change

    @property
    def convention(self) -> str:
        """What it does, in words."""
        what = "changes of cluster means" if self.change else "cluster means"
        return (
            f"difference between arms in mean {what}; two-sided p: the share of the law's arrangements "
            "with as large a difference, itself included (all of them, or random ones where they are many)"
        )

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """None: it takes no covariates."""
        return {}

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws arrangements, the same for all replicates, if not all.

        Returns
        -------
        Estimates
            A two-sided p-value: the share of arrangements whose absolute difference is at least the one
            observed, that one included. Standard error, df and interval are nan, since the test has none.
            `p_floor` is what the smallest p-value of the test can be: with all arrangements of equal arms
            2 in their number, as mirror images tie. `TOO_FEW_CLUSTERS` where an arm is empty, or an authority
            was not observed and the law is one of constrained randomisation.
        """
        means = authority_means(panel, change=self.change)
        arrangements = panel.law.arrangements(self.draws, rng)
        difference, p_value, status = compare_with_arrangements(
            means,
            panel.treated_authority,
            contrasts_of(arrangements.start < NEVER),
            arrangements.identity,
            arrangements.allowed,
        )
        p_floor = arrangements.floor
        gaps = np.isnan(means).any(axis=1)
        if gaps.any() and isinstance(panel.law, Randomisation):
            found = compare_observed(
                means[gaps],
                np.broadcast_to(panel.treated_authority, means.shape)[gaps],
                np.array(panel.law.stratum),
                self.draws,
                rng,
            )
            p_floor = np.broadcast_to(p_floor, means.shape[0]).copy()
            for whole, part in zip((difference, p_value, status, p_floor), found, strict=True):
                whole[gaps] = part
        nothing = np.full(difference.shape, np.nan)
        return Estimates(
            estimate=difference,
            std_error=nothing,
            df=nothing,
            p_value=p_value,
            ci_low=nothing,
            ci_high=nothing,
            p_floor=p_floor,
            status=status,
        )


def compare_with_arrangements(
    means: Floats, treated: Bools, contrasts: Floats, identity: int, allowed: Bools | None = None
) -> tuple[Floats, Floats, Ints]:
    """Difference between arms, and the share of arrangements that give one as large.

    Parameters
    ----------
    means : float array, (replicate, authority)
        nan for an authority that nobody was observed in.
    treated : bool array, (replicate, authority)
        The arrangement as it was; replicate axis 1 where fixed.
    contrasts : float array, (arrangement, authority)
        Weights of the means in the difference between arms of each arrangement.
    identity : int
        1 where the observed arrangement is to be counted beside those given, 0 where it is one of them.
    allowed : bool array, (replicate, arrangement), optional
        Which arrangements a replicate's law could have made; all of them if not given.

    Returns
    -------
    difference : float array, (replicate,)
    p_value : float array, (replicate,)
    status : int array, (replicate,)
        `TOO_FEW_CLUSTERS`, and nan numbers, where an arm is empty or a mean is nan.
    """
    arms = treated.astype(np.float64), (~treated).astype(np.float64)
    sizes = [arm.sum(axis=1) for arm in arms]
    answered = ~np.isnan(means).any(axis=1) & (sizes[0] > 0) & (sizes[1] > 0)
    if not answered.any():
        nothing = np.full(means.shape[0], np.nan)
        return nothing, nothing.copy(), np.full(means.shape[0], Status.TOO_FEW_CLUSTERS, dtype=np.int64)
    # Sums of large numbers would hide ties.
    centred = means - means.mean(axis=1, keepdims=True)
    centred = np.where(answered[:, np.newaxis], centred, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = arms[0] / sizes[0][:, np.newaxis] - arms[1] / sizes[1][:, np.newaxis]
    difference = (centred * weights).sum(axis=1)
    threshold = np.abs(difference) - _SLACK * np.abs(centred).max(axis=1)
    as_large = count_as_large(centred, contrasts, threshold, allowed)
    possible = contrasts.shape[0] if allowed is None else allowed.sum(axis=1)
    p_value = (as_large + identity) / (possible + identity)
    return (
        np.where(answered, difference, np.nan),
        np.where(answered, p_value, np.nan),
        np.where(answered, Status.OK, Status.TOO_FEW_CLUSTERS).astype(np.int64),
    )


def compare_observed(
    means: Floats, treated: Bools, stratum: Ints, draws: int, rng: Generator
) -> tuple[Floats, Floats, Ints, Floats]:
    """The same where authorities were not observed: those that were are dealt out again, stratum by stratum.

    Parameters
    ----------
    means : float array, (replicate, authority)
        nan for an authority that nobody was observed in.
    treated : bool array, (replicate, authority)
        The arrangement as it was.
    stratum : int array, (authority,)
        Within which chance dealt out.
    draws : int
        Random arrangements.
    rng : Generator
        For one order of the authorities of each arrangement, common to all replicates: of a stratum the first
        that were observed are treated.

    Returns
    -------
    difference, p_value : float arrays, (replicate,)
    status : int array, (replicate,)
    p_floor : float array, (replicate,)
        One over the number of arrangements, possible or drawn, whichever is larger.
    """
    seen = ~np.isnan(means)
    arms = seen & treated, seen & ~treated
    sizes = [arm.sum(axis=1) for arm in arms]
    answered = (sizes[0] > 0) & (sizes[1] > 0)
    mean = np.nansum(means, axis=1) / np.maximum(seen.sum(axis=1), 1)
    centred = np.where(seen, means - mean[:, np.newaxis], 0.0)
    total = np.zeros((means.shape[0], draws))
    log_possible = np.zeros(means.shape[0])
    for one in np.unique(stratum):
        members = np.flatnonzero(stratum == one)
        order = members[rng.random((draws, members.size)).argsort(axis=1)]
        quota, n = arms[0][:, members].sum(axis=1), seen[:, members].sum(axis=1)
        taken = np.zeros(total.shape, dtype=np.int64)
        for place in order.T:
            first = seen[:, place] & (taken < quota[:, np.newaxis])
            total += np.where(first, centred[:, place], 0.0)
            taken += first
        log_possible += gammaln(n + 1) - gammaln(quota + 1) - gammaln(n - quota + 1)
    with np.errstate(divide="ignore"):
        weight = np.where(answered, 1 / sizes[0] + 1 / sizes[1], 0.0)
    # Centred outcomes sum to 0, so that the mean of one arm tells that of the other.
    difference = np.where(arms[0], centred, 0.0).sum(axis=1) * weight
    threshold = np.abs(difference) - _SLACK * np.abs(centred).max(axis=1)
    as_large = (np.abs(total) * weight[:, np.newaxis] >= threshold[:, np.newaxis]).sum(axis=1)
    return (
        np.where(answered, difference, np.nan),
        np.where(answered, (as_large + 1) / (draws + 1), np.nan),
        np.where(answered, Status.OK, Status.TOO_FEW_CLUSTERS).astype(np.int64),
        np.maximum(np.exp(-log_possible), 1 / (draws + 1)),
    )


def count_as_large(means: Floats, contrasts: Floats, threshold: Floats, allowed: Bools | None = None) -> Ints:
    """How many allowed arrangements give a difference of at least the threshold in size, (replicate,)."""
    counts = np.zeros(means.shape[0], dtype=np.int64)
    step = max(1, _CHUNK // means.shape[0])
    for first in range(0, contrasts.shape[0], step):
        differences = contrasts[first : first + step] @ means.T
        np.abs(differences, out=differences)
        as_large = differences >= threshold
        if allowed is not None:
            as_large &= allowed[:, first : first + step].T
        counts += np.count_nonzero(as_large, axis=0)
    return counts


def contrasts_of(treated: Bools) -> Floats:
    """Weights of the means in the difference between the arms of each arrangement.

    (arrangement, authority).
    """
    n_treated = treated.sum(axis=1, keepdims=True)
    n_comparison = treated.shape[1] - n_treated
    contrasts: Floats = np.where(treated, 1 / np.maximum(n_treated, 1), -1 / np.maximum(n_comparison, 1))
    return contrasts
