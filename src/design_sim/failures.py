"""Failures: why analyses gave no result, counted and in words."""

from design_sim.estimators.base import FAILED
from design_sim.tally import Tally


def failure_reasons(tally: Tally) -> dict[str, int]:
    """Why analyses failed, in the study as stated, and how many for each reason; empty where none did.

    An analysis that ended well, and yet gave no finite number, is "other".
    """
    reasons = {status.name.lower().replace("_", " "): tally.ended(status) for status in sorted(FAILED)}
    reasons["other"] = tally.failed - sum(reasons.values())
    return {reason: n for reason, n in reasons.items() if n > 0}


def failure_words(tally: Tally) -> str:
    """Why analyses failed: "12 singular, 3 not converged"; empty where none did."""
    return ", ".join(f"{n:,} {reason}" for reason, n in failure_reasons(tally).items())
