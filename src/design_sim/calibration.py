"""Calibration: the settings of a world, estimated from a panel of authorities by year.

Decision: moments, not likelihood. Year by year the mean over authorities and the variance around it, from
which the mean sampling variance of the authorities' own figures is taken off (binomial: p (1 - p) / n for
each cell); for every pair of years the correlation of the same authorities, noise taken off likewise. The
permanent share and the AR(1) coefficient are those with which permanent + (1 - permanent) phi^k is nearest to
the correlations k years apart, each lag weighted by its pairs of years. Lags go up to half of the panel's
length: further ones rest on few pairs, and always on the same first and last years. The correlations are
printed, so that everybody can see what the fit rests on.

Uncertainty is a bootstrap of whole authorities (Efron and Tibshirani 1993, An Introduction to the Bootstrap,
chapter 13: percentile intervals), since years of one authority hang together. An authority drawn twice
counts twice, so that no interval is narrower for missing cells.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from design_sim.arrays import Floats, Ints
from design_sim.panel_data import FEWEST_UNITS, FEWEST_YEARS, PanelData, read_panel

if TYPE_CHECKING:
    from pandas import DataFrame

BOOTSTRAPS = 999
_PHI = np.linspace(0.0, 0.99, 397)


class Estimate(NamedTuple):
    """A number with its 95 % interval over resampled authorities."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a panel says of the world.

    Parameters
    ----------
    mean, trend : Estimate
        Mean in the last year on the trend line, and its change a year.
    sd : Estimate
        Standard deviation between authorities in a year, sampling noise taken off.
    raw_sd : float
        The same, noise left in.
    permanent_share, autocorrelation : Estimate
        Of the memory permanent + (1 - permanent) phi^k.
    correlations : dict of int to Estimate
        Of an authority with itself k years later, noise taken off.
    icc : Estimate or None
        Share of a single family's variance that lies between authorities, of a rate.
    per_10000_children : float or None
        Denominator for each 10,000 children.
    log_mean, log_sd : float or None
        Of the authorities' sizes.
    smallest, largest : float or None
        The least and the greatest size.
    n_units, n_years, missing : int
        What the panel holds.
    """

    mean: Estimate
    trend: Estimate
    sd: Estimate
    raw_sd: float
    permanent_share: Estimate
    autocorrelation: Estimate
    correlations: dict[int, Estimate]
    icc: Estimate | None
    per_10000_children: float | None
    log_mean: float | None
    log_sd: float | None
    smallest: float | None
    largest: float | None
    n_units: int
    n_years: int
    missing: int


def calibrate(
    panel: "DataFrame | str | Path",
    unit: str,
    time: str,
    *,
    value: str | None = None,
    numerator: str | None = None,
    denominator: str | None = None,
    size: str | None = None,
    bootstraps: int = BOOTSTRAPS,
) -> Calibration:
    """Estimate the settings of a world and of an outcome from a panel.

    Parameters
    ----------
    panel : DataFrame or path of a CSV file
        A row for each authority and year, in any order. Empty cells are missing, and counted.
    unit, time : str
        Columns that say whose row it is and of which (whole) year.
    value : str, optional
        Column of a mean, or of a rate without its denominator: its sampling noise is then not taken off.
    numerator, denominator : str, optional
        Columns of counts, in the place of `value`.
    size : str, optional
        Column of the children living there.
    bootstraps : int
        Resamples of authorities behind the intervals; drawn from a fixed seed.

    Raises
    ------
    ScenarioError
        With every fault of the table by column and row.
    """
    return estimate(read_panel(panel, unit, time, value, numerator, denominator, size), bootstraps)


def estimate(panel: PanelData, bootstraps: int = BOOTSTRAPS) -> Calibration:
    """The settings that a panel speaks for, each with its interval.

    Parameters
    ----------
    panel : PanelData
        From `read_panel`.
    bootstraps : int
        Resamples of authorities.
    """
    n_units = panel.value.shape[0]
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=bootstraps)
    weights = np.vstack([np.ones(n_units), drawn]).astype(np.float64)
    mean, trend = _trend(panel, weights)
    variance, noise = _spread(panel, weights)
    true = np.sqrt(np.maximum(variance - noise, 0))
    lags, correlation, pairs = _correlations(panel, weights)
    permanent, phi = fit_memory(lags, correlation, pairs)
    icc = None
    if panel.n is not None:
        level = np.nanmean(panel.value)
        icc = _with_interval(true**2 / (level * (1 - level)))
    size, families = panel.size, None
    if size is not None and panel.n is not None:
        families = float(1e4 * np.nanmean(panel.n) / size.mean())
    return Calibration(
        mean=_with_interval(mean),
        trend=_with_interval(trend),
        sd=_with_interval(true),
        raw_sd=float(np.sqrt(variance[0])),
        permanent_share=_with_interval(permanent),
        autocorrelation=_with_interval(phi),
        correlations={int(lag): _with_interval(of) for lag, of in zip(lags, correlation.T, strict=True)},
        icc=icc,
        per_10000_children=families,
        log_mean=None if size is None else float(np.log(size).mean()),
        log_sd=None if size is None else float(np.log(size).std(ddof=1)),
        smallest=None if size is None else float(size.min()),
        largest=None if size is None else float(size.max()),
        n_units=n_units,
        n_years=panel.years.size,
        missing=panel.missing,
    )


def _with_interval(values: Floats) -> Estimate:
    """The estimate, which comes first, and percentiles of the resampled ones after it."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return Estimate(float(values[0]), float(low), float(high))


def _mean(values: Floats, weights: Floats) -> Floats:
    """Weighted means over the units that are there: (resample, year)."""
    known = ~np.isnan(values)
    total = weights @ known
    means: Floats = np.divide(
        weights @ np.where(known, values, 0), total, out=np.full(total.shape, np.nan), where=total > 0
    )
    return means


def _trend(panel: PanelData, weights: Floats) -> tuple[Floats, Floats]:
    """Mean in the last year and change a year, least squares over the years' means: (resample,)."""
    means = _mean(panel.value, weights)
    known = ~np.isnan(means[0])
    x = (panel.years - panel.years[-1])[known].astype(np.float64)
    centred = x - x.mean()
    slope: Floats = np.nan_to_num(means[:, known]) @ centred / (centred @ centred)
    level: Floats = np.nanmean(means[:, known], axis=1) - slope * x.mean()
    return level, slope


def _noise(panel: PanelData) -> Floats:
    """Sampling variance of each cell, (unit, year); 0 where denominators are not known."""
    if panel.n is None:
        return np.where(np.isnan(panel.value), np.nan, 0.0)
    noise: Floats = panel.value * (1 - panel.value) / np.maximum(panel.n - 1, 1)
    return noise


def _spread(panel: PanelData, weights: Floats) -> tuple[Floats, Floats]:
    """Variance between authorities, the mean over years, and the mean noise within it: (resample,)."""
    count = weights @ ~np.isnan(panel.value)
    variance = _mean(panel.value**2, weights) - _mean(panel.value, weights) ** 2
    unbiased = variance * count / np.maximum(count - 1, 1)
    enough = count[0] >= FEWEST_UNITS
    return np.nanmean(unbiased[:, enough], axis=1), np.nanmean(
        _mean(_noise(panel), weights)[:, enough], axis=1
    )


def _correlations(panel: PanelData, weights: Floats) -> tuple[Ints, Floats, Floats]:
    """Correlations of authorities with themselves some years later, each a mean over pairs of years.

    Returns
    -------
    tuple of arrays, (lag,), (resample, lag) and (lag,)
    """
    noise, n_years = _noise(panel), panel.years.size
    longest = max(FEWEST_YEARS - 1, -(-n_years // 2))
    found: dict[int, list[Floats]] = {}
    for first in range(n_years):
        for second in range(first + 1, min(first + longest + 1, n_years)):
            both = ~np.isnan(panel.value[:, first]) & ~np.isnan(panel.value[:, second])
            if both.sum() < FEWEST_UNITS:
                continue
            x, y = panel.value[both, first], panel.value[both, second]
            of = weights[:, both]
            total = np.maximum(of.sum(axis=1), 2)
            sums = of @ np.column_stack([x, y, x * x, y * y, x * y, noise[both, first], noise[both, second]])
            mx, my, xx, yy, xy, ex, ey = (sums / total[:, np.newaxis]).T
            unbiased = total / (total - 1)
            vx, vy = (xx - mx**2) * unbiased - ex, (yy - my**2) * unbiased - ey
            product = np.where((vx > 0) & (vy > 0), vx * vy, np.nan)
            found.setdefault(second - first, []).append((xy - mx * my) * unbiased / np.sqrt(product))
    lags = np.array(sorted(found))
    mean = np.column_stack([np.nanmean(found[lag], axis=0) for lag in lags])
    return lags, mean, np.array([len(found[lag]) for lag in lags], dtype=np.float64)


def fit_memory(lags: Ints, correlation: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Permanent share and AR(1) coefficient nearest to correlations at several lags.

    Parameters
    ----------
    lags : int array, (lag,)
        Years apart.
    correlation : float array, (resample, lag)
        Correlations.
    weight : float array, (lag,)
        Weights of the squared distances.

    Returns
    -------
    two float arrays, (resample,)
        For a coefficient phi the best share is a regression of corr(k) - phi^k on 1 - phi^k, held within 0 to
        1; phi is searched on 397 places from 0 to .99.
    """
    power = _PHI[:, np.newaxis] ** lags
    gap = 1 - power
    slope = (correlation @ (weight * gap).T - (weight * gap * power).sum(axis=1)) / (weight * gap**2).sum(
        axis=1
    )
    share = slope.clip(0, 1)
    fitted = power + share[:, :, np.newaxis] * gap
    distance = (weight * (correlation[:, np.newaxis] - fitted) ** 2).sum(axis=2)
    best = np.nan_to_num(distance, nan=np.inf).argmin(axis=1)
    return np.take_along_axis(share, best[:, np.newaxis], axis=1)[:, 0], _PHI[best]


def sections(calibration: Calibration, name: str = "outcome") -> str:
    """The sections of a scenario file that a panel speaks for, to paste: TOML, each number with its interval.

    Parameters
    ----------
    name : str
        Name of the outcome.

    Notes
    -----
    The effect is 0 there: no panel without the framework knows it.
    """
    of = calibration
    lines = ["[world]", f"authorities = {of.n_units}"]
    if of.log_mean is not None:
        lines += ["", "[world.size]", f"log_mean = {of.log_mean:.3f}", f"log_sd = {of.log_sd:.3f}"]
        lines += [f"smallest = {of.smallest:.1f}", f"largest = {of.largest:.1f}"]
    lines += ["", "[world.quality]", _line("permanent_share", of.permanent_share)]
    lines += [_line("autocorrelation", of.autocorrelation), "", f"[outcomes.{json.dumps(name)}]"]
    lines += [f'kind = "{"continuous" if of.icc is None else "binary"}"', 'source = "record"']
    lines += [_line("mean", of.mean), _line("trend", of.trend), _line("authority_sd", of.sd)]
    if of.icc is None:
        lines.append("family_sd = 1.0 # yours to state: a table of means does not tell it")
    if of.per_10000_children is not None:
        lines.append(f"per_10000_children = {of.per_10000_children:.1f}")
    lines.append("effect = 0.0 # yours to state, at full fidelity")
    return "\n".join(lines) + "\n"


def _line(key: str, of: Estimate) -> str:
    return f"{key} = {of.value:.4g} # 95 % interval {of.low:.4g} to {of.high:.4g}".replace("= 0 #", "= 0.0 #")


def findings(calibration: Calibration) -> list[tuple[str, str, str]]:
    """What was found, for people: name, value, 95 % interval."""
    of = calibration
    estimates = {
        "mean in the last year": of.mean,
        "change a year": of.trend,
        "SD between authorities in a year": of.sd,
        "permanent share of its variance": of.permanent_share,
        "autocorrelation of the rest": of.autocorrelation,
        **{f"correlation {lag} year{'s' * (lag > 1)} apart": each for lag, each in of.correlations.items()},
    }
    if of.icc is not None:
        estimates["ICC of a year, single families"] = of.icc
    rows = [
        (name, f"{each.value:.4g}", f"{each.low:.4g} to {each.high:.4g}") for name, each in estimates.items()
    ]
    rows.append(("SD with sampling noise left in", f"{of.raw_sd:.4g}", ""))
    there = of.n_units * of.n_years
    rows.append(
        ("authorities, years, missing cells", f"{of.n_units}, {of.n_years}", f"{of.missing} of {there}")
    )
    return rows
