"""Who takes part is observed: the same families in a study and its twins, and one law with their outcomes."""

import numpy as np
import pytest
from scipy import stats

from design_sim.panel import Panel
from design_sim.results import run
from design_sim.scenario import Scenario
from design_sim.simulate import Twins, carry_out
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import draw_world, enrolled
from design_sim.world.practice import last_practised
from design_sim.world.risks import move_events_of

SURVEY = 'source = "survey"\n'
RECORD = 'source = "record"\n'
OUTCOMES = {
    "continuous, record": RECORD + 'kind = "continuous"\neffect = 0.5\nauthority_sd = 0.2\nfamily_sd = 1.0',
    "binary, record": RECORD + 'kind = "binary"\nmean = 0.3\neffect = -0.15\nper_10000_children = 60.0',
    "count, record": RECORD
    + 'kind = "count"\nmean = 1500.0\neffect = -600.0\noverdispersion = 1.5\nper_10000_children = 400.0',
    "duration, record": RECORD
    + 'kind = "duration"\nmean = 1.0\nsd = 0.9\neffect = -0.4\nper_10000_children = 60.0',
    "continuous": SURVEY + 'kind = "continuous"\neffect = 0.5\nicc = {authority = 0.05, worker = 0.1}',
    "bounded": SURVEY + 'kind = "continuous"\nmean = 3.0\nbounds = [0, 4]\neffect = 0.5',
    "binary": SURVEY + 'kind = "binary"\nmean = 0.3\neffect = 0.2\nicc = {authority = 0.05, worker = 0.1}',
    "siblings": SURVEY + 'kind = "binary"\nmean = 0.3\neffect = 0.2\nchildren_per_family = 1.73',
    "count": SURVEY + 'kind = "count"\nmean = 2.0\neffect = -1.0\noverdispersion = 1.5',
    "duration": SURVEY + 'kind = "duration"\nmean = 1.0\nsd = 0.9\neffect = -0.4',
}
TEXT = """
resolution = "{resolution}"
[world]
authorities = 12
size = {{log_mean = 7.5, log_sd = 0.3, smallest = 1_000.0, largest = 9_000.0}}
workers = {{per_10000_children = 60.0, per_team = 3}}
uptake = {uptake}
{world}
[outcomes.y]
{outcome}
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 10
baseline_years = 1
{sample}
answers.{answer}
"""
IV = 'iv = {estimator = "instrumental_variables", estimand = "delivered"}'
CR2 = 'cr2 = {estimator = "clustered_regression", estimand = "offered"}'


def scenario_of(outcome: str, answer: str = IV, **settings: object) -> Scenario:
    """A trial of ten small authorities."""
    sample = "" if "record" in outcome else "sample = {teams = 2, workers = 2, families = 3}"
    stated = {"uptake": 0.6, "world": "", "resolution": "auto", **settings}
    text = TEXT.format(outcome=OUTCOMES[outcome], sample=sample, answer=answer, **stated)
    return parse(text, "t").cases[0].scenario


def twins_of(scenario: Scenario, n: int = 300, block: int = 0) -> Twins:
    """One block of it."""
    world = draw_world(scenario.world, scenario.outcomes, n, Streams(9, block))
    return carry_out(scenario, scenario.studies["trial"], world)


def uptake_of(panel: Panel) -> np.ndarray:
    """What the panel has of uptake, which must be there."""
    assert panel.uptake is not None
    return np.asarray(np.broadcast_to(panel.uptake, panel.cells.mean.shape))


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_uptake_is_that_of_what_the_study_put_there(outcome: str) -> None:
    """0 before the start and in comparisons, informal use or not; else the stated share; the twin has the same."""
    twins = twins_of(scenario_of(outcome, world="informal = {share = 0.5, fidelity = 0.3}"))
    uptake = uptake_of(twins.stated)
    n = np.broadcast_to(twins.stated.cells.n, uptake.shape)
    treated = np.broadcast_to(twins.stated.treated, uptake.shape)
    assert (uptake[~treated] == 0).all()
    share = (uptake * n)[treated].sum() / n[treated].sum()
    assert share == pytest.approx(0.6, abs=4 * np.sqrt(0.24 * 1.73 / n[treated].sum()) + 0.002)
    assert np.array_equal(uptake, uptake_of(twins.null))


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_cell_without_takers_is_not_moved(outcome: str) -> None:
    """Stated and null outcomes of such cells agree: those who take part are those whose outcomes move."""
    twins = twins_of(scenario_of(outcome, uptake=0.3, resolution="unit"))
    uptake = uptake_of(twins.stated)
    seen = np.broadcast_to(twins.stated.cells.n, uptake.shape) > 0
    difference = twins.stated.cells.mean - twins.null.cells.mean
    assert (difference[seen & (uptake == 0)] == 0).all()
    assert np.abs(difference[seen & (uptake > 0)]).max() > 0.1


@pytest.mark.parametrize("outcome", ["continuous", "continuous, record"])
def test_a_normal_cell_moves_by_the_share_that_takes_part(outcome: str) -> None:
    """With perfect practice its mean moves by effect x share, exactly."""
    fidelity = "fidelity = {mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}"
    twins = twins_of(scenario_of(outcome, world=fidelity))
    moved = twins.stated.cells.mean - twins.null.cells.mean
    assert np.allclose(moved, 0.5 * uptake_of(twins.stated))


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_takers_and_outcomes_have_one_law_in_cells_and_in_families(outcome: str) -> None:
    """The two together: correlation of share and mean over treated authorities, on other draws."""
    found = []
    for block, resolution in enumerate(("cell", "unit")):
        twins = twins_of(scenario_of(outcome, resolution=resolution), 1_000, block)
        panel = twins.stated
        weighted = [panel.cells.n[:, :, 1] * of[:, :, 1] for of in (panel.cells.mean, uptake_of(panel))]
        total = panel.roster.pool(np.broadcast_to(panel.cells.n[:, :, 1], weighted[0].shape), "authority")
        outcome_mean, share = (
            panel.roster.pool(np.nan_to_num(part), "authority")[:, :5] / np.maximum(total, 1)[:, :5]
            for part in weighted
        )
        known = total[:, :5] > 0
        found.append((outcome_mean[known], share[known]))
    cell_mean, unit_mean = (mean for mean, _ in found)
    assert stats.ks_2samp(cell_mean[::5], unit_mean[::5]).pvalue > 1e-4
    # Fisher's z of each; observations of a replicate are nearly independent
    z = [np.arctanh(np.corrcoef(mean, share)[0, 1]) for mean, share in found]
    assert z[0] == pytest.approx(z[1], abs=4 * np.sqrt(2 / cell_mean.size) * 1.3)


def test_events_of_takers_are_those_of_families_drawn_one_by_one() -> None:
    """A cell of four: takers, events before and after, against a plain simulation family by family."""
    rng, size, risk, changed = np.random.default_rng(5), 60_000, 0.3, 0.55
    events = rng.binomial(4, risk, (size, 1, 1)).astype(float)
    taken = rng.binomial(4, 0.5, (size, 1, 1)) / 4
    same = [np.full((size, 1, 1), at) for at in (risk, changed)]
    moved = move_events_of(
        taken, events, np.full((size, 1, 1), 4.0), (same[0], same[1]), (Streams(1, 0), "y")
    )
    takes, place = rng.random((size, 4)) < 0.5, rng.random((size, 4))
    before, after = place < risk, place < np.where(takes, changed, risk)
    slow = np.zeros((5, 5, 5))
    fast = np.zeros((5, 5, 5))
    np.add.at(slow, (takes.sum(axis=1), before.sum(axis=1), after.sum(axis=1)), 1)
    fast_at = (np.rint(taken * 4).astype(int).ravel(), events.astype(int).ravel(), moved.astype(int).ravel())
    np.add.at(fast, fast_at, 1)
    both = slow + fast
    kept = both > 20
    chi = ((slow - fast)[kept] ** 2 / both[kept]).sum()
    assert stats.chi2.sf(chi, kept.sum() - 1) > 1e-4
    # where fewer have it, in the other direction
    fewer = move_events_of(
        taken, events, np.full((size, 1, 1), 4.0), (same[1], same[0]), (Streams(1, 0), "y")
    )
    assert (fewer <= events).all()


def test_nobody_takes_part_once_an_authority_has_left() -> None:
    """Families cannot take up what is no longer there."""
    scenario = (
        parse(
            TEXT.format(
                outcome=OUTCOMES["continuous"],
                sample="year = 3\nsample = {teams = 2, workers = 2, families = 3}",
                answer=IV,
                uptake=1.0,
                world="leaving = {}\ninspections = {}\ntime = {years_before = 2, years_after = 3}",
                resolution="auto",
            ),
            "t",
        )
        .cases[0]
        .scenario
    )
    world = draw_world(scenario.world, scenario.outcomes, 400, Streams(9, 0))
    twins = carry_out(scenario, scenario.studies["trial"], world)
    stop = enrolled(last_practised(world)[0], twins.allocation.unit)[:, :5]
    left = stop <= twins.stated.occasions[-1]
    assert 0.01 < left.mean() < 0.9
    uptake = uptake_of(twins.stated)[:, :, -1].reshape(400, 10, -1)[:, :5]
    assert np.array_equal(uptake, np.broadcast_to(~left[:, :, np.newaxis], uptake.shape))


def test_nothing_is_drawn_of_uptake_where_no_answer_reads_it() -> None:
    """The panel has none, and a normal outcome is the same to the last digit with and without."""
    without, with_it = (twins_of(scenario_of("continuous", answer)) for answer in (CR2, IV))
    assert without.stated.uptake is None
    assert np.array_equal(without.stated.cells.mean, with_it.stated.cells.mean)


def iv_of(outcome: str, design: str = "", world: str = "") -> dict[str, float]:
    """Bias and its error of two-stage least squares in a larger trial."""
    text = f"""
replicates = 1_500
[world]
authorities = 40
uptake = 0.5
fidelity = {{mean = 0.8, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}}
{world}
[outcomes.y]
{OUTCOMES[outcome]}
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 40
{design}
[designs.trial.answers.iv]
estimator = "instrumental_variables"
estimand = "delivered"
weighted_by = "authority"
clusters = "authority"
"""
    table = run(parse(text, "t")).performance.set_index("measure")
    return {**table["value"], "error": table.loc["bias", "mcse"], "size_error": table.loc["size", "mcse"]}


SAMPLE = "sample = {teams = 2, workers = 3, families = 5}"


@pytest.mark.parametrize(
    ("outcome", "design", "world"),
    [
        ("continuous", SAMPLE, ""),
        ("continuous", SAMPLE, "informal = {share = 0.5, fidelity = 0.3}"),
        ("continuous", f'unit = "worker"\n{SAMPLE}', ""),
        ("binary", SAMPLE, ""),
        ("count", f'unit = "team"\n{SAMPLE}', ""),
    ],
)
def test_two_stages_find_the_effect_on_those_who_take_part(outcome: str, design: str, world: str) -> None:
    """Assignment moves nobody but takers, who are the compliers: the estimand `delivered` is theirs.

    A ratio of means is biased by their scatter, here by less than .01.
    """
    found = iv_of(outcome, design, world)
    assert found["bias"] == pytest.approx(0.0, abs=4 * found["error"] + 0.01 * abs(found["truth"]))
    assert found["size"] == pytest.approx(0.05, abs=4 * found["size_error"])
