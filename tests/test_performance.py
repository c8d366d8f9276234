"""Every measure held to its definition on raw arrays, and every Monte Carlo error to repetition."""

from collections.abc import Callable
from functools import reduce
from operator import add

import numpy as np
import pytest
from numpy.random import Generator
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from design_sim.arrays import Floats
from design_sim.estimators.base import Estimates, Status, t_estimates
from design_sim.performance import MEASURES, headline, is_biased, measure, performance, wilson_interval
from design_sim.tally import Tally

ALPHA = 0.05
Block = tuple[Estimates, Estimates, Floats]


def draw_block(
    rng: Generator,
    replicates: int,
    effect: float = 0.3,
    understated: float = 1.0,
    bias: float = 0.0,
    failures: float = 0.0,
    df: float = 18.0,
) -> Block:
    """A normal experiment of standard error 0.2, whose analysis may understate it, and its null twin."""
    truth = effect + 0.1 * rng.standard_normal(replicates)
    noise = bias + 0.2 * rng.standard_normal(replicates)
    std_error = np.full(replicates, 0.2 / understated)
    if np.isfinite(df):
        std_error *= np.sqrt(rng.chisquare(df, replicates) / df)
    twins = []
    for centre in (truth, 0.0):
        failed = rng.random(replicates) < failures if failures else np.zeros(replicates, dtype=bool)
        status = np.where(failed, Status.NOT_CONVERGED, Status.OK).astype(np.int64)
        twins.append(t_estimates(centre + noise, std_error, np.full(1, df), ALPHA, status))
    return twins[0], twins[1], truth


def permutation_estimates(p_value: Floats, estimate: Floats, p_floor: float) -> Estimates:
    """What a test without a standard error returns."""
    none = np.full(1, np.nan)
    status = np.zeros(1, dtype=np.int64)
    return Estimates(estimate, none, none, p_value, none, none, np.full(1, p_floor), status)


def draw_rank_block(rng: Generator, replicates: int, orders: int, effect: float = 1.5) -> Block:
    """A permutation test: the rank of the observed order among equally likely ones."""
    observed = rng.standard_normal(replicates)
    others = rng.standard_normal((replicates, orders - 1))
    twins = []
    for estimate in (observed + effect, observed):
        rank = 1 + (others >= estimate[:, np.newaxis]).sum(axis=1)
        twins.append(permutation_estimates(rank / orders, estimate, 1 / orders))
    return twins[0], twins[1], np.full(replicates, effect)


def measured(tally: Tally) -> dict[str, tuple[float, float]]:
    """Value and Monte Carlo error by name."""
    return {found.measure: (found.value, found.mcse) for found in performance(tally)}


def interpolate_power(p: Floats, null_p: Floats, alpha: float) -> float:
    """Power at the null twin's alpha quantile, walking from one of its p-values to the next."""
    size, power = 0.0, 0.0
    for critical in np.unique(null_p):
        next_size, next_power = np.mean(null_p <= critical), np.mean(p <= critical)
        if next_size >= alpha:
            return power + (next_power - power) * (alpha - size) / (next_size - size)
        size, power = next_size, next_power
    raise AssertionError("the rate reaches 1")


def measure_slowly(stated: Estimates, null: Estimates, truth: Floats) -> dict[str, tuple[float, float]]:
    """Each measure by its definition, and its MCSE by the influence of each replicate, no sums shared."""
    ok, null_ok = ~stated.failed, ~null.failed
    e, t, s, p = stated.estimate[ok], truth[ok], stated.std_error[ok], stated.p_value[ok]
    d, asked = e - t, len(ok)
    e0, p0 = null.estimate[null_ok], null.p_value[null_ok]
    r = p <= ALPHA
    covered = (stated.ci_low[ok] <= t) & (t <= stated.ci_high[ok])
    wrong = (np.sign(e) != np.sign(t.mean()))[r]
    sd, root = d.std(ddof=1), np.sqrt(np.mean(s**2))
    type_m = np.abs(e[r]).mean() / abs(t.mean())

    def error(influence: Floats) -> float:
        return float(influence.std(ddof=1) / np.sqrt(len(influence)))

    def share(hits: Floats) -> tuple[float, float]:
        return hits.mean(), np.sqrt(hits.mean() * (1 - hits.mean()) / len(hits))

    about_sd = (d - d.mean()) ** 2 / (2 * sd)
    about_root = s**2 / (2 * root)
    about_m = (r * (np.abs(e) / abs(t.mean()) - type_m)) / r.mean() - type_m * t / t.mean()
    return {
        "truth": (t.mean(), error(t)),
        "estimate": (e.mean(), error(e)),
        "bias": (d.mean(), error(d)),
        "relative_bias": (d.mean() / t.mean(), error(d / t.mean() - d.mean() * t / t.mean() ** 2)),
        "empirical_se": (sd, error(about_sd)),
        "model_se": (root, error(about_root)),
        "model_se_error": (root / sd - 1, error(about_root / sd - root / sd**2 * about_sd)),
        "rmse": (np.sqrt(np.mean(d**2)), error(d**2 / (2 * np.sqrt(np.mean(d**2))))),
        "coverage": share(covered),
        "power": share(r),
        "power_all": share(np.arange(asked) < r.sum()),
        "size": share(p0 <= ALPHA),
        "size_average": share(p0 <= ALPHA),
        "null_bias": (e0.mean(), error(e0)),
        "type_s": share(wrong),
        "type_m": (type_m, error(about_m)),
        "failure_rate": share(~ok),
        "p_floor": (0.0, 0.0),
    }


@pytest.mark.parametrize("failures", [0.0, 0.1])
@pytest.mark.parametrize("effect", [0.3, -0.1])
def test_each_measure_is_what_its_definition_says(failures: float, effect: float) -> None:
    """The definitions can be written down on raw arrays; co-moments must lead to the same numbers."""
    block = draw_block(np.random.default_rng(1), 800, effect, understated=1.2, failures=failures)
    found = measured(Tally.of(*block, ALPHA, average=block[1]))
    slow = measure_slowly(*block)
    assert list(found) == list(MEASURES)
    assert set(slow) == set(MEASURES) - {"size_adjusted_power"}
    for name, expected in slow.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, err_msg=name)


def test_measures_do_not_depend_on_how_replicates_were_dealt_out() -> None:
    """A table must not change with the size of blocks, but for the last bits."""
    block = draw_block(np.random.default_rng(2), 512, failures=0.1)
    whole = Tally.of(*block, ALPHA)
    parts = []
    for k in range(0, 512, 64):
        stated, null = (
            Estimates(*(a if len(a := getattr(x, f)) == 1 else a[k : k + 64] for f in Estimates.__slots__))
            for x in block[:2]
        )
        parts.append(Tally.of(stated, null, block[2][k : k + 64], ALPHA))
    for name, expected in measured(whole).items():
        np.testing.assert_allclose(measured(reduce(add, parts))[name], expected, rtol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    ("effect", "understated", "failures"), [(0.3, 1.3, 0.05), (0.5, 1.0, 0.0), (0.15, 1.6, 0.0)]
)
def test_monte_carlo_errors_are_those_seen_in_repetition(
    effect: float, understated: float, failures: float
) -> None:
    """The MCSE claims to be the SD over repetitions of the simulation, so repeat it and look."""
    repetitions = 400
    rng = np.random.default_rng(7)
    blocks = (draw_block(rng, 500, effect, understated, 0, failures) for _ in range(repetitions))
    runs = np.array([list(measured(Tally.of(*block, ALPHA, block[1])).values()) for block in blocks])
    for k, name in enumerate(MEASURES):
        known = runs[~np.isnan(runs[:, k, 0]), k]
        # By chance a sound answer is called biased in about 1 repetition of 370.
        assert len(known) >= repetitions - 8, name
        values, errors = known.T
        if np.ptp(values) == 0:
            assert np.all(errors == 0), name
            continue
        kurtosis = stats.kurtosis(values, fisher=False)
        noise = np.sqrt((kurtosis - 1) / 4 + (errors.std() / errors.mean()) ** 2) / np.sqrt(repetitions)
        assert abs(errors.mean() / values.std(ddof=1) - 1) < 4 * noise, name


def test_size_adjusted_power_is_that_of_the_right_test() -> None:
    """A z test with too small a standard error orders studies as the right one does: adjusted, they agree."""
    rng = np.random.default_rng(11)
    replicates, effect = 40_000, 2.5
    z = rng.standard_normal(replicates)
    twins = [
        t_estimates(z + shift, np.full(replicates, 1 / 1.7), np.full(1, np.inf), ALPHA)
        for shift in (effect, 0.0)
    ]
    found = measured(Tally.of(twins[0], twins[1], np.full(replicates, effect), ALPHA))
    critical = stats.norm.isf(ALPHA / 2)
    right = stats.norm.sf(critical - effect) + stats.norm.cdf(-critical - effect)
    value, mcse = found["size_adjusted_power"]
    assert found["power"][0] > right + 0.1
    assert abs(value - right) < 4 * mcse
    assert mcse < 0.006


def test_size_adjusted_power_of_continuous_p_is_that_of_the_raw_p_values() -> None:
    """The grid of critical values must be too fine to show: it adds 3 % to the variance at the most."""
    apart = []
    for seed in range(40):
        stated, null, truth = draw_block(np.random.default_rng(seed), 1000, 0.5, understated=1.4)
        value, mcse = measured(Tally.of(stated, null, truth, ALPHA))["size_adjusted_power"]
        apart.append((value - interpolate_power(stated.p_value, null.p_value, ALPHA)) / mcse)
    assert np.nanmean(np.square(apart)) < 0.03
    assert abs(np.nanmean(apart)) < 0.1


@pytest.mark.parametrize("orders", [20, 24, 50, 252])
def test_size_adjusted_power_of_few_p_values_is_exact(orders: int) -> None:
    """Equal p-values fall together on the grid, so that nothing at all is lost where they are few."""
    stated, null, truth = draw_rank_block(np.random.default_rng(orders), 1000, orders)
    value, mcse = measured(Tally.of(stated, null, truth, ALPHA))["size_adjusted_power"]
    assert mcse > 0
    assert abs(value - interpolate_power(stated.p_value, null.p_value, ALPHA)) < 1e-12


def test_an_exact_test_keeps_its_power_when_adjusted() -> None:
    """Twenty orders give size .05 exactly; noise in the observed size must not make power all or nothing."""
    rng = np.random.default_rng(5)
    runs = [measured(Tally.of(*draw_rank_block(rng, 500, 20), ALPHA)) for _ in range(200)]
    power = np.array([run["power"] for run in runs])
    adjusted = np.array([run["size_adjusted_power"] for run in runs])
    assert {run["size"][0] > ALPHA for run in runs} == {True, False}
    assert np.nanmin(adjusted[:, 0]) > 0.2
    assert abs(np.nanmean(adjusted[:, 0]) - power[:, 0].mean()) < 0.02
    assert np.nanmean(adjusted[:, 1]) > 0.9 * np.nanstd(adjusted[:, 0])


def test_a_test_of_three_orders_cannot_reject() -> None:
    """With p of 1/3 at best no result is significant, so its power is 0 however size is adjusted."""
    tally = Tally.of(*draw_rank_block(np.random.default_rng(3), 500, 3), ALPHA)
    found = measured(tally)
    assert found["power"] == found["size_adjusted_power"] == (0.0, 0.0)
    assert found["p_floor"] == (1 / 3, 0.0)
    top = headline(tally)
    assert (top.kind, top.value, top.mcse) == ("cannot_reject", 1 / 3, 0.0)
    assert top.label == "cannot reject (smallest p .33)"


def test_a_floor_of_exactly_alpha_can_reject() -> None:
    """One order of twenty is p = .05, which rejects: only a floor above alpha forbids it."""
    tally = Tally.of(*draw_rank_block(np.random.default_rng(3), 500, 20), ALPHA)
    assert measured(tally)["p_floor"][0] == 0.05
    assert headline(tally).kind == "power"


def test_without_a_standard_error_only_its_measures_are_unknown() -> None:
    """A permutation test reports no standard error and no interval, and is judged on all else."""
    found = measured(Tally.of(*draw_rank_block(np.random.default_rng(6), 400, 100), ALPHA))
    unknown = {name for name, numbers in found.items() if np.isnan(numbers).any()}
    assert unknown == {"model_se", "model_se_error", "coverage"}
    assert all(np.isnan(found[name]).all() for name in unknown)


def test_bias_takes_size_adjusted_power_away_and_leads() -> None:
    """An estimate off by half its standard error rejects more, which no critical value makes good."""
    tally = Tally.of(*draw_block(np.random.default_rng(1), 2000, bias=0.1), ALPHA)
    assert is_biased(tally)
    assert np.isnan(measured(tally)["size_adjusted_power"]).all()
    top = headline(tally)
    assert (top.kind, top.value, top.mcse) == ("biased", *measured(tally)["rmse"])
    assert top.label == "biased: size .08, power .48, RMSE .22"


def test_bias_leads_where_size_is_too_large_as_well() -> None:
    """Adjusting for size would reward the bias that caused it."""
    tally = Tally.of(*draw_block(np.random.default_rng(1), 2000, bias=0.3), ALPHA)
    assert measured(tally)["size"][0] > 0.2
    assert headline(tally).kind == "biased"


def test_noise_in_few_replicates_is_not_called_bias() -> None:
    """At 100 replicates the mean of a sound estimate is off by 0.1 standard errors one time in three."""
    rng = np.random.default_rng(9)
    tallies = [Tally.of(*draw_block(rng, 100), ALPHA) for _ in range(300)]
    beyond = [abs(t.null.mean_of("estimate")) > 0.1 * t.null.spread_of("estimate") for t in tallies]
    assert np.mean(beyond) > 0.2
    assert sum(map(is_biased, tallies)) <= 4


def test_the_bias_rule_is_a_tenth_of_a_standard_error_where_replicates_are_many() -> None:
    """The rule is on the size of the bias, not on its being told from 0."""
    rng = np.random.default_rng(4)
    assert not is_biased(Tally.of(*draw_block(rng, 40_000, bias=0.08 * 0.2), ALPHA))
    assert is_biased(Tally.of(*draw_block(rng, 40_000, bias=0.12 * 0.2), ALPHA))


def test_a_test_that_rejects_too_often_leads_with_adjusted_power() -> None:
    """Its plain power is partly its size, so that is not what may be compared."""
    tally = Tally.of(*draw_block(np.random.default_rng(2), 2000, understated=1.4), ALPHA)
    top = headline(tally)
    assert (top.kind, top.value, top.mcse) == ("size_adjusted", *measured(tally)["size_adjusted_power"])
    assert top.label == "size-adjusted power .32 (size .15)"


def test_a_sound_test_leads_with_power() -> None:
    """Unbiased and of the size stated: its power is what it says."""
    tally = Tally.of(*draw_block(np.random.default_rng(2), 2000), ALPHA)
    top = headline(tally)
    assert (top.kind, top.value, top.mcse) == ("power", *measured(tally)["power"])
    assert top.label == "power .31"


@pytest.mark.parametrize(("size_count", "kind"), [(75, "power"), (76, "size_adjusted")])
def test_a_size_of_one_and_a_half_alpha_still_holds(size_count: int, kind: str) -> None:
    """The bound belongs to the answers whose size is accepted, to the last replicate."""
    p_value = np.where(np.arange(1000) < size_count, 0.01, 0.5)
    estimate = np.where(np.arange(1000) % 2, 1.0, -1.0)
    estimates = permutation_estimates(p_value, estimate, 0.0)
    assert headline(Tally.of(estimates, estimates, np.ones(1), ALPHA)).kind == kind


def test_one_replicate_or_no_spread_leaves_errors_unknown() -> None:
    """One replicate tells no spread, and one value no ratio to it: nan, not a warning."""
    one = measured(Tally.of(*draw_block(np.random.default_rng(1), 1), ALPHA))
    assert np.isfinite(one["bias"][0])
    assert all(np.isnan(mcse) for name, (_, mcse) in one.items() if name != "p_floor")
    assert np.isnan(one["empirical_se"][0])
    alike = permutation_estimates(np.full(50, 0.5), np.full(50, 0.2), 0.0)
    found = measured(Tally.of(alike, alike, np.full(50, 0.2), ALPHA))
    assert found["bias"] == found["power"] == (0.0, 0.0)
    assert found["empirical_se"][0] == found["rmse"][0] == 0
    assert np.isnan([found[name] for name in ("model_se_error", "type_s", "type_m")]).all()


def test_failures_throughout_are_told_and_nothing_else_is() -> None:
    """Where no analysis succeeded the failure rate is 1, none rejected, and no more is known."""
    tally = Tally.of(*draw_block(np.random.default_rng(1), 20, failures=1.0), ALPHA)
    found = measured(tally)
    known = {name: numbers for name, numbers in found.items() if not np.isnan(numbers).any()}
    assert known == {"power_all": (0.0, 0.0), "failure_rate": (1.0, 0.0)}
    top = headline(tally)
    assert (top.kind, top.label) == ("power", "power not known")
    assert np.isnan([top.value, top.mcse]).all()


def test_ratios_to_a_truth_of_zero_are_unknown() -> None:
    """Relative bias and wrong signs mean nothing where nothing is there to be found."""
    _, null, _ = draw_block(np.random.default_rng(1), 200)
    found = measured(Tally.of(null, null, np.zeros(1), ALPHA))
    assert np.isnan([found[name] for name in ("relative_bias", "type_s", "type_m")]).all()
    assert found["power"] == found["size"]


def test_a_truth_that_is_missing_leaves_what_is_not_judged_against_it() -> None:
    """A replicate without a true value must show, and must not pass as an interval that missed."""
    stated, null, truth = draw_block(np.random.default_rng(1), 200)
    truth[3] = np.nan
    found = measured(Tally.of(stated, null, truth, ALPHA))
    judged = {"truth", "bias", "relative_bias", "empirical_se", "model_se_error", "rmse", "coverage"}
    unknown = {name for name, numbers in found.items() if np.isnan(numbers).any()}
    assert unknown == judged | {"type_s", "type_m"}


def test_wrong_signs_follow_the_sign_of_the_truth() -> None:
    """Where the outcome is a harm, the right sign is minus."""
    estimate = np.array([-1.0, -1.0, -1.0, 1.0, 1.0])
    p_value = np.array([0.01, 0.01, 0.01, 0.01, 0.5])
    estimates = permutation_estimates(p_value, estimate, 0.0)
    harm = Tally.of(estimates, estimates, np.full(5, -0.5), ALPHA)
    good = Tally.of(estimates, estimates, np.full(5, 0.5), ALPHA)
    assert measure(harm, "type_s").value == 0.25
    assert measure(good, "type_s").value == 0.75
    assert measure(harm, "type_m").value == measure(good, "type_m").value == 2


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_numbers_beyond_what_can_be_squared_do_no_harm(scale: float) -> None:
    """A fit gone astray may report anything; counts of rejections must survive it, without a warning."""
    stated, null, truth = draw_block(np.random.default_rng(1), 100)
    wild = permutation_estimates(stated.p_value, scale * stated.estimate, 0.0)
    tally = Tally.of(wild, null, truth, ALPHA)
    merged = measured(tally + tally)
    assert merged["power"][0] == np.mean(stated.p_value <= ALPHA)
    headline(tally + tally)


def test_size_adjusted_power_rests_on_unrelated_draws_too() -> None:
    """Where failures leave no replicate in common, the two rates are independent and still have an error."""
    stated, null, truth = draw_block(np.random.default_rng(1), 400)

    def fail(estimates: Estimates, which: Callable[[Floats], Floats]) -> Estimates:
        status = np.where(which(np.arange(400) % 2), Status.OK, Status.SINGULAR).astype(np.int64)
        return Estimates(*(getattr(estimates, name) for name in Estimates.__slots__[:-1]), status=status)

    tally = Tally.of(fail(stated, lambda odd: odd == 1), fail(null, lambda odd: odd == 0), truth, ALPHA)
    assert tally.p_counts[2].sum() == 0
    value, mcse = measured(tally)["size_adjusted_power"]
    assert mcse > np.sqrt(value * (1 - value) / 200)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 40), (950, 1000)])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_wilson_intervals_agree_with_statsmodels(successes: int, n: int, level: float) -> None:
    """Another implementation of the same formula."""
    expected = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    np.testing.assert_allclose(wilson_interval(successes, n, level), expected, atol=1e-12)


def test_no_trial_gives_no_wilson_interval() -> None:
    """Without a trial nothing is known of a proportion."""
    assert np.isnan(wilson_interval(0, 0)).all()
