"""What tests of mechanisms share: streams that remember what was asked of them."""

import numpy as np
import pytest

from design_sim.streams import Streams


class ListeningStreams(Streams):
    """Streams that note every component that is asked for."""

    asked: set[str] = set()  # noqa: RUF012

    def rng(self, component: str, name: str = "") -> np.random.Generator:
        """The generator of one component, noted."""
        self.asked.add(component)
        return super().rng(component, name)


@pytest.fixture
def listening() -> ListeningStreams:
    """Streams of seed 1 that have not been asked for anything."""
    ListeningStreams.asked = set()
    return ListeningStreams(1, 0)
