"""Two profiles of a random-intercept model: by error contrasts, and by each replicate's cross-products.

`Contrasts` serves regressors and sizes that are the same in all replicates: regressors are projected out
once. `CrossProducts` serves all others: sums weighted n / (1 + ratio n), eliminated column by column.
"""

from dataclasses import dataclass

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.numerics.mixed.cross_products import (
    ALIASED,
    aliased,
    eliminate,
    log_product,
    pairs,
    triangle,
    within_pairs,
)
from design_sim.numerics.mixed.intercept_model import ClusterMoments
from design_sim.numerics.mixed.jet import Jet
from design_sim.numerics.mixed.variance_ratio import Profiled


@dataclass(frozen=True, slots=True)
class Contrasts:
    """Regressors and sizes fixed: independent error contrasts, those of equal eigenvalue together."""

    singular: Bools
    df: Floats
    scale: Floats
    eigenvalues: Floats
    multiplicity: Floats
    log_gram: float
    within: Floats
    """Residual squares of the contrasts that the random intercept does not enter, (replicate,)."""
    squares: Floats
    """Of the other contrasts, (replicate, eigenvalue)."""
    ordinary: Floats
    """The effect by ordinary least squares, (replicate,)."""
    correlated: Floats
    """Contrasts times their covariance with `ordinary`, (replicate, eigenvalue)."""
    ordinary_variance: tuple[float, float]
    """Unit variance of `ordinary` is the first plus the ratio times the second."""
    covariance: Floats
    """Squared covariances of `ordinary` with the contrasts, over the ratio, (eigenvalue,)."""

    @classmethod
    def of(cls, moments: ClusterMoments) -> "Contrasts":
        """Project the regressors out, once for all replicates."""
        n, regressors, n_replicates = moments.n[0], moments.regressors[0], moments.mean.shape[0]
        totals = n[:, np.newaxis] * regressors
        gram = regressors.T @ totals + moments.within_squares[0]
        scales = np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), 1.0))
        unit_gram = gram / np.outer(scales, scales)
        inverse = np.linalg.pinv(gram, hermitian=True)
        centring = np.diag(n) - totals @ inverse @ totals.T
        values, vectors = np.linalg.eigh(centring)
        kept = values > 1e-10 * n.max()
        values, vectors = values[kept], vectors[:, kept]
        loadings = np.sqrt(values) * (totals @ inverse[:, -1] @ vectors)
        contrasts = moments.mean @ (np.sqrt(values) * vectors)
        ordinary = moments.mean @ (totals @ inverse[:, -1])
        within = moments.within
        if moments.within_products.any():
            contrasts -= moments.within_products @ (inverse @ totals.T @ vectors / np.sqrt(values))
            ordinary += moments.within_products @ inverse[:, -1]
            slopes = moments.within_products @ np.linalg.pinv(moments.within_squares[0], hermitian=True)
            within = np.maximum(within - np.einsum("rk,rk->r", slopes, moments.within_products), 0.0)
        starts = np.flatnonzero(np.diff(values, prepend=-np.inf) > 1e-10 * n.max())
        return cls(
            singular=np.full(n_replicates, np.linalg.eigvalsh(unit_gram)[0] < ALIASED),
            df=np.full(n_replicates, n.sum() - regressors.shape[1]),
            scale=np.full(n_replicates, n.max()),
            eigenvalues=values[starts],
            multiplicity=np.diff(starts, append=values.size).astype(float),
            log_gram=float(np.linalg.slogdet(gram).logabsdet),
            within=within,
            squares=_merged(contrasts**2, starts),
            ordinary=ordinary,
            correlated=_merged(contrasts * loadings, starts),
            ordinary_variance=(float(inverse[-1, -1]), float(np.sum((totals @ inverse[:, -1]) ** 2))),
            covariance=_merged((loadings**2)[np.newaxis], starts)[0],
        )

    def deviances(self, growths: Floats) -> Floats:
        """The profiled deviance up to a constant, (replicate, growth), where scale x ratio is `growths`."""
        growth = self.eigenvalues[:, np.newaxis] * (growths / self.scale[0])
        squares = self.within[:, np.newaxis] + self.squares @ (1 / (1 + growth))
        deviances: Floats = self.df[0] * np.log(squares) + self.multiplicity @ np.log1p(growth)
        return deviances

    def at(self, ratio: Floats, which: Ints | slice) -> Profiled:
        """The profile of the replicates `which`, each at its own ratio."""
        shrink = 1 / (1 + ratio[:, np.newaxis] * self.eigenvalues)
        decay = shrink * self.eigenvalues
        shrunk = self.squares[which] * shrink
        falling = shrunk * decay
        squares = Jet(
            self.within[which] + shrunk.sum(axis=1),
            -falling.sum(axis=1),
            2 * np.einsum("rk,rk->r", falling, decay),
        )
        log_det = Jet(
            self.log_gram - np.log(shrink) @ self.multiplicity,
            decay @ self.multiplicity,
            -(decay**2) @ self.multiplicity,
        )
        own, common = self.ordinary_variance
        unit_variance = Jet(
            own + ratio * common - ratio**2 * (shrink @ self.covariance),
            common - ratio * ((1 + shrink) * shrink @ self.covariance),
            -2 * (shrink**3 @ self.covariance),
        )
        estimate = self.ordinary[which] - ratio * np.einsum("rk,rk->r", self.correlated[which], shrink)
        return Profiled(squares, log_det, estimate, unit_variance)


def _merged(values: Floats, starts: Ints) -> Floats:
    """Sums over contrasts of equal eigenvalue, (replicate, contrast) to (replicate, eigenvalue)."""
    n_contrasts = values.shape[1]
    if starts.size == n_contrasts:
        return values
    group = np.repeat(np.arange(starts.size), np.diff(starts, append=n_contrasts))
    merged: Floats = values @ (group[:, np.newaxis] == np.arange(starts.size)).astype(np.float64)
    return merged


@dataclass(frozen=True, slots=True)
class CrossProducts:
    """Regressors or sizes vary: cross-products of regressors and outcome, eliminated anew at each ratio."""

    singular: Bools
    df: Floats
    scale: Floats
    n: Floats
    within: Floats
    """Within clusters, (replicate, pair)."""
    between: Floats
    """Of the cluster means, (replicate, cluster, pair)."""
    n_regressors: int

    @classmethod
    def of(cls, moments: ClusterMoments) -> "CrossProducts":
        """Collect the cross-products of every replicate."""
        n_regressors = moments.regressors.shape[2]
        between = pairs(moments)
        within = within_pairs(moments)
        n = np.broadcast_to(moments.n, between.shape[:2])
        products = triangle((n[:, np.newaxis] @ between)[:, 0] + within)
        pivots, _, _ = eliminate(products, n_regressors)
        return cls(
            singular=aliased(pivots, products),
            df=n.sum(axis=1) - n_regressors,
            scale=np.maximum(n.max(axis=1), 1.0),
            n=n,
            within=within,
            between=between,
            n_regressors=n_regressors,
        )

    def deviances(self, growths: Floats) -> Floats:
        """The profiled deviance up to a constant, (replicate, growth), where scale x ratio is `growths`."""
        growth = 1 + growths[:, np.newaxis] * (self.n / self.scale[:, np.newaxis])[:, np.newaxis]
        products = (self.n[:, np.newaxis] / growth) @ self.between + self.within[:, np.newaxis]
        pivots, _, squares = eliminate(triangle(products), self.n_regressors)
        log_det = log_product(growth) + log_product(np.stack(pivots, axis=2))
        deviances: Floats = self.df[:, np.newaxis] * np.log(squares) + log_det
        return deviances

    def at(self, ratio: Floats, which: Ints | slice) -> Profiled:
        """The profile of the replicates `which`, each at its own ratio."""
        n = self.n[which]
        weight = n / (1 + ratio[:, np.newaxis] * n)
        squared = weight**2
        products = np.stack([weight, -squared, 2 * squared * weight], axis=1) @ self.between[which]
        products[:, 0] += self.within[which]
        jets = {
            pair: Jet(columns[:, 0], columns[:, 1], columns[:, 2])
            for pair, columns in triangle(products).items()
        }
        pivots, estimate, squares = eliminate(jets, self.n_regressors)
        relative = [pivot.slope / pivot.value for pivot in pivots]
        log_det = Jet(
            np.log1p(ratio[:, np.newaxis] * n).sum(axis=1)
            + np.log([pivot.value for pivot in pivots]).sum(axis=0),
            weight.sum(axis=1) + np.sum(relative, axis=0),
            -squared.sum(axis=1)
            + np.sum([p.curve / p.value - r**2 for p, r in zip(pivots, relative, strict=True)], axis=0),
        )
        one = Jet(np.ones_like(ratio), np.zeros_like(ratio), np.zeros_like(ratio))
        return Profiled(squares, log_det, estimate.value, one / pivots[-1])
