"""Partially nested mixed model: treated families share a cluster, comparison families stand on their own.

The analysis to choose where treatment comes in groups or by trained workers, and the comparison arm has
nothing of the kind: usual care by whoever it is. A random intercept for both arms would count every
comparison family as a cluster, and none would leave out what treated families have in common. Unadjusted and
with clusters of one size it equals Welch's test of cluster means against single families unless the variance
between clusters is estimated as 0; otherwise its average is between that of clusters and of families. It is
biased where who is treated is not random, and where those who are chose, or were chosen for, their cluster.
A comparison arm whose families share workers too makes it reject too often: it counts them as independent.

Decision: residual variances differ between arms by default. Treatment that works on some more than on others
changes the variance, and numbers in the arms are seldom equal, so that one variance for both misjudges the
standard error whatever the number of clusters; where variances are equal little is lost.

Decision: where the variance between clusters is estimated as 0, Satterthwaite's df are lmerTest's, which are
those of the model without clusters, and the test is Welch's of families. With eight treated clusters the
size is between 4 and 5.5 %, least where clusters are alike, as their variance cannot be estimated below 0;
with two that differ much it is 9 %. Kenward and Roger's df go on counting clusters, and keep it below 6 %.

Source: Roberts and Roberts (2005), Clinical Trials 2, 152-162; Baldwin, Bauer, Stice and Rohde (2011),
Psychological Methods 16, 149-165; Candlish, Teare, Dimairo, Flight, Mandefield and Walters (2018), BMC
Medical Research Methodology 18, 105; Kuznetsova, Brockhoff and Christensen (2017), Journal of Statistical
Software 82(13); Kenward and Roger (1997), Biometrics 53, 983-997.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field

from design_sim.arrays import Bools, Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Needs, Status, no_results, t_estimates
from design_sim.estimators.family_moments import Families
from design_sim.estimators.mixed_statuses import statuses_of
from design_sim.numerics.mixed.effect_test import SmallSample
from design_sim.numerics.mixed.intercept_model import ClusterMoments
from design_sim.numerics.mixed.nested_model import MixedFits
from design_sim.numerics.mixed.partial_nesting import fit_partially_nested
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.stated import Stated


class PartiallyNestedModel(Stated):
    """Effect of assigned treatment where treated families are clustered and comparison families are not."""

    estimator: Literal["partially_nested_model"] = "partially_nested_model"
    residuals: Literal["by_arm", "common"] = "by_arm"
    """Whether either arm has a residual variance of its own, or both have the same."""
    df: Literal["satterthwaite", "kenward_roger", "normal"] = "satterthwaite"
    """Degrees of freedom of the test and interval. `kenward_roger` adjusts the standard error too;
    `normal` is what much software reports, and rejects too often where treated clusters are few."""
    covariates: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Covariates of the panel to adjust for, by name."""

    needs: ClassVar[Needs] = "cells"
    needs_before: ClassVar[bool] = False
    by_allocation: ClassVar[bool] = False
    staggered: ClassVar[bool] = False
    within: ClassVar[bool] = True
    needs_larger_clusters: ClassVar[bool] = True

    @property
    def convention(self) -> str:
        """What it does, in words."""
        residuals = {
            "by_arm": "a residual variance for either arm",
            "common": "one residual variance for both arms",
        }[self.residuals]
        test = {
            "satterthwaite": "t with Satterthwaite df",
            "kenward_roger": "Kenward-Roger standard error and df",
            "normal": "normal test",
        }[self.df]
        return (
            f"linear mixed model by REML, random intercept of clusters in the treated arm only, {residuals}; "
            f"{test}"
        )

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """What each covariate adds for each of its units, (replicate,) by name."""
        families = Families.after_start(panel, self.covariates)
        return {name: self._fit(families, at).estimate for at, name in enumerate(self.covariates, start=1)}

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing.

        Returns
        -------
        Estimates
            `BOUNDARY` where the variance between clusters is estimated as 0. `TOO_FEW_CLUSTERS` where an arm
            is empty, fewer than two clusters are treated, or a variance has nothing to be estimated from,
            such as that within treated clusters of one family each where arms have a residual variance of
            their own. `SINGULAR` where a regressor is a combination of the others, `NO_VARIATION` where
            families of an arm do not differ within its clusters (of both arms, with one residual variance),
            `NOT_CONVERGED` where the search failed or a variance ratio has no bound.

        Raises
        ------
        ValueError
            If treatment changes after the start.
        """
        families = Families.after_start(panel, self.covariates)
        if not families.both_arms.any():
            return no_results(panel.n_replicates, Status.TOO_FEW_CLUSTERS)
        fits = self._fit(families, len(self.covariates) + 1)
        status = statuses_of(fits.verdict)
        status = np.where(families.both_arms, status, Status.TOO_FEW_CLUSTERS)
        df = np.full(1, np.inf) if self.df == "normal" else fits.df
        return t_estimates(fits.estimate, fits.std_error, df, panel.alpha, status)

    def _fit(self, families: Families, effect: int) -> MixedFits:
        """The fits, asking about the regressor at a place: 0 is the intercept, treatment the last."""
        small_sample: SmallSample = "satterthwaite" if self.df == "normal" else self.df
        treated, comparison = moments_of_arms(families)
        return fit_partially_nested(
            treated, comparison, effect, small_sample, by_arm=self.residuals == "by_arm"
        )


def moments_of_arms(families: Families) -> tuple[ClusterMoments, ClusterMoments]:
    """Treated families by cluster, and those of the comparison arm as one cluster."""
    treated = families.regressors[-1] == 1
    one = np.zeros(families.roster.n_rows, dtype=np.int64)
    together = replace(families, roster=Roster(one, one, one))
    return _arm(families, treated).moments("authority"), _arm(together, ~treated).moments("authority")


def _arm(families: Families, rows: Bools) -> Families:
    """The same with nobody in the other rows, (replicate or 1, row, 1)."""
    cells = families.cells
    n = np.where(rows, cells.n, 0.0)
    ss = None if cells.ss is None else np.where(n > 0, cells.ss, 0.0)
    return replace(families, cells=Cells(n, cells.mean, ss))
