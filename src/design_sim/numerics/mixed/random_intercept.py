"""Many random-intercept models at once: REML by one variance ratio, with its small-sample test.

The model is y = X beta + b_cluster + e, Var(b) = ratio x Var(e). Given the ratio everything else has a
closed form, so that REML is a search along one line, and a cluster enters by its number, means and
cross-products only. Three routes lead to the same numbers:

- equal cluster sizes, regressors constant in a cluster: closed form, by mean squares between and within;
- regressors and sizes the same in all replicates: regressors are projected out once, which leaves
  independent contrasts with variances Var(e) (1 + ratio x eigenvalue);
- otherwise: each replicate's cross-products, weighted n / (1 + ratio n), are eliminated column by column.

Decision: the search is Newton's in log(1 + ratio x largest n), which is like the ratio itself near 0 and
like its logarithm far from it, started from the best point of a grid and kept between its neighbours; where
the grid shows another valley, that is searched too. So the optimum is the global one up to the grid's
resolution, where lme4 descends from a single start. A replicate leaves once it has converged.

Source: Bates, Maechler, Bolker and Walker (2015), Journal of Statistical Software 67(1), for the
criterion; Patterson and Thompson (1971), Biometrika 58, 545-554, for error contrasts; `effect_test` for
standard errors and degrees of freedom.
"""

from dataclasses import replace

import numpy as np

from design_sim.arrays import Bools, Floats, Ints
from design_sim.numerics.mixed.cross_products import ALIASED, aliased, eliminate, pairs, triangle
from design_sim.numerics.mixed.effect_test import SmallSample
from design_sim.numerics.mixed.intercept_model import ClusterMoments, InterceptFits, Verdict
from design_sim.numerics.mixed.intercept_profiles import Contrasts, CrossProducts
from design_sim.numerics.mixed.variance_ratio import Profile, fits_at, search_ratio


def fit_random_intercept(
    moments: ClusterMoments, small_sample: SmallSample = "satterthwaite"
) -> InterceptFits:
    """Fit the model to every replicate by REML.

    Parameters
    ----------
    moments : ClusterMoments
        The data. Sizes and regressors that do not vary between replicates make the fit faster.
    small_sample : {"satterthwaite", "kenward_roger"}
        How standard error and degrees of freedom allow for few clusters. At the boundary, the ratio being
        0, Satterthwaite's df are those of least squares, observations less regressors; Kenward and
        Roger's are not.

    Examples
    --------
    Two clusters in either arm with 10 observations each: the t test on cluster means.

    >>> treated = np.array([[0.0, 0.0, 1.0, 1.0]])
    >>> fits = fit_random_intercept(ClusterMoments(
    ...     n=np.full((1, 4), 10.0), mean=np.array([[0.0, 1.0, 2.0, 4.0]]), within=np.array([36.0]),
    ...     regressors=np.stack([np.ones((1, 4)), treated], axis=2),
    ...     within_squares=np.zeros((1, 2, 2)), within_products=np.zeros((1, 2))))
    >>> fits.estimate, fits.df, fits.residual
    (array([2.5]), array([2.]), array([1.]))
    """
    moments = moments.fixed_sizes()
    if moments.n.shape[0] == 1 and moments.n.any() and not moments.n.all():
        seen = moments.n[0] > 0
        moments = replace(
            moments,
            n=moments.n[:, seen],
            mean=moments.mean[:, seen],
            regressors=moments.regressors[:, seen],
        )
    verdict = _countable(moments)
    moments = moments.centred()
    fixed = moments.n.shape[0] == moments.regressors.shape[0] == moments.within_squares.shape[0] == 1
    with np.errstate(all="ignore"):
        equal = moments.n.shape[0] == 1 and not np.ptp(moments.n) and not moments.within_squares.any()
        if equal and moments.regressors.shape[1] >= moments.regressors.shape[2]:
            return _closed_form(moments, verdict, small_sample)
        profile: Profile = Contrasts.of(moments) if fixed else CrossProducts.of(moments)
        verdict = np.where((verdict == Verdict.FITTED) & profile.singular, Verdict.SINGULAR, verdict)
        ratio, verdict = search_ratio(profile, verdict)
        return fits_at(profile, ratio, verdict, small_sample)


def _countable(moments: ClusterMoments) -> Ints:
    """Which replicates have degrees of freedom and variation within clusters."""
    clusters = (moments.n > 0).sum(axis=1)
    total = moments.n.sum(axis=1)
    n_within = int(np.einsum("rkk->rk", moments.within_squares).any(axis=0).sum())
    n_regressors = moments.regressors.shape[2]
    few = (clusters <= n_regressors - n_within) | (total - clusters <= n_within)
    verdict = np.where(moments.flat(), Verdict.NO_VARIATION, Verdict.FITTED)
    verdict = np.where(few, Verdict.TOO_FEW, verdict)
    return np.asarray(verdict, dtype=np.int64)


def _closed_form(moments: ClusterMoments, verdict: Ints, small_sample: SmallSample) -> InterceptFits:
    """REML with equal cluster sizes: mean squares between and within clusters, pooled where out of order.

    The effect's variance is linear in the variance between means, so that Kenward and Roger adjust nothing
    and count the clusters, also where mean squares are pooled.
    """
    size, n_clusters, n_regressors = moments.n[0, 0], moments.n.shape[1], moments.regressors.shape[2]
    estimate, unit_variance, residual_squares, log_det, singular = _regress_means(moments)
    df_between = n_clusters - n_regressors
    df_total = size * n_clusters - n_regressors
    squares = size * residual_squares
    mean_between, mean_within = squares / df_between, moments.within / (df_total - df_between)
    pooled = (squares + moments.within) / df_total
    boundary = mean_between <= mean_within
    residual = np.where(boundary, pooled, mean_within)
    variance = np.where(boundary, pooled, mean_between)
    log_variances = df_between * np.log(variance) + (df_total - df_between) * np.log(residual)
    verdict = np.where((verdict == Verdict.FITTED) & singular, Verdict.SINGULAR, verdict)
    return InterceptFits(
        estimate=estimate,
        std_error=np.sqrt(variance * unit_variance / size),
        df=np.where(boundary & (small_sample == "satterthwaite"), df_total, df_between),
        between=(variance - residual) / size,
        residual=residual,
        criterion=df_total * (1 + np.log(2 * np.pi)) + log_variances + log_det + n_regressors * np.log(size),
        verdict=np.where((verdict == Verdict.FITTED) & boundary, Verdict.BOUNDARY, verdict),
    )


def _regress_means(moments: ClusterMoments) -> tuple[Floats, Floats, Floats, Floats, Bools]:
    """Least squares of cluster means: last coefficient, its unit variance, residual squares, log |X'X|."""
    if moments.regressors.shape[0] > 1:
        products = np.ones_like(moments.n)[:, np.newaxis] @ pairs(moments)
        pivots, estimate, squares = eliminate(triangle(products[:, 0]), moments.regressors.shape[2])
        singular = aliased(pivots, triangle(products[:, 0]))
        return estimate, 1 / pivots[-1], squares, np.log(np.array(pivots)).sum(axis=0), singular
    regressors = moments.regressors[0]
    q, r = np.linalg.qr(regressors)
    pivots = list(np.diag(r) ** 2)
    singular = np.array(bool((np.diag(r) ** 2 <= ALIASED * (regressors**2).sum(axis=0)).any()))
    scores = moments.mean @ q
    residuals = moments.mean - scores @ q.T
    squares = np.einsum("rg,rg->r", residuals, residuals)
    return scores[:, -1] / r[-1, -1], 1 / pivots[-1], squares, np.log(pivots).sum(), singular
