"""Cross-products of a nested mixed model, weighted by V^-1, from the leaves up: cost linear in the leaves.

A random intercept of a unit, with variance ratio t, takes t b b' / (1 + t w) away from the unit's
cross-products B, b being their row of the intercept's ones and w its entry, the unit's weight (the matrix
inversion lemma). That is done at the leaves, then in the units above, up to authorities, where the regressors
that are constant in an authority come in by its weight alone. Derivatives are carried along.

Leaves of a unit that hold as many observations have the same weight and enter by their sums.
"""

from dataclasses import dataclass, replace

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.numerics.mixed.effect_test import Local
from design_sim.numerics.mixed.members import pooled, starts_of, summed
from design_sim.numerics.mixed.products import Products


@dataclass(frozen=True, slots=True)
class Leaves:
    """Leaves by the units above them, those of a unit with as many observations together.

    Parameters
    ----------
    sizes : list of float arrays, (replicate or 1, unit or 1)
        Observations in a leaf.
    sums : list of float arrays, (column, column, replicate, unit)
        For each size the sums over such leaves of products of two columns' means.
    present : list of int arrays
        For each size the columns that are not 0 there, of n_columns: the intercept's ones, the varying
        regressors, the outcome.
    """

    sizes: list[Floats]
    sums: list[Floats]
    present: list[Ints]
    n_columns: int

    @classmethod
    def of(cls, n: Floats, columns: Floats, parent: Ints) -> "Leaves":
        """Collect leaves by their parents.

        Parameters
        ----------
        n : float array, (replicate or 1, leaf)
            Observations.
        columns : float array, (column, replicate, leaf)
            Means, 0 where n = 0.
        parent : int array, (leaf,)
            The unit above.
        """
        starts = starts_of(parent)
        ends = np.append(starts[1:], parent.size)
        distinct = np.unique(n[n > 0])
        longest = int((ends - starts).max())
        if distinct.size < longest:
            everything = np.arange(columns.shape[0])
            sums = [_sums_of(n == size, columns, parent) for size in distinct]
            return cls(list(distinct.reshape(-1, 1, 1)), sums, [everything] * distinct.size, everything.size)
        sizes, sums, present = [], [], []
        for at in range(longest):
            place = np.minimum(starts + at, ends - 1)
            sizes.append(n[:, place] * (starts + at < ends))
            chosen = columns[..., place] * (sizes[-1] > 0)
            present.append(np.flatnonzero(chosen.any(axis=(1, 2))))
            sums.append(outer(chosen[present[-1]], chosen[present[-1]]))
        return cls(sizes, sums, present, columns.shape[0])

    def total(self) -> "Units":
        """Sum leaves that have no random intercept by their units."""
        shape = self.n_columns, self.n_columns, *self.sums[0].shape[2:]
        value = np.zeros(shape)
        for size, sums, present in zip(self.sizes, self.sums, self.present, strict=True):
            for at, row in zip(present, sums, strict=True):
                value[at, present] += size * row
        return Units(value, [], {})

    def of_replicates(self, which: Ints | slice) -> "Leaves":
        """Those of some replicates."""
        if isinstance(which, slice):
            return self
        sizes = [size if size.shape[0] == 1 else size[which] for size in self.sizes]
        return replace(self, sizes=sizes, sums=[entries[:, :, which] for entries in self.sums])

    def absorb(self, ratio: Floats, log_det: Local) -> "Units":
        """Give every leaf a random intercept, and sum leaves by their units.

        Parameters
        ----------
        ratio : float array, (replicate,)
            Its variance ratio, the first.
        log_det : Local
            log|V|, added to in place.
        """
        shape = self.n_columns, self.n_columns, *self.sums[0].shape[2:]
        jets = [np.zeros(shape) for _ in range(3)]
        for size, sums, present in zip(self.sizes, self.sums, self.present, strict=True):
            if not present.size:
                continue  # nobody was observed in the leaves at this place of their units
            growth = 1 + ratio[:, np.newaxis] * size
            weight = size / growth
            square = weight * weight
            for jet, each in zip(jets, (weight, -square, 2 * square * weight), strict=True):
                for at, row in zip(present, sums, strict=True):
                    jet[at, present] += each * row
            log_det.value[:] += summed(np.log(growth) * sums[0, 0])
            log_det.gradient[0] += summed(weight * sums[0, 0])
            log_det.hessian[0, 0] -= summed(square * sums[0, 0])
        return Units(jets[0], [jets[1]], {(0, 0): jets[2]})


@dataclass(frozen=True, slots=True)
class Units:
    """Weighted cross-products of columns in every unit of a level, with their derivatives.

    Parameters
    ----------
    value : float array, (column, column, replicate, unit)
        Columns are the intercept's ones, the varying regressors and the outcome.
    slopes : list of float arrays
        Derivatives with respect to the ratios absorbed so far.
    curves : dict of float arrays
        Second derivatives by pair of ratios, the smaller first.
    """

    value: Floats
    slopes: list[Floats]
    curves: dict[tuple[int, int], Floats]

    def pool(self, parent: Ints) -> "Units":
        """The same for the units that these belong to."""
        starts = starts_of(parent)
        return Units(
            pooled(self.value, starts),
            [pooled(slope, starts) for slope in self.slopes],
            {pair: pooled(curve, starts) for pair, curve in self.curves.items()},
        )

    def absorb(self, ratio: Floats, log_det: Local) -> "Units":
        """Give every unit a random intercept.

        Parameters
        ----------
        ratio : float array, (replicate,)
            Its variance ratio, the next in the order of derivatives.
        log_det : Local
            log|V|, added to in place.
        """
        row, ratio = self.value[0], ratio[:, np.newaxis]
        gain = 1 / (1 + ratio * row[0])
        share, new = ratio * gain, gain * row
        left = share * row
        # Column by column, what the new intercept leaves of the derivatives' rows of the ones.
        bent = [slope[0] - slope[0, 0] * left for slope in self.slopes]
        slopes = [
            slope - outer(left, turned) - outer(slope[0], left)
            for slope, turned in zip(self.slopes, bent, strict=True)
        ]
        curves = {
            (i, j): curve
            - outer(left, curve[0] - curve[0, 0] * left)
            - outer(curve[0], left)
            - share * _both(bent[i], bent[j])
            for (i, j), curve in self.curves.items()
        }
        number, square = len(slopes), outer(new, new)
        for i, turned in enumerate(bent):
            curves[i, number] = -gain * _both(turned, new)
        curves[number, number] = 2 * new[0] * square
        self._extend(log_det, gain, share)
        return Units(self.value - outer(left, row), [*slopes, -square], curves)

    def _extend(self, log_det: Local, gain: Floats, share: Floats) -> None:
        """Add log(1 + ratio x weight) of all units, and its derivatives, to log|V|."""
        number, own = len(self.slopes), [slope[0, 0] for slope in self.slopes]
        weight = gain * self.value[0, 0]
        log_det.value[:] -= summed(np.log(gain))
        log_det.gradient[number] += summed(weight)
        log_det.hessian[number, number] -= summed(weight**2)
        for i, slope in enumerate(own):
            log_det.gradient[i] += summed(share * slope)
            across = summed(gain**2 * slope)
            log_det.hessian[i, number] += across
            log_det.hessian[number, i] += across
        for (i, j), curve in self.curves.items():
            bend = summed(share * curve[0, 0] - share**2 * own[i] * own[j])
            log_det.hessian[i, j] += bend
            if i != j:
                log_det.hessian[j, i] += bend

    def total(self, constant: Floats, log_det: Local, n_random: int = 1) -> Products:
        """Sum over authorities, with regressors constant in each in the place of the intercept's ones.

        Parameters
        ----------
        constant : float array, (column, replicate or 1, authority)
            The regressors.
        log_det : Local
            log|V|.
        n_random : int
            How many columns are of random effects and no regressors, the intercept's ones the first.
        """
        value, n_ratios = _with_constant(self.value, constant, n_random), len(self.slopes)
        slopes = np.empty((n_ratios, *value.shape))
        curves = np.empty((n_ratios, *slopes.shape))
        for i, slope in enumerate(self.slopes):
            slopes[i] = _with_constant(slope, constant, n_random)
        for (i, j), curve in self.curves.items():
            curves[i, j] = curves[j, i] = _with_constant(curve, constant, n_random)
        return Products(value, slopes, curves, log_det)


def _sums_of(alike: Bools, columns: Floats, parent: Ints) -> Floats:
    """Sums by parent of products of two columns, over the leaves that are alike in size."""
    if alike.shape[0] > 1:
        return pooled(outer(columns, columns * alike), starts_of(parent))
    chosen = np.flatnonzero(alike[0])
    members, unit = columns[..., chosen], parent[chosen]
    starts = np.flatnonzero(np.diff(unit, prepend=-1))
    sums = np.zeros((*columns.shape[:1], *columns.shape[:2], parent[-1] + 1))
    sums[..., unit[starts]] = pooled(outer(members, members), starts)
    return sums


def _with_constant(units: Floats, constant: Floats, n_random: int) -> Floats:
    """Sums over units of cross-products of constant regressors, varying ones and outcome."""
    n_constant, size = constant.shape[0], constant.shape[0] + units.shape[0] - n_random
    total = np.empty((size, size, units.shape[2]))
    for i, regressor in enumerate(constant):
        for j in range(i, n_constant):
            total[i, j] = total[j, i] = _weighted_total(units[0, 0], regressor * constant[j])
        total[i, n_constant:] = total[n_constant:, i] = _weighted_total(units[0, n_random:], regressor)
    total[n_constant:, n_constant:] = summed(units[n_random:, n_random:])
    return total


def _weighted_total(values: Floats, weights: Floats) -> Floats:
    """Weighted sums over units, (..., replicate, unit) to (..., replicate)."""
    if weights.shape[0] == 1:
        fixed: Floats = values @ weights[0]
        return fixed
    return summed(values * weights)


def outer(first: Floats, second: Floats) -> Floats:
    """Products of two columns (column, ...) each: (column, column, ...)."""
    product: Floats = first[:, np.newaxis] * second
    return product


def _both(first: Floats, second: Floats) -> Floats:
    """The outer product and its transpose."""
    product = outer(first, second)
    both: Floats = product + product.swapaxes(0, 1)
    return both
