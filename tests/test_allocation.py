"""Laws of allocation: what could have been, as many ways as combinatorics says, each as likely."""

from itertools import permutations

import numpy as np
import pytest

from design_sim.allocation import NEVER, ConstrainedRandomisation, Randomisation, complete_randomisation

RNG = np.random.default_rng(1)
LAWS = {
    "complete": Randomisation((0, 0, NEVER, NEVER, NEVER), (0,) * 5),
    "equal arms": Randomisation((0, 0, NEVER, NEVER), (0,) * 4),
    "strata": Randomisation((0, NEVER, 0, NEVER, NEVER), (0, 0, 1, 1, 1)),
    "pairs": Randomisation((0, NEVER, 0, NEVER, 0, NEVER), (0, 0, 1, 1, 2, 2)),
    "wedge": Randomisation((1, 2, 2, 3, NEVER), (0,) * 5),
}


def every_order(law: Randomisation) -> set[tuple[int, ...]]:
    """All different orders of the starts that leave every stratum its own, by trying all."""
    by_stratum = {
        s: sorted(start for start, of in zip(law.start, law.stratum, strict=True) if of == s)
        for s in law.stratum
    }
    found = set()
    for order in set(permutations(law.start)):
        dealt = {
            s: sorted(x for x, of in zip(order, law.stratum, strict=True) if of == s) for s in by_stratum
        }
        if dealt == by_stratum:
            found.add(order)
    return found


@pytest.mark.parametrize("name", LAWS)
def test_arrangements_are_all_that_there_are(name: str) -> None:
    """Each once; where arms mirror each other, one of every two images."""
    law = LAWS[name]
    brute = every_order(law)
    assert law.n_arrangements == len(brute)
    given = [tuple(row) for row in law.arrangements(999, RNG).start.tolist()]
    assert len(set(given)) == len(given)
    if not law.mirrored:
        assert set(given) == brute
        return
    images = {tuple(0 if start == NEVER else NEVER for start in row) for row in given}
    assert set(given) | images == brute
    assert not set(given) & images
    assert law.start in given


@pytest.mark.parametrize("name", LAWS)
def test_draws_are_equally_likely_arrangements(name: str) -> None:
    """Frequencies of a thousand draws for each arrangement: a chi-square within its four standard errors."""
    law = LAWS[name]
    n = 1_000 * law.n_arrangements
    _, counts = np.unique(law.draw(np.random.default_rng(2), n), axis=0, return_counts=True)
    assert counts.size == law.n_arrangements
    df = law.n_arrangements - 1
    chi_square = ((counts - 1_000) ** 2 / 1_000).sum()
    assert abs(chi_square - df) < 4 * np.sqrt(2 * df)


def test_only_so_many_are_drawn_where_there_are_more() -> None:
    """The arrangement as it was is then counted beside them, and the floor says so."""
    drawn = complete_randomisation(30, 15).arrangements(99, np.random.default_rng(1))
    assert drawn.start.shape == (99, 30)
    assert drawn.identity == 1
    assert drawn.floor.tolist() == [1 / 100]


def test_floors_count_mirror_images() -> None:
    """Two of six for two against two; two of eight for three pairs; one of ten for two against three."""
    for name, floor in (("equal arms", 2 / 6), ("pairs", 2 / 8), ("complete", 1 / 10), ("strata", 1 / 6)):
        assert LAWS[name].arrangements(999, RNG).floor[0] == pytest.approx(floor)


def test_a_constrained_law_gives_its_candidates_and_whose_they_are() -> None:
    """Each replicate has its own balanced ones, and a floor by their number."""
    candidates = LAWS["equal arms"].draw(np.random.default_rng(1), 6)
    allowed = np.array([[True] * 6, [True, True, False, False, False, False]])
    given = ConstrainedRandomisation(candidates, allowed, mirrored=True).arrangements(3, RNG)
    assert given.start is candidates
    assert given.floor.tolist() == [2 / 6, 1.0]
    assert given.allowed is allowed
