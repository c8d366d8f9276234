"""The floors of the house: a module imports from lower floors, or from its own."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "design_sim"
FLOORS = {
    0: ["errors", "stated", "streams", "arrays", "roster", "numerics", "faults", "plurals"],
    1: ["cells", "allocation", "panel"],
    2: ["world"],
    3: ["designs", "measurement", "leavers", "estimands", "estimators", "theory"],
    4: [
        "tally",
        "performance",
        "failures",
        "clusters",
        "cohorts",
        "study",
        "answer_faults",
        "scenario",
        "simulate",
        "mechanisms",
        "error_budget",
        "attained",
        "tabular",
        "panel_data",
        "calibration",
        "observations",
        "followed",
        "analysis",
    ],
    5: [
        "sweep",
        "certificate",
        "results",
        "budget_report",
        "attained_report",
        "settings_page",
        "store",
        "wording",
        "figures",
        "reading",
        "cautions",
        "report",
        "screen",
        "cli",
        "__init__",
        "__main__",
    ],
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room that a file belongs to: its top folder, or itself."""
    inside = path.relative_to(SOURCE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imported_rooms(path: Path) -> set[str]:
    """The rooms of the package that a file imports from, wherever the import stands."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            modules |= {f"{node.module}.{name.name}" for name in node.names if node.module == "design_sim"}
        elif isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
    return {module.split(".")[1] for module in modules if module.startswith("design_sim.")} & set(FLOOR_OF)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_from_its_own_floor_or_lower(path: Path) -> None:
    """An upward import would let an estimator reach the truth, or the arithmetic know of files."""
    floor = FLOOR_OF[room_of(path)]
    assert {room for room in imported_rooms(path) if FLOOR_OF[room] > floor} == set()


@pytest.mark.parametrize("room", ["estimators", "theory"])
def test_estimators_and_theory_have_no_door_to_the_truth(room: str) -> None:
    """Estimators stand beside the designs, but must not see what designs see."""
    allowed = {room, *FLOORS[0], *FLOORS[1]}
    for path in SOURCE.glob(f"{room}/*.py"):
        assert imported_rooms(path) <= allowed


def test_every_module_has_a_floor() -> None:
    """A room that nobody placed would be checked by nothing."""
    assert {room_of(path) for path in MODULES} <= set(FLOOR_OF)
