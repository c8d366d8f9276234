"""Every stored closed form is checked by a test, or it is said here why not."""

import ast
import json
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLOSED_FORM = HERE.parent / "reference" / "closed_form"
FILES = ("formulas", "packages", "longitudinal_powerlmm")

NOT_APPLICABLE: dict[str, str] = {}
"""Cases that no test checks: id -> why not."""


def ids(file: str) -> set[str]:
    """The ids of the cases of a file."""
    return {case["id"] for case in json.loads((CLOSED_FORM / f"{file}.json").read_text())["cases"]}


def marked() -> list[tuple[str, str]]:
    """File and pattern of every mark `reference` in the tests beside this one."""
    marks = []
    for path in HERE.glob("test_*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef) or not function.name.startswith("test_"):
                continue
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.reference":
                    file, pattern = (ast.literal_eval(argument) for argument in mark.args)
                    marks.append((file, pattern))
    return marks


@pytest.mark.parametrize("file", FILES)
def test_every_case_is_tested_or_has_a_reason_not_to_be(file: str) -> None:
    """What is left out silently would be taken for checked."""
    patterns = [pattern for name, pattern in marked() if name == file]
    tested = {case for case in ids(file) if any(re.match(pattern, case) for pattern in patterns)}
    assert ids(file) - tested - NOT_APPLICABLE.keys() == set()
    assert tested & NOT_APPLICABLE.keys() == set()


def test_reasons_are_given_for_cases_that_exist() -> None:
    """A reason for nothing would hide a misspelt id."""
    assert set().union(*map(ids, FILES)) >= NOT_APPLICABLE.keys()
