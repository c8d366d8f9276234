"""Many mixed models with random intercepts and slopes of authorities at once: REML, small-sample test.

y = X beta + (intercept + slope x time of the authority) + (effect of its occasion) + e. Leaves are
authorities at an occasion; the last effect may be left out, and intercepts and slopes may be correlated.

The 2 x 2 covariance G of an authority's intercept and slope takes b' (G^-1 + Z)^-1 b away from its
cross-products, b being their rows of the intercept's ones and of time, and Z the columns of the same in b.
Variances and covariance enter G as sums, sum of ratio x E, so that derivatives have one form for all.
"""

from dataclasses import dataclass

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.numerics.mixed.coordinates import Coordinates, CorrelatedSlopes, Logarithms
from design_sim.numerics.mixed.effect_test import Local, SmallSample
from design_sim.numerics.mixed.fitting import fit_in_parts
from design_sim.numerics.mixed.intercept_model import ClusterMoments, Verdict
from design_sim.numerics.mixed.members import summed
from design_sim.numerics.mixed.nested_model import LeafMoments, MixedFits
from design_sim.numerics.mixed.nested_products import Leaves, Units, outer
from design_sim.numerics.mixed.nested_profile import columns_of, no_log_det, observed, within_of
from design_sim.numerics.mixed.products import Solved

PARTS = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
"""What the intercept's variance, the slope's and their covariance are multiplied by in G."""


def fit_random_slopes(
    moments: ClusterMoments,
    authority: Ints,
    time: Floats,
    small_sample: SmallSample = "satterthwaite",
    *,
    correlated: bool,
    by_occasion: bool,
) -> MixedFits:
    """Fit the model to every replicate by REML.

    Parameters
    ----------
    moments : ClusterMoments
        The data by authority and occasion.
    authority, time : int and float arrays, (cluster,)
        The authority that a cluster belongs to, numbered from 0, those of one together; and its time.
        Uncorrelated intercepts and slopes are a statement about time 0, correlated ones are not.
    small_sample : {"satterthwaite", "kenward_roger"}
        How standard error and degrees of freedom allow for few units.
    correlated : bool
        Whether intercepts and slopes are.
    by_occasion : bool
        Whether every authority has a random effect at every occasion too.

    Returns
    -------
    MixedFits
        Ratios are those of occasions, if any, intercepts, slopes and their covariance, if any.
    """
    leaves = LeafMoments.of(moments.fixed_sizes().outcome_centred(), (authority,))
    parts = PARTS if correlated else PARTS[:2]

    def profile_of(leaves: LeafMoments) -> SlopesProfile:
        return SlopesProfile.of(leaves, time, parts, by_occasion=by_occasion)

    with np.errstate(all="ignore"):
        flat = moments.flat() if by_occasion else _flat(moments, profile_of(leaves))
        verdict = np.where(flat, Verdict.NO_VARIATION, Verdict.FITTED).astype(np.int64)
        return fit_in_parts(leaves, profile_of, verdict, small_sample)


def _flat(moments: ClusterMoments, profile: "SlopesProfile") -> Bools:
    """Whether outcomes, given the regressors, vary by rounding alone, (replicate,). Not if aliased."""
    at = profile.at(profile.coordinates.prior, slice(None))
    mean = np.where(moments.n > 0, moments.mean, 0.0)
    flat: Bools = ~(at.squares.value > 1e-24 * (moments.n * mean**2).sum(axis=1)) & ~at.aliased
    return flat


@dataclass(frozen=True, slots=True)
class SlopesProfile:
    """The model with everything but its variance ratios solved for."""

    df: Floats
    """Observations less regressors, (replicate,)."""
    coordinates: Coordinates
    leaves: Leaves
    parts: Floats
    """What each ratio of the intercept's and slope's covariance matrix is multiplied by, (ratio, 2, 2)."""
    by_occasion: bool
    constant: Floats
    """Regressors constant in authorities, (column, replicate or 1, authority)."""
    within: Floats
    """Cross-products within leaves of varying regressors and outcome, (column, column, replicate)."""

    @classmethod
    def of(cls, moments: LeafMoments, time: Floats, parts: Floats, *, by_occasion: bool) -> "SlopesProfile":
        """Collect what the model reads of the data; see `fit_random_slopes`."""
        shape = moments.n_replicates
        n_leaves, n_authorities = observed(moments.n, moments.parents)
        total = moments.n.sum(axis=1)
        scales = [total / n_authorities, np.maximum(moments.n @ time**2, 1e-300) / n_authorities]
        if by_occasion:
            scales.insert(0, total / n_leaves)
        scale = np.stack([np.broadcast_to(each, shape) for each in scales])
        return cls(
            df=np.broadcast_to(total - moments.n_regressors, shape),
            coordinates=CorrelatedSlopes(scale) if len(parts) == 3 else Logarithms(scale),
            leaves=Leaves.of(moments.n, columns_of(moments, time[np.newaxis]), moments.parents[0]),
            parts=parts,
            by_occasion=by_occasion,
            constant=np.moveaxis(moments.constant, 2, 0),
            within=within_of(moments),
        )

    def at(self, ratio: Floats, which: Ints | slice) -> Solved:
        """The model at ratios, (ratio, replicate), of the replicates `which`."""
        log_det, leaves = no_log_det(ratio), self.leaves.of_replicates(which)
        units = leaves.absorb(ratio[0], log_det) if self.by_occasion else leaves.total()
        units = absorb_lines(units, ratio[-len(self.parts) :], self.parts, log_det)
        constant = self.constant if self.constant.shape[1] == 1 else self.constant[:, which]
        products = units.total(constant, log_det, n_random=2)
        first = constant.shape[0]
        products.value[first:, first:] += self.within[..., which]
        return Solved.of(products)


def absorb_lines(units: Units, ratio: Floats, parts: Floats, log_det: Local) -> Units:
    """Give every unit a random intercept and slope.

    Parameters
    ----------
    units : Units
        Their first two columns are the intercept's ones and time.
    ratio : float array, (ratio, replicate)
        The ratios that G is the sum of, the last in the order of derivatives.
    parts : float array, (ratio, 2, 2)
        What each is multiplied by.
    log_det : Local
        log|V|, added to in place.
    """
    rows, z = units.value[:2], units.value[:2, :2]
    g = np.einsum("kij,kr->ijr", parts, ratio)[..., np.newaxis]
    unit = np.eye(2)[:, :, np.newaxis, np.newaxis]
    h = _times(_inverse(unit + _times(g, z)), g)
    kept = unit - _times(z, h)
    new, left = _times(kept, rows), _times(h, rows)
    f = new[:, :2]
    bent = [slope[:2] - _times(slope[:2, :2], left) for slope in units.slopes]
    slopes = [
        slope - _form(left, turned) - _form(slope[:2], left)
        for slope, turned in zip(units.slopes, bent, strict=True)
    ]
    curves = {
        (i, j): curve
        - _form(left, curve[:2] - _times(curve[:2, :2], left))
        - _form(curve[:2], left)
        - _both(bent[i], _times(h, bent[j]))
        for (i, j), curve in units.curves.items()
    }
    known = len(slopes)
    for k, part in enumerate(parts, start=known):
        turned = np.tensordot(part, new, axes=1)
        slopes.append(-_form(new, turned))
        for i, each in enumerate(bent):
            curves[i, k] = -_both(_times(kept, each), turned)
        for other, another in enumerate(parts[k - known :], start=k):
            between = _times(np.tensordot(part, f, axes=1), another[:, :, np.newaxis, np.newaxis])
            curves[k, other] = _both(new, _times(between, new))
    _extend(log_det, units, (h, f, kept), parts)
    return Units(units.value - _form(left, rows), slopes, curves)


def _extend(log_det: Local, units: Units, matrices: tuple[Floats, Floats, Floats], parts: Floats) -> None:
    """Add log|I + G Z| of all units, and its derivatives, to log|V|."""
    h, f, kept = matrices
    value, gradient, hessian = log_det
    known = len(units.slopes)
    value -= summed(np.log(_determinant(kept)))
    own = [slope[:2, :2] for slope in units.slopes]
    for i, slope in enumerate(own):
        gradient[i] += summed(_trace(h, slope))
    for (i, j), curve in units.curves.items():
        bend = _trace(h, curve[:2, :2]) - _trace(_times(h, own[i]), _times(h, own[j]))
        _add_both(hessian, i, j, summed(bend))
    for k, part in enumerate(parts, start=known):
        weighted = np.tensordot(part, f, axes=1)
        gradient[k] += summed(weighted[0, 0] + weighted[1, 1])
        for i, slope in enumerate(own):
            turned = _times(_times(kept, slope), kept.swapaxes(0, 1))
            _add_both(hessian, i, k, summed(_trace(part[:, :, np.newaxis, np.newaxis], turned)))
        for other, another in enumerate(parts[k - known :], start=k):
            _add_both(hessian, k, other, -summed(_trace(weighted, np.tensordot(another, f, axes=1))))


def _add_both(hessian: Floats, i: int, j: int, term: Floats) -> None:
    """Add a second derivative on both sides of the diagonal."""
    hessian[i, j] += term
    if i != j:
        hessian[j, i] += term


def _times(first: Floats, second: Floats) -> Floats:
    """Products of 2 x 2 matrices with matrices of two rows."""
    product: Floats = first[:, 0, np.newaxis] * second[0] + first[:, 1, np.newaxis] * second[1]
    return product


def _form(first: Floats, second: Floats) -> Floats:
    """The transpose of two rows times two rows."""
    return outer(first[0], second[0]) + outer(first[1], second[1])


def _both(first: Floats, second: Floats) -> Floats:
    """The same and its transpose."""
    form = _form(first, second)
    both: Floats = form + form.swapaxes(0, 1)
    return both


def _trace(first: Floats, second: Floats) -> Floats:
    """The trace of the product of 2 x 2 matrices."""
    trace: Floats = (first * second.swapaxes(0, 1)).sum(axis=(0, 1))
    return trace


def _determinant(matrix: Floats) -> Floats:
    determinant: Floats = matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]
    return determinant


def _inverse(matrix: Floats) -> Floats:
    adjoint = np.stack([np.stack([matrix[1, 1], -matrix[0, 1]]), np.stack([-matrix[1, 0], matrix[0, 0]])])
    inverse: Floats = adjoint / _determinant(matrix)
    return inverse
