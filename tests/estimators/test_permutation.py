"""Permutation p-values equal those of a plain enumeration, and cannot be smaller than they say."""

import json
from dataclasses import replace
from itertools import combinations, product
from math import comb
from pathlib import Path

import numpy as np
import pytest

from design_sim.allocation import NEVER, ConstrainedRandomisation, Randomisation, complete_randomisation
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.permutation import Permutation
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
NAMES = ("crt_bal10", "crt_unb10", "crt_bal4", "crt_unb6", "crt_unb20_imb")
ATTAINABLE = json.loads((REFERENCE / "exact_size" / "cluster_tests.json").read_text())["attainable_p_values"]


def panel_of(means: Floats, treated_slots: list[int]) -> Panel:
    """A panel of authority means (replicate, authority) at one occasion, or several (..., occasion)."""
    means = means if means.ndim == 3 else means[:, :, np.newaxis]
    n_authorities, n_occasions = means.shape[1:]
    start = np.full((1, n_authorities), NEVER)
    start[0, treated_slots] = n_occasions - 1
    return Panel(
        roster=Roster.of_authorities(n_authorities),
        cells=Cells((~np.isnan(means)).astype(float), means),
        start=start,
        occasions=np.arange(n_occasions),
        follow_up=np.arange(n_occasions) == n_occasions - 1,
        law=complete_randomisation(n_authorities, len(treated_slots)),
    )


def estimate(panel: Panel, seed: int = 1, draws: int = 999, change: bool = False) -> Estimates:
    return Permutation(draws=draws, change=change).estimate(panel, np.random.default_rng(seed))


def enumerated_p(means: Floats, treated_slots: list[int]) -> float:
    """The p-value of one replicate, by trying every choice of the treated authorities."""

    def difference(chosen: tuple[int, ...]) -> float:
        arm = np.isin(np.arange(means.size), chosen)
        return abs(means[arm].mean() - means[~arm].mean())

    observed = difference(tuple(treated_slots))
    every = [difference(chosen) for chosen in combinations(range(means.size), len(treated_slots))]
    return float(np.mean([value >= observed - 1e-12 for value in every]))


@pytest.mark.parametrize("name", NAMES)
def test_p_values_are_those_of_the_reference(name: str) -> None:
    """An enumeration has one right answer, ties included."""
    data = np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)
    labels = np.unique(data["cluster"])
    means = np.array([[data["y"][data["cluster"] == label].mean() for label in labels]])
    treated = [i for i, label in enumerate(labels) if data["treat"][data["cluster"] == label][0] == 1]
    expected = json.loads((REFERENCE / "point" / f"{name}.json").read_text())["cluster_means"]
    answer = estimate(panel_of(means, treated), draws=99_999)
    assert answer.estimate[0] == pytest.approx(expected["randomisation_test"]["diff"], rel=1e-12)
    assert answer.p_value[0] == pytest.approx(expected["randomisation_test"]["p_two_sided"], abs=1e-12)


@pytest.mark.parametrize(("n_authorities", "treated"), [(6, [0, 1, 2]), (7, [1, 4]), (8, [0, 3, 5, 6])])
@pytest.mark.parametrize("rounded", [False, True])
def test_p_values_equal_a_plain_enumeration(n_authorities: int, treated: list[int], rounded: bool) -> None:
    """Rounded means tie often, and a far origin hides ties in the last digits."""
    means = np.random.default_rng(2).normal(size=(30, n_authorities))
    if rounded:
        means = means.round(0) / 10
    answer = estimate(panel_of(means + 1000, treated))
    expected = [enumerated_p(one, treated) for one in means]
    np.testing.assert_allclose(answer.p_value, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "case", ATTAINABLE["randomisation_test"], ids=lambda case: f"{case['treated']}of{case['G']}"
)
def test_the_floor_is_attained_and_never_passed(case: dict[str, float]) -> None:
    """A study with too few authorities can never reject, and its table must say so."""
    n_authorities, n_treated = int(case["G"]), int(case["treated"])
    separated = np.where(np.arange(n_authorities) < n_treated, 5.0, 0.0) + 0.01 * np.arange(n_authorities)
    answer = estimate(panel_of(separated[np.newaxis], list(range(n_treated))))
    assert answer.p_floor[0] == pytest.approx(case["min_p"], abs=1e-12)
    assert answer.p_value[0] == pytest.approx(case["min_p"], abs=1e-12)


@pytest.mark.parametrize(
    ("n_authorities", "treated"), [(6, [0, 1, 2]), (7, [0, 1, 2]), (10, [0, 1, 2, 3, 4])]
)
def test_its_size_is_the_largest_attainable_below_alpha(n_authorities: int, treated: list[int]) -> None:
    """Exact for any number of authorities: four Monte Carlo errors around the reference."""
    n = 20_000
    means = np.random.default_rng(3).normal(size=(n, n_authorities))
    rate = (estimate(panel_of(means, treated)).p_value <= 0.05).mean()
    sizes = {(case["G"], case["treated"]): case["exact_size"] for case in ATTAINABLE["randomisation_test"]}
    size = sizes[n_authorities, len(treated)]
    assert rate == pytest.approx(size, abs=4 * np.sqrt(size * (1 - size) / n))


def test_random_draws_approach_the_enumeration() -> None:
    """Each replicate's count of draws is binomial about the enumerated p-value: four of its errors."""
    means = np.random.default_rng(4).normal(size=(40, 10)) + 0.8 * (np.arange(10) < 4)
    panel = panel_of(means, [0, 1, 2, 3])
    every, drawn = estimate(panel, draws=999), estimate(panel, draws=199)
    assert every.p_floor[0] == 1 / 210
    assert drawn.p_floor[0] == 1 / 200
    error = np.sqrt(every.p_value * (1 - every.p_value) / 199) + 1 / 200
    assert (np.abs(drawn.p_value - every.p_value) <= 4 * error).all()
    counts = drawn.p_value * 200
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    assert (counts >= 1 - 1e-9).all()


def test_the_seed_decides_the_draws_and_the_block_does_not() -> None:
    """The same arrangements serve every replicate, so that a replicate's answer is its own."""
    means = np.random.default_rng(5).normal(size=(1100, 16))
    treated = list(range(8))
    whole, again = estimate(panel_of(means, treated)), estimate(panel_of(means, treated))
    np.testing.assert_array_equal(whole.p_value, again.p_value)
    np.testing.assert_array_equal(estimate(panel_of(means[7:8], treated)).p_value, whole.p_value[7:8])
    assert (estimate(panel_of(means, treated), seed=2).p_value != whole.p_value).any()


def test_p_values_do_not_depend_on_origin_and_unit() -> None:
    """Ranks of differences are the same on every scale."""
    means = np.random.default_rng(6).normal(size=(50, 9))
    first = estimate(panel_of(means, [0, 1, 2]))
    second = estimate(panel_of(70 - 0.01 * means, [0, 1, 2]))
    np.testing.assert_array_equal(first.p_value, second.p_value)
    np.testing.assert_allclose(second.estimate, -0.01 * first.estimate, rtol=1e-9)


def test_a_change_is_tested_as_a_level_of_changes() -> None:
    """Differencing comes before the test and changes nothing of it."""
    outcome = np.random.default_rng(7).normal(size=(10, 8, 2))
    treated = [0, 1, 2, 3]
    changes = estimate(panel_of(outcome, treated), change=True)
    levels = estimate(panel_of(outcome[:, :, 1] - outcome[:, :, 0], treated))
    np.testing.assert_allclose(changes.p_value, levels.p_value, rtol=1e-12)
    assert Permutation(change=True).needs_before


def test_unseen_authorities_are_left_out_and_the_others_dealt_out_again() -> None:
    """Given how many of either arm were seen every choice was as likely: the enumeration of those."""
    means = np.random.default_rng(8).normal(size=(3, 9))
    full = estimate(panel_of(means, [0, 1, 2, 3]))
    means[1, [2, 6]] = np.nan
    answer = estimate(panel_of(means, [0, 1, 2, 3]), draws=60_000)
    np.testing.assert_array_equal(answer.p_value[[0, 2]], full.p_value[[0, 2]])
    expected = enumerated_p(means[1][~np.isnan(means[1])], [0, 1, 2])
    assert answer.p_value[1] == pytest.approx(expected, abs=4 * (expected / 60_000) ** 0.5)
    assert answer.estimate[1] == pytest.approx(np.nanmean(means[1, :4]) - np.nanmean(means[1, 4:]), rel=1e-12)
    assert answer.p_floor[1] == pytest.approx(1 / comb(7, 3))
    assert np.isnan(answer.std_error).all()


def test_unseen_authorities_are_left_out_of_their_stratum() -> None:
    """Of two strata of four, one unseen: 2 of 3 and 2 of 4 were treated, and no other numbers could have been."""
    rng = np.random.default_rng(3)
    means = rng.normal(size=(1, 8))
    means[0, 1] = np.nan
    panel = panel_of(means, [0, 2, 4, 5])
    panel = replace(panel, law=replace(panel.law, start=(0, NEVER) * 4, stratum=(0,) * 4 + (1,) * 4))
    answer = estimate(panel, draws=60_000)
    differences = []
    for one in combinations([0, 2, 3], 2):
        for other in combinations(range(4, 8), 2):
            arm = np.isin(np.arange(8), [*one, *other])
            differences.append(abs(np.nanmean(means[0, arm]) - np.nanmean(means[0, ~arm])))
    expected = np.mean(np.array(differences) >= abs(answer.estimate[0]) - 1e-12)
    assert answer.p_value[0] == pytest.approx(expected, abs=4 * (expected / 60_000) ** 0.5)


def test_a_replicate_without_two_arms_or_a_law_to_deal_again_has_no_answer() -> None:
    """Nobody seen of an arm; or balance that was reached with the authority that is missing."""
    means = np.random.default_rng(8).normal(size=(2, 6))
    assert (estimate(panel_of(np.full((2, 4), np.nan), [0, 1])).status == Status.TOO_FEW_CLUSTERS).all()
    assert (estimate(panel_of(means, [])).status == Status.TOO_FEW_CLUSTERS).all()
    means[0, :3] = np.nan
    answer = estimate(panel_of(means, [0, 1, 2]))
    assert answer.status.tolist() == [Status.TOO_FEW_CLUSTERS, Status.OK]
    assert np.isnan(answer.p_value[0])
    candidates = complete_randomisation(6, 3).draw(np.random.default_rng(1), 20)
    law = ConstrainedRandomisation(candidates, np.ones((2, 20), dtype=bool), mirrored=False)
    means[0, :2] = 0.0
    answer = estimate(replace(panel_of(means, [0, 1, 2]), law=law))
    assert answer.status.tolist() == [Status.TOO_FEW_CLUSTERS, Status.OK]


def test_a_test_of_some_unseen_authorities_holds_its_size() -> None:
    """Missing by chance, whatever the outcomes: p at or below .05 in no more than 5 % of trials."""
    rng = np.random.default_rng(4)
    means = rng.standard_t(3, size=(4_000, 10))
    means[rng.random(means.shape) < 0.1] = np.nan
    p_value = estimate(panel_of(means, [0, 1, 2, 3, 4])).p_value
    rejected = np.mean(p_value[~np.isnan(p_value)] <= 0.05)
    assert 0.03 < rejected < 0.05 + 4 * (0.05 * 0.95 / 4_000) ** 0.5


def test_strata_are_permuted_within_themselves() -> None:
    """A pair-matched study by brute force over the flips of its pairs."""
    means = np.random.default_rng(9).normal(size=(20, 8))
    starts = np.tile([0, NEVER], 4)
    law = Randomisation(tuple(starts.tolist()), tuple(np.repeat(range(4), 2).tolist()))
    panel = replace(panel_of(means, [0, 2, 4, 6]), law=law)
    answer = estimate(panel)
    differences = means[:, ::2] - means[:, 1::2]
    flips = np.array(list(product([1, -1], repeat=4)))
    every = np.abs(differences @ flips.T)
    expected = (every >= np.abs(differences.sum(axis=1, keepdims=True)) - 1e-12).mean(axis=1)
    np.testing.assert_allclose(answer.p_value, expected, rtol=1e-12)
    assert answer.p_floor[0] == 2 / 16


def test_a_constrained_law_is_permuted_within_what_each_replicate_allowed() -> None:
    """The p-value is the share of a replicate's own balanced arrangements with as large a difference."""
    rng = np.random.default_rng(10)
    means = rng.normal(size=(30, 6))
    candidates = np.array(
        [[0 if i in chosen else NEVER for i in range(6)] for chosen in combinations(range(6), 3)]
    )
    allowed = rng.random((30, 20)) < 0.6
    chosen = np.array([rng.choice(np.flatnonzero(row)) for row in allowed])
    law = ConstrainedRandomisation(candidates, allowed, mirrored=False)
    panel = replace(panel_of(means, [0, 1, 2]), law=law, start=candidates[chosen])
    answer = estimate(panel)
    for r in range(30):
        every = [abs(means[r, row == 0].mean() - means[r, row != 0].mean()) for row in candidates[allowed[r]]]
        observed = abs(
            means[r, candidates[chosen[r]] == 0].mean() - means[r, candidates[chosen[r]] != 0].mean()
        )
        expected = np.mean([value >= observed - 1e-12 for value in every])
        assert answer.p_value[r] == pytest.approx(expected)
