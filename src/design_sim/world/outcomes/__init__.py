"""The kinds of outcome, a file for each: what is stated, how it comes about, how a framework moves it.

To add one, copy the nearest neighbour and give it a line in `OUTCOMES`, and each array that it draws a
number in `streams.COMPONENTS`. The contract tests then run on it.
"""

from design_sim.world.outcome import Outcome, RecordedOutcome
from design_sim.world.outcomes.recorded_binary import RecordedBinary
from design_sim.world.outcomes.recorded_continuous import RecordedContinuous
from design_sim.world.outcomes.recorded_count import RecordedCount
from design_sim.world.outcomes.recorded_duration import RecordedDuration
from design_sim.world.outcomes.surveyed_binary import SurveyedBinary
from design_sim.world.outcomes.surveyed_continuous import SurveyedContinuous
from design_sim.world.outcomes.surveyed_count import SurveyedCount
from design_sim.world.outcomes.surveyed_duration import SurveyedDuration

OUTCOMES: dict[tuple[str, str], type] = {
    ("continuous", "survey"): SurveyedContinuous,
    ("continuous", "record"): RecordedContinuous,
    ("binary", "record"): RecordedBinary,
    ("binary", "survey"): SurveyedBinary,
    ("count", "record"): RecordedCount,
    ("count", "survey"): SurveyedCount,
    ("duration", "record"): RecordedDuration,
    ("duration", "survey"): SurveyedDuration,
}
"""Every kind of outcome, by its `kind` and `source`."""

__all__ = [
    "OUTCOMES",
    "Outcome",
    "RecordedBinary",
    "RecordedContinuous",
    "RecordedCount",
    "RecordedDuration",
    "RecordedOutcome",
    "SurveyedBinary",
    "SurveyedContinuous",
    "SurveyedCount",
    "SurveyedDuration",
]
