"""Stored reference cases, handed to the tests that say by a mark which ones they check."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from design_sim import theory

REFERENCE = Path(__file__).parents[1] / "reference"

Agree = Callable[[Mapping[str, Any], Mapping[str, Any]], None]
AgreeOnNumber = Callable[[Mapping[str, Any], Callable[[float], float]], None]
SEARCH = np.finfo(float).eps ** 0.25
"""How near R's `uniroot` comes to a root unless told otherwise: 1.2e-4."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    line = "reference(file, ids): `case` is each case of the file whose id the pattern matches from its start"
    config.addinivalue_line("markers", line)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `case` over the stored cases that a test's mark names."""
    mark = metafunc.definition.get_closest_marker("reference")
    if mark is None:
        return
    file, pattern = mark.args
    (path,) = REFERENCE.glob(f"*/{file}.json")
    stored: list[dict[str, Any]] = json.loads(path.read_text())["cases"]
    chosen = [case for case in stored if re.match(pattern, case["id"])]
    assert chosen, f"no case {pattern} in {file}"
    metafunc.parametrize("case", [pytest.param(case, id=case["id"]) for case in chosen])


def flat(values: Mapping[str, Any], start: str = "") -> dict[str, float]:
    """Nested numbers under the path to each."""
    entries: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            entries |= flat(value, f"{start}{name}.")
        elif np.ndim(value):
            entries |= {f"{start}{name}.{i}": float(each) for i, each in enumerate(value)}
        else:
            entries[start + name] = float(value)
    return entries


@pytest.fixture
def agree() -> Agree:
    """Check every expected number of a case, none left out, to the case's own tolerance."""

    def check(case: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        expected = flat(case["expected"])
        assert flat(found) == {name: pytest.approx(n, abs=case["tolerance"]) for name, n in expected.items()}

    return check


@pytest.fixture
def agree_on_number() -> AgreeOnNumber:
    """Check a number of units that another program searched for.

    Its power must be the one asked for to the case's own tolerance; the number itself is only as near to the
    root as the program's search came.
    """

    def check(case: Mapping[str, Any], power_with: Callable[[float], float]) -> None:
        (number,), power = case["expected"].values(), case["inputs"]["power"]
        assert power_with(number) == pytest.approx(power, abs=case["tolerance"])
        assert theory.units_for_power(power_with, power) == pytest.approx(
            number, abs=max(SEARCH, case["tolerance"])
        )

    return check
