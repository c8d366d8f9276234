"""The presets reproduce the published and derived figures that they stand for."""

import numpy as np
import pytest

from design_sim.performance import MEASURES, measure
from design_sim.results import Results, run
from design_sim.streams import Streams
from design_sim.sweep import load
from design_sim.tally import Tally
from design_sim.theory import mdes, t_test_power
from design_sim.world.draw import World, draw_world


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
        "average", "weights", "exit", "component", "measure", "value", "mcse", "replicates", "failures",
    ]  # fmt: skip
    assert len(frame) == 2 * 4 * (len(MEASURES) - 1)  # no average null twin
    known = frame[frame.value.notna()]
    assert known.mcse.notna().all()


@pytest.fixture(scope="module")
def england() -> World:
    """Blocks of England with six years on record."""
    scenario = load("england", {"world.time.years_before": 4}).cases[0].scenario
    return draw_world(scenario.world, scenario.outcomes, 600, Streams(1, 0))


@pytest.mark.parametrize(
    ("outcome", "sd", "lags", "change"),
    [
        ("rereferral", 0.056, {1: 0.70, 2: 0.54, 3: 0.46, 5: 0.39}, 0.043),
        ("second_plan", 0.052, {1: 0.43, 2: 0.38, 3: 0.35, 5: 0.32}, 0.044),
        ("timely_assessment", 0.096, {1: 0.67, 2: 0.49, 3: 0.44, 5: 0.28}, 0.075),
    ],
)
def test_england_has_the_spread_and_memory_of_its_records(
    england: World, outcome: str, sd: float, lags: dict[int, float], change: float
) -> None:
    """SDs, correlations over years, and SDs of the change between two-year means, as on record.

    Permanent share and coefficient were fitted to these correlations and leave up to .05 of them; risks that
    are not normal take another .02.
    """
    rate = england.expected(outcome)
    assert rate.std(axis=1).mean() == pytest.approx(sd, rel=0.02)
    centred = rate - rate.mean(axis=1, keepdims=True)
    for lag, printed in lags.items():
        pair = centred[:, :, 0] * centred[:, :, lag]
        correlation = pair.mean() / (centred[:, :, 0].std() * centred[:, :, lag].std())
        assert correlation == pytest.approx(printed, abs=0.075)
    two_years = rate[:, :, 2:4].mean(axis=2) - rate[:, :, :2].mean(axis=2)
    assert two_years.std(axis=1).mean() == pytest.approx(change, abs=0.004)


def test_england_regresses_to_the_mean_without_any_intervention(england: World) -> None:
    """The worst quartile on re-referral falls 3.1 points in two years in a stationary normal model.

    Drawn rates fall 3.5: risks are logit-normal, so that the worst stand further out, and what is recorded
    has binomial noise. The data's quartile fell 3.8, their spread having shrunk over the years.
    """
    normal = 0.209 + 0.056 * england.deviations("rereferral").deviation
    for rate, fall in ((normal, 0.031), (england.record("rereferral").mean, 0.035)):
        worst = np.argsort(-rate[:, :, 1], axis=1)[:, :38]
        then, later = (np.take_along_axis(rate[:, :, year], worst, axis=1).mean() for year in (1, 3))
        assert then - later == pytest.approx(fall, abs=0.001)


def test_england_is_rated_as_in_march_2025(england: World) -> None:
    """45, 60, 33 and 15 of 153 authorities; re-referral is higher where ratings are worse."""
    shares = np.bincount(england.events.rating.ravel(), minlength=4) / england.events.rating.size
    assert shares == pytest.approx([0.10, 0.22, 0.39, 0.29], abs=0.005)
    rate = england.record("rereferral").mean[:, :, 3]
    by_rating = [float(rate[england.events.rating == rating].mean()) for rating in (3, 2, 1, 0)]
    assert by_rating == pytest.approx([0.200, 0.203, 0.212, 0.220], abs=0.006)


@pytest.mark.parametrize(
    ("perfect", "power", "honest"), [(False, 0.71, 0.465), (True, 0.965, 0.858)], ids=["linear", "perfect"]
)
def test_the_fidelity_benchmark_has_its_published_powers(perfect: bool, power: float, honest: float) -> None:
    """Published .71 and .965 by a test whose size is .11; the t test on cluster means holds its 5 %."""
    changes = {"world.fidelity.mean": 1.0, "world.fidelity.years_to_80_percent": 0.0}
    changes |= {"world.fidelity.starts_at": 0.0, "world.fidelity.ramp": "fast"}  # type: ignore[dict-item]
    results = run(load("fidelity-benchmark-crt", changes if perfect else {}))
    published, size = (measure(tally_of(results, 0, "likelihood_ratio"), of) for of in ("power", "size"))
    assert published.value == pytest.approx(power, abs=0.03)
    assert size.value == pytest.approx(0.112, abs=0.02)
    t_test, t_size = (measure(tally_of(results, 0, "cluster_means"), of) for of in ("power", "size"))
    assert t_size.value == pytest.approx(0.05, abs=4 * t_size.mcse)
    std_error = (2 * (0.0633 + 2 / 70) / 3) ** 0.5
    assert t_test.value == pytest.approx(
        float(t_test_power(1.0 if perfect else 0.6, std_error, 4)), abs=4 * t_test.mcse + 0.005
    )
    assert t_test.value == pytest.approx(honest, abs=0.02)
