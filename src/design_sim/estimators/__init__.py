"""The answers: from a panel to estimates, a file for each.

To add one, copy the nearest neighbour and give it a line in `ESTIMATORS`.
"""

from design_sim.estimators.base import Estimates, Estimator, Status
from design_sim.estimators.cluster_means import ClusterMeans
from design_sim.estimators.clustered_regression import ClusteredRegression
from design_sim.estimators.fidelity_regression import FidelityRegression
from design_sim.estimators.gee import Gee
from design_sim.estimators.instrumental_variables import InstrumentalVariables
from design_sim.estimators.likelihood_ratio import LikelihoodRatio
from design_sim.estimators.logistic_mixed_model import LogisticMixedModel
from design_sim.estimators.mixed_model import MixedModel
from design_sim.estimators.partially_nested_model import PartiallyNestedModel
from design_sim.estimators.permutation import Permutation
from design_sim.estimators.poisson_mixed_model import PoissonMixedModel
from design_sim.estimators.statsmodels_reference import StatsmodelsMixedLM, StatsmodelsOLS
from design_sim.estimators.two_way_fixed_effects import TwoWayFixedEffects
from design_sim.estimators.wild_bootstrap import WildBootstrap

ESTIMATORS: dict[str, type] = {
    "cluster_means": ClusterMeans,
    "clustered_regression": ClusteredRegression,
    "mixed_model": MixedModel,
    "partially_nested_model": PartiallyNestedModel,
    "gee": Gee,
    "likelihood_ratio": LikelihoodRatio,
    "logistic_mixed_model": LogisticMixedModel,
    "poisson_mixed_model": PoissonMixedModel,
    "instrumental_variables": InstrumentalVariables,
    "fidelity_regression": FidelityRegression,
    "two_way_fixed_effects": TwoWayFixedEffects,
    "wild_bootstrap": WildBootstrap,
    "permutation": Permutation,
    "statsmodels_ols": StatsmodelsOLS,
    "statsmodels_mixed_model": StatsmodelsMixedLM,
}

__all__ = ["ESTIMATORS", "Estimates", "Estimator", "Status"]
