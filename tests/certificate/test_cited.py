"""What the program says of its own certificate: in a list, before a run, and in the report."""

from pathlib import Path

import pytest

from design_sim import cli, store
from design_sim.cautions import cautions
from design_sim.certificate import cited
from design_sim.certificate.cited import nearest_situation, verdict_on, verdicts_in_words, warnings
from design_sim.report import report
from design_sim.results import run
from design_sim.sweep import Sweep, parse

SCENARIO = """
replicates = 20
[world]
authorities = {world}
[outcomes.y]
kind = "continuous"
source = "record"
effect = 0.5
authority_sd = 0.2
family_sd = 1.0
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = {authorities}
[designs.trial.answers.naive]
estimator = "clustered_regression"
variance = "naive"
estimand = "offered"
[designs.trial.answers.t]
estimator = "cluster_means"
estimand = "offered"
"""
ROWS = """estimator,settings,outcome,situation,sizes,icc,replicates,size,size_average,verdict,verdict_average
cluster_means,as it stands,score,3 v 3,equal,0.01,100,0.05,0.09,holds,liberal
cluster_means,as it stands,score,3 v 3,equal,0.1,100,0.04,0.07,holds,holds
cluster_means,as it stands,score,2 v 2,equal,0.1,100,0.12,0.07,liberal,holds
cluster_means,as it stands,score,five-step wedge,,,0,,,not applicable,not applicable
"""


def trial(authorities: int = 6, world: int = 30) -> Sweep:
    return parse(SCENARIO.format(authorities=authorities, world=world), "trial")


@pytest.fixture
def other_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate of a few rows in the place of the packaged one."""
    (tmp_path / "cited.csv").write_text(ROWS)
    found = cited.certified(tmp_path / "cited.csv")
    monkeypatch.setattr(cited, "certified", lambda: found)


@pytest.mark.parametrize(
    ("treated", "comparison", "name"),
    [
        (2, 2, "2 v 2"),
        (3, 3, "3 v 3"),
        (1, 2, "2 v 2"),
        (6, 6, "3 v 3"),
        (9, 142, "10 of 151"),
        (60, 60, "76 of 151"),
        (7, 7, None),
        (20, 20, None),
        (2, 20, None),
    ],
)
def test_a_situation_speaks_for_studies_up_to_twice_its_arms(
    treated: int, comparison: int, name: str | None
) -> None:
    """What is so with 3 against 3 may not be so with 20 against 20, nor with 3 against 20."""
    at = nearest_situation(treated, comparison, staggered=False)
    assert (at and at.name) == name


def test_a_wedge_is_told_of_the_wedge() -> None:
    """Nothing but a wedge has no comparison arm."""
    near, far = (nearest_situation(n, 0, staggered=True) for n in (6, 30))
    assert near is not None
    assert near.staggered
    assert far is None


def test_families_taken_as_independent_are_warned_of_in_plain_words() -> None:
    """The warning names the situation, the test and how often it rejected; a sound test has none."""
    found = warnings(trial())
    (warning,) = found
    assert warning.startswith("With 3 treated and 3 comparison authorities the test of clustered_regression")
    assert "(variance = naive) rejected a true null in " in warning
    assert found[warning] == ["trial / naive"]
    assert warnings(trial(authorities=20)) == {}


@pytest.mark.usefixtures("other_certificate")
def test_effects_that_differ_are_warned_of_where_they_do() -> None:
    """A test that is liberal in the average null alone misleads only where effects differ."""
    assert warnings(trial()) == {}
    (warning,) = warnings(parse(trial().text.replace("[world]", "[world]\neffect_sd = 0.5"), "trial"))
    assert "differ about a mean of nothing" in warning
    assert "in 7.0 to 9.0 % of trials" in warning


@pytest.mark.usefixtures("other_certificate")
def test_verdicts_are_listed_by_kind_the_good_ones_first() -> None:
    """What was not tried is left out."""
    assert verdicts_in_words("cluster_means") == "holds with 3 v 3; liberal with 2 v 2"
    assert verdicts_in_words("gee") == ""


@pytest.mark.usefixtures("other_certificate")
def test_an_answer_is_told_its_verdict() -> None:
    """With the range of sizes, and nothing of an answer that is not in the certificate."""
    case = trial().cases[0]
    study = case.scenario.studies["trial"]
    said = [verdict_on(case.scenario, study, answer.estimator) for answer in study.answers.values()]
    assert said == ["", "holds with 3 treated and 3 comparison authorities (size 4.0 to 5.0 %)"]


def test_an_estimator_of_ones_own_is_not_in_the_certificate() -> None:
    """An object that only looks like a registered estimator has not been tried."""

    class Own:
        estimator = "clustered_regression"

    case = trial().cases[0]
    study = case.scenario.studies["trial"]
    assert cited.warning_of(case.scenario, study, Own()) == ""  # type: ignore[arg-type]


def test_without_a_packaged_copy_nothing_is_said(tmp_path: Path) -> None:
    """A checkout that has not been certified yet still runs."""
    assert cited.certified(tmp_path / "missing.csv") == {}


def test_the_report_warns_and_cites() -> None:
    """Whoever reads only the report is told too, beside the other cautions and with the answer's settings."""
    results = run(trial(), 20)
    (line,) = (line for line in cautions(results) if "(calibration certificate)" in line)
    assert line.endswith(": trial / naive.")
    page = report(results, {})
    assert "calibration certificate: holds with 3 treated and 3 comparison authorities" in page
    assert "rejected a true null in" in page


def test_a_run_warns_on_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the run, so that it can be stopped; the table on standard output is as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "save", lambda _, out: out)
    Path("trial.toml").write_text(trial().text)
    assert cli.execute(["run", "trial.toml", "--jobs", "1"]) == 0
    said = capsys.readouterr()
    assert "Certificate: With 3 treated and 3 comparison authorities the test of" in said.err
    assert "Certificate" not in said.out


def test_estimators_are_listed_with_their_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    """A person who chooses sees at once what holds with few clusters."""
    assert cli.execute(["list", "estimators"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "holds with 2 v 2, 3 v 3" in said
    assert "cannot reject with 2 v 2, 3 v 3" in said


def test_certify_writes_a_folder_and_cites_only_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way, for one cheap estimator; the packaged copy stays as it is."""
    monkeypatch.chdir(tmp_path)
    before = cited.CITED.read_bytes()
    code = cli.execute(
        ["certify", "--only", "permutation", "--replicates", "8", "--seed", "3", "--jobs", "1", "--out", "o"]
    )
    said = capsys.readouterr()
    assert code == 0
    assert "cannot reject" in said.out
    assert "Written to o" in said.err
    folder = tmp_path / "o" / "certificate"
    names = {"certificate.csv", "certificate.parquet", "certificate.md", "scenario.toml", "provenance.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert '"replicates": 8' in (folder / "provenance.json").read_text()
    assert cited.CITED.read_bytes() == before
