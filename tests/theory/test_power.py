"""Power and MDES against other algorithms, other software and published trials."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]
AgreeOnNumber = Callable[[Case, Callable[[float], float]], None]


def monte_carlo_error(rate: float, n: int) -> float:
    """Four Monte Carlo standard errors of a rejection rate."""
    return 4 * float(np.sqrt(rate * (1 - rate) / n))


@pytest.mark.parametrize("df", [1.0, 2.0, 4.5, 38.0])
@pytest.mark.parametrize("noncentrality", [0.5, 2.8, 6.0])
def test_power_is_the_tail_of_the_noncentral_t(df: float, noncentrality: float) -> None:
    """Power is by definition a tail probability of the noncentral t, here by another algorithm."""
    from scipy import stats

    critical = stats.t.ppf(0.975, df)
    expected = stats.nct.sf(critical, df, noncentrality) + stats.nct.cdf(-critical, df, noncentrality)
    assert theory.t_test_power(noncentrality, 1.0, df) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("df", [1.0, 2.5, 30.0, 1e5, np.inf])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_power_without_an_effect_is_alpha(df: float, alpha: float) -> None:
    """An exact test rejects a true null at its level, whatever the degrees of freedom."""
    assert theory.t_test_power(0.0, 0.3, df, alpha) == pytest.approx(alpha, abs=1e-11)


def test_power_is_taken_for_each_effect_of_an_array() -> None:
    """A power curve is the power at each of its points."""
    effects, std_errors = np.array([[0.1], [0.4]]), np.array([0.1, 0.2, 0.3])
    curve = theory.t_test_power(effects, std_errors, 7)
    one_by_one = [[float(theory.t_test_power(e, s, 7)) for s in std_errors] for e in effects[:, 0]]
    np.testing.assert_allclose(curve, one_by_one, atol=1e-11)


@pytest.mark.parametrize("df", [1.0, 2.0, 10.0, np.inf])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.99])
def test_power_at_the_mdes_is_the_power_asked_for(df: float, power: float) -> None:
    """The MDES is defined as the effect at which power is reached."""
    effect = theory.mdes(0.7, df, alpha=0.05, power=power)
    assert theory.t_test_power(effect, 0.7, df) == pytest.approx(power, abs=1e-10)


def test_mdes_grows_in_proportion_to_the_standard_error() -> None:
    """Power depends on the effect over its standard error alone."""
    mdes = theory.mdes(np.array([0.1, 0.2]), 5)
    np.testing.assert_allclose(mdes[1], 2 * mdes[0], rtol=1e-12)


def test_power_below_alpha_is_refused() -> None:
    """No effect has less power than alpha, so that such an MDES does not exist."""
    with pytest.raises(ValueError, match="power"):
        theory.mdes(1.0, 10, alpha=0.05, power=0.04)


@pytest.mark.reference("packages", "t2_(?!n_for)")
def test_power_agrees_with_pwr(case: Case, agree: Agree) -> None:
    """The R package pwr uses the same noncentral t."""
    given = case["inputs"]
    n1 = given.get("n1", given.get("n_per_arm"))
    n2 = given.get("n2", n1)
    power = theory.t_test_power(given["d"], np.sqrt(1 / n1 + 1 / n2), n1 + n2 - 2, given["alpha"])
    agree(case, {"power": power})


@pytest.mark.reference("packages", "t2_n_for")
def test_number_of_families_agrees_with_pwr(case: Case, agree_on_number: AgreeOnNumber) -> None:
    """The number an arm at which power is reached, before rounding up."""
    d = case["inputs"]["d"]
    agree_on_number(case, lambda n: float(theory.t_test_power(d, np.sqrt(2 / n), 2 * n - 2)))


@pytest.mark.reference("packages", "prop2_")
def test_z_power_agrees_with_pwr_on_the_arcsine_scale(case: Case, agree: Agree) -> None:
    """On the arcsine scale the standard error is known, so that infinite df give pwr's z test."""
    given = case["inputs"]
    std_error = np.sqrt(1 / given["n1"] + 1 / given["n2"])
    agree(case, {"power": theory.t_test_power(given["h"], std_error, np.inf, given["alpha"])})


@pytest.mark.reference("formulas", "rdss_two_arm")
def test_power_of_the_two_arm_trial_agrees_with_the_reference(case: Case, agree: Agree) -> None:
    """The textbook two-arm trial is the simplest case of all."""
    given = case["inputs"]
    std_error = given["sigma"] * np.sqrt(2 / given["n_per_arm"])
    power = theory.t_test_power(given["effect"], std_error, 2 * given["n_per_arm"] - 2, given["alpha"])
    agree(case, {"true_se": std_error, "power": power})


@pytest.mark.reference("formulas", "assurance_")
def test_assurance_agrees_with_the_reference(case: Case, agree: Agree) -> None:
    """Power averaged over a normal prior, by its favourable tail and by both."""
    given = case["inputs"]
    std_error = given["sigma"] * np.sqrt(2 / given["n_per_arm"])
    prior, half = (given["prior_mean"], given["prior_sd"]), given["alpha"] / 2
    found = {
        "power_at_prior_mean": theory.t_test_power(
            given["prior_mean"], std_error, np.inf, half, one_sided=True
        ),
        "assurance_upper_tail": theory.assurance(*prior, std_error, alpha=half, one_sided=True),
        "assurance_two_sided": theory.assurance(*prior, std_error, alpha=given["alpha"]),
    }
    agree(case, found)


@pytest.mark.parametrize("df", [4.0, np.inf])
@pytest.mark.parametrize("one_sided", [False, True])
def test_assurance_is_the_mean_of_power_over_the_prior(df: float, one_sided: bool) -> None:
    """That is its definition: power integrated over the prior's density."""
    effects = np.linspace(0.3 - 9 * 0.2, 0.3 + 9 * 0.2, 721)
    density = np.exp(-(((effects - 0.3) / 0.2) ** 2) / 2)
    power = theory.t_test_power(effects, 0.15, df, one_sided=one_sided)
    expected = power @ density / density.sum()
    found = theory.assurance(0.3, 0.2, 0.15, df, one_sided=one_sided)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("df", [2.0, 9.5, np.inf])
def test_one_sided_tests_share_out_the_power_of_a_two_sided_one(df: float) -> None:
    """At half the level each, the two tails are what the two-sided test rejects in."""
    tails = [theory.t_test_power(effect, 0.4, df, 0.025, one_sided=True) for effect in (0.5, -0.5)]
    assert sum(tails) == pytest.approx(theory.t_test_power(0.5, 0.4, df), abs=1e-11)


def test_customary_multiplier_nears_the_mdes_as_degrees_of_freedom_grow() -> None:
    """It leaves out what the noncentral t has of skewness, 5 per cent at 2 df and nothing at infinity."""
    ratios = [float(theory.mdes(1.0, df)) / theory.mdes_multiplier(df) for df in (2, 20, np.inf)]
    assert ratios[0] == pytest.approx(1.05, abs=0.01)
    assert ratios[1] == pytest.approx(1, abs=0.002)
    assert ratios[2] == pytest.approx(1, abs=2e-6)


def test_number_of_units_has_the_power_asked_for() -> None:
    """Power at the number found is the power asked for; where it is there from the first, none is sought."""

    def power(n: float) -> float:
        return float(theory.t_test_power(0.4, np.sqrt(4 / n), n - 2))

    assert power(theory.units_for_power(power, 0.9, fewest=4)) == pytest.approx(0.9, abs=1e-10)
    assert theory.units_for_power(power, 0.2, fewest=400) == 400


def test_power_that_families_cannot_buy_is_refused() -> None:
    """With four authorities an arm and ICC .05, families without end leave a standard error of .16."""

    def power(n: float) -> float:
        return float(theory.t_test_power(0.2, np.sqrt(2 * theory.design_effect(n, 0.05) / (4 * n)), 6))

    with pytest.raises(ValueError, match="no number of units"):
        theory.units_for_power(power)


def test_impossible_levels_and_powers_are_refused() -> None:
    """A level or power outside 0 to 1 is a slip, such as a percentage."""
    with pytest.raises(ValueError, match="alpha"):
        theory.t_test_power(0.5, 0.2, 10, alpha=5.0)
    with pytest.raises(ValueError, match="alpha"):
        theory.t_test_power(0.5, 0.2, 10, alpha=0.6, one_sided=True)
    with pytest.raises(ValueError, match="power"):
        theory.mdes_multiplier(10, power=80)
    with pytest.raises(ValueError, match="power"):
        theory.units_for_power(lambda n: n, power=80)
    with pytest.raises(ValueError, match="prior_sd"):
        theory.assurance(0.3, -0.1, 0.2)
    with pytest.raises(ValueError, match="risk"):
        theory.risk_difference_std_error(36.2, 44.8, 100, 100)


def test_family_group_conferencing_trial_has_its_power_and_mdes() -> None:
    """1,511 families at 44.8 v 36.2 %: power .93 and 80 % MDES 7.0 points, at the observed spread."""
    n_arm = 1511 / 2
    assert theory.two_proportion_power(0.362, 0.448, n_arm, n_arm) == pytest.approx(0.93, abs=0.005)
    for effect, power in ((0.03, 0.22), (0.05, 0.50), (0.07, 0.79)):
        found = theory.two_proportion_power(0.448 - effect, 0.448, n_arm, n_arm)
        assert found == pytest.approx(power, abs=0.005)
    std_error = theory.risk_difference_std_error(0.362, 0.448, n_arm, n_arm)
    assert theory.mdes(std_error, np.inf) == pytest.approx(0.070, abs=0.0007)


def test_two_proportion_power_is_the_rejection_rate_of_simulated_trials() -> None:
    """The normal approximation must hold where events are many."""
    n_arm, n_trials = 755, 100_000
    rng = np.random.default_rng(1)
    treated, comparison = (rng.binomial(n_arm, risk, n_trials) / n_arm for risk in (0.398, 0.448))
    std_error = np.sqrt((treated * (1 - treated) + comparison * (1 - comparison)) / n_arm)
    rate = float((np.abs(treated - comparison) / std_error > 1.959964).mean())
    power = float(theory.two_proportion_power(0.398, 0.448, n_arm, n_arm))
    # The approximation itself is good to .002 here.
    assert rate == pytest.approx(power, abs=monte_carlo_error(power, n_trials) + 0.002)


def test_twenty_families_an_arm_have_the_power_stated() -> None:
    """20 v 20: power .10, .15, .34, .69 at d = .2, .3, .5, .8, and MDES .91."""
    powers = theory.t_test_power(np.array([0.2, 0.3, 0.5, 0.8]), np.sqrt(2 / 20), 38)
    np.testing.assert_allclose(powers, [0.10, 0.15, 0.34, 0.69], atol=0.0056)
    assert theory.mdes(np.sqrt(2 / 20), 38) == pytest.approx(0.91, abs=0.005)


def test_school_trial_has_its_smallest_detectable_rate_ratio() -> None:
    """A log rate ratio with standard error .0509 has 80 % MDE .867."""
    assert np.exp(-theory.mdes(0.0509, np.inf)) == pytest.approx(0.867, abs=0.003)
