"""Scenario files that nobody meant: each is read, or refused with its faults; nothing else happens."""

import json
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from design_sim.errors import ScenarioError
from design_sim.sweep import parse

VALID = """
seed = 1
replicates = 20
alpha = 0.05
window = [12, 24]
resolution = "auto"
[world]
authorities = 30
uptake = 0.7
reputation_correlation = 0.5
size = {log_mean = 11.1, log_sd = 0.6, smallest = 8000.0, largest = 355000.0}
time = {years_before = 2, years_after = 2}
quality = {permanent_share = 0.28, autocorrelation = 0.62}
workers = {per_10000_children = 19.0, per_team = 6}
fidelity = {mean = 0.6, authority_sd = 0.15, worker_sd = 0.2, years_to_80_percent = 2.0}
informal = {share = 0.67, fidelity = 0.3}
rating = {outstanding = 0.29, good = 0.39, requires_improvement = 0.22}
adoption = {authorities = 9, bad_year_weight = 1.0, bad_year_outcome = "rereferral"}
[outcomes.rereferral]
kind = "binary"
source = "record"
mean = 0.209
effect = -0.03
[outcomes.engagement]
kind = "continuous"
source = "survey"
mean = 66.0
sd = 16.8
effect = 5.0
bounds = [0, 95]
icc = {authority = 0.03, team = 0.02, worker = 0.08}
competence_correlation = 0.3
children_per_family = 1.73
sibling_correlation = 0.7
covariate = {icc = {authority = 0.05}, correlation = {authority = 0.5, family = 0.6}}
[designs.pilots]
kind = "difference_in_differences"
outcome = "rereferral"
adopters = 9
[designs.pilots.answers.change]
estimator = "cluster_means"
change = true
estimand = "offered"
average = "adopters"
[designs.contrast]
kind = "contrast"
outcome = "engagement"
pilots = 2
comparisons = 2
sample = {teams = 5, workers = 4, families = 3}
[designs.contrast.answers.adjusted]
estimator = "clustered_regression"
covariates = ["covariate"]
estimand = "offered"
[designs.trial]
kind = "cluster_rct"
outcome = "rereferral"
authorities = 10
[designs.trial.answers.means]
estimator = "cluster_means"
estimand = "offered"
average = "national"
[designs.workers]
kind = "cluster_rct"
outcome = "engagement"
authorities = 5
unit = "worker"
within = "team"
treated_share = 0.5
contamination = 0.3
sample = {teams = 2, workers = 4, families = 3}
[designs.workers.answers.means]
estimator = "cluster_means"
estimand = "offered"
clusters = "worker"
[designs.families]
kind = "family_rct"
outcome = "engagement"
authorities = 2
within = "study"
treated_share = 0.5
contamination = 0.3
sample = {teams = 2, workers = 4, families = 3}
[designs.families.answers.taken]
estimator = "instrumental_variables"
estimand = "delivered"
clusters = "worker"
[sweep]
"designs.trial.authorities" = [4, 10]
"""

Path = tuple[str, ...]


def paths_in(table: Mapping[str, Any], above: Path = ()) -> list[Path]:
    """Every path of a table, tables included."""
    paths = []
    for key, value in table.items():
        paths.append((*above, key))
        if isinstance(value, dict):
            paths += paths_in(value, (*above, key))
    return paths


def to_toml(value: object) -> str:
    """A value as TOML writes it inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, Bare):
        return value.text
    if isinstance(value, float):
        return repr(value) if value == value else "nan"
    return json.dumps(value)


class Bare:
    """A value in TOML's own spelling."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Bare({self.text!r})"


BASE = tomllib.loads(VALID)
PATHS = paths_in(BASE)
KEYS = sorted({key for path in PATHS for key in path})
WORDS = sorted({value for value in str(BASE).split("'") if value.isidentifier()})
keys = st.sampled_from(KEYS) | st.text(max_size=5)
scalars = st.one_of(
    st.integers(-5, 2_000),
    st.integers(),
    st.sampled_from([0.0, 1.0, -0.0, 0.5, 1e-300, 5e-324, 1e308, -1e308, 1e16, float("nan"), float("inf")]),
    st.floats(),
    st.booleans(),
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.sampled_from(
        [Bare("1979-05-27"), Bare("07:32:00"), Bare("9" * 400), Bare("9" * 5_000), Bare("1e400")]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
changes = st.lists(
    st.tuples(
        st.sampled_from(["replace", "scalar", "add", "remove", "sweep"]),
        st.sampled_from(PATHS),
        keys,
        values,
        scalars,
    ),
    min_size=1,
    max_size=3,
)


def changed(mutations: list[tuple[str, Path, str, Any, Any]]) -> dict[str, Any]:
    """The valid file after some changes at random places."""
    data: dict[str, Any] = tomllib.loads(VALID)
    for what, path, key, value, scalar in mutations:
        table = data
        with suppress(KeyError, TypeError):
            for step in path[:-1]:
                table = table[step]
            if what == "replace":
                table[path[-1]] = value
            elif what == "scalar":
                table[path[-1]] = scalar
            elif what == "remove":
                del table[path[-1]]
            elif what == "add":
                table[path[-1]][key] = value
            elif isinstance(data.get("sweep"), dict):
                data["sweep"][".".join(path)] = value
    return data


def read(text: str, changes: Mapping[str, Any] | None = None) -> None:
    """Read a text; being refused is fine."""
    with suppress(ScenarioError):
        parse(text, "fuzzed", changes)


quick = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150, derandomize=True
)


@quick
@given(changes)
def test_a_changed_scenario_is_read_or_refused(mutations: list[tuple[str, Path, str, Any, Any]]) -> None:
    """A slip of the pen must end in a list of faults, never in a traceback."""
    data = changed(mutations)
    read("\n".join(f"{json.dumps(key)} = {to_toml(value)}" for key, value in data.items()))


@quick
@given(
    st.dictionaries(
        st.sampled_from([".".join(path) for path in PATHS]) | st.text(max_size=8), values, max_size=3
    )
)
def test_changed_settings_are_taken_or_refused(settings_changed: dict[str, Any]) -> None:
    """What is set on the command line meets the same rules as what the file states."""
    read(VALID, {path: value for path, value in settings_changed.items() if not isinstance(value, Bare)})


@quick
@given(st.text() | st.integers(0, len(VALID)).map(lambda at: VALID[:at]))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Half a file, or no scenario at all, must be refused in the same way."""
    read(text)


@quick
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.characters()), min_size=1, max_size=4))
def test_a_mistyped_scenario_is_read_or_refused(slips: list[tuple[int, str]]) -> None:
    """Single characters gone wrong are the commonest of all mistakes."""
    text = VALID
    for at, character in slips:
        text = text[:at] + character + text[at + 1 :]
    read(text)


HEX = "0x" + "f" * 4_000
CRASHES = {
    "keys nested deeply": ".".join(["world"] + ["a"] * 2_000) + " = 1",
    "tables nested deeply": "[" + ".".join(["world"] + ["a"] * 2_000) + "]\nb = 1",
    "a huge size of a study": VALID.replace("pilots = 2", f"pilots = {HEX}"),
    "a huge month": VALID.replace("[12, 24]", f"[{HEX}, 24]"),
    "a huge value in a sweep": VALID.replace("[4, 10]", f"[4, {HEX}]"),
}


@pytest.mark.parametrize("name", CRASHES)
def test_what_is_too_deep_or_too_long_is_refused(name: str) -> None:
    """Hexadecimal numbers and dotted keys pass the limits that TOML's reader sets to others."""
    with pytest.raises(ScenarioError):
        parse(CRASHES[name], "fuzzed")


def test_the_scenario_that_is_changed_is_valid() -> None:
    """Or else every change to it would be refused for what it was before."""
    assert len(parse(VALID, "fuzzed").cases) == 2
