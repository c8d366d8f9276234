"""The presets reproduce the published and derived figures that they stand for."""

import pytest

from design_sim.performance import MEASURES, measure
from design_sim.results import Results, run
from design_sim.sweep import load
from design_sim.tally import Tally
from design_sim.theory import mdes, t_test_power


def tally_of(results: Results, case: int, answer: str) -> Tally:
    """The tally of an answer in a case of a sweep."""
    return next(tally for (_, name), tally in results.tallies[case].items() if name == answer)


@pytest.fixture(scope="module")
def contrast() -> Results:
    """Two against two, 20 and 50 families in each authority."""
    return run(load("sofs-round2-contrast-2v2"))


@pytest.fixture(scope="module")
def pilots() -> Results:
    """Nine pilots against 9 and 130 comparisons."""
    return run(load("sofs-round2-did"))


@pytest.mark.parametrize(("case", "size"), [(0, 0.12), (1, 0.21)])
def test_naive_analysis_of_the_contrast_rejects_true_nulls(contrast: Results, case: int, size: float) -> None:
    """ICC .03: size .12 at 20 families an authority and .21 at 50; the t test on means holds 5 %."""
    naive = measure(tally_of(contrast, case, "naive"), "size")
    assert naive.value == pytest.approx(size, abs=0.01 + 3 * naive.mcse)
    honest = measure(tally_of(contrast, case, "cluster_means"), "size")
    assert honest.value == pytest.approx(0.05, abs=4 * honest.mcse)


def test_permutation_of_two_against_two_cannot_reject(contrast: Results) -> None:
    """Six arrangements, mirrored: the smallest two-sided p is 1/3."""
    tally = tally_of(contrast, 0, "permutation")
    assert measure(tally, "p_floor").value == pytest.approx(1 / 3, rel=1e-12)
    assert measure(tally, "power").value == 0


@pytest.mark.parametrize(("case", "families", "points"), [(0, 20, 26.6), (1, 50, 21.1)])
def test_contrast_detects_what_theory_says(
    contrast: Results, case: int, families: int, points: float
) -> None:
    """The standard error behind the 26.6 and 21.1 points that 80 % power needs on authority means."""
    std_error = 16.8 * (0.03 + 0.97 / families) ** 0.5
    assert mdes(std_error, 2) == pytest.approx(points, rel=0.02)
    simulated = measure(tally_of(contrast, case, "cluster_means"), "empirical_se")
    assert simulated.value == pytest.approx(std_error, abs=4 * simulated.mcse)
    power = measure(tally_of(contrast, case, "cluster_means"), "power")
    assert power.value == pytest.approx(t_test_power(5.0, std_error, 2), abs=4 * power.mcse)


@pytest.mark.parametrize(("case", "spread"), [(0, 0.020), (1, 0.015)])
def test_pilots_estimate_scatters_as_on_the_records(pilots: Results, case: int, spread: float) -> None:
    """SD of the estimate 2.0 points at 9 v 9 and 1.5 at 9 v 130; size .80 naive and .05 by authority."""
    assert measure(tally_of(pilots, case, "change"), "empirical_se").value == pytest.approx(
        spread, abs=0.0015
    )
    assert measure(tally_of(pilots, case, "naive"), "size").value == pytest.approx(0.80, abs=0.05)
    for answer in ("change", "cr2"):
        assert measure(tally_of(pilots, case, answer), "size").value == pytest.approx(0.05, abs=0.02)


def test_twenty_against_twenty_families_has_its_textbook_power() -> None:
    """The two-sample t test: power .09, .15, .34, .69 for .2, .3, .5, .8 SD."""
    results = run(load("sofs-small-20v20"))
    for case, (effect, published) in enumerate([(0.2, 0.09), (0.3, 0.15), (0.5, 0.34), (0.8, 0.69)]):
        exact = float(t_test_power(effect, (2 / 20) ** 0.5, 38))
        assert exact == pytest.approx(published, abs=0.005)
        power = measure(tally_of(results, case, "t_test"), "power")
        assert power.value == pytest.approx(exact, abs=4 * power.mcse)
    assert mdes((2 / 20) ** 0.5, 38) == pytest.approx(0.91, abs=0.005)


def test_performance_is_a_long_table_of_every_measure(contrast: Results) -> None:
    """One row for each case, answer and measure, with its Monte Carlo error beside it."""
    frame = contrast.performance
    assert list(frame.columns) == [
        "designs.contrast.sample.families", "design", "outcome", "answer", "estimator", "estimand",
        "average", "weights", "measure", "value", "mcse", "replicates", "failures",
    ]  # fmt: skip
    assert len(frame) == 2 * 4 * len(MEASURES)
    known = frame[frame.value.notna()]
    assert known.mcse.notna().all()
