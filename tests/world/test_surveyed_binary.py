"""A surveyed yes or no: its ICC is on the probability scale, and practice moves it as stated."""

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import two_arms
from design_sim.estimands import Estimand, authority_effects
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, Sample, deliver
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import SurveyedBinary
from design_sim.world.risks import risk_scale
from design_sim.world.settings import WorldSettings
from design_sim.world.surveyed import ICC

OUTCOME = SurveyedBinary(mean=0.4, effect=0.15, icc=ICC(authority=0.05))
SAMPLE = Sample(teams=2, workers=3, families=4)


NESTED = SurveyedBinary(mean=0.4, effect=0.15, icc=ICC(authority=0.06, team=0.04, worker=0.1))


def world_of(outcome: SurveyedBinary = OUTCOME, n: int = 3_000, **world: object) -> World:
    """A world of ten authorities."""
    settings = WorldSettings.model_validate({"authorities": 10, **world})
    return draw_world(settings, {"y": outcome}, n, Streams(4, 0))


def delivered(
    resolution: str, n: int = 3_000, outcome: SurveyedBinary = OUTCOME, **world: object
) -> Delivery:
    """Ten authorities, five treated, in the second year before the start and the second after it."""
    drawn = world_of(outcome, n, **world)
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


@pytest.mark.parametrize("resolution", ["cell", "unit"])
@pytest.mark.parametrize("mean", [0.4, 0.07])
def test_shares_are_correlations_of_families_at_each_level(resolution: str, mean: float) -> None:
    """Covariances of families of an authority, a team and a worker, over p (1 - p), and the mean itself."""
    outcome = NESTED.model_copy(update={"mean": mean})
    delivery = delivered(resolution, 4_000, outcome)
    p, shape = mean, (40_000, 2, 3, -1)
    n = np.broadcast_to(delivery.null.n, delivery.null.mean.shape)[:, :, 0].reshape(shape)
    rate = delivery.null.mean[:, :, 0].reshape(shape)
    events, families = (rate * n).sum(axis=3), n.sum(axis=3)
    about = events - p * families
    assert about.sum() / families.sum() == pytest.approx(0, abs=4 * about.mean(axis=(1, 2)).std() / 200 / 4)
    own = about**2 - (events * (1 - p) ** 2 + (families - events) * p**2)
    pairs = {
        0.20: own / 12,
        0.10: about[:, :, 0] * about[:, :, 1] / 16,
        0.06: about[:, 0] * about[:, 1] / 16,
    }
    for share, products in pairs.items():
        by_authority = products.reshape(40_000, -1).mean(axis=1) / (p * (1 - p))
        assert by_authority.mean() == pytest.approx(share, abs=4 * by_authority.std() / 200)


def test_a_trend_keeps_the_shares_nearly() -> None:
    """The logit scale is divided at the start; at a mean 20 points on, levels are off by less than 1.5 %."""
    scale, exact = (np.array(risk_scale(0.5, start, (0.1, 0.08, 0.12))) for start in (0.3, 0.5))
    assert scale == pytest.approx(exact, rel=0.015, abs=1e-12)
    outcome = NESTED.model_copy(update={"trend": 0.05})
    world = world_of(outcome, 2_000)
    true = world.expected("y")
    means = 0.4 + 0.05 * world.settings.time.years
    error = true.std(axis=(0, 1)) / np.sqrt(20_000)
    assert (np.abs(true.mean(axis=(0, 1)) - means) < 4 * error).all()
    assert true.std(axis=(0, 1)) == pytest.approx(outcome.authority_sd, rel=4 / np.sqrt(40_000) + 0.01)


@pytest.mark.parametrize("scale", ["logit", "probability"])
def test_the_truth_of_an_authority_is_what_its_families_gain(scale: str) -> None:
    """Over workers of all risks, by where the authority stands: the truth agrees with the families."""
    outcome = NESTED.model_copy(update={"effect": -0.1 if scale == "logit" else 0.02, "effect_scale": scale})
    perfect = {"mean": 0.8, "authority_sd": 0.0, "worker_sd": 0.0, "years_to_80_percent": 0.0}
    world = world_of(outcome, 6_000, fidelity=perfect, uptake=0.7)
    delivery = delivered("cell", 6_000, outcome, fidelity=perfect, uptake=0.7)
    means = [of.pool(delivery.roster, "authority").mean for of in (delivery.stated, delivery.null)]
    moved = (means[0] - means[1])[:, :5, 1]
    truth = authority_effects(Estimand(rung="offered"), world, "y", (12, 24))[:, :5]
    truth = np.broadcast_to(truth, moved.shape)
    assert truth.mean() == pytest.approx(0.8 * 0.7 * outcome.effect, rel=0.02)
    order = np.argsort(world.expected("y")[:, :5, 3], axis=None)
    for group in np.array_split(order, 4):
        error = (moved - truth).ravel()[group]
        assert error.mean() == pytest.approx(0, abs=4 * error.std() / np.sqrt(error.size))


def test_competence_raises_risks_and_fidelity_of_the_same_workers() -> None:
    """The link that confounds a contrast: with it exposure goes along with the risk, without it not."""
    found = []
    for link in (0.9, 0.0):
        outcome = NESTED.model_copy(update={"competence_correlation": link})
        delivery = delivered("cell", 2_000, outcome, fidelity={"competence_correlation": 0.9})
        treated = delivery.roster.authority < 5
        pair = delivery.null.mean[:, treated, 1].ravel(), delivery.exposure[:, treated, 1].ravel()
        found.append(np.corrcoef(*pair)[0, 1])
    assert found[0] > 0.1
    assert abs(found[1]) < 4 / np.sqrt(60_000) + 0.01


def test_shares_of_authorities_alone_draw_nothing_more(listening: Streams) -> None:
    """Without shares of teams and workers no part of theirs is drawn, and nothing for siblings."""
    world = draw_world(WorldSettings(authorities=10), {"y": OUTCOME}, 8, listening)
    allocation = two_arms(np.tile(np.arange(10), (8, 1)), 5, 2, randomised=True)
    deliver(Fieldwork(world, allocation, "y", np.array([3]), SAMPLE))
    asked = listening.asked  # type: ignore[attr-defined]
    assert asked == {"record", "readiness", "quality", "worker_fidelity", "families", "delivery"}


def test_impossible_risks_are_refused() -> None:
    """An effect beyond 0 to 1 has no meaning."""
    with pytest.raises(ValidationError, match="would leave 0 to 1"):
        SurveyedBinary(mean=0.9, effect=0.2)
    with pytest.raises(ValidationError, match="competence_correlation has no effect"):
        SurveyedBinary(mean=0.5, effect=0.2, competence_correlation=0.3)
