"""The command line: what it prints, where, and how each way to end is told from the others."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest

from design_sim import __version__, cli, screen, store
from design_sim.cli import options
from design_sim.designs import DESIGNS
from design_sim.errors import StorageError
from design_sim.performance import MEASURES
from design_sim.sweep import load
from design_sim.world.audit import score_reliability

SCENARIO = """# Does a trial see it?
replicates = 40
[world]
authorities = 20
[outcomes.y]
kind = "continuous"
source = "survey"
effect = 0.5
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = 10
sample = {teams = 2, workers = 2, families = 2}
[designs.trial.answers.means]
estimator = "cluster_means"
estimand = "offered"
"""
Said = tuple[int, str, str]
Command = Callable[..., Said]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in, with one scenario file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(cli.DEBUG, raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "trial.toml").write_text(SCENARIO)
    return tmp_path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process: its exit code, and what it says on either stream."""

    def run(*arguments: str) -> Said:
        code = cli.execute(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def quick_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures and a report that take no time."""
    figures, page = ModuleType("design_sim.figures"), ModuleType("design_sim.report")
    names = ("power_and_size", "bias", "allocations", "fidelity")
    figures.draw_all = lambda _: dict.fromkeys(names)  # type: ignore[attr-defined]
    figures.save = lambda _, path: Path(f"{path}.svg").write_text("")  # type: ignore[attr-defined]
    page.report = lambda *_: ""  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "design_sim.figures", figures)
    monkeypatch.setitem(sys.modules, "design_sim.report", page)


def start(*arguments: str) -> "subprocess.Popen[bytes]":
    """The same as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "design_sim", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A test run in the background inherits an interrupt that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_a_run_prints_the_table_and_writes_the_folder(command: Command, folder: Path) -> None:
    """The whole way, figures and report included: results on one stream, talk on the other."""
    code, out, err = command("run", "trial.toml", "--jobs", "1")
    assert code == 0
    assert "trial" in out
    assert "power" in out
    assert "40 replicates" in out
    assert err.splitlines()[0] == "trial: 1 case of 1 design, 40 replicates each, seed 1"
    assert f"Written to results{os.sep}trial{os.sep}" in err
    assert len(store.read(folder / "results" / "trial")) == len(MEASURES) - 1  # no average null twin


@pytest.mark.usefixtures("quick_pages")
def test_options_change_the_file(command: Command, folder: Path) -> None:
    """A quick look, another seed: without editing the file, and kept in the provenance."""
    options = "--replicates 20 --seed 7 --resolution unit --jobs 1 --out o"
    code, _, _ = command("run", "trial.toml", *options.split(), "--set", "designs.trial.authorities=8")
    table = store.read(folder / "o" / "trial")
    provenance = (folder / "o" / "trial" / "provenance.json").read_text()
    assert code == 0
    assert set(table["replicates"]) == {20}
    assert '"designs.trial.authorities": 8' in provenance
    assert '"resolution": "unit"' in provenance
    assert '"seed": 7' in provenance


@pytest.mark.usefixtures("quick_pages")
@pytest.mark.parametrize("width", ["80", "200"])
def test_the_table_fits_the_terminal(command: Command, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    """No line is broken by the terminal, and what is left out for that is named."""
    monkeypatch.setenv("COLUMNS", width)
    _, out, _ = command("run", "trial.toml", "--jobs", "1")
    assert max(map(len, out.splitlines())) <= int(width)
    assert "size" in out.splitlines()[0]
    assert ("Not shown" in out) == (width == "80")


@pytest.mark.usefixtures("quick_pages")
def test_a_long_table_is_cut_and_says_so(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of cases do not scroll the reading away; the file has them all."""
    monkeypatch.setattr(screen, "MOST_ROWS", 2)
    Path("trial.toml").write_text(SCENARIO + '[sweep]\n"world.uptake" = [0.1, 0.2, 0.3, 0.4]\n')
    _, out, _ = command("run", "trial.toml", "--jobs", "1")
    assert "... and 2 rows more, all in performance.csv" in out


def test_check_says_what_would_run(command: Command, folder: Path) -> None:
    """Cases, designs, answers and size, without a number drawn or a file written."""
    Path("trial.toml").write_text(SCENARIO + '[sweep]\n"world.uptake" = [0.1, 0.2, 0.3]\n')
    code, out, _ = command("check", "trial.toml")
    assert code == 0
    assert "3 cases of 1 design, 40 replicates each" in out
    assert "varied: world.uptake = 0.1, 0.2, 0.3" in out
    assert "cluster_means" in out
    assert "240 simulated studies" in out
    assert [path.name for path in folder.iterdir()] == ["trial.toml"]


def test_check_says_how_reliably_fidelity_is_scored(command: Command) -> None:
    """The reliability is no setting but follows from them: each case of a sweep has its own."""
    text = SCENARIO.replace("[world]", "[world]\naudit = {}") + '[sweep]\n"world.audit.cases" = [5, 20]\n'
    Path("trial.toml").write_text(text)
    code, out, _ = command("check", "trial.toml")
    assert code == 0
    for case in load("trial.toml").cases:
        world = case.scenario.world
        assert f"in {case.settings['world.audit.cases']} cases of each authority in year 1" in out
        assert (
            f"(share of the variance between authorities that is true) is {score_reliability(world):.2f}"
            in out
        )


def test_check_says_how_often_others_stand_in(command: Command) -> None:
    """Where comparisons are to have the rival and the world has few of them, once for all cases alike."""
    contrast = (
        '[designs.few]\nkind = "contrast"\noutcome = "score"\npilots = 2\ncomparisons = 2\n'
        'comparisons_with = "rival"\nsample = {teams = 1, workers = 2, families = 3}\n'
        'answers.t = {estimator = "cluster_means", estimand = "offered"}\n'
    )
    world = "[world]\nauthorities = 22\nrival = {share = 0.1}\n"
    outcome = '[outcomes.score]\nkind = "continuous"\nsource = "survey"\neffect = 0.3\n'
    Path("few.toml").write_text(world + outcome + contrast + '[sweep]\n"world.uptake" = [0.1, 0.2]\n')
    code, out, _ = command("check", "few.toml")
    assert code == 0
    short = 100 * (0.9**20 + 20 * 0.1 * 0.9**19)
    assert out.count(f"Comparisons have the rival framework; in {short:.0f} % of studies there are") == 1


def test_every_preset_can_be_shown_and_checked(command: Command) -> None:
    """A preset is a file like any other: what `show` prints is what `run` would read."""
    for name in (path.name for path in (resources.files("design_sim") / "presets").iterdir()):
        stem = name.removesuffix(".toml")
        code, out, _ = command("show", stem)
        Path("copy.toml").write_text(out)
        assert (code, command("check", "copy.toml")[0], command("check", stem)[0]) == (0, 0, 0)


KINDS = ("designs", "estimators", "estimands", "measures", "presets", "covariates", "outcomes")


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_named_is_listed_with_its_meaning(command: Command, kind: str) -> None:
    """Nobody should have to read the source to write a scenario file."""
    code, out, _ = command("list", kind)
    assert code == 0
    assert all(len(line.split("  ")) > 1 for line in out.splitlines())
    assert kind != "designs" or set(DESIGNS) == {line.split()[0] for line in out.splitlines()}


REFUSED = {
    "nothing like a command": (["rnu"], "Did you mean 'run'?"),
    "no file": (["run"], "Missing argument 'FILE'"),
    "an unknown option": (["run", "trial.toml", "--sed", "1"], "--seed"),
    "a word for a number": (["run", "trial.toml", "--seed", "x"], "--seed"),
    "a number beyond all bounds": (["check", "trial.toml", "--seed", "9" * 5_000], "--seed"),
    "a seed beyond its bounds": (["check", "trial.toml", "--seed", "9" * 30], "seed: 999"),
    "a negative seed": (["check", "trial.toml", "--seed", "-1"], "seed: -1 is not within 0"),
    "no replicates": (["run", "trial.toml", "--replicates", "0"], "replicates: found 0"),
    "no processes": (["run", "trial.toml", "--jobs", "0"], "--jobs: found 0; allowed: 1 or more, or -1"),
    "a missing file": (["run", "trail.toml"], "trail.toml: 1 fault\n  cannot be read: No such file"),
    "a misspelt preset": (["run", "sofs-small-20v2"], "did you mean 'sofs-small-20v20'?"),
    "a folder": (["run", "."], "cannot be read"),
    "a change without a value": (["check", "trial.toml", "--set", "seed"], "--set 'seed': a path, an equals"),
    "a change without a path": (["check", "trial.toml", "--set", "=1"], "--set '=1': a path, an equals"),
    "a change made twice": (["check", "trial.toml", "--seed", "1", "--set", "seed=2"], "seed is set twice"),
    "a change of nothing": (["check", "trial.toml", "--set", "world.uptaek=1"], "did you mean 'uptake'?"),
    "a change of no design": (
        ["check", "trial.toml", "--set", "designs.trail.year=1"],
        "did you mean 'trial'?",
    ),
    "not a number": (
        ["check", "trial.toml", "--set", "world.uptake=nan"],
        "found nan; allowed: a finite number",
    ),
    "infinity": (["check", "trial.toml", "--set", "outcomes.y.effect=inf"], "found inf"),
    "a word": (["check", "trial.toml", "--set", "world.uptake=lots"], "found 'lots'; allowed: a number"),
    "a wrong resolution": (
        ["check", "trial.toml", "--resolution", "fine"],
        "allowed: 'auto', 'cell', 'unit'",
    ),
    "a kind misspelt": (["list", "desings"], "did you mean 'designs'?"),
    "no such preset": (["show", "sofs"], "'sofs' is not a preset"),
    "a certificate of nothing": (["certify", "--only", "cluster_mean"], "did you mean 'cluster_means'?"),
    "a certificate of no trial": (["certify", "--replicates", "0"], "--replicates: found 0; allowed: 1"),
    "a certificate of an odd seed": (["certify", "--seed", "-1"], "--seed: -1 is not within 0"),
    "a certificate by nobody": (["certify", "--jobs", "0"], "--jobs: found 0; allowed: 1 or more, or -1"),
    "a part of a certificate cited": (["certify", "--cite", "--only", "gee"], "leave out --only"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_mistake_is_told_in_words(command: Command, mistake: str) -> None:
    """Exit 2, nothing on standard output, no traceback, and what to do instead."""
    arguments, words = REFUSED[mistake]
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert len(err) < 600


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", b"a = \x00", b"[" * 100_000, b"seed = nan\n", b"\x1b[31m = 1"]
)
def test_a_file_that_is_no_scenario_is_told_in_words(command: Command, data: bytes) -> None:
    """Pictures, half-downloaded files and terminal codes: exit 2, and nothing reaches the terminal raw."""
    Path("odd.toml").write_bytes(data)
    code, _, err = command("check", "odd.toml")
    assert code == 2
    assert err.startswith("odd.toml: ")
    assert all(character.isprintable() for character in err.replace("\n", ""))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("unit", "unit"),
        ('"unit"', "unit"),
        ("[12, 24]", [12, 24]),
        ("a=b", "a=b"),
        ("", ""),
        ("1\nx = 2", "1\nx = 2"),
        ("1979-05-27", "1979-05-27"),
        ("[" * 5_000, "[" * 5_000),
    ],
)
def test_a_value_is_read_as_in_a_file_or_else_as_text(text: str, value: object) -> None:
    """Numbers stay numbers, words need no quotes, and one assignment never becomes two."""
    assert options.value_of(text) == value


def test_no_more_processes_than_cores() -> None:
    """A thousand processes on two cores would stop the machine, and gain nothing."""
    assert 1 <= options.processes_of(100_000) == options.processes_of(-1)
    assert options.processes_of(1) == 1


@pytest.mark.usefixtures("quick_pages")
def test_a_folder_in_use_is_refused_before_the_run(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 3, the folder named, and not a second spent."""
    (folder / "results" / "trial").mkdir(parents=True)
    (folder / "results" / "trial" / "thesis.docx").write_text("mine")
    monkeypatch.setattr("design_sim.results.run", lambda *_, **__: pytest.fail("it ran"))
    code, out, err = command("run", "trial.toml")
    assert (code, out) == (3, "")
    assert "thesis.docx" in err


def test_a_place_that_cannot_be_written_is_refused_before_the_run(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 4 in one line."""
    monkeypatch.setattr("design_sim.results.run", lambda *_, **__: pytest.fail("it ran"))
    code, _, err = command("run", "trial.toml", "--out", "trial.toml")
    assert code == 4
    assert err == "trial.toml: results cannot be written here: it is not a folder\n"


@pytest.mark.parametrize(("failure", "expected"), [(StorageError("disk full"), 4), (ValueError("a bug"), 1)])
def test_results_that_cannot_be_saved_are_still_shown(
    command: Command, monkeypatch: pytest.MonkeyPatch, failure: Exception, expected: int
) -> None:
    """After hours of work the table is worth having even where the folder is not to be had."""

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(store, "save", fail)
    code, out, err = command("run", "trial.toml", "--jobs", "1")
    assert code == expected
    assert "power" in out
    assert str(failure) in err


def test_a_bug_is_owned_without_a_traceback(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1: whose fault it is, what to send, and how to see more."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("division by\nzero")

    monkeypatch.setattr("design_sim.sweep.load", fail)
    code, out, err = command("check", "trial.toml")
    assert (code, out) == (1, "")
    assert "ZeroDivisionError: division by zero" in err
    assert "design-sim --debug check trial.toml" in err
    assert "Traceback" not in err
    monkeypatch.setenv(cli.DEBUG, "1")
    assert "Traceback" in command("check", "trial.toml")[2]


def test_interruption_is_told_in_a_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 130, which says to a script that nobody refused and nothing broke."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("design_sim.results.run", interrupt)
    code, _, err = command("run", "trial.toml")
    assert (code, err.splitlines()[-1]) == (130, "Interrupted; nothing is left half-written.")
    assert list(Path("results").iterdir()) == []


def test_too_little_memory_is_told_in_a_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request was too large, which the user can put right."""

    def exhaust(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("design_sim.results.run", exhaust)
    code, _, err = command("run", "trial.toml")
    assert code == 2
    assert "needs more memory" in err


def test_version_and_help(command: Command) -> None:
    """Both go to standard output and end well; so does the bare command."""
    assert command("--version") == (0, f"design-sim {__version__}\n", "")
    assert command()[1] == command("--help")[1]
    for name in ("run", "check", "list", "show"):
        code, out, _ = command(name, "--help")
        assert code == 0
        assert out.startswith(f"Usage: design-sim {name}")


def test_progress_is_a_line_now_and_then_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log file of a long run is to be read: about every ten seconds, and at the end."""
    hours = iter(range(0, 100, 4))
    monkeypatch.setattr(screen, "monotonic", lambda: float(next(hours)))
    with screen.progress_shown() as progress:
        for done in range(1, 8):
            progress(done, 7)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "3 of 7 blocks done (43 %) after 12 s",
        "6 of 7 blocks done (86 %) after 24 s",
        "7 of 7 blocks done (100 %) after 28 s",
    ]


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """`design-sim list measures | head -1` ends quietly."""
    with start("list", "measures") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_process_leaves_nothing(folder: Path, sign: signal.Signals) -> None:
    """Ctrl-C, or a machine that shuts down, in the middle of a run."""
    with start("run", "trial.toml", "--jobs", "1", "--replicates", "5000000") as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        time.sleep(0.3)
        process.send_signal(sign)
        rest = process.stderr.read()
    assert first.startswith(b"trial: 1 case")
    assert rest == b"Interrupted; nothing is left half-written.\n"
    assert process.returncode == 130
    assert list((folder / "results").iterdir()) == []


def test_help_needs_nothing_heavy() -> None:
    """The first thing that anybody types answers at once."""
    code = (
        "import sys; from design_sim.cli import execute; execute(['--help']); "
        "print(sorted({'numpy', 'scipy', 'pandas', 'pyarrow', 'matplotlib', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_fault_in_a_file_needs_nothing_heavy() -> None:
    """A slip in a scenario file is answered before tables and figures are even loaded."""
    heavy = "{'scipy.stats', 'pandas', 'pyarrow', 'matplotlib', 'statsmodels', 'joblib'}"
    code = (
        "import sys; from design_sim.cli import execute; execute(['check', 'trial.toml', '--set', 'x=1']); "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
