"""Worlds at the edges of every range: drawn whole and finite, or refused with a reason."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from design_sim.allocation import two_arms
from design_sim.estimands import Estimand, true_value
from design_sim.streams import Streams
from design_sim.world.audit import fidelity_score, observed_score, score_reliability
from design_sim.world.delivery import Fieldwork, Sample, deliver
from design_sim.world.draw import draw_world
from design_sim.world.outcomes import (
    RecordedBinary,
    RecordedContinuous,
    RecordedCount,
    RecordedDuration,
    SurveyedBinary,
    SurveyedContinuous,
    SurveyedCount,
    SurveyedDuration,
)
from design_sim.world.settings import WorldSettings
from design_sim.world.surveyed import ICC

SHARE = st.sampled_from([0.0, 0.5, 1.0])
OPEN = st.sampled_from([1e-6, 0.3, 0.999])
WORLDS = st.fixed_dictionaries(
    {
        "authorities": st.sampled_from([2, 7]),
        "uptake": SHARE,
        "effect_sd": st.sampled_from([0.0, 1.0]),
        "anticipation": SHARE,
        "time": st.fixed_dictionaries(
            {
                "years_before": st.sampled_from([0, 1, 3]),
                "years_after": st.sampled_from([1, 3]),
                "per_year": st.sampled_from([1, 4]),
            }
        ),
        "quality": st.fixed_dictionaries(
            {"permanent_share": SHARE, "autocorrelation": st.sampled_from([0.0, 0.999])}
        ),
        "fidelity": st.fixed_dictionaries(
            {
                "mean": st.sampled_from([0.02, 0.5, 0.98]),
                "authority_sd": st.sampled_from([0.01, 0.1]),
                "worker_sd": st.sampled_from([0.01, 0.09]),
                "ramp": st.sampled_from(["fast", "linear", "slow"]),
                "starts_at": st.sampled_from([0.0, 0.79]),
                "drift": st.sampled_from([0.0, 0.99]),
                "turnover": st.sampled_from([0.0, 0.99]),
                "shock": SHARE,
            }
        ),
        "response": st.sampled_from(
            [
                {},
                {"shape": "threshold", "threshold": 0.999},
                {"shape": "saturating", "curvature": 50.0},
                {"shape": "j_shaped", "floor": -5.0},
            ]
        ),
        "informal": st.fixed_dictionaries({"share": st.sampled_from([0.0, 0.5]), "fidelity": SHARE}),
        "rival": st.fixed_dictionaries({"share": st.sampled_from([1e-6, 0.5]), "mean": OPEN}),
        "audit": st.fixed_dictionaries(
            {
                "cases": st.sampled_from([1, 40]),
                "rater_reliability": st.sampled_from([1e-6, 1.0]),
                "inflation_sd": SHARE,
            }
        ),
        "inspections": st.fixed_dictionaries({"every_years": st.sampled_from([1, 20])}),
        "leaving": st.fixed_dictionaries(
            {"after_inadequate": SHARE, "new_leadership": SHARE, "switch": OPEN}
        ),
    }
)
OUTCOMES = {
    "days": RecordedContinuous(effect=1.0, authority_sd=0.0, family_sd=1.0, slope_sd=10.0),
    "risk": RecordedBinary(mean=0.999, effect=-0.5, authority_sd=0.0001, per_10000_children=0.01),
    "score": SurveyedContinuous(effect=-3.0, sd=1e-6),
    "entries": RecordedCount(mean=1e-6, effect=2e-5, log_sd=3.0, overdispersion=20.0, slope_sd=10.0),
    "contacts": RecordedCount(mean=1e5, effect=-9.9e4, log_sd=3.0, slope_sd=10.0, per_10000_children=0.01),
    "visits": SurveyedCount(mean=900.0, effect=-899.0, log_sd=3.0, overdispersion=20.0),
    "placed": RecordedDuration(mean=1.0, sd=20.0, effect=-0.999, log_sd=1.0, per_10000_children=1.0),
    "waited": SurveyedDuration(mean=1e-6, sd=1e-9, effect=1e-5, log_sd=0.0),
    "yes": SurveyedBinary(mean=0.01, effect=0.9, icc=ICC(authority=0.0)),
    "no spread": SurveyedContinuous(effect=1e-7, mean=0.5, sd=1e-6, bounds=(0.0, 1e2)),
    "at the floor": SurveyedContinuous.model_validate(
        {
            "mean": 0.01,
            "sd": 0.09,
            "bounds": [0, 1],
            "effect": 0.9,
            "icc": {"authority": 0.0, "team": 0.9, "worker": 0.09},
            "children_per_family": 10.0,
            "sibling_correlation": 1.0,
            "slope_sd": 10.0,
        }
    ),
    "all alike": SurveyedBinary.model_validate(
        {
            "mean": 1e-6,
            "effect": 0.9,
            "icc": {"authority": 0.2, "team": 0.0, "worker": 0.5},
            "competence_correlation": -1.0,
            "children_per_family": 10.0,
            "slope_sd": 10.0,
        }
    ),
}


@settings(deadline=None, max_examples=60)
@given(stated=WORLDS, name=st.sampled_from(sorted(OUTCOMES)))
def test_a_world_at_the_edge_is_drawn_whole_or_refused(stated: dict[str, object], name: str) -> None:
    """No nan, no infinity, no risk outside 0 to 1, no count or duration below 0, and a truth in every replicate."""
    try:
        world_settings = WorldSettings.model_validate(stated)
    except ValidationError as refused:
        reasons = ("cannot be had", "no effect", "sum to")
        if any(reason in str(refused) for reason in reasons):
            return
        raise
    outcome = OUTCOMES[name]
    if faults := outcome.faults(world_settings):
        assert name == "all alike"
        assert "over 3 months as over a year" in faults[0]
        return
    world = draw_world(world_settings, {name: outcome}, 3, Streams(1, 0))
    time, n = world_settings.time, world_settings.authorities
    allocation = two_arms(np.tile(np.arange(n), (3, 1)), 1, time.start, randomised=True)
    sample = Sample(teams=1, workers=2, families=2) if outcome.source == "survey" else None
    delivery = deliver(Fieldwork(world, allocation, name, np.arange(time.occasions), sample, spread=True))
    for cells in (delivery.stated, delivery.null):
        assert np.isfinite(cells.mean[np.broadcast_to(cells.n > 0, cells.mean.shape)]).all()
        assert cells.ss is not None
        assert (cells.ss > -1e-9).all()
        low, high = getattr(outcome, "bounds", None) or (
            -np.inf if outcome.kind == "continuous" else 0,
            1 if outcome.kind == "binary" else np.inf,
        )
        assert np.nanmin(cells.mean) >= low
        assert np.nanmax(cells.mean) <= high
    assert np.isfinite(delivery.exposure).all()
    assert np.isfinite(fidelity_score(world)).all()
    assert np.isfinite(observed_score(world, allocation, time.occasions - 1)).all()
    assert 0 <= score_reliability(world_settings) <= 1
    for rung in ("offered", "delivered", "full_fidelity", "per_fidelity", "versus_rival"):
        for average in ("sample", "national"):
            estimand = Estimand(rung=rung, average=average)  # type: ignore[arg-type]
            assert np.isfinite(true_value(estimand, world, allocation, name, (0, 12))).all()


@pytest.mark.parametrize(
    "outcome",
    [
        RecordedBinary(mean=0.3, effect=0.0, authority_sd=0.3),
        SurveyedBinary(mean=0.3, effect=0.0, icc=ICC(authority=0.4)),
    ],
)
def test_a_spread_that_short_occasions_cannot_have_is_refused(
    outcome: RecordedBinary | SurveyedBinary,
) -> None:
    """Quarters without memory differ twice as much as years: .3 x 2 is more than risks of mean .3 can."""
    forgetful = {"permanent_share": 0.0, "autocorrelation": 0.0}
    yearly = WorldSettings.model_validate({"quality": forgetful})
    quarterly = WorldSettings.model_validate({"quality": forgetful, "time": {"per_year": 4}})
    assert outcome.faults(yearly) == []
    (fault,) = outcome.faults(quarterly)
    assert fault.startswith(
        "mean: authorities differ 2.00 times as much over 3 months as over a year; in year "
    )
    assert "cannot be had with a standard deviation of" in fault
