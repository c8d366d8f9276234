"""Many mixed models whose units stay while authorities change: nested intercepts crossed with occasions.

y = X beta + unit + ... + authority + (effect of the authority's occasion) + e. The units below the authority,
families that are followed or workers, are observed at several occasions, and so crossed with them.

An authority's intercept and occasions are one random vector, of as many entries as there are occasions, with
covariance G = occasion ratio x I + authority ratio x 11'. It takes b' (G^-1 + Z)^-1 b away from the
authority's cross-products, in which the units below are absorbed already; b are their rows of the occasions'
indicators, and Z the columns of the same in b. The units' intercepts do not touch what varies within units,
so that cross-products within them come in at the authority.
"""

from dataclasses import dataclass

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.numerics.mixed.coordinates import Logarithms
from design_sim.numerics.mixed.effect_test import Local, SmallSample
from design_sim.numerics.mixed.fitting import fit_in_parts
from design_sim.numerics.mixed.intercept_model import ClusterMoments, Verdict
from design_sim.numerics.mixed.members import pooled, spread, starts_of
from design_sim.numerics.mixed.nested_model import LeafMoments, MixedFits
from design_sim.numerics.mixed.nested_products import Leaves, Units
from design_sim.numerics.mixed.nested_profile import columns_of, no_log_det, observed, within_of
from design_sim.numerics.mixed.products import Solved


def fit_crossed_occasions(
    moments: ClusterMoments,
    parents: tuple[Ints, ...],
    n_occasions: int,
    flat: Bools,
    small_sample: SmallSample = "satterthwaite",
) -> MixedFits:
    """Fit the model to every replicate by REML.

    Parameters
    ----------
    moments : ClusterMoments
        The data by unit and occasion, all occasions of a unit in turn.
    parents : tuple of int arrays
        The unit that each of them belongs to, then the unit of the next level that every such unit belongs
        to, and so on to the authorities; numbered from 0, the members of a unit lying together.
    n_occasions : int
        Occasions of every unit, some of which may be empty.
    flat : bool array, (replicate,)
        Whether outcomes vary within units by rounding alone.
    small_sample : {"satterthwaite", "kenward_roger"}
        How standard error and degrees of freedom allow for few units.

    Returns
    -------
    MixedFits
        Ratios are those of the lowest units first, then upwards, of occasions, and of authorities.
    """
    cells = LeafMoments.of(moments.fixed_sizes().outcome_centred(), parents)
    verdict = np.where(flat, Verdict.NO_VARIATION, Verdict.FITTED).astype(np.int64)
    verdict = np.broadcast_to(verdict, cells.n_replicates).copy()

    def profile_of(cells: LeafMoments) -> CrossedProfile:
        return CrossedProfile.of(cells, n_occasions)

    with np.errstate(all="ignore"):
        return fit_in_parts(cells, profile_of, verdict, small_sample)


@dataclass(frozen=True, slots=True)
class CrossedProfile:
    """The model with everything but its variance ratios solved for."""

    df: Floats
    """Observations less regressors, (replicate,)."""
    coordinates: Logarithms
    leaves: Leaves
    """The lowest units, with columns for the occasions' indicators after the intercept's ones."""
    above: tuple[Ints, ...]
    """The parents of the units above the lowest, level by level."""
    inner: Floats
    """Cross-products within the lowest units, by authority: (column, column, replicate, authority)."""
    constant: Floats
    """Regressors constant in authorities, (column, replicate or 1, authority)."""
    within: Floats
    """Cross-products within cells of varying regressors and outcome, (column, column, replicate)."""
    n_occasions: int

    @classmethod
    def of(cls, cells: LeafMoments, n_occasions: int) -> "CrossedProfile":
        """Collect what the model reads of the data; see `fit_crossed_occasions`."""
        n, starts = cells.n, starts_of(cells.parents[0])
        occasion = np.arange(n.shape[1]) % n_occasions
        indicators = [(occasion == at)[np.newaxis].astype(np.float64) for at in range(n_occasions)]
        columns = columns_of(cells, *indicators)
        size = pooled(n, starts)
        means = pooled(n * columns, starts) / np.maximum(size, 1.0)
        deviations = columns - spread(means, starts, n.shape[1])
        authority = cells.parents[0]
        for parent in cells.parents[1:]:
            authority = parent[authority]
        inner = [pooled(n * deviation * deviations, starts_of(authority)) for deviation in deviations]
        total = n.sum(axis=1)
        return cls(
            df=np.broadcast_to(total - cells.n_regressors, cells.n_replicates),
            coordinates=Logarithms(_scales(cells, authority * n_occasions + occasion, total)),
            leaves=Leaves.of(size, means * (size > 0), cells.parents[1]),
            above=cells.parents[2:],
            inner=np.stack(inner),
            constant=np.moveaxis(cells.constant, 2, 0),
            within=within_of(cells),
            n_occasions=n_occasions,
        )

    def at(self, ratio: Floats, which: Ints | slice) -> Solved:
        """The model at ratios, (ratio, replicate), of the replicates `which`."""
        log_det, size = no_log_det(ratio), self.n_occasions
        units = self.leaves.of_replicates(which).absorb(ratio[0], log_det)
        for level, parent in enumerate(self.above, start=1):
            units = units.absorb(ratio[level], log_det).pool(parent)
        units = Units(units.value + self.inner[..., which, :], units.slopes, units.curves)
        parts = np.stack([np.eye(size), np.ones((size, size))])
        units = absorb_effects(units, slice(1, size + 1), ratio[-2:], parts, log_det)
        constant = self.constant if self.constant.shape[1] == 1 else self.constant[:, which]
        products = units.total(constant, log_det, n_random=size + 1)
        first = constant.shape[0]
        products.value[first:, first:] += self.within[..., which]
        return Solved.of(products)


def _scales(cells: LeafMoments, at: Ints, total: Floats) -> Floats:
    """Observations in an average unit of every ratio, (ratio, replicate)."""
    order = np.argsort(at, kind="stable")
    of_occasions = (pooled(cells.n[:, order], starts_of(at[order])) > 0).sum(axis=1)
    counts = list(observed(cells.n, cells.parents)[1:])
    counts.insert(len(counts) - 1, np.maximum(of_occasions, 1))
    return np.stack([np.broadcast_to(total / count, cells.n_replicates) for count in counts])


def absorb_effects(units: Units, random: slice, ratio: Floats, parts: Floats, log_det: Local) -> Units:
    """Give every unit a vector of random effects with covariance G, the sum of ratio x part.

    Parameters
    ----------
    units : Units
        Their cross-products.
    random : slice
        Which columns are those of the effects, in order.
    ratio : float array, (ratio, replicate)
        The ratios that G is the sum of, the last in the order of derivatives.
    parts : float array, (ratio, effect, effect)
        What each is multiplied by.
    log_det : Local
        log|V|, added to in place.
    """
    value = _last(units.value)
    slopes = [_last(slope) for slope in units.slopes]
    curves = {pair: _last(curve) for pair, curve in units.curves.items()}
    rows, z = value[..., random, :], value[..., random, random]
    g = np.einsum("kij,kr->rij", parts, ratio)[:, np.newaxis]
    kept = np.linalg.inv(np.eye(parts.shape[1]) + z @ g)
    new, h = kept @ rows, g @ kept
    left, f = h @ rows, new[..., random]
    bent = [slope[..., random, :] - slope[..., random, random] @ left for slope in slopes]
    found = [
        slope - _form(left, turned) - _form(slope[..., random, :], left)
        for slope, turned in zip(slopes, bent, strict=True)
    ]
    bends = {
        (i, j): curve
        - _form(left, curve[..., random, :] - curve[..., random, random] @ left)
        - _form(curve[..., random, :], left)
        - _both(bent[i], h @ bent[j])
        for (i, j), curve in curves.items()
    }
    known = len(slopes)
    for k, part in enumerate(parts, start=known):
        turned = part @ new
        found.append(-_form(new, turned))
        for i, each in enumerate(bent):
            bends[i, k] = -_both(kept @ each, turned)
        for other, another in enumerate(parts[k - known :], start=k):
            bends[k, other] = _both(new, part @ f @ another @ new)
    own = [slope[..., random, random] for slope in slopes]
    own_curves = {pair: curve[..., random, random] for pair, curve in curves.items()}
    _extend(log_det, (h, f, kept), (own, own_curves), parts)
    return Units(
        _first(value - _form(left, rows)),
        [_first(slope) for slope in found],
        {pair: _first(bend) for pair, bend in bends.items()},
    )


def _extend(
    log_det: Local,
    matrices: tuple[Floats, Floats, Floats],
    own: tuple[list[Floats], dict[tuple[int, int], Floats]],
    parts: Floats,
) -> None:
    """Add log|I + G Z| of all units, and its derivatives, to log|V|."""
    h, f, kept = matrices
    value, gradient, hessian = log_det
    slopes, curves = own
    value -= np.linalg.slogdet(kept)[1].sum(axis=1)

    def add(i: int, j: int, term: Floats) -> None:
        hessian[i, j] += term
        if i != j:
            hessian[j, i] += term

    turned = [h @ slope for slope in slopes]
    for i, each in enumerate(turned):
        gradient[i] += _trace(each)
    for (i, j), curve in curves.items():
        add(i, j, _trace(h @ curve - turned[i] @ turned[j]))
    for k, part in enumerate(parts, start=len(slopes)):
        weighted = part @ f
        gradient[k] += _trace(weighted)
        for i, slope in enumerate(slopes):
            add(i, k, _trace(part @ kept @ slope @ kept.swapaxes(-1, -2)))
        for other, another in enumerate(parts[k - len(slopes) :], start=k):
            add(k, other, -_trace(weighted @ another @ f))


def _last(matrices: Floats) -> Floats:
    """(column, column, replicate, unit) with the columns last."""
    return np.moveaxis(matrices, (0, 1), (2, 3))


def _first(matrices: Floats) -> Floats:
    """The way back."""
    return np.ascontiguousarray(np.moveaxis(matrices, (2, 3), (0, 1)))


def _form(first: Floats, second: Floats) -> Floats:
    """The transpose of rows times rows."""
    form: Floats = first.swapaxes(-1, -2) @ second
    return form


def _both(first: Floats, second: Floats) -> Floats:
    """The same and its transpose."""
    form = _form(first, second)
    both: Floats = form + form.swapaxes(-1, -2)
    return both


def _trace(matrices: Floats) -> Floats:
    """Traces, summed over units: (replicate,)."""
    trace: Floats = np.einsum("ruii->r", matrices)
    return trace
