"""Closed forms: power, MDES, design effects and exact test sizes; the yardstick for simulations.

Nothing here draws a number. Each function states its formula and source, and holds under normal
outcomes with the stated variances unless it says otherwise.
"""

from design_sim.theory.clusters import (
    authority_mean_power,
    cluster_robust_rejection,
    cr2_degrees_of_freedom,
    design_effect,
    naive_t_size,
    permutation_size,
    smallest_permutation_p,
    variance_of_arm_mean,
    variance_of_authority_mean,
)
from design_sim.theory.dilution import attenuated_slope, intention_to_treat_effect, sample_inflation
from design_sim.theory.panels import (
    conventional_did_variance,
    did_trend_bias,
    did_variance,
    regression_to_the_mean,
    serial_covariance,
    variance_of_change,
)
from design_sim.theory.power import (
    mdes,
    risk_difference_std_error,
    size_with_misstated_variance,
    t_test_power,
    two_proportion_power,
)

__all__ = [
    "attenuated_slope",
    "authority_mean_power",
    "cluster_robust_rejection",
    "conventional_did_variance",
    "cr2_degrees_of_freedom",
    "design_effect",
    "did_trend_bias",
    "did_variance",
    "intention_to_treat_effect",
    "mdes",
    "naive_t_size",
    "permutation_size",
    "regression_to_the_mean",
    "risk_difference_std_error",
    "sample_inflation",
    "serial_covariance",
    "size_with_misstated_variance",
    "smallest_permutation_p",
    "t_test_power",
    "two_proportion_power",
    "variance_of_arm_mean",
    "variance_of_authority_mean",
    "variance_of_change",
]
