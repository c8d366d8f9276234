"""A covariate of families: standardised, correlated as stated at each level, and worth what algebra says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import special

from design_sim.allocation import Allocation, two_arms
from design_sim.arrays import Floats
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, Sample, deliver
from design_sim.world.draw import draw_world
from design_sim.world.outcomes import Outcome, SurveyedBinary, SurveyedContinuous
from design_sim.world.risks import risk_scale
from design_sim.world.settings import WorldSettings

REFERENCE = Path(__file__).parents[1] / "reference" / "closed_form" / "formulas.json"
TEERENSTRA = [
    case for case in json.loads(REFERENCE.read_text())["cases"] if case["id"].startswith("ancova_crt")
]
SHARES = {"authority": 0.2, "team": 0.1, "worker": 0.3}
COVARIATE = {
    "icc": {"authority": 0.1, "team": 0.2, "worker": 0.3},
    "correlation": {"authority": 0.9, "team": -0.5, "worker": 0.3, "family": 0.7},
}
SCORE = {"effect": 1.0, "sd": 2.0, "icc": SHARES, "covariate": COVARIATE}
SAMPLE = Sample(teams=2, workers=2, families=3)


def delivered(
    outcome: Outcome,
    n: int = 4_000,
    *,
    covariate: bool = True,
    streams: Streams | None = None,
    **changes: Any,
) -> Delivery:
    """Four authorities, two treated, by default observed once after the start."""
    drawn = draw_world(WorldSettings(authorities=4), {"y": outcome}, n, streams or Streams(8, 0))
    allocation: Allocation = two_arms(np.tile(np.arange(4), (n, 1)), 2, 2, randomised=True)
    work = {"occasions": np.array([3]), "sample": SAMPLE, "resolution": "unit", "spread": True, **changes}
    return deliver(Fieldwork(drawn, allocation, "y", covariate=covariate, **work))


def nested(values: Floats) -> Floats:
    """Rows as (authority of every replicate, team, worker, family)."""
    return values.reshape(-1, 2, 2, 3)


def covariances(a: Floats, b: Floats) -> list[tuple[float, float]]:
    """Covariance of a pair of families, and its error: of an authority, a team, a worker, and the same one."""
    pairs = [
        a[:, 0, 0, 0] * b[:, 1, 1, 1],
        a[:, :, 0, 0] * b[:, :, 1, 1],
        a[:, :, :, 0] * b[:, :, :, 1],
        a * b,
    ]
    by_authority = [pair.reshape(a.shape[0], -1).mean(axis=1) for pair in pairs]
    return [(float(of.mean()), float(of.std() / np.sqrt(of.size))) for of in by_authority]


@pytest.mark.parametrize("bounds", [None, [-40, 40]])
def test_parts_correlate_as_stated_at_every_level(bounds: list[float] | None) -> None:
    """Covariances of pairs accumulate from the authority down: shares, and rho x roots of both shares."""
    outcome = SurveyedContinuous.model_validate({**SCORE, "bounds": bounds})
    delivery = delivered(outcome)
    assert delivery.covariate is not None
    x, y = nested(delivery.covariate), nested(delivery.null.mean[:, :, 0]) / 2
    of_x = np.array([0.1, 0.2, 0.3, 0.4])
    of_y = np.array([0.2, 0.1, 0.3, 0.4])
    rho = np.array([0.9, -0.5, 0.3, 0.7])
    assert x.mean() == pytest.approx(0, abs=4 * np.sqrt(0.2 / 16_000))
    for pair, expected in (
        ((x, x), np.cumsum(of_x)),
        ((x, y), np.cumsum(rho * np.sqrt(of_x * of_y))),
    ):
        for (found, error), level in zip(covariances(*pair), expected, strict=True):
            assert found == pytest.approx(level, abs=4 * error)


def test_siblings_share_the_covariate_of_their_family() -> None:
    """Its family part goes with what siblings share: the covariance is rho x root of both shares of that."""
    outcome = SurveyedContinuous.model_validate(
        {**SCORE, "children_per_family": 2.0, "sibling_correlation": 0.5}
    )
    delivery = delivered(outcome)
    assert delivery.covariate is not None
    x, y = nested(delivery.covariate), nested(delivery.null.mean[:, :, 0]) / 2
    found, error = covariances(x, y)[3]
    worker = covariances(x, y)[2][0]
    assert found - worker == pytest.approx(0.7 * 0.4 * np.sqrt(0.5), abs=6 * error)


def test_the_covariate_of_a_yes_or_no_goes_with_the_normal_behind_it() -> None:
    """Without other parts the point-biserial correlation is rho x density at the threshold / root of p q."""
    for rho in (0.6, -0.4):
        covariate = {"icc": {"authority": 0.0}, "correlation": {"family": rho}}
        outcome = SurveyedBinary.model_validate(
            {"mean": 0.3, "effect": 0.1, "icc": {"authority": 0.0}, "covariate": covariate}
        )
        delivery = delivered(outcome)
        assert delivery.covariate is not None
        found = np.corrcoef(delivery.covariate.ravel(), delivery.null.mean.ravel())[0, 1]
        at = special.ndtri(0.3)
        expected = rho * np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi) / np.sqrt(0.21)
        assert found == pytest.approx(expected, abs=4 / np.sqrt(delivery.covariate.size))
        assert delivery.null.mean.mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 192_000))


def test_binary_parts_of_members_correlate_too() -> None:
    """A worker's part goes along with the place on the logit scale: rho x root share x spread x E p (1 - p)."""
    outcome = SurveyedBinary.model_validate(
        {
            "mean": 0.3,
            "effect": 0.1,
            "icc": {"authority": 0.05, "team": 0.05, "worker": 0.2},
            "covariate": {"icc": SHARES, "correlation": {"worker": 0.9, "family": 0.0}},
        }
    )
    delivery = delivered(outcome)
    assert delivery.covariate is not None
    x, y = nested(delivery.covariate), nested(delivery.null.mean[:, :, 0]) - 0.3
    (authority, e1), (team, e2), (worker, error), _ = covariances(x, y)
    assert abs(authority) < 4 * e1
    assert abs(team) < 4 * e2
    spread = risk_scale(0.3, 0.3, tuple(np.sqrt(share * 0.21) for share in (0.05, 0.05, 0.2))).worker
    assert worker == pytest.approx(0.9 * np.sqrt(0.3) * spread * 0.21 * 0.7, abs=4 * error)


@pytest.mark.parametrize("case", TEERENSTRA, ids=lambda case: case["id"])
def test_authority_means_correlate_as_published(case: dict[str, Any]) -> None:
    """A cohort's baseline: r = (m rho_c icc + rho_s (1 - icc)) / (1 + (m - 1) icc), Teerenstra et al. 2012."""
    inputs = case["inputs"]
    shares = {"authority": inputs["icc"]}
    correlation = {
        "authority": inputs["cluster_autocorrelation"],
        "family": inputs["subject_autocorrelation"],
    }
    outcome = SurveyedContinuous.model_validate(
        {"effect": 0.0, "icc": shares, "covariate": {"icc": shares, "correlation": correlation}}
    )
    delivery = delivered(outcome, 5_000, sample=Sample(teams=1, workers=1, families=inputs["m"]))
    assert delivery.covariate is not None
    x = delivery.covariate.reshape(20_000, -1).mean(axis=1)
    y = delivery.null.mean[:, :, 0].reshape(20_000, -1).mean(axis=1)
    r = case["expected"]["r_cluster_means"]
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(r, abs=4 * (1 - r**2) / np.sqrt(20_000))
    design_effect = case["expected"]["design_effect"] / inputs["m"]
    assert y.var() == pytest.approx(design_effect, rel=4 * np.sqrt(2 / 20_000))


def test_families_of_other_occasions_have_covariates_of_their_own() -> None:
    """A row is one family at one occasion, whose covariate says nothing of the families of another."""
    outcome = SurveyedContinuous.model_validate(
        {
            "effect": 0.0,
            "icc": {"authority": 0.0},
            "covariate": {"icc": {"authority": 0.0}, "correlation": {"family": 1.0}},
        }
    )
    delivery = delivered(outcome, 500, occasions=np.array([1, 3]))
    cells, x = delivery.null, delivery.covariate
    assert x is not None
    n = np.broadcast_to(cells.n, cells.mean.shape)
    assert (n.sum(axis=2) == 1).all()
    assert (delivery.null.pool(delivery.roster, "worker").n == 3).all()
    here = n > 0
    assert np.allclose(np.broadcast_to(x[:, :, np.newaxis], n.shape)[here], cells.mean[here])
    assert outcome.most_rows(WorldSettings(), SAMPLE, families=True) * 2 * 4 == delivery.roster.n_rows


def test_a_covariate_that_nobody_asks_for_draws_nothing(listening: Streams) -> None:
    """Stated or not, the outcome is what it is without it, and no stream of its own is asked."""
    found = []
    for stated in (SCORE, {key: value for key, value in SCORE.items() if key != "covariate"}):
        outcome = SurveyedContinuous.model_validate(stated)
        found.append(delivered(outcome, 8, covariate=False, streams=listening))
    assert np.array_equal(found[0].stated.mean, found[1].stated.mean)
    assert found[0].covariate is None
    asked = listening.asked  # type: ignore[attr-defined]
    assert not {name for name in asked if name.startswith("covariate")}
    assert np.array_equal(delivered(outcome, 8, streams=listening).null.mean, found[0].null.mean)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"covariate": {"correlation": {"family": 0.5, "team": 0.5}}}, "correlation.team has no effect"),
        (
            {"covariate": {"icc": SHARES, "correlation": {"family": 0.5, "team": 0.5}}},
            "covariate.correlation.team has no effect while icc.team is 0",
        ),
        ({"covariate": {"correlation": {}}}, "family"),
        ({"covariate": {"icc": {"authority": 1.0}, "correlation": {"family": 1.0}}}, "less than 1"),
    ],
)
def test_correlations_without_parts_are_refused(changes: dict[str, object], said: str) -> None:
    """A correlation with nothing has no effect."""
    with pytest.raises(ValidationError, match=said):
        SurveyedContinuous.model_validate({"effect": 1.0, **changes})
