"""A surveyed yes or no: its ICC is on the probability scale, and practice moves it as stated."""

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import two_arms
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, Sample, deliver
from design_sim.world.draw import draw_world
from design_sim.world.outcomes import SurveyedBinary
from design_sim.world.settings import WorldSettings

OUTCOME = SurveyedBinary(mean=0.4, effect=0.15, icc=0.05)
SAMPLE = Sample(teams=2, workers=3, families=4)


def delivered(resolution: str, n: int = 3_000, **world: object) -> Delivery:
    """Ten authorities, five treated, in the second year before the start and the second after it."""
    settings = WorldSettings.model_validate({"authorities": 10, **world})
    drawn = draw_world(settings, {"y": OUTCOME}, n, Streams(4, 0))
    allocation = two_arms(np.tile(np.arange(10), (n, 1)), 5, 2, randomised=True)
    occasions = np.array([0, 3])
    return deliver(Fieldwork(drawn, allocation, "y", occasions, SAMPLE, resolution, True))  # type: ignore[arg-type]


@pytest.mark.parametrize("resolution", ["cell", "unit"])
def test_the_icc_is_the_correlation_of_two_families_of_an_authority(resolution: str) -> None:
    """The variance of an authority's mean is p (1 - p) (ICC + (1 - ICC) / n), at either resolution."""
    delivery = delivered(resolution)
    means = delivery.null.pool(delivery.roster, "authority").mean[:, :, 0]
    assert means.mean() == pytest.approx(0.4, abs=4 * means.std() / np.sqrt(means.size))
    expected = 0.24 * (0.05 + 0.95 / 24)
    assert means.var() == pytest.approx(expected, rel=4 * np.sqrt(2 / means.size) + 0.01)


@pytest.mark.parametrize("resolution", ["cell", "unit"])
def test_perfect_practice_moves_the_risk_by_the_stated_difference(resolution: str) -> None:
    """At fidelity 1 with all families, and by its share with some of them; not before the start."""
    perfect = {"mean": 1.0, "authority_sd": 0.0, "worker_sd": 0.0, "years_to_80_percent": 0.0}
    for uptake in (1.0, 0.5):
        delivery = delivered(resolution, fidelity=perfect, uptake=uptake)
        means = [of.pool(delivery.roster, "authority").mean for of in (delivery.stated, delivery.null)]
        moved = means[0] - means[1]
        error = moved[:, :5, 1].std() / np.sqrt(moved[:, :5, 1].size)
        assert moved[:, :5, 1].mean() == pytest.approx(0.15 * uptake, abs=4 * error)
        assert np.abs(moved[:, :, 0]).max() == np.abs(moved[:, 5:]).max() == 0


def test_impossible_risks_are_refused() -> None:
    """An effect beyond 0 to 1 has no meaning."""
    with pytest.raises(ValidationError, match="would leave 0 to 1"):
        SurveyedBinary(mean=0.9, effect=0.2)
