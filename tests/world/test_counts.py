"""Counts on records and in surveys: rates, spread, overdispersion, and how practice moves events."""

from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from pydantic import ValidationError
from scipy import stats

from design_sim.allocation import two_arms
from design_sim.arrays import Floats
from design_sim.streams import Streams
from design_sim.world.counts import draw_events, move_events
from design_sim.world.delivery import Delivery, Fieldwork, Sample, deliver
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import RecordedCount, SurveyedCount
from design_sim.world.settings import Shock, WorldSettings

SMALL = {"log_mean": 8.0, "log_sd": 0.3, "smallest": 1_000.0, "largest": 9_000.0}
PERFECT = {"mean": 1.0, "authority_sd": 0.0, "worker_sd": 0.0, "years_to_80_percent": 0.0}
ENTRIES = RecordedCount(mean=27.0, effect=-8.0, log_sd=0.36)
VISITS = SurveyedCount(mean=3.0, effect=-1.2, log_sd=0.0, overdispersion=1.8)
SAMPLE = Sample(teams=2, workers=3, families=5)


def world_of(outcome: RecordedCount | SurveyedCount, n: int = 400, **tables: Any) -> World:
    """Blocks of ten small authorities."""
    stated = {"authorities": 10, "size": SMALL, "workers": {"per_10000_children": 100.0}, **tables}
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


def test_rates_are_lognormal_with_the_stated_mean_and_spread() -> None:
    """log_sd is the SD of the log rate, and the mean is that of the rates, not of their logs."""
    rate = world_of(ENTRIES, 4_000).expected("y")
    assert is_mean(rate, 27.0)
    log_sd = np.log(rate[:, :, 0]).std()
    assert log_sd == pytest.approx(0.36, rel=4 / np.sqrt(2 * 40_000))
    assert rate[:, :, 0].std() == pytest.approx(ENTRIES.authority_sd, rel=0.03)


def test_slopes_shocks_and_months_leave_the_mean_rate_as_stated() -> None:
    """What spreads authorities further does not raise the mean of their rates."""
    outcome = RecordedCount(
        mean=50.0, effect=0.0, trend=2.0, slope_sd=0.3, shock=Shock(year=1, change=-10.0, authority_sd=0.8)
    )
    for per_year in (1, 4):
        rate = world_of(outcome, 4_000, time={"per_year": per_year}).expected("y")
        years = rate.reshape(*rate.shape[:2], 4, per_year)
        for year, mean in enumerate([46.0, 48.0, 50.0, 42.0]):
            assert is_mean(years[:, :, year].mean(axis=2), mean)


@pytest.mark.parametrize("overdispersion", [1.0, 2.5])
def test_events_on_record_vary_as_stated_around_the_rate(overdispersion: float) -> None:
    """Given the rate the variance of the events is overdispersion x mean; n is all children."""
    outcome = RecordedCount(mean=400.0, effect=0.0, log_sd=0.0, overdispersion=overdispersion)
    world = world_of(outcome, 4_000)
    record = world.record("y")
    assert record.n[0, :, 0] == pytest.approx(world.children, abs=0.5)
    events = record.mean * record.n / 10_000
    assert np.abs(events - np.rint(events)).max() < 1e-9
    expected = record.n * 0.04
    z = (events - expected) / np.sqrt(overdispersion * expected)
    assert is_mean(z, 0.0)
    assert is_mean(z**2, 1.0)


def test_monthly_figures_add_up_to_the_years() -> None:
    """A month holds a twelfth of the child-years, so pooled months have the annual rate and its variance."""
    outcome = RecordedCount(mean=600.0, effect=0.0, log_sd=0.0)
    world = world_of(outcome, 2_000, time={"per_year": 12})
    record = world.record("y")
    year = record.over(np.arange(48) < 12)
    assert year.n[0, :, 0] == pytest.approx(world.children, abs=6)
    expected = year.n * 0.06
    z = (year.mean * year.n / 10_000 - expected) / np.sqrt(expected)
    assert is_mean(z, 0.0)
    assert is_mean(z**2, 1.0)


@pytest.mark.parametrize("overdispersion", [1.0, 3.0])
@pytest.mark.parametrize("factor", [0.6, 1.7, 0.0])
def test_moved_events_are_those_of_the_changed_rate_drawn_afresh(
    overdispersion: float, factor: float
) -> None:
    """Thinning or adding is exact: the moved count has the law of a new one of the changed mean."""
    expected = np.full(40_000, 12.0)
    events = draw_events(expected, overdispersion, default_rng(1))
    moved = move_events(events, expected, np.full(40_000, factor), overdispersion, Streams(2, 0), "y")
    afresh = draw_events(factor * expected, overdispersion, default_rng(3))
    assert stats.ks_2samp(moved, afresh).pvalue > 1e-3
    assert moved.var() == pytest.approx(
        overdispersion * 12 * factor, rel=4 * np.sqrt((2 + 3 * overdispersion / 12) / 40_000) + 1e-12
    )
    assert (moved <= events).all() if factor < 1 else (moved >= events).all()


@pytest.mark.parametrize("overdispersion", [1.0, 3.0])
def test_the_same_chance_meets_every_size_of_effect(overdispersion: float) -> None:
    """A larger effect leaves fewer events in every single cell."""
    expected = np.full(5_000, 20.0)
    events = draw_events(expected, overdispersion, default_rng(1))
    last = events
    for factor in (0.95, 0.8, 0.5):
        moved = move_events(events, expected, np.full(5_000, factor), overdispersion, Streams(2, 0), "y")
        assert (moved <= last).all()
        last = moved


@pytest.mark.parametrize("effect", [-8.0, 5.0])
@pytest.mark.parametrize("uptake", [1.0, 0.5])
def test_practice_moves_rates_by_effect_times_uptake_and_dose(effect: float, uptake: float) -> None:
    """At fidelity .5 with half of all taking part, a quarter of the effect, a share of each one's own rate."""
    outcome = RecordedCount(mean=400.0, effect=effect * 10, log_sd=0.36, overdispersion=1.5)
    half = {**PERFECT, "mean": 0.5}
    delivery = delivered(world_of(outcome, 1_000, fidelity=half, uptake=uptake))
    moved = delivery.stated.mean - delivery.null.mean
    assert is_mean(moved[:, :5, 1], effect * 10 * uptake * 0.5)
    assert not moved[:, :, 0].any()
    assert not moved[:, 5:].any()
    assert delivery.stated.ss is not None
    assert delivery.null.ss is not None
    assert np.array_equal(delivery.stated.ss[:, 5:], delivery.null.ss[:, 5:])
    ratio = moved[:, :5, 1].mean() / delivery.null.mean[:, :5, 1].mean()
    assert ratio == pytest.approx(effect / 40 * uptake * 0.5, rel=0.05)


def test_the_true_effect_is_linear_in_the_dose() -> None:
    """So that the effect at the mean dose of an authority's workers is their mean effect."""
    world = world_of(ENTRIES, 50)
    doses = default_rng(1).random((50, 10, 1))
    of_mean, of_each = (
        ENTRIES.effect_of(world, "y", np.array([3]), dose, 0.7)
        for dose in (doses.mean(axis=1, keepdims=True), doses)
    )
    rate = world.expected("y")[:, :, 3:4]
    assert of_each == pytest.approx(rate * 0.7 * doses * -8 / 27)
    assert of_mean == pytest.approx(rate * 0.7 * doses.mean(axis=1, keepdims=True) * -8 / 27)


def test_practice_cannot_lead_below_no_events() -> None:
    """An authority whose own effect is far above the mean one has no events left, and no more to lose."""
    outcome = RecordedCount(mean=400.0, effect=-300.0)
    world = world_of(outcome, 200, effect_sd=2.0, fidelity=PERFECT, uptake=1.0)
    delivery = delivered(world)
    assert (delivery.stated.mean >= 0).all()
    assert (delivery.stated.mean[:, :5, 1] == 0).any()
    effect = outcome.effect_of(world, "y", np.array([3]), world.effect_multiple[:, :, np.newaxis], 1.0)
    assert (effect >= -world.expected("y")[:, :, 3:4] - 1e-9).all()


def families_one_by_one(n: int, families: int, uptake: float) -> tuple[Floats, Floats]:
    """Mean and sum of squares of families each drawn afresh with its own mean, the slow and obvious way."""
    rng, rate, over = default_rng(8), VISITS.mean, VISITS.overdispersion
    takes_part = rng.random((n, families)) < uptake
    own = rate * np.where(takes_part, 1 + VISITS.effect / VISITS.mean, 1.0)
    counts = rng.negative_binomial(own / (over - 1), 1 / over).astype(np.float64)
    mean = counts.mean(axis=1)
    return mean, ((counts - mean[:, np.newaxis]) ** 2).sum(axis=1)


@pytest.mark.parametrize("resolution", ["cell", "unit"])
def test_a_survey_finds_what_families_drawn_afresh_would_say(resolution: str) -> None:
    """Means and sums of squares of cells are those of families of whom each takes part or does not."""
    world = world_of(VISITS, 2_000, fidelity=PERFECT, uptake=0.6)
    delivery = delivered(world, resolution)
    cells = delivery.stated.pool(delivery.roster, "worker")
    assert cells.ss is not None
    for rows, uptake in ((0, 0.6), (40, 0.0)):
        mean, ss = families_one_by_one(2_000, SAMPLE.families, uptake)
        assert stats.ks_2samp(cells.mean[:, rows, 1], mean).pvalue > 1e-3
        assert stats.ks_2samp(cells.ss[:, rows, 1], ss).pvalue > 1e-3
        together = np.corrcoef(cells.mean[:, rows, 1], cells.ss[:, rows, 1])[0, 1]
        assert together == pytest.approx(np.corrcoef(mean, ss)[0, 1], abs=4 * np.sqrt(2 / 2_000))


def test_families_of_an_authority_vary_by_overdispersion_and_uptake() -> None:
    """Variance of one family's count: overdispersion x mean, and u (1 - u) x the squared difference."""
    world = world_of(VISITS, 1_000, fidelity=PERFECT, uptake=0.5)
    delivery = delivered(world, "unit")
    single = delivery.stated.mean[:, :150, 1]
    assert is_mean(single, 3.0 - 0.6)
    expected = 1.8 * 2.4 + 0.25 * 1.2**2
    assert is_mean((single - 2.4) ** 2, expected)


def test_sd_is_that_of_all_families_of_all_authorities() -> None:
    """What effects are read against."""
    outcome = SurveyedCount(mean=3.0, effect=0.0, log_sd=0.3, overdispersion=1.8)
    single = delivered(world_of(outcome, 2_000), "unit").null.mean[:, :, 0]
    assert single.std() == pytest.approx(outcome.sd, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mean": 27.0, "effect": -27.0}, "would leave nothing of a mean of 27"),
        ({"mean": 0.0, "effect": 0.0}, "greater than or equal to 0.000001"),
        ({"mean": 27.0, "effect": 0.0, "overdispersion": 0.9}, "greater than or equal to 1"),
        ({"mean": 2e6, "effect": 0.0}, "200 events of each; at most 10 are allowed"),
        ({"mean": 27.0, "effect": 0.0, "log_sd": 0.0, "quality_correlation": 0.1}, "while log_sd is 0"),
    ],
)
def test_impossible_counts_are_refused(settings: dict[str, float], said: str) -> None:
    """One reason, in words."""
    with pytest.raises(ValidationError, match=said):
        RecordedCount.model_validate(settings)


def test_a_trend_that_ends_all_events_is_told() -> None:
    """The fault names the key and the year."""
    world = WorldSettings.model_validate({"time": {"years_after": 4}})
    (fault,) = RecordedCount(mean=27.0, effect=0.0, trend=-10.0).faults(world)
    assert fault.startswith("trend: in year 3 from the start, the mean would be -3")
    shock = RecordedCount(mean=27.0, effect=0.0, shock=Shock(year=0, change=-30.0))
    assert shock.faults(world)[0].startswith("shock.change: in year 0")
