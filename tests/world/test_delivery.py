"""Delivery: exposure meets outcomes as stated, and cells stand for the families in them."""

import numpy as np
import pytest
from scipy import stats

from design_sim.allocation import Allocation, two_arms
from design_sim.cells import Cells
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, Sample, deliver
from design_sim.world.draw import World, draw_world
from design_sim.world.fidelity import maturity
from design_sim.world.outcome import practised_on
from design_sim.world.outcomes import Outcome, RecordedBinary, RecordedContinuous, SurveyedContinuous
from design_sim.world.settings import WorldSettings

SMALL = {"log_mean": 8.0, "log_sd": 0.3, "smallest": 1_000.0, "largest": 9_000.0}
BINARY = RecordedBinary(kind="binary", source="record", mean=0.3, effect=-0.1, authority_sd=0.08)
RECORD = RecordedContinuous(kind="continuous", source="record", effect=2.0, authority_sd=1.0, family_sd=5.0)
SURVEY = SurveyedContinuous.model_validate(
    {
        "kind": "continuous",
        "source": "survey",
        "sd": 2.0,
        "effect": 1.0,
        "icc": {"authority": 0.1, "team": 0.05, "worker": 0.1},
    }
)
SAMPLE = Sample(teams=2, workers=3, families=4)
OCCASIONS = np.array([1, 3])


def setting(outcome: Outcome, n: int = 400, **tables: object) -> tuple[World, Allocation]:
    """Six small authorities, three of them treated from the third year on."""
    people = {"size": SMALL, "workers": {"per_10000_children": 100.0}}
    settings = WorldSettings.model_validate({"authorities": 6, **people, **tables})
    world = draw_world(settings, {"y": outcome}, n, Streams(5, 0))
    unit = np.tile(np.arange(6), (n, 1))
    return world, two_arms(unit, 3, settings.time.start, randomised=True)


def delivered(outcome: Outcome, n: int = 400, resolution: str = "cell", **tables: object) -> Delivery:
    """What happened in those authorities."""
    world, allocation = setting(outcome, n, **tables)
    sample = SAMPLE if outcome is SURVEY else None
    work = Fieldwork(world, allocation, "y", OCCASIONS, sample, resolution, spread=True)  # type: ignore[arg-type]
    return deliver(work)


@pytest.mark.parametrize("outcome", [BINARY, RECORD, SURVEY], ids=["binary", "record", "survey"])
def test_cells_and_single_families_agree_in_distribution(outcome: Outcome) -> None:
    """A cell's number, mean and sum of squares are those of its families drawn one by one."""
    cell, unit = (delivered(outcome, 600, resolution) for resolution in ("cell", "unit"))
    for twin in ("stated", "null"):
        one = getattr(cell, twin).pool(cell.roster, "authority")
        other = getattr(unit, twin).pool(unit.roster, "authority")
        assert np.array_equal(
            np.broadcast_to(one.n, other.mean.shape), np.broadcast_to(other.n, other.mean.shape)
        )
        for authority, occasion in ((0, 1), (4, 1), (1, 0)):
            for moment in ("mean", "ss"):
                a = getattr(one, moment)[::2, authority, occasion]
                b = getattr(other, moment)[1::2, authority, occasion]
                assert stats.ks_2samp(a, b).pvalue > 0.001


def test_survey_cells_have_the_stated_variance_at_each_level() -> None:
    """Authority means scatter by ICCs over the numbers of teams, workers and families."""
    delivery = delivered(SURVEY, 4_000, fidelity={"authority_sd": 0.0, "worker_sd": 0.0})
    means = delivery.null.pool(delivery.roster, "authority").mean[:, :, 0]
    expected = 4.0 * (0.1 + 0.05 / 2 + 0.1 / 6 + 0.75 / 24)
    assert means.var() == pytest.approx(expected, abs=4 * expected * np.sqrt(2 / means.size))


def test_null_twin_differs_by_effect_times_exposure_alone() -> None:
    """The twin is the same draws without the effect."""
    delivery = delivered(RECORD, uptake=1.0)
    difference = delivery.stated.mean - delivery.null.mean
    assert np.allclose(difference, 2.0 * delivery.exposure, atol=1e-12)


def test_exposure_is_uptake_times_fidelity_reached_after_the_start() -> None:
    """Before the start and in comparisons nobody is exposed without informal use."""
    delivery = delivered(RECORD, uptake=0.5, fidelity={"mean": 0.8, "authority_sd": 0.0, "worker_sd": 0.0})
    reached = 1 - np.exp(-np.log(5) * 1.5 / 2)
    assert delivery.exposure[0, :3, 1] == pytest.approx(0.5 * 0.8 * reached)
    assert (delivery.exposure[:, :, 0] == 0).all()
    assert (delivery.exposure[:, 3:] == 0).all()


def test_maturity_is_80_percent_at_the_stated_years() -> None:
    """With the middle of the second year at 80 %, years_to_80_percent is 1.5."""
    world, _ = setting(RECORD, 2, fidelity={"years_to_80_percent": 1.5})
    assert maturity(world)[3] == pytest.approx(0.8)


def test_informal_use_exposes_comparisons_and_pilots_before_their_start() -> None:
    """Contamination is there from the beginning, and the framework takes its place."""
    delivery = delivered(RECORD, uptake=1.0, informal={"share": 1.0, "fidelity": 0.3})
    assert (delivery.exposure[:, 3:] == 0.3).all()
    assert (delivery.exposure[:, :3, 0] == 0.3).all()


@pytest.mark.parametrize("scale", ["logit", "probability"])
@pytest.mark.parametrize("effect", [-0.1, 0.1])
def test_perfect_practice_moves_the_mean_risk_by_the_stated_effect(scale: str, effect: float) -> None:
    """The effect is the mean risk difference at fidelity 1, on either scale and in either direction."""
    outcome = BINARY.model_copy(update={"effect": effect, "effect_scale": scale})
    perfect = {"mean": 1.0, "authority_sd": 0.0, "worker_sd": 0.0, "years_to_80_percent": 0.0}
    delivery = delivered(outcome, 3_000, fidelity=perfect, uptake=1.0)
    moved = (delivery.stated.mean - delivery.null.mean)[:, :3, 1]
    assert moved.mean() == pytest.approx(effect, abs=4 * moved.std() / np.sqrt(moved.size) + 1e-3)
    assert (delivery.stated.mean[:, 3:] == delivery.null.mean[:, 3:]).all()


def test_moved_events_are_binomial_given_the_changed_risk() -> None:
    """Thinning binomial counts leaves binomial counts: their variance is n p (1 - p)."""
    outcome = BINARY.model_copy(update={"authority_sd": 0.0})
    perfect = {"mean": 1.0, "authority_sd": 0.0, "worker_sd": 0.0, "years_to_80_percent": 0.0}
    delivery = delivered(outcome, 4_000, fidelity=perfect, uptake=1.0)
    rate, n = delivery.stated.mean[:, :3, 1], delivery.stated.n[:, :3, 1]
    z = (rate - 0.2) * np.sqrt(n / 0.16)
    assert z.mean() == pytest.approx(0, abs=4 / np.sqrt(z.size))
    assert z.var() == pytest.approx(1, abs=4 * np.sqrt(2 / z.size))


def test_competence_raises_outcomes_and_fidelity_of_the_same_workers() -> None:
    """A competent worker does better with or without the framework: the link that confounds a contrast."""
    linked = SURVEY.model_copy(update={"competence_correlation": 0.9})
    world, allocation = setting(linked, 400, fidelity={"competence_correlation": 0.9})
    delivery = deliver(Fieldwork(world, allocation, "y", OCCASIONS, SAMPLE))
    treated = delivery.roster.authority < 3
    correlation = np.corrcoef(
        delivery.null.mean[:, treated, 1].ravel(), delivery.exposure[:, treated, 1].ravel()
    )[0, 1]
    assert correlation > 0.1


def test_an_authority_with_fewer_teams_gives_those_that_it_has() -> None:
    """Nobody is invented: cells beyond an authority's teams hold no family."""
    world, allocation = setting(SURVEY, 4, workers={"per_10000_children": 25.0, "per_team": 3})
    sample = Sample(teams=4, workers=3, families=2)
    delivery = deliver(Fieldwork(world, allocation, "y", OCCASIONS, sample, spread=True))
    by_authority = delivery.null.pool(delivery.roster, "authority").n[0, :, 0]
    assert by_authority == pytest.approx(np.minimum(world.n_teams, 4) * 6)
    assert (by_authority < 24).any()
    empty = np.broadcast_to(delivery.null.n, delivery.null.mean.shape) == 0
    assert np.isnan(delivery.null.mean[empty]).all()


def test_workers_who_differ_in_outcomes_alone_have_rows_of_their_own() -> None:
    """The same fidelity for every worker of an authority does not make their families exchangeable."""
    delivery = delivered(SURVEY, 8, fidelity={"worker_sd": 0.0})
    assert delivery.exposure.shape == delivery.stated.mean.shape
    assert np.ptp(delivery.exposure[0, :6, 1]) == 0


@pytest.mark.parametrize("families", [1, 2, 7])
def test_families_who_take_part_are_drawn_one_by_one_or_counted(families: int) -> None:
    """A cell's mean and spread are those of families of whom each takes part or does not."""
    rng = np.random.default_rng(3)
    n, effect, uptake, replicates = float(families), 3.0, 0.6, 20_000
    one_by_one = rng.standard_normal((replicates, families))
    one_by_one += effect * (rng.random((replicates, families)) < uptake)
    ss = 2 * rng.standard_gamma(np.full((replicates, 1, 1), (n - 1) / 2))
    null = Cells(np.full((1, 1, 1), n), rng.standard_normal((replicates, 1, 1)) / np.sqrt(n), ss)
    cells = practised_on(null, np.full((1, 1, 1), effect), uptake, Streams(1, 0), "y")
    assert stats.ks_2samp(cells.mean.ravel(), one_by_one.mean(axis=1)).pvalue > 1e-3
    assert cells.ss is not None
    if families > 1:
        spread = ((one_by_one - one_by_one.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        assert stats.ks_2samp(cells.ss.ravel(), spread).pvalue > 1e-3
        together = np.corrcoef(cells.mean.ravel(), cells.ss.ravel())[0, 1]
        apart = np.corrcoef(one_by_one.mean(axis=1), spread)[0, 1]
        assert together == pytest.approx(apart, abs=4 * np.sqrt(2 / replicates))
