"""The audit: scores err as stated, choose as algebra says, and are of what is really practised."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import special

from design_sim.allocation import two_arms
from design_sim.arrays import Floats
from design_sim.designs.contrast import Contrast
from design_sim.streams import Streams
from design_sim.world.audit import cases_of, fidelity_score, observed_score, rater_sd, score_reliability
from design_sim.world.draw import World, draw_world
from design_sim.world.fidelity import progress_of_all
from design_sim.world.outcomes import RecordedContinuous
from design_sim.world.practice import last_practised
from design_sim.world.settings import Audit, WorldSettings

OUTCOME = RecordedContinuous(kind="continuous", source="record", effect=2.0, authority_sd=1.0, family_sd=5.0)
SMALL = {"log_mean": 8.5, "log_sd": 0.5, "smallest": 2_000.0, "largest": 20_000.0}
COMPONENTS = {"weights": {"principles": 2.0, "tools": 1.0}, "correlation": 0.4}
WORLDS = {
    "plain": {},
    "one case": {"audit": {"cases": 1, "rater_reliability": 0.73}},
    "small authorities, teams": {
        "size": SMALL,
        "audit": {"cases": 15, "rater_reliability": 1.0},
        "fidelity": {"team_sd": 0.2, "authority_sd": 0.1, "worker_sd": 0.05},
    },
    "turnover": {"audit": {"cases": 8, "year": 2}, "fidelity": {"turnover": 0.4, "drift": 0.1}},
    "components": {"audit": {"cases": 6}, "fidelity": {"components": COMPONENTS, "team_sd": 0.05}},
    "self-report": {"audit": {"inflation": 0.2, "inflation_sd": 0.05, "rater_reliability": 1.0}},
}


def world_of(n: int = 300, authorities: int = 60, **tables: object) -> World:
    """A block of worlds in which fidelity is scored."""
    settings = WorldSettings.model_validate({"authorities": authorities, "audit": {}, **tables})
    return draw_world(settings, {"y": OUTCOME}, n, Streams(4, 0))


def true_fidelity(world: World) -> Floats:
    """Mean fidelity of every authority in the middle of the year of the audit."""
    audit = world.settings.audit
    assert audit is not None
    return world.mature_fidelity * progress_of_all(world.settings.fidelity, np.array([audit.year - 0.5]))


@pytest.mark.parametrize("tables", WORLDS.values(), ids=list(WORLDS))
def test_the_reliability_is_that_of_drawn_scores(tables: dict[str, object]) -> None:
    """V_true / (V_true + V_error) over drawn authorities is the closed form; scores are true on average."""
    world = world_of(**tables)
    audit = world.settings.audit
    assert audit is not None
    truth, score = true_fidelity(world), fidelity_score(world)
    error = score - truth
    n = score.size
    assert error.mean() == pytest.approx(audit.inflation, abs=4 * error.std() / np.sqrt(n))
    stated = score_reliability(world.settings)
    drawn = truth.var() / (truth.var() + error.var())
    # each variance is known to about a factor sqrt(2 / n) where the distribution is near normal
    assert drawn == pytest.approx(stated, abs=5 * stated * (1 - stated) * np.sqrt(4 / n) + 0.002)
    assert np.corrcoef(truth.ravel(), score.ravel())[0, 1] ** 2 == pytest.approx(drawn, abs=0.02)


def test_a_score_is_what_a_loop_over_cases_gives() -> None:
    """One authority after another, one case after another, on the same draws."""
    world = world_of(
        3,
        5,
        size=SMALL,
        audit={"cases": 9},
        fidelity={"team_sd": 0.1, "turnover": 0.5},
        time={"years_after": 3},
    )
    settings, scale = world.settings, world.settings.fidelity.scale
    assert scale is not None
    teams, n = world.n_teams, cases_of(settings)
    assert n.min() < 9
    own = world.streams.rng("audit_worker").standard_normal((9, 3, 5))
    of_team = world.streams.rng("audit_team").standard_normal((min(9, teams.max()), 3, 5))
    raters = world.streams.rng("audit_rater").standard_normal((3, 5))
    reached = 1 - np.exp(-np.log(5) * 0.5 / 2)
    expected = np.empty((3, 5))
    for replicate in range(3):
        for authority in range(5):
            cases = [
                special.expit(
                    scale.centre
                    + scale.authority * world.readiness[replicate, authority]
                    + scale.team * of_team[case % teams[authority], replicate, authority]
                    + scale.worker * own[case, replicate, authority]
                )
                for case in range(n[authority])
            ]
            error = rater_sd(settings) / np.sqrt(n[authority]) * raters[replicate, authority]
            expected[replicate, authority] = reached * np.mean(cases) + error
    assert fidelity_score(world) == pytest.approx(expected)


def test_a_rater_errs_by_the_stated_icc() -> None:
    """Of the variance of one rater's scores of mature cases, the ICC is between their workers."""
    settings = WorldSettings.model_validate({"audit": {"rater_reliability": 0.75}})
    workers = settings.fidelity.authority_sd**2 + settings.fidelity.worker_sd**2
    assert workers / (workers + rater_sd(settings) ** 2) == pytest.approx(0.75)


def test_pilots_with_the_best_scores_are_better_by_the_reliability() -> None:
    """Truth regresses on the score by its reliability, where both are nearly normal."""
    tables = {"fidelity": {"authority_sd": 0.04, "worker_sd": 0.10}, "audit": {"cases": 4}}
    world = world_of(1_000, **tables)
    design = Contrast(outcome="y", pilots=5, comparisons=5, pilots_by="fidelity_score")
    pilots = design.allocate(world, world.streams).unit[:, :5]
    score, truth = fidelity_score(world), true_fidelity(world)
    assert np.array_equal(np.sort(pilots), np.sort(np.argsort(-score, axis=1)[:, :5]))
    gains = [np.take_along_axis(of, pilots, axis=1).mean(axis=1) - of.mean(axis=1) for of in (score, truth)]
    expected = score_reliability(world.settings) * gains[0].mean()
    assert 0 < expected < 0.6 * gains[0].mean()
    assert gains[1].mean() == pytest.approx(
        expected, abs=4 * gains[1].std() / np.sqrt(1_000) + 0.02 * expected
    )


def test_pilots_whose_scores_are_equal_are_drawn_by_chance() -> None:
    """Without error and without differences every authority is a pilot as often."""
    fidelity = {"authority_sd": 0.0, "worker_sd": 0.0, "quality_correlation": 0.0}
    world = world_of(2_000, 20, fidelity=fidelity, audit={"without_error": True})
    settings = {"outcome": "y", "pilots": 4, "comparisons": 4}
    unit, by_lot = (
        Contrast(**settings, pilots_by=by).allocate(world, world.streams).unit  # type: ignore[arg-type]
        for by in ("fidelity_score", "chance")
    )
    assert np.array_equal(unit, by_lot)


def test_an_early_audit_is_less_reliable_and_more_cases_more() -> None:
    """Early practice differs less between authorities, and raters err alike."""
    stated = [
        score_reliability(WorldSettings.model_validate({"audit": audit}))
        for audit in ({"year": 1}, {"year": 2}, {"year": 2, "cases": 100}, {"without_error": True})
    ]
    assert stated == sorted(stated)
    assert stated[-1] == 1


def observed(world: World, last: int = 3) -> Floats:
    """Score at follow-up of a study of all authorities, half of them treated from the third year on."""
    unit = np.tile(np.arange(world.n_authorities), (world.n_replicates, 1))
    start = world.settings.time.start
    return observed_score(world, two_arms(unit, world.n_authorities // 2, start, randomised=True), last)


def test_what_is_scored_at_follow_up_is_what_is_practised_then() -> None:
    """Own fidelity until a pilot leaves, then and elsewhere informal use, what a rival shares, or nothing."""
    world = world_of(
        audit={"without_error": True},
        fidelity={"components": COMPONENTS},
        informal={"share": 0.4, "fidelity": 0.3},
        rival={"share": 0.3, "shares": ("tools",)},
        leaving={"new_leadership": 0.5},
    )
    score = observed(world)
    stop, switched = last_practised(world)
    left = (stop <= 3)[:, :30]
    fidelity = world.mature_fidelity * progress_of_all(world.settings.fidelity, np.array([1.5]))
    usual = np.where(world.uses_informally, 0.3, np.where(world.has_rival, world.rival_fidelity / 3, 0.0))
    afterwards = np.where(switched, world.rival_fidelity / 3, usual)
    assert left.any()
    assert score[:, 30:] == pytest.approx(usual[:, 30:])
    assert score[:, :30] == pytest.approx(np.where(left, afterwards[:, :30], fidelity[:, :30]))
    assert observed(world, last=1) == pytest.approx(usual)


def test_a_judgement_lowers_the_score_as_it_lowers_fidelity() -> None:
    """A shock multiplies what is practised while the last judgement is inadequate."""
    tables = {"inspections": {"every_years": 1}, "fidelity": {"shock": 0.5}}
    world = world_of(audit={"without_error": True}, **tables)
    calm = true_fidelity(world)
    inadequate = world.events.inadequate_since_start[:, :, 2]
    assert inadequate.any()
    assert fidelity_score(world) == pytest.approx(np.where(inadequate, 0.5, 1.0) * calm)


def test_self_report_adds_only_where_the_framework_is_practised() -> None:
    """Nobody reports of a framework that is not there, but raters err there too."""
    world = world_of(audit={"inflation": 0.2, "cases": 10})
    score = observed(world)[:, 30:]
    assert score.mean() == pytest.approx(0, abs=4 * score.std() / np.sqrt(score.size))
    assert score.std() == pytest.approx(
        rater_sd(world.settings) / np.sqrt(10), rel=4 / np.sqrt(2 * score.size)
    )
    without = observed(world_of(audit={"cases": 10}))
    assert observed(world)[:, :30] - without[:, :30] == pytest.approx(np.full((300, 30), 0.2))


def test_the_two_audits_err_independently() -> None:
    """So that who was chosen for a high score regresses to the mean at follow-up."""
    world = world_of(audit={"cases": 3, "year": 2})
    truth = true_fidelity(world)
    first, second = (fidelity_score(world) - truth)[:, :30], observed(world)[:, :30] - truth[:, :30]
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / np.sqrt(first.size)
    assert second.std() == pytest.approx(first.std(), rel=4 / np.sqrt(first.size))


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"audit": {"year": 3}}, "audit.year is 3, above time.years_after, 2"),
        (
            {
                "audit": {"rater_reliability": 0.8},
                "fidelity": {"authority_sd": 0.0, "worker_sd": 0.0, "quality_correlation": 0.0},
            },
            "audit.rater_reliability has no effect while fidelity is the same",
        ),
        ({"audit": {"without_error": True, "cases": 4}}, "cases has no effect with without_error"),
    ],
)
def test_an_audit_that_could_not_act_is_refused(tables: dict[str, object], said: str) -> None:
    """What is stated does something, or is told."""
    with pytest.raises(ValidationError, match=said):
        WorldSettings.model_validate(tables)


def test_nobody_scores_where_no_audit_is_stated() -> None:
    """Asking for a score of such a world is a mistake of the program, not a number."""
    with pytest.raises(ValueError, match=r"world\.audit is not stated"):
        fidelity_score(draw_world(WorldSettings(), {}, 2, Streams(1, 0)))
    assert Audit().rater_reliability == 0.80
