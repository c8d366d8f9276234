"""A surveyed score within bounds: stated moments, effects that shrink near them, and a truth that knows it."""

import numpy as np
import pytest
from pydantic import ValidationError

from design_sim.allocation import two_arms
from design_sim.estimands import Estimand, authority_effects
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, Sample, deliver
from design_sim.world.draw import World, draw_world
from design_sim.world.outcomes import SurveyedContinuous
from design_sim.world.settings import Time, WorldSettings

ENGAGEMENT = {"mean": 66.0, "sd": 16.8, "bounds": [0, 95], "effect": 5.0}
SHARES = {"authority": 0.1, "team": 0.05, "worker": 0.1}
PERFECT = {"mean": 1.0, "authority_sd": 0.0, "worker_sd": 0.0, "years_to_80_percent": 0.0}
SAMPLE = Sample(teams=2, workers=3, families=4)


def score(**settings: object) -> SurveyedContinuous:
    """The Client Engagement Scale, of 95 points, with some settings changed."""
    return SurveyedContinuous.model_validate({**ENGAGEMENT, "icc": SHARES, **settings})


def delivered(
    outcome: SurveyedContinuous, n: int = 1_000, resolution: str = "unit", **world: object
) -> tuple[World, Delivery]:
    """Ten authorities, five treated, in the second year before the start and the second after it."""
    settings = WorldSettings.model_validate({"authorities": 10, **world})
    drawn = draw_world(settings, {"y": outcome}, n, Streams(4, 0))
    allocation = two_arms(np.tile(np.arange(10), (n, 1)), 5, 2, randomised=True)
    work = Fieldwork(drawn, allocation, "y", np.array([0, 3]), SAMPLE, resolution, spread=True)  # type: ignore[arg-type]
    return drawn, deliver(work)


@pytest.mark.parametrize("mean", [66.0, 85.0])
def test_the_score_has_the_stated_mean_and_spread_within_its_bounds(mean: float) -> None:
    """What is stated is stated of the score that is seen, floor and ceiling included."""
    _, delivery = delivered(score(mean=mean))
    scores = delivery.null.mean[:, :, 0]
    assert scores.min() >= 0
    assert scores.max() == 95
    by_authority = scores.reshape(scores.shape[0] * 10, -1)
    error = by_authority.mean(axis=1).std() / np.sqrt(by_authority.shape[0])
    assert scores.mean() == pytest.approx(mean, abs=4 * error)
    squares = ((by_authority - mean) ** 2).mean(axis=1)
    assert squares.mean() == pytest.approx(16.8**2, abs=4 * squares.std() / np.sqrt(squares.size))


def test_far_bounds_change_nothing() -> None:
    """A bound that nobody reaches leaves the draws and the effect as they are without it."""
    plain, held = (
        delivered(score(mean=66.0, sd=2.0, bounds=bounds), 50, uptake=0.6)[1] for bounds in (None, [0, 200])
    )
    for twin in ("stated", "null"):
        assert np.allclose(getattr(plain, twin).mean, getattr(held, twin).mean, atol=1e-6)


def test_full_practice_moves_the_average_score_by_the_stated_effect() -> None:
    """Solved on the latent scale, at fidelity 1 with all families, and not before the start."""
    _, delivery = delivered(score(mean=80.0), 2_000, fidelity=PERFECT, uptake=1.0)
    moved = (delivery.stated.mean - delivery.null.mean).reshape(2_000, 10, -1, 2).mean(axis=2)
    found = moved[:, :5, 1]
    assert found.mean() == pytest.approx(5.0, abs=4 * found.std() / np.sqrt(found.size))
    assert np.abs(moved[:, 5:]).max() == np.abs(moved[:, :, 0]).max() == 0


def test_a_family_takes_part_as_a_whole_or_not() -> None:
    """With uptake .6 the score of two families in five does not move, and the mean by .6 of the effect."""
    _, delivery = delivered(score(), 600, fidelity=PERFECT, uptake=0.6)
    treated = delivery.roster.authority < 5
    moved = (delivery.stated.mean - delivery.null.mean)[:, treated, 1]
    room = delivery.null.mean[:, treated, 1] < 95
    share = (moved > 0)[room].mean()
    assert share == pytest.approx(0.6, abs=4 * np.sqrt(0.24 / room.sum()) + 1e-3)
    clusters = moved.reshape(600, -1).mean(axis=1)
    assert moved.mean() == pytest.approx(3.0, abs=4 * clusters.std() / np.sqrt(600))


@pytest.mark.parametrize(("mean", "correlated"), [(66.0, 0.0), (85.0, 0.0), (85.0, 0.9)])
def test_the_truth_of_an_authority_is_what_its_families_gain(mean: float, correlated: float) -> None:
    """Near the ceiling an authority gains less: the closed form agrees with the families, by authority."""
    outcome = score(mean=mean, quality_correlation=correlated)
    world, delivery = delivered(outcome, 3_000, fidelity={**PERFECT, "mean": 0.8}, uptake=0.7)
    truth = authority_effects(Estimand(rung="offered"), world, "y", (12, 24))[:, :5]
    moved = (delivery.stated.mean - delivery.null.mean).reshape(3_000, 10, -1, 2).mean(axis=2)[:, :5, 1]
    place = world.expected("y")[:, :5, 3]
    order = np.argsort(place, axis=None)
    effects = []
    for group in np.array_split(order, 5):
        error = moved.ravel()[group] - truth.ravel()[group]
        assert error.mean() == pytest.approx(0, abs=4 * error.std() / np.sqrt(error.size))
        effects.append(truth.ravel()[group].mean())
    assert effects[0] > effects[-1] * (1.02 if mean == 66 else 1.2)


def test_latent_shares_are_the_stated_ones_where_little_is_cut_off() -> None:
    """Covariances of families of a worker, a team and an authority, on a score that rarely meets a bound."""
    outcome = score(sd=10.0, bounds=[0, 130])
    _, delivery = delivered(outcome, 4_000, fidelity=PERFECT)
    scores = delivery.null.mean[:, :, 0].reshape(40_000, 2, 3, 4) - 66.0
    pairs = {
        0.25: scores[:, :, :, 0] * scores[:, :, :, 1],
        0.15: scores[:, :, 0, 0] * scores[:, :, 1, 1],
        0.1: scores[:, 0, 0, 0] * scores[:, 1, 1, 1],
    }
    for share, products in pairs.items():
        by_authority = products.reshape(40_000, -1).mean(axis=1)
        error = by_authority.std() / 200
        assert by_authority.mean() == pytest.approx(100 * share, abs=4 * error)


def test_the_spread_between_authorities_is_that_of_their_true_scores() -> None:
    """`authority_sd` is on the scale of the score, and smaller than the latent one near a bound."""
    outcome = score(mean=85.0)
    world, _ = delivered(outcome, 2_000)
    true = world.expected("y")[:, :, 0]
    assert true.std() == pytest.approx(outcome.authority_sd, rel=4 / np.sqrt(2 * true.size) + 0.01)
    assert true.mean() == pytest.approx(85.0, abs=4 * true.std() / np.sqrt(true.size))


@pytest.mark.parametrize("per_year", [1, 4])
def test_a_trend_moves_the_stated_mean(per_year: int) -> None:
    """The mean of every occasion is the national one, shorter occasions included."""
    outcome = score(mean=80.0, trend=3.0)
    settings = WorldSettings.model_validate({"authorities": 30, "time": {"per_year": per_year}})
    world = draw_world(settings, {"y": outcome}, 1_000, Streams(2, 0))
    true = world.expected("y")
    expected = 80.0 + 3.0 * settings.time.years
    error = true.std(axis=(0, 1)) / np.sqrt(30_000)
    assert (np.abs(true.mean(axis=(0, 1)) - expected) < 4 * error).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mean": 95.0}, "a mean of 95 is not within the bounds, 0 to 95"),
        ({"effect": 40.0}, "a mean of 106 is not within the bounds"),
        ({"sd": 60.0}, "cannot be had with a standard deviation of 60"),
        ({"bounds": [95, 0]}, "bounds must rise"),
        ({"bounds": [0]}, "bounds"),
        ({"bounds": ["0", "95"]}, "bounds"),
    ],
)
def test_impossible_scores_are_refused(settings: dict[str, object], said: str) -> None:
    """No mean beyond a bound, before practice or with it, and no more spread than there is room for."""
    with pytest.raises(ValidationError, match=said):
        score(**settings)


def test_a_trend_out_of_the_bounds_is_a_fault() -> None:
    """The first year that it happens in is named."""
    assert score(trend=2.0).faults(WorldSettings()) == []
    (fault,) = score(trend=12.0).faults(WorldSettings(time=Time(years_after=4)))
    assert fault == "trend: in year 3 from the start, a mean of 102 is not within the bounds, 0 to 95"
    shock = {"year": 1, "change": 40.0}
    (fault,) = score(shock=shock).faults(WorldSettings())
    assert fault.startswith("shock.change: in year 1")


def test_bounds_draw_nothing(listening: Streams) -> None:
    """What is off asks no stream, and bounds ask for no more than single families without them."""
    asked = []
    for outcome, resolution in (
        (score(bounds=None), "cell"),
        (score(bounds=None), "unit"),
        (score(), "unit"),
    ):
        listening.asked.clear()  # type: ignore[attr-defined]
        settings = WorldSettings.model_validate({"authorities": 4})
        world = draw_world(settings, {"y": outcome}, 8, listening)
        allocation = two_arms(np.tile(np.arange(4), (8, 1)), 2, 2, randomised=True)
        deliver(Fieldwork(world, allocation, "y", np.array([3]), SAMPLE, resolution, spread=True))  # type: ignore[arg-type]
        asked.append(set(listening.asked))  # type: ignore[attr-defined]
    cells, families, held = asked
    assert cells - families == {"family_spread", "uptake_spread"}
    assert families == held
    assert not {name for name in held if name.startswith(("children", "siblings", "covariate"))}
