"""Occasions of half a year, a quarter or a month: their annual means are those of a yearly world."""

import numpy as np
import pytest

from design_sim.streams import Streams
from design_sim.world.draw import World, draw_world
from design_sim.world.memory import correlation_of_occasions, occasion_variance
from design_sim.world.outcomes import RecordedBinary, RecordedContinuous
from design_sim.world.settings import Memory, WorldSettings

MEMORY = Memory(permanent_share=0.28, autocorrelation=0.62)
PER_YEAR = pytest.mark.parametrize("per_year", [1, 2, 4, 12])


def annual(covariance: np.ndarray, per_year: int) -> np.ndarray:
    """Covariances of the means over years."""
    years = covariance.shape[0] // per_year
    return covariance.reshape(years, per_year, years, per_year).mean(axis=(1, 3))


@PER_YEAR
@pytest.mark.parametrize("phi", [0.0, 0.21, 0.62, 0.98, 0.999])
@pytest.mark.parametrize("permanent", [0.0, 0.28])
def test_annual_means_have_exactly_the_stated_correlations(
    per_year: int, phi: float, permanent: float
) -> None:
    """corr(k) = rho0 + (1 - rho0) phi^k is stated of annual means, whatever the number of occasions."""
    memory = Memory(permanent_share=permanent, autocorrelation=phi)
    lag = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    stated = permanent + (1 - permanent) * np.float64(phi) ** lag
    found = annual(correlation_of_occasions(memory, 5 * per_year, per_year), per_year)
    assert found == pytest.approx(stated, abs=1e-9)
    assert np.linalg.eigvalsh(correlation_of_occasions(memory, 5 * per_year, per_year)).min() > -1e-9


def test_a_yearly_world_has_no_part_of_single_occasions() -> None:
    """With one occasion in a year there is nothing to make up for: variance 1, the lag correlation phi."""
    assert occasion_variance(MEMORY, 1) == pytest.approx(1.0, abs=1e-12)
    assert occasion_variance(MEMORY, 12) > 1.5


def world_of(outcome: RecordedBinary | RecordedContinuous, per_year: int, **world: object) -> World:
    """A hundred authorities, two years before the start and two after."""
    stated = {"authorities": 100, "time": {"per_year": per_year}, **world}
    return draw_world(WorldSettings.model_validate(stated), {"y": outcome}, 200, Streams(3, 0))


@PER_YEAR
def test_drawn_annual_means_keep_spread_trend_and_memory(per_year: int) -> None:
    """The SD of a year's mean is the stated one, and two neighbouring years correlate as stated."""
    outcome = RecordedContinuous(
        mean=10.0,
        effect=0.0,
        authority_sd=2.0,
        family_sd=1.0,
        trend=0.5,
        quality_correlation=0.4,
        memory=MEMORY,
    )
    expected = world_of(outcome, per_year).expected("y")
    years = expected.reshape(200, 100, 4, per_year).mean(axis=3)
    error = 2 / np.sqrt(20_000)
    assert years.mean(axis=(0, 1)) == pytest.approx([9.0, 9.5, 10.0, 10.5], abs=4 * error)
    assert years.std(axis=(0, 1)) == pytest.approx([2.0] * 4, rel=4 / np.sqrt(2 * 20_000))
    correlation = np.corrcoef(years[:, :, 1].ravel(), years[:, :, 2].ravel())[0, 1]
    assert correlation == pytest.approx(0.28 + 0.72 * 0.62, abs=4 * 0.6 / np.sqrt(20_000))


@PER_YEAR
def test_records_of_a_year_have_the_stated_rate_and_number(per_year: int) -> None:
    """Referrals are divided among the occasions, and the annual rate keeps its mean and its spread."""
    outcome = RecordedBinary(mean=0.209, effect=0.0, authority_sd=0.056, memory=MEMORY)
    world = world_of(outcome, per_year)
    yearly = world_of(outcome, 1)
    n = world.record("y").n[0].sum(axis=1)
    assert n == pytest.approx(yearly.record("y").n[0].sum(axis=1), rel=0.02)
    years = world.expected("y").reshape(200, 100, 4, per_year).mean(axis=3)
    assert years.mean() == pytest.approx(0.209, abs=4 * 0.056 / np.sqrt(20_000))
    assert years.std(axis=(0, 1)).mean() == pytest.approx(0.056, rel=0.03)


@PER_YEAR
def test_ratings_departures_and_adoption_go_by_years(per_year: int) -> None:
    """Inspectors and adopters look at years: their correlations with a year's quality do not know of months."""
    outcome = RecordedBinary(mean=0.2, effect=-0.03)
    world = world_of(
        outcome,
        per_year,
        inspections={},
        leaving={},
        adoption={"authorities": 10, "bad_year_weight": 1.0, "bad_year_outcome": "y"},
    )
    quality = world.quality_in(1)
    rated = world.events.rating
    assert np.corrcoef(world.quality_in(1).ravel(), rated.ravel())[0, 1] > 0.3
    assert quality.std() == pytest.approx(1.0, rel=0.03)
    assert world.events.departures[0].shape == (200, 100, 4)
    deviation = world.deviations("y").deviation.reshape(200, 100, 4, per_year).mean(axis=3)[:, :, 1]
    chosen = np.take_along_axis(deviation, world.adopters, axis=1).mean()
    expected = 1.755 / np.sqrt(2)  # the mean of the top tenth of normals, shared by reason and noise
    assert chosen == pytest.approx(expected, rel=0.08)
