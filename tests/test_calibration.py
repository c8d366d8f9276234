"""Calibration: a panel drawn with known settings gives them back, and a bad table is told what is wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from design_sim.calibration import calibrate, fit_memory, sections
from design_sim.cli import execute
from design_sim.errors import ScenarioError
from design_sim.streams import Streams
from design_sim.sweep import parse
from design_sim.world.draw import draw_world
from design_sim.world.outcomes import RecordedBinary
from design_sim.world.settings import WorldSettings

PANEL = Path(__file__).parents[2] / "shared" / "data" / "england_la_year.csv"
COUNTS = {"numerator": "events", "denominator": "families"}


def drawn(n_authorities: int = 400, per_10000: float = 300.0, missing: int = 0) -> pd.DataFrame:
    """Records of ten years of authorities with a permanent share of .4 and a coefficient of .5."""
    settings = WorldSettings.model_validate(
        {
            "authorities": n_authorities,
            "time": {"years_before": 9, "years_after": 1},
            "quality": {"permanent_share": 0.4, "autocorrelation": 0.5},
        }
    )
    outcome = RecordedBinary(
        mean=0.25, effect=0.0, trend=0.004, authority_sd=0.05, per_10000_children=per_10000
    )
    record = draw_world(settings, {"y": outcome}, 1, Streams(7, 0)).record("y")
    authority, year = np.indices((n_authorities, 10)).reshape(2, -1)
    n = np.broadcast_to(record.n[0], (n_authorities, 10)).ravel()
    events = np.rint(record.mean[0].ravel() * n)
    frame = pd.DataFrame({"la": authority, "year": 2010 + year, "events": events, "families": n})
    frame.loc[frame.sample(missing, random_state=1).index, "events"] = np.nan
    return frame


@pytest.mark.parametrize(("per_10000", "missing"), [(300.0, 0), (20.0, 300)], ids=["large", "small"])
def test_a_drawn_world_gives_its_settings_back(per_10000: float, missing: int) -> None:
    """Also with missing cells, and where a third of the variance is binomial noise, which is taken off."""
    found = calibrate(drawn(per_10000=per_10000, missing=missing), "la", "year", **COUNTS)
    stated = {"permanent_share": 0.4, "autocorrelation": 0.5, "sd": 0.05, "trend": 0.004, "mean": 0.25}
    for name, value in stated.items():
        estimate = getattr(found, name)
        assert estimate.low < value < estimate.high, name
    assert found.missing == missing
    noise = 0.232 * 0.768 * np.mean(1 / drawn(per_10000=per_10000).families)
    assert found.raw_sd**2 == pytest.approx(found.sd.value**2 + noise, rel=0.05)
    assert found.icc is not None
    assert found.icc.value == pytest.approx(found.sd.value**2 / (0.232 * 0.768), rel=0.03)


def test_the_real_panel_gives_the_published_memory() -> None:
    """Re-referral in England: permanent share .28, coefficient .62, spread 5.6 points, where the data are.

    The correlations of .70, .54, .46 and .39 at 1, 2, 3 and 5 years, which were printed with them, are fitted
    in any case.
    """
    if PANEL.exists():
        found = calibrate(
            PANEL, "la_code", "year", numerator="rereferrals", denominator="referrals", size="children_0_17"
        )
        memory = found.permanent_share, found.autocorrelation
        assert found.sd.low < 0.056 < found.sd.high
        assert found.missing == 132
        for lag, printed in {1: 0.70, 2: 0.54, 3: 0.46, 5: 0.39}.items():
            assert found.correlations[lag].value == pytest.approx(printed, abs=0.02)
        for estimate, printed in zip(memory, (0.28, 0.62), strict=True):
            assert estimate.low < printed < estimate.high
    lags = np.array([1, 2, 3, 5])
    printed_ones = np.array([0.70, 0.54, 0.46, 0.39])
    assert 0.28 + 0.72 * 0.62**lags == pytest.approx(printed_ones, abs=0.05)
    share, phi = fit_memory(lags, printed_ones[np.newaxis], np.ones(4))
    assert share + (1 - share) * phi**lags == pytest.approx(printed_ones, abs=0.01)


def test_exact_correlations_are_fitted_exactly() -> None:
    """What the model makes it finds again, on its grid of coefficients."""
    lags = np.arange(1, 8)
    for share, phi in ((0.3, 0.6), (0.0, 0.9), (0.7, 0.0)):
        correlation = share + (1 - share) * np.float64(phi) ** lags
        found = fit_memory(lags, correlation[np.newaxis], np.ones(7))
        assert found[0][0] == pytest.approx(share, abs=1e-6)
        assert found[1][0] == pytest.approx(phi, abs=1e-6)


@pytest.mark.parametrize("rate", [True, False], ids=["counts", "value"])
def test_what_is_printed_can_be_pasted(rate: bool) -> None:
    """The sections are a scenario once a design is added."""
    frame = drawn(60).assign(rate=lambda of: of.events / of.families, people=50_000.0)
    frame["people"] += 1_000.0 * frame.la
    columns = {**COUNTS, "size": "people"} if rate else {"value": "rate"}
    text = sections(calibrate(frame, "la", "year", **columns), "re-referral")
    text += '[designs.d]\nkind = "cluster_rct"\noutcome = "re-referral"\nauthorities = 20\n'
    text += '[designs.d.answers.a]\nestimator = "cluster_means"\nestimand = "offered"\n'
    world = parse("seed = 1\nreplicates = 10\n" + text, "pasted").cases[0].scenario.world
    assert world.authorities == 60
    assert world.quality.permanent_share == pytest.approx(0.4, abs=0.4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda of: of.rename(columns={"year": "yaer"}), "time: 'year' is not a column"),
        (lambda of: of.astype(str).replace("2012", "twelve"), "column 'year', row 4: found 'twelve'"),
        (lambda of: pd.concat([of, of.head(1)]), "row 302: the same unit and time as in a row above"),
        (lambda of: of.assign(events=of.families + 1), "the numerator is above the denominator"),
        (lambda of: of.assign(events=-1), "the numerator is below 0"),
        (lambda of: of.assign(families=0), "the denominator is not above 0"),
        (lambda of: of.assign(events=of.families), "every figure is 1; authorities that do not differ"),
        (lambda of: of[of.year < 2013], "3 of the years have figures of 10 units or more"),
        (lambda of: of.head(0), "has no rows"),
        (lambda of: of.assign(year=of.year + 0.5), "is not a whole year"),
    ],
)
def test_a_table_that_will_not_do_is_told_why(
    change: object, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One message that names the column or the row, and exit code 2."""
    file = tmp_path / "panel.csv"
    change(drawn(30)).to_csv(file, index=False)  # type: ignore[operator]
    arguments = ["calibrate", str(file), "--unit", "la", "--time", "year"]
    assert execute([*arguments, "--numerator", "events", "--denominator", "families"]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "panel.csv" in shown


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\xfe\x00,\x80", b'la,year\n"1,2\n'], ids=["empty", "binary", "quote"]
)
def test_what_is_no_table_is_told_so(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the bytes: a message and exit code 2."""
    file = tmp_path / "panel.csv"
    file.write_bytes(content)
    assert execute(["calibrate", str(file), "--unit", "la", "--time", "year", "--value", "x"]) == 2
    assert "panel.csv" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["/{:02d}", "-{:02d}", "/20{:02d}"])
def test_years_of_two_halves_are_the_one_they_begin_in(end: str) -> None:
    """2015/16 is how England's statistics write a year."""
    frame = drawn(30)
    halves = [f"{year}{end.format(year % 100 + 1)}" for year in frame["year"]]
    assert calibrate(frame.assign(year=halves), "la", "year", **COUNTS) == calibrate(
        frame, "la", "year", **COUNTS
    )


def test_value_and_counts_exclude_each_other() -> None:
    """It would not be known which is meant."""
    with pytest.raises(ScenarioError, match="either a value, or a numerator and a denominator"):
        calibrate(drawn(30), "la", "year", value="events", **COUNTS)
    with pytest.raises(ScenarioError, match="either a value, or a numerator and a denominator"):
        calibrate(drawn(30), "la", "year", numerator="events")


def test_the_command_prints_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for people, then what is to be pasted."""
    file = tmp_path / "panel.csv"
    drawn(60, missing=7).to_csv(file, index=False)
    arguments = ["calibrate", str(file), "--unit", "la", "--time", "year"]
    assert execute([*arguments, "--numerator", "events", "--denominator", "families"]) == 0
    shown = capsys.readouterr().out
    assert "7 of 600" in shown
    assert "permanent_share =" in shown
