"""One root seed turned into independent, named random streams.

Each drawn array has a component of its own, so that a draw added to one moves no other, and studies,
null twins and cases of a sweep share the same world (common random numbers). What belongs to one
outcome is further keyed by the outcome's name, so that an outcome added to a file moves no other.

SFC64 seeded by a NumPy `SeedSequence` whose spawn key is (component, block, name): the key scheme of
NumPy's own parallel generation guide.
"""

from dataclasses import dataclass
from zlib import crc32

from numpy.random import SFC64, Generator, SeedSequence

COMPONENTS = {
    "quality": 1,
    "deprivation": 2,
    "readiness": 3,
    "informal": 4,
    "adoption": 5,
    "reputation": 6,
    "rating": 7,
    "competence": 8,
    "worker_fidelity": 9,
    "authority_effect": 10,
    "team_effect": 11,
    "worker_effect": 12,
    "record": 13,
    "record_noise": 14,
    "families": 15,
    "family_spread": 16,
    "delivery": 17,
    "allocation": 18,
    "enrolment": 19,
    "analysis": 20,
    "uptake": 21,
    "uptake_spread": 22,
    "team_fidelity": 40,
    "component_fidelity": 41,
    "turnover": 42,
    "rival": 43,
    "effect": 44,
    "inspection_turn": 45,
    "inspection": 46,
    "leaving": 47,
    "loss": 48,
    "measurement_error": 49,
    "missing_years": 50,
    "slope": 51,
    "shock": 52,
    "balance": 54,
    "competence_error": 55,
    "thinning": 60,
    "single_units": 61,
    "children": 70,
    "siblings": 71,
    "covariate_authority": 72,
    "covariate_team": 73,
    "covariate_worker": 74,
    "covariate_family": 75,
    "audit_team": 80,
    "audit_worker": 81,
    "audit_component": 82,
    "audit_turnover": 83,
    "audit_rater": 84,
    "audit_inflation": 85,
    "loss_by_outcome": 86,
    "replacement": 87,
    "subgroup": 90,
    "subgroup_record": 91,
    "dealing": 110,
    "takers": 111,
    "resampling": 120,
    "family_kept": 130,
    "cohort_seen": 131,
}
"""The number of each component; a number is never given to another component."""


@dataclass(frozen=True, slots=True)
class Streams:
    """The random streams of one block of replicates.

    Parameters
    ----------
    seed : int
        Root seed of the run, 0 or above.
    block : int
        Number of the block, 0 or above.
    """

    seed: int
    block: int

    def rng(self, component: str, name: str = "") -> Generator:
        """The generator of one component, from its beginning at every call.

        Parameters
        ----------
        component : str
            A key of `COMPONENTS`.
        name : str
            The outcome that the drawn array belongs to; empty where it belongs to none.
        """
        if component not in COMPONENTS:
            raise ValueError(f"{component!r} has no stream; give it a number of its own in COMPONENTS")
        key = (COMPONENTS[component], self.block, crc32(name.encode()))
        return Generator(SFC64(SeedSequence(self.seed, spawn_key=key)))
