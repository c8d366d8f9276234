"""What blocks return: sums that can be merged, so that memory does not grow with replicates.

A tally holds, for one answer of one study judged against one estimand, the means and co-moments of a
few numbers of each replicate, and how often each p-value was met. `performance` reads every measure
and its Monte Carlo standard error off it.

Decision: every measure but one is a smooth function of means over replicates, so that the covariance
matrix of what is averaged gives its Monte Carlo standard error by the delta method, covariances
between numerator and denominator included. Hence one matrix in place of a formula's sums for each.

Decision: size-adjusted power alone needs whole distributions of p-values, and at critical values not
known before the end. They are counted on a fixed grid, equal steps of log(1 - log p), 0.3 to 1.1 % of p
apart above .05 and reaching down to the smallest number that a computer holds. Stated study and null
twin share the grid, so that their rates at a critical value of the grid are exact. The larger of a
replicate's two p-values is counted too: it is at or below a value when both are, which makes the
covariance of the two rates known at every critical value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, log2, sqrt
from typing import Self

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.estimators.base import FAILED, Estimates, Status

STATED = (
    "estimate",
    "truth",
    "error",
    "squared_error",
    "variance",
    "covered",
    "rejected",
    "rejected_below",
    "rejected_above",
    "rejected_distance",
)
"""What is averaged over the replicates of the stated study. The last four are 0 where the test did not
reject, otherwise 1; 1 for an estimate below, or above, 0; and the distance of the estimate from 0."""

NULL = ("estimate", "rejected")
"""What is averaged over the replicates of a null twin."""

ROUNDING = 1e-12
"""A p-value above alpha by no more than this share of it is alpha: 1/20 is not above .05."""

_STEPS = 256
_SMALLEST = 5e-324
_LAST = int(_STEPS * log2(1 - log(_SMALLEST)))
_HAS_FAILED = np.array([status in FAILED for status in Status])


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Means and co-moments of several numbers over replicates, which can be merged.

    Parameters
    ----------
    names : tuple of str
        What each number is.
    count : int
        Replicates.
    mean : float array, (number,)
        0 where there is no replicate.
    comoment : float array, (number, number)
        Sum over replicates of products of deviations from the means. A number that is nan in a
        replicate is nan here, with its row and column, and leaves the others alone.
    """

    names: tuple[str, ...]
    count: int
    mean: Floats
    comoment: Floats

    @classmethod
    def of(cls, names: tuple[str, ...], rows: Floats) -> Self:
        """The moments of rows, (number, replicate).

        Deviations are from the first replicate, then from the mean, so that a number which does not
        vary has a co-moment of exactly 0.
        """
        size, count = rows.shape
        if count == 0:
            return cls(names, 0, np.zeros(size), np.zeros((size, size)))
        first = rows[:, :1]
        deviation = rows - first
        shift = deviation.sum(axis=1, keepdims=True) / count
        deviation -= shift
        return cls(names, count, (first + shift)[:, 0], deviation @ deviation.T)

    def __add__(self, other: Self) -> Self:
        """The moments of both sets of replicates together.

        References
        ----------
        Chan, Golub and LeVeque (1983), American Statistician 37, 242-247.
        """
        count = self.count + other.count
        share = other.count / count if count else 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            step = other.mean - self.mean
            comoment = self.comoment + other.comoment + self.count * share * np.outer(step, step)
            return type(self)(self.names, count, self.mean + share * step, comoment)

    def mean_of(self, name: str) -> float:
        """The mean of one number; nan without replicates."""
        return float(self.mean[self.names.index(name)]) if self.count else float("nan")

    def count_of(self, name: str) -> float:
        """How often a number that is 0 or 1 was 1; nan without replicates."""
        return float(np.rint(self.mean_of(name) * self.count))

    def squares_of(self, name: str) -> float:
        """The sum of squared deviations of one number from its mean; nan without replicates."""
        which = self.names.index(name)
        return float(self.comoment[which, which]) if self.count else float("nan")

    def spread_of(self, name: str) -> float:
        """The standard deviation of one number; nan with fewer than two replicates."""
        return sqrt(self.squares_of(name) / (self.count - 1)) if self.count > 1 else float("nan")

    def std_error_of(self, slopes: Mapping[str, float]) -> float:
        """The standard error of a weighted sum of means, by the delta method that of a function.

        Parameters
        ----------
        slopes : mapping of name to float
            The derivative of the function by the mean of each number it depends on.

        Returns
        -------
        float
            The standard deviation of the weighted sum over the root of the number of replicates; nan
            with fewer than two replicates, or where a slope or a number is nan.
        """
        which = [self.names.index(name) for name in slopes]
        slope, comoment = np.array(list(slopes.values())), self.comoment[np.ix_(which, which)]
        if self.count < 2 or not (np.isfinite(slope).all() and np.isfinite(comoment).all()):
            return float("nan")
        # Rounding can leave a sum of squares that is 0 a little below it.
        with np.errstate(over="ignore", invalid="ignore"):
            squares = max(float(slope @ comoment @ slope), 0.0)
        return sqrt(squares / (self.count - 1) / self.count)


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """What was counted of one answer to one estimand, over any number of replicates.

    Tallies of different replicates add up, in any grouping, to the tally of all of them (sums of
    floats to the last few bits: merge in the order of blocks to have the same bits).

    Parameters
    ----------
    alpha : float
        Two-sided level of the test.
    asked : int
        Replicates asked for, failed analyses included; the same for the study and its null twin.
    stated, null : Moments
        Over the replicates whose analysis did not fail, in the study and in its null twin; see
        `STATED` and `NULL`.
    p_counts : int array, (3, critical value)
        Replicates by p-value, smallest first: in the study, in its null twin, and by the larger of
        both where neither analysis failed.
    p_floor : float
        The smallest p-value that the method could have given in any of the analysed replicates;
        nan where there is none.
    average : Moments
        As `null`, over the average null twin; empty where it was not run.
    statuses : int array, (2, status)
        Replicates by how their analysis ended, in the order of `Status`, in the study and in its null twin.
    """

    alpha: float
    asked: int
    stated: Moments
    null: Moments
    p_counts: Ints
    p_floor: float
    average: Moments
    statuses: Ints

    @classmethod
    def of(
        cls,
        stated: Estimates,
        null: Estimates,
        truth: Floats,
        alpha: float,
        average: Estimates | None = None,
    ) -> Self:
        """Count a block of replicates.

        Parameters
        ----------
        stated, null : Estimates
            Of the study as stated, and of its null twin: the same draws without any effect, where
            the true value is exactly 0.
        truth : float array, (replicate,)
            The true value of the estimand in each replicate of the stated study. A replicate without
            one (nan) makes bias, coverage and whatever else is judged against it nan.
        alpha : float
            Two-sided level of the test.
        average : Estimates, optional
            Of the average null twin.

        Returns
        -------
        Tally
            A replicate whose analysis failed is counted as asked for and otherwise left out, in the
            study and in its null twin separately. So is one without a finite estimate or a p-value,
            whatever its status says.
        """
        asked = max(map(len, (stated.estimate, stated.p_value, null.estimate, null.p_value, truth)))
        analysed, null_analysed = _analysed(stated, asked), _analysed(null, asked)
        with np.errstate(over="ignore", invalid="ignore"):
            return cls(
                alpha=alpha,
                asked=asked,
                stated=Moments.of(STATED, _keep(_stated_rows(stated, truth, alpha, asked), analysed)),
                null=_null_moments(null, alpha, asked),
                p_counts=_count_p_values(stated.p_value, null.p_value, analysed, null_analysed),
                p_floor=_smallest(stated.p_floor, analysed),
                average=_null_moments(average, alpha, asked),
                statuses=np.stack([_count_statuses(of, asked) for of in (stated, null)]),
            )

    def __add__(self, other: Self) -> Self:
        """The tally of the replicates of both.

        Raises
        ------
        ValueError
            If the two were counted at different levels.
        """
        if self.alpha != other.alpha:
            raise ValueError(f"tallies at alpha {self.alpha} and {other.alpha} do not add up")
        return type(self)(
            alpha=self.alpha,
            asked=self.asked + other.asked,
            stated=self.stated + other.stated,
            null=self.null + other.null,
            p_counts=self.p_counts + other.p_counts,
            p_floor=float(np.fmin(self.p_floor, other.p_floor)),
            average=self.average + other.average,
            statuses=self.statuses + other.statuses,
        )

    @property
    def failed(self) -> int:
        """Replicates whose analysis failed in the study as stated."""
        return self.asked - self.stated.count

    @property
    def null_failed(self) -> int:
        """Replicates whose analysis failed in the null twin."""
        return self.asked - self.null.count

    def ended(self, status: Status) -> int:
        """Replicates whose analysis ended so in the study as stated."""
        return int(self.statuses[0, status])


def _count_statuses(estimates: Estimates, asked: int) -> Ints:
    return np.bincount(np.broadcast_to(estimates.status, (asked,)), minlength=len(Status))


def _analysed(estimates: Estimates, asked: int) -> Bools:
    known = np.isfinite(estimates.estimate) & ~np.isnan(estimates.p_value)
    return np.broadcast_to(known & ~_HAS_FAILED[estimates.status], (asked,))


def _keep(rows: Floats, analysed: Bools) -> Floats:
    return rows if analysed.all() else rows[:, analysed]


def _stated_rows(estimates: Estimates, truth: Floats, alpha: float, asked: int) -> Floats:
    """What `STATED` names, (number, replicate)."""
    rows = np.empty((len(STATED), asked))
    estimate, true, error, squared, variance, covered, rejected, below, above, distance = rows
    estimate[:] = estimates.estimate
    true[:] = truth
    np.subtract(estimate, true, out=error)
    np.square(error, out=squared)
    variance[:] = np.square(estimates.std_error)
    inside = (estimates.ci_low <= true) & (true <= estimates.ci_high)
    outside = (true < estimates.ci_low) | (estimates.ci_high < true)
    covered[:] = inside
    if not (inside | outside).all():
        covered[~(inside | outside)] = np.nan
    rejected[:] = estimates.p_value <= alpha * (1 + ROUNDING)
    np.multiply(rejected, estimate < 0, out=below)
    np.multiply(rejected, estimate > 0, out=above)
    np.multiply(rejected, np.abs(estimate), out=distance)
    return rows


def _null_moments(null: Estimates | None, alpha: float, asked: int) -> Moments:
    """The moments of a null twin over its analysed replicates; of nothing where it was not run."""
    if null is None:
        return Moments.of(NULL, np.empty((len(NULL), 0)))
    return Moments.of(NULL, _keep(_null_rows(null, alpha, asked), _analysed(null, asked)))


def _null_rows(estimates: Estimates, alpha: float, asked: int) -> Floats:
    """What `NULL` names, (number, replicate)."""
    rows = np.empty((len(NULL), asked))
    rows[0] = estimates.estimate
    rows[1] = estimates.p_value <= alpha * (1 + ROUNDING)
    return rows


def _count_p_values(p_value: Floats, null: Floats, analysed: Bools, null_analysed: Bools) -> Ints:
    place = np.broadcast_to(_place_p_values(p_value), analysed.shape)
    null_place = np.broadcast_to(_place_p_values(null), analysed.shape)
    larger = np.maximum(place, null_place)
    if not (analysed.all() and null_analysed.all()):
        larger = larger[analysed & null_analysed]
        place, null_place = place[analysed], null_place[null_analysed]
    n_places = _LAST + 1
    every = np.concatenate([place, null_place + n_places, larger + 2 * n_places])
    return np.bincount(every, minlength=3 * n_places).reshape(3, n_places)


def _place_p_values(p_value: Floats) -> Ints:
    """Where p-values stand among the critical values, smallest first; nan stands anywhere."""
    bounded = np.fmax(np.fmin(p_value, 1.0), _SMALLEST)
    steps: Ints = (_STEPS * np.log2(1 - np.log(bounded))).astype(np.int64)
    return _LAST - steps


def _smallest(p_floor: Floats, analysed: Bools) -> float:
    if not analysed.any():
        return float("nan")
    return float(np.fmin.reduce(p_floor if len(p_floor) == 1 else p_floor[analysed]))
