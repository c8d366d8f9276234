"""The likelihood-ratio test is that of the model fitted by maximum likelihood, one replicate at a time."""

import numpy as np
import pytest
from scipy import optimize, stats

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Floats, Ints
from design_sim.cells import Cells
from design_sim.estimators.likelihood_ratio import LikelihoodRatio
from design_sim.panel import Panel
from design_sim.roster import Roster


def panel_of(values: list[list[Floats]]) -> Panel:
    """A panel of authorities as cells, the first half treated; values by replicate and authority."""
    n = np.array([[[of.size] for of in one] for one in values], dtype=np.float64)
    mean = np.array([[[of.mean()] for of in one] for one in values])
    ss = np.array([[[((of - of.mean()) ** 2).sum()] for of in one] for one in values])
    size = n.shape[1]
    return Panel(
        roster=Roster.of_authorities(size),
        cells=Cells(n, mean, ss),
        start=np.array([[0] * (size // 2) + [NEVER] * (size - size // 2)]),
        occasions=np.array([0]),
        follow_up=np.array([True]),
        law=complete_randomisation(size, size // 2),
    )


def best_fit(y: Floats, x: Floats, group: Ints) -> tuple[float, Floats]:
    """Minus twice the greatest log-likelihood and the coefficients: whole covariance matrices, one search."""
    same = (group[:, np.newaxis] == group).astype(np.float64)

    def at(ratio: float) -> tuple[float, Floats]:
        shape = np.eye(y.size) + ratio * same
        inverse = np.linalg.inv(shape)
        coefficients = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
        residual = y - x @ coefficients
        variance = residual @ inverse @ residual / y.size
        density = stats.multivariate_normal(x @ coefficients, variance * shape)
        return float(-2 * density.logpdf(y)), coefficients

    search = optimize.minimize_scalar(
        lambda place: at(np.expm1(place))[0], bounds=(0, 8), method="bounded", options={"xatol": 1e-10}
    )
    return min(at(np.expm1(search.x)), at(0.0), key=lambda fit: fit[0])


@pytest.mark.parametrize("spread", [0.0, 0.7, 3.0], ids=str)
def test_it_is_twice_the_gain_in_log_likelihood_of_two_fits(spread: float) -> None:
    """Both models fitted the obvious way; unequal authorities, the boundary included."""
    rng = np.random.default_rng(11)
    sizes = [4, 9, 15, 6, 11, 3, 8]
    values = [
        [rng.standard_normal(size) + spread * rng.standard_normal() + (k < 3) for k, size in enumerate(sizes)]
        for _ in range(6)
    ]
    found = LikelihoodRatio().estimate(panel_of(values), rng)
    for replicate, one in enumerate(values):
        y, group = np.concatenate(one), np.repeat(np.arange(7), sizes)
        ones = np.ones((y.size, 1))
        full, coefficients = best_fit(y, np.hstack([ones, group[:, np.newaxis] < 3]), group)
        null, _ = best_fit(y, ones, group)
        assert found.p_value[replicate] == pytest.approx(stats.chi2.sf(null - full, 1), rel=1e-6)
        assert found.estimate[replicate] == pytest.approx(coefficients[1], abs=1e-6)


def test_with_six_authorities_it_rejects_a_true_null_in_about_one_study_of_nine() -> None:
    """Equal clusters: type I error .11, as simulated for a published tutorial's trial with six clusters."""
    rng = np.random.default_rng(3)
    runs, size = 20_000, 70
    mean = np.sqrt(0.0633 + 2 / size) * rng.standard_normal((runs, 6, 1))
    within = 2 * rng.chisquare(size - 1, (runs, 6, 1))
    start = np.array([[0] * 3 + [NEVER] * 3])
    panel = Panel(
        roster=Roster.of_authorities(6),
        cells=Cells(np.full((1, 6, 1), float(size)), mean, within),
        start=start,
        occasions=np.array([0]),
        follow_up=np.array([True]),
        law=complete_randomisation(6, 3),
    )
    rejected = (LikelihoodRatio().estimate(panel, rng).p_value < 0.05).mean()
    assert rejected == pytest.approx(0.112, abs=0.02)
