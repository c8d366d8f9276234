"""The drawn world has the spread, memory and links that were stated, and draws only what is asked for."""

import numpy as np
import pytest

from design_sim.streams import Streams
from design_sim.world.draw import World, children_of, draw_world
from design_sim.world.outcomes import RecordedBinary, RecordedContinuous
from design_sim.world.settings import WorldSettings

REREFERRAL = RecordedBinary(kind="binary", source="record", mean=0.209, effect=-0.03)


def world_of(n: int = 200, seed: int = 1, **tables: object) -> World:
    """A block of worlds with one recorded outcome."""
    settings = WorldSettings.model_validate({"authorities": 100, **tables})
    return draw_world(settings, {"rereferral": REREFERRAL}, n, Streams(seed, 0))


def test_sizes_have_the_stated_lognormal_shape() -> None:
    """England's child populations: median 62,664 and P5 to P95 of 28,331 to 179,091 in 2024."""
    children = children_of(WorldSettings().size, 151)
    assert np.median(children) == pytest.approx(62_664, rel=0.06)
    assert np.percentile(children, [5, 95]) == pytest.approx([28_331, 179_091], rel=0.15)
    assert 8_000 <= children.min() < children.max() <= 355_000


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_quality_has_the_stated_memory(lag: int) -> None:
    """corr(k) = permanent share + (1 - share) phi^k."""
    quality = world_of(400, time={"years_before": 3, "years_after": 1}).quality
    expected = 0.28 + 0.72 * 0.62**lag
    n = quality.shape[0] * quality.shape[1]
    correlation = np.mean(quality[:, :, 0] * quality[:, :, lag])
    assert correlation == pytest.approx(expected, abs=4 * np.sqrt((1 + expected**2) / n))


def test_a_wholly_permanent_quality_is_drawn_once() -> None:
    """With nothing that changes, one occasion stands for all."""
    assert world_of(quality={"permanent_share": 1.0}).quality.shape == (200, 100, 1)


def test_rereferral_reproduces_the_cross_section_and_the_change_of_england() -> None:
    """Spread 5.6 points in a year, and 4.3 of the change between two-year means, as the records show."""
    world = world_of(500, authorities=151)
    rate = world.record("rereferral").mean
    assert rate.mean() == pytest.approx(0.209, abs=4 * 0.056 / np.sqrt(500 * 151))
    assert rate.std(axis=1).mean() == pytest.approx(0.056, abs=0.002)
    change = rate[:, :, 2:].mean(axis=2) - rate[:, :, :2].mean(axis=2)
    assert change.std(axis=1).mean() == pytest.approx(0.043, abs=0.001)


def test_records_scatter_as_binomial_counts() -> None:
    """Given the risks, recorded counts have binomial variance."""
    world = world_of(300)
    record, risk = world.record("rereferral"), world.expected("rereferral")
    n = record.n
    z = (record.mean - risk) * np.sqrt(n / (risk * (1 - risk)))
    assert z.var() == pytest.approx(1, abs=4 * np.sqrt(2 / z.size))


def test_continuous_records_have_the_stated_spread_at_both_levels() -> None:
    """Authority spread and the scatter of families add up, the latter shrinking with their number."""
    outcome = RecordedContinuous(
        kind="continuous", source="record", effect=0.0, authority_sd=2.0, family_sd=50.0
    )
    world = draw_world(WorldSettings(authorities=100), {"days": outcome}, 400, Streams(1, 0))
    record, expected = world.record("days"), world.expected("days")
    noise = (record.mean - expected) * np.sqrt(record.n) / 50
    assert expected.std() == pytest.approx(2.0, rel=0.03)
    assert noise.var() == pytest.approx(1, abs=4 * np.sqrt(2 / noise.size))


@pytest.mark.parametrize("correlation", [0.0, 0.6, -1.0])
def test_readiness_follows_quality_as_stated(correlation: float) -> None:
    """Fidelity is tied to quality by a setting; 0 cuts the tie."""
    world = world_of(fidelity={"quality_correlation": correlation})
    found = np.mean(world.readiness * world.quality[:, :, world.settings.time.start])
    assert found == pytest.approx(correlation, abs=4 * np.sqrt(2 / world.readiness.size))


def test_ratings_have_the_stated_mix_and_follow_quality() -> None:
    """29 % outstanding, 39 % good, 22 % requires improvement, 10 % inadequate, better ones rated better."""
    world = world_of(400)
    shares = np.bincount(world.events.rating.ravel(), minlength=4) / world.events.rating.size
    assert shares == pytest.approx([0.10, 0.22, 0.39, 0.29], abs=4 * 0.5 / np.sqrt(world.events.rating.size))
    quality = world.quality[:, :, 1]
    means = [quality[world.events.rating == rating].mean() for rating in range(4)]
    assert means == sorted(means)


def test_adopters_follow_quality_and_a_bad_year() -> None:
    """Weights of propensity put the better, or those that did badly last year, in front."""
    chance = world_of(adoption={"authorities": 9})
    better = world_of(adoption={"authorities": 9, "quality_weight": 1.0})
    worse = world_of(adoption={"authorities": 9, "bad_year_weight": 1.0, "bad_year_outcome": "rereferral"})

    def excess(world: World, values: np.ndarray) -> float:
        return float(np.take_along_axis(values, world.adopters, axis=1).mean())

    assert abs(excess(chance, chance.quality[:, :, 1])) < 4 / np.sqrt(9 * 200)
    assert excess(better, better.quality[:, :, 1]) > 0.5
    rate = worse.record("rereferral").mean
    assert excess(worse, rate[:, :, 1]) > 0.209 + 0.04
    assert excess(worse, rate[:, :, 3]) < excess(worse, rate[:, :, 1]) - 0.01


def test_a_mechanism_that_is_off_changes_no_other_draw() -> None:
    """Each drawn array has a stream of its own: switching one on leaves the others' numbers."""
    plain = world_of()
    rich = world_of(
        informal={"share": 0.5},
        adoption={"quality_weight": 0.5},
        fidelity={"quality_correlation": 0.9, "mean": 0.5},
    )
    assert np.array_equal(plain.quality, rich.quality)
    assert np.array_equal(plain.deprivation, rich.deprivation)
    assert np.array_equal(plain.record("rereferral").mean, rich.record("rereferral").mean)
    assert np.array_equal(plain.members("competence", 5), rich.members("competence", 5))


def test_no_informal_use_draws_nothing() -> None:
    """Without the table nobody practises informally."""
    assert world_of().informal_fidelity.shape == (1, 1)
    assert world_of().informal_fidelity.item() == 0


def test_more_workers_leave_the_first_ones_as_they_were() -> None:
    """A study that samples more workers must not move the workers of another."""
    few, many = world_of(), world_of()
    assert np.array_equal(few.members("competence", 3), many.members("competence", 30)[:, :, :3])
