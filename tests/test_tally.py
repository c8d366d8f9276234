"""What blocks return, held to the same sums done in one go on all replicates."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from design_sim.arrays import Floats, Ints
from design_sim.estimators.base import Estimates, Status, t_estimates
from design_sim.failures import failure_words
from design_sim.tally import NULL, STATED, Moments, Tally

ALPHA = 0.05
Block = tuple[Estimates, Estimates, Floats]


def draw_block(replicates: int, seed: int, failures: float = 0.0, scale: float = 1.0) -> Block:
    """Estimates of a study and its null twin, some of which failed, and the truth."""
    rng = np.random.default_rng(seed)
    truth = 0.4 + 0.1 * rng.standard_normal(replicates)
    noise = 0.3 * rng.standard_normal(replicates)
    std_error = 0.3 * np.sqrt(rng.chisquare(10, replicates) / 10)

    def status() -> Ints:
        failed = rng.random(replicates) < failures
        return np.where(failed, Status.NOT_CONVERGED, Status.OK).astype(np.int64)

    df = np.full(1, 10.0)
    stated = t_estimates(scale * (truth + noise), scale * std_error, df, ALPHA, status())
    return stated, t_estimates(scale * noise, scale * std_error, df, ALPHA, status()), scale * truth


def cut(estimates: Estimates, part: slice) -> Estimates:
    """The estimates of some replicates; fields of replicate axis 1 stay as they are."""
    fields = {name: getattr(estimates, name) for name in Estimates.__slots__}
    return Estimates(**{name: a if len(a) == 1 else a[part] for name, a in fields.items()})


def permutation_estimates(p_value: Floats, estimate: Floats, p_floor: float) -> Estimates:
    """What a test without a standard error returns."""
    none = np.full(1, np.nan)
    status = np.zeros(1, dtype=np.int64)
    return Estimates(estimate, none, none, p_value, none, none, np.full(1, p_floor), status)


def assert_same(one: Tally, other: Tally) -> None:
    """Counts equal; moments within 1e-12 of the size that their numbers have."""
    assert (one.asked, one.stated.count, one.null.count) == (
        other.asked,
        other.stated.count,
        other.null.count,
    )
    np.testing.assert_array_equal(one.p_counts, other.p_counts)
    np.testing.assert_equal(one.p_floor, other.p_floor)
    for mine, theirs in ((one.stated, other.stated), (one.null, other.null)):
        root = np.sqrt(np.diag(theirs.comoment))
        np.testing.assert_allclose(mine.mean, theirs.mean, rtol=1e-12, atol=1e-12 * root.max(initial=0))
        assert np.all(np.abs(mine.comoment - theirs.comoment) <= 1e-12 * np.outer(root, root))


def test_moments_are_those_of_the_raw_numbers() -> None:
    """Each mean and co-moment has a definition that a line of plain NumPy can follow."""
    stated, null, truth = draw_block(300, seed=1, failures=0.1)
    tally = Tally.of(stated, null, truth, ALPHA)
    rows = []
    for i in np.flatnonzero(stated.status == Status.OK):
        estimate, true = stated.estimate[i], truth[i]
        reject = float(stated.p_value[i] <= ALPHA)
        covered = float(stated.ci_low[i] <= true <= stated.ci_high[i])
        signs = [reject * (estimate < 0), reject * (estimate > 0), reject * abs(estimate)]
        error = estimate - true
        rows.append([estimate, true, error, error**2, stated.std_error[i] ** 2, covered, reject, *signs])
    raw = np.array(rows)
    assert tally.stated.names == STATED
    np.testing.assert_allclose(tally.stated.mean, raw.mean(axis=0), rtol=1e-12)
    comoment = np.cov(raw, rowvar=False) * (len(raw) - 1)
    np.testing.assert_allclose(tally.stated.comoment, comoment, rtol=1e-10, atol=1e-12)
    null_ok = null.status == Status.OK
    null_raw = np.array([null.estimate, null.p_value <= ALPHA])[:, null_ok]
    assert tally.null.names == NULL
    np.testing.assert_allclose(tally.null.mean, null_raw.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(tally.null.comoment, np.cov(null_raw) * (null_ok.sum() - 1), rtol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 200), max_size=8),
    seed=st.integers(0, 20),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_any_split_merges_to_the_tally_of_all(cuts: list[int], seed: int, scale: float) -> None:
    """Results may not depend on how replicates were dealt out, empty parts and all-failed parts included."""
    stated, null, truth = draw_block(200, seed, failures=0.3, scale=scale)
    edges = [0, *sorted(cuts), 200]
    parts = [
        Tally.of(cut(stated, part), cut(null, part), truth[part], ALPHA)
        for part in (slice(a, b) for a, b in pairwise(edges))
    ]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged + part
    assert_same(merged, Tally.of(stated, null, truth, ALPHA))


def test_grouping_of_a_merge_does_not_matter() -> None:
    """Workers merge what they hold before the parent does: addition must be associative."""
    one, two, three = (Tally.of(*draw_block(n, seed=n, failures=0.1), ALPHA) for n in (16, 100, 300))
    assert_same((one + two) + three, one + (two + three))


def test_moments_far_from_zero_keep_their_digits() -> None:
    """Sums of squares would lose every digit of a spread of 1 around 1e9; deviations do not."""
    rng = np.random.default_rng(3)
    rows = 1e9 + rng.standard_normal((2, 4096))
    whole = Moments.of(("a", "b"), rows)
    merged = Moments.of(("a", "b"), rows[:, :1000]) + Moments.of(("a", "b"), rows[:, 1000:])
    expected = np.cov(rows - 1e9) * 4095
    np.testing.assert_allclose(whole.comoment, expected, rtol=1e-8, atol=1e-5)
    np.testing.assert_allclose(merged.comoment, expected, rtol=1e-8, atol=1e-5)


def test_a_number_that_does_not_vary_has_no_spread_at_all() -> None:
    """A constant truth must not gain a variance from rounding, in a block or by merging."""
    block = Moments.of(("truth",), np.full((1, 1000), 0.1))
    assert (block + block + block).comoment[0, 0] == 0
    assert (block + block).mean_of("truth") == 0.1


def test_failures_are_counted_in_the_study_and_in_its_twin_separately() -> None:
    """A method may fail because of the effect: the twin's replicates are none of its business."""
    stated, null, truth = draw_block(200, seed=5, failures=0.2)
    tally = Tally.of(stated, null, truth, ALPHA)
    assert tally.asked == 200
    assert tally.failed == stated.failed.sum() > 0
    assert tally.null_failed == null.failed.sum() > 0
    assert tally.failed != tally.null_failed
    counts = [200 - tally.failed, 200 - tally.null_failed, (~stated.failed & ~null.failed).sum()]
    np.testing.assert_array_equal(tally.p_counts.sum(axis=1), counts)


@pytest.mark.parametrize(("estimate", "p_value"), [(np.nan, 0.5), (np.inf, 0.5), (0.2, np.nan)])
def test_an_analysis_without_numbers_failed_whatever_it_says(estimate: float, p_value: float) -> None:
    """A nan that passed as a result would turn every mean to nan."""
    estimates = permutation_estimates(np.array([0.5, p_value]), np.array([0.1, estimate]), 0.0)
    tally = Tally.of(estimates, estimates, np.zeros(2), ALPHA)
    assert (tally.failed, tally.null_failed) == (1, 1)
    assert failure_words(tally) == "1 other"
    assert tally.stated.mean_of("estimate") == 0.1


@pytest.mark.parametrize("status", list(Status))
def test_only_a_boundary_is_not_a_failure(status: Status) -> None:
    """A variance estimated as zero is an estimate; every other flag is a failed analysis."""
    stated, null, truth = draw_block(8, seed=2)
    flagged = Estimates(
        *(getattr(stated, name) for name in Estimates.__slots__[:-1]),
        status=np.full(8, status, dtype=np.int64),
    )
    tally = Tally.of(flagged, null, truth, ALPHA)
    assert tally.failed == (0 if status <= Status.BOUNDARY else 8)
    assert tally.ended(status) == 8
    assert failure_words(tally) == (
        "" if status <= Status.BOUNDARY else f"8 {status.name.lower()}".replace("_", " ")
    )
    assert (tally + tally).ended(status) == 16
    assert (tally + tally).statuses.sum() == 32


def test_a_replicate_axis_of_one_stands_for_all_replicates() -> None:
    """What does not vary between replicates is held once and must count as often as if it were not."""
    rng = np.random.default_rng(8)
    estimate = rng.standard_normal(50)
    wide = Estimates(
        estimate,
        np.full(1, 0.9),
        np.full(1, np.inf),
        rng.random(50),
        estimate - 1.8,
        estimate + 1.8,
        np.full(1, 0.01),
        np.zeros(1, dtype=np.int64),
    )
    long = Estimates(*(np.resize(getattr(wide, name), 50) for name in Estimates.__slots__))
    truth = np.full(1, 0.5)
    assert_same(Tally.of(wide, wide, truth, ALPHA), Tally.of(long, long, np.resize(truth, 50), ALPHA))


def test_a_p_value_of_exactly_alpha_rejects() -> None:
    """One of twenty orders has p = .05; rounding in how it was computed must not take the rejection away."""
    p_value = np.array([1 / 20, 1 - 19 / 20, 0.05 * (1 + 1e-9), 0.1])
    assert p_value[1] > 0.05
    estimates = permutation_estimates(p_value, np.ones(4), 1 / 20)
    tally = Tally.of(estimates, estimates, np.ones(4), ALPHA)
    assert tally.stated.mean_of("rejected") == 0.5
    assert tally.null.mean_of("rejected") == 0.5


def test_every_p_value_has_its_place() -> None:
    """From a p that underflowed to 0 up to one that rounding took past 1, in order and none lost."""
    p_value = np.array([0.0, 5e-324, 1e-300, 1e-20, 0.01, 0.05, 0.0507, 0.5, 1.0, 1 + 1e-15])
    places = []
    for p in p_value:
        estimates = permutation_estimates(np.array([p]), np.ones(1), 0.0)
        counts = Tally.of(estimates, estimates, np.ones(1), ALPHA).p_counts
        assert counts.sum() == 3
        places.append(int(np.flatnonzero(counts[0])[0]))
    assert places == sorted(places)
    assert len(set(places)) == len(places) - 2
    assert (places[0], places[-1]) == (0, counts.shape[1] - 1)


def test_the_larger_of_both_p_values_is_counted() -> None:
    """It tells how often study and twin reject together, at every critical value."""
    stated, null, truth = draw_block(500, seed=9)
    tally = Tally.of(stated, null, truth, ALPHA)
    larger = permutation_estimates(np.maximum(stated.p_value, null.p_value), stated.estimate, 0.0)
    np.testing.assert_array_equal(tally.p_counts[2], Tally.of(larger, larger, truth, ALPHA).p_counts[0])


def test_a_test_without_standard_error_leaves_the_other_moments_whole() -> None:
    """A permutation test has an estimate and a p-value, which count though its interval does not exist."""
    rng = np.random.default_rng(4)
    estimates = permutation_estimates(rng.random(30), rng.standard_normal(30), 0.01)
    stated = Tally.of(estimates, estimates, np.zeros(30), ALPHA).stated
    missing = [np.isnan(stated.mean_of(name)) for name in STATED]
    assert missing == [name in ("variance", "covered") for name in STATED]
    assert stated.std_error_of({"estimate": 1.0, "rejected": 1.0}) > 0


def test_an_endless_interval_covers() -> None:
    """An inverted test may accept every value on one side; that interval holds the truth."""
    estimates = Estimates(
        np.ones(1),
        np.ones(1),
        np.ones(1),
        np.ones(1),
        np.full(1, -np.inf),
        np.full(1, np.inf),
        np.zeros(1),
        np.zeros(1, dtype=np.int64),
    )
    assert Tally.of(estimates, estimates, np.zeros(1), ALPHA).stated.mean_of("covered") == 1


def test_the_smallest_attainable_p_is_over_analysed_replicates() -> None:
    """A failed analysis could have given no p-value at all."""
    p_floor = np.array([0.3, 0.1, 0.2])
    status = np.array([Status.OK, Status.SINGULAR, Status.OK], dtype=np.int64)
    none, one = np.full(1, np.nan), np.ones(3)
    estimates = Estimates(one, none, none, one, none, none, p_floor, status)
    assert Tally.of(estimates, estimates, one, ALPHA).p_floor == 0.2


def test_levels_do_not_mix() -> None:
    """Rejections at .05 and at .01 are counts of different things."""
    block = draw_block(8, seed=1)
    with pytest.raises(ValueError, match=r"0\.05 and 0\.01"):
        Tally.of(*block, ALPHA) + Tally.of(*block, 0.01)


def test_memory_does_not_grow_with_replicates() -> None:
    """A million replicates must fit where a thousand do."""
    small, large = (Tally.of(*draw_block(n, seed=1), ALPHA) for n in (16, 1024))
    merged = large + large + large
    sizes = [t.p_counts.nbytes + t.stated.comoment.nbytes + t.null.comoment.nbytes for t in (small, merged)]
    assert sizes[0] == sizes[1] < 65_536


def test_estimates_are_left_as_they_were() -> None:
    """The same estimates are judged against several estimands."""
    stated, null, truth = draw_block(64, seed=6, failures=0.2)
    before = [getattr(stated, name).copy() for name in Estimates.__slots__] + [truth.copy()]
    Tally.of(stated, null, truth, ALPHA)
    after = [getattr(stated, name) for name in Estimates.__slots__] + [truth]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
