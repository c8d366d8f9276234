"""What a run's numbers are said to mean, on runs made up so that the right words are known."""

from dataclasses import replace

import numpy as np
import pytest

from design_sim.estimators import ESTIMATORS
from design_sim.estimators.base import Estimates, Status
from design_sim.reading import as_if_randomised, headline_table, is_sound, reading
from design_sim.results import Results, run
from design_sim.sweep import parse
from design_sim.tally import Tally
from design_sim.wording import format_measure, format_value, interval, plain, setting_names

OUTCOMES = """
[outcomes.rereferral]
kind = "binary"
source = "record"
mean = 0.209
effect = -0.03
"""
ANSWER = """
[designs.{design}.answers.{answer}]
estimator = "cluster_means"
estimand = "offered"
"""
TRIAL = '[designs.trial]\nkind = "cluster_rct"\noutcome = "rereferral"\nauthorities = 20\n'
PILOTS = '[designs.pilots]\nkind = "difference_in_differences"\noutcome = "rereferral"\nadopters = 9\n'
TWO = OUTCOMES + TRIAL + ANSWER.format(design="trial", answer="means")
TWO += PILOTS + ANSWER.format(design="pilots", answer="change")
ONE = OUTCOMES + TRIAL + ANSWER.format(design="trial", answer="means")
N = 1_000


def estimates(share: float, mean: float, p_floor: float, failed: int = 0) -> Estimates:
    """N analyses, of which a share rejects, estimates about a mean with a standard deviation of .01."""
    noise = 0.01 * np.tile([-1.0, 1.0], N // 2)
    status = np.where(np.arange(N) >= N - failed, Status.SINGULAR, Status.OK).astype(np.int64)
    return Estimates(
        estimate=np.where(status > 0, np.nan, mean + noise),
        std_error=np.full(N, 0.01),
        df=np.full(N, 18.0),
        p_value=np.where(np.arange(N) < share * N, 0.001, 0.5),
        ci_low=mean + noise - 0.02,
        ci_high=mean + noise + 0.02,
        p_floor=np.full(1, p_floor),
        status=status,
    )


def tally(power: float, size: float, null_bias: float = 0.0, p_floor: float = 0.0, failed: int = 0) -> Tally:
    """The tally of a run with a stated power, size and bias in the null twin."""
    return Tally.of(
        estimates(power, null_bias - 0.005, p_floor, failed),
        estimates(size, null_bias, p_floor, failed),
        np.full(N, -0.005),
        0.05,
    )


def made(text: str, *cases: list[Tally]) -> Results:
    """A run of a scenario whose tallies are given, in the file's order, for each case."""
    sweep = replace(parse(text, "made"), replicates=N)
    keys = [
        (name, answer) for name, study in sweep.cases[0].scenario.studies.items() for answer in study.answers
    ]
    return Results(sweep, [dict(zip(keys, tallies, strict=True)) for tallies in cases])


def test_a_strong_answer_that_rejects_without_effect_is_not_the_best() -> None:
    """Best power is sought among answers that hold their size and are not biased, however weak these are."""
    said = reading(made(TWO, [tally(0.12, 0.05), tally(0.44, 0.38, null_bias=-0.02)]))
    assert said.startswith(
        "Of the 2 answers, none that can be trusted would often see what comes of the stated effect of "
        "−3 percentage points on rereferral (effect of offering it: −0.5 pp): the best, trial / means (cluster randomised trial), sees it in 12 % of studies."
    )
    assert (
        "Beware: pilots / change looks strong (44 %) only because it rejects in 38 % of studies where there is "
        "no effect."
    ) in said
    assert said.endswith(
        "With 1,000 replicates, power and size are known to within 3.1 percentage points "
        "(95 % Monte Carlo intervals)."
    )


@pytest.mark.parametrize(
    ("power", "words"),
    [
        (0.9, "the strongest is trial / means (cluster randomised trial): it would see"),
        (0.6, "none reaches 80 % power for what comes of the stated effect"),
        (0.1, "none would often see what comes of the stated effect"),
    ],
)
def test_how_strong_the_best_answer_is_decides_the_words(power: float, words: str) -> None:
    """80 % is what funders ask for, and below 40 % a study sees the effect less often than not."""
    assert words in reading(made(TWO, [tally(power, 0.05), tally(0.05, 0.05)]))


def test_a_single_answer_is_spoken_of_as_one() -> None:
    """A sentence about the best of one would mislead."""
    said = reading(made(ONE, [tally(0.5, 0.05)]))
    assert said.startswith(
        "The one answer, trial / means (cluster randomised trial), would see what comes of the stated effect"
    )
    assert "in 50 % of studies, short of the 80 % usually asked for." in said


def test_a_liberal_test_is_held_to_its_level() -> None:
    """Where size is above 7.5 % the power that counts is the size-adjusted one."""
    results = made(TWO, [tally(0.3, 0.05), tally(0.9, 0.2)])
    said = reading(results)
    assert "the best, trial / means" in said
    assert (
        "pilots / change rejects in 20 % of studies where there is no effect, and held to 5 % its power is"
        in said
    )
    assert "size-adjusted power" in headline_table(results)["headline"][1]


def test_a_size_of_just_one_and_a_half_alpha_still_counts() -> None:
    """The rule is "at most 7.5 %"."""
    at, above = made(ONE, [tally(0.5, 0.075)]).judged, made(ONE, [tally(0.5, 0.076)]).judged
    assert is_sound(at[0])
    assert not is_sound(above[0])


def test_a_bias_with_a_sound_size_is_named_by_its_amount() -> None:
    """A bias may hide behind a large standard error, so that size does not show it."""
    said = reading(made(TWO, [tally(0.3, 0.05), tally(0.4, 0.06, null_bias=-0.012)]))
    assert "pilots / change is biased, and where there is no effect finds −1.20 pp on average." in said


def test_answers_that_cannot_reject_are_said_to() -> None:
    """With 2 against 2 no permutation test can reach .05, whatever the effect."""
    cannot = tally(0.0, 0.0, p_floor=1 / 3)
    said = reading(made(TWO, [cannot, cannot]))
    assert said.startswith("None of the 2 answers can reject, whatever the effect.")
    assert "cannot reject, as its p-value is never below 0.333 (1 more likewise)." in said


def test_flaws_of_several_kinds_share_a_sentence() -> None:
    """Three sentences can be read aloud: the best, what misleads most of each kind, how precise it is."""
    more = ANSWER.format(design="trial", answer="short") + ANSWER.format(design="trial", answer="broken")
    said = reading(
        made(
            ONE + more + PILOTS + ANSWER.format(design="pilots", answer="change"),
            [tally(0.3, 0.05), tally(0, 0, p_floor=1 / 3), tally(0, 0, failed=N), tally(0.5, 0.4, -0.02)],
        )
    )
    assert said.split(". ")[1] == (
        "Beware: pilots / change looks strong (50 %) only because it rejects in 40 % of studies where there is "
        "no effect; trial / short cannot reject, as its p-value is never below 0.333; and trial / broken gave "
        "no result, as every analysis failed (1,000 singular)"
    )
    assert len(said.split(". ")) == 3


def test_nothing_is_best_where_every_analysis_failed() -> None:
    """A run without a number must say so and not divide by zero."""
    results = made(TWO, [tally(0, 0, failed=N), tally(0, 0, failed=N)])
    said = reading(results)
    assert said == "None of the 2 answers gave a result: every analysis failed. There were 1,000 replicates."
    table = headline_table(results)
    assert list(table["power"]) == ["not known", "not known"]
    assert list(table["headline"]) == ["no result: every analysis failed (1,000 singular)"] * 2


def test_failed_analyses_count_as_misses_in_the_choice_of_the_best() -> None:
    """An answer that rejects whenever it works, and works one time in ten, is not the strongest."""
    rarely, always = tally(0.1, 0.005, failed=900), tally(0.3, 0.05)
    assert "trial / means (cluster randomised trial), sees it in 30 %" in reading(made(TWO, [always, rarely]))
    said = reading(made(ONE, [tally(0.5, 0.05, failed=100)]))
    assert "in 50 % of studies (failed analyses counted as misses), short of" in said


SWEEP = '\n[sweep]\n"designs.trial.authorities" = [20, 40, 80]\n'


def test_a_sweep_says_in_which_case_the_best_is_found() -> None:
    """The range over cases, the answer at each end of it, and where 80 % is reached."""
    biased = tally(0.5, 0.4, null_bias=-0.02)
    cases = [[tally(power, 0.05), biased] for power in (0.2, 0.5, 0.85)]
    said = reading(made(TWO + SWEEP, *cases))
    assert said.startswith(
        "Over 3 cases, the best answer that can be trusted sees what comes of the stated effect of "
        "−3 percentage points on rereferral (effect of offering it: −0.5 pp) in 20 % of studies (trial / means, where authorities = 20) to 85 % (trial / means, where "
        "authorities = 80); 80 % is reached in 1 of them (authorities = 80)."
    )
    assert "pilots / change where authorities = 20 is biased" in said
    assert "(it is so in 3 of 3 cases)" in said


def test_a_sweep_says_where_no_answer_can_be_trusted() -> None:
    """A case without a sound answer must not vanish from the range."""
    biased = tally(0.5, 0.4, null_bias=-0.02)
    said = reading(
        made(TWO + SWEEP, [biased, biased], [tally(0.3, 0.05), biased], [tally(0.3, 0.05), biased])
    )
    assert (
        "in 30 % of studies in every case (trial / means); 80 % is reached in none; in 1 no answer can"
        in said
    )
    said = reading(made(TWO + SWEEP, *[[biased, biased]] * 3))
    assert said.startswith(
        "None of the 2 answers can be trusted to tell an effect from none in any of the 3 cases."
    )


def test_permutation_without_a_lot_is_labelled_as_if_randomised() -> None:
    """Its p-value supposes a lot that was never cast; after a randomised trial there is nothing to say."""

    plainly = made(TWO, [tally(0.3, 0.05), tally(0.9, 0.05)])
    assert not any(as_if_randomised(judged) for judged in plainly.judged)
    results = made(
        TWO.replace('"cluster_means"', '"permutation"'),
        [tally(0.3, 0.05), tally(0.9, 0.05)],
    )
    assert [as_if_randomised(judged) for judged in results.judged] == [False, True]
    assert "pilots / change (difference-in-differences, as if randomised)" in reading(results)
    assert list(headline_table(results)["headline"]) == ["power 30 %", "power 90.0 %, as if randomised"]


def test_every_estimator_says_whether_its_test_draws_on_the_allocation() -> None:
    """Only such a test supposes a lot; which one does must not be guessed from its name."""
    assert [name for name, kind in ESTIMATORS.items() if kind.by_allocation] == ["permutation"]


def test_the_table_has_a_row_for_each_case_and_answer_with_monte_carlo_errors() -> None:
    """No number stands without its error, and a rate of none has the end of its Wilson interval."""
    results = made(TWO + SWEEP, *[[tally(0.3, 0.0), tally(0.44, 0.05)]] * 3)
    table = headline_table(results)
    expected = ["authorities", "design", "answer", "estimand", "truth", "bias", "size", "power", "headline"]
    assert list(table.columns) == expected
    assert list(table["authorities"]) == ["20", "20", "40", "40", "80", "80"]
    assert list(table["power"][:2]) == ["30 % (1.4)", "44 % (1.6)"]
    assert table["size"][0] == "0 % (at most 0.38)"
    assert table["truth"][0] == "−0.5 pp"
    assert table["estimand"][0] == "effect of offering it in the enrolled authorities"


def test_numbers_are_said_in_per_cent_points_and_units() -> None:
    """Table, figures, report and command line must say one number in one way."""
    case = parse(TWO, "x").cases[0]
    binary = case.scenario.outcomes["rereferral"]
    assert format_value("power", 0.4365, binary, 0.0111) == "44 % (1.1)"
    assert format_value("bias", -0.00004, binary, 0.0012) == "0.0 pp (0.1)"
    assert format_value("rmse", 0.02663, binary, 0.00034) == "2.66 pp (0.03)"
    assert format_value("relative_bias", 3.7, binary, 0.2) == "+370 % (20)"
    assert format_value("type_m", 7.512, binary, 0.41) == "7.5 (0.4)"
    assert format_value("power", float("nan"), binary) == "not known"


def test_intervals_of_proportions_are_wilsons() -> None:
    """Near 0 and 1 a standard error makes intervals that are too short, or leave 0 to 1."""
    judged = made(ONE, [tally(0.0, 0.05)]).judged[0]
    low, high = interval(judged, "power")
    z2 = 1.959963985**2
    assert low == 0
    assert high == pytest.approx(z2 / (N + z2), rel=1e-6)
    assert format_measure(judged, "power") == "0 % (at most 0.38)"


def test_short_names_of_settings_tell_them_apart() -> None:
    """Two settings of one name, or one that is named like a column, keep more of their path."""
    names = setting_names(["world.fidelity.mean", "outcomes.a.mean", "world.size", "designs.a.adopters"])
    assert list(names.values()) == ["fidelity.mean", "a.mean", "world.size", "adopters"]


def test_names_from_files_are_shown_on_one_line_without_control_characters() -> None:
    """A name may hold what a terminal or an SVG file must not be given."""
    assert plain("a\nb\x1b[31m\u202e") == "a�b�[31m�"
    assert len(plain("x" * 500)) == 60


def test_a_real_run_can_be_read() -> None:
    """What is made up above has the shape of what the engine gives."""
    results = run(parse(TWO, "real"), 64)
    assert "64 replicates" in reading(results)
    assert len(headline_table(results)) == 2
