"""The trials: sizes known from exact integration, and the committed certificate is the program's own."""

import csv
import json
from math import sqrt
from pathlib import Path

import pandas as pd
import pytest

from design_sim.certificate import entries, files, trials
from design_sim.certificate.cited import CITED, COLUMNS
from design_sim.certificate.trials import Certificate, certify, plan
from design_sim.errors import DesignSimError

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "results" / "certificate"
EXACT = json.loads((ROOT / "tests" / "reference" / "exact_size" / "cluster_tests.json").read_text())
PARALLEL = [("2 v 2", "size_G1_2_G0_2"), ("3 v 3", "size_G1_3_G0_3")]
NAMES = {
    ("cluster_means", "as it stands"): "cluster_mean_t_pooled",
    ("clustered_regression", "variance = CR0, df = normal"): "CR0_z",
    ("clustered_regression", "variance = CR1"): "CR1_t(G-1)",
    ("clustered_regression", "variance = CR1S"): "CR1S_t(G-1)",
    ("clustered_regression", "df = normal"): "CR2_z",
    ("clustered_regression", "df = clusters"): "CR2_t(G-1)",
    ("clustered_regression", "as it stands"): "CR2_satterthwaite",
    ("clustered_regression", "variance = CR3, df = clusters"): "CR3_t(G-1)",
}
"""What the reference calls the entries that it has exact sizes of."""


def exact_sizes() -> list[tuple[str, str, str, float]]:
    """Estimator, settings, situation and exact size."""
    by_id = {case["id"]: case["expected"]["rejection"] for case in EXACT["cases"]}
    return [
        (estimator, settings, situation, by_id[case][name])
        for (estimator, settings), name in NAMES.items()
        for situation, case in PARALLEL
    ]


@pytest.fixture(scope="module")
def quick() -> Certificate:
    """Two cheap estimators."""
    return certify(400, only=["cluster_means", "permutation"])


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    """The committed certificate."""
    return pd.read_parquet(COMMITTED / "certificate.parquet")


def check_exact(frame: pd.DataFrame, estimator: str, settings: str, situation: str, exact: float) -> int:
    """Equal clusters of both ICCs against an exact size, to four Monte Carlo standard errors."""
    wanted = [estimator, settings, situation, "equal"]
    rows = frame[(frame[["estimator", "settings", "situation", "sizes"]] == wanted).all(axis=1)]
    for size, n in zip(rows["size"], rows["replicates"], strict=True):
        assert abs(size - exact) < 4 * sqrt(exact * (1 - exact) / n)
    return len(rows)


@pytest.mark.parametrize("situation", ["2 v 2", "3 v 3"])
def test_the_t_test_on_means_has_its_exact_size(quick: Certificate, situation: str) -> None:
    """With equal clusters it is exact at any ICC, however few there are."""
    assert check_exact(quick.frame, "cluster_means", "as it stands", situation, 0.05) == 2


@pytest.mark.parametrize(("estimator", "settings", "situation", "exact"), exact_sizes())
def test_committed_sizes_are_the_exact_ones(
    committed: pd.DataFrame, estimator: str, settings: str, situation: str, exact: float
) -> None:
    """Equal normal clusters have sizes known by integration, whatever the ICC."""
    assert check_exact(committed, estimator, settings, situation, exact) == 2


def test_a_permutation_of_four_or_six_authorities_cannot_reject(quick: Certificate) -> None:
    """2 of 4 can be chosen in 6 ways and 3 of 6 in 20, of which mirror images tie: p is at least 1/3, 1/10."""
    frame = quick.frame[quick.frame["estimator"] == "permutation"]
    for situation, floor in (("2 v 2", 1 / 3), ("3 v 3", 1 / 10)):
        rows = frame[frame["situation"] == situation]
        assert set(rows["verdict"]) == set(rows["verdict_average"]) == {"cannot reject"}
        assert rows["p_floor"].to_numpy() == pytest.approx(floor)
        assert (rows["size"] == 0).all()


def test_each_entry_has_a_row_for_each_trial_or_a_reason(quick: Certificate) -> None:
    """Four trials of sizes and ICCs in a situation that suits, else one row that says why not."""
    for (_, _, situation), rows in quick.frame.groupby(["estimator", "settings", "situation"]):
        if situation == "five-step wedge":
            assert list(rows["verdict"]) == ["not applicable"]
            assert rows["reason"].item()
        else:
            assert set(zip(rows["sizes"], rows["icc"], strict=True)) == {
                (size, icc) for size in entries.SIZES for icc in entries.ICCS
            }
            assert (rows["reason"] == "").all()
            assert (rows["size_low"] <= rows["size"]).all()
            assert (rows["size"] <= rows["size_high"]).all()


def test_an_estimator_that_nothing_suits_is_listed_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody should look for it in vain."""
    monkeypatch.setattr(trials, "EXCUSED", {"gee": "needs what no trial here has"})
    excused = [entry for entry in entries.ENTRIES if entry.estimator != "gee"]
    monkeypatch.setattr(trials, "ENTRIES", tuple(excused))
    with pytest.raises(DesignSimError, match="needs what no trial here has"):
        plan(only=["gee"])
    row = trials._excused("gee", plan().excused["gee"])
    assert (row["estimator"], row["verdict"]) == ("gee", "not applicable")
    assert set(row) == set(pd.read_csv(COMMITTED / "certificate.csv", nrows=1).columns)


def test_the_committed_certificate_is_of_the_table_as_it_stands() -> None:
    """An entry that was added or changed since has not been tried: run `design-sim certify --cite` again."""
    for number, sweep in enumerate(plan().sweeps, start=1):
        name = "scenario.toml" if number == 1 else f"scenario-{number}.toml"
        assert (COMMITTED / name).read_text(encoding="utf-8") == sweep.text, "run design-sim certify --cite"


def test_the_cited_copy_is_the_committed_certificate(committed: pd.DataFrame, tmp_path: Path) -> None:
    """What the program says of itself is what was published."""
    copy = files.cite(Certificate(committed, ()), tmp_path / "cited.csv")
    assert copy.read_bytes() == CITED.read_bytes()
    with CITED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(committed)


def test_the_committed_page_is_that_of_the_committed_table(committed: pd.DataFrame) -> None:
    """Page and table tell the same."""
    from design_sim.certificate.page import page

    text = page(Certificate(committed, plan().sweeps))
    assert (COMMITTED / "certificate.md").read_text(encoding="utf-8") == text
