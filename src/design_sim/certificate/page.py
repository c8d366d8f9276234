"""The certificate as a page: what it says of every answer, for people."""

from typing import TYPE_CHECKING, Any

import numpy as np

from design_sim.certificate.entries import AS_IT_STANDS, CONDITIONS, ENTRIES, ICCS, SITUATIONS, SIZES
from design_sim.certificate.verdicts import RULES, worst
from design_sim.estimators import ESTIMATORS
from design_sim.world.draw import children_of
from design_sim.world.outcome import families_on_record

if TYPE_CHECKING:
    from pandas import DataFrame

    from design_sim.certificate.trials import Certificate

_HEAD = """# Calibration certificate

How often each answer rejects, at a nominal 5 %, where the framework does nothing. Made by `design-sim
certify`; every number, with its interval, is in [certificate.csv](certificate.csv), and the trials are in
the scenario files beside it, which `design-sim run` runs.

Chance decides who is treated. The outcome is normal, on the records of a baseline and a follow-up year (a
yes or no where it says so), with memory from year to year as in England. Families of an authority are
alike with an ICC of {iccs}; authorities have {families} as their children differ in England. Everybody
takes part and practises to the full, unless an answer reads uptake or fidelity: then 60 % take part, or
fidelity differs between authorities (mean .6, standard deviation .15) and is scored from 20 cases by raters
of reliability .8. Where a model has slopes of authorities, these drift apart by half a standard deviation a
year. A cell of the table gives the lowest and the highest size over these {combinations} combinations, and
the worst verdict:

{rules}

The intervals are Wilson's, of 95 %. In the *sharp* null nobody's outcome is changed. In the *average* null
the framework helps in some authorities and harms in others, with a standard deviation of a tenth of the
outcome's and a mean of exactly 0 over those enrolled. The design '{wedge}' is {wedge_words}.
"""


def page(certificate: "Certificate") -> str:
    """The page as Markdown."""
    frame = certificate.frame
    wedge = next(at for at in SITUATIONS if at.staggered)
    rules = "\n".join(f"- **{name}**: {rule};" for name, rule in RULES.items()).rstrip(";") + "."
    seeds = sorted({sweep.seed for sweep in certificate.sweeps})
    head = _HEAD.format(
        iccs=" or ".join(f"{icc:.2f}" for icc in ICCS),
        combinations=len(ICCS) * len(SIZES),
        rules=rules,
        families=_families(certificate),
        wedge=wedge.name,
        wedge_words=wedge.words,
    )
    parts = [head.rstrip(), f"Seed {', '.join(map(str, seeds))}.", "## The sharp null: nobody is changed"]
    parts += [_table(frame, "size", "verdict"), "## The average null: effects differ about nothing"]
    parts += [_table(frame, "size_average", "verdict_average"), "## Why some were not tried", _reasons(frame)]
    return "\n\n".join(parts) + "\n"


def _families(certificate: "Certificate") -> str:
    """How many families authorities have, by what is said of their sizes."""
    said = {}
    for case in certificate.sweeps[0].cases:
        world, (outcome,) = case.scenario.world, case.scenario.outcomes.values()
        n = families_on_record(outcome.per_10000_children, children_of(world.size, world.authorities))  # type: ignore[attr-defined]
        which = next(name for name, log_sd in SIZES.items() if log_sd == world.size.log_sd)
        number = f"{n.min():.0f} to {n.max():.0f}" if np.ptp(n) else f"{n.min():.0f}"
        said[which] = f"{number} families ({which} sizes)"
    return " or ".join(said.values())


def _table(frame: "DataFrame", size: str, verdict: str) -> str:
    """One row for each answer, one column for each situation."""
    names = [at.name for at in SITUATIONS]
    lines = [
        f"| estimator | settings | replicates | {' | '.join(names)} |",
        "|---|---|---:|" + "---|" * len(names),
    ]
    for key, group in frame[frame["situation"] != ""].groupby(
        ["estimator", "settings", "outcome"], sort=False
    ):
        estimator, settings, outcome = map(str, key)
        on = _of(estimator, settings, outcome)
        cells = [cell(group[group["situation"] == name], size, verdict) for name in names]
        most = int(group["replicates"].max())
        lines.append(f"| `{estimator}` | {settings}{on} | {most:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of(estimator: str, settings: str, outcome: str) -> str:
    """What an answer was tried on, where it was not the ordinary outcome in the ordinary world."""
    entry = next(
        (e for e in ENTRIES if (e.estimator, e.words or AS_IT_STANDS) == (estimator, settings)), None
    )
    said = ["a yes or no"] if outcome == "yes_or_no" else ["events"] if outcome == "events" else []
    said += [CONDITIONS[entry.condition]] if entry and CONDITIONS[entry.condition] else []
    return f" ({', '.join(said)})" if said else ""


def cell(rows: "DataFrame", size: str, verdict: str, *, strong: str = "**") -> str:
    """The worst verdict of an answer in a situation, and its lowest and highest size."""
    said = worst(list(rows[verdict]))
    if said == "not applicable":
        return "–"
    if said == "cannot reject":
        return f"cannot reject (p at least {rows['p_floor'].min():.2g})"
    known = 100 * rows[size].dropna()
    bold = f"{strong}{said}{strong}" if said == "liberal" else said
    return f"{bold} {size_range(known.min(), known.max())}" if len(known) else bold


def size_range(low: float, high: float) -> str:
    """Two sizes in per cent, or one where they are alike to a decimal.

    Examples
    --------
    >>> size_range(4.96, 12.13), size_range(5.01, 5.04)
    ('5.0 to 12.1 %', '5.0 %')
    """
    first, last = f"{low:.1f}", f"{high:.1f}"
    return f"{first} %" if first == last else f"{first} to {last} %"


def _reasons(frame: "DataFrame") -> str:
    """The reasons for which answers were not tried, each with those that it is about."""
    untried = frame[frame["reason"] != ""]
    about: dict[str, list[str]] = {}
    for row in untried.to_dict("records"):
        about.setdefault(_reason(row), []).append(_which(row))
    lines = [f"- {reason}: {'; '.join(dict.fromkeys(which))}." for reason, which in about.items()]
    return "\n".join(lines) or "All were."


def _reason(row: dict[Any, Any]) -> str:
    """A reason, without the name of the estimator that it is given for."""
    reason: str = row["reason"]
    for name in ESTIMATORS:
        reason = reason.removeprefix(f"'{name}' ")
    return reason


def _which(row: dict[Any, Any]) -> str:
    return f"`{row['estimator']}`" + (f" with {row['situation']}" if row["situation"] else "")
