"""What the logistic and the Poisson mixed model share: settings, and the way from a panel to estimates."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from design_sim.arrays import Bools, Floats, Ints
from design_sim.estimators.base import Estimates, Needs, Status, t_estimates
from design_sim.estimators.covariates import complete_cells, covariates_of
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
    few."""
    report: Literal["difference", "link"] = "difference"
    """`difference` of risks or rates, standardised over all families; `link` is the coefficient itself, a
    log odds ratio or log rate ratio, which no estimand is about."""

    needs: ClassVar[Needs] = "means"
    by_allocation: ClassVar[bool] = False
    needs_before: ClassVar[bool] = False


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


def clustered_events(panel: Panel, covariates: tuple[str, ...], *, period_effects: bool) -> ClusteredEvents:
    """The events that the model reads of a panel, and its regressors, the treatment last.

    Families of several occasions count as different ones. Cells are pooled as far as their regressors are
    the same: over the rows of an authority, and without period effects over occasions. A row without a
    covariate (nan) does not count.

    Raises
    ------
    ValueError
        If a covariate is not in the panel.
    """
    seen = np.ones_like(panel.follow_up) if period_effects else panel.follow_up
    values = covariates_of(panel, covariates)
    cells = complete_cells(panel.cells.n[:, :, seen], panel.cells.mean[:, :, seen], values)
    treated = panel.treated[:, :, seen]
    if not period_effects and (treated == treated[:, :, :1]).all():
        cells, treated = cells.over(np.ones(treated.shape[2], dtype=bool)), treated[:, :, :1]
    rows = panel.roster.authority
    first = np.searchsorted(rows, np.arange(panel.n_authorities))
    if all(np.array_equal(x, x[:, first[rows]], equal_nan=True) for x in values):
        cells, treated = cells.pool(panel.roster, "authority"), treated[:, first]
        values, rows = [x[:, first] for x in values], np.arange(panel.n_authorities)
    n, events = cells.n, np.where(cells.n > 0, cells.n * cells.mean, 0.0)
    weights = n.sum(axis=2)
    columns = [np.ones((1, 1, 1))]
    columns += [standardise(np.nan_to_num(x), weights)[:, :, np.newaxis] for x in values]
    if period_effects:
        columns += [occasion[np.newaxis, np.newaxis] for occasion in np.eye(n.shape[2])[1:]]
    return _by_authority([*columns, treated.astype(np.float64)], n, events, rows)


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
