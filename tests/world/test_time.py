"""National trend and shocks, and authorities' own slopes: signs and sizes."""

import numpy as np
import pytest

from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import RecordedBinary, RecordedContinuous
from design_sim.world.settings import Memory, Shock, WorldSettings

TIME = {"years_before": 2, "years_after": 2}


def world_of(outcome: RecordedBinary | RecordedContinuous, n: int = 400) -> World:
    """Blocks of a hundred authorities over four years."""
    settings = WorldSettings.model_validate({"authorities": 100, "time": TIME})
    return draw_world(settings, {"y": outcome}, n, Streams(9, 0))


def continuous(**settings: object) -> RecordedContinuous:
    """An outcome of mean 10 and SD 2 between authorities."""
    stated = {"mean": 10.0, "effect": 0.0, "authority_sd": 2.0, "family_sd": 5.0, **settings}
    return RecordedContinuous.model_validate(stated)


def test_trend_and_shock_move_the_national_mean() -> None:
    """A shock of 3 in the last year before the start, on a trend of half a point a year."""
    outcome = continuous(trend=0.5, shock=Shock(year=-1, change=3.0))
    means = world_of(outcome).expected("y").mean(axis=(0, 1))
    assert means == pytest.approx([9.0, 12.5, 10.0, 10.5], abs=4 * 2 / np.sqrt(40_000))
    binary = RecordedBinary(mean=0.2, effect=0.0, trend=0.01, shock=Shock(year=1, change=0.1))
    risks = world_of(binary).expected("y").mean(axis=(0, 1))
    assert risks == pytest.approx([0.18, 0.19, 0.20, 0.31], abs=4 * 0.06 / np.sqrt(40_000))


def test_slopes_spread_authorities_from_the_start_on() -> None:
    """The variance in year t is SD^2 (1 + slope_sd^2 t^2), and differences between years contain the slope."""
    plain, sloped = (world_of(continuous(slope_sd=slope)).expected("y") for slope in (0.0, 0.5))
    added = (sloped - plain) / 2.0
    assert np.abs(added[:, :, 2]).max() < 1e-12
    assert added[:, :, 3].std() == pytest.approx(0.5, rel=4 / np.sqrt(2 * 40_000))
    assert added[:, :, 0] == pytest.approx(-2 * added[:, :, 3])


def test_a_shock_hits_authorities_differently_in_its_year_only() -> None:
    """Its own spread is there in that year and gone in the next."""
    memory = Memory(permanent_share=1.0)
    outcome = continuous(shock=Shock(year=0, authority_sd=0.8), memory=memory)
    expected = world_of(outcome).expected("y")
    hit = (expected[:, :, 2] - expected[:, :, 1]) / 2.0
    assert hit.std() == pytest.approx(0.8, rel=4 / np.sqrt(2 * 40_000))
    assert np.array_equal(expected[:, :, 3], expected[:, :, 1])


def test_without_them_no_bit_moves() -> None:
    """Slopes of 0 and a shock of nothing draw nothing."""
    plain = world_of(continuous()).record("y").mean
    nothing = world_of(continuous(slope_sd=0.0, shock=Shock(year=0))).record("y").mean
    assert np.array_equal(plain, nothing)


def test_an_outcome_may_have_a_memory_of_its_own() -> None:
    """Its correlations follow its own permanent share and coefficient, not those of quality."""
    outcome = continuous(memory=Memory(permanent_share=0.1, autocorrelation=0.3))
    deviation = world_of(outcome).deviations("y").deviation
    correlation = (deviation[:, :, 0] * deviation[:, :, 2]).mean()
    assert correlation == pytest.approx(0.1 + 0.9 * 0.09, abs=4 / np.sqrt(40_000))


def test_a_shock_out_of_the_risks_range_is_told(tmp_path: object) -> None:
    """The fault names the key and the year."""
    text = """
[world.time]
years_before = 1
[outcomes.y]
kind = "binary"
source = "record"
mean = 0.2
effect = 0.0
shock = {year = 0, change = 0.9}
[designs.d]
kind = "cluster_rct"
outcome = "y"
authorities = 4
[designs.d.answers.a]
estimator = "cluster_means"
estimand = "offered"
"""
    with pytest.raises(Exception, match=r"outcomes.y.shock.change: in year 0"):
        parse(text, "shock")
