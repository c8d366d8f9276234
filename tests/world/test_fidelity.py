"""Fidelity over time and between people: ramps, drift, turnover, components, and means over workers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from design_sim.arrays import Floats
from design_sim.streams import Streams
from design_sim.world.draw import World, draw_world
from design_sim.world.fidelity import (
    authority_mean,
    progress,
    progress_of_all,
    ramp,
    worker_fidelity,
    worker_progress,
)
from design_sim.world.response import Response
from design_sim.world.settings import Fidelity, WorldSettings

COMPONENTS = {"weights": {"principles": 2.0, "disciplines": 1.0, "tools": 1.0}, "correlation": 0.4}
PEOPLE = {"size": {"log_mean": 10.0, "log_sd": 0.1}, "workers": {"per_10000_children": 100.0}}


def world_of(n: int = 300, authorities: int = 40, **fidelity: object) -> World:
    """A block of worlds with large authorities."""
    stated = {"authorities": authorities, "fidelity": fidelity, **PEOPLE}
    return draw_world(WorldSettings.model_validate(stated), {}, n, Streams(3, 0))


def all_workers(world: World, n_workers: int = 60) -> Floats:
    """Fidelity of the first workers of every authority, (replicate, authority, worker)."""
    unit = np.tile(np.arange(world.n_authorities), (world.n_replicates, 1))
    return worker_fidelity(world, unit, np.arange(n_workers))


@pytest.mark.parametrize("shape", ["fast", "linear", "slow"])
@pytest.mark.parametrize("starts_at", [0.0, 0.5])
def test_every_ramp_is_at_80_percent_when_stated(shape: str, starts_at: float) -> None:
    """It begins at its first day's share, rises, and passes .8 in the stated year."""
    fidelity = Fidelity.model_validate({"ramp": shape, "starts_at": starts_at, "years_to_80_percent": 3.0})
    reached = ramp(fidelity, np.array([-1.0, 1e-9, 1.5, 3.0, 90.0]))
    assert reached[0] == 0
    assert reached[1] == pytest.approx(starts_at, abs=1e-6)
    assert reached[3] == pytest.approx(0.8)
    assert reached[4] == pytest.approx(1.0)
    halfway = {"fast": 1 - np.sqrt(0.2), "linear": 0.4, "slow": 1 - 0.2**0.25}
    if starts_at == 0:
        assert reached[2] == pytest.approx(halfway[shape])


def test_drift_takes_its_share_every_year() -> None:
    """After t years (1 - drift)^t of what the ramp gives is left."""
    with_drift, without = (Fidelity(drift=drift, years_to_80_percent=0.0) for drift in (0.1, 0.0))
    years = np.array([0.5, 3.5])
    assert progress_of_all(with_drift, years) == pytest.approx(progress_of_all(without, years) * 0.9**years)


def test_turnover_mixes_tenures_as_a_walk_through_the_years_does() -> None:
    """Workers that leave by the year, one by one, have the tenures that the mixture says."""
    fidelity = Fidelity(turnover=0.3, years_to_80_percent=2.0)
    rng = np.random.default_rng(4)
    began = np.zeros(200_000)
    for end in (1, 2, 3):
        began = np.where(rng.random(began.size) < 0.3, end, began)
    obvious = ramp(fidelity, 3.5 - began)
    reached, share = progress(fidelity, 3.5)
    assert share.sum() == pytest.approx(1)
    assert reached @ share == pytest.approx(obvious.mean(), abs=4 * obvious.std() / np.sqrt(began.size))


def test_sampled_workers_come_and_go_as_the_authority_does() -> None:
    """The mean over sampled workers is the mixture over tenures."""
    world = world_of(turnover=0.3, years_to_80_percent=2.0)
    unit = np.tile(np.arange(40), (300, 1))
    years = np.array([-0.5, 0.5, 2.5])
    drawn = worker_progress(world, unit, np.arange(12), years)
    expected = progress_of_all(world.settings.fidelity, years)
    assert drawn[..., 0].max() == 0
    n = drawn[..., 0].size
    for occasion in (1, 2):
        error = drawn[..., occasion].std() / np.sqrt(n)
        assert drawn[..., occasion].mean() == pytest.approx(expected[occasion], abs=4 * error + 1e-12)


@pytest.mark.parametrize(
    "extra", [{}, {"team_sd": 0.08}, {"team_sd": 0.08, "components": COMPONENTS}], ids=str
)
def test_fidelity_has_the_stated_standard_deviations_at_each_level(extra: dict[str, object]) -> None:
    """Between authorities, between the teams of one, and between the workers of a team, on the 0..1 scale."""
    world = world_of(mean=0.6, authority_sd=0.15, worker_sd=0.2, **extra)
    teams = all_workers(world).reshape(300, 40, 10, 6)
    within = np.sqrt(teams.var(axis=3, ddof=1).mean())
    team_means = teams.mean(axis=3)
    between_teams = team_means.var(axis=2, ddof=1).mean() - within**2 / 6
    assert teams.mean() == pytest.approx(0.6, abs=4 * 0.15 / np.sqrt(12_000))
    assert within == pytest.approx(0.2, abs=0.001)
    assert between_teams == pytest.approx(0.08**2 if extra else 0.0, abs=4e-4)
    assert world.mature_fidelity.std() == pytest.approx(0.15, abs=4 * 0.15 / np.sqrt(2 * 12_000))


@pytest.mark.parametrize("shape", ["linear", "threshold", "saturating", "j_shaped"])
@pytest.mark.parametrize("components", [None, COMPONENTS], ids=["one", "three"])
@pytest.mark.parametrize("power", [0, 1])
def test_an_authoritys_effect_is_the_mean_over_its_workers(
    shape: str, components: object, power: int
) -> None:
    """g is applied to each worker's fidelity before averaging; a thousand drawn workers agree."""
    extra = {"components": components} if components else {}
    world = world_of(4, 30, years_to_80_percent=2.0, turnover=0.2, team_sd=0.05, **extra)
    response, years = Response(shape=shape), np.array([-0.5, 1.5])  # type: ignore[arg-type]
    table = authority_mean(world, years, response, power)
    mature = all_workers(world, 1_800)
    reached, share = progress(world.settings.fidelity, 1.5)
    drawn = sum(
        s * response.of(r * mature) * (r * mature) ** power for r, s in zip(reached, share, strict=True)
    )
    teams = drawn.reshape(4, 30, 300, 6).mean(axis=3)
    error = teams.std(axis=2) / np.sqrt(300)
    assert np.abs(table[:, :, 0]).max() == 0
    assert np.abs(table[:, :, 1] - teams.mean(axis=2)).max() < (4.5 * error + 2e-3).max()


def test_a_shock_takes_its_share() -> None:
    """What an inadequate judgement takes multiplies mean fidelity."""
    stated = {
        "authorities": 4,
        "inspections": {},
        "fidelity": {"shock": 0.4, "years_to_80_percent": 0.0},
    }
    world = draw_world(WorldSettings.model_validate(stated), {}, 10, Streams(1, 0))
    calm, shocked = (
        authority_mean(world, np.array([0.5]), Response(), shocked=shocked) for shocked in (False, True)
    )
    assert shocked == pytest.approx(0.6 * calm)


@settings(deadline=None, max_examples=25)
@given(
    mean=st.floats(0.05, 0.95),
    authority=st.sampled_from([0.0, 0.02, 0.1]),
    team=st.sampled_from([0.0, 0.03]),
    worker=st.sampled_from([0.0, 0.05, 0.1]),
    correlation=st.sampled_from([0.0, 0.5, 0.95]),
)
def test_any_world_at_the_edges_is_drawn_or_refused_with_a_reason(
    mean: float, authority: float, team: float, worker: float, correlation: float
) -> None:
    """Fidelity stays within 0 to 1 and is finite, or what no variable on 0..1 can have is refused."""
    stated = {"mean": mean, "authority_sd": authority, "team_sd": team, "worker_sd": worker}
    if worker:
        stated["components"] = {"weights": {"a": 1.0, "b": 3.0}, "correlation": correlation}
    if authority == 0:
        stated["quality_correlation"] = 0.0
    if mean * (1 - mean) <= authority**2 + team**2 + worker**2:
        with pytest.raises(ValidationError, match="cannot be had"):
            Fidelity.model_validate(stated)
        return
    world = world_of(4, 3, **stated)
    drawn = all_workers(world, 12)
    assert drawn.min() >= 0
    assert drawn.max() <= 1


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"components": {"weights": {"tools": 1.0}}}, "two or more are needed"),
        ({"components": {}, "worker_sd": 0.0}, "no effect while worker_sd is 0"),
        ({"turnover": 0.1, "years_to_80_percent": 0.0}, "turnover has no effect while years_to_80_percent"),
        ({"mean": 0.9, "worker_sd": 0.29, "components": {}}, "cannot be had"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_had_is_refused(stated: dict[str, object], said: str) -> None:
    """A silent setting or an impossible distribution would make a wrong number."""
    with pytest.raises(ValidationError, match=said):
        Fidelity.model_validate(stated)
