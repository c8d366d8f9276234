"""A cohort: the same families at every occasion, alike as stated, who take part and are lost once for all."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from design_sim.allocation import NEVER, Allocation, Randomisation, two_arms
from design_sim.arrays import Floats
from design_sim.measurement import Measurement, measured, reached
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, Sample, deliver
from design_sim.world.draw import draw_world
from design_sim.world.outcomes import Outcome, SurveyedBinary, SurveyedContinuous
from design_sim.world.settings import WorldSettings

COHORT = Sample(teams=2, workers=2, families=3, cohort=True)
OCCASIONS = np.array([1, 2, 3])
ALONE = {"icc": {"authority": 0.0}}
"""Families that share nothing with each other."""


def fieldwork(outcome: Outcome, n: int = 3_000, streams: Streams | None = None, **changes: Any) -> Fieldwork:
    """Four authorities, two of them treated from the third occasion on, observed before and twice after."""
    settings = WorldSettings(authorities=4, uptake=changes.pop("takes_part", 1.0))
    drawn = draw_world(settings, {"y": outcome}, n, streams or Streams(8, 0))
    allocation: Allocation = two_arms(np.tile(np.arange(4), (n, 1)), 2, 2, randomised=True)
    work = {"occasions": OCCASIONS, "sample": COHORT, "resolution": "unit", "spread": True, **changes}
    return Fieldwork(drawn, allocation, "y", **work)


def correlations(values: Floats) -> Floats:
    """Of all pairs of occasions, over families of every replicate: (pair,)."""
    found = np.corrcoef(values.reshape(-1, values.shape[2]).T)
    return np.asarray(found[np.triu_indices(values.shape[2], 1)])


@pytest.mark.parametrize("kept", [0.0, 0.6, 1.0])
def test_a_family_correlates_with_itself_as_stated(kept: float) -> None:
    """Any two occasions share what a family keeps, whatever lies between them."""
    outcome = SurveyedContinuous(effect=0.0, sd=2.0, family_autocorrelation=kept, **ALONE)  # type: ignore[arg-type]
    values = deliver(fieldwork(outcome)).null.mean
    assert values.std() == pytest.approx(2, rel=4 / np.sqrt(2 * values.size / 3))
    error = (1 - kept**2) / np.sqrt(values[:, :, 0].size)
    assert correlations(values) == pytest.approx(np.full(3, kept), abs=4 * error + 1e-12)


def test_all_levels_share_what_they_keep() -> None:
    """The covariance of one family's occasions is authority x CAC + team + worker + what it keeps itself."""
    outcome = SurveyedContinuous.model_validate(
        {
            "effect": 0.0,
            "icc": {"authority": 0.2, "team": 0.1, "worker": 0.2},
            "memory": {"permanent_share": 0.4, "autocorrelation": 0.0},
            "family_autocorrelation": 0.3,
        }
    )
    values = deliver(fieldwork(outcome)).null.mean
    by_authority = (values[:, :, 0] * values[:, :, 2]).reshape(-1, 12).mean(axis=1)
    error = by_authority.std() / np.sqrt(by_authority.size)
    expected = 0.2 * 0.4 + 0.1 + 0.2 + 0.5 * 0.3
    assert by_authority.mean() == pytest.approx(expected, abs=4 * error)


def test_bounded_scores_keep_their_latent_part() -> None:
    """Ranks survive a bound that nobody reaches; at a floor that many reach, scores correlate less."""
    far = SurveyedContinuous.model_validate(
        {"effect": 0.0, "bounds": [-30, 30], "family_autocorrelation": 0.6, **ALONE}
    )
    near = far.model_copy(update={"bounds": (-0.5, 30.0)})
    size = 4 * (1 - 0.36) / np.sqrt(36_000)
    assert correlations(deliver(fieldwork(far)).null.mean) == pytest.approx(np.full(3, 0.6), abs=size)
    assert (correlations(deliver(fieldwork(near)).null.mean) < 0.6).all()


@pytest.mark.parametrize(("risk", "kept"), [(0.3, 0.5), (0.8, 0.7)])
def test_a_yes_or_no_is_repeated_as_a_normal_copula_has_it(risk: float, kept: float) -> None:
    """Two occasions both have a yes with the bivariate normal's probability; each has the stated risk."""
    outcome = SurveyedBinary(mean=risk, effect=0.1, family_autocorrelation=kept, **ALONE)  # type: ignore[arg-type]
    values = deliver(fieldwork(outcome)).null.mean
    assert values.mean() == pytest.approx(risk, abs=4 * np.sqrt(risk * (1 - risk) / values[:, :, 0].size))
    threshold = stats.norm.ppf(risk)
    both = stats.multivariate_normal([0, 0], [[1, kept], [kept, 1]]).cdf([threshold, threshold])
    found = (values[:, :, 0] * values[:, :, 2]).mean()
    assert found == pytest.approx(both, abs=4 * np.sqrt(both * (1 - both) / values[:, :, 0].size))


@pytest.mark.parametrize("kind", [SurveyedContinuous, SurveyedBinary])
def test_null_twin_is_the_study_without_its_effect(kind: type[Outcome]) -> None:
    """Before the start, and in comparison authorities, both are the same to the bit."""
    stated = {"mean": 0.5, "effect": 0.3, "icc": {"authority": 0.01}}
    delivery = deliver(fieldwork(kind(**stated), 50))  # type: ignore[call-arg]
    assert np.array_equal(delivery.stated.mean[:, :, 0], delivery.null.mean[:, :, 0])
    assert np.array_equal(delivery.stated.mean[:, 24:], delivery.null.mean[:, 24:])
    assert (delivery.stated.mean[:, :24, 2] - delivery.null.mean[:, :24, 2]).mean() > 0.05


def test_a_family_takes_part_throughout_or_not_at_all() -> None:
    """Uptake belongs to the family, so that the effect is the same multiple at both follow-ups, or none."""
    outcome = SurveyedContinuous(effect=1.0)
    delivery = deliver(fieldwork(outcome, 400, takes_part=0.6))
    effect = (delivery.stated.mean - delivery.null.mean)[:, :24, 1:]
    takes = effect > 0
    assert (takes[:, :, 0] == takes[:, :, 1]).all()
    assert takes.mean() == pytest.approx(0.6, abs=4 * np.sqrt(0.24 / takes[:, :, 0].size))


def observed(measurement: Measurement, outcome: Outcome, n: int = 2_000) -> tuple[Floats, Floats, Delivery]:
    """Families seen, (replicate, row, occasion), their true outcomes, and the delivery."""
    work = fieldwork(outcome, n)
    follow_up = OCCASIONS >= 2
    chance = reached(measurement, work.allocation, follow_up)
    work = fieldwork(outcome, n, reached=chance)
    delivery = deliver(work)
    truth = deliver(fieldwork(outcome, n)).null.mean
    cells = measured(
        measurement,
        work.world,
        work.allocation,
        delivery,
        ("y", delivery.null),
        follow_up,
        followed=work.followed,
    )
    return np.broadcast_to(cells.n, truth.shape), truth, delivery


def test_who_consents_is_seen_at_all_occasions_until_lost() -> None:
    """Consent and loss are drawn once: nobody comes back, and shares are those stated."""
    measurement = Measurement(consent=0.7, loss_treated=0.4, loss_comparison=0.2)
    n, _, _ = observed(measurement, SurveyedContinuous(effect=0.5))
    assert (np.diff(n, axis=2) <= 0).all()
    assert np.array_equal(n[:, :, 1], n[:, :, 2])
    for rows, kept in ((slice(0, 24), 0.6), (slice(24, 48), 0.8)):
        for at, share in ((0, 0.7), (1, 0.7 * kept)):
            found = n[:, rows, at]
            assert found.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / found.size))


def test_loss_by_outcome_is_decided_at_the_first_follow_up() -> None:
    """Who is lost there is lost for good; how likely goes by the outcome of that occasion alone."""
    outcome = SurveyedContinuous(effect=0.0, family_autocorrelation=0.0, **ALONE)  # type: ignore[arg-type]
    measurement = Measurement(loss_treated=0.3, loss_comparison=0.3, loss_by_outcome=1.5)
    n, truth, _ = observed(measurement, outcome)
    assert (n[:, :, 0] == 1).all()
    assert np.array_equal(n[:, :, 1], n[:, :, 2])
    assert n[:, :, 1].mean() == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / n[:, :, 1].size))
    kept = n[:, :, 1] == 1
    assert truth[:, :, 1][kept].mean() > 0.3
    assert truth[:, :, 2][kept].mean() == pytest.approx(0, abs=4 / np.sqrt(kept.sum()))


def test_a_cohorts_covariate_goes_with_every_occasion() -> None:
    """It is made of what families keep, so that it correlates by rho with the part of each occasion."""
    covariate = {"icc": {"authority": 0.0}, "correlation": {"family": 0.5}}
    outcome = SurveyedContinuous.model_validate(
        {"effect": 0.0, "family_autocorrelation": 0.4, "covariate": covariate, **ALONE}
    )
    delivery = deliver(fieldwork(outcome, covariate=True))
    x = delivery.covariate
    assert x is not None
    assert x.shape[1] == delivery.roster.n_rows == 48
    assert x.std() == pytest.approx(1, rel=4 / np.sqrt(2 * x.size))
    for occasion in range(3):
        found = np.corrcoef(x.ravel(), delivery.null.mean[:, :, occasion].ravel())[0, 1]
        assert found == pytest.approx(0.5, abs=4 * 0.75 / np.sqrt(x.size))


def test_families_that_were_dealt_out_stay_in_their_arm() -> None:
    """Where families are assigned, a family's row starts, or never does, at all its occasions."""
    work = fieldwork(SurveyedContinuous(effect=1.0, icc={"authority": 0.0}, family_autocorrelation=1.0), 50)  # type: ignore[arg-type]
    starts = np.tile([2, NEVER], 16)
    dealt = Allocation(
        unit=work.allocation.unit,
        start=starts[np.newaxis],
        stop=np.full((1, 32), NEVER),
        stratum=np.zeros((1, 32), dtype=np.int64),
        law=Randomisation(tuple(starts.tolist()), (0,) * 32),
        assigned="row",
        families=np.full((50, 16), 1),
    )
    delivery = deliver(Fieldwork(work.world, dealt, "y", OCCASIONS, COHORT, "unit"))
    assert delivery.start is not None
    treated = np.broadcast_to(delivery.start < NEVER, delivery.stated.mean.shape[:2])
    assert np.array_equal(treated.reshape(50, 16, 3).sum(axis=2), np.full((50, 16), 1))
    change = np.diff(delivery.stated.mean, axis=2)
    assert (np.abs(change[~treated]) < 1e-12).all()
    assert (change[treated][:, 0] > 0).all()


@pytest.mark.parametrize("kind", [SurveyedContinuous, SurveyedBinary])
def test_a_study_that_follows_nobody_asks_no_stream_of_cohorts(
    kind: type[Outcome], listening: Streams
) -> None:
    """Families that are others at every occasion are drawn as if there were no cohorts."""
    sample = COHORT.model_copy(update={"cohort": False})
    stated = {"mean": 0.5, "effect": 0.1}
    work = fieldwork(
        kind(**stated),  # type: ignore[call-arg]
        8,
        listening,
        sample=sample,
        reached=np.full((1, 4, 3), 0.8),
    )
    deliver(work)
    assert not {"family_kept", "cohort_seen"} & listening.asked  # type: ignore[attr-defined]


def test_worlds_share_what_a_family_is_at_one_occasion() -> None:
    """With nothing kept a cohort is the cross-section on the same draws."""
    outcome = SurveyedContinuous(effect=0.5, family_autocorrelation=0.0)
    cohort = deliver(fieldwork(outcome, 20)).null.mean
    sample = COHORT.model_copy(update={"cohort": False})
    assert np.array_equal(cohort, deliver(fieldwork(outcome, 20, sample=sample)).null.mean)
