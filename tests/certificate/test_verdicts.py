"""Verdicts: where each begins, and which is the worst."""

import pytest

from design_sim.certificate.verdicts import WORST_FIRST, Size, verdict, worst


@pytest.mark.parametrize(
    ("rejected", "expected"),
    [
        (0, "conservative"),
        (249, "conservative"),
        (250, "holds"),
        (500, "holds"),
        (750, "holds"),
        (751, "liberal"),
        (10_000, "liberal"),
    ],
)
def test_the_limits_are_half_of_alpha_and_one_and_a_half(rejected: int, expected: str) -> None:
    """7.5 % at a nominal 5 % is where the headline turns size-adjusted; half of alpha mirrors it."""
    assert verdict(Size(rejected, 10_000), 10_000, 0.0) == expected


def test_few_replicates_do_not_condemn() -> None:
    """4 rejections in 40 are 10 %, and a test that holds its size does so in one run of seven."""
    assert verdict(Size(4, 40), 40, 0.0) == "holds"
    assert verdict(Size(0, 40), 40, 0.0) == "holds"
    assert verdict(Size(400, 4_000), 4_000, 0.0) == "liberal"


def test_limits_follow_alpha() -> None:
    """At a level of 1 % a size of 2 % is twice what it says."""
    assert verdict(Size(200, 10_000), 10_000, 0.0, alpha=0.01) == "liberal"


def test_a_floor_above_alpha_cannot_reject() -> None:
    """p = 1/20 rejects at 5 %, whatever rounding makes of it; p = 1/3 never does."""
    assert verdict(Size(0, 100), 100, 1 / 3) == "cannot reject"
    assert verdict(Size(5, 100), 100, 0.05 + 1e-17) == "holds"


def test_no_result_where_most_analyses_fail() -> None:
    """A size of the few that worked is not that of the test."""
    assert verdict(Size(0, 0), 100, float("nan")) == "no result"
    assert verdict(Size(2, 49), 100, 0.0) == "no result"
    assert verdict(Size(2, 50), 100, 0.0) == "holds"


def test_the_worst_verdict_leads() -> None:
    """A test that is liberal with unequal sizes is not said to hold because it does with equal ones."""
    assert worst(["holds", "liberal", "conservative"]) == "liberal"
    assert worst(["holds", "conservative"]) == "conservative"
    assert worst([]) == WORST_FIRST[-1] == "not applicable"
