"""A scenario file turned into scenarios, one for each case of its sweep; every mistake reported at once.

The file is TOML. `[world]`, `[outcomes.NAME]`, `[designs.NAME]` with `[designs.NAME.answers.NAME]` state
one scenario; `[sweep]` lists values for any settings by their path, and every combination is a case.
"""

import copy
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal, cast

from design_sim.designs import DESIGNS
from design_sim.designs.base import UNITS
from design_sim.errors import ScenarioError
from design_sim.estimands import Estimand
from design_sim.estimators import ESTIMATORS
from design_sim.faults import found, nearest, validate
from design_sim.scenario import Scenario, scenario_faults
from design_sim.study import Answer, Study
from design_sim.world.outcomes import OUTCOMES, Outcome
from design_sim.world.settings import WorldSettings

TOP_LEVEL = (
    "seed",
    "replicates",
    "alpha",
    "window",
    "resolution",
    "average_twin",
    "world",
    "outcomes",
    "designs",
    "sweep",
)
ESTIMAND_KEYS = {
    "estimand": "rung",
    "average": "average",
    "weighted_by": "weights",
    "component": "component",
    "exit": "exit",
}
"""The keys of an answer that state its estimand, and the estimand's fields."""
MOST_BYTES = 1_000_000
DEEPEST = 20
_DEEP_KEY = re.compile(rf"(?:[\w\"'-]+[ \t]*\.[ \t]*){{{DEEPEST}}}")
MOST_CASES = 10_000
MOST_REPLICATES = 10_000_000
Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Case:
    """One combination of the varied settings, and the scenario that it states."""

    settings: Mapping[str, Value]
    scenario: Scenario


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a scenario file asks for.

    Parameters
    ----------
    name : str
        Name of the file, without its ending: the name of the results folder.
    text : str
        The file as it was read.
    changes : mapping of values by path
        What was set differently on the command line or in Python.
    replicates : int
        Replicates of every case.
    varied : tuple of str
        Paths of the varied settings, in the file's order.
    cases : tuple of Case
        At least one.
    """

    name: str
    text: str
    changes: Mapping[str, Value]
    replicates: int
    varied: tuple[str, ...]
    cases: tuple[Case, ...]

    @property
    def seed(self) -> int:
        """Root seed of the first case."""
        return self.cases[0].scenario.seed


def presets() -> dict[str, str]:
    """The packaged scenario files: name, and the aim in the first line."""
    folder = resources.files("design_sim") / "presets"
    files = sorted(f for f in folder.iterdir() if f.name.endswith(".toml"))  # type: ignore[type-var]
    return {f.name[:-5]: f.read_text("utf-8").splitlines()[0].lstrip("# ") for f in files}


def preset_text(name: str) -> str:
    """The text of a packaged scenario file.

    Raises
    ------
    ScenarioError
        If there is none of that name; the message gives the nearest.
    """
    if name not in presets():
        raise ScenarioError([f"{name!r} is not a preset{nearest(name, presets())}"], "presets")
    return (resources.files("design_sim") / "presets" / f"{name}.toml").read_text("utf-8")


def load(source: str | Path, changes: Mapping[str, Value] | None = None) -> Sweep:
    """Read a scenario file, or a preset by its name.

    Parameters
    ----------
    source : str or Path
        A file's path, or the name of a preset.
    changes : mapping of values by path, optional
        Settings to set differently, such as {"designs.trial.authorities": 40}.

    Raises
    ------
    ScenarioError
        With every fault by its path, what was found and what is allowed.
    """
    path = Path(source)
    if str(source) in presets() and not path.exists():
        return parse(preset_text(str(source)), str(source), changes, f"preset {source}")
    return parse(_text_of(path), path.stem, changes, str(path))


def _text_of(path: Path) -> str:
    """What a file holds, or a fault that says why it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as reason:
        missing = isinstance(reason, FileNotFoundError)
        hint = f"; there is no preset of that name{nearest(path.stem, presets())}" if missing else ""
        said = getattr(reason, "strerror", None) or str(reason)
        raise ScenarioError([f"cannot be read: {said}{hint}"], str(path)) from None
    if len(raw) > MOST_BYTES:
        raise ScenarioError([f"is larger than {MOST_BYTES:,} bytes, the most a scenario may be"], str(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise ScenarioError([f"is not UTF-8 text (byte {reason.start})"], str(path)) from None


def parse(
    text: str, name: str, changes: Mapping[str, Value] | None = None, source: str = "scenario"
) -> Sweep:
    """Turn the text of a scenario file into the cases that it asks for; see `load`."""
    changes = dict(changes or {})
    data = _tables_of(text, source)
    faults = [f"{key}: unknown key{nearest(key, TOP_LEVEL)}" for key in data if key not in TOP_LEVEL]
    grid = _grid(data, faults)
    for path, value in changes.items():
        if path.split(".")[0] == "sweep":
            faults.append(f"{path}: what is varied can be set in the file only")
            continue
        if path in grid:
            faults.append(f"{path}: is varied by [sweep]; set it in one place only")
        _set(data, path, value, faults)
    replicates = data.get("replicates", 1_000)
    if type(replicates) is not int or not 1 <= replicates <= MOST_REPLICATES:
        faults.append(
            f"replicates: found {found(replicates)}; allowed: a whole number, 1 to {MOST_REPLICATES:,}"
        )
    cases, case_faults = _cases(data, grid)
    faults += case_faults
    if faults:
        raise ScenarioError(list(dict.fromkeys(faults)), source)
    return Sweep(name, text, changes, replicates, tuple(grid), tuple(cases))


def _tables_of(text: str, source: str) -> dict[str, Any]:
    """The tables that a text states, or a fault that says why it states none."""
    too_deep = f"is nested more than {DEEPEST} levels deep"
    if _DEEP_KEY.search(text):
        raise ScenarioError([too_deep], source)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise ScenarioError([f"is not valid TOML: {reason}"], source) from None
    except RecursionError:
        raise ScenarioError([too_deep], source) from None
    except ValueError:
        raise ScenarioError(["holds a number of too many digits"], source) from None
    level: list[Any] = [data]
    for _ in range(DEEPEST):
        level = [inner for table in level for inner in (table.values() if isinstance(table, dict) else table)]
        level = [inner for inner in level if isinstance(inner, dict | list)]
    if level:
        raise ScenarioError([too_deep], source)
    return data


def _grid(data: Mapping[str, Any], faults: list[str]) -> dict[str, list[Value]]:
    """The varied settings and their values; what is wrong with them goes to `faults`."""
    sweep = data.get("sweep", {})
    if not isinstance(sweep, dict):
        faults.append(f"sweep: found {found(sweep)}; allowed: a table of lists")
        return {}
    grid: dict[str, list[Value]] = {}
    for path, values in sweep.items():
        at = f'sweep."{path}"'
        if path.split(".")[0] in ("replicates", "sweep", "seed"):
            faults.append(f"{at}: {path.split('.')[0]} cannot be varied")
        elif not isinstance(values, list) or not values:
            said = "an empty list" if values == [] else found(values)
            faults.append(f"{at}: found {said}; allowed: a list of values, in quotes its whole path")
        elif any(isinstance(value, list | dict) for value in values):
            faults.append(f"{at}: found a list among the values; allowed: numbers, text, true, false")
        elif len({(type(value), value) for value in values}) < len(values):
            faults.append(f"{at}: a value stands there twice")
        else:
            grid[path] = values
    if prod(len(values) for values in grid.values()) > MOST_CASES:
        faults.append(f"sweep: asks for more than {MOST_CASES:,} cases")
        return {}
    return grid


def _set(data: dict[str, Any], path: str, value: Value, faults: list[str]) -> None:
    """Put a value at a path, making tables that the file left to their defaults."""
    keys = path.split(".")
    if keys[0] not in TOP_LEVEL:
        faults.append(f"{path}: unknown key{nearest(keys[0], TOP_LEVEL)}")
        return
    table = data
    for depth, key in enumerate(keys[:-1]):
        named = (depth == 1 and keys[0] in ("outcomes", "designs")) or (depth == 3 and keys[2] == "answers")
        if named and isinstance(table, dict) and key not in table:
            faults.append(f"{path}: the file has no {'.'.join(keys[: depth + 1])}{nearest(key, table)}")
            return
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            faults.append(f"{path}: {'.'.join(keys[: depth + 1])} is not a table")
            return
    table[keys[-1]] = value


def _cases(data: dict[str, Any], grid: Mapping[str, list[Value]]) -> tuple[list[Case], list[str]]:
    """Every case that can be run, and the faults of those that cannot.

    A fault that the file has without its sweep is told once, another with the first case that has it.
    """
    cases: list[Case] = []
    _, at_large = _case(data, {})
    faults: dict[str, str] = {}
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        scenario, own = _case(data, settings)
        if scenario is not None:
            cases.append(Case(settings, scenario))
        where = ", ".join(f"{path} = {found(value)}" for path, value in settings.items())
        for fault in own:
            told = fault if fault in at_large or not where else f"{fault} (in the sweep, where {where})"
            faults.setdefault(fault, told)
    return cases, list(faults.values())


def _case(data: dict[str, Any], settings: Mapping[str, Value]) -> tuple[Scenario | None, list[str]]:
    """The scenario of one combination of the varied settings, or None and the reasons."""
    faults: list[str] = []
    stated = copy.deepcopy(data)
    for path, value in settings.items():
        _set(stated, path, value, faults)
    scenario = _scenario(stated, faults)
    return (None if faults else scenario), faults


def _scenario(data: Mapping[str, Any], faults: list[str]) -> Scenario | None:
    """The scenario that a file's tables state, or None and the reasons."""
    world = validate(WorldSettings, data.get("world", {}), "world", faults)
    outcomes = {
        name: _outcome(table, f"outcomes.{name}", faults) for name, table in _tables(data, "outcomes", faults)
    }
    studies = {
        name: _study(table, f"designs.{name}", faults) for name, table in _tables(data, "designs", faults)
    }
    run = _run_settings(data, faults)
    if world is None or run is None:
        return None
    faults += scenario_faults(world, outcomes, studies, *run)
    if faults:
        return None
    average = data.get("average_twin", False)
    return Scenario(world, outcomes, studies, *run, average)  # type: ignore[arg-type]


def _run_settings(
    data: Mapping[str, Any], faults: list[str]
) -> tuple[int, float, tuple[int, int], Literal["auto", "cell", "unit"]] | None:
    """Seed, alpha, window and resolution, or None and the reasons."""
    before = len(faults)
    seed, alpha = data.get("seed", 1), data.get("alpha", 0.05)
    if type(seed) is not int:
        faults.append(f"seed: found {found(seed)}; allowed: a whole number")
    if type(alpha) is not float:
        faults.append(f"alpha: found {found(alpha)}; allowed: a number, 0.0001 to 0.5")
    window = data.get("window", [12, 24])
    if not isinstance(window, list) or len(window) != 2 or any(type(month) is not int for month in window):
        faults.append(f"window: found {found(window)}; allowed: two whole months, such as [12, 24]")
    resolution = data.get("resolution", "auto")
    if resolution not in ("auto", "cell", "unit"):
        faults.append(f"resolution: found {found(resolution)}; allowed: 'auto', 'cell', 'unit'")
    average = data.get("average_twin", False)
    if type(average) is not bool:
        faults.append(f"average_twin: found {found(average)}; allowed: true or false")
    if len(faults) > before:
        return None
    return seed, alpha, (window[0], window[1]), resolution


def _tables(data: Mapping[str, Any], key: str, faults: list[str]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The named tables below a key."""
    tables = data.get(key, {})
    if not isinstance(tables, dict):
        faults.append(f"{key}: found {found(tables)}; allowed: tables, [{key}.NAME]")
        return []
    for name, table in tables.items():
        if not isinstance(table, dict):
            faults.append(f"{key}.{name}: found {found(table)}; allowed: a table, [{key}.{name}]")
    return [(name, dict(table)) for name, table in tables.items() if isinstance(table, dict)]


def _outcome(table: dict[str, Any], path: str, faults: list[str]) -> Outcome | None:
    kind, source = table.get("kind"), table.get("source")
    model = OUTCOMES.get((kind, source)) if isinstance(kind, str) and isinstance(source, str) else None
    if model is None:
        pairs = ", ".join(f'kind = "{k}" with source = "{s}"' for k, s in OUTCOMES)
        faults.append(f"{path}: found kind {found(kind)}, source {found(source)}; allowed: {pairs}")
        return None
    return cast(Outcome | None, validate(model, table, path, faults))


def _study(table: dict[str, Any], path: str, faults: list[str]) -> Study | None:
    answers = {
        name: _answer(answer, f"{path}.answers.{name}", faults)
        for name, answer in _tables({f"{path}.answers": table.pop("answers", {})}, f"{path}.answers", faults)
    }
    model = _member(DESIGNS, table.get("kind"), f"{path}.kind", faults)
    design = model and validate(model, table, path, faults)
    if design is None or None in answers.values():
        return None
    return Study(design, answers)  # type: ignore[arg-type]


def _answer(table: dict[str, Any], path: str, faults: list[str]) -> Answer | None:
    asked = {field: table.pop(key) for key, field in ESTIMAND_KEYS.items() if key in table}
    clusters = table.pop("clusters", None)
    if clusters is not None and clusters not in UNITS:
        faults.append(f"{path}.clusters: found {found(clusters)}; allowed: {', '.join(map(repr, UNITS))}")
        return None
    names = {field: key for key, field in ESTIMAND_KEYS.items()}
    estimand = validate(Estimand, asked, path, faults, names)
    model = _member(ESTIMATORS, table.get("estimator"), f"{path}.estimator", faults)
    estimator = model and validate(model, table, path, faults, extra=(*ESTIMAND_KEYS, "clusters"))
    if estimator is None or estimand is None:
        return None
    return Answer(estimator, estimand, clusters)


def _member(family: Mapping[str, type], name: object, path: str, faults: list[str]) -> Any:
    """The settings model of a member of a family, by its name in the file."""
    if isinstance(name, str) and name in family:
        return family[name]
    word = name if isinstance(name, str) else ""
    said = "missing" if name is None else f"found {found(name)}"
    faults.append(f"{path}: {said}{nearest(word, family)}")
    return None
