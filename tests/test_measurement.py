"""Measurement: each error has the sign and size that algebra gives it, and does nothing when it is off."""

from typing import Any

import numpy as np
import pytest
from scipy import optimize, special

from design_sim.cells import Cells
from design_sim.errors import ScenarioError
from design_sim.estimators import ESTIMATORS
from design_sim.estimators.base import needs_uptake, outcomes_of
from design_sim.performance import measure
from design_sim.scenario import Scenario
from design_sim.simulate import carry_out, simulate
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.tally import Tally
from design_sim.world.audit import fidelity_score, score_reliability
from design_sim.world.draw import World, draw_world
from design_sim.world.settings import WorldSettings, block_size

FILE = """
seed = 2
replicates = 1000

[world]
authorities = 40
uptake = 1.0
fidelity = {{mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}}
{world}

[outcomes.score]
kind = "continuous"
source = "survey"
sd = 2.0
effect = 1.0
icc = {{authority = 0.1}}

[outcomes.solved]
kind = "binary"
source = "survey"
mean = 0.3
effect = 0.2
icc = 0.0

[outcomes.days]
kind = "continuous"
source = "record"
effect = 1.0
authority_sd = 1.0
family_sd = 5.0
per_10000_children = 3.0

[designs.trial]
kind = "cluster_rct"
outcome = "score"
authorities = 20
baseline_years = 1
sample = {{teams = 1, workers = 5, families = 6}}
{survey}

[designs.trial.answers.t]
estimator = "cluster_means"
estimand = "offered"

[designs.trial.answers.mixed]
estimator = "mixed_model"
estimand = "offered"

[designs.yes]
kind = "cluster_rct"
outcome = "solved"
authorities = 20
sample = {{teams = 1, workers = 4, families = 12}}
{binary}

[designs.yes.answers.t]
estimator = "cluster_means"
estimand = "offered"

[designs.pilots]
kind = "difference_in_differences"
outcome = "days"
adopters = 10
{record}

[designs.pilots.answers.t]
estimator = "cluster_means"
change = true
estimand = "offered"
"""


def scenario_of(
    survey: str = "", record: str = "", world: str = "", resolution: str = "auto", binary: str = ""
) -> Scenario:
    """The file with measurements of its three studies."""
    stated = {"survey": survey, "record": record, "binary": binary}
    lines = {study: f"measurement = {{{keys}}}" if keys else "" for study, keys in stated.items()}
    text = f'resolution = "{resolution}"\n' + FILE.format(world=world, **lines)
    return parse(text, "measured").cases[0].scenario


def tally(scenario: Scenario, study: str = "trial", answer: str = "t", n: int = 2_000) -> Tally:
    """What an answer of a study does."""
    return simulate([scenario], n)[0][study, answer]


def panels(scenario: Scenario, study: str = "trial", n: int | None = None) -> Any:
    """The study's panel and that of its null twin."""
    world = draw_world(
        scenario.world, scenario.outcomes, n or block_size(scenario.world), Streams(scenario.seed, 0)
    )
    return carry_out(scenario, scenario.studies[study], world)[1:3]


@pytest.mark.parametrize(
    "off",
    [
        "reliability = 1.0",
        "consent = 1.0",
        "observer_bias = 0.0",
        "missing_years = 0.0",
        "loss_by_outcome = 0.0",
    ],
)
def test_what_is_off_changes_no_bit(off: str) -> None:
    """A mechanism that is off draws nothing and moves no other's draws."""
    plain, stated = (panels(scenario_of(survey), n=64)[0].cells for survey in ("", off))
    assert np.array_equal(plain.mean, stated.mean)
    assert np.array_equal(plain.ss, stated.ss)


@pytest.mark.parametrize("resolution", ["cell", "unit"])
def test_error_attenuates_the_standardised_effect_by_the_root_of_reliability(resolution: str) -> None:
    """Classical test theory: the effect stays, the SD over families grows by 1 / root of reliability."""
    scenario = scenario_of("reliability = 0.64", resolution=resolution)
    panel, _ = panels(scenario, n=600)
    families = panel.cells.over(panel.follow_up).pool(panel.roster, "authority")
    variance = families.ss.sum() / (families.n - 1).sum() / families.mean.shape[0] * families.n.shape[0]
    within = 4.0 * 0.9 + 4.0 * (1 - 0.64) / 0.64
    assert variance == pytest.approx(within, rel=4 * np.sqrt(2 / (600 * 20 * 29)))
    found = tally(scenario, n=600)
    bias = measure(found, "bias")
    assert abs(bias.value) < 4 * bias.mcse


def test_error_in_cells_is_error_in_families() -> None:
    """Mean, sum of squares and how they vary are those of families with an error each."""
    rng, n = np.random.default_rng(1), 5
    values = rng.standard_normal((40_000, n)) * 2 + 1
    noisy = values + 1.5 * rng.standard_normal(values.shape)
    world = World(WorldSettings(), {}, 40_000, Streams(3, 0))
    from design_sim.measurement import with_error

    ss = ((values - values.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)[:, np.newaxis, np.newaxis]
    cells = Cells(np.full((1, 1, 1), 5.0), values.mean(axis=1)[:, np.newaxis, np.newaxis], ss)
    ours = with_error(cells, 1.5, world, "y")
    assert ours.ss is not None
    theirs = ((noisy - noisy.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    for one, other in ((ours.mean.ravel(), noisy.mean(axis=1)), (ours.ss.ravel(), theirs)):
        for power in (1, 2):
            a, b = one**power, other**power
            assert a.mean() == pytest.approx(b.mean(), abs=4 * np.hypot(a.std(), b.std()) / 200)


def test_observers_who_know_the_arm_shade_both_twins_alike() -> None:
    """The bias is what they add, after the start only, and the size pays for it."""
    found = tally(scenario_of("observer_bias = 0.6"))
    assert measure(found, "bias").value == pytest.approx(0.6, abs=4 * measure(found, "bias").mcse)
    assert measure(found, "size").value > 0.1
    panel, null = panels(scenario_of("observer_bias = 0.6"), n=64)
    plain, _ = panels(scenario_of(), n=64)
    shade = panel.cells.mean - plain.cells.mean
    assert shade[:, :10, 1] == pytest.approx(0.6)
    assert np.abs(shade[:, :, 0]).max() < 1e-12
    assert np.abs(shade[:, 10:]).max() < 1e-12
    assert null.cells.mean.shape == panel.cells.mean.shape


@pytest.mark.parametrize("resolution", ["cell", "unit"])
def test_loss_at_random_leaves_fewer_families_and_no_bias(resolution: str) -> None:
    """Counts are binomial with consent x (1 - loss of the arm); the standard error grows as 1 / n does."""
    scenario = scenario_of("consent = 0.8, loss_treated = 0.5, loss_comparison = 0.25", resolution=resolution)
    panel, _ = panels(scenario, n=600)
    n = panel.cells.pool(panel.roster, "authority").n
    for arm, chances in ((slice(0, 10), (0.8, 0.4)), (slice(10, 20), (0.8, 0.6))):
        for occasion, chance in enumerate(chances):
            seen = n[:, arm, occasion]
            error = np.sqrt(30 * chance * (1 - chance) / seen.size)
            assert seen.mean() == pytest.approx(30 * chance, abs=4 * error)
            assert seen.var() == pytest.approx(
                30 * chance * (1 - chance), rel=4 * np.sqrt(2 / seen.size) + 0.02
            )
    found = tally(scenario, n=1_500)
    assert abs(measure(found, "bias").value) < 4 * measure(found, "bias").mcse
    inverse = [np.mean(1 / n[:, arm, 1]) for arm in (slice(0, 10), slice(10, 20))]
    expected = np.sqrt(sum(4 * (0.1 + 0.9 * of) / 10 for of in inverse))
    assert measure(found, "empirical_se").value == pytest.approx(expected, rel=4 / np.sqrt(2 * 1_500))


def mean_of_those_kept(effect: float, slope: float, loss: float, icc: float = 0.1) -> float:
    """Mean outcome over an authority's kept families, normal about 0 without the effect, in SDs of families.

    Over authorities u and families e: mean of u + E[e (1 - p)] / E[1 - p], with p the chance to be lost, whose
    mean without the effect is the stated loss.
    """
    z = np.linspace(-8, 8, 801)
    weight = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    base = optimize.brentq(lambda c: special.expit(c - slope * z) @ weight - loss, -30, 30)
    u, e = np.sqrt(icc) * z[:, np.newaxis] + effect, np.sqrt(1 - icc) * z
    kept = weight * special.expit(-(base - slope * (u + e)))
    return float(weight @ (((u + e) * kept).sum(axis=1) / kept.sum(axis=1)))


@pytest.mark.parametrize(("slope", "losses"), [(0.8, (0.5, 0.2)), (-0.8, (0.5, 0.2)), (1.0, (0.4, 0.4))])
def test_loss_by_outcome_biases_as_the_integral_says(slope: float, losses: tuple[float, float]) -> None:
    """Families that do badly leave, and the mean of the rest rises: in an arm the more, the more it loses."""
    stated = f"loss_by_outcome = {slope}, loss_treated = {losses[0]}, loss_comparison = {losses[1]}"
    found = tally(scenario_of(stated))
    sizes = [
        2 * (mean_of_those_kept(effect, slope, losses[0]) - mean_of_those_kept(0.0, slope, losses[1]))
        for effect in (0.5, 0.0)
    ]
    bias, null = measure(found, "bias"), measure(found, "null_bias")
    assert bias.value == pytest.approx(sizes[0] - 1.0, abs=4 * bias.mcse)
    assert null.value == pytest.approx(sizes[1], abs=4 * null.mcse)
    assert (sizes[1] == 0) == (losses[0] == losses[1])
    assert slope * sizes[1] >= 0
    assert abs(sizes[0] - 1) > 4 * bias.mcse


def test_the_stated_loss_is_the_mean_loss_of_the_null_twin() -> None:
    """So many families of each arm are gone at follow-up, none before it; a good effect keeps more of them."""
    panel, null = panels(
        scenario_of("consent = 0.9, loss_by_outcome = 1.5, loss_treated = 0.4, loss_comparison = 0.1")
    )
    counts = [of.cells.pool(of.roster, "authority").n / 30 for of in (panel, null)]
    error = 4 * np.sqrt(0.25 / (30 * counts[0].shape[0] * 10) * 4)
    assert counts[1][:, :, 0].mean() == pytest.approx(0.9, abs=error)
    assert counts[1][:, :10, 1].mean() == pytest.approx(0.9 * 0.6, abs=error)
    assert counts[1][:, 10:, 1].mean() == pytest.approx(0.9 * 0.9, abs=error)
    assert counts[0][:, :10, 1].mean() > counts[1][:, :10, 1].mean() + error
    assert np.array_equal(counts[0][:, 10:], counts[1][:, 10:])


def test_loss_of_those_without_a_yes_biases_a_share_as_arithmetic_says() -> None:
    """Two kinds of family, each with its own chance to be lost; the stated loss is their mean."""
    slope, losses, risk = 0.7, (0.5, 0.2), 0.3
    stated = f"loss_by_outcome = {slope}, loss_treated = {losses[0]}, loss_comparison = {losses[1]}"
    found = tally(scenario_of(binary=stated), "yes")
    worse = slope / np.sqrt(risk * (1 - risk)) * np.array([risk, risk - 1])  # of a no, of a yes

    def share(of_yes: float, loss: float) -> float:
        base = optimize.brentq(
            lambda c: special.expit(c + worse) @ np.array([1 - risk, risk]) - loss, -30, 30
        )
        kept = special.expit(-(base + worse)) * np.array([1 - of_yes, of_yes])
        return float(kept[1] / kept.sum())

    bias, null = measure(found, "bias"), measure(found, "null_bias")
    assert bias.value == pytest.approx(share(0.5, losses[0]) - share(0.3, losses[1]) - 0.2, abs=4 * bias.mcse)
    assert null.value == pytest.approx(share(0.3, losses[0]) - share(0.3, losses[1]), abs=4 * null.mcse)
    assert null.value > 10 * null.mcse


def test_loss_by_outcome_draws_families_singly_and_pools_them_where_cells_will_do() -> None:
    """The same families are kept at either resolution; answers by cells get one row for each worker."""
    stated = "loss_by_outcome = 1.0, loss_treated = 0.4, loss_comparison = 0.4"
    cell, unit = (panels(scenario_of(stated, resolution=of), n=64)[0] for of in ("cell", "unit"))
    assert cell.roster.n_rows == cell.roster.n_units("worker") == 100
    assert unit.roster.n_rows == 600
    pooled = unit.cells.pool(unit.roster, "worker")
    assert np.array_equal(cell.cells.n, pooled.n)
    known = pooled.n > 0
    assert cell.cells.mean[known] == pytest.approx(pooled.mean[known])
    assert measure(tally(scenario_of(stated), answer="mixed", n=600), "failure_rate").value == 0


def test_the_panel_has_a_score_where_the_world_is_audited() -> None:
    """None without an audit; with one a score of each authority that moves no outcome."""
    plain = panels(scenario_of(), n=64)[0]
    audited = panels(scenario_of(world="audit = {cases = 5}"), n=64)
    assert plain.fidelity_score is None
    assert np.array_equal(plain.cells.mean, audited[0].cells.mean)
    for panel in audited:
        score = panel.fidelity_score
        assert score.shape == (64, 20)
        assert (score[:, :10] == 1).all()
        assert (score[:, 10:] == 0).all()


ADJUSTED = """
[world]
authorities = 40
fidelity = {{worker_sd = 0.0, quality_correlation = 0.9}}
{audit}

[outcomes.score]
kind = "continuous"
source = "survey"
effect = 0.0
icc = {{authority = 0.5}}
quality_correlation = 0.9

[designs.trial]
kind = "cluster_rct"
outcome = "score"
authorities = 20
year = 1
sample = {{teams = 1, workers = 5, families = 6}}
answers.plain = {{estimator = "clustered_regression", estimand = "offered"}}
answers.adjusted = {{estimator = "clustered_regression", covariates = ["fidelity_score"], estimand = "offered"}}
"""


def test_a_fidelity_score_can_be_adjusted_for() -> None:
    """It is the audit's of every authority, and takes the quality that they share out of the outcome.

    The score's correlation with an authority's mean is .81 x root of reliability x root of the share of its
    variance that lasts, 0.5 / (0.5 + 0.5 / 30).
    """
    scenario = parse(ADJUSTED.format(audit="audit = {cases = 40}"), "adjusted").cases[0].scenario
    drawn = draw_world(scenario.world, scenario.outcomes, 64, Streams(2, 0))
    allocation, panel, *_ = carry_out(scenario, scenario.studies["trial"], drawn)
    score = np.take_along_axis(fidelity_score(drawn), allocation.unit, axis=1)
    assert np.array_equal(panel.covariates["fidelity_score"], panel.roster.spread(score, "authority"))
    errors = [
        measure(tally(scenario, answer=answer), "empirical_se").value for answer in ("plain", "adjusted")
    ]
    square = 0.81**2 * score_reliability(scenario.world) * 0.5 / (0.5 + 0.5 / 30)
    # 17 degrees of freedom within arms estimate the slope
    expected = np.sqrt((1 - square) * (1 + 1 / 16))
    assert errors[1] / errors[0] == pytest.approx(expected, abs=0.03)
    with pytest.raises(ScenarioError, match=r"covariates: 'fidelity_score' needs the table world\.audit"):
        parse(ADJUSTED.format(audit=""), "adjusted")


def test_missing_years_are_counted_out_and_leave_no_bias() -> None:
    """So many cells have nobody in them; the change is taken of what is there."""
    scenario = scenario_of(record="missing_years = 0.2")
    panel, null = panels(scenario, "pilots")
    gone = panel.cells.n == 0
    assert gone.mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / gone.size))
    assert np.array_equal(gone, np.isnan(panel.cells.mean))
    assert np.array_equal(gone, null.cells.n == 0)
    found = tally(scenario, "pilots")
    assert abs(measure(found, "bias").value) < 4 * measure(found, "bias").mcse


@pytest.mark.parametrize(
    ("estimator", "settings"),
    [
        (name, ", ".join(settings))
        for name, estimator in ESTIMATORS.items()
        if not name.startswith("statsmodels")
        and "continuous" in (outcomes_of(estimator()) or ("continuous",))
        and not needs_uptake(estimator())
        for settings in ([], ["change = true"])
        if not (settings and name not in ("cluster_means", "permutation"))
    ],
)
def test_every_batched_estimator_copes_with_missing_years(estimator: str, settings: str) -> None:
    """An analysis works with what is there, or fails and is counted; it is not far off, and does not crash."""
    answer = "\n".join(
        ["[designs.pilots.answers.t]", f'estimator = "{estimator}"', settings, 'estimand = "offered"']
    )
    text = FILE.format(
        world="audit = {}", survey="", binary="", record="measurement = {missing_years = 0.15}"
    )
    before, after = text.split("[designs.pilots.answers.t]")
    del after
    scenario = parse('resolution = "auto"\n' + before + answer, "missing").cases[0].scenario
    found = tally(scenario, "pilots", n=600)
    bias = measure(found, "bias")
    assert found.failed < 600
    assert abs(bias.value) < 4.5 * bias.mcse


def test_who_left_is_kept_dropped_or_censored() -> None:
    """Kept pilots dilute what is found; without them, or without their years, the effect of staying is."""
    events = "inspections = {}\nleaving = {new_leadership = 0.5, switch = 1.0}"
    found = {
        rule: tally(scenario_of(record=f'leavers = "{rule}"', world=events), "pilots")
        for rule in ("keep", "drop", "censor")
    }
    truth = {rule: measure(of, "truth").value for rule, of in found.items()}
    # where every pilot left, a study without them has no answer, and counts as failed
    assert np.ptp(list(truth.values())) < 0.002
    level = {rule: measure(of, "bias").value + truth[rule] for rule, of in found.items()}
    error = 4 * measure(found["drop"], "bias").mcse
    assert level["drop"] == pytest.approx(1.0, abs=error)
    assert level["censor"] == pytest.approx(1.0, abs=error)
    assert level["keep"] == pytest.approx((1 + truth["keep"]) / 2, abs=error)
    assert truth["keep"] < 0.6


@pytest.mark.parametrize(
    ("survey", "record", "said"),
    [
        ("", "consent = 0.5", "designs.pilots.measurement.consent: has no effect"),
        ("", "observer_bias = 0.5", "designs.pilots.measurement.observer_bias: has no effect"),
        ('leavers = "drop"', "", "designs.trial.measurement.leavers: 'drop' has no effect"),
        ("", "loss_by_outcome = 0.5", "loss_by_outcome has no effect while loss_treated and"),
        (
            "",
            "loss_by_outcome = 0.5, loss_treated = 0.1",
            "designs.pilots.measurement.loss_by_outcome: has no effect, since the outcome is recorded",
        ),
        ('leavers = "replace"', "", "designs.trial.measurement.leavers: 'replace' has no effect"),
        ("reliability = 1.4", "", "designs.trial.measurement.reliability: 1.4 is above 1"),
        ("relaibility = 0.4", "", "relaibility"),
    ],
)
def test_what_would_be_ignored_is_refused(survey: str, record: str, said: str) -> None:
    """One message with the path, what was found and why it will not do."""
    with pytest.raises(ScenarioError) as refused:
        scenario_of(survey, record)
    assert said in str(refused.value)
