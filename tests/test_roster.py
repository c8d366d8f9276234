"""Roster and cells: spread and pool, against sums done by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from design_sim.cells import Cells
from design_sim.roster import Roster

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=6)


def roster_of(sizes: list[int]) -> Roster:
    """Workers' rows in authorities of given sizes, a team for each authority."""
    authority = np.repeat(np.arange(len(sizes)), sizes)
    return Roster(authority, authority, np.arange(sum(sizes)))


@given(SIZES)
def test_pool_sums_the_rows_of_every_unit(sizes: list[int]) -> None:
    """Pooling equals a sum by hand, for equal and unequal units alike."""
    roster = roster_of(sizes)
    values = np.arange(2.0 * roster.n_rows).reshape(2, roster.n_rows)
    expected = [[row[roster.authority == unit].sum() for unit in range(len(sizes))] for row in values]
    assert np.array_equal(roster.pool(values, "authority"), expected)


@given(SIZES)
def test_spread_gives_every_row_its_units_value(sizes: list[int]) -> None:
    """Spreading what was pooled gives each row its unit's total."""
    roster = roster_of(sizes)
    values = np.arange(float(len(sizes)))[np.newaxis]
    assert np.array_equal(roster.spread(values, "authority")[0], roster.authority)


def test_the_roster_above_has_a_row_for_each_unit() -> None:
    """Families pooled to their workers, or to teams, still know who is above them."""
    families = Roster(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 2, 3]))
    workers = families.above("worker")
    assert workers.authority.tolist() == [0, 0, 1, 1]
    assert workers.team.tolist() == [0, 0, 1, 2]
    teams = families.above("team")
    assert (teams.authority.tolist(), teams.worker.tolist()) == ([0, 1, 1], [0, 1, 2])


def test_rows_that_do_not_lie_together_are_refused() -> None:
    """Pooling by neighbourhood would silently mix units."""
    with pytest.raises(ValueError, match="lie together"):
        Roster(np.array([0, 1, 0]), np.array([0, 1, 2]), np.array([0, 1, 2]))


@pytest.mark.parametrize("sizes", [[3, 3], [1, 4]])
@pytest.mark.parametrize("missing", [False, True])
def test_pooled_cells_are_those_of_all_their_families(sizes: list[int], missing: bool) -> None:
    """Mean and sum of squares of a pooled cell are those of the families, one by one."""
    rng = np.random.default_rng(1)
    roster = roster_of(sizes)
    families = [rng.normal(size=rng.integers(2, 6)) for _ in range(roster.n_rows)]
    if missing:
        families[0] = np.array([])
    n = np.array([float(f.size) for f in families]).reshape(1, -1, 1)
    mean = np.array([f.mean() if f.size else np.nan for f in families]).reshape(1, -1, 1)
    ss = np.array([((f - f.mean()) ** 2).sum() if f.size else 0.0 for f in families]).reshape(1, -1, 1)
    pooled = Cells(n, mean, ss).pool(roster, "authority")
    for unit in range(len(sizes)):
        together = np.concatenate([families[row] for row in np.flatnonzero(roster.authority == unit)])
        if together.size == 0:
            assert pooled.n[0, unit, 0] == 0
            assert np.isnan(pooled.mean[0, unit, 0])
            continue
        assert pooled.n[0, unit, 0] == together.size
        assert pooled.mean[0, unit, 0] == pytest.approx(together.mean(), rel=1e-12)
        assert pooled.ss is not None
        assert pooled.ss[0, unit, 0] == pytest.approx(((together - together.mean()) ** 2).sum(), rel=1e-12)


def test_occasions_are_pooled_as_families() -> None:
    """Two years of a cell are one cell of all families of both."""
    n = np.array([[[2.0, 3.0, 0.0]]])
    mean = np.array([[[1.0, 2.0, np.nan]]])
    ss = np.array([[[0.5, 0.25, 0.0]]])
    both = Cells(n, mean, ss).over(np.array([True, True, True]))
    assert both.n.item() == 5
    assert both.mean.item() == pytest.approx(8 / 5)
    assert both.ss is not None
    assert both.ss.item() == pytest.approx(0.75 + 2 * 0.6**2 + 3 * 0.4**2)


def test_arrays_that_disagree_on_an_axis_are_refused() -> None:
    """A batch with mixed sizes would broadcast into a wrong number."""
    with pytest.raises(ValueError, match="row"):
        Cells(np.ones((1, 3, 1)), np.ones((1, 2, 1)))
    with pytest.raises(ValueError, match="axes"):
        Cells(np.ones((1, 3)), np.ones((1, 3, 1)))
