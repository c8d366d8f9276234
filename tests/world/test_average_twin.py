"""The average null twin: effects keep their spread and lose their mean."""

import numpy as np
import pytest

from design_sim.allocation import two_arms
from design_sim.errors import ScenarioError
from design_sim.results import run
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.average_twin import centred_dose
from design_sim.world.delivery import Fieldwork, Sample, deliver
from design_sim.world.draw import World, draw_world, enrolled
from design_sim.world.outcomes import RecordedBinary, RecordedContinuous, SurveyedContinuous
from design_sim.world.practice import delivered_dose, offered_dose, usual_dose
from design_sim.world.settings import WorldSettings

AT = np.array([1, 2, 3])


def world_of(outcome: object, n: int = 50, **settings: object) -> World:
    """Ten authorities whose effects differ."""
    stated = {"authorities": 10, "effect_sd": 0.8, "informal": {"share": 0.5, "fidelity": 0.3}, **settings}
    return draw_world(WorldSettings.model_validate(stated), {"y": outcome}, n, Streams(2, 0))  # type: ignore[dict-item]


def fieldwork(world: World, sample: Sample | None = None) -> Fieldwork:
    """All ten authorities, four of them treated, in the order of a lot."""
    unit = np.array([np.random.default_rng(r).permutation(10) for r in range(world.n_replicates)])
    allocation = two_arms(unit, 4, 2, randomised=True)
    return Fieldwork(world, allocation, "y", AT, sample, centred=True)


@pytest.mark.parametrize(
    "outcome",
    [
        RecordedContinuous(effect=2.0, authority_sd=1.0, family_sd=5.0),
        RecordedBinary(mean=0.2, effect=-0.1, authority_sd=0.08),
    ],
)
def test_the_mean_effect_over_the_study_is_nothing(outcome: RecordedBinary | RecordedContinuous) -> None:
    """Had all ten started: at every occasion after the start, on the outcome's own scale, in every replicate."""
    world = world_of(outcome)
    work = fieldwork(world)
    everybody = np.broadcast_to(np.arange(10), (50, 10))
    all_start = two_arms(everybody, 10, 2, randomised=True)
    dose = centred_dose(world, all_start, "y", AT, lambda start: delivered_dose(world, everybody, start, AT))
    effect = outcome.effect_of(world, "y", AT, dose, world.settings.uptake)
    assert np.abs(effect[:, :, 1:].mean(axis=1)).max() < 1e-10
    treated = work.dose[:, :4]
    expected = np.take_along_axis(dose, work.unit[:, :4, np.newaxis], axis=1)
    assert treated == pytest.approx(expected)


def test_effects_keep_their_spread_and_comparisons_have_none() -> None:
    """For an additive effect, differences between authorities are those of being offered the framework."""
    world = world_of(RecordedContinuous(effect=2.0, authority_sd=1.0, family_sd=5.0))
    work = fieldwork(world)
    dose = work.dose
    assert (dose[:, 4:] == 0).all()
    assert (dose[:, :, 0] == 0).all()
    gained = enrolled(offered_dose(world, AT) - usual_dose(world)[:, :, np.newaxis], work.unit)
    for occasion in (1, 2):
        spread = dose[:, :4, occasion] - dose[:, :1, occasion]
        assert spread == pytest.approx(gained[:, :4, occasion] - gained[:, :1, occasion])


def test_workers_keep_their_differences_too() -> None:
    """Rows of workers lose the shift of their study, the same for all of them."""
    world = world_of(SurveyedContinuous(effect=1.0))
    work = fieldwork(world, Sample(teams=2, workers=3, families=2))
    workers = np.array([0, 1, 2, 6, 7, 8])
    with_study = Fieldwork(world, work.allocation, "y", AT, work.sample)
    stated = with_study.dose_of(workers).reshape(50, 10, 6, 3)
    never = enrolled(usual_dose(world), work.unit)[:, :, np.newaxis, np.newaxis]
    shift = (stated - never - work.dose_of(workers).reshape(50, 10, 6, 3))[:, :4, :, 1:]
    assert shift.std(axis=(1, 2)).max() < 1e-12


def test_the_twin_is_centred_and_shares_the_draws_of_the_study() -> None:
    """Delivered outcomes: the sharp twin plus the centred effect of those who take part."""
    world = world_of(RecordedContinuous(effect=2.0, authority_sd=1.0, family_sd=5.0), uptake=1.0)
    work = fieldwork(world)
    delivery = deliver(work)
    assert delivery.stated.mean == pytest.approx(delivery.null.mean + 2.0 * work.dose)


TEXT = """
replicates = 400
{twin}
[world]
authorities = 60
effect_sd = 3.0
fidelity = {{mean = 0.6, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}}
[outcomes.y]
kind = "continuous"
source = "record"
effect = 2.0
authority_sd = 1.0
family_sd = 1.0
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 30
treated = 6
[designs.trial.answers.pooled]
estimator = "cluster_means"
estimand = "offered"
[designs.trial.answers.robust]
estimator = "clustered_regression"
variance = "CR2"
weights = "authority"
estimand = "offered"
"""


def test_a_pooled_variance_is_liberal_where_effects_differ_in_the_smaller_arm() -> None:
    """Six of thirty with effects of their own: the pooled t test takes a spread of effects for an effect.

    Its variance is (s_1^2 / 6 + s_0^2 / 24) and the pooled one weighs the arms the other way round.
    """
    table = run(parse(TEXT.format(twin="average_twin = true"), "t")).performance
    sizes = table[table["measure"] == "size_average"].set_index("answer")
    assert sizes.loc["pooled", "value"] > 0.14
    assert sizes.loc["robust", "value"] < 0.12
    sharp = table[table["measure"] == "size"].set_index("answer")
    assert sharp.loc["pooled", "value"] < 0.1


def test_it_is_run_only_where_asked_for() -> None:
    """Off: no measure of it; anything but true or false is refused."""
    table = run(parse(TEXT.format(twin=""), "t"), replicates=20).performance
    assert "size_average" not in set(table["measure"])
    with pytest.raises(ScenarioError, match="average_twin: found 1; allowed: true or false"):
        parse(TEXT.format(twin="average_twin = 1"), "t")
