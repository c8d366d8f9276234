"""The presets reproduce the published and derived figures that they stand for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from design_sim.performance import MEASURES, measure
from design_sim.results import Results, run
from design_sim.streams import Streams
from design_sim.sweep import load
from design_sim.tally import Tally
from design_sim.theory import mdes, t_test_power
from design_sim.world.draw import World, draw_world

PANEL = Path(__file__).parents[2] / "shared" / "data" / "england_la_year.csv"


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
        "average", "weights", "exit", "component", "clusters", "measure", "value", "mcse", "replicates",
        "failures", "reasons", "boundary",
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


@pytest.mark.parametrize(
    ("outcome", "mean", "sd", "lags", "change"),
    [
        ("referrals", 540.0, 0.35, {1: 0.84, 2: 0.72, 3: 0.66, 5: 0.55}, 0.21),
        ("section_47", 207.0, 0.41, {1: 0.86, 2: 0.78, 3: 0.72, 5: 0.60}, 0.22),
        ("plan_starts", 56.0, 0.38, {1: 0.80, 2: 0.73, 3: 0.68, 5: 0.60}, 0.22),
        ("care_entry", 27.0, 0.36, {1: 0.84, 2: 0.78, 3: 0.75, 5: 0.67}, 0.19),
    ],
)
def test_england_has_the_rates_of_its_records(
    england: World, outcome: str, mean: float, sd: float, lags: dict[int, float], change: float
) -> None:
    """Mean rates; SDs of log rates, their correlations over years, SDs of the change of two-year means.

    The figures are printed to two decimals. Permanent share and coefficient were fitted to the correlations
    and leave up to .035 of them. They are held to true rates; those on record have Poisson noise besides.
    """
    rate = england.expected(outcome)
    assert rate.mean() == pytest.approx(mean, rel=0.01)
    log = np.log(rate)
    assert log.std(axis=1).mean() == pytest.approx(sd, abs=0.005)
    centred = log - log.mean(axis=1, keepdims=True)
    for lag, printed in lags.items():
        pair = centred[:, :, 0] * centred[:, :, lag]
        correlation = pair.mean() / (centred[:, :, 0].std() * centred[:, :, lag].std())
        assert correlation == pytest.approx(printed, abs=0.04)
    two_years = log[:, :, 2:4].mean(axis=2) - log[:, :, :2].mean(axis=2)
    assert two_years.std(axis=1).mean() == pytest.approx(change, abs=0.01)


@pytest.mark.parametrize(
    ("one", "other", "printed"),
    [
        ("rereferral", "section_47", 0.46),
        ("rereferral", "referrals", 0.58),
        ("plan_starts", "section_47", 0.76),
        ("rereferral", "deprivation", 0.13),
        ("plan_starts", "deprivation", 0.46),
        ("care_entry", "deprivation", 0.42),
    ],
)
def test_england_has_outcomes_that_hang_together(
    england: World, one: str, other: str, printed: float
) -> None:
    """Correlations of rates in the same year, as on record.

    They are stated for deviations; logit-normal and lognormal rates take up to .02 of them.
    """
    values = [
        np.repeat(england.deprivation[:, :, np.newaxis], 6, axis=2)
        if name == "deprivation"
        else england.expected(name)
        for name in (one, other)
    ]
    of_worlds = [
        np.corrcoef(first.ravel(), second.ravel())[0, 1] for first, second in zip(*values, strict=True)
    ]
    error = 4 * np.std(of_worlds) / np.sqrt(len(of_worlds))
    assert np.mean(of_worlds) == pytest.approx(printed, abs=0.03 + error)


def test_the_records_show_the_referrals_that_england_states() -> None:
    """SD of log rates .35, national rates from 490 to 575, correlation with re-referral .58: where data are."""
    world = load("england").cases[0].scenario.outcomes
    assert world["referrals"].correlations["rereferral"] == 0.58
    if PANEL.exists():
        panel = pd.read_csv(PANEL).query("referrals > 0 and children_0_17 > 0")
        panel["log_rate"] = np.log(panel.referrals / panel.children_0_17 * 10_000)
        years = panel.groupby("year")
        assert years.log_rate.std().mean() == pytest.approx(0.35, abs=0.005)
        together = years[["log_rate", "rereferral_percent"]].corr().iloc[::2, 1]
        assert together.mean() == pytest.approx(0.58, abs=0.01)
        national = 10_000 * years.referrals.sum() / years.children_0_17.sum()
        assert national.mean() == pytest.approx(540, abs=10)


@pytest.mark.parametrize(
    ("outcome", "model", "data"), [("care_entry", 0.28, 0.28), ("section_47", 0.275, 0.23)]
)
def test_the_worst_quarter_of_rates_comes_down_by_itself(
    england: World, outcome: str, model: float, data: float
) -> None:
    """In SDs of the log rate, two years on and without any intervention: 1.27 (1 - r2) in a normal model.

    What is on record has Poisson noise, which regresses at once: up to .06 SD more.
    """
    true, recorded = (
        np.log(rate) for rate in (england.expected(outcome), np.maximum(england.record(outcome).mean, 1.0))
    )
    for log, allowed in ((true, 0.01), (recorded, 0.06)):
        worst = np.argsort(-log[:, :, 1], axis=1)[:, :38]
        then, later = (np.take_along_axis(log[:, :, year], worst, axis=1).mean() for year in (1, 3))
        fall = (then - later) / log.std(axis=1).mean()
        assert fall == pytest.approx(model, abs=allowed)
        assert fall == pytest.approx(data, abs=allowed + 0.05)


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
