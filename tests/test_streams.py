"""Streams: independent by component, block and name, and the same at every call."""

import numpy as np
import pytest

from design_sim.streams import COMPONENTS, Streams


def test_a_stream_starts_from_its_beginning_at_every_call() -> None:
    """What is drawn must not depend on who drew before."""
    streams = Streams(1, 0)
    assert np.array_equal(streams.rng("quality").random(5), streams.rng("quality").random(5))


@pytest.mark.parametrize(
    "other",
    [Streams(2, 0).rng("quality"), Streams(1, 1).rng("quality"), Streams(1, 0).rng("record")],
    ids=["seed", "block", "component"],
)
def test_streams_of_other_keys_differ(other: np.random.Generator) -> None:
    """Seed, block and component each give numbers of their own."""
    assert not np.array_equal(Streams(1, 0).rng("quality").random(5), other.random(5))


def test_outcomes_have_streams_of_their_own() -> None:
    """An outcome added to a file must not move another's numbers."""
    streams = Streams(1, 0)
    first, second = streams.rng("record", "a").random(2_000), streams.rng("record", "b").random(2_000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(2_000)


def test_no_two_components_share_a_number() -> None:
    """A shared number would make two arrays one."""
    assert len(set(COMPONENTS.values())) == len(COMPONENTS)
