"""Fidelity regression is least squares on authority means, flattened by the score's error as algebra says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from pydantic import ValidationError

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.cells import Cells
from design_sim.errors import ScenarioError
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.fidelity_regression import FidelityRegression, slope_on_score
from design_sim.panel import Panel
from design_sim.results import run
from design_sim.roster import Roster
from design_sim.sweep import parse
from design_sim.world.audit import score_reliability
from design_sim.world.settings import WorldSettings

FORMULAS = Path(__file__).parents[1] / "reference" / "closed_form" / "formulas.json"
ATTENUATION = [
    case
    for case in json.loads(FORMULAS.read_text())["cases"]
    if case["id"].startswith("attenuation_") and not case["inputs"]["R2_of_observed_regressor_on_covariates"]
]
REPLICATES, AUTHORITIES, TREATED = 6, 12, 7
EVERYONE = np.ones((1, 1), dtype=bool)


def panel_of(seed: int = 1) -> Panel:
    """Three rows of each of twelve authorities, before and after the start, of which one was not observed."""
    rng = np.random.default_rng(seed)
    authority = np.repeat(np.arange(AUTHORITIES), 3)
    n = rng.integers(1, 9, (REPLICATES, authority.size, 3)).astype(float)
    n[2, 3:6] = 0
    mean = np.where(n > 0, rng.normal(size=n.shape), np.nan)
    start = np.where(np.arange(AUTHORITIES) < TREATED, 1, NEVER)[np.newaxis]
    return Panel(
        roster=Roster(authority, authority, np.arange(authority.size)),
        cells=Cells(n, mean),
        start=start,
        occasions=np.arange(3),
        follow_up=np.array([False, True, True]),
        law=complete_randomisation(AUTHORITIES, TREATED),
        fidelity_score=np.where(start < NEVER, rng.uniform(0.4, 1, (REPLICATES, AUTHORITIES)), 0.0),
    )


def analysed(panel: Panel, **settings: object) -> Estimates:
    """The estimates; the method draws nothing."""
    return FidelityRegression.model_validate(settings).estimate(panel, np.random.default_rng(0))


def slow(panel: Panel, replicate: int, among: str) -> Any:
    """One replicate by statsmodels, on means that a loop over rows and occasions gives."""
    assert panel.fidelity_score is not None
    outcome, score = [], []
    for authority in range(AUTHORITIES):
        total = count = 0.0
        for row in np.flatnonzero(panel.roster.authority == authority):
            for occasion in np.flatnonzero(panel.follow_up):
                n = panel.cells.n[replicate, row, occasion]
                count += n
                total += n * panel.cells.mean[replicate, row, occasion] if n else 0.0
        if count and (among == "all" or panel.start[0, authority] < NEVER):
            outcome.append(total / count)
            score.append(panel.fidelity_score[replicate, authority])
    return sm.OLS(np.array(outcome), sm.add_constant(np.array(score))).fit()


@pytest.mark.parametrize("among", ["all", "treated"])
@pytest.mark.parametrize("reliability", [None, 0.7])
def test_values_are_those_of_statsmodels(among: str, reliability: float | None) -> None:
    """Slope, error, df, test and interval of least squares; both over the reliability where it corrects."""
    panel = panel_of()
    correction = {"correction": "regression_calibration", "reliability": reliability} if reliability else {}
    found, divisor = analysed(panel, among=among, **correction), reliability or 1.0
    for replicate in range(REPLICATES):
        expected = slow(panel, replicate, among)
        assert found.estimate[replicate] == pytest.approx(expected.params[1] / divisor)
        assert found.std_error[replicate] == pytest.approx(expected.bse[1] / divisor)
        assert found.df[replicate] == expected.df_resid
        assert found.p_value[replicate] == pytest.approx(expected.pvalues[1])
        limits = found.ci_low[replicate], found.ci_high[replicate]
        assert limits == pytest.approx(expected.conf_int()[1] / divisor)
    assert len(set(found.df)) == 2


@pytest.mark.parametrize("case", ATTENUATION, ids=lambda case: case["id"])
def test_an_unreliable_score_flattens_the_slope_by_its_reliability(case: dict[str, Any]) -> None:
    """With normal fidelity and error the naive slope has the closed form on average; the correction undoes it."""
    inputs, expected = case["inputs"], case["expected"]
    rng, shape, reliability = np.random.default_rng(2), (4_000, 12), inputs["reliability"]
    fidelity = 0.7 + 0.1 * rng.normal(size=shape)
    score = fidelity + 0.1 * np.sqrt(1 / reliability - 1) * rng.normal(size=shape)
    means = 1.0 + inputs["true_slope"] * fidelity + 0.05 * rng.normal(size=shape)
    naive = slope_on_score(means, score, EVERYONE).estimate
    error = naive.std() / np.sqrt(naive.size)
    assert naive.mean() == pytest.approx(expected["plim_ols_slope"], abs=4 * error)
    corrected = slope_on_score(means, score, EVERYONE, reliability=reliability).estimate
    assert corrected.mean() == pytest.approx(inputs["true_slope"], abs=4 * error / reliability)


@pytest.mark.parametrize("among", ["all", "treated"])
def test_errors_in_variables_are_those_of_a_loop(among: str) -> None:
    """Fuller's estimator and variance, moment by moment; without error they are least squares."""
    panel, error_variance = panel_of(), 0.004
    stated = {"among": among, "correction": "errors_in_variables"}
    found = analysed(panel, **stated, error_sd=np.sqrt(error_variance))
    for replicate in range(REPLICATES):
        fit = slow(panel, replicate, among)
        y, x = fit.model.endog, fit.model.exog[:, 1]
        n = len(y)
        moments = np.cov(x, y)
        slope = moments[0, 1] / (moments[0, 0] - error_variance)
        mean_square = sum((y[i] - y.mean() - slope * (x[i] - x.mean())) ** 2 for i in range(n)) / (n - 2)
        variance = moments[0, 0] * mean_square + slope**2 * error_variance**2
        variance /= (n - 1) * (moments[0, 0] - error_variance) ** 2
        assert found.estimate[replicate] == pytest.approx(slope)
        assert found.std_error[replicate] == pytest.approx(np.sqrt(variance))
        assert found.df[replicate] == n - 2
    naive, nothing = analysed(panel, among=among), analysed(panel, **stated, error_sd=0.0)
    assert nothing.std_error == pytest.approx(naive.std_error)
    assert nothing.p_value == pytest.approx(naive.p_value)


@pytest.mark.parametrize("clumped", [False, True])
def test_errors_in_variables_are_right_about_slope_and_error_among_many(clumped: bool) -> None:
    """Sixty authorities, half of them alike or not: bias of first order, standard errors and coverage as stated."""
    rng, shape, error_sd = np.random.default_rng(4), (6_000, 60), 0.06
    fidelity = 0.7 + 0.1 * rng.normal(size=shape)
    if clumped:
        fidelity[:, 30:] = 0.5
    score = fidelity + error_sd * rng.normal(size=shape)
    means = 1.0 + 0.8 * fidelity + 0.02 * rng.normal(size=shape)
    found = slope_on_score(means, score, EVERYONE, error_variance=error_sd**2)
    spread = found.estimate.std()
    true = fidelity.var(axis=1, ddof=1).mean()
    bias = 0.8 * 2 * error_sd**2 * (true + error_sd**2) / (59 * true**2)
    assert found.estimate.mean() == pytest.approx(0.8 + bias, abs=4 * spread / np.sqrt(6_000) + 0.4 * bias)
    assert np.sqrt((found.std_error**2).mean()) == pytest.approx(spread, rel=0.08)
    covered = (found.ci_low < 0.8) & (found.ci_high > 0.8)
    assert covered.mean() == pytest.approx(0.95, abs=0.015)
    naive = slope_on_score(means, score, EVERYONE).estimate.mean()
    assert naive == pytest.approx(0.8 * true / (true + error_sd**2), rel=0.03)


@pytest.mark.parametrize("n", [3, 8])
def test_where_nothing_goes_with_fidelity_the_size_is_exact(n: int) -> None:
    """The t test is exact for normal means given the scores, whatever their error or the correction."""
    rng, replicates = np.random.default_rng(3), 20_000
    found = slope_on_score(
        rng.normal(size=(replicates, n)), rng.uniform(size=(replicates, n)), EVERYONE, reliability=0.6
    )
    assert (found.p_value <= 0.05).mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / replicates))


def test_what_cannot_be_fitted_is_a_status() -> None:
    """Two authorities, equal scores or equal outcomes: results to be counted, not exceptions."""
    nan = np.nan
    means = np.array([[1.0, 2, 4, 3], [1, 2, nan, nan], [1, 2, 4, 3], [0.1, 0.1, 0.1, 0.1], [nan] * 4])
    score = np.array([[0.1, 0.2, 0.3, 0.5]] * 5)
    score[2] = 0.3
    found = slope_on_score(means, score, EVERYONE)
    few = Status.TOO_FEW_CLUSTERS
    assert found.status.tolist() == [Status.OK, few, Status.SINGULAR, Status.NO_VARIATION, few]
    assert np.isnan(found.estimate).tolist() == np.isnan(found.p_value).tolist() == [False, *[True] * 4]
    variance = float(score[0].var(ddof=1))
    for error_variance, status in ((0.99 * variance, Status.OK), (1.01 * variance, Status.SINGULAR)):
        assert slope_on_score(means, score, EVERYONE, error_variance=error_variance).status[0] == status


def test_a_reliability_belongs_to_a_correction() -> None:
    """One without the other is a mistake that would pass in silence."""
    with pytest.raises(ValidationError, match="needs the reliability"):
        FidelityRegression(correction="regression_calibration")
    with pytest.raises(ValidationError, match="reliability has no effect"):
        FidelityRegression(reliability=0.8)
    with pytest.raises(ValidationError, match="needs error_sd"):
        FidelityRegression(correction="errors_in_variables")
    with pytest.raises(ValidationError, match="error_sd has no effect"):
        FidelityRegression(error_sd=0.1)
    with pytest.raises(ValidationError, match="reliability has no effect"):
        FidelityRegression(correction="errors_in_variables", error_sd=0.1, reliability=0.8)
    for wrong in (0.0, 1.1):
        with pytest.raises(ValidationError, match="reliability"):
            FidelityRegression(correction="regression_calibration", reliability=wrong)


def test_the_words_say_that_the_reliability_is_taken_as_known() -> None:
    """A reader of the convention learns what the interval leaves out."""
    corrected = FidelityRegression(correction="regression_calibration", reliability=0.8, among="treated")
    assert "reliability of 0.8, taken as known" in corrected.convention
    assert "treated clusters" in corrected.convention
    fuller = FidelityRegression(correction="errors_in_variables", error_sd=0.05)
    assert "error of the score of SD 0.05, taken as known" in fuller.convention
    assert "reliability" not in FidelityRegression().convention


def test_a_panel_without_a_score_is_refused() -> None:
    """Nothing to regress on is a mistake of the study, not of a replicate."""
    with pytest.raises(ValueError, match="needs the fidelity score"):
        analysed(replace(panel_of(), fidelity_score=None))


WORLD = {
    "authorities": 120,
    "fidelity": {
        "mean": 0.6,
        "authority_sd": 0.04,
        "worker_sd": 0.1,
        "years_to_80_percent": 0.0,
        "quality_correlation": 0.0,
    },
    "audit": {"cases": 4, "rater_reliability": 0.8},
}
TEXT = """
replicates = 1_000
[world]
authorities = 120
uptake = {uptake}
{audit}
fidelity = {{mean = 0.6, authority_sd = 0.04, worker_sd = 0.1, years_to_80_percent = 0.0, quality_correlation = 0.0}}
[outcomes.y]
kind = "continuous"
source = "record"
effect = 5.0
authority_sd = 0.2
family_sd = 1.0
[designs.trial]
kind = "{kind}"
outcome = "y"
year = 1
{design}
[designs.trial.answers.{answer}]
estimator = "fidelity_regression"
estimand = "per_fidelity"
weighted_by = "authority"
{more}
"""
AUDIT = "audit = {cases = 4, rater_reliability = 0.8}"
TRIAL = {"uptake": 1.0, "kind": "cluster_rct", "design": "authorities = 100\ntreated = 98"}


def bias_of(audit: str, more: str = "", uptake: float = 1.0) -> tuple[float, float]:
    """Bias among the treated and its Monte Carlo error, in units of the truth."""
    stated = {**TRIAL, "uptake": uptake, "audit": audit, "answer": "slope"}
    sweep = parse(TEXT.format(**stated, more=f'among = "treated"\n{more}'), "t")
    table = run(sweep).performance.set_index("measure")
    assert table.loc["truth", "value"] == pytest.approx(5.0)
    return table.loc["bias", "value"] / 5, table.loc["bias", "mcse"] / 5


def test_the_engine_attenuates_by_the_reliability_of_the_audit() -> None:
    """Over practice that is drawn and audited, naive slope = reliability x truth, and the corrected one is true."""
    reliability = score_reliability(WorldSettings.model_validate(WORLD))
    assert 0.2 < reliability < 0.6
    bias, error = bias_of(AUDIT)
    assert bias == pytest.approx(reliability - 1, abs=4 * error)
    bias, error = bias_of(AUDIT, f'correction = "regression_calibration"\nreliability = {reliability}')
    assert bias == pytest.approx(0.0, abs=4 * error)
    error_sd = 0.04 * np.sqrt((1 - reliability) / reliability)
    bias, error = bias_of(AUDIT, f'correction = "errors_in_variables"\nerror_sd = {error_sd}')
    first_order = 2 * (1 - reliability) / (97 * reliability**2)
    assert bias == pytest.approx(first_order, abs=4 * error + first_order)


@pytest.mark.parametrize("uptake", [1.0, 0.6])
def test_a_score_without_error_tells_what_families_receive(uptake: float) -> None:
    """The slope is the estimand where all families take part; else it is that times their share."""
    bias, error = bias_of("audit = {without_error = true}", uptake=uptake)
    assert bias == pytest.approx(uptake - 1, abs=4 * error)


def test_an_answer_that_needs_the_score_needs_an_audit() -> None:
    """Where nobody scores fidelity, and where arms share an authority, the fault says what is missing."""
    with pytest.raises(ScenarioError, match=r"'fidelity_regression' needs the table world\.audit"):
        parse(TEXT.format(**TRIAL, audit="", answer="slope", more=""), "t")
    survey = TEXT.replace('"record"', '"survey"').replace("authority_sd = 0.2\nfamily_sd = 1.0\n", "", 1)
    teams = "authorities = 10\nunit = 'team'\nsample = {teams = 2, workers = 2, families = 3}"
    with pytest.raises(
        ScenarioError, match="score of fidelity in each authority, and the design assigns each team"
    ):
        parse(survey.format(**{**TRIAL, "design": teams}, audit=AUDIT, answer="slope", more=""), "t")
