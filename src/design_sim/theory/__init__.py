"""Closed forms: power, MDES, design effects and exact test sizes; the yardstick for simulations.

Nothing here draws a number. Each function states its formula and source, and holds under normal
outcomes with the stated variances unless it says otherwise. What cannot be is refused with a ValueError.

By question: `power` turns an estimate's standard error into power, MDES, assurance and numbers. The standard
error comes from `clusters` and `multilevel` (parallel trials), `repeated` (with a baseline), `one_arm`
(clusters in one arm), `wedge` and `binary_wedge` (stepped wedges), `growth` (slopes), `panels` (differences
in differences), `interrupted` and `discontinuity`; `dilution`, `pretrends` and `logistic_normal` say what an
estimate is then of.
"""

from design_sim.theory.binary_wedge import BinaryWedge, binary_wedge_effect
from design_sim.theory.clusters import (
    authority_mean_power,
    cluster_robust_rejection,
    cr2_degrees_of_freedom,
    design_effect,
    naive_t_size,
    permutation_size,
    smallest_permutation_p,
    unequal_size_efficiency,
    variance_of_arm_mean,
    variance_of_authority_mean,
)
from design_sim.theory.dilution import attenuated_slope, intention_to_treat_effect, sample_inflation
from design_sim.theory.discontinuity import assignment_correlation, discontinuity_design_effect
from design_sim.theory.growth import (
    GrowthArm,
    GrowthModel,
    between_degrees_of_freedom,
    followed_families,
    satterthwaite_degrees_of_freedom,
    slope_difference_variance,
    weibull_retention,
)
from design_sim.theory.interrupted import InterruptedVariances, interrupted_variances
from design_sim.theory.logistic_normal import (
    MarginalRisks,
    approximate_marginal_log_odds_ratio,
    latent_icc,
    log_odds_ratio_variance,
    marginal_risk,
    marginal_risks,
)
from design_sim.theory.multilevel import nested_trial_df, nested_trial_variance
from design_sim.theory.one_arm import one_arm_clustered_variance, welch_degrees_of_freedom
from design_sim.theory.panels import (
    conventional_did_variance,
    did_trend_bias,
    did_variance,
    regression_to_the_mean,
    serial_covariance,
    variance_of_change,
)
from design_sim.theory.power import (
    assurance,
    mdes,
    mdes_multiplier,
    risk_difference_std_error,
    size_with_misstated_variance,
    t_test_power,
    two_proportion_power,
    units_for_power,
)
from design_sim.theory.pretrends import PassedPretest, pass_pretest, slope_for_pretest_power
from design_sim.theory.repeated import (
    ancova_inflation,
    baseline_design_effect,
    cluster_mean_correlation,
    cohort_variance,
    crossover_variance,
    variance_of_analysed_outcome,
)
from design_sim.theory.wedge import (
    cell_mean_covariance,
    hussey_hughes_variance,
    random_effect_covariance,
    wedge_design,
    wedge_variance,
    woertman_design_effect,
)

__all__ = [
    "BinaryWedge",
    "GrowthArm",
    "GrowthModel",
    "InterruptedVariances",
    "MarginalRisks",
    "PassedPretest",
    "ancova_inflation",
    "approximate_marginal_log_odds_ratio",
    "assignment_correlation",
    "assurance",
    "attenuated_slope",
    "authority_mean_power",
    "baseline_design_effect",
    "between_degrees_of_freedom",
    "binary_wedge_effect",
    "cell_mean_covariance",
    "cluster_mean_correlation",
    "cohort_variance",
    "cluster_robust_rejection",
    "conventional_did_variance",
    "cr2_degrees_of_freedom",
    "crossover_variance",
    "design_effect",
    "did_trend_bias",
    "did_variance",
    "discontinuity_design_effect",
    "followed_families",
    "hussey_hughes_variance",
    "intention_to_treat_effect",
    "interrupted_variances",
    "latent_icc",
    "log_odds_ratio_variance",
    "marginal_risk",
    "marginal_risks",
    "mdes",
    "mdes_multiplier",
    "naive_t_size",
    "nested_trial_df",
    "nested_trial_variance",
    "one_arm_clustered_variance",
    "pass_pretest",
    "permutation_size",
    "random_effect_covariance",
    "regression_to_the_mean",
    "risk_difference_std_error",
    "sample_inflation",
    "satterthwaite_degrees_of_freedom",
    "serial_covariance",
    "size_with_misstated_variance",
    "slope_difference_variance",
    "slope_for_pretest_power",
    "smallest_permutation_p",
    "t_test_power",
    "two_proportion_power",
    "unequal_size_efficiency",
    "units_for_power",
    "variance_of_analysed_outcome",
    "variance_of_arm_mean",
    "variance_of_authority_mean",
    "variance_of_change",
    "wedge_design",
    "wedge_variance",
    "weibull_retention",
    "welch_degrees_of_freedom",
    "woertman_design_effect",
]
