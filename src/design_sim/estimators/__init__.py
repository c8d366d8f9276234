"""The answers: from a panel to estimates, a file for each.

To add one, copy the nearest neighbour and give it a line in `ESTIMATORS`.
"""

from design_sim.estimators.base import Estimates, Estimator, Status
from design_sim.estimators.cluster_means import ClusterMeans

ESTIMATORS: dict[str, type] = {
    "cluster_means": ClusterMeans,
}

__all__ = ["ESTIMATORS", "Estimates", "Estimator", "Status"]
