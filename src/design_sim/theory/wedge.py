"""Stepped wedges and other trials in clusters and periods: the variance that generalised least squares has.

What a cluster's periods have in common decides it, and which cells are treated. Both are free here: any
matrix of treatment, complete or not, and any covariance of a cluster's period means. Variances are taken as
known; an analysis that estimates them from few clusters rejects too often with a z test, so that planners
use a t test with clusters less two degrees of freedom or so.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from design_sim.arrays import Floats
from design_sim.theory.ranges import require_above, require_at_least, require_covariance, require_share

Structure = Literal["exchangeable", "decay"]


def wedge_design(
    clusters_per_sequence: Sequence[int], before: int = 1, every: int = 1, after: int = 1, transition: int = 0
) -> Floats:
    """The treatment of each cluster in each period of a stepped wedge.

    Parameters
    ----------
    clusters_per_sequence : sequence of int
        Clusters that start at each step, the earliest first.
    before, every, after : int
        Periods before the first step, from one step to the next, and from the last step on.
    transition : int
        Periods from a cluster's start on that are left out while it changes over.

    Returns
    -------
    float array, (cluster, period)
        0 without the intervention, 1 with it, nan where not observed.

    Examples
    --------
    >>> wedge_design([1, 1])
    array([[0., 1., 1.],
           [0., 0., 1.]])
    """
    require_at_least("clusters_per_sequence", list(clusters_per_sequence), 1)
    require_at_least("before, every and after", [before, every, after], 1)
    require_at_least("transition", transition, 0)
    starts = before + every * np.repeat(np.arange(len(clusters_per_sequence)), clusters_per_sequence)
    since = np.arange(starts.max(initial=before) + after) - starts[:, np.newaxis]
    return np.where((since >= 0) & (since < transition), np.nan, (since >= 0).astype(float))


def hussey_hughes_variance(treated: Floats, cell_variance: float, cluster_variance: float) -> float:
    """Variance of the effect with fixed periods and a random intercept for clusters, in closed form.

    I s^2 (s^2 + T tau^2) / ((I U - W) s^2 + (U^2 + I T U - T W - I V) tau^2), with I clusters, T periods,
    and U the sum of the treatments, W that of the squares of their period totals, V that of the squares of
    their cluster totals.

    Parameters
    ----------
    treated : float array, (cluster, period)
        0 or 1, every cell observed.
    cell_variance : float
        s^2, of a cell's mean given its cluster: a family's variance within clusters over families a cell.
    cluster_variance : float
        tau^2, between clusters.

    References
    ----------
    Hussey and Hughes (2007), Contemporary Clinical Trials 28, 182-191, formula (8).
    """
    design = np.asarray(treated, dtype=float)
    if design.ndim != 2 or not np.isin(design, [0, 1]).all():
        raise ValueError("treated must be a matrix of 0 and 1, (cluster, period)")
    require_above("cell_variance", cell_variance, 0)
    require_at_least("cluster_variance", cluster_variance, 0)
    n_clusters, n_periods = design.shape
    total = design.sum()
    by_period, by_cluster = (design.sum(axis=0) ** 2).sum(), (design.sum(axis=1) ** 2).sum()
    information = (n_clusters * total - by_period) * cell_variance + cluster_variance * (
        total**2 + n_clusters * n_periods * total - n_periods * by_period - n_clusters * by_cluster
    )
    if information <= 0:
        raise ValueError("the effect cannot be told from clusters and periods in this design")
    return float(n_clusters * cell_variance * (cell_variance + n_periods * cluster_variance) / information)


def cell_mean_covariance(
    cell_size: float | Floats,
    cluster_variance: float,
    family_variance: float,
    *,
    n_periods: int | None = None,
    cluster_autocorrelation: float = 1.0,
    family_autocorrelation: float = 0.0,
    structure: Structure = "exchangeable",
) -> Floats:
    """Covariance of the means of a cluster's periods.

    cluster_variance x C + family_variance x F / n, where C and F have 1 on the diagonal. Off it, an
    autocorrelation r stands at all lags ("exchangeable": with r below 1 for clusters, the nested
    exchangeable model), or r^lag ("decay": the discrete-time decay model). Where cells of a cohort differ
    in size, the smaller is taken as part of the larger: n is then the larger of the two sizes.

    Parameters
    ----------
    cell_size : float or float array, (..., period)
        Families n in each cell; 0 where none is observed.
    cluster_variance, family_variance : float
        Of a cluster's true mean in a period, and of a family's outcome around it.
    n_periods : int
        Periods, where `cell_size` is one number for all.
    cluster_autocorrelation : float
        CAC, of a cluster's true mean with itself one period later; 1: the model of Hussey and Hughes.
    family_autocorrelation : float
        Of a family's deviation with itself; 0: other families in each period. Above 0: a closed cohort.
    structure : "exchangeable" or "decay"
        How both correlations go on over further lags.

    Returns
    -------
    float array, (..., period, period)
        Infinite on the diagonal where a cell is empty.

    References
    ----------
    Hooper, Teerenstra, de Hoop and Eldridge (2016), Statistics in Medicine 35, 4718-4728; Kasza, Hemming,
    Hooper, Matthews and Forbes (2019), Statistical Methods in Medical Research 28, 703-716.

    Examples
    --------
    >>> cell_mean_covariance(10, 0.1, 1.0, n_periods=2, cluster_autocorrelation=0.5)
    array([[0.2 , 0.05],
           [0.05, 0.2 ]])
    """
    sizes = np.asarray(cell_size, dtype=float)
    if sizes.ndim == 0:
        if n_periods is None:
            raise ValueError("one cell size for all needs n_periods")
        sizes = np.full(n_periods, float(sizes))
    require_at_least("cell_size", sizes, 0)
    require_at_least("variances", [cluster_variance, family_variance], 0)
    require_share("autocorrelation", [cluster_autocorrelation, family_autocorrelation])
    if structure not in get_args(Structure):
        raise ValueError(f"structure must be one of {', '.join(get_args(Structure))}: {structure}")
    lag = np.abs(np.subtract.outer(np.arange(sizes.shape[-1]), np.arange(sizes.shape[-1])))
    power = lag if structure == "decay" else np.minimum(lag, 1)
    larger = np.maximum(sizes[..., :, np.newaxis], sizes[..., np.newaxis, :])
    of_means = family_variance * np.power(family_autocorrelation, power) / np.where(larger > 0, larger, 1)
    unseen = np.where((larger == 0) & (lag == 0), np.inf, 0.0)
    return np.asarray(cluster_variance * np.power(cluster_autocorrelation, power) + of_means + unseen)


def random_effect_covariance(
    treated: Floats, sd: float, correlation: float = 0.0, cluster_sd: float = 0.0
) -> Floats:
    """What an effect that varies between clusters adds to the covariance of a cluster's period means.

    eta^2 x_s x_t + rho eta tau (x_s + x_t), x being the treatment of the cluster in a period.

    Parameters
    ----------
    treated : float array, (cluster, period)
        Treatment, 0 to 1; nan where not observed.
    sd : float
        eta, of the effect between clusters.
    correlation, cluster_sd : float
        rho, of a cluster's effect with its intercept, whose standard deviation is tau.

    Returns
    -------
    float array, (cluster, period, period)
        To be added to `cell_mean_covariance`; 0 in the rows and columns of cells not observed.

    References
    ----------
    Hughes, Granston and Heagerty (2015), Contemporary Clinical Trials 45, 55-60.
    """
    require_at_least("standard deviations", [sd, cluster_sd], 0)
    if not -1 <= correlation <= 1:
        raise ValueError(f"correlation must lie within -1 to 1: {correlation}")
    x = np.nan_to_num(np.asarray(treated, dtype=float))
    both = x[:, :, np.newaxis] * x[:, np.newaxis, :]
    either = x[:, :, np.newaxis] + x[:, np.newaxis, :]
    return np.asarray(sd**2 * both + correlation * sd * cluster_sd * either)


def wedge_variance(
    treated: Floats, covariance: Floats, exposure_weights: Sequence[float] | None = None
) -> float:
    """Variance of the effect by generalised least squares with known covariance and fixed periods.

    The last entry of (sum over clusters of X' V^-1 X)^-1, over the cells that are observed.

    Parameters
    ----------
    treated : float array, (cluster, period)
        Treatment, as a share of the full one from 0 to 1; nan where a cell is not observed.
    covariance : float array, (period, period) or (cluster, period, period)
        V, of the means of a cluster's periods, as from `cell_mean_covariance`. Cells with an infinite
        variance count as not observed.
    exposure_weights : sequence of float, (exposure,)
        For an effect that may differ with every period of exposure: the weights, adding up to 1, with
        which the effects of the first, second, ... period are averaged, counted from the first treated cell
        that is observed. Treatment must be 0 or 1, and stay.
        None: one effect, the same from the first period on.

    Raises
    ------
    ValueError
        If the design cannot tell the effect from the periods.

    References
    ----------
    Hussey and Hughes (2007), Contemporary Clinical Trials 28, 182-191; Kenny, Voldal, Xia, Heagerty and
    Hughes (2022), Statistics in Medicine 41, 4311-4339, for effects by exposure time.

    Examples
    --------
    >>> treated = wedge_design([3, 3, 3])
    >>> round(wedge_variance(treated, cell_mean_covariance(20, 0.05, 1.0, n_periods=4)), 6)
    0.017857
    """
    design = np.asarray(treated, dtype=float)
    if design.ndim != 2:
        raise ValueError(f"treated must be a matrix, (cluster, period), not of shape {design.shape}")
    require_share("treated", design[~np.isnan(design)])
    n_clusters, n_periods = design.shape
    matrices = np.asarray(covariance, dtype=float)
    if matrices.shape not in ((n_periods, n_periods), (n_clusters, n_periods, n_periods)):
        raise ValueError(f"covariance of shape {matrices.shape} does not fit {design.shape} cells")
    effects, contrast = _effect_columns(design, exposure_weights)
    weights = np.concatenate([np.zeros(n_periods), contrast])
    information = np.zeros((weights.size, weights.size))
    for x, matrix in zip(effects, np.broadcast_to(matrices, (n_clusters, n_periods, n_periods)), strict=True):
        seen = ~np.isnan(x[:, 0]) & np.isfinite(np.diag(matrix))
        regressors = np.hstack([np.eye(n_periods), x])[seen]
        known = matrix[np.ix_(seen, seen)]
        require_covariance("covariance", known)
        information += regressors.T @ np.linalg.solve(known, regressors)
    used = np.diag(information) > 0
    if (
        weights[~used].any()
        or np.linalg.matrix_rank(information[np.ix_(used, used)], hermitian=True) < used.sum()
    ):
        raise ValueError("the effect cannot be told from the periods in this design")
    solved = np.linalg.solve(information[np.ix_(used, used)], weights[used])
    return float(weights[used] @ solved)


def _effect_columns(design: Floats, exposure_weights: Sequence[float] | None) -> tuple[Floats, Floats]:
    """Regressors of the effect, (cluster, period, effect), nan where not observed, and their contrast."""
    if exposure_weights is None:
        return design[..., np.newaxis], np.ones(1)
    if not np.isin(design[~np.isnan(design)], [0, 1]).all():
        raise ValueError("effects by exposure time need treatments of 0 or 1")
    started = np.cumsum(design == 1, axis=1) > 0
    if (started & (design == 0)).any():
        raise ValueError("effects by exposure time need clusters that stay treated once they are")
    hidden, exposure = np.isnan(design), np.cumsum(started, axis=1)
    weights = np.asarray(exposure_weights, dtype=float)
    longest = int(exposure[~hidden].max(initial=0))
    if weights.size != longest or not np.isclose(weights.sum(), 1):
        raise ValueError(f"{longest} exposure_weights that add up to 1 needed: {exposure_weights}")
    columns = (exposure[..., np.newaxis] == np.arange(1, longest + 1)).astype(float)
    columns[hidden] = np.nan
    return columns, weights


def woertman_design_effect(
    n_steps: int, cluster_size: float, icc: float, before: int = 1, per_step: int = 1
) -> float:
    """Design effect of a complete stepped wedge over individual randomisation, for each measurement.

    (1 + icc (k t n + b n - 1)) / (1 + icc (k t n / 2 + b n - 1)) x 3 (1 - icc) / (2 t (k - 1 / k)): a random
    intercept for clusters, other families in each period, and as many clusters at each step.

    Parameters
    ----------
    n_steps : int
        Steps k, at least 2.
    cluster_size : float
        Families n in a cluster and period.
    icc : float
        Share of outcome variance between clusters.
    before, per_step : int
        Measurements b before the first step, and t after each.

    References
    ----------
    Woertman, de Hoop, Moerbeek, Zuidema, Gerritsen and Teerenstra (2013), Journal of Clinical Epidemiology
    66, 752-758. Multiplied by the families of an individually randomised trial it gives those measured in a
    period, all clusters together.
    """
    require_at_least("n_steps", n_steps, 2)
    require_at_least("before and per_step", [before, per_step], 1)
    require_above("cluster_size", cluster_size, 0)
    require_share("icc", icc)
    after, base = n_steps * per_step * cluster_size, before * cluster_size - 1
    clustered = (1 + icc * (after + base)) / (1 + icc * (after / 2 + base))
    return clustered * 3 * (1 - icc) / (2 * per_step * (n_steps - 1 / n_steps))
