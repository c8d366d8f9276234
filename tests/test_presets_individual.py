"""Presets of trials that randomise families, workers or children reproduce the figures known of them."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats

from design_sim.arrays import Bools, Floats
from design_sim.panel import Panel
from design_sim.performance import Measured, measure
from design_sim.results import Results, run
from design_sim.simulate import carry_out
from design_sim.streams import Streams
from design_sim.sweep import load
from design_sim.theory import (
    intention_to_treat_effect,
    mdes,
    risk_difference_std_error,
    size_with_misstated_variance,
    t_test_power,
    two_proportion_power,
)
from design_sim.world.draw import draw_world

SIBLINGS = [1.0, 0.7, 0.5]
"""Correlations of siblings, in the order of the preset's cases."""
SKILL = (0.30, 0.70)
"""Variances of skill between workers, and between the families of a worker."""


@cache
def found(preset: str) -> Results:
    """A preset as it is."""
    return run(load(preset))


def of(results: Results, answer: str, name: str, case: int = 0) -> Measured:
    """A measure of an answer, `design/answer`, in a case."""
    design, _, answer = answer.partition("/")
    return measure(results.tallies[case][design, answer], name)


def drawn(preset: str, design: str, replicates: int) -> tuple[Panel, Floats, Bools]:
    """A study's panel at its last occasion: what is observed of every row, and whether it is treated."""
    scenario = load(preset).cases[0].scenario
    world = draw_world(scenario.world, scenario.outcomes, replicates, Streams(1, 0))
    panel = carry_out(scenario, scenario.studies[design], world)[1]
    n = panel.cells.n[:, :, -1]
    shape = (replicates, n.shape[1])
    return panel, np.broadcast_to(n, shape), np.broadcast_to(panel.treated[:, :, -1], shape)


def near(value: float, simulated: Measured, besides: float = 0.0) -> bool:
    """Whether a simulated measure is within four Monte Carlo standard errors, and what is stated besides."""
    return simulated.value == pytest.approx(value, abs=besides + 4 * simulated.mcse)


def children_variance(correlation: float) -> tuple[float, float]:
    """Variance of an arm's mean in units of risk x (1 - risk) / families: by family, and by child.

    A family has one child and a Poisson number more, in the mean 1.73; the outcomes of two have the
    correlation. A ratio of sums, as the mean over children is, varies as its numerator's residuals do.
    """
    more = np.arange(60)
    chance, children = stats.poisson.pmf(more, 0.73), 1.0 + more
    mean = chance @ children
    by_family = chance @ (correlation + (1 - correlation) / children)
    by_child = chance @ (correlation * children**2 + (1 - correlation) * children) / mean**2
    return float(by_family), float(by_child)


def test_family_conferences_have_the_power_of_their_formula() -> None:
    """1,511 families, 44.8 v 36.2 %: power .93 and MDES 7.0 points; .22, .50 and .79 for 3, 5 and 7 points."""
    arm = 1_511 / 2
    assert two_proportion_power(0.362, 0.448, arm, arm) == pytest.approx(0.93, abs=0.01)
    std_error = risk_difference_std_error(0.362, 0.448, arm, arm)
    assert mdes(std_error, np.inf) == pytest.approx(0.070, abs=0.001)
    for points, power in ((3, 0.22), (5, 0.50), (7, 0.79)):
        known = two_proportion_power(0.448 - points / 100, 0.448, arm, arm)
        assert known == pytest.approx(power, abs=0.01)


def test_family_conferences_simulated_have_the_power_known() -> None:
    """Where siblings share their fate a family is one outcome: power .93 for 8.6 points and .79 for 7."""
    results = found("fgc-individual-rct")
    power = of(results, "trial/families", "power")
    assert near(float(two_proportion_power(0.362, 0.448, 756, 756)), power)
    assert near(0.93, power, 0.01)
    sweep = load("fgc-individual-rct", {"outcomes.in_care.effect": -0.07})
    smaller = run(replace(sweep, cases=sweep.cases[:1]))
    assert near(0.79, of(smaller, "trial/families", "power"), 0.01)


@pytest.mark.parametrize("case", range(3))
def test_siblings_cost_what_algebra_says(case: int) -> None:
    """Variances of both kinds of mean; a test of children as independent has the size of its design effect."""
    results = found("fgc-individual-rct")
    assert list(results.sweep.cases[case].settings.values()) == [SIBLINGS[case]]
    by_family, by_child = children_variance(SIBLINGS[case])
    per_family = risk_difference_std_error(0.362, 0.448, 756, 756)
    for answer, variance in (("families", by_family), ("children", by_child), ("naive", by_child)):
        expected = per_family * np.sqrt(variance)
        assert near(expected, of(results, f"trial/{answer}", "empirical_se", case))
        assert near(0.0, of(results, f"trial/{answer}", "bias", case))
        if answer != "naive":
            known = float(t_test_power(0.086, expected, 1_510))
            assert near(known, of(results, f"trial/{answer}", "power", case))
            assert near(0.05, of(results, f"trial/{answer}", "size", case))
    size = float(size_with_misstated_variance(1 / (1.73 * by_child)))
    assert near(size, of(results, "trial/naive", "size", case))


def test_family_conferences_have_their_families_and_children() -> None:
    """21 authorities, 36 families of each in either arm, 1.73 children in a family."""
    _, children, treated = drawn("fgc-individual-rct", "trial", 64)
    assert children.shape[1] == 1_512
    assert (treated.reshape(64, 21, 72).sum(axis=2) == 36).all()
    families = np.sqrt(0.73 / children.size)
    assert children.mean() == pytest.approx(2_548 / 1_471, abs=0.003 + 4 * families)


def worker_std_errors(seen: tuple[float, float]) -> tuple[float, float, float]:
    """Standard errors of the difference in skill: all workers alike, all families alike, and at the best.

    28 and 33 workers have ten families each, of whom a share is seen. Sums over workers are taken at their
    expectation: each worker seen alike; each by her families, a worker's part counting with their square; and
    each by the inverse of her variance, as a model does that knows both variances.
    """
    between, within = SKILL
    variances = np.zeros(3)
    for workers, share in zip((28, 33), seen, strict=True):
        families = np.arange(1, 11)
        chance = stats.binom.pmf(families, 10, share)
        there = chance.sum()
        own = between + within / families
        variances += [
            chance @ own / there / (workers * there),
            (between * (chance @ families**2) + within * (chance @ families))
            / (workers * (chance @ families) ** 2),
            1 / (workers * (chance @ (1 / own))),
        ]
    return tuple(np.sqrt(variances))


@pytest.mark.parametrize(
    ("design", "seen"),
    [("counted", (67 / 280, 98 / 330)), ("recorded", (131 / 610, 131 / 610))],
    ids=["67 v 98 families", "131 recorded"],
)
def test_the_difference_in_skill_has_its_standard_error(design: str, seen: tuple[float, float]) -> None:
    """.42 with p = .049 is a standard error of .213; so it is here, to .02, whichever families it rests on."""
    assert 2 * stats.norm.sf(0.42 / 0.213) == pytest.approx(0.049, abs=0.001)
    results = found("mi-worker-rct")
    by_worker, by_family, best = worker_std_errors(seen)
    answers = {"workers": by_worker, "model": best} | ({"naive": by_family} if design == "counted" else {})
    for answer, std_error in answers.items():
        assert std_error == pytest.approx(0.213, abs=0.02)
        simulated = of(results, f"{design}/{answer}", "empirical_se")
        assert near(std_error, simulated)
        assert simulated.value == pytest.approx(0.213, abs=0.02)
        assert near(0.0, of(results, f"{design}/{answer}", "bias"))


def test_a_difference_at_the_edge_of_significance_has_even_chances() -> None:
    """Power for .42 is about one half, and .6 points would be seen in four trials of five."""
    results = found("mi-worker-rct")
    by_worker = worker_std_errors((67 / 280, 98 / 330))[0]
    assert near(float(t_test_power(0.42, by_worker, 57)), of(results, "counted/workers", "power"))
    assert near(0.5, of(results, "counted/model", "power"), 0.02)
    assert mdes(0.213, 59) == pytest.approx(0.6, abs=0.01)


def test_workers_hold_their_size_and_their_families_as_independent_do_not() -> None:
    """Families of a worker have something in common; a naive test's size is that of its design effect."""
    results = found("mi-worker-rct")
    for design in ("counted", "recorded", "followed"):
        for answer in ("workers", "model"):
            assert near(0.05, of(results, f"{design}/{answer}", "size"))
    by_family = worker_std_errors((67 / 280, 98 / 330))[1]
    independent = np.sqrt(1 / 67 + 1 / 98)
    size = float(size_with_misstated_variance((independent / by_family) ** 2))
    assert near(size, of(results, "counted/naive", "size"))


def test_workers_and_families_are_those_of_the_trial() -> None:
    """28 v 33 workers; 67 v 98 families, or 46 % of the 284 that entered, or 37 % followed up."""
    replicates = 1_024
    for design, arms, share, printed in (
        ("counted", (67, 98), None, None),
        ("recorded", None, 131 / 284, 0.46),
        ("followed", None, 104 / 284, 0.37),
    ):
        panel, families, treated = drawn("mi-worker-rct", design, replicates)
        assert panel.roster.n_units("worker") == 61
        assert (treated.sum(axis=1) == 28).all()
        totals = [(families * (treated == arm)).sum(axis=1) for arm in (True, False)]
        if arms:
            for total, expected in zip(totals, arms, strict=True):
                assert total.mean() == pytest.approx(expected, abs=4 * total.std() / np.sqrt(replicates))
        else:
            both = sum(totals)
            error = both.std() / np.sqrt(replicates)
            assert both.mean() / 284 == pytest.approx(share, abs=4 * error / 284)
            assert share == pytest.approx(printed, abs=0.005)


def test_life_story_work_detects_what_theory_says() -> None:
    """270 v 498: .21 SD between arms, three times that among the third who received it."""
    smallest = float(mdes(np.sqrt(1 / 270 + 1 / 498), 766))
    assert smallest == pytest.approx(0.21, abs=0.01)
    assert smallest / (90 / 270) == pytest.approx(0.64, abs=0.01)
    assert intention_to_treat_effect(0.64, 90 / 270) == pytest.approx(smallest, abs=0.002)


def test_life_story_work_simulated_has_the_power_of_its_arms() -> None:
    """A third who gain .64 add .64^2 x 2/9 to an arm's variance: power .78, where the formula without has .80."""
    results = found("life-story-uptake")
    offer = 0.64 / 3
    treated = 1 + 0.64**2 * (1 / 3) * (2 / 3)
    std_error = np.sqrt(treated / 270 + 1 / 498)
    assert t_test_power(offer, np.sqrt(1 / 270 + 1 / 498), 766) == pytest.approx(0.80, abs=0.01)
    assert t_test_power(offer, std_error, 766) == pytest.approx(0.78, abs=0.01)
    for answer in ("t_test", "cr2"):
        assert near(std_error, of(results, f"trial/{answer}", "empirical_se"))
        assert near(0.0, of(results, f"trial/{answer}", "bias"))
        assert near(0.05, of(results, f"trial/{answer}", "size"))
        assert near(-offer, of(results, f"trial/{answer}", "truth"), 1e-9)
    assert near(float(t_test_power(offer, std_error, 766)), of(results, "trial/cr2", "power"))


def test_recipients_of_life_story_work_gain_what_instruments_say() -> None:
    """The complier effect is unbiased, its intervals hold, and its error is three times that of the offer.

    Outcomes less what was received vary by 1 in both arms; a share of 1/3 estimated from 270 adds its own
    relative variance, (2/3) / 90, three times to that of the ratio.
    """
    results = found("life-story-uptake")
    assert of(results, "trial/recipients", "truth").value == pytest.approx(-0.64, abs=1e-12)
    assert near(0.0, of(results, "trial/recipients", "bias"))
    assert near(0.95, of(results, "trial/recipients", "coverage"))
    assert near(0.05, of(results, "trial/recipients", "size"))
    std_error = 3 * np.sqrt((1 / 270 + 1 / 498) * (1 + 3 * (2 / 3) / 90))
    assert near(std_error, of(results, "trial/recipients", "empirical_se"))


def test_life_story_work_has_its_children_and_recipients() -> None:
    """270 v 498 in three authorities; a third of the 270 take part, and nobody else."""
    panel, children, treated = drawn("life-story-uptake", "trial", 512)
    assert panel.n_authorities == 3
    assert panel.uptake is not None
    assert (children == 1).all()
    assert (treated.sum(axis=1) == 270).all()
    assert (~treated).sum(axis=1).max() == 498
    recipients = (panel.uptake[:, :, -1] * treated).sum(axis=1)
    assert recipients.mean() == pytest.approx(90, abs=4 * np.sqrt(60 / 512))
    assert (panel.uptake[:, :, -1] * ~treated).sum() == 0
