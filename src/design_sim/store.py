"""Results on disk: a folder that appears whole or not at all, and says how to make it again.

A folder holds the table (Parquet and CSV), figures, the report, the scenario as it was run, and
`provenance.json`: the versions, seed and changes behind the numbers, and the SHA-256 of every other file.
It depends on the scenario, its changes and the versions alone, so that a run repeated anywhere, with
any number of processes, gives the same bytes.

Decision: a folder that is in the way is replaced only if `provenance.json` says that we wrote everything
in it. Somebody's notes beside our table are worth more than the convenience of writing over them.

Decision: results are written to a hidden folder beside the final one, named after the process. The old
folder is then moved aside and deleted last. What a killed process left behind is tidied by the next run
of the same name: the old results are put back where they were the only ones.
"""

import csv
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from design_sim import __version__
from design_sim.errors import DesignSimError, FolderInUseError, IntegrityError, StorageError

if TYPE_CHECKING:
    from pandas import DataFrame

    from design_sim.results import Results
    from design_sim.sweep import Sweep

TABLE = "performance.parquet"
PROVENANCE = "provenance.json"
WRITTEN_BY = "design-sim"
"""What marks a folder as ours."""
LIBRARIES = (
    "numpy",
    "scipy",
    "statsmodels",
    "pandas",
    "pyarrow",
    "matplotlib",
    "pydantic",
    "joblib",
    "threadpoolctl",
    "jinja2",
)
_CLUTTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")


def check_free(out: Path, name: str) -> Path:
    """Where results of a name are going to be, once it is certain that they may and can be.

    To be asked before a run, so that no work is lost. Makes `out`, tidies what a killed run of the same
    name left there, and tries whether a folder can be made.

    Parameters
    ----------
    out : Path
        The folder of all results.
    name : str
        The name of these.

    Raises
    ------
    FolderInUseError
        If there is something that we did not write; nothing is touched.
    StorageError
        If nothing can be written there.
    DesignSimError
        If the name cannot be that of a folder.
    """
    if name in ("", ".", "..") or any(not c.isprintable() or c in "/\\" for c in name):
        raise DesignSimError(f"{name!r} cannot be the name of a results folder; rename the scenario file")
    folder = out / name
    try:
        if os.path.lexists(out) and not out.is_dir():
            raise StorageError(f"{out}: results cannot be written here: it is not a folder")
        out.mkdir(parents=True, exist_ok=True)
        _tidy(folder)
        _refuse_foreign(folder)
        with _beside(folder):
            return folder
    except (OSError, ValueError) as reason:
        raise _storage_error(folder, reason) from None


def save(results: "Results", out: Path) -> Path:
    """Write results to the folder `out`/name, whole or not at all.

    Parameters
    ----------
    results : Results
        From `results.run`; the folder has the name of its sweep.
    out : Path
        The folder of all results; made where it is missing.

    Returns
    -------
    Path
        The folder. Results of ours that stood there are replaced, and kept should this fail.

    Raises
    ------
    FolderInUseError, StorageError, DesignSimError
        As `check_free`, and StorageError for whatever goes wrong in writing.
    """
    return save_as(results.sweep, results.sweep.name, out, lambda folder: _write(results, folder))


def save_as(sweep: "Sweep", name: str, out: Path, write: Callable[[Path], None]) -> Path:
    """Write a folder of files about a sweep, whole or not at all, with what it takes to make them again.

    Parameters
    ----------
    sweep : Sweep
        What was asked; its scenario and provenance are written beside the files.
    name : str
        Name of the folder in `out`.
    write : callable
        Called with an empty folder, to fill it.

    Raises
    ------
    FolderInUseError, StorageError, DesignSimError
        As `save`.
    """
    folder = check_free(out, name)
    try:
        with _beside(folder) as new:
            write(new)
            _write_provenance(sweep, new)
            _swap_in(new, folder)
    except OSError as reason:
        raise _storage_error(folder, reason) from None
    return folder


def read(folder: Path) -> "DataFrame":
    """The table of measures of a results folder, once every file in it is what was written.

    Raises
    ------
    IntegrityError
        Naming the file that is missing, or is not what was written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    provenance = _provenance(folder)
    if provenance is None or TABLE not in provenance["files"]:
        raise IntegrityError(f"{folder / PROVENANCE}: missing or damaged; these are no results to rely on")
    contents = {}
    for name, digest in provenance["files"].items():
        path = folder / Path(name).name
        try:
            contents[name] = path.read_bytes()
        except (OSError, ValueError) as reason:
            raise IntegrityError(f"{path}: {_said(reason)}") from None
        if sha256(contents[name]).hexdigest() != digest:
            raise IntegrityError(f"{path}: is not what was written (its SHA-256 differs)")
    try:
        table = pq.ParquetFile(pa.BufferReader(contents[TABLE]), page_checksum_verification=True)
        frame: DataFrame = table.read().to_pandas()
    except (OSError, pa.ArrowException) as reason:
        raise IntegrityError(f"{folder / TABLE}: {_said(reason)}") from None
    return frame


def _write(results: "Results", folder: Path) -> None:
    """Everything that a results folder holds but its provenance."""
    from design_sim.figures import draw_all
    from design_sim.figures import save as save_figure
    from design_sim.report import report

    write_table(results.performance, folder / TABLE)
    drawn = draw_all(results)
    for name, figure in drawn.items():
        save_figure(figure, folder / name)
    (folder / "report.html").write_bytes(report(results, drawn).encode("utf-8", "backslashreplace"))


def _write_provenance(sweep: "Sweep", folder: Path) -> None:
    """The scenario, and last what it takes to make the rest again."""
    (folder / "scenario.toml").write_bytes(_bytes(sweep))
    digests = {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    provenance = json.dumps(_provenance_of(sweep) | {"files": digests}, indent=2)
    (folder / PROVENANCE).write_bytes(provenance.encode() + b"\n")
    for path in (*folder.iterdir(), folder):
        _sync(path)


def write_table(frame: "DataFrame", path: Path) -> None:
    """Write a frame as Parquet, with checksums, and as CSV beside it, without formulas."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = frame.copy()
    for column in frame.columns[frame.dtypes.map(lambda dtype: dtype.kind == "O")]:
        # One setting's values in several types, or numbers too large, neither of which Parquet can hold.
        frame[column] = frame[column].map(str)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, path, write_page_checksum=True)
    for column in frame.columns:
        if frame[column].dtype.kind not in "biuf":
            frame[column] = frame[column].map(_defused)
    frame.columns = frame.columns.map(_defused)
    frame.to_csv(
        path.with_suffix(".csv"),
        index=False,
        encoding="utf-8",
        lineterminator="\n",
        quoting=csv.QUOTE_NONNUMERIC,
    )


def _defused(text: str) -> str:
    """A text cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def _provenance_of(sweep: "Sweep") -> dict[str, Any]:
    """What it takes to make the results again; nothing of the machine or the hour."""
    return {
        "written_by": WRITTEN_BY,
        "version": __version__,
        "git": _git_state(),
        "python": platform.python_version(),
        "libraries": {library: _version_of(library) for library in LIBRARIES},
        "scenario": sweep.name,
        "scenario_sha256": sha256(_bytes(sweep)).hexdigest(),
        "changes": dict(sorted(sweep.changes.items())),
        "seed": sweep.seed,
        "replicates": sweep.replicates,
        "cases": len(sweep.cases),
    }


def _version_of(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def _bytes(sweep: "Sweep") -> bytes:
    return sweep.text.encode("utf-8", "surrogatepass")


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout that the package is run from, and whether its code was changed since.

    None without a checkout or without git. Only the package's own folder counts as changed: results that
    are written into the checkout must not make the next run's provenance another one.
    """
    package = Path(__file__).parent
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit, changed = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "--", ".")
    return None if commit is None or changed is None else {"commit": commit, "dirty": bool(changed)}


def _git(folder: Path, *words: str) -> str | None:
    elsewhere = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *words],
            cwd=folder,
            env={key: value for key, value in os.environ.items() if key not in elsewhere},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()


def _provenance(folder: Path) -> Mapping[str, Any] | None:
    """The provenance in a folder; None where there is none of ours."""
    try:
        provenance = json.loads((folder / PROVENANCE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(provenance, dict) and provenance.get("written_by") == WRITTEN_BY
    return provenance if ours and isinstance(provenance.get("files"), dict) else None


def _refuse_foreign(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    elsewhere = "move it, or write elsewhere with --out"
    if folder.is_symlink() or not folder.is_dir():
        raise FolderInUseError(f"{folder}: exists and is not a folder of results; {elsewhere}")
    present = {path.name for path in folder.iterdir()} - _CLUTTER
    provenance = _provenance(folder)
    foreign = sorted(present - {PROVENANCE} - set(provenance["files"])) if provenance else sorted(present)
    if foreign:
        some = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise FolderInUseError(f"{folder}: holds what design-sim did not write ({some}); {elsewhere}")


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A hidden new folder beside the final one; gone at the end, unless it was renamed."""
    new = _hidden(folder, "new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _swap_in(new: Path, folder: Path) -> None:
    """Give the new folder its place; where that fails the old one stays or comes back."""
    old = _hidden(folder, "old")
    try:
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        _sync(folder.parent)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _tidy(folder: Path) -> None:
    """Clear away what a killed process left; its old results go back if the new ones never came."""
    for path in folder.parent.iterdir():
        left = re.fullmatch(re.escape(f".{folder.name}.") + r"(new|old)-([0-9]{1,9})", path.name)
        if left and not _runs(int(left[2])):
            if left[1] == "old" and not folder.exists():
                path.rename(folder)
            else:
                shutil.rmtree(path)


def _hidden(folder: Path, which: str) -> Path:
    return folder.with_name(f".{folder.name}.{which}-{os.getpid()}")


def _runs(process: int) -> bool:
    """Whether a process is still running; taken to be so where it cannot be asked."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path) -> None:
    """Have the disk hold a file or folder before anything relies on it."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _storage_error(folder: Path, reason: Exception) -> StorageError:
    return StorageError(f"{folder}: results cannot be written here: {_said(reason)}")


def _said(reason: Exception) -> str:
    """What the system said, in one line."""
    return " ".join((getattr(reason, "strerror", None) or str(reason)).split()).lower()
