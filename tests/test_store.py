"""Results on disk: whole or not at all, the same bytes each time, and never read when damaged."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pandas as pd
import pyarrow.parquet as pq
import pytest

from design_sim import store
from design_sim.errors import DesignSimError, FolderInUseError, IntegrityError, StorageError
from design_sim.results import Results, run
from design_sim.sweep import parse

SCENARIO = """# Does a trial see it?
replicates = 20
[world]
authorities = 12
[outcomes.y]
kind = "continuous"
source = "survey"
effect = 0.5
[designs."=1+1"]
kind = "cluster_rct"
outcome = "y"
authorities = 6
sample = {teams = 2, workers = 2, families = 2}
[designs."=1+1".answers."-means"]
estimator = "cluster_means"
estimand = "offered"
[sweep]
"world.fidelity.mean" = [0.5, 0.6]
resolution = ["cell", "unit"]
"""
FIGURES = [
    f"{name}.{kind}"
    for name in ("allocations", "bias", "fidelity", "power_and_size")
    for kind in ("png", "svg")
]
FILES = sorted(
    [*FIGURES, "performance.csv", "performance.parquet", "provenance.json", "report.html", "scenario.toml"]
)


@pytest.fixture(scope="module")
def results() -> Results:
    return run(parse(SCENARIO, "trial", {"world.uptake": 0.8, "alpha": 0.1}))


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Results], str]], None]:
    """Light stand-ins for figures and report; called with a function, it takes the report's place."""

    def save_figure(_: object, path: Path) -> None:
        for suffix in (".svg", ".png"):
            Path(f"{path}{suffix}").write_text(path.name)

    figures, page = ModuleType("design_sim.figures"), ModuleType("design_sim.report")
    names = ("power_and_size", "bias", "allocations", "fidelity")
    figures.draw_all = lambda _: dict.fromkeys(names)  # type: ignore[attr-defined]
    figures.save = save_figure  # type: ignore[attr-defined]
    page.report = lambda *_: "<!doctype html>"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "design_sim.figures", figures)
    monkeypatch.setitem(sys.modules, "design_sim.report", page)
    return lambda function: monkeypatch.setattr(page, "report", function)


pytestmark = pytest.mark.usefixtures("report")
Report = Callable[[Callable[[Results], str]], None]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_holds_everything_and_nothing_beside_it(results: Results, tmp_path: Path) -> None:
    """A reader finds the table, figures, report and provenance, and no leftovers of the writing."""
    folder = store.save(results, tmp_path / "a" / "b")
    assert folder == tmp_path / "a" / "b" / "trial"
    assert sorted(contents(folder)) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["trial"]


def test_provenance_says_how_to_make_it_again(results: Results, tmp_path: Path) -> None:
    """Scenario, changes, seed and versions are what the numbers depend on; digests guard the files."""
    folder = store.save(results, tmp_path)
    provenance = json.loads((folder / "provenance.json").read_bytes())
    assert (folder / "scenario.toml").read_text() == SCENARIO
    assert provenance["scenario_sha256"] == sha256(SCENARIO.encode()).hexdigest()
    assert provenance["changes"] == {"alpha": 0.1, "world.uptake": 0.8}
    assert (provenance["seed"], provenance["replicates"], provenance["cases"]) == (1, 20, 4)
    written = contents(folder)
    del written["provenance.json"]
    assert provenance["files"] == {name: sha256(data).hexdigest() for name, data in sorted(written.items())}


def test_two_runs_write_the_same_bytes(results: Results, tmp_path: Path) -> None:
    """Whoever repeats a run can compare folders; place, hour and processes leave no trace."""
    again = run(parse(SCENARIO, "trial", {"alpha": 0.1, "world.uptake": 0.8}), jobs=2)
    first, second = store.save(results, tmp_path / "one"), store.save(again, tmp_path / "two")
    assert contents(first) == contents(second)
    assert str(tmp_path).encode() not in b"".join(contents(first).values())


def test_git_is_not_needed(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package has no checkout, and many machines have no git."""
    monkeypatch.setenv("PATH", "")
    folder = store.save(results, tmp_path)
    assert json.loads((folder / "provenance.json").read_bytes())["git"] is None


def test_a_table_is_read_as_it_was_written(results: Results, tmp_path: Path) -> None:
    """What is stored is the long frame, to the last bit and column type."""
    pd.testing.assert_frame_equal(store.read(store.save(results, tmp_path)), results.performance)


@pytest.mark.parametrize("name", [name for name in FILES if name != "provenance.json"])
def test_a_damaged_file_is_named(results: Results, tmp_path: Path, name: str) -> None:
    """A single flipped bit must be found, whichever file it is in."""
    path = store.save(results, tmp_path) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=name):
        store.read(path.parent)


@pytest.mark.parametrize("name", ["performance.csv", "provenance.json"])
def test_a_missing_file_is_named(results: Results, tmp_path: Path, name: str) -> None:
    """A folder that lost a file is not the one that was written."""
    path = store.save(results, tmp_path) / name
    path.unlink()
    with pytest.raises(IntegrityError, match=name):
        store.read(path.parent)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"written_by": "design-sim", "files": 3}', "[" * 10_000])
def test_damaged_provenance_is_no_traceback(results: Results, tmp_path: Path, text: str) -> None:
    """Provenance is read before anything vouches for it."""
    folder = store.save(results, tmp_path)
    (folder / "provenance.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"provenance\.json"):
        store.read(folder)


def test_provenance_cannot_point_outside_its_folder(results: Results, tmp_path: Path) -> None:
    """A folder from somebody else must not make us read other files."""
    folder = store.save(results, tmp_path)
    provenance = json.loads((folder / "provenance.json").read_bytes())
    provenance["files"] = {"../secret": sha256(b"x").hexdigest(), **provenance["files"]}
    (tmp_path / "secret").write_bytes(b"x")
    (folder / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(IntegrityError, match=r"trial.secret"):
        store.read(folder)


def test_a_page_that_was_changed_is_found_by_its_checksum(results: Results, tmp_path: Path) -> None:
    """Where the digest was made to fit the damage, the checksums within the file still tell."""
    folder = store.save(results, tmp_path)
    path = folder / "performance.parquet"
    column = pq.ParquetFile(path).metadata.row_group(0).column(results.performance.columns.get_loc("value"))
    data = bytearray(path.read_bytes())
    data[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1] ^= 1
    path.write_bytes(data)
    provenance = json.loads((folder / "provenance.json").read_bytes())
    provenance["files"][path.name] = sha256(data).hexdigest()
    (folder / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(IntegrityError, match=r"performance\.parquet"):
        store.read(folder)


def test_no_cell_of_the_csv_is_a_formula(results: Results, tmp_path: Path) -> None:
    """Names come from a file that somebody sent; a spreadsheet must not run them."""
    folder = store.save(results, tmp_path)
    frame = pd.read_csv(folder / "performance.csv")
    assert set(frame["design"]) == {"'=1+1"}
    assert set(frame["answer"]) == {"'-means"}
    assert set(frame["measure"]) == set(results.performance["measure"])
    pd.testing.assert_series_equal(frame["value"], results.performance["value"], rtol=1e-15)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", " =1", "\r=1", "\n=1", "＝1", "\ta"])
def test_what_a_spreadsheet_takes_for_a_formula_is_text(text: str) -> None:
    """The signs that start a formula, and the blanks that programs skip in front of them."""
    assert store._defused(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "trial", "a=b", "5-10", "'=1"])
def test_what_is_no_formula_is_left_alone(text: str) -> None:
    """Names are changed only where they must be."""
    assert store._defused(text) == text


def test_values_of_several_types_can_be_stored(tmp_path: Path) -> None:
    """A sweep may vary one setting over numbers and words, and over numbers beyond 64 bits."""
    frame = pd.DataFrame({"a": [1, "x"], "b": [1, 2.5], "c": [True, 3], "d": [10**30, 1]})
    store.write_table(frame, tmp_path / "performance.parquet")
    table = pq.ParquetFile(tmp_path / "performance.parquet").read().to_pandas()
    assert table["a"].tolist() == ["1", "x"]
    assert table["b"].tolist() == [1.0, 2.5]
    assert table["c"].tolist() == ["True", "3"]
    assert table["d"].tolist() == [str(10**30), "1"]


def test_our_own_folder_is_replaced(results: Results, tmp_path: Path) -> None:
    """A run that is repeated replaces what it wrote before."""
    folder = store.save(results, tmp_path)
    (folder / "report.html").write_text("older")
    (folder / ".DS_Store").write_text("the file manager's")
    store.save(results, tmp_path)
    assert (folder / "report.html").read_text() == "<!doctype html>"
    assert sorted(contents(folder)) == FILES


def test_an_empty_folder_is_free(results: Results, tmp_path: Path) -> None:
    """Nothing is lost by using it."""
    (tmp_path / "trial").mkdir()
    assert sorted(contents(store.save(results, tmp_path))) == FILES


def foreign_file(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")


def foreign_provenance(folder: Path) -> None:
    folder.mkdir()
    (folder / "provenance.json").write_text('{"written_by": "another", "files": {}}')


def plain_file(folder: Path) -> None:
    folder.write_text("mine")


def link(folder: Path) -> None:
    (folder.parent / "real").mkdir()
    folder.symlink_to(folder.parent / "real")


@pytest.mark.parametrize("occupy", [foreign_file, foreign_provenance, plain_file, link])
def test_what_is_not_ours_is_not_touched(
    results: Results, tmp_path: Path, occupy: Callable[[Path], None]
) -> None:
    """Results never cost anybody a file; that is known before the run, and again in saving."""
    occupy(tmp_path / "trial")
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    for attempt in (lambda: store.check_free(tmp_path, "trial"), lambda: store.save(results, tmp_path)):
        with pytest.raises(FolderInUseError, match="trial"):
            attempt()
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_notes_beside_our_results_are_not_lost(results: Results, tmp_path: Path) -> None:
    """A folder of ours with somebody's notes in it is theirs too."""
    folder = store.save(results, tmp_path)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FolderInUseError, match=r"notes\.txt"):
        store.save(results, tmp_path)
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_results(
    results: Results, tmp_path: Path, report: Report, failure: BaseException
) -> None:
    """Disk full, or Ctrl-C, in the middle of writing: the old folder stands, and nothing half-written."""
    folder = store.save(results, tmp_path)
    before = contents(folder)

    def fail(*_: object) -> str:
        raise failure

    report(fail)
    with pytest.raises(StorageError if isinstance(failure, OSError) else KeyboardInterrupt) as raised:
        store.save(results, tmp_path)
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["trial"]
    if isinstance(failure, OSError):
        assert str(raised.value) == f"{folder}: results cannot be written here: no space left on device"


def test_a_swap_that_fails_puts_the_old_results_back(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between moving the old folder aside and the new one in, nothing may be lost."""
    folder = store.save(results, tmp_path)
    before, rename = contents(folder), Path.rename

    def fail_for_new(path: Path, target: Path) -> Path:
        if ".new-" in path.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(StorageError):
        store.save(results, tmp_path)
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["trial"]


@pytest.mark.skipif(os.name != "posix", reason="asks whether a process still runs")
def test_what_a_killed_process_left_is_tidied(results: Results, tmp_path: Path) -> None:
    """Killed while it swapped: the old results come back; what it had begun, and it alone, goes."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    folder = store.save(results, tmp_path)
    before = contents(folder)
    folder.rename(tmp_path / f".trial.old-{process.pid}")
    (tmp_path / f".trial.new-{process.pid}").mkdir()
    (tmp_path / f".trial.new-{os.getppid()}").mkdir()
    (tmp_path / f".trials.new-{process.pid}").mkdir()
    assert store.check_free(tmp_path, "trial") == folder
    assert contents(folder) == before
    left = {f".trial.new-{os.getppid()}", f".trials.new-{process.pid}", "trial"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_a_folder_that_cannot_be_made_is_known_before_the_run(tmp_path: Path) -> None:
    """An hour of simulation is not spent on results with nowhere to go."""
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300), Path("a\0b")):
        with pytest.raises(StorageError):
            store.check_free(out, "trial")
    with pytest.raises(StorageError):
        store.check_free(tmp_path, "x" * 250)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "a\udcff"])
def test_a_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    """The name comes from a file's name, and a file may be called `...toml`."""
    with pytest.raises(DesignSimError, match="cannot be the name"):
        store.check_free(tmp_path, name)
