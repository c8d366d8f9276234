"""Mechanisms: what can make an answer err, and how a study would be without each of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from design_sim.designs import Design
from design_sim.designs.base import spillover_of
from design_sim.stated import Stated
from design_sim.world.outcomes import Outcome
from design_sim.world.settings import Audit, Fidelity, WorldSettings

SAMPLING = "sampling"
S = TypeVar("S", bound=Stated)


def changed(stated: S, **settings: Any) -> S:
    """The same with some settings changed, checked as a scenario file is."""
    present = {key: getattr(stated, key) for key in stated.model_fields_set}
    return type(stated).model_validate({**present, **settings})


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a study meets and is: all that a mechanism can be switched off in.

    Parameters
    ----------
    world : WorldSettings
        The authorities.
    outcomes : mapping of outcomes by name
        What happens in them.
    design : Design
        The study's design, with how it measures.
    """

    world: WorldSettings
    outcomes: Mapping[str, Outcome]
    design: Design


Without = Callable[[Conditions], Conditions]


def _no_selection(on: Conditions) -> Conditions:
    """Adopters and pilots as chance would have them."""
    world, design = on.world, on.design
    reasons = {"quality_weight": 0.0, "deprivation_weight": 0.0, "requires_improvement_weight": 0.0}
    if world.adoption and any(getattr(world.adoption, reason) for reason in reasons):
        world = changed(world, adoption=changed(world.adoption, **reasons))
    purposive: dict[str, Any] = {
        key: "chance" for key in ("pilots_by", "comparisons_by") if getattr(design, key, "chance") != "chance"
    }
    if getattr(design, "match_on", ()):
        purposive["match_on"] = ()
    if purposive:
        design = changed(design, **purposive)  # type: ignore[type-var]
    return replace(on, world=world, design=design)


def _no_dip(on: Conditions) -> Conditions:
    """Nobody adopts because of a bad year."""
    return replace(on, world=_without_reason(on.world, "bad_year_weight", "worsening_weight"))


def _no_differential_trend(on: Conditions) -> Conditions:
    """Nobody adopts because things have been getting worse, and no authority has a trend of its own."""
    outcomes = {
        name: changed(outcome, slope_sd=0.0) if outcome.slope_sd else outcome  # type: ignore[type-var]
        for name, outcome in on.outcomes.items()
    }
    world = _without_reason(on.world, "worsening_weight", "bad_year_weight")
    return replace(on, world=world, outcomes=outcomes)


def _without_reason(world: WorldSettings, reason: str, other: str) -> WorldSettings:
    adoption = world.adoption
    if adoption is None or getattr(adoption, reason) == 0:
        return world
    settings: dict[str, Any] = {reason: 0.0}
    if getattr(adoption, other) == 0:
        settings["bad_year_outcome"] = None
    return changed(world, adoption=changed(adoption, **settings))


def _no_contamination(on: Conditions) -> Conditions:
    """No authority has a framework of its own, and nothing of a study's reaches its comparisons."""
    design = on.design
    if spillover_of(design):
        design = changed(design, contamination=0.0)  # type: ignore[type-var]
    return _in_world(replace(on, design=design), informal=None, rival=None)


def _no_anticipation(on: Conditions) -> Conditions:
    """Nothing moves before the start."""
    return _in_world(on, anticipation=0.0)


def _no_dilution(on: Conditions) -> Conditions:
    """Everybody takes part, at fidelity 1 from the first day; there is nothing for a score to get wrong."""
    perfect = Fidelity(mean=1.0, authority_sd=0.0, worker_sd=0.0, years_to_80_percent=0.0)
    rival = on.world.rival
    if rival and rival.shares:
        # perfect fidelity has no components: what the rival shares of them becomes its own
        effect = rival.effect + _shared_weight(on.world)
        rival = rival.model_copy(update={"shares": (), "effect": effect})
    return _in_world(_scored_without_error(on), fidelity=perfect, uptake=1.0, rival=rival)


def _shared_weight(world: WorldSettings) -> float:
    """Weight of the components that the rival has too."""
    components, rival = world.fidelity.components, world.rival
    return sum(components.shares[name] for name in rival.shares) if components and rival else 0.0


def _no_leaving(on: Conditions) -> Conditions:
    """No authority leaves the framework."""
    return _in_world(on, leaving=None)


def _no_attrition(on: Conditions) -> Conditions:
    """Every sampled family is seen, and every figure is there."""
    lost = ("loss_treated", "loss_comparison", "loss_by_outcome", "missing_years")
    return _measured(on, consent=1.0, **dict.fromkeys(lost, 0.0))


def _no_observer_bias(on: Conditions) -> Conditions:
    """Observers do not know the arm."""
    return _measured(on, observer_bias=0.0)


def _no_measurement_error(on: Conditions) -> Conditions:
    """Outcomes and competence are measured, and fidelity is scored, as they are."""
    settings: dict[str, Any] = {"reliability": 1.0, "visits": 1}
    measurement = on.design.measurement
    if measurement is not None and measurement.competence_reliability is not None:
        settings["competence_reliability"] = 1.0
    return _measured(_scored_without_error(on), **settings)


def _in_world(on: Conditions, **settings: Any) -> Conditions:
    """The same in a world with other settings; itself where those are no others."""
    if all(getattr(on.world, key) == value for key, value in settings.items()):
        return on
    return replace(on, world=changed(on.world, **settings))


def _measured(on: Conditions, **settings: Any) -> Conditions:
    """The same with another measurement; itself where that is no other."""
    measurement = on.design.measurement
    if measurement is None or all(getattr(measurement, key) == value for key, value in settings.items()):
        return on
    design = changed(on.design, measurement=changed(measurement, **settings))  # type: ignore[type-var]
    return replace(on, design=design)


def _scored_without_error(on: Conditions) -> Conditions:
    """The same where fidelity, if it is scored, is scored without error."""
    audit = on.world.audit
    return on if audit is None else _in_world(on, audit=Audit(year=audit.year, without_error=True))


MECHANISMS: dict[str, Without] = {
    "selection": _no_selection,
    "dip": _no_dip,
    "differential_trend": _no_differential_trend,
    "anticipation": _no_anticipation,
    "contamination": _no_contamination,
    "dilution": _no_dilution,
    "leaving": _no_leaving,
    "attrition": _no_attrition,
    "observer_bias": _no_observer_bias,
    "measurement_error": _no_measurement_error,
}
"""Every mechanism by name, and how conditions are without it."""
MEANINGS: dict[str, str] = {
    SAMPLING: "what is left with every mechanism off",
    "selection": "adopters or pilots chosen for what they are",
    "dip": "adoption after a bad year",
    "differential_trend": "adoption where things were getting worse, and trends of authorities' own",
    "anticipation": "effects before the start",
    "contamination": "frameworks that authorities have without the study, and what reaches comparisons by it",
    "dilution": "fidelity below 1, and families that do not take part",
    "leaving": "authorities that leave the framework",
    "attrition": "families and figures that are not observed, at random or for their outcome",
    "observer_bias": "observers who know the arm",
    "measurement_error": "outcomes and competence measured, and fidelity scored, with error",
}
"""What each part of a budget is, in words."""
