"""Power and MDES against other algorithms, other software and published trials."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from design_sim import theory

Case = Mapping[str, Any]
REFERENCE = Path(__file__).parents[1] / "reference"
FORMULAS = "closed_form/formulas.json"
PACKAGES = "closed_form/packages.json"
GROWTH = "closed_form/longitudinal_powerlmm.json"


def load(name: str) -> dict[str, Any]:
    """A stored reference file."""
    stored: dict[str, Any] = json.loads((REFERENCE / name).read_text())
    return stored


def cases(name: str, start: str) -> list[Any]:
    """The cases of a file whose id begins with `start`, as test parameters."""
    chosen = [case for case in load(name)["cases"] if case["id"].startswith(start)]
    assert chosen, f"no case {start} in {name}"
    return [pytest.param(case, id=case["id"]) for case in chosen]


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


@pytest.mark.parametrize("case", cases(PACKAGES, "t2_"))
def test_power_agrees_with_pwr(case: Case) -> None:
    """The R package pwr uses the same noncentral t."""
    given, expected = case["inputs"], case["expected"]
    n1 = given.get("n1", given.get("n_per_arm", expected.get("n_per_arm")))
    n2 = given.get("n2", n1)
    power = theory.t_test_power(given["d"], np.sqrt(1 / n1 + 1 / n2), n1 + n2 - 2)
    assert power == pytest.approx(expected.get("power", given.get("power")), abs=case["tolerance"])


@pytest.mark.parametrize("case", cases(PACKAGES, "prop2_"))
def test_z_power_agrees_with_pwr_on_the_arcsine_scale(case: Case) -> None:
    """On the arcsine scale the standard error is known, so that infinite df give pwr's z test."""
    given = case["inputs"]
    power = theory.t_test_power(given["h"], np.sqrt(1 / given["n1"] + 1 / given["n2"]), np.inf)
    assert power == pytest.approx(case["expected"]["power"], abs=case["tolerance"])


@pytest.mark.parametrize("case", cases(GROWTH, "plmm_"))
def test_power_agrees_with_powerlmm_at_its_standard_error_and_df(case: Case) -> None:
    """Whatever the design, power is that of its standard error and degrees of freedom."""
    slope = case["inputs"]["resolved"]["slope_diff"]
    for method in case["expected"].values():
        power = theory.t_test_power(slope, method["se"], method["df"])
        assert power == pytest.approx(method["power"], abs=case["tolerance"])


@pytest.mark.parametrize("case", cases(FORMULAS, "rdss_two_arm"))
def test_power_of_the_two_arm_trial_agrees_with_the_reference(case: Case) -> None:
    """The textbook two-arm trial is the simplest case of all."""
    given, expected = case["inputs"], case["expected"]
    std_error = given["sigma"] * np.sqrt(2 / given["n_per_arm"])
    power = theory.t_test_power(given["effect"], std_error, 2 * given["n_per_arm"] - 2)
    assert std_error == pytest.approx(expected["true_se"], abs=case["tolerance"])
    assert power == pytest.approx(expected["power"], abs=case["tolerance"])


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
