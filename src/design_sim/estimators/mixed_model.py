"""Mixed model: families within workers, teams and authorities, random intercepts of those, by REML.

The analysis to choose where authorities differ in their numbers of families or families in covariates: it
weighs authorities by what they tell, and with equal numbers and no covariates equals the t test on cluster
means unless the variance between authorities is estimated as 0. It targets an average between the average
authority and the average family. It is biased where who is treated is not random; with few authorities its
normal test rejects far too often, its Satterthwaite test roughly as often as it should, and that of Kenward
and Roger too seldom rather than too often.

Families that are followed have a random intercept of their own by the level `family`. With `period_effects`
that is the constrained baseline analysis (cLDA): outcomes before the start are outcomes, of which both arms
have the same mean, and treatment counts from the start on; a family that was lost still tells of its
baseline. Families of an authority are then taken as equally alike over all occasions: where authorities
themselves change, the test of the effect rejects too often without `authority_by_occasion` too. The covariate
`own_baseline`, which is the analysis of covariance, and `change` keep their size there.

Decision: where a variance is estimated as 0, Satterthwaite's df are lmerTest's, which are those of the model
without that random intercept; so a trial whose authorities seem alike is tested with the df of its workers,
or of its families. Kenward and Roger's, as in pbkrtest, go on counting authorities.

Source: Kuznetsova, Brockhoff and Christensen (2017), lmerTest, Journal of Statistical Software 82(13);
Halekoh and Hojsgaard (2014), pbkrtest, Journal of Statistical Software 59(9); Li and Redden (2015),
Statistics in Medicine 34, 3531-3545 (degrees of freedom where clusters are few); Liang and Zeger (2000),
Sankhya B 62, 134-148, and Hooper, Forbes, Hemming, Takeda and Beresford (2018), British Medical Journal 360,
k1121 (the constrained baseline analysis, in trials of clusters too).
"""

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from design_sim.arrays import Floats, Ints
from design_sim.estimators.base import Estimates, Needs, Status, no_results, t_estimates
from design_sim.estimators.exposure_time import Effect
from design_sim.estimators.family_change import family_changes
from design_sim.estimators.family_moments import Families, Unit, members_of
from design_sim.estimators.mixed_statuses import statuses_of
from design_sim.numerics.mixed.crossed_occasions import fit_crossed_occasions
from design_sim.numerics.mixed.effect_test import SmallSample
from design_sim.numerics.mixed.intercept_model import InterceptFits
from design_sim.numerics.mixed.nested_model import MixedFits
from design_sim.numerics.mixed.random_intercept import fit_random_intercept
from design_sim.numerics.mixed.random_slopes import fit_random_slopes
from design_sim.numerics.mixed.several_intercepts import fit_nested_intercepts
from design_sim.panel import Panel
from design_sim.roster import Roster
from design_sim.stated import Stated

_NESTING: tuple[Unit, ...] = ("authority", "team", "worker", "family")


class MixedModel(Stated):
    """Effect of assigned treatment in a model with random effects of authorities, and of what is in them."""

    estimator: Literal["mixed_model"] = "mixed_model"
    df: Literal["satterthwaite", "kenward_roger", "normal"] = "satterthwaite"
    """Degrees of freedom of the test and interval. `kenward_roger` adjusts the standard error too;
    `normal` is what much software reports, and rejects too often where authorities are few."""
    levels: Annotated[tuple[Unit, ...], Field(strict=False)] = ("authority",)
    """A list of the levels whose units have random intercepts, the authority first, and downwards. `family`
    is for families that are followed (`sample.cohort`); with `period_effects` that is the constrained
    baseline analysis."""
    period_effects: bool = False
    """Whether every occasion has a fixed effect. All occasions are then read, also those before the start,
    and a family counts as treated from its start on, which need not be the same for all."""
    effect: Effect = "immediate"
    """The effect asked about: one from the start on, `immediate`; or of effects that may differ with every
    occasion since the start their plain average, `by_exposure_time`, or the last, `longest_exposure`."""
    authority_by_occasion: bool = False
    """Whether every authority has a random effect at every occasion too (nested exchangeable), so that
    families of the same occasion are more alike; units of lower levels are then crossed with occasions."""
    random_slopes: Literal["uncorrelated", "correlated"] | None = None
    """Whether every authority has a random slope over time too, uncorrelated with its level at the first
    occasion observed, or correlated with its level."""
    change: bool = False
    """Analyse the changes of families that are followed (`sample.cohort`) from before the start to after it,
    in place of levels after it; families that were not observed on both sides do not count."""
    covariates: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Covariates of the panel to adjust for, by name."""

    by_allocation: ClassVar[bool] = False
    within: ClassVar[bool] = True

    @property
    def needs_before(self) -> bool:
        """Whether it reads occasions before the start."""
        return self.period_effects or self.change

    @property
    def needs(self) -> Needs:
        """What of a cell it reads: every family singly where families are told apart."""
        return "families" if self.change or "family" in self.levels else "cells"

    @property
    def staggered(self) -> bool:
        """Whether it takes a study whose units start at different occasions."""
        return self.period_effects

    @model_validator(mode="after")
    def _nested(self) -> Self:
        places = [_NESTING.index(level) for level in self.levels]
        if not places or places[0] != 0 or sorted(set(places)) != places:
            allowed = "authority, and below it any of team, worker, family in this order"
            raise ValueError(f"levels: found {', '.join(self.levels) or 'none'}; allowed: {allowed}")
        return self

    @model_validator(mode="after")
    def _has_one_change_of_a_family(self) -> Self:
        if self.change and self.period_effects:
            raise ValueError("change leaves no occasions that period_effects could tell apart")
        if self.change and "family" in self.levels:
            raise ValueError("change leaves one number for every family, and levels cannot hold family")
        return self

    @model_validator(mode="after")
    def _tells_occasions_apart(self) -> Self:
        effects = {"authority_by_occasion": self.authority_by_occasion, "random_slopes": self.random_slopes}
        if self.effect != "immediate" and not self.period_effects:
            raise ValueError(f"effect {self.effect!r} tells occasions apart and needs period_effects = true")
        for name in (name for name, stated in effects.items() if stated):
            if not self.period_effects:
                raise ValueError(f"{name} tells occasions apart and needs period_effects = true")
            if len(self.levels) > 1 and name == "random_slopes":
                raise ValueError(f"{name} is allowed with the level authority alone")
        return self

    @property
    def convention(self) -> str:
        """What it does, in words."""
        levels = " and ".join("cluster" if level == "authority" else level for level in self.levels)
        effects = f"random intercept of {levels}"
        if self.authority_by_occasion:
            effects += " and of the cluster's occasion"
        if self.random_slopes is not None:
            effects += f", {self.random_slopes} random slope of the cluster over time"
        periods = ", fixed effects of occasions" if self.period_effects else ""
        what = " of families' changes from before treatment to after it" if self.change else ""
        periods += {
            "immediate": "",
            "by_exposure_time": ", average of effects by exposure time",
            "longest_exposure": ", effects by exposure time, the longest one's",
        }[self.effect]
        test = {
            "satterthwaite": "t with Satterthwaite df",
            "kenward_roger": "Kenward-Roger standard error and df",
            "normal": "normal test",
        }[self.df]
        return f"linear mixed model{what} by REML, {effects}{periods}; {test}"

    def coefficients(self, panel: Panel) -> dict[str, Floats]:
        """What each covariate adds for each of its units, (replicate,) by name."""
        families = self._families(panel)
        last = len(self.covariates)
        return {
            name: self._fit(families.asking_about(last - place)).estimate
            for place, name in enumerate(self.covariates)
        }

    def estimate(self, panel: Panel, rng: Generator) -> Estimates:
        """Analyse every replicate of a panel; draws nothing.

        Returns
        -------
        Estimates
            `BOUNDARY` where a variance is estimated as 0, or the correlation of levels and slopes as 1 in
            size. `TOO_FEW_CLUSTERS` where an arm is empty, authorities are no more than the regressors that
            are constant in an authority, or the variances
            cannot be told apart, as with one worker in every team. `SINGULAR` where a regressor is a
            combination of the others, as where nobody is without treatment to tell an exposure time from an
            occasion, `NO_VARIATION` where families do not differ at all beyond what the
            model gives them in common, `NOT_CONVERGED` where the search failed or a variance ratio has no
            bound.

        Raises
        ------
        ValueError
            If the rows of the panel do not tell a level's units apart, or treatment changes after the start
            and `period_effects` is not set.
        """
        families = self._families(panel)
        if self.period_effects and families.time.size == 1:
            raise ValueError("period_effects needs several occasions, and the panel has one")
        if not families.both_arms.any():
            return no_results(panel.n_replicates, Status.TOO_FEW_CLUSTERS)
        fits = self._fit(families)
        status = statuses_of(fits.verdict)
        status = np.where(families.both_arms, status, Status.TOO_FEW_CLUSTERS)
        df = np.full(1, np.inf) if self.df == "normal" else fits.df
        return t_estimates(fits.estimate, fits.std_error, df, panel.alpha, status)

    def _families(self, panel: Panel) -> Families:
        """What it reads of a panel."""
        if self.period_effects:
            return Families.by_occasion(panel, self.covariates, self.effect)
        return Families.after_start(family_changes(panel) if self.change else panel, self.covariates)

    def _fit(self, families: Families) -> InterceptFits | MixedFits:
        small_sample: SmallSample = "satterthwaite" if self.df == "normal" else self.df
        roster = families.roster
        if not self.authority_by_occasion and self.random_slopes is None:
            moments = families.moments(self.levels[-1])
            if len(self.levels) == 1:
                return fit_random_intercept(moments, small_sample)
            return fit_nested_intercepts(moments, parents_of(roster, self.levels), small_sample)
        if len(self.levels) > 1:
            return self._fit_crossed(families, small_sample)
        moments = families.moments("authority", by_occasion=True)
        authority = np.repeat(np.arange(roster.n_units("authority")), families.time.size)
        if self.random_slopes is None:
            return fit_nested_intercepts(moments, (authority,), small_sample)
        return fit_random_slopes(
            moments,
            authority,
            np.tile(families.time, roster.n_units("authority")),
            small_sample,
            correlated=self.random_slopes == "correlated",
            by_occasion=self.authority_by_occasion,
        )

    def _fit_crossed(self, families: Families, small_sample: SmallSample) -> MixedFits:
        """The fit where units below the authority are observed at several occasions."""
        lowest, n_occasions = self.levels[-1], families.time.size
        flat = families.moments(lowest).flat()
        moments = families.moments(lowest, by_occasion=True)
        unit = np.repeat(np.arange(moments.n.shape[1] // n_occasions), n_occasions)
        parents = (unit, *parents_of(families.roster, self.levels))
        return fit_crossed_occasions(moments, parents, n_occasions, flat, small_sample)


def parents_of(roster: Roster, levels: tuple[Unit, ...]) -> tuple[Ints, ...]:
    """For every level but the first, from the lowest up: the unit above that each of its units belongs to.

    Raises
    ------
    ValueError
        If a level has no more units than the one above.
    """
    parents = []
    for above, level in zip(levels[-2::-1], levels[:0:-1], strict=True):
        index = members_of(roster, level)
        _, first = np.unique(index, return_index=True)
        over = members_of(roster, above)
        if first.size == over[-1] + 1:
            raise ValueError(
                f"levels: the panel has one {level} in every {above}, and cannot tell the two apart"
            )
        parents.append(over[first])
    return tuple(parents)
