"""Matching: comparison authorities that are like the pilots in what is known before the start.

Each pilot in turn takes the authority nearest to it of those that are left, round after round until there are
enough (nearest neighbours without replacement). Nearest in Mahalanobis distance, with the covariances of all
authorities of the replicate, so that what correlates is not counted twice; ties by chance.

Decision: which framework a comparison has comes before its likeness. Where the world has too few of the kind
that is wanted, the nearest others stand in. How often that is so follows from the stated shares, since who
has which framework is independent of all that pilots are chosen by: `chance_of_too_few`.

Source: Rubin (1980), Bias reduction using Mahalanobis-metric matching, Biometrics 36, 293-298.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import special

from design_sim.arrays import Bools, Floats, Ints
from design_sim.designs.balance import known_of, standardised
from design_sim.world.draw import World
from design_sim.world.settings import WorldSettings

Kind = Literal["any", "no_framework", "rival"]
OTHER_KIND = 1_000.0
"""Distance that authorities of another kind than the wanted one are moved away: beyond any distance."""


def of_kind(world: World, kind: Kind) -> Bools:
    """Whether an authority is of a kind before the start: (replicate or 1, authority or 1)."""
    if kind == "rival":
        return world.has_rival
    if kind == "no_framework":
        return np.asarray(~(world.has_rival | world.uses_informally))
    return np.ones((1, 1), dtype=np.bool_)


def share_of_kind(settings: WorldSettings, kind: Kind) -> float:
    """Chance of an authority to be of a kind."""
    informal = settings.informal.share if settings.informal else 0.0
    rival = settings.rival.share if settings.rival else 0.0
    return {"any": 1.0, "no_framework": max(1.0 - informal - rival, 0.0), "rival": rival}[kind]


def chance_of_too_few(settings: WorldSettings, kind: Kind, pilots: int, comparisons: int) -> float:
    """Chance that fewer authorities of a kind are left beside the pilots than comparisons are wanted.

    Examples
    --------
    >>> from design_sim.world.settings import WorldSettings
    >>> stated = WorldSettings.model_validate({"authorities": 12, "rival": {"share": 0.5}})
    >>> round(chance_of_too_few(stated, "rival", pilots=2, comparisons=2), 5) == round(11 / 2**10, 5)
    True
    """
    share = share_of_kind(settings, kind)
    if share == 1:
        return 0.0
    return float(special.bdtr(comparisons - 1, settings.authorities - pilots, share))


def places_of(world: World, outcome: str, names: Sequence[str]) -> Floats:
    """Authorities in a space whose Euclidean distance is Mahalanobis': (replicate, authority, dimension).

    Parameters
    ----------
    outcome : str
        The design's outcome, for its baseline.
    names : sequence of str
        Keys of `balance.KNOWN`. What does not differ between authorities, or is a combination of the others,
        adds no distance.
    """
    shape = (world.n_replicates, world.n_authorities)
    known = np.stack(
        [standardised(np.broadcast_to(known_of(world, outcome, name), shape)) for name in names], axis=2
    )
    covariance = np.swapaxes(known, 1, 2) @ known / world.n_authorities
    values, vectors = np.linalg.eigh(covariance)
    differs = values > 1e-9
    places: Floats = known @ (vectors * (differs / np.sqrt(np.where(differs, values, 1.0)))[:, np.newaxis])
    return places


def nearest(places: Floats, pilots: Ints, wanted: Bools, lot: Floats, n: int) -> Ints:
    """The n authorities that the pilots take in turn, (replicate, n).

    Parameters
    ----------
    places : float array, (replicate, authority, dimension)
        Where authorities stand.
    pilots : int array, (replicate, pilot)
        They are never taken.
    wanted : bool array, (replicate or 1, authority or 1)
        The authorities to be taken before all others.
    lot : float array, (replicate, authority)
        From 0 to 1, for ties.
    """
    away = np.where(wanted, 0.0, OTHER_KIND) + 1e-9 * lot
    np.put_along_axis(away, pilots, np.inf, axis=1)
    taken = np.empty((places.shape[0], n), dtype=np.int64)
    for turn in range(n):
        pilot = pilots[:, turn % pilots.shape[1], np.newaxis, np.newaxis]
        apart = places - np.take_along_axis(places, pilot, axis=1)
        distance = np.sqrt((apart**2).sum(axis=2)) + away
        taken[:, turn] = distance.argmin(axis=1)
        np.put_along_axis(away, taken[:, turn : turn + 1], np.inf, axis=1)
    return taken
