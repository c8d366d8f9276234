"""What the logistic and the Poisson mixed model share: settings, and the way from a panel to estimates."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from design_sim.arrays import Bools, Floats, Ints
from design_sim.estimators.base import Estimates, Needs, Status, t_estimates
from design_sim.estimators.covariates import complete_cells, covariates_of, spread_of
from design_sim.numerics.exponential_family import Family
from design_sim.numerics.generalised_mixed import Ending, fit_generalised_mixed
from design_sim.numerics.least_squares import solve_normal, standardise
from design_sim.numerics.marginal_likelihood import ClusteredEvents
from design_sim.numerics.standardisation import standardised_difference
from design_sim.panel import Panel
from design_sim.stated import Stated

_STATUS_OF = {
    Ending.FITTED: Status.OK,
    Ending.BOUNDARY: Status.BOUNDARY,
    Ending.SINGULAR: Status.SINGULAR,
    Ending.NO_VARIATION: Status.NO_VARIATION,
    Ending.SEPARATION: Status.SEPARATION,
    Ending.NOT_CONVERGED: Status.NOT_CONVERGED,
}


class GeneralisedMixedModel(Stated):
    """Settings of a model of events with a normal random intercept of the authority."""

    estimator: str
    quadrature_points: Annotated[int, Field(ge=1, le=25)] = 9
    """Nodes of the adaptive Gauss-Hermite quadrature of the random intercept; 1 is Laplace's method."""
    covariates: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Covariates of the panel to adjust for, by name."""
    period_effects: bool = False
    """Analyse every occasion, those before the start too, each with an effect; else the follow-up alone."""
    df: Literal["between", "normal"] = "between"
    """Degrees of freedom of the test and interval: `between` is authorities less regressors that are constant
    within each authority; `normal` is what most software reports, and rejects too often where authorities are
    few. Where treatment changes within authorities, `between` is cautious as long as the model holds."""
    report: Literal["difference", "link"] = "difference"
    """`difference` of risks or rates, standardised over all families; `link` is the coefficient itself, a
    log odds ratio or log rate ratio, which no estimand is about."""

    needs: ClassVar[Needs] = "means"
    by_allocation: ClassVar[bool] = False
    within: ClassVar[bool] = True

    @property
    def needs_before(self) -> bool:
        """Whether it reads occasions before the start."""
        return self.period_effects

    @property
    def staggered(self) -> bool:
        """Whether it takes a study whose units start at different occasions."""
        return self.period_effects

    @property
    def convention(self) -> str:
        """What it does, in words."""
        family = self.estimator.removesuffix("_mixed_model")
        by = f"adaptive Gauss-Hermite quadrature, {self.quadrature_points} points"
        how = "Laplace's approximation" if self.quadrature_points == 1 else by
        what = "difference standardised over families, delta method"
        scale = what if self.report == "difference" else "coefficient on the link scale"
        test = "normal test" if self.df == "normal" else "t with clusters - cluster-constant regressors df"
        return (
            f"{family} mixed model with a random intercept of the cluster"
            f"{', fixed effects of occasions' * self.period_effects}, maximum likelihood ({how}); "
            f"{scale}; standard error from the observed information; {test}"
        )


def analyse_events(model: GeneralisedMixedModel, family: Family, panel: Panel) -> Estimates:
    """Fit the model to every replicate of a panel.

    Returns
    -------
    Estimates
        `BOUNDARY` where the variance between authorities is estimated as 0: the answer is then that of the
        model without a random intercept, with its standard error. `TOO_FEW_CLUSTERS` where an arm is empty,
        or authorities are no more than the regressors that are constant in an authority; `SINGULAR` where the
        treatment cannot be told from the other regressors; `NO_VARIATION` where nobody or everybody has
        the event; `SEPARATION` where a fitted risk or rate is 0, or a risk 1, as for an arm without events;
        `NOT_CONVERGED` where the search failed.

    Raises
    ------
    ValueError
        If a covariate is not in the panel, or an outcome is none of events.
    """
    with np.errstate(all="ignore"):
        impossible = np.isnan(family.link(panel.cells.mean)) & (panel.cells.n > 0)
    if impossible.any():
        raise ValueError(f"{model.estimator} needs events, and the outcome has values that their mean cannot")
    data = clustered_events(panel, model.covariates, period_effects=model.period_effects)
    fits = fit_generalised_mixed(data, family, model.quadrature_points)
    if model.report == "link":
        with np.errstate(invalid="ignore"):
            estimate, std_error = fits.coefficients[:, -1], np.sqrt(fits.covariance[:, -2, -2])
    else:
        estimate, std_error = standardised_difference(data, family, fits)
    df = between_df(data)
    status = np.array([_STATUS_OF[ending] for ending in Ending], dtype=np.int64)[fits.ending]
    few = empty_arm(data) | (df <= 0)
    status = np.where(few, Status.TOO_FEW_CLUSTERS, status)
    df = np.full(1, np.inf) if model.df == "normal" else df
    return t_estimates(estimate, std_error, df, panel.alpha, status)


def covariate_coefficients(model: GeneralisedMixedModel, family: Family, panel: Panel) -> dict[str, Floats]:
    """What each covariate adds for each of its units on the link scale, (replicate,) by name."""
    if not model.covariates:
        return {}
    data = clustered_events(panel, model.covariates, period_effects=model.period_effects)
    fits = fit_generalised_mixed(data, family, model.quadrature_points)
    seen = np.ones_like(panel.follow_up) if model.period_effects else panel.follow_up
    values = covariates_of(panel, model.covariates)
    cells = complete_cells(panel.cells.n[:, :, seen], panel.cells.mean[:, :, seen], values)
    scales = [spread_of(x, cells.n.sum(axis=2)) for x in values]
    return {
        name: fits.coefficients[:, place] / scale
        for place, (name, scale) in enumerate(zip(model.covariates, scales, strict=True), start=1)
    }


def clustered_events(panel: Panel, covariates: tuple[str, ...], *, period_effects: bool) -> ClusteredEvents:
    """The events that the model reads of a panel, and its regressors, the treatment last.

    Families of several occasions count as different ones. They are pooled as far as their regressors are the
    same: over rows of an authority, and without period effects over occasions. A row without a covariate
    (nan) does not count.

    Raises
    ------
    ValueError
        If a covariate is not in the panel.
    """
    seen = np.ones_like(panel.follow_up) if period_effects else panel.follow_up
    values = covariates_of(panel, covariates)
    cells = complete_cells(panel.cells.n[:, :, seen], panel.cells.mean[:, :, seen], values)
    treated = panel.treated[:, :, seen]
    n, events = cells.n, cells.n * cells.mean
    if not period_effects and (treated == treated[:, :, :1]).all():
        treated = treated[:, :, :1]
        n, events = n.sum(axis=2, keepdims=True), events.sum(axis=2, keepdims=True)
    rows, which = alike_rows(panel.roster.authority, treated, values)
    n, events = (_pooled(totals, which) for totals in (n, events))
    weights = n.sum(axis=2)
    columns = [np.ones((1, 1, 1))]
    columns += [standardise(np.nan_to_num(x[:, rows]), weights)[:, :, np.newaxis] for x in values]
    if period_effects:
        columns += [occasion[np.newaxis, np.newaxis] for occasion in np.eye(n.shape[2])[1:]]
    columns.append(treated[:, rows].astype(np.float64))
    return _by_authority(columns, n, events, panel.roster.authority[rows])


def alike_rows(authority: Ints, treated: Bools, covariates: list[Floats]) -> tuple[Ints, Ints]:
    """Rows of an authority that have the same regressors: the first row of every group, and each row's group.

    Parameters
    ----------
    authority : int array, (row,)
        Which authority a row belongs to.
    treated : bool array, (replicate, row, occasion)
        Whether a row is treated at an occasion.
    covariates : list of float arrays, (replicate, row)
        The covariates.

    Returns
    -------
    int array, (group,)
        The first row of every group, groups of an authority lying together.
    int array, (row,)
        The group of every row.
    """
    head = np.searchsorted(authority, np.arange(authority[-1] + 1))[authority]
    key = np.arange(authority.size)[:, np.newaxis]
    if all(np.array_equal(x, x[:, head], equal_nan=True) for x in covariates):
        if (treated == treated[:, head]).all():
            key = authority[:, np.newaxis]
        elif treated.shape[0] == 1:
            key = np.column_stack([authority, treated[0]])
    _, first, which = np.unique(key, axis=0, return_index=True, return_inverse=True)
    return first, which.reshape(-1)


def _pooled(totals: Floats, which: Ints) -> Floats:
    """Sums over the rows of every group, (replicate, group, occasion)."""
    if (which == np.arange(which.size)).all():
        return totals
    order = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[order], np.arange(which.max() + 1))
    pooled: Floats = np.add.reduceat(totals[:, order], starts, axis=1)
    return pooled


def _by_authority(columns: list[Floats], n: Floats, events: Floats, rows: Ints) -> ClusteredEvents:
    """Cells (replicate, row, occasion) as (replicate, authority, cell), filled up with n = 0."""
    size = np.bincount(rows)[:, np.newaxis]
    place = np.arange(size.max())
    index = np.searchsorted(rows, np.arange(size.size))[:, np.newaxis] + np.minimum(place, size - 1)
    real = (place < size)[:, :, np.newaxis]

    def arranged(values: Floats) -> Floats:
        by_authority: Floats = np.broadcast_to(values, (values.shape[0], *n.shape[1:]))[:, index]
        return by_authority

    n_replicates = max(column.shape[0] for column in columns)
    shape = (size.size, size.max() * n.shape[2])
    regressors = np.empty((n_replicates, len(columns), *shape))
    for position, column in enumerate(columns):
        regressors[:, position] = arranged(column).reshape(-1, *shape)
    return ClusteredEvents(
        (arranged(n) * real).reshape(-1, *shape), (arranged(events) * real).reshape(-1, *shape), regressors
    )


def empty_arm(data: ClusteredEvents) -> Bools:
    """Whether nobody was observed with the treatment, or nobody without it, (replicate or 1,)."""
    treated = data.regressors[:, -1] == 1
    arms = [((data.n > 0) & arm).any(axis=(1, 2)) for arm in (treated, ~treated)]
    empty: Bools = ~(arms[0] & arms[1])
    return empty


def between_df(data: ClusteredEvents) -> Floats:
    """Authorities observed less the regressors that are constant within each authority, (replicate or 1,).

    Source: Li and Redden (2015), BMC Medical Research Methodology 15, 38.
    """
    authorities = (data.n > 0).any(axis=2).sum(axis=1)
    constant = (np.ptp(data.regressors, axis=3) == 0).all(axis=(0, 2))
    rank = solve_normal(data.gram(data.n)[:, constant][:, :, constant]).rank
    df: Floats = authorities - rank
    return df
