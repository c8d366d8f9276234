"""Mixed models of stored sets: variances and criteria, and models whose regressor is no arm of a study.

Public sets are read where the validation data stand beside the package; the others are in `tests/reference`.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from design_sim.arrays import Floats, Ints
from design_sim.estimators.likelihood_ratio import fit_by_likelihood
from design_sim.numerics.mixed.effect_test import SmallSample
from design_sim.numerics.mixed.intercept_model import ClusterMoments, InterceptFits, Verdict
from design_sim.numerics.mixed.nested_model import MixedFits
from design_sim.numerics.mixed.pooling import pool_cells
from design_sim.numerics.mixed.random_intercept import fit_random_intercept
from design_sim.numerics.mixed.random_slopes import fit_random_slopes
from design_sim.numerics.mixed.several_intercepts import fit_nested_intercepts

REFERENCE = Path(__file__).parents[2] / "reference"
PUBLIC = Path(__file__).parents[4] / "shared" / "validation"
Fit = Callable[[ClusterMoments, SmallSample], InterceptFits | MixedFits]


@dataclass(frozen=True)
class Model:
    """Single observations, sorted by leaf, and the fit of their moments by leaf."""

    outcome: Floats
    regressors: list[Floats]
    """The intercept's ones first, the one asked about last."""
    leaf: Ints
    fit: Fit
    target: str
    variances: tuple[str, ...]
    """What other software calls the variances of leaves, and of the units above them."""
    of: dict[str, Any]


def table(folder: Path, name: str) -> dict[str, list[str]]:
    """The columns of a stored set, as text."""
    with (folder / "data" / f"{name}.csv").open() as file:
        lines = list(csv.DictReader(file))
    return {key: [line[key] for line in lines] for key in lines[0]}


def numbers(values: list[str]) -> Floats:
    """A column of numbers."""
    return np.array([float(value) for value in values])


def codes(*columns: list[str]) -> Ints:
    """Combinations of columns as numbers from 0, the first column's values together."""
    parts = np.column_stack([np.unique(column, return_inverse=True)[1] for column in columns])
    found: Ints = np.unique(parts, axis=0, return_inverse=True)[1]
    return found


def stated(folder: Path, name: str, *keys: str) -> dict[str, Any]:
    """What other software found of a set."""
    found: dict[str, Any] = json.loads((folder / "point" / f"{name}.json").read_text())
    for key in keys:
        found = found[key]
    return found


def model_of(
    outcome: Floats,
    regressors: list[Floats],
    units: list[Ints],
    target: str,
    variances: tuple[str, ...],
    of: dict[str, Any],
) -> Model:
    """A model with a random intercept of the leaves and of every level above them."""
    order = np.lexsort(units)
    levels = [unit[order] for unit in units]
    first = [np.unique(unit, return_index=True)[1] for unit in levels]
    parents = tuple(above[at] for above, at in zip(levels[1:], first, strict=False))

    def fit(moments: ClusterMoments, small_sample: SmallSample) -> InterceptFits | MixedFits:
        if not parents:
            return fit_random_intercept(moments, small_sample)
        return fit_nested_intercepts(moments, parents, small_sample)

    ones = np.ones(outcome.size)
    columns = [ones, *(regressor[order] for regressor in regressors)]
    return Model(outcome[order], columns, levels[0], fit, target, variances, of)


def panel_model(name: str, model: str) -> Model:
    """Clusters with effects of periods, with or without a random effect of the cluster's period."""
    column, of = table(REFERENCE, name), stated(REFERENCE, name, "lmer", model)
    cluster, period = codes(column["cluster"]), numbers(column["period"])
    regressors = [(period == at).astype(float) for at in np.unique(period)[1:]]
    if name != "sw_9x4":
        regressors += [numbers(column["group"]), numbers(column["x"])]
    units, variances = [cluster], ("cluster",)
    if model == "nested_exchangeable":
        units, variances = [codes(column["cluster"], column["period"]), cluster], ("cluster:fp", "cluster")
    regressors.append(numbers(column["d"]))
    return model_of(numbers(column["y"]), regressors, units, "d", variances, of)


def nested_model(model: str) -> Model:
    """Families seen twice, in workers, teams and authorities."""
    column, of = table(REFERENCE, "nested5_a"), stated(REFERENCE, "nested5_a", "lmer", model)
    levels = {
        "four_level": ("family", "worker", "team", "authority"),
        "three_level": ("worker", "authority"),
        "two_level_authority": ("authority",),
    }[model]
    above = ("authority", "team", "worker", "family")
    units = [codes(*(column[key] for key in above[: above.index(level) + 1])) for level in levels]
    regressors = [numbers(column[key]) for key in ("occasion", "x", "treat")]
    return model_of(numbers(column["y"]), regressors, units, "treat", levels, of)


def public_model(name: str) -> Model:
    """A mean alone: batches of dyestuff, and casks of paste within batches."""
    if name == "Pastes":
        column = table(PUBLIC, name)
        units = [codes(column["batch"], column["cask"]), codes(column["batch"])]
        of, variances = stated(PUBLIC, "lmm_classics", name), ("batch:cask", "batch")
        return model_of(numbers(column["strength"]), [], units, "(Intercept)", variances, of)
    column = table(PUBLIC, name.removesuffix("_boundary"))
    of = stated(PUBLIC, "lmm_classics", name)
    return model_of(numbers(column["Yield"]), [], [codes(column["Batch"])], "(Intercept)", ("Batch",), of)


def sleep(model: str) -> Model:
    """Reaction times of eighteen people over ten days without sleep."""
    column, of = table(PUBLIC, "sleepstudy"), stated(PUBLIC, "lmm_classics", f"sleepstudy_{model}")
    subject, days = codes(column["Subject"]), numbers(column["Days"])
    plain = model_of(numbers(column["Reaction"]), [days], [subject], "Days", ("Subject",), of)
    if model == "intercept":
        return plain
    order = np.lexsort([days, subject])

    def fit(moments: ClusterMoments, small_sample: SmallSample) -> MixedFits:
        return fit_random_slopes(
            moments,
            subject[order],
            days[order],
            small_sample,
            correlated=model == "slope",
            by_occasion=False,
        )

    slope = "Subject:Days" if model == "slope" else "Subject.1:Days"
    covariance = ("covariance",) if model == "slope" else ()
    if covariance:
        of["varcomp"]["covariance"] = of["covcomp"]["Subject:(Intercept):Days"]
    ones, y = np.ones(days.size), numbers(column["Reaction"])[order]
    columns = [ones, days[order]]
    return Model(y, columns, np.arange(days.size), fit, "Days", ("Subject", slope, *covariance), of)


def moments_of(model: Model, outcomes: Floats, *, shared: bool) -> ClusterMoments:
    """Moments of every replicate; where regressors are not shared, each replicate has its own axis of them."""
    regressors = [column[np.newaxis] for column in model.regressors]
    if not shared:
        regressors = [np.repeat(column, outcomes.shape[0], axis=0) for column in regressors]
        regressors[-1] = regressors[-1] * np.array([[-2.0], [1.0], [-2.0]])
    n = np.ones((1, outcomes.shape[1]))
    return pool_cells(n, outcomes, np.zeros(outcomes.shape[0]), regressors, model.leaf)


MODELS: dict[str, Callable[[], Model]] = {
    **{
        f"{name}-{model}": (lambda name=name, model=model: panel_model(name, model))  # type: ignore[misc]
        for name in ("did_8x6", "did_10x4_bal")
        for model in ("random_intercept", "nested_exchangeable")
    },
    "sw_9x4-hussey_hughes": lambda: panel_model("sw_9x4", "hussey_hughes"),
    "sw_9x4-nested_exchangeable": lambda: panel_model("sw_9x4", "nested_exchangeable"),
    **{
        f"nested5_a-{model}": (lambda model=model: nested_model(model))  # type: ignore[misc]
        for model in ("four_level", "three_level", "two_level_authority")
    },
}
if PUBLIC.exists():  # public sets, which the package does not distribute
    MODELS |= {
        name: (lambda name=name: public_model(name))  # type: ignore[misc]
        for name in ("Dyestuff", "Dyestuff2_boundary", "Pastes")
    }
    MODELS |= {
        f"sleepstudy-{model}": (lambda model=model: sleep(model))  # type: ignore[misc]
        for model in ("slope", "uncorr", "intercept")
    }


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("name", MODELS)
def test_fits_are_those_of_lmer_in_a_batch(name: str, shared: bool) -> None:
    """Estimate, standard errors, df, variances and criterion of the second of three replicates."""
    model = MODELS[name]()
    rng, of = np.random.default_rng(4), model.of
    if not shared and len(model.regressors) == 1:
        shared = True  # the intercept is the same in all
    outcomes = np.stack([rng.permutation(model.outcome), model.outcome, rng.permutation(model.outcome)])
    moments = moments_of(model, outcomes, shared=shared)
    fits = model.fit(moments, "satterthwaite")
    assert fits.verdict[1] == (Verdict.BOUNDARY if of["singular"] else Verdict.FITTED)
    # The intercept is that of outcomes less the mean of their leaves.
    centre = moments.mean[1].mean() if model.target == "(Intercept)" else 0.0
    assert fits.estimate[1] + centre == pytest.approx(of["estimate"][model.target], rel=1e-6)
    assert fits.std_error[1] == pytest.approx(of["se"][model.target], rel=1e-6)
    assert fits.criterion[1] == pytest.approx(of["reml_criterion"], rel=1e-8)
    residual = of["varcomp"]["Residual"]
    assert fits.residual[1] == pytest.approx(residual, rel=1e-6)
    found = fits.between[1:2] if isinstance(fits, InterceptFits) else fits.ratios[1] * fits.residual[1]
    for variance, label in zip(found, model.variances, strict=True):
        assert variance == pytest.approx(of["varcomp"][label], rel=1e-5, abs=1e-8 * residual), label
    tolerance = 1e-3 if of["singular"] else 1e-4
    assert fits.df[1] == pytest.approx(of["satterthwaite"]["df"][model.target], rel=tolerance)
    adjusted, judged = model.fit(moments, "kenward_roger"), of["kenward_roger"]
    assert adjusted.std_error[1] == pytest.approx(judged["se"][model.target], rel=1e-5)
    assert adjusted.df[1] == pytest.approx(judged["df"][model.target], rel=1e-5)


@pytest.mark.parametrize("name", ["crt_bal10", "crt_bal4", "crt_unb10", "crt_unb6", "crt_unb20_imb"])
def test_likelihoods_are_those_of_lmer(name: str) -> None:
    """Maximum likelihood of the model with treatment, which the likelihood ratio is made of."""
    column, of = table(REFERENCE, name), stated(REFERENCE, name, "lmer", "unadjusted", "ml")
    treat = numbers(column["treat"])
    model = model_of(numbers(column["y"]), [treat], [codes(column["cluster"])], "treat", (), of)
    moments = moments_of(model, np.stack([model.outcome[::-1], model.outcome]), shared=True)
    deviance, estimate = fit_by_likelihood(moments, moments.regressors[:, :, -1])
    assert deviance[1] == pytest.approx(-2 * of["loglik"], rel=1e-8)
    assert estimate[1] == pytest.approx(of["estimate"]["treat"], rel=1e-6)
