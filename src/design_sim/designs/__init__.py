"""The designs: who is treated, when, and how that came about, a file for each.

To add one, copy the nearest neighbour and give it a line in `DESIGNS`.
"""

from design_sim.designs.base import Design
from design_sim.designs.cluster_rct import ClusterRCT
from design_sim.designs.contrast import Contrast
from design_sim.designs.difference_in_differences import DifferenceInDifferences
from design_sim.designs.family_rct import FamilyRCT
from design_sim.designs.stepped_wedge import SteppedWedge

DESIGNS: dict[str, type] = {
    "cluster_rct": ClusterRCT,
    "family_rct": FamilyRCT,
    "stepped_wedge": SteppedWedge,
    "contrast": Contrast,
    "difference_in_differences": DifferenceInDifferences,
}

__all__ = ["DESIGNS", "Design"]
