"""Stepped wedges of binary outcomes by maximum likelihood, against swdpwr and a slow enumeration."""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import integrate, special

from design_sim import theory

Case = Mapping[str, Any]
Agree = Callable[[Case, Mapping[str, Any]], None]


@pytest.mark.reference("packages", "swd_(logit_cond|binomial_identity)$")
def test_power_of_binary_wedges_agrees_with_swdpwr(case: Case, agree: Agree) -> None:
    """The conditional model on the logit scale with a trend, and on the scale of risks without one."""
    given = case["inputs"]
    n_clusters, n_sequences, n_periods = (int(word) for word in given["design"].split() if word.isdigit())
    treated = theory.wedge_design([n_clusters // n_sequences] * n_sequences).astype(int)
    assert treated.shape == (n_clusters, n_periods)
    risks = [given[f"meanresponse_{name}"] for name in ("start", "end0", "end1")]
    found = theory.binary_wedge_effect(treated, given["K"], *risks, given["alpha0"], given["link"])
    power = theory.t_test_power(found.effect, found.variance**0.5, np.inf, given["typeIerror"])
    agree(case, {"power": power})


def test_variance_is_that_of_a_slow_enumeration_of_families() -> None:
    """Every outcome of every family of three clusters, integrated one by one, and the score by hand."""
    treated = np.array([[0, 1], [0, 1], [0, 0]])
    n, risks, icc = 2, (0.3, 0.4, 0.6), 0.1
    found = theory.binary_wedge_effect(treated, n, *risks, icc)
    # Levels and spread that have the stated marginal risks and ICC, found on a fine grid of the normal.
    z = np.linspace(-8, 8, 4001)
    weight = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()

    def level(risk: float, sd: float) -> float:
        low, high = -20.0, 20.0
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if special.expit(middle + sd * z) @ weight < risk else (low, middle)
        return low

    low, high = 0.0, 5.0
    for _ in range(60):
        sd = (low + high) / 2
        risk = special.expit(level(risks[0], sd) + sd * z)
        share = (risk**2 @ weight - risks[0] ** 2) / (risks[0] * (1 - risks[0]))
        low, high = (sd, high) if share < icc else (low, sd)
    shifted = special.expit(special.logit(risks[0]) + special.logit(risks[2]) - special.logit(risks[1]))
    first, last = level(risks[0], sd), level(risks[1], sd)
    effect = level(shifted, sd) - first
    assert found.effect == pytest.approx(effect, abs=1e-7)
    information = np.zeros((4, 4))
    for row in treated:
        logits = np.array([first, last + effect * row[1]])
        design = np.array([[1, 0, 0], [0, 1, row[1]]])
        for outcome in product((0, 1), repeat=2 * n):
            events = np.array(outcome).reshape(2, n)

            def integrand(b: float, logits: Any = logits, design: Any = design, events: Any = events) -> Any:
                p = special.expit(logits + b)[:, np.newaxis]
                likelihood = np.prod(np.where(events == 1, p, 1 - p)) * np.exp(-(b**2) / (2 * sd**2))
                likelihood /= sd * np.sqrt(2 * np.pi)
                residual = (events - p).sum(axis=1) @ design
                return likelihood * np.array([1, *residual, (b**2 / sd**2 - 1) / (2 * sd**2)])

            terms = integrate.quad_vec(integrand, -8 * sd, 8 * sd, epsabs=1e-12)[0]
            information += np.outer(terms[1:], terms[1:]) / terms[0]
    expected = np.linalg.inv(information)[2, 2]
    assert found.variance == pytest.approx(expected, rel=1e-5)


def test_a_parallel_trial_has_nearly_its_first_order_variance() -> None:
    """One period of twenty clusters: the log odds of a cluster are nearly normal, and a little less informative."""
    treated = np.repeat([[1], [0]], 10, axis=0)
    found = theory.binary_wedge_effect(treated, 60, 0.25, 0.25, 0.4, icc=0.02)
    within = 0.25 * 0.75
    sd = np.sqrt(0.02 / (1 - 0.02) / within)
    first_order = theory.log_odds_ratio_variance(0.4, 0.25, 20, 60, sd)
    assert 1 < found.variance / first_order < 1.2


def test_impossible_binary_wedges_are_refused() -> None:
    """Percentages, a link that is not known, too many counts, and what cannot be told from time."""
    treated = np.array([[0, 1, 1], [0, 0, 1]])
    with pytest.raises(ValueError, match="risks"):
        theory.binary_wedge_effect(treated, 10, 20, 30, 40, 0.05)
    with pytest.raises(ValueError, match="logit, identity"):
        theory.binary_wedge_effect(treated, 10, 0.2, 0.3, 0.4, 0.05, "log")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="combinations"):
        theory.binary_wedge_effect(treated, 1000, 0.2, 0.3, 0.4, 0.05)
    with pytest.raises(ValueError, match="cannot be told"):
        theory.binary_wedge_effect(np.array([[0, 1], [0, 1]]), 5, 0.2, 0.3, 0.4, 0.05)
    with pytest.raises(ValueError, match="0 and 1"):
        theory.binary_wedge_effect(treated + 1, 10, 0.2, 0.3, 0.4, 0.05)
    with pytest.raises(ValueError, match="icc"):
        theory.binary_wedge_effect(treated, 10, 0.2, 0.3, 0.4, 0.0)
