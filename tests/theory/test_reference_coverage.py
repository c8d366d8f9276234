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
CHECKED_OTHERWISE = {
    "plmm_3lvl_dropout": "who drops out is drawn by chance: df must lie within the range of such draws",
    "pt_irgtt": "its degrees of freedom lack a term: power is checked at its degrees of freedom, not at ours",
    "cp_normal_K": "R's search stops within 1.2e-4: the power at its number is checked to the tolerance",
    "cp_binary_K": "as cp_normal_K",
    "cp_did_normal_cs": "as cp_normal_K",
    "cp_did_normal_cohort": "as cp_normal_K",
    "cp_did_binary": "as cp_normal_K",
    "t2_n_for_80pct_d0.5": "as cp_normal_K",
    "pt_crt_bin": "as cp_normal_K",
    "pretest_he_wang_0.5": "a published covariance, checked where the validation data stand beside the package",
    "pretest_he_wang_0.8": "as pretest_he_wang_0.5",
}
"""Cases that a test checks in another way than every number to the case's own tolerance: id -> how and why."""


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
    assert set().union(*map(ids, FILES)) >= NOT_APPLICABLE.keys() | CHECKED_OTHERWISE.keys()
