"""Selection on each reason: how far adopters stand out, in closed form, and the bias that follows."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from design_sim.streams import Streams
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import RecordedContinuous
from design_sim.world.selection import badness
from design_sim.world.settings import Memory, WorldSettings

AUTHORITIES, ADOPTERS, REPLICATES = 40, 8, 2_000
MEMORY = Memory(permanent_share=0.28, autocorrelation=0.62)


def top_mean(n: int, k: int) -> float:
    """Expected mean of the k largest of n standard normals, by the densities of order statistics."""

    def of_rank(rank: int) -> float:
        order = stats.beta(n - rank + 1, rank)
        value, _ = integrate.quad(lambda x: x * order.pdf(stats.norm.cdf(x)) * stats.norm.pdf(x), -9, 9)
        return float(value)

    return float(np.mean([of_rank(rank) for rank in range(1, k + 1)]))


def world_of(adoption: dict[str, object], quality_correlation: float = 0.0) -> World:
    """Forty authorities, eight of which adopt, with an outcome that is recorded without noise."""
    outcome = RecordedContinuous(
        effect=0.0,
        authority_sd=1.0,
        family_sd=1e-9,
        memory=MEMORY,
        quality_correlation=quality_correlation,
        deprivation_correlation=0.3,
        better="lower",
    )
    stated = {"authorities": AUTHORITIES, "adoption": {"authorities": ADOPTERS, **adoption}}
    settings = WorldSettings.model_validate(stated)
    return draw_world(settings, {"y": outcome}, REPLICATES, Streams(8, 0))


def gap(world: World, values: np.ndarray) -> tuple[float, float]:
    """Mean of adopters less that of the others, and its standard error."""
    adopts = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(adopts, world.adopters, True, axis=1)
    each = values[adopts].reshape(REPLICATES, -1).mean(axis=1) - values[~adopts].reshape(REPLICATES, -1).mean(
        axis=1
    )
    return float(each.mean()), float(each.std() / np.sqrt(REPLICATES))


SPREAD = top_mean(AUTHORITIES, ADOPTERS) * AUTHORITIES / (AUTHORITIES - ADOPTERS)
"""The gap in propensity between adopters and others, in its standard deviations."""


@pytest.mark.parametrize("weight", [0.5, -0.5, 2.0])
def test_selection_on_quality_biases_a_comparison_by_its_closed_form(weight: float) -> None:
    """Gap in quality w / sqrt(1 + w^2) x spread; an outcome that correlates by c is off by c times that."""
    world = world_of({"quality_weight": weight}, quality_correlation=-0.4)
    expected = weight / np.sqrt(1 + weight**2) * SPREAD
    found, error = gap(world, world.quality_in(1))
    assert found == pytest.approx(expected, abs=4 * error)
    found, error = gap(world, world.expected("y")[:, :, 1])
    assert found == pytest.approx(-0.4 * expected, abs=4 * error)


def test_selection_on_deprivation_biases_by_the_outcomes_correlation_with_it() -> None:
    """Deprivation never changes: the gap is the same in every year."""
    world = world_of({"deprivation_weight": 1.0})
    for occasion in range(4):
        found, error = gap(world, world.expected("y")[:, :, occasion])
        assert found == pytest.approx(0.3 * SPREAD / np.sqrt(2), abs=4 * error)


def test_selection_on_a_bad_year_fades_as_the_memory_does() -> None:
    """Regression to the mean: k years on, corr(k) of the gap is left, so that adopters recover unaided."""
    world = world_of({"bad_year_weight": 1.0, "bad_year_outcome": "y"})
    now = SPREAD / np.sqrt(2)
    own = 1 - 0.3**2
    for years in (0, 1, 2):
        correlation = 0.3**2 + own * (0.28 + 0.72 * 0.62**years)
        found, error = gap(world, world.expected("y")[:, :, 1 + years])
        assert found == pytest.approx(now * correlation, abs=4 * error)


def test_selection_on_worsening_picks_a_change_that_reverses() -> None:
    """Of the change, whose SD is sqrt(2 (1 - corr(1))), a share is transitory and undone afterwards."""
    weight = 1.0
    world = world_of({"worsening_weight": weight, "bad_year_outcome": "y"})

    def correlation(years: int) -> float:
        return 0.3**2 + (1 - 0.3**2) * (0.28 + 0.72 * 0.62**years)

    variance = 2 * (1 - correlation(1))
    spread = SPREAD / np.sqrt(1 + weight**2 * variance)
    change = badness(world, "y", 1) - badness(world, "y", 0)
    found, error = gap(world, change)
    assert found == pytest.approx(weight * variance * spread, abs=4 * error)
    for occasion in range(4):
        covariance = correlation(abs(occasion - 1)) - correlation(occasion)
        found, error = gap(world, world.expected("y")[:, :, occasion])
        assert found == pytest.approx(weight * covariance * spread, abs=4 * error)


def test_selection_on_a_rating_takes_the_share_that_algebra_says() -> None:
    """The two-point reason shifts the normal threshold: adopters among those that require improvement.

    With many authorities the propensity's threshold c solves s P(e > c - w a) + (1 - s) P(e > c - w b) = k / n,
    where a and b are the standardised values of the reason.
    """
    weight, share = 1.0, 0.22
    stated = {
        "authorities": 1_000,
        "adoption": {"authorities": 200, "requires_improvement_weight": weight},
    }
    world = draw_world(WorldSettings.model_validate(stated), {}, 40, Streams(8, 0))
    high, low = (((1 - share), -share) / np.sqrt(share * (1 - share))).tolist()

    def adopting(threshold: float) -> float:
        tail = stats.norm.sf
        return share * tail(threshold - weight * high) + (1 - share) * tail(threshold - weight * low)

    threshold = optimize.brentq(lambda c: adopting(c) - 0.2, -5, 5)
    expected = share * stats.norm.sf(threshold - weight * high) / 0.2
    rated = np.take_along_axis(world.events.rating, world.adopters, axis=1) == 1
    assert rated.mean() == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(rated.size))


def test_without_weights_adopters_are_a_chance_choice() -> None:
    """Every reason off: no gap in anything."""
    world = world_of({})
    for values in (world.quality_in(1), world.deprivation, world.expected("y")[:, :, 1]):
        found, error = gap(world, values)
        assert found == pytest.approx(0.0, abs=4 * error)
