"""Siblings: as many as stated, as alike as stated, whatever practice does, and none where they are off."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import two_arms
from design_sim.arrays import Floats
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, Sample, deliver
from design_sim.world.draw import draw_world
from design_sim.world.outcomes import Outcome, SurveyedBinary, SurveyedContinuous
from design_sim.world.settings import WorldSettings

PERFECT = {"mean": 1.0, "authority_sd": 0.0, "worker_sd": 0.0, "years_to_80_percent": 0.0}
SAMPLE = Sample(teams=1, workers=2, families=5)
KINDS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "continuous": (SurveyedContinuous, {"mean": 1.0, "sd": 2.0, "effect": 1.0}),
    "bounded": (SurveyedContinuous, {"mean": 60.0, "sd": 10.0, "bounds": [0, 120], "effect": 5.0}),
    "binary": (SurveyedBinary, {"mean": 0.4, "effect": 0.15}),
}
EVERY = pytest.mark.parametrize("kind", KINDS)


def outcome_of(kind: str, **settings: object) -> Outcome:
    """Families of 1.73 children on average, whose authorities and workers are all alike."""
    model, stated = KINDS[kind]
    alike = {"icc": {"authority": 0.0}, "children_per_family": 1.73, "sibling_correlation": 0.6}
    return model.model_validate({**stated, **alike, **settings})


def delivered(
    outcome: Outcome, n: int = 3_000, resolution: str = "unit", reached: Floats | None = None, **world: object
) -> Delivery:
    """Four authorities, two treated, after the start."""
    settings = WorldSettings.model_validate({"authorities": 4, "fidelity": PERFECT, "uptake": 1.0, **world})
    drawn = draw_world(settings, {"y": outcome}, n, Streams(6, 0))
    allocation = two_arms(np.tile(np.arange(4), (n, 1)), 2, 2, randomised=True)
    at = np.array([3])
    return deliver(Fieldwork(drawn, allocation, "y", at, SAMPLE, resolution, True, reached))  # type: ignore[arg-type]


def correlation_of_siblings(mean: Floats, ss: Floats, n: Floats) -> tuple[float, float]:
    """One-way analysis of variance of children in families of two: the intraclass correlation, its error."""
    two = n == 2
    between, within = 2 * (mean[two] - mean[two].mean()) ** 2, ss[two]
    difference, total = between - within, between + within
    found = difference.mean() / total.mean()
    error = (difference - found * total).std() / np.sqrt(two.sum()) / total.mean()
    return float(found), float(error)


@EVERY
def test_families_have_one_child_and_a_poisson_number_more(kind: str) -> None:
    """The mean is the stated one, and 1 + Poisson has the variance of its mean less 1."""
    n = delivered(outcome_of(kind)).null.n
    error = np.sqrt(0.73 / n.size)
    assert n.min() == 1
    assert n.mean() == pytest.approx(1.73, abs=4 * error)
    assert n.var() == pytest.approx(0.73, abs=4 * np.sqrt((0.73 + 2 * 0.73**2) / n.size))


@EVERY
def test_siblings_correlate_as_stated_with_practice_and_without(kind: str) -> None:
    """The intraclass correlation within families of two is the stated one in either arm."""
    delivery = delivered(outcome_of(kind))
    for cells in (delivery.null, delivery.stated):
        assert cells.ss is not None
        for arm in (slice(0, 20), slice(20, 40)):
            found, error = correlation_of_siblings(*(of[:, arm] for of in (cells.mean, cells.ss, cells.n)))
            assert found == pytest.approx(0.6, abs=4 * error)


@EVERY
def test_the_mean_of_a_worker_has_the_design_effect_of_siblings(kind: str) -> None:
    """Var = s^2 / N x (1 + (m - 1) rho) with m the mean number of siblings of a child, itself included."""
    outcome = outcome_of(kind)
    delivery = delivered(outcome)
    by_worker = delivery.null.pool(delivery.roster, "worker")
    m = delivery.roster.pool(delivery.null.n**2, "worker") / by_worker.n
    effect = 1 + (m - 1) * 0.6
    z = (by_worker.mean - outcome.mean) * np.sqrt(by_worker.n / effect) / outcome.sd
    assert z.mean() == pytest.approx(0, abs=4 / np.sqrt(z.size))
    assert z.var() == pytest.approx(1, abs=4 * np.sqrt(2.5 / z.size))


@EVERY
def test_siblings_are_exactly_alike_or_as_families_at_the_ends(kind: str) -> None:
    """At a correlation of 1 they do not differ, and at 0 no more alike than families of a worker."""
    alike, apart = (delivered(outcome_of(kind, sibling_correlation=rho), 500) for rho in (1.0, 0.0))
    assert alike.null.ss is not None
    assert np.abs(alike.null.ss).max() < 1e-18
    assert apart.null.ss is not None
    found, error = correlation_of_siblings(apart.null.mean, apart.null.ss, apart.null.n)
    assert found == pytest.approx(0.0, abs=4 * error)


@EVERY
def test_a_family_takes_part_as_a_whole(kind: str) -> None:
    """With uptake .5 the mean moves by half, and siblings' gains go together: none or all of the effect."""
    delivery = delivered(outcome_of(kind), uptake=0.5)
    moved = (delivery.stated.mean - delivery.null.mean)[:, :20]
    outcome = outcome_of(kind)
    assert moved.mean() == pytest.approx(outcome.effect / 2, abs=4 * moved.std() / np.sqrt(moved.size))
    if kind == "continuous":
        assert set(np.round(np.unique(moved), 9)) == {0.0, 1.0}
        assert delivery.stated.ss is not None
        assert delivery.null.ss is not None
        assert np.allclose(delivery.stated.ss, delivery.null.ss)


@EVERY
def test_a_family_that_is_lost_is_lost_with_all_its_children(kind: str) -> None:
    """Half of the families are seen, each with every child; of the others there is nothing."""
    cells = delivered(outcome_of(kind), reached=np.full((1, 4, 1), 0.5)).null
    assert cells.ss is not None
    lost = cells.n == 0
    assert lost.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / lost.size))
    assert np.array_equal(np.isnan(cells.mean), lost)
    assert (cells.ss[lost] == 0).all()
    assert cells.n[~lost].mean() == pytest.approx(1.73, abs=4 * np.sqrt(0.73 / (~lost).sum()))


@EVERY
def test_cells_are_pooled_single_families(kind: str) -> None:
    """Siblings are not exchangeable given their worker, so that they are drawn singly at any resolution."""
    cell, unit = (delivered(outcome_of(kind), 20, resolution) for resolution in ("cell", "unit"))
    assert np.array_equal(cell.stated.mean, unit.stated.mean)
    assert cell.roster.n_rows == 40


@EVERY
def test_families_of_one_child_are_families_as_they_were(kind: str, listening: Streams) -> None:
    """Off, nothing is drawn for siblings, and a mean of 1 is off."""
    model, stated = KINDS[kind]
    outcomes = [model.model_validate({**stated, **extra}) for extra in ({}, {"children_per_family": 1.0})]
    settings = WorldSettings.model_validate({"authorities": 4})
    allocation = two_arms(np.tile(np.arange(4), (8, 1)), 2, 2, randomised=True)
    found = []
    for outcome in outcomes:
        world = draw_world(settings, {"y": outcome}, 8, listening)
        found.append(deliver(Fieldwork(world, allocation, "y", np.array([3]), SAMPLE, "unit")))
    assert np.array_equal(found[0].stated.mean, found[1].stated.mean)
    assert not {"children", "siblings"} & listening.asked  # type: ignore[attr-defined]


def test_a_correlation_of_no_siblings_is_refused() -> None:
    """It would have no effect."""
    with pytest.raises(ValidationError, match="sibling_correlation has no effect while children_per_family"):
        SurveyedContinuous(effect=1.0, sibling_correlation=0.5)
