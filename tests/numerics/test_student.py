"""Student's t, against scipy."""

import numpy as np
import pytest
from scipy import stats

from design_sim.numerics.student import t_p_value, t_quantile

STATISTICS = np.concatenate([[0.0, 1e-3, 1e3, -1e6, np.inf], np.random.default_rng(1).standard_t(3, 4_000)])


@pytest.mark.parametrize("df", [*range(1, 31), 57, 148, 2.5, 17.3, np.inf])
def test_p_values_are_those_of_the_distribution(df: float) -> None:
    """The finite sum, and the long way where it does not serve, agree with scipy far into the tails."""
    p_value = t_p_value(STATISTICS, np.array([df]))
    expected = 2 * stats.t.sf(np.abs(STATISTICS), df)
    assert p_value == pytest.approx(expected, rel=2e-11, abs=1e-300)


def test_p_values_of_varying_df_are_those_of_each() -> None:
    """A df for every statistic, nan among them."""
    df = np.array([1.0, 2.5, 30.0, np.nan])
    p_value = t_p_value(np.array([2.0, -2.0, 2.0, 2.0]), df)
    assert p_value[:3] == pytest.approx(2 * stats.t.sf(2.0, df[:3]), rel=1e-12)
    assert np.isnan(p_value[3])


def test_a_statistic_that_is_not_known_has_no_p_value() -> None:
    """nan in, nan out, by either route."""
    for n in (1, 4_000):
        assert np.isnan(t_p_value(np.full(n, np.nan), np.array([18.0]))).all()


def test_quantiles_are_those_of_the_distribution() -> None:
    """One df for all, or one for each, the normal among them."""
    df = np.array([1.0, 2.5, 30.0, np.inf])
    assert t_quantile(0.975, df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-10)
    assert t_quantile(0.975, df[1:2]) == pytest.approx(stats.t.ppf(0.975, 2.5), rel=1e-10)
