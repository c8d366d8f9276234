"""Every stored number of other software: the tests that hold it, or the reason why none does.

`INVENTORY` is the list, by file and block. `SETS` are what the package keeps in `tests/reference`, and, where
the validation data stand beside the package, the published sets that it does not distribute.

Closed forms have a list of their own, in `tests/theory/test_reference_coverage.py`.
"""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
SETS = (HERE / "reference", HERE.parents[1] / "shared" / "validation")
FOLDERS = ("point", "mc", "exact_size", "identification")
ABOUT = {
    "id", "data", "category", "design", "software", "cluster", "note", "notes", "source", "formula", "n", "k",
    "G", "n.1", "G.1", "estimator", "donors", "predictors", "tolerance", "family", "inputs",
}  # fmt: skip
"""Entries that say what a case is, and hold no result."""
DIVIDED = {"ols", "lmer", "estimatr", "dfadjust", "gee_gaussian", "cluster_means", "collapsed", "cases"}
"""Entries whose parts are blocks of their own."""

TRIALS = "test_reference_trials.py"
PUBLISHED = "test_reference_public.py"
RATES = "test_reference_rates.py"
REGRESSIONS = "numerics/test_reference_regressions.py"
MODELS = "numerics/mixed/test_reference_models.py"
NO_SYNTHETIC_CONTROL = "the program has no synthetic control"
NO_STAGGERED_ESTIMATOR = "of the estimators for staggered starts the program has two-way fixed effects alone"
NO_DISCONTINUITY = "the program plans regression discontinuities and does not estimate them"
NO_SERIES = "the program plans interrupted series and does not estimate them"
NO_PROPENSITY = "the program does not weight or match by an estimated propensity"


class Row(NamedTuple):
    """Blocks of a file, and the modules that hold them or the reason why none does."""

    file: str
    """The folder and the file's stem, with * for any characters."""
    block: str
    held: tuple[str, ...] = ()
    why_not: str = ""
    except_for: str = ""
    """What of the block is not held, and why."""


INVENTORY = [
    # Parallel cluster trials, simulated
    Row("point/crt_*", "ols.*", (TRIALS, "estimators/test_clustered_regression.py")),
    Row("point/crt_*", "estimatr.*", (TRIALS, "estimators/test_clustered_regression.py")),
    Row(
        "point/crt_*",
        "dfadjust.*",
        (TRIALS, "estimators/test_clustered_regression.py"),
        except_for="IK_df, of an estimated covariance, is no rule of the program",
    ),
    Row(
        "point/crt_*",
        "lmer.unadjusted",
        (TRIALS, "numerics/mixed/test_random_intercept.py", MODELS),
    ),
    Row(
        "point/crt_*",
        "lmer.adjusted*",
        (TRIALS, "numerics/mixed/test_random_intercept.py"),
        except_for="maximum likelihood, which the likelihood ratio takes without covariates alone",
    ),
    Row("point/crt_*", "gee_gaussian.*", (TRIALS, "estimators/test_gee.py")),
    Row("point/crt_*", "gee_logit", (TRIALS, "estimators/test_gee.py")),
    Row("point/crt_*", "geesmv_*", (TRIALS, "estimators/test_gee.py")),
    Row("point/crt_*", "gee_statsmodels", (TRIALS, "estimators/test_gee.py")),
    Row("point/crt_*", "glmer_logit", (TRIALS, "estimators/test_logistic_mixed_model.py")),
    Row("point/crt_*", "cluster_means.t_equal", (TRIALS, "estimators/test_cluster_means.py")),
    Row(
        "point/crt_*",
        "cluster_means.welch",
        (TRIALS,),
        except_for="Welch's df, which are no rule of the program; his t is that of CR2 on equal weights",
    ),
    Row("point/crt_*", "cluster_means.size_weighted", (TRIALS,)),
    Row(
        "point/crt_*",
        "cluster_means.randomisation_test",
        (TRIALS, "estimators/test_permutation.py"),
        except_for="the one-sided p-value: tests of the program are two-sided",
    ),
    # Repeated cross-sections, simulated
    Row("point/did_*", "ols.twfe", (TRIALS, REGRESSIONS, "estimators/test_two_way_fixed_effects.py")),
    Row("point/did_*", "ols.twfe_x", (REGRESSIONS,)),
    Row("point/did_*", "ols.two_by_two", (REGRESSIONS,)),
    Row("point/did_*", "collapsed.change", (TRIALS,)),
    Row("point/did_*", "collapsed.ancova", (TRIALS,)),
    Row(
        "point/did_*",
        "collapsed.randomisation_test",
        (TRIALS,),
        except_for="the one-sided p-value: tests of the program are two-sided",
    ),
    Row(
        "point/did_*",
        "lmer.*",
        (TRIALS, MODELS, "estimators/test_mixed_model_occasions.py"),
        except_for="maximum likelihood, which the likelihood ratio takes without covariates alone",
    ),
    # The stepped wedge and the five nested levels, simulated
    Row(
        "point/sw_9x4",
        "lmer.*",
        (TRIALS, MODELS, "estimators/test_mixed_model_occasions.py"),
        except_for="maximum likelihood, which the likelihood ratio takes without periods alone",
    ),
    Row("point/sw_9x4", "ols_fixed_cluster", (TRIALS, REGRESSIONS)),
    Row("point/sw_9x4", "gee*", (TRIALS, "estimators/test_gee.py")),
    Row("point/sw_9x4", "glmer_logit", (TRIALS, "estimators/test_logistic_mixed_model.py")),
    Row(
        "point/nested5_a",
        "lmer.*",
        (MODELS, TRIALS, "estimators/test_mixed_model_levels.py"),
        except_for="four levels in the planned analysis, which has three at most; maximum likelihood",
    ),
    Row("point/nested5_a", "ols.*", (TRIALS,)),
    Row("point/nested5_a", "authority_means", (TRIALS,)),
    # The encouragement trial, simulated
    Row(
        "point/iv_a",
        "iv_*",
        (TRIALS, "estimators/test_instrumental_variables.py"),
        except_for="the classical standard error: an instrument is always judged by clusters",
    ),
    Row("point/iv_a", "cace_unadjusted", (TRIALS,)),
    Row("point/wild_cluster_bootstrap", "cases.*", (TRIALS, "numerics/test_wild_bootstrap.py")),
    *(
        Row("point/irgt_*", block, ("estimators/test_partially_nested_model.py",))
        for block in ("lme_heteroscedastic", "lmer_homoscedastic", "by_arm", "common", "welch*")
    ),
    Row("point/irgt_a", "ols_cluster_single", (TRIALS,)),
    Row("point/irgt_a", "naive", (TRIALS,)),
    # Staggered starts, simulated and published
    Row("point/stag_*", "twfe", (TRIALS,)),
    Row("point/stag_*", "truth_sample_att", why_not="the effect that was planted, and no estimate"),
    Row("point/mpdta", "twfe", (PUBLISHED,)),
    Row("point/base_stagg", "twfe", (PUBLISHED,)),
    *(
        Row(file, block, why_not=NO_STAGGERED_ESTIMATOR)
        for file in ("point/stag_*", "point/mpdta", "point/base_stagg")
        for block in (
            "callaway_santanna",
            "sun_abraham",
            "twfe_event_study",
            "goodman_bacon",
            "imputation_bjs",
        )
    ),
    Row("identification/staggered", "twfe", ("estimators/test_staggered_identification.py",)),
    Row("identification/staggered", "att_obs_weighted", ("estimators/test_staggered_identification.py",)),
    Row("identification/staggered", "[bcens]*", why_not=NO_STAGGERED_ESTIMATOR),
    Row("identification/staggered", "twfe_*", why_not=NO_STAGGERED_ESTIMATOR),
    Row("identification/staggered", "rank_deficient", why_not=NO_STAGGERED_ESTIMATOR),
    # Published sets
    Row("point/gee_classics", "dietox", (PUBLISHED, "estimators/test_gee.py")),
    Row("point/gee_classics", "ohio", (PUBLISHED, "estimators/test_gee.py")),
    Row("point/lmm_classics", "sleepstudy_*", (MODELS,), except_for="the intercept, and maximum likelihood"),
    Row("point/lmm_classics", "Dyestuff*", (MODELS,), except_for="maximum likelihood"),
    Row("point/lmm_classics", "Pastes", (MODELS,), except_for="maximum likelihood"),
    Row(
        "point/lmm_classics",
        "Penicillin",
        why_not="random effects that cross: those of the program are nested",
    ),
    Row("point/lmm_classics", "beets", (PUBLISHED,), except_for="maximum likelihood"),
    Row("point/lmm_classics", "beets_KR_F_harvest", (PUBLISHED,)),
    Row("point/lmm_classics", "beets_KR_F_sow", why_not="a test of four coefficients; the program tests one"),
    Row("point/petersen", "firm_year_twoway_HC1", why_not="clusters that cross: those of the program do not"),
    Row("point/petersen", "firm_HC*", (REGRESSIONS,)),
    Row("point/petersen", "[csy]*", (REGRESSIONS,)),
    Row("point/mortality_mv", "wald_both", why_not="a test of two coefficients; the program tests one"),
    Row("point/mortality_mv", "coef", (REGRESSIONS,)),
    Row("point/mortality_mv", "s*", (REGRESSIONS,)),
    Row("point/cigarettes_iv", "just_identified", (REGRESSIONS,), except_for="the classical standard error"),
    Row("point/cigarettes_iv", "over_identified", why_not="two instruments; the program takes one"),
    Row("point/prop99", "did", (PUBLISHED,)),
    Row("point/prop99", "s*", why_not=NO_SYNTHETIC_CONTROL),
    Row("point/sc_simplex_*", "*", why_not=NO_SYNTHETIC_CONTROL),
    Row("point/basque_sc_predictors", "*", why_not=NO_SYNTHETIC_CONTROL),
    Row("point/rd_a", "*", why_not=NO_DISCONTINUITY),
    Row("point/senate", "*", why_not=NO_DISCONTINUITY),
    Row("point/its_*", "*", why_not=NO_SERIES),
    Row("point/ps_a", "*", why_not=NO_PROPENSITY),
    # Sets of the package's own, beside the scripts that made them
    Row("point/nested_unb", "*", ("estimators/test_mixed_model_levels.py",)),
    Row("point/exposure_time", "*", ("estimators/test_exposure_time.py",)),
    Row("point/wedge_unb", "*", ("estimators/test_mixed_model_occasions.py",)),
    Row("point/cohort_*", "*", ("estimators/test_families_followed.py",)),
    Row("point/poisson_8x5", "*", ("estimators/test_logistic_mixed_model.py",)),
    # Rates of simulations and of integrals
    Row("mc/mc_lmm_*", "*", ("estimators/test_mixed_model.py",)),
    Row("mc/cgm2008_random_regressor", "results", (RATES,)),
    Row("mc/bdm2004_ar1", "results", (RATES,)),
    Row("mc/powerlmm_readme_simulation", "*", (RATES,)),
    Row("mc/simr_poisson_glmm", "*", ("numerics/test_generalised_mixed.py",)),
    Row(
        "exact_size/cluster_tests",
        "cases",
        ("theory/test_clusters.py", "estimators/test_clustered_regression.py", "estimators/test_gee.py"),
    ),
    Row(
        "exact_size/cluster_tests",
        "randomisation_test",
        ("theory/test_clusters.py", "estimators/test_permutation.py"),
    ),
    Row("exact_size/cluster_tests", "wild_cluster_rademacher", ("estimators/test_wild_bootstrap.py",)),
    Row("exact_size/cluster_tests", "synthetic_control_placebo", ("theory/test_clusters.py",)),
]


def files() -> dict[str, Path]:
    """Every stored file of results, by its folder and stem; the package's own copy where there are two."""
    return {
        f"{folder}/{path.stem}": path
        for place in reversed(SETS)
        for folder in FOLDERS
        for path in sorted((place / folder).glob("*.json"))
    }


def blocks_of(file: str, stored: dict[str, Any]) -> Iterator[str]:
    """The blocks of a file: its entries with results, or their parts."""
    if file.startswith("identification/"):
        yield from dict.fromkeys(key for case in stored["cases"] for key in case["expected"])
        return
    if file.startswith("exact_size/"):
        yield "cases"
        yield from stored["attainable_p_values"]
        return
    for key, value in stored.items():
        if key in DIVIDED:
            yield from (f"{key}.{part}" for part in value if part not in ABOUT)
        elif key not in ABOUT:
            yield key


def found() -> list[tuple[str, str]]:
    """Every block of every stored file."""
    return [
        (file, block)
        for file, path in files().items()
        for block in blocks_of(file, json.loads(path.read_text()))
    ]


def rows_for(file: str, block: str) -> list[Row]:
    """The rows of the inventory that a block belongs to."""
    return [row for row in INVENTORY if fnmatchcase(file, row.file) and fnmatchcase(block, row.block)]


def test_every_block_stands_in_the_inventory_once() -> None:
    """What is left out silently would be taken for checked."""
    counts = {(file, block): len(rows_for(file, block)) for file, block in found()}
    assert len(counts) > 150
    assert {where: count for where, count in counts.items() if count != 1} == {}


@pytest.mark.parametrize("row", INVENTORY, ids=lambda row: f"{row.file}-{row.block}")
def test_a_block_is_held_by_modules_that_name_its_file_or_has_a_reason(row: Row) -> None:
    """A test that was moved away must not leave its place in the list behind."""
    assert bool(row.held) != bool(row.why_not)
    assert not (row.why_not and row.except_for)
    stems = [file.partition("/")[2] for file in files() if fnmatchcase(file, row.file)]
    for module in row.held:
        text = (HERE / module).read_text()
        assert any(stem in text for stem in [*stems, row.file.partition("/")[2]]), module


def test_the_inventory_lists_nothing_that_is_not_there() -> None:
    """Where the published sets stand beside the package; without them, of the package's own."""
    there, known = found(), set(files())
    for row in INVENTORY:
        if any(fnmatchcase(file, row.file) for file in known):
            matched = [block for file, block in there if row in rows_for(file, block)]
            assert matched, f"{row.file} has no {row.block}"
    if SETS[1].exists():
        assert all(any(fnmatchcase(file, row.file) for file in known) for row in INVENTORY)


def test_copies_are_those_of_the_validation_data() -> None:
    """A number changed by hand would hold the estimator to itself."""
    own, given = SETS
    copies = [path for folder in (*FOLDERS, "data") for path in (own / folder).iterdir()]
    assert copies
    for path in copies:
        original = given / path.parent.name / path.name
        if original.exists():
            assert path.read_bytes() == original.read_bytes(), path.name
