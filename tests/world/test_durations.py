"""Durations on records and in surveys: their spread, and how practice shortens them."""

from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from pydantic import ValidationError
from scipy import stats

from design_sim.allocation import two_arms
from design_sim.arrays import Floats
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, Sample, deliver
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import RecordedDuration, SurveyedDuration
from design_sim.world.settings import WorldSettings
from design_sim.world.shares import share_of_takers, shares_of_units, squared_shares

SMALL = {"log_mean": 7.5, "log_sd": 0.3, "smallest": 500.0, "largest": 5_000.0}
PERFECT = {"mean": 1.0, "authority_sd": 0.0, "worker_sd": 0.0, "years_to_80_percent": 0.0}
PLACED = RecordedDuration(mean=1.5, sd=1.2, effect=-0.5, log_sd=0.25, per_10000_children=150.0)
WAITED = SurveyedDuration(mean=0.4, sd=0.6, effect=-0.2, log_sd=0.0)
SAMPLE = Sample(teams=2, workers=3, families=5)


def world_of(outcome: RecordedDuration | SurveyedDuration, n: int = 400, **tables: Any) -> World:
    """Blocks of ten small authorities."""
    stated = {"authorities": 10, "size": SMALL, "workers": {"per_10000_children": 150.0}, **tables}
    return draw_world(WorldSettings.model_validate(stated), {"y": outcome}, n, Streams(5, 0))


def delivered(world: World, resolution: str = "cell") -> Delivery:
    """Five of the authorities treated from the third year on, seen a year before and in the second after."""
    per_year, n = world.settings.time.per_year, world.n_replicates
    allocation = two_arms(np.tile(np.arange(10), (n, 1)), 5, 2 * per_year, randomised=True)
    sample = SAMPLE if world.outcomes["y"].source == "survey" else None
    occasions = np.array([1, 3]) * per_year
    return deliver(Fieldwork(world, allocation, "y", occasions, sample, resolution, spread=True))  # type: ignore[arg-type]


def is_mean(values: Floats, expected: float) -> bool:
    """Whether a mean is the expected one, to four standard errors over replicates."""
    of_replicates = values.reshape(values.shape[0], -1).mean(axis=1)
    error = float(of_replicates.std() / np.sqrt(of_replicates.size))
    return abs(float(of_replicates.mean()) - expected) < 4 * error


@pytest.mark.parametrize("per_year", [1, 4])
def test_means_are_lognormal_with_the_stated_mean(per_year: int) -> None:
    """At every occasion, whatever its length; the SD of a year's log mean is log_sd."""
    expected = world_of(PLACED, 4_000, time={"per_year": per_year}).expected("y")
    assert is_mean(expected, 1.5)
    by_year = expected.reshape(4_000, 10, 4, per_year).mean(axis=3)
    assert np.log(by_year[:, :, 0]).std() == pytest.approx(0.25, rel=0.015)


def test_families_of_all_authorities_have_the_stated_mean_and_sd() -> None:
    """sd is over all families; those of one authority are gamma around its mean."""
    world = world_of(PLACED, 1_500)
    delivery = delivered(world, "unit")
    single = delivery.null.mean[:, :, 0]
    here = np.broadcast_to(delivery.null.n[:, :, 0], single.shape) > 0
    assert single[here].mean() == pytest.approx(1.5, abs=0.01)
    assert single[here].std() == pytest.approx(1.2, rel=0.02)
    own = delivery.roster.spread(world.expected("y")[:, :, 1], "authority")
    ratio = (single / own)[here][::7]
    shape = PLACED.family_shape
    assert stats.kstest(ratio[:5_000], stats.gamma(shape, scale=1 / shape).cdf).pvalue > 1e-3


def families_one_by_one(
    n: int, families: int, uptake: float, outcome: RecordedDuration | SurveyedDuration
) -> tuple[Floats, Floats]:
    """Mean and sum of squares of families drawn one by one around the stated mean, some with the effect."""
    rng, shape = default_rng(8), outcome.family_shape
    single = outcome.mean * rng.standard_gamma(shape, (n, families)) / shape
    single *= np.where(rng.random(single.shape) < uptake, 1 + outcome.effect / outcome.mean, 1.0)
    mean = single.mean(axis=1)
    return mean, ((single - mean[:, np.newaxis]) ** 2).sum(axis=1)


@pytest.mark.parametrize("resolution", ["cell", "unit"])
@pytest.mark.parametrize("source", ["record", "survey"])
def test_cells_are_families_drawn_one_by_one(source: str, resolution: str) -> None:
    """Means and sums of squares, and their correlation, with the effect in a share of families and without."""
    outcome = WAITED if source == "survey" else PLACED.model_copy(update={"log_sd": 0.0})
    world = world_of(outcome, 2_000, fidelity=PERFECT, uptake=0.6)
    delivery = delivered(world, resolution)
    cells = delivery.stated.pool(delivery.roster, "authority")
    assert cells.ss is not None
    for authority, uptake in ((2, 0.6), (8, 0.0)):
        n = int(np.broadcast_to(cells.n, cells.mean.shape)[0, authority, 1])
        mean, ss = families_one_by_one(2_000, n, uptake, outcome)
        assert stats.ks_2samp(cells.mean[:, authority, 1], mean).pvalue > 1e-3
        assert stats.ks_2samp(cells.ss[:, authority, 1], ss).pvalue > 1e-3
        together = np.corrcoef(cells.mean[:, authority, 1], cells.ss[:, authority, 1])[0, 1]
        assert together == pytest.approx(np.corrcoef(mean, ss)[0, 1], abs=0.1)


@pytest.mark.parametrize("source", ["record", "survey"])
def test_practice_changes_durations_by_effect_times_uptake_and_dose(source: str) -> None:
    """At fidelity .5 with 60 % taking part, .3 of the stated years, and not before the start."""
    outcome = WAITED if source == "survey" else PLACED
    world = world_of(outcome, 2_000, fidelity={**PERFECT, "mean": 0.5}, uptake=0.6)
    delivery = delivered(world)
    moved = (delivery.stated.mean - delivery.null.mean)[:, :, 1]
    treated = delivery.roster.authority < 5
    assert is_mean(moved[:, treated], outcome.effect * 0.3)
    assert not moved[:, ~treated].any()
    assert not (delivery.stated.mean - delivery.null.mean)[:, :, 0].any()
    truth = outcome.effect_of(world, "y", np.array([3]), np.full((1, 1, 1), 0.5), 0.6)
    assert truth.mean() == pytest.approx(outcome.effect * 0.3, rel=0.03)


def test_shares_are_dirichlet() -> None:
    """Squared shares sum to (a + 1) / (n a + 1) on average, for shapes from near nothing to large."""
    for shape in (1e-3, 0.05, 0.4, 6.0):
        found = squared_shares(np.full(20_000, 8.0), shape, default_rng(1))
        error = 4 * found.std() / np.sqrt(found.size)
        assert found.mean() == pytest.approx((shape + 1) / (8 * shape + 1), abs=error)
    assert squared_shares(np.array([0.0, 1.0]), 0.4, default_rng(1)).tolist() == [0, 1]


def test_shares_of_unequal_cells_stand_in_the_last_places() -> None:
    """Each cell's shares sum to 1, over as many places as it has units."""
    shares = shares_of_units(np.array([1, 3, 2]), np.full(3, 0.7), default_rng(1))
    assert ((shares > 0) == [[False, False, True], [True, True, True], [False, True, True]]).all()
    assert shares.sum(axis=1) == pytest.approx(1)


def test_those_who_take_part_have_the_share_of_their_weights() -> None:
    """Nobody has nothing, everybody all, and some a beta share."""
    takers, n = np.array([0.0, 4.0, 0.0, 3.0]), np.array([4.0, 4.0, 0.0, 4.0])
    assert share_of_takers(takers, n, np.inf, default_rng(1)) == pytest.approx([0, 1, 0, 0.75])
    shares = np.array([share_of_takers(takers, n, 0.5, rng) for rng in default_rng(1).spawn(4_000)])
    assert (shares[:, :3] == [0, 1, 0]).all()
    assert stats.kstest(shares[:, 3], stats.beta(1.5, 0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"effect": -1.5}, "would leave nothing of a mean of 1.5"),
        ({"effect": 0.0, "log_sd": 0.9}, "whose means alone have one of 1.68; above that it can"),
        ({"effect": 31.0}, "more than 20 times a mean of 1.5"),
        ({"effect": 0.0, "sd": 50.0}, "more than 20 times a mean of 1.5"),
        ({"effect": 0.0, "log_sd": 0.0, "slope_sd": 0.1}, "slope_sd has no effect while log_sd is 0"),
    ],
)
def test_impossible_durations_are_refused(settings: dict[str, float], said: str) -> None:
    """One reason, in words."""
    for model in (RecordedDuration, SurveyedDuration):
        with pytest.raises(ValidationError, match=said):
            model.model_validate({"mean": 1.5, "sd": 1.2, **settings})
