"""Every registered kind of outcome keeps the contract: cells and families, the null twin, effects that add up."""

from typing import Any

import numpy as np
import pytest

from design_sim.allocation import two_arms
from design_sim.streams import Streams
from design_sim.world.delivery import Delivery, Fieldwork, Sample, deliver
from design_sim.world.draw import draw_world
from design_sim.world.outcomes import OUTCOMES
from design_sim.world.settings import WorldSettings

SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("continuous", "survey"): {"effect": 0.5},
    ("continuous", "record"): {"effect": 0.5, "authority_sd": 0.3, "family_sd": 1.0},
    ("binary", "record"): {"mean": 0.3, "effect": -0.1},
    ("binary", "survey"): {"mean": 0.3, "effect": -0.1},
    ("count", "record"): {"mean": 400.0, "effect": -100.0, "log_sd": 0.2, "overdispersion": 1.5},
    ("count", "survey"): {"mean": 2.0, "effect": -0.5, "log_sd": 0.2, "overdispersion": 1.5},
    ("duration", "record"): {"mean": 1.5, "effect": -0.4, "sd": 1.2},
    ("duration", "survey"): {"mean": 1.5, "effect": -0.4, "sd": 1.2},
}
NESTED = {"authority": 0.05, "team": 0.03, "worker": 0.1}
COVARIATE = {"icc": NESTED, "correlation": {"authority": 0.5, "worker": 0.5, "family": 0.5}}
VARIANTS: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "bounded": (("continuous", "survey"), {"mean": 3.0, "bounds": [0, 4], "icc": NESTED}),
    "siblings": (("continuous", "survey"), {"children_per_family": 1.73, "icc": NESTED}),
    "bounded siblings": (("continuous", "survey"), {"bounds": [-2, 2], "children_per_family": 1.73}),
    "covariate": (("continuous", "survey"), {"icc": NESTED, "covariate": COVARIATE}),
    "nested binary": (("binary", "survey"), {"icc": NESTED, "competence_correlation": 0.5}),
    "binary siblings": (("binary", "survey"), {"icc": NESTED, "children_per_family": 1.73}),
    "binary on probabilities": (
        ("binary", "survey"),
        {"icc": NESTED, "effect": 0.02, "effect_scale": "probability"},
    ),
    "binary covariate": (("binary", "survey"), {"icc": NESTED, "covariate": COVARIATE}),
}
"""Kinds with a mechanism that is off by default."""
WORLD = WorldSettings.model_validate(
    {
        "authorities": 6,
        "size": {"log_mean": 7.0, "log_sd": 0.2, "smallest": 500.0, "largest": 5_000.0},
        "workers": {"per_10000_children": 150.0},
        "informal": {},
    }
)
KINDS = pytest.mark.parametrize("kind", OUTCOMES, ids=lambda kind: "-".join(kind))


def delivered(kind: tuple[str, str], resolution: str, **changes: Any) -> Delivery:
    """A study of six authorities, three of them treated, before the start and after it."""
    outcome = OUTCOMES[kind].model_validate({**SETTINGS[kind], **changes})  # type: ignore[attr-defined]
    world = draw_world(WORLD, {"y": outcome}, 40, Streams(1, 0))
    allocation = two_arms(np.tile(np.arange(6), (40, 1)), 3, WORLD.time.start, randomised=True)
    sample = Sample(teams=1, workers=2, families=3) if kind[1] == "survey" else None
    occasions = np.array([1, 3])
    asked = resolution == "unit" and outcome.has_covariate
    return deliver(
        Fieldwork(world, allocation, "y", occasions, sample, resolution, spread=True, covariate=asked)  # type: ignore[arg-type]
    )


def test_every_kind_is_tried_and_says_what_it_is() -> None:
    """A kind without settings here would escape the contract; a copied docstring would mislead."""
    assert set(SETTINGS) == set(OUTCOMES)
    first_lines = [str(model.__doc__).splitlines()[0] for model in OUTCOMES.values()]
    assert len(set(first_lines)) == len(first_lines)


@KINDS
@pytest.mark.parametrize("resolution", ["cell", "unit"])
def test_both_resolutions_give_cells_of_all_authorities(kind: tuple[str, str], resolution: str) -> None:
    """Rows belong to the six authorities; single families have no spread of their own."""
    delivery = delivered(kind, resolution)
    assert delivery.roster.n_units("authority") == 6
    for cells in (delivery.stated, delivery.null):
        assert cells.mean.shape == (40, delivery.roster.n_rows, 2)
        assert cells.ss is not None
        if resolution == "unit":
            assert cells.n.max() == 1
            assert (cells.ss == 0).all()


@KINDS
def test_without_effect_the_study_is_its_null_twin(kind: tuple[str, str]) -> None:
    """An effect of 0 moves nobody."""
    delivery = delivered(kind, "cell", effect=0.0)
    assert np.array_equal(delivery.stated.mean, delivery.null.mean)


@KINDS
def test_the_effect_of_everybody_at_full_fidelity_is_the_stated_one(kind: tuple[str, str]) -> None:
    """What estimands are made of agrees with the setting, and no practice has no effect."""
    outcome = OUTCOMES[kind](**SETTINGS[kind])
    world = draw_world(WORLD, {"y": outcome}, 2_000, Streams(1, 0))
    full = outcome.effect_of(world, "y", np.array([3]), np.ones((1, 1, 1)), 1.0)  # type: ignore[attr-defined]
    none = outcome.effect_of(world, "y", np.array([3]), np.zeros((1, 1, 1)), 1.0)  # type: ignore[attr-defined]
    assert full.mean() == pytest.approx(SETTINGS[kind]["effect"], rel=0.02)
    assert np.abs(none).max() < 1e-12


@KINDS
def test_the_most_rows_bound_what_is_drawn(kind: tuple[str, str]) -> None:
    """The size of a request is known before it is drawn."""
    outcome = OUTCOMES[kind](**SETTINGS[kind])
    sample = Sample(teams=1, workers=2, families=3) if kind[1] == "survey" else None
    for resolution, families in (("cell", False), ("unit", True)):
        rows = delivered(kind, resolution).roster.n_rows
        assert rows <= 6 * outcome.most_rows(WORLD, sample, families=families)  # type: ignore[attr-defined]
    assert outcome.faults(WorldSettings()) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_can_be_switched_on_keeps_the_contract(variant: str) -> None:
    """Rows of all authorities, a null twin that is the study without effect, truth as stated, bounded size."""
    kind, stated = VARIANTS[variant]
    outcome = OUTCOMES[kind].model_validate({**SETTINGS[kind], **stated})  # type: ignore[attr-defined]
    sample = Sample(teams=1, workers=2, families=3)
    for resolution in ("cell", "unit"):
        delivery = delivered(kind, resolution, **stated)
        turns = 2 if delivery.covariate is not None else 1
        most = outcome.most_rows(WORLD, sample, families=resolution == "unit") * turns
        assert delivery.roster.n_units("authority") == 6
        assert delivery.roster.n_rows <= 6 * most
        assert (delivery.stated.mean != delivery.null.mean).any()
        for cells in (delivery.stated, delivery.null):
            assert cells.mean.shape == (40, delivery.roster.n_rows, 2)
            assert cells.ss is not None
            assert np.array_equal(np.isnan(cells.mean), np.broadcast_to(cells.n == 0, cells.mean.shape))
    without = delivered(kind, "unit", **{**stated, "effect": 0.0})
    assert np.array_equal(without.stated.mean, without.null.mean, equal_nan=True)
    world = draw_world(WORLD, {"y": outcome}, 2_000, Streams(1, 0))
    full, none = (
        outcome.effect_of(world, "y", np.array([3]), np.full((1, 1, 1), dose), 1.0) for dose in (1.0, 0.0)
    )
    assert full.mean() == pytest.approx(outcome.effect, rel=0.02)
    assert np.abs(none).max() < 1e-12
    assert outcome.faults(WorldSettings()) == []
