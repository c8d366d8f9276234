"""The table of what is certified: nothing registered escapes it, and settings are told apart."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest

from design_sim.certificate.entries import ENTRIES, EXCUSED, NO_MATTER, SITUATIONS, settings_words
from design_sim.certificate.trials import plan, reason_against
from design_sim.estimators import ESTIMATORS


def choices(annotation: Any) -> set[Any]:
    """The values of a setting that is a choice; none for a number or a text."""
    if annotation is bool:
        return {True, False}
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {value for part in get_args(annotation) for value in choices(part)}


def settings() -> Iterator[tuple[str, str, set[Any]]]:
    """Every setting of every estimator that is a choice and that a size may depend on."""
    for name, model in ESTIMATORS.items():
        for key, field in model.model_fields.items():  # type: ignore[attr-defined]
            skipped = key in NO_MATTER.get(name, {}) or key == "estimator" or name in EXCUSED
            values = set() if skipped else choices(field.annotation)
            if values:
                yield name, key, values


def test_no_estimator_escapes() -> None:
    """A new estimator has entries, or a reason, and not both."""
    said = "give every estimator an Entry, or a reason in EXCUSED, in certificate/entries.py"
    assert {entry.estimator for entry in ENTRIES} | set(EXCUSED) == set(ESTIMATORS), said
    assert not {entry.estimator for entry in ENTRIES} & set(EXCUSED)


@pytest.mark.parametrize(
    ("estimator", "key", "values"), list(settings()), ids=lambda part: part if isinstance(part, str) else ""
)
def test_no_choice_of_a_setting_escapes(estimator: str, key: str, values: set[Any]) -> None:
    """Each choice that an estimator offers is tried at least once, or has a reason in `NO_MATTER`."""
    tried = {getattr(entry.model, key) for entry in ENTRIES if entry.estimator == estimator}
    assert values <= tried


def test_settings_that_do_not_matter_exist() -> None:
    """A reason for a setting that is gone would hide nothing and mislead."""
    for name, keys in NO_MATTER.items():
        assert set(keys) <= set(ESTIMATORS[name].model_fields)  # type: ignore[attr-defined]


def test_covariates_are_tried_wherever_there_are_any() -> None:
    """Adjustment costs degrees of freedom, which few clusters have few of."""
    adjusting = {name for name, model in ESTIMATORS.items() if "covariates" in model.model_fields}  # type: ignore[attr-defined]
    tried = {entry.estimator for entry in ENTRIES if "covariates" in entry.settings}
    assert adjusting - tried <= {"wild_bootstrap", *EXCUSED}


def test_entries_are_told_apart_by_their_words() -> None:
    """Two entries of the same words would be one row of the certificate, and one would be lost."""
    words = [(entry.estimator, entry.words) for entry in ENTRIES]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize(
    ("estimator", "given", "words"),
    [
        ("clustered_regression", {}, ""),
        ("clustered_regression", {"df": "satterthwaite"}, ""),
        ("clustered_regression", {"variance": "CR1", "df": "clusters"}, "variance = CR1"),
        ("clustered_regression", {"covariates": ["rating"]}, "with covariates"),
        ("wild_bootstrap", {"draws": 99, "interval": False, "count": "family"}, ""),
        ("wild_bootstrap", {"null_imposed": False}, "null_imposed = false"),
    ],
)
def test_the_same_test_has_the_same_words(estimator: str, given: dict[str, Any], words: str) -> None:
    """A default that is stated, and what the size does not depend on, do not make another test of it."""
    assert settings_words(ESTIMATORS[estimator].model_validate(given)) == words  # type: ignore[attr-defined]


def test_every_entry_is_put_to_some_situation_and_refusals_have_reasons() -> None:
    """What is not tried is said to be so, with the reason, by the check that a scenario file meets."""
    for entry in ENTRIES:
        reasons = [reason_against(entry, at) for at in SITUATIONS]
        assert not all(reasons), entry
    (wedge,) = (at for at in SITUATIONS if at.staggered)
    means = next(entry for entry in ENTRIES if entry.estimator == "cluster_means")
    panels = next(entry for entry in ENTRIES if entry.estimator == "two_way_fixed_effects")
    assert "start at different occasions" in reason_against(means, wedge)
    assert "designs." not in reason_against(means, wedge)
    assert reason_against(panels, wedge) == ""


def test_trials_are_scenarios_of_a_null_twin_and_an_average_one() -> None:
    """Both twins are asked for, and effects vary, or the average twin would be the sharp one."""
    for sweep in plan().sweeps:
        assert len(sweep.cases) == 4
        for case in sweep.cases:
            assert case.scenario.average_twin
            assert case.scenario.world.effect_sd > 0
            assert case.scenario.alpha == 0.05
