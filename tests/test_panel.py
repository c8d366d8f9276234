"""The panel: who is treated at which level, and the panel of an analysis with other clusters."""

import numpy as np
import pytest

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.cells import Cells
from design_sim.panel import Panel
from design_sim.roster import Level, Roster

ROSTER = Roster(
    np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 2, 3, 4, 5])
)  # two authorities, three teams, six workers


def panel_of(assigned: Level, start: list[int]) -> Panel:
    """Two replicates at two occasions."""
    return Panel(
        roster=ROSTER,
        cells=Cells(np.ones((1, 6, 2)), np.arange(24.0).reshape(2, 6, 2)),
        start=np.array([start]),
        occasions=np.array([0, 1]),
        follow_up=np.array([False, True]),
        law=complete_randomisation(len(start), 1),
        assigned=assigned,
    )


@pytest.mark.parametrize(
    ("assigned", "start", "rows"),
    [
        ("authority", [1, NEVER], [1, 1, 1, 1, 0, 0]),
        ("team", [1, NEVER, 1], [1, 1, 0, 0, 1, 1]),
        ("worker", [1, NEVER, 1, NEVER, 1, NEVER], [1, 0, 1, 0, 1, 0]),
        ("row", [NEVER, 1, 1, 1, 1, NEVER], [0, 1, 1, 1, 1, 0]),
    ],
)
def test_rows_are_treated_with_the_unit_that_was_assigned(
    assigned: Level, start: list[int], rows: list[int]
) -> None:
    """From the second occasion on, at whatever level."""
    treated = panel_of(assigned, start).treated
    assert treated[0, :, 0].tolist() == [0] * 6
    assert treated[0, :, 1].tolist() == rows


def test_arms_of_authorities_are_refused_where_they_differ_within() -> None:
    """An analysis of authority means would otherwise compare nothing with nothing, silently."""
    with pytest.raises(ValueError, match="differs within an authority"):
        _ = panel_of("team", [1, NEVER, 1]).treated_authority
    assert panel_of("team", [1, 1, NEVER]).treated_authority[0].tolist() == [True, False]


@pytest.mark.parametrize("assigned", ["authority", "team"])
def test_teams_as_clusters_keep_arms_and_outcomes(assigned: Level) -> None:
    """Each team stands as an authority of its own, with its workers below it."""
    start = [1, NEVER] if assigned == "authority" else [1, 1, NEVER]
    panel = panel_of(assigned, start)
    teams = panel.clustered_by("team")
    assert teams.n_authorities == 3
    assert teams.treated_authority[0].tolist() == [True, True, False]
    assert np.array_equal(teams.treated, panel.treated)
    assert teams.cells is panel.cells
    assert teams.roster.worker.tolist() == ROSTER.worker.tolist()


def test_workers_assigned_and_clustered_are_their_own_authorities() -> None:
    """The unit of allocation as the unit of analysis."""
    panel = panel_of("worker", [1, NEVER, 1, NEVER, 1, NEVER])
    workers = panel.clustered_by("worker")
    assert workers.n_authorities == 6
    assert workers.treated_authority[0].tolist() == [True, False] * 3
    assert panel.clustered_by("authority") is panel
    coarser = panel.clustered_by("team")
    assert np.array_equal(coarser.treated, panel.treated)
    assert coarser.n_authorities == 3
