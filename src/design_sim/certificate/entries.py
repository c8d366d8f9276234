"""What is certified: every answer in each of its settings that matters, and the trials that it is put to.

A plain table. A test holds it against the registry of estimators: a new one, or a new choice of a setting,
has to have a line here, or a reason in `EXCUSED` or `NO_MATTER`.

Decision: outcomes are on record, one row for each authority, since numbers of families then differ between
authorities as children do. A median authority has 20 families: few enough for an ICC of .01 to leave most
of the scatter to families, which is where estimated variances between authorities end at 0.

Decision: effects differ between authorities with a standard deviation of a tenth of that of the outcome,
half the stated effect, so that the average null twin is not the sharp one over again. Fidelity and uptake
are whole and immediate, as nothing of them reaches a null twin but that spread; except where an estimator
reads them (`Condition`), and then they are as they could be in life.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from design_sim.estimators import ESTIMATORS, Estimator
from design_sim.estimators.clustered_regression import ClusteredRegression
from design_sim.estimators.two_way_fixed_effects import TwoWayFixedEffects
from design_sim.estimators.wild_bootstrap import WildBootstrap
from design_sim.numerics.cluster_variance import default_df

Setting = bool | int | float | str | tuple[str, ...]
OutcomeName = Literal["score", "yes_or_no", "events"]
Condition = Literal["ordinary", "partial_uptake", "scored", "drifting"]
CONDITIONS: dict[Condition, str] = {
    "ordinary": "",
    "partial_uptake": "60 % take part",
    "scored": "fidelity differs and is scored",
    "drifting": "authorities drift apart",
}
"""What a world has beside what all have, in words."""
BASELINE = ("baseline",)
AS_IT_STANDS = "as it stands"
"""The settings of an estimator of which none is stated."""
ORDINARY = 10_000
"""Replicates unless an entry has fewer: a size of 5 % is known to within .4 percentage points."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """An answer that is certified.

    Parameters
    ----------
    estimator : str
        Name in the registry.
    settings : mapping
        Those of its settings that are not the default.
    outcome : {"score", "yes_or_no", "events"}
        What it is tried on.
    replicates : int
        The most that it is run for.
    largest : int
        Situations of more authorities are left out, as it would take too long there.
    condition : {"ordinary", "partial_uptake", "scored", "drifting"}
        What it needs of a world to have anything to read.
    """

    estimator: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    outcome: OutcomeName = "score"
    replicates: int = ORDINARY
    largest: int = 1_000
    condition: Condition = "ordinary"

    @property
    def model(self) -> Estimator:
        """The estimator in these settings."""
        made: Estimator = ESTIMATORS[self.estimator](**self.settings)
        return made

    @property
    def words(self) -> str:
        """Its settings in words; see `settings_words`."""
        return settings_words(self.model)


@dataclass(frozen=True, slots=True)
class Situation:
    """A study whose clusters are as few, or as unevenly treated, as in life.

    Parameters
    ----------
    name : str
        In tables.
    words : str
        In sentences, after "with".
    design : str
        The design's settings as TOML.
    treated, comparison : int
        Authorities; in a wedge all are treated in the end.
    staggered : bool
        Whether they start at different occasions.
    """

    name: str
    words: str
    design: str
    treated: int
    comparison: int
    staggered: bool = False


def _trial(name: str, treated: int, comparison: int) -> Situation:
    design = (
        f'kind = "cluster_rct"\nauthorities = {treated + comparison}\ntreated = {treated}\nbaseline_years = 1'
    )
    words = f"{treated} treated and {comparison} comparison authorities"
    return Situation(name, words, design, treated, comparison)


SITUATIONS = (
    _trial("2 v 2", 2, 2),
    _trial("3 v 3", 3, 3),
    Situation(
        "five-step wedge",
        "a wedge of five steps and one authority a step",
        'kind = "stepped_wedge"\nauthorities = 5\nsteps = 5',
        5,
        0,
        staggered=True,
    ),
    _trial("10 of 151", 10, 141),
    _trial("76 of 151", 76, 75),
)
SIZES = {"equal": 0.0, "unequal": 0.61}
"""Standard deviation of the logarithm of authorities' numbers of children, by what is said of it."""
ICCS = (0.01, 0.10)

_MANY, _FEW, _SLOW, _SLOWEST = 5_000, 2_000, 1_000, 128

_OF_EVENTS: tuple[Mapping[str, Setting], ...] = (
    {},
    {"df": "normal"},
    {"report": "link"},
    {"covariates": BASELINE},
    {"period_effects": True},
    {"period_effects": True, "df": "normal"},
)
"""Settings of models of events."""
_OF_UPTAKE: tuple[Mapping[str, Setting], ...] = (
    {},
    {"variance": "CR0"},
    {"variance": "CR1"},
    {"variance": "CR1S"},
    {"df": "normal"},
    {"df": "clusters"},
    {"variance": "CR1", "df": "satterthwaite"},
    {"covariates": BASELINE},
)
"""Settings of two-stage least squares."""
_CORRECTED: tuple[Mapping[str, Setting], ...] = (
    {},
    {"correction": "regression_calibration", "reliability": 0.8},
    {"correction": "errors_in_variables", "error_sd": 0.06},
)
"""Corrections for the error of a score."""

ENTRIES = (
    Entry("cluster_means"),
    Entry("cluster_means", {"change": True}),
    Entry("cluster_means", {"weights": "family"}),
    Entry("cluster_means", {"covariates": BASELINE}),
    *(
        Entry("clustered_regression", {"variance": variance})
        for variance in ("naive", "CR0", "CR1", "CR1S", "CR2", "CR3")
    ),
    *(Entry("clustered_regression", {"variance": v, "df": "normal"}) for v in ("CR0", "CR1S", "CR2")),
    *(Entry("clustered_regression", {"variance": v, "df": "clusters"}) for v in ("CR2", "CR3")),
    Entry("clustered_regression", {"variance": "CR1", "df": "satterthwaite"}),
    Entry("clustered_regression", {"weights": "authority"}),
    Entry("clustered_regression", {"covariates": BASELINE}),
    Entry("clustered_regression", {"variance": "CR1S", "covariates": BASELINE}),
    Entry("mixed_model"),
    Entry("mixed_model", {"df": "normal"}),
    Entry("mixed_model", {"df": "kenward_roger"}),
    Entry("mixed_model", {"covariates": BASELINE}),
    Entry("mixed_model", {"period_effects": True}, replicates=_MANY),
    Entry("mixed_model", {"period_effects": True, "df": "normal"}, replicates=_MANY),
    Entry("mixed_model", {"period_effects": True, "df": "kenward_roger"}, replicates=_MANY),
    Entry(
        "mixed_model",
        {"period_effects": True, "authority_by_occasion": True, "df": "kenward_roger"},
        replicates=_FEW,
    ),
    *(
        Entry(
            "mixed_model", {"period_effects": True, "effect": effect, "df": "kenward_roger"}, replicates=_FEW
        )
        for effect in ("by_exposure_time", "longest_exposure")
    ),
    Entry(
        "mixed_model",
        {
            "period_effects": True,
            "effect": "by_exposure_time",
            "authority_by_occasion": True,
            "df": "kenward_roger",
        },
        replicates=_FEW,
    ),
    *(
        Entry(
            "mixed_model",
            {"period_effects": True, "random_slopes": slopes, "df": df},
            replicates=_SLOW,
            condition="drifting",
        )
        for slopes in ("uncorrelated", "correlated")
        for df in ("satterthwaite", "kenward_roger")
    ),
    *(Entry("logistic_mixed_model", settings, "yes_or_no", _FEW) for settings in _OF_EVENTS),
    *(Entry("poisson_mixed_model", settings, "events", _FEW) for settings in _OF_EVENTS),
    *(
        Entry("gee", {"variance": variance}, replicates=_MANY)
        for variance in ("robust", "kauermann_carroll", "mancl_derouen", "fay_graubard")
    ),
    Entry("gee", {"variance": "robust", "df": "normal"}, replicates=_MANY),
    Entry("gee", {"df": "normal"}, replicates=_MANY),
    Entry("gee", {"working": "independence"}, replicates=_MANY),
    Entry("gee", {"moments": "plain"}, replicates=_MANY),
    Entry("gee", {"period_effects": False}, replicates=_MANY),
    Entry("gee", {"covariates": BASELINE}, replicates=_MANY),
    Entry("gee", {"family": "binomial"}, "yes_or_no", _FEW),
    Entry("gee", {"family": "binomial", "report": "link"}, "yes_or_no", _FEW),
    Entry("gee", {"family": "poisson"}, "events", _FEW),
    Entry("likelihood_ratio", replicates=_FEW),
    *(Entry("instrumental_variables", settings, condition="partial_uptake") for settings in _OF_UPTAKE),
    *(
        Entry("fidelity_regression", {"among": among, **corrected}, condition="scored")
        for among in ("all", "treated")
        for corrected in _CORRECTED
    ),
    *(
        Entry("two_way_fixed_effects", {"variance": variance})
        for variance in ("naive", "CR0", "CR1", "CR1S", "CR2")
    ),
    Entry("two_way_fixed_effects", {"variance": "CR0", "df": "normal"}),
    Entry("two_way_fixed_effects", {"variance": "CR2", "df": "clusters"}),
    Entry("two_way_fixed_effects", {"variance": "CR1", "df": "satterthwaite"}),
    Entry("two_way_fixed_effects", {"weights": "family"}, replicates=_MANY),
    Entry("two_way_fixed_effects", {"weights": "family", "variance": "CR1S"}, replicates=_MANY),
    Entry("wild_bootstrap", {"interval": False}, replicates=_FEW),
    Entry("wild_bootstrap", {"interval": False, "null_imposed": False}, replicates=_FEW),
    Entry("wild_bootstrap", {"interval": False, "weights": "webb"}, replicates=_FEW),
    Entry("wild_bootstrap", {"interval": False, "weights": "mammen"}, replicates=_FEW),
    Entry("wild_bootstrap", {"interval": False, "count": "authority"}, replicates=_FEW),
    Entry("wild_bootstrap", {"interval": False, "model": "two_way_fixed_effects"}, replicates=_FEW),
    Entry(
        "wild_bootstrap",
        {"interval": False, "model": "two_way_fixed_effects", "count": "family"},
        replicates=_FEW,
    ),
    Entry("permutation"),
    Entry("permutation", {"change": True}),
    Entry("statsmodels_ols", replicates=_SLOW, largest=10),
    Entry("statsmodels_ols", {"variance": "naive"}, replicates=_SLOW, largest=10),
    Entry("statsmodels_mixed_model", replicates=_SLOWEST, largest=10),
)

EXCUSED: dict[str, str] = {
    "partially_nested_model": "it is for treatment clustered in one arm only, and these trials are of whole "
    "authorities, each a cluster in either arm",
}
"""Estimators that no situation suits, each with the reason, which the certificate gives."""

NO_MATTER = {
    "wild_bootstrap": {
        "interval": "the interval is not part of the test",
        "draws": "fewer draws cost power, hardly any size",
    },
    "clustered_regression": {"change": "the trials are on record, and follow no families"},
    "mixed_model": {
        "levels": "the trials are on record, and know of no teams, workers and families",
        "change": "the trials are on record, and follow no families",
    },
    "logistic_mixed_model": {"quadrature_points": "more than a few points move no digit that counts"},
    "poisson_mixed_model": {"quadrature_points": "more than a few points move no digit that counts"},
    "fidelity_regression": {
        "reliability": "it divides slope and standard error alike, and leaves t as it is"
    },
    "permutation": {"draws": "a p-value that counts its own study is valid with any number"},
}
"""Settings that the size does not depend on, by estimator, each with the reason; they are not looked at."""


def settings_words(estimator: Estimator) -> str:
    """The settings of an estimator that a size depends on and that are not the default, in words.

    Covariates are not named: "with covariates". The same words mean the same entry of the certificate.
    """
    given = estimator.model_dump(exclude_defaults=True)  # type: ignore[attr-defined]
    left_out = {"estimator", "covariates", *NO_MATTER.get(estimator.estimator, ())}
    if isinstance(estimator, ClusteredRegression | TwoWayFixedEffects) and estimator.variance != "naive":
        left_out |= {"df"} if estimator.df == default_df(estimator.variance) else set()
    if isinstance(estimator, WildBootstrap):
        usual = "family" if estimator.model == "clustered_regression" else "authority"
        left_out |= {"count"} if estimator.count == usual else set()
    said = [f"{key} = {_said(value)}" for key, value in given.items() if key not in left_out]
    said += ["with covariates"] if estimator.covariates else []
    return ", ".join(said)


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
