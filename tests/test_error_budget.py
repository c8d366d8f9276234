"""The error budget: parts that add up, each of the size that algebra gives it."""

from pathlib import Path

import numpy as np
import pytest

from design_sim import budget_report
from design_sim.cli import execute
from design_sim.error_budget import Budget, budget, mechanisms_of, shapley
from design_sim.mechanisms import MEANINGS, MECHANISMS, Conditions
from design_sim.performance import measure
from design_sim.simulate import simulate
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import draw_world
from design_sim.world.practice import rival_dose

FILE = """
seed = 3
replicates = 600

[world]
authorities = 60
uptake = 0.8
anticipation = 0.2
time = {{years_before = 3, years_after = 2}}
fidelity = {{mean = 0.6, authority_sd = 0.1, worker_sd = 0.1, years_to_80_percent = 0.0}}
informal = {{share = 0.5}}
adoption = {{authorities = 10, {reasons}, bad_year_outcome = "days"}}
{more}

[outcomes.days]
kind = "continuous"
source = "record"
effect = 2.0
authority_sd = 3.0
family_sd = 10.0
better = "lower"

[designs.pilots]
kind = "difference_in_differences"
outcome = "days"
adopters = 10
years_before = 1
years_after = 1

[designs.pilots.answers.change]
estimator = "cluster_means"
change = true
estimand = "{rung}"
average = "adopters"
weighted_by = "authority"
"""


SURVEY = """
seed = 3
replicates = 600

[outcomes.score]
kind = "continuous"
source = "survey"
effect = 0.0

[designs.trial]
kind = "cluster_rct"
outcome = "score"
authorities = 20
sample = {teams = 1, workers = 2, families = 5}
measurement = {reliability = 0.7, observer_bias = 0.5, consent = 0.6}

[designs.trial.answers.t]
estimator = "cluster_means"
estimand = "full_fidelity"
"""


def divided(
    reasons: str = "bad_year_weight = 1.0, quality_weight = 0.0",
    more: str = "",
    rung: str = "offered",
    text: str = FILE,
) -> Budget:
    """The budget of the file's only answer."""
    sweep = parse(text.format(reasons=reasons, more=more, rung=rung), "budget")
    (only,) = budget(sweep.cases[0].scenario, 600)
    return only


def part(of: Budget, name: str) -> tuple[float, float]:
    """A mechanism's part of the bias, and its error."""
    (found,) = [each for each in of.parts if each.mechanism == name]
    return found.bias, found.bias_error


def test_parts_add_up() -> None:
    """Shapley parts sum to what all mechanisms do together, in squared error and in bias."""
    of = divided("bad_year_weight = 1.0, worsening_weight = 0.5, quality_weight = 0.5", "leaving = {}")
    assert len(of.parts) == 8
    assert sum(each.mse for each in of.parts) == pytest.approx(of.total.mse, rel=1e-10)
    assert sum(each.bias for each in of.parts) == pytest.approx(of.total.bias, rel=1e-10)


def test_shares_are_fair() -> None:
    """Names that do the same get the same, one that does nothing gets nothing."""
    value = {
        frozenset(on): np.array([float({"a", "b"} <= set(on))])
        for on in ("", "a", "b", "c", "ab", "ac", "bc", "abc")
    }
    assert np.ravel(shapley(value, "abc")) == pytest.approx([0.5, 0.5, 0.0])


def test_two_mechanisms_by_hand() -> None:
    """Half of what it adds alone, half of what it adds to the other."""
    value = {
        frozenset(on): np.array([number]) for on, number in (("", 1.0), ("x", 4.0), ("y", 2.0), ("xy", 9.0))
    }
    assert np.ravel(shapley(value, "xy")) == pytest.approx([(3 + 7) / 2, (1 + 5) / 2])


def test_dilution_makes_no_bias_against_what_is_offered() -> None:
    """An answer about the offer is about the diluted effect; where adoption is by chance only noise is left."""
    of = divided(
        "worsening_weight = 1e-9, quality_weight = 0.0", text=FILE.replace("anticipation = 0.2\n", "")
    )
    for name in ("dilution", "contamination"):
        bias, error = part(of, name)
        assert abs(bias) < 4 * error


def test_dilution_and_contamination_make_the_bias_against_full_fidelity() -> None:
    """Estimate - truth = uptake x (fidelity - informal dose) x effect - effect, and Shapley divides it."""
    text = FILE.replace("anticipation = 0.2\n", "").replace("informal = {{share = 0.5}}\n", "")
    of = divided("worsening_weight = 1e-9, quality_weight = 0.0", rung="full_fidelity", text=text)
    bias, error = part(of, "dilution")
    assert bias == pytest.approx(2.0 * (0.8 * 0.6 - 1), abs=4 * error)


def test_the_dip_makes_the_bias_of_regression_to_the_mean() -> None:
    """Adopters stand E[z] SDs worse in the year before; of that, 1 - the share that the next year keeps goes."""
    text = FILE.replace("anticipation = 0.2\n", "").replace("informal = {{share = 0.5}}\n", "")
    of = divided("bad_year_weight = 1e9, quality_weight = 0.0", text=text)
    rng = np.random.default_rng(5)
    sorted_noise = np.sort(rng.standard_normal((20_000, 60)), axis=1)
    chosen, others = sorted_noise[:, -10:].mean(), sorted_noise[:, :-10].mean()
    kept = 0.28 + 0.72 * 0.62
    bias, error = part(of, "dip")
    # family noise in the records of the smallest authorities adds 0.5 % to the spread
    assert bias == pytest.approx(-3.0 * (chosen - others) * (1 - kept), abs=4 * error + 0.03)


def test_observer_bias_is_the_bias_and_error_and_loss_are_none() -> None:
    """Observers add half an SD to the treated; error and loss at random add squared error only."""
    (of,) = budget(parse(SURVEY, "survey").cases[0].scenario, 1_500)
    assert part(of, "observer_bias")[0] == pytest.approx(0.5, abs=1e-9)
    for name in ("attrition", "measurement_error"):
        bias, error = part(of, name)
        assert abs(bias) < 4 * error
        (found,) = [each for each in of.parts if each.mechanism == name]
        assert found.mse > 2 * found.mse_error


def test_trends_of_their_own_are_part_of_the_differential_trend() -> None:
    """Slopes make no bias; their variance over a year between two means of authorities is their part."""
    adoption = 'adoption = {{authorities = 10, {reasons}, bad_year_outcome = "days"}}\n'
    text = FILE
    for stated in (
        adoption,
        "anticipation = 0.2\n",
        "informal = {{share = 0.5}}\n",
        'average = "adopters"\n',
    ):
        assert stated in text
        text = text.replace(stated, "")
    text = text.replace("authority_sd = 3.0", "authority_sd = 3.0\nslope_sd = 0.8")
    of = divided(text=text)
    bias, error = part(of, "differential_trend")
    assert abs(bias) < 4 * error
    (found,) = [each for each in of.parts if each.mechanism == "differential_trend"]
    assert found.mse == pytest.approx((0.8 * 3.0) ** 2 * (1 / 10 + 1 / 50), abs=4 * found.mse_error)


def test_loss_by_outcome_is_part_of_attrition() -> None:
    """Its part of the bias is the bias that it makes alone, where there is no effect."""
    losing = "loss_treated = 0.5, loss_comparison = 0.2, loss_by_outcome = 0.8"
    text = SURVEY.replace("consent = 0.6", losing)
    scenario = parse(text, "survey").cases[0].scenario
    bias, error = part(budget(scenario, 1_500)[0], "attrition")
    alone = parse(SURVEY.replace("reliability = 0.7, observer_bias = 0.5, consent = 0.6", losing), "survey")
    expected = measure(simulate([alone.cases[0].scenario], 1_500)[0]["trial", "t"], "bias")
    assert expected.value > 10 * expected.mcse
    assert bias == pytest.approx(expected.value, abs=4 * np.hypot(error, expected.mcse))


CHOSEN = """
seed = 3
[world]
authorities = 60
audit = {cases = 3, rater_reliability = 0.7}
fidelity = {authority_sd = 0.2, quality_correlation = 0.8, years_to_80_percent = 0.0}
[outcomes.score]
kind = "continuous"
source = "survey"
effect = 0.0
icc = {authority = 0.5}
quality_correlation = 0.9
[designs.contrast]
kind = "contrast"
outcome = "score"
pilots = 6
comparisons = 6
pilots_by = "fidelity_score"
sample = {teams = 1, workers = 2, families = 5}
answers.t = {estimator = "cluster_means", estimand = "full_fidelity"}
"""


def test_a_score_without_error_would_choose_better_pilots_yet() -> None:
    """Error in the score makes the choice more like chance: it takes from the bias that selection makes."""
    of = budget(parse(CHOSEN, "chosen").cases[0].scenario, 1_500)[0]
    assert [each.mechanism for each in of.parts] == ["sampling", "selection", "dilution", "measurement_error"]
    assert sum(each.bias for each in of.parts) == pytest.approx(of.total.bias)
    bias, error = part(of, "measurement_error")
    assert bias < -8 * error
    assert part(of, "selection")[0] > -2 * bias


def test_a_rival_with_shared_components_has_a_budget() -> None:
    """At perfect fidelity there are no components; the rival's effect stays what it was."""
    text = FILE.format(reasons="bad_year_weight = 1.0", rung="offered", more="rival = {shares = ['tools']}")
    text = text.replace(
        "fidelity = {mean", "fidelity = {components = {weights = {tools = 1.0, rest = 3.0}}, mean"
    )
    scenario = parse(text, "rival").cases[0].scenario
    stated = Conditions(scenario.world, scenario.outcomes, scenario.studies["pilots"].design)
    without = MECHANISMS["dilution"](stated).world
    dose = rival_dose(draw_world(scenario.world, scenario.outcomes, 8, Streams(1, 0)))
    assert rival_dose(draw_world(without, scenario.outcomes, 8, Streams(1, 0))) == pytest.approx(dose)


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_mechanism_is_told_when_it_is_there_and_not_when_it_is_off(name: str) -> None:
    """Off twice is off once, and a world without it does not have it."""
    assert name in MEANINGS
    file = FILE.format(
        reasons="bad_year_weight = 1.0, worsening_weight = 0.5, quality_weight = 0.5",
        more="leaving = {}",
        rung="offered",
    )
    scenario = parse(file, "budget").cases[0].scenario
    study = scenario.studies["pilots"]
    if name in ("attrition", "observer_bias", "measurement_error"):
        study = parse(SURVEY, "survey").cases[0].scenario.studies["trial"]
    assert name in mechanisms_of(scenario, study)
    stated = Conditions(scenario.world, scenario.outcomes, study.design)
    without = MECHANISMS[name](stated)
    assert without != stated
    assert MECHANISMS[name](without) == without


def test_jobs_change_no_number() -> None:
    """Blocks have their own streams."""
    file = FILE.format(reasons="bad_year_weight = 1.0, quality_weight = 0.0", more="", rung="offered")
    scenario = parse(file, "budget").cases[0].scenario
    assert budget(scenario, 2_100) == budget(scenario, 2_100, jobs=2)


def test_the_command_prints_and_writes_a_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table whose parts add up, a sentence, and files."""
    file = tmp_path / "case.toml"
    file.write_text(FILE.format(reasons="bad_year_weight = 1.0", more="", rung="offered"))
    assert execute(["budget", str(file), "--replicates", "64", "--out", str(tmp_path), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "dip" in said
    assert "of the squared error is sampling" in said
    there = {path.name for path in (tmp_path / "case-budget").iterdir()}
    assert {"budget.csv", "budget.parquet", "budget.png", "budget.svg", "provenance.json"} <= there


def test_a_sweep_has_no_one_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused with what to do."""
    file = tmp_path / "case.toml"
    text = FILE.format(reasons="bad_year_weight = 1.0", more="", rung="offered")
    file.write_text(text + '\n[sweep]\n"world.uptake" = [0.5, 1.0]\n')
    assert execute(["budget", str(file), "--out", str(tmp_path)]) == 2
    assert "2 cases" in capsys.readouterr().err


def test_the_sentence_names_what_makes_the_bias() -> None:
    """A reader learns the error, the share of chance, and the mechanism that leans most."""
    file = FILE.format(reasons="bad_year_weight = 1.0, quality_weight = 0.0", more="", rung="offered")
    scenario = parse(file, "budget").cases[0].scenario
    (said,) = budget_report.sentences(budget(scenario, 600), scenario)
    assert said.startswith("pilots: change misses the estimand by")
    assert "is made by dip" in said
