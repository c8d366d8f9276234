"""Estimating equations: other software, dense matrices of families, exact sizes, and what must not matter."""

import csv
import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import linalg, stats

from design_sim.allocation import NEVER, complete_randomisation
from design_sim.arrays import Floats
from design_sim.cells import Cells
from design_sim.estimators.base import Estimates, Status
from design_sim.estimators.gee import Gee
from design_sim.numerics.canonical_link import Family
from design_sim.numerics.gee_variance import GeeVariance
from design_sim.panel import Panel
from design_sim.roster import Roster

REFERENCE = Path(__file__).parents[1] / "reference"
CLASSICS = Path(__file__).parents[3] / "shared" / "validation"
TRIALS = ("crt_bal10", "crt_unb10", "crt_bal4", "crt_unb6", "crt_unb20_imb")
VARIANCES: tuple[GeeVariance, ...] = get_args(GeeVariance)
FAMILIES: tuple[Family, ...] = get_args(Family)
EXACT = {
    case["id"]: case["expected"]["rejection"]
    for case in json.loads((REFERENCE / "exact_size" / "cluster_tests.json").read_text())["cases"]
}
RNG = np.random.default_rng(0)


def point(name: str) -> dict[str, Any]:
    """What other software found in a stored set."""
    stored: dict[str, Any] = json.loads((REFERENCE / "point" / f"{name}.json").read_text())
    return stored


def model(family: Family = "gaussian", **settings: Any) -> Gee:
    """The estimator, with its effect on the link's scale unless stated otherwise."""
    report = "difference" if family == "gaussian" else "link"
    return Gee.model_validate({"family": family, "report": report, **settings})


def single_families(
    cluster: Floats, treated: Floats, outcome: Floats, covariates: dict[str, Floats] | None = None
) -> Panel:
    """A panel of one occasion with a row for each family."""
    order = np.argsort(cluster, kind="stable")
    _, first, authority = np.unique(cluster[order], return_index=True, return_inverse=True)
    family, shape = np.arange(authority.size), (1, authority.size, 1)
    arm = treated[order][first] == 1
    return Panel(
        roster=Roster(authority, family, family),
        cells=Cells(np.ones(shape), outcome[order].reshape(shape), np.zeros(shape)),
        start=np.where(arm, 0, NEVER)[np.newaxis],
        occasions=np.arange(1),
        follow_up=np.ones(1, dtype=bool),
        law=complete_randomisation(arm.size, int(arm.sum())),
        covariates={name: values[order][np.newaxis] for name, values in (covariates or {}).items()},
    )


def trial(name: str, outcome: str) -> Panel:
    """A stored cluster trial."""
    data = np.genfromtxt(REFERENCE / "data" / f"{name}.csv", delimiter=",", names=True)
    return single_families(data["cluster"], data["treat"], data[outcome], {"x": data["x"]})


def of_authorities(cells: Cells, treated: int) -> Panel:
    """A panel of one occasion with a row for each authority, the first ones treated."""
    n_authorities = cells.n.shape[1]
    return Panel(
        roster=Roster.of_authorities(n_authorities),
        cells=cells,
        start=np.where(np.arange(n_authorities) < treated, 0, NEVER)[np.newaxis],
        occasions=np.arange(1),
        follow_up=np.ones(1, dtype=bool),
        law=complete_randomisation(n_authorities, treated),
    )


def same(found: Estimates, expected: Estimates, rtol: float = 1e-8) -> None:
    """Two answers are one."""
    for name in ("estimate", "std_error", "df", "p_value", "status"):
        ours, theirs = np.broadcast_arrays(getattr(found, name), getattr(expected, name))
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-12, err_msg=name)


@dataclass
class Families:
    """Families of several workers and occasions, with the panel of their cells."""

    panel: Panel
    outcome: Floats
    """(replicate, row, occasion, family), nan where there is none."""

    def regression(self, replicate: int, names: tuple[str, ...]) -> tuple[Floats, Floats, Floats]:
        """Outcome, regressors and authority of every family of a replicate."""
        outcome, columns, authority = [], [], []
        panel = self.panel
        treated = panel.treated[0]
        moves = (treated[:, panel.follow_up] != treated[:, -1:]).any()
        n_occasions = treated.shape[1]
        for row, occasion, family in np.ndindex(self.outcome.shape[1:]):
            value = self.outcome[replicate, row, occasion, family]
            covariates = [panel.covariates[name][replicate, row] for name in names]
            if np.isnan(value) or np.isnan(covariates).any():
                continue
            dummies = [float(occasion == t) for t in range(1, n_occasions if moves else 1)]
            outcome.append(value)
            columns.append([1.0, float(treated[row, occasion]), *dummies, *covariates])
            authority.append(panel.roster.authority[row])
        return np.array(outcome), np.array(columns), np.array(authority)


def draw_families(family: Family, *, moves: bool = False, seed: int = 5, n_replicates: int = 3) -> Families:
    """Workers of eight authorities with up to five families at each of three occasions; x differs by worker."""
    rng = np.random.default_rng(seed)
    authority = np.repeat(np.arange(8), [1, 3, 2, 4, 2, 3, 1, 2])
    shape = (n_replicates, authority.size, 3, 5)
    level = rng.normal(0.0, 0.8, (n_replicates, 8))[:, authority, np.newaxis, np.newaxis]
    x = rng.normal(size=shape[:2])
    predictor = level + 0.3 * x[:, :, np.newaxis, np.newaxis] + np.zeros(shape)
    if family == "gaussian":
        outcome = 5 + predictor + rng.normal(size=shape)
    elif family == "binomial":
        outcome = (rng.random(shape) < 1 / (1 + np.exp(-predictor))).astype(float)
    else:
        outcome = rng.poisson(2 * np.exp(predictor)).astype(float)
    n = rng.integers(0, 6, shape[:3])
    n[:, [0, -3]] = 4
    outcome = np.where(np.arange(5) < n[..., np.newaxis], outcome, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mean = np.nanmean(outcome, axis=3)
    ss = np.nansum((outcome - mean[..., np.newaxis]) ** 2, axis=3)
    start = np.array([[1, 1, 2, 2, NEVER, NEVER, NEVER, 1] if moves else [1] * 4 + [NEVER] * 4])
    row = np.arange(authority.size)
    panel = Panel(
        roster=Roster(authority, row, row),
        cells=Cells(n.astype(float), mean, ss),
        start=start,
        occasions=np.arange(3),
        follow_up=np.array([moves, True, True]),
        law=complete_randomisation(8, 4),
        covariates={"x": x, "z": rng.normal(size=(n_replicates, 8))[:, authority]},
    )
    if not moves:
        outcome = np.where(panel.follow_up[:, np.newaxis], outcome, np.nan)
    return Families(panel, outcome)


class Dense:
    """Estimating equations of one replicate the obvious way: full matrices for every cluster of families."""

    def __init__(self, data: tuple[Floats, Floats, Floats], answer: Gee) -> None:
        self.y, self.x, cluster = data
        self.answer = answer
        self.clusters = [np.flatnonzero(cluster == c) for c in np.unique(cluster)]
        self.alpha = 0.0
        self.beta = np.zeros(self.x.shape[1])
        self.beta[0] = self.link(self.y.mean())
        for step in range(200):
            parts = [self.parts(c) for c in self.clusters]
            gram = sum(d.T @ inverse_v @ d for d, inverse_v, _ in parts)
            move = np.linalg.solve(gram, sum(d.T @ inverse_v @ residual for d, inverse_v, residual in parts))
            self.beta = self.beta + move
            if step > 3 and answer.working == "exchangeable":
                self.alpha = self.moment()
            if step > 5 and np.abs(move).max() < 1e-12:
                break

    def link(self, mean: float) -> float:
        """The predictor of a mean."""
        if self.answer.family == "binomial":
            return float(np.log(mean / (1 - mean)))
        return float(np.log(mean)) if self.answer.family == "poisson" else mean

    def mean(self, x: Floats, beta: Floats) -> Floats:
        """The means at given coefficients."""
        eta: Floats = x @ beta
        if self.answer.family == "binomial":
            return 1 / (1 + np.exp(-eta))
        return np.exp(eta) if self.answer.family == "poisson" else eta

    def spread(self, mean: Floats) -> Floats:
        """The variance function."""
        if self.answer.family == "binomial":
            return mean * (1 - mean)
        return mean if self.answer.family == "poisson" else np.ones_like(mean)

    def parts(self, c: Floats) -> tuple[Floats, Floats, Floats]:
        """D, V^-1 and residuals of a cluster."""
        mean = self.mean(self.x[c], self.beta)
        v = self.spread(mean)
        correlation = (1 - self.alpha) * np.eye(c.size) + self.alpha
        root = np.diag(np.sqrt(v))
        return v[:, np.newaxis] * self.x[c], np.linalg.inv(root @ correlation @ root), self.y[c] - mean

    def moment(self) -> float:
        """The correlation, from every pair."""
        squares = products = pairs = 0.0
        for c in self.clusters:
            mean = self.mean(self.x[c], self.beta)
            e = (self.y[c] - mean) / np.sqrt(self.spread(mean))
            squares += e @ e
            products += np.triu(np.outer(e, e), 1).sum()
            pairs += c.size * (c.size - 1) / 2
        lost = self.x.shape[1] if self.answer.moments == "corrected" else 0
        return float(products / (squares / (self.y.size - lost)) / (pairs - lost))

    def covariance(self, kind: GeeVariance) -> Floats:
        """The covariance of the coefficients, with the leverage of whole clusters."""
        parts = [self.parts(c) for c in self.clusters]
        inverse = np.linalg.inv(sum(d.T @ inverse_v @ d for d, inverse_v, _ in parts))
        middle = np.zeros_like(inverse)
        for d, inverse_v, residual in parts:
            left = np.eye(residual.size) - d @ inverse @ d.T @ inverse_v
            corrected = residual
            if kind == "mancl_derouen":
                corrected = np.linalg.solve(left, residual)
            elif kind == "kauermann_carroll":
                corrected = np.linalg.solve(linalg.sqrtm(left).real, residual)
            score = d.T @ inverse_v @ corrected
            if kind == "fay_graubard":
                score = score / np.sqrt(1 - np.minimum(0.75, np.diag(d.T @ inverse_v @ d @ inverse)))
            middle += np.outer(score, score)
        return inverse @ middle @ inverse

    def effect(self, beta: Floats, report: str) -> float:
        """What is reported of given coefficients."""
        if self.answer.family == "gaussian" or report == "link":
            return float(beta[1])
        with_it, without = self.x.copy(), self.x.copy()
        with_it[:, 1], without[:, 1] = 1.0, 0.0
        return float(np.mean(self.mean(with_it, beta) - self.mean(without, beta)))

    def answers(self, kind: GeeVariance, report: str) -> tuple[float, float]:
        """The effect and its standard error, by a numerical gradient."""
        steps = 1e-5 * np.eye(self.beta.size)
        rises = [self.effect(self.beta + h, report) - self.effect(self.beta - h, report) for h in steps]
        gradient = np.array(rises) / 2e-5
        std_error = np.sqrt(gradient @ self.covariance(kind) @ gradient)
        return self.effect(self.beta, report), float(std_error)


@dataclass
class Geepack:
    """A fit by geepack: the data, the model and what came out."""

    panel: Panel
    answer: Gee
    expected: dict[str, Any]
    coefficient: str = "treat"


def geepack_trial(name: str, key: str) -> Geepack:
    """A stored trial, `unadjusted`, `adjusted` or `logit`."""
    stored, covariates = point(name), () if key == "unadjusted" else ("x",)
    if key == "logit":
        return Geepack(trial(name, "ybin"), model("binomial", covariates=covariates), stored["gee_logit"])
    return Geepack(trial(name, "y"), model(covariates=covariates), stored["gee_gaussian"][key])


def geepack_example(name: str) -> Geepack:
    """Its own examples: 537 children at four ages, and 72 pigs at twelve; covariates vary within clusters."""
    stored = json.loads((CLASSICS / "point" / "gee_classics.json").read_text())[name]
    with (CLASSICS / "data" / f"{name}.csv").open() as file:
        lines = list(csv.DictReader(file))

    def column(key: str) -> Floats:
        return np.array([float(line[key]) for line in lines])

    if name == "ohio":
        extra = {"age": column("age"), "both": column("age") * column("smoke")}
        panel = single_families(column("id"), column("smoke"), column("resp"), extra)
        return Geepack(panel, model("binomial", covariates=tuple(extra)), stored, "smoke")
    copper = np.array([line["Cu"] for line in lines])
    extra = {"time": column("Time"), "more": (copper == "Cu175").astype(float)}
    panel = single_families(column("Pig"), (copper == "Cu035").astype(float), column("Weight"), extra)
    return Geepack(panel, model(covariates=tuple(extra)), stored, "CuCu035")


GEEPACK = [
    (name, key)
    for name in TRIALS
    for key in ("unadjusted", "adjusted", "logit")
    if key != "logit" or "gee_logit" in point(name)
]
GEEPACK += [(name, "example") for name in ("ohio", "dietox") if CLASSICS.exists()]


@pytest.mark.parametrize(("name", "key"), GEEPACK)
def test_agrees_with_geepack(name: str, key: str) -> None:
    """geepack's moments have no p in them; its exchangeable and independent fits must both come out."""
    case = geepack_example(name) if key == "example" else geepack_trial(name, key)
    robust = case.answer.model_copy(update={"variance": "robust"})
    plain = robust.model_copy(update={"moments": "plain"}).estimate(case.panel, RNG)
    free = robust.model_copy(update={"working": "independence"}).estimate(case.panel, RNG)
    for found, values in ((plain, case.expected), (free, case.expected["independence"])):
        np.testing.assert_allclose(found.estimate, values["coef"][case.coefficient], rtol=1e-9)
        np.testing.assert_allclose(found.std_error, values["se_robust"][case.coefficient], rtol=1e-9)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("name", [name for name in TRIALS if "gee_statsmodels" in point(name)])
def test_agrees_with_stored_corrections(name: str, variance: GeeVariance) -> None:
    """Robust and Mancl-DeRouen are statsmodels', the others their defining formulas at the same fit."""
    key = "se_fay_graubard_b0p75" if variance == "fay_graubard" else f"se_{variance}"
    for family, stored, outcome in (("gaussian", "gaussian", "y"), ("binomial", "logit", "ybin")):
        expected = point(name)["gee_statsmodels"].get(stored)
        if expected is not None:
            answer = model(family, variance=variance, covariates=("x",))
            found = answer.estimate(trial(name, outcome), RNG)
            np.testing.assert_allclose(found.estimate, expected["coef"]["treat"], rtol=1e-7)
            np.testing.assert_allclose(found.std_error, expected[key]["treat"], rtol=1e-7)
            assert found.df == np.unique(trial(name, outcome).roster.authority).size - 3


@pytest.mark.parametrize("name", [name for name in TRIALS if "geesmv_gaussian" in point(name)])
def test_agrees_with_geesmv(name: str) -> None:
    """geesmv stops early, at some 1e-5."""
    for family, stored, outcome in (("gaussian", "gaussian", "y"), ("binomial", "logit", "ybin")):
        expected = point(name)[f"geesmv_{stored}"]
        for key, variance in (("lz", "robust"), ("md", "mancl_derouen")):
            answer = model(family, variance=variance, covariates=("x",))
            found = answer.estimate(trial(name, outcome), RNG)
            np.testing.assert_allclose(found.estimate, expected["coef"]["treat"], rtol=1e-4)
            np.testing.assert_allclose(found.std_error, expected["se"][key][1], rtol=1e-4)


def stepped_wedge(outcome: str, *, cells: bool) -> Panel:
    """The stored stepped wedge, six families a cluster and period, as cells or singly."""
    data = np.genfromtxt(REFERENCE / "data" / "sw_9x4.csv", delimiter=",", names=True)
    values = np.array(
        [
            [data[outcome][(data["cluster"] == c) & (data["period"] == t)] for t in range(1, 5)]
            for c in range(1, 10)
        ]
    )
    start = [[data["period"][(data["cluster"] == c) & (data["d"] == 1)].min() - 1 for c in range(1, 10)]]
    mean = values.mean(axis=2)
    ss = ((values - mean[:, :, np.newaxis]) ** 2).sum(axis=2)
    observed, roster = (
        Cells(np.full((1, 9, 4), 6.0), mean[np.newaxis], ss[np.newaxis]),
        Roster.of_authorities(9),
    )
    if not cells:
        single = values.transpose(0, 2, 1).reshape(1, 54, 4)
        observed = Cells(np.ones_like(single), single, np.zeros_like(single))
        roster = Roster(np.repeat(np.arange(9), 6), np.arange(54), np.arange(54))
    return Panel(
        roster=roster,
        cells=observed,
        start=np.array(start, dtype=np.int64),
        occasions=np.arange(4),
        follow_up=np.ones(4, dtype=bool),
        law=complete_randomisation(9, 3),
    )


@pytest.mark.parametrize("cells", [True, False], ids=["cells", "families"])
@pytest.mark.parametrize(
    ("key", "outcome", "family"), [("gee", "y", "gaussian"), ("gee_logit", "ybin", "binomial")]
)
def test_agrees_with_geepack_on_a_stepped_wedge(key: str, outcome: str, family: Family, cells: bool) -> None:
    """Treatment that comes during the follow-up is read by occasion, and occasions have effects."""
    expected, panel = point("sw_9x4")[key], stepped_wedge(outcome, cells=cells)
    plain = model(family, variance="robust", moments="plain").estimate(panel, RNG)
    free = model(family, variance="robust", working="independence").estimate(panel, RNG)
    for found, values in ((plain, expected), (free, expected["independence"])):
        np.testing.assert_allclose(found.estimate, values["coef"]["d"], rtol=1e-9)
        np.testing.assert_allclose(found.std_error, values["se_robust"]["d"], rtol=1e-9)
        assert found.df == 9 - 5
    without = model(family, period_effects=False).estimate(panel, RNG)
    assert without.df == 9 - 2
    assert abs(without.estimate - plain.estimate) > 0.05


@pytest.mark.parametrize("moves", [False, True], ids=["parallel", "staggered"])
@pytest.mark.parametrize("working", ["exchangeable", "independence"])
@pytest.mark.parametrize("family", FAMILIES)
def test_agrees_with_statsmodels(family: Family, working: str, moves: bool) -> None:
    """Coefficient, robust and Mancl-DeRouen standard errors, and the standardised difference with its own."""
    import statsmodels.api as sm

    drawn = draw_families(family, moves=moves)
    structure = {"exchangeable": sm.cov_struct.Exchangeable, "independence": sm.cov_struct.Independence}
    families = {
        "gaussian": sm.families.Gaussian,
        "binomial": sm.families.Binomial,
        "poisson": sm.families.Poisson,
    }
    for replicate in range(2):
        outcome, regressors, authority = drawn.regression(replicate, ("x",))
        equations = sm.GEE(
            outcome, regressors, groups=authority, family=families[family](), cov_struct=structure[working]()
        )
        fit = equations.fit(maxiter=500, ctol=1e-9)
        reduced = equations.fit(maxiter=500, ctol=1e-9, cov_type="bias_reduced")
        settings = {"working": working, "covariates": ("x",)}
        for variance, theirs in (("robust", fit), ("mancl_derouen", reduced)):
            found = model(family, variance=variance, **settings).estimate(drawn.panel, RNG)
            np.testing.assert_allclose(found.estimate[replicate], theirs.params[1], rtol=1e-8)
            np.testing.assert_allclose(found.std_error[replicate], theirs.bse[1], rtol=1e-8)
        if family == "gaussian":
            continue
        margin = fit.get_margeff(at="overall", dummy=True)
        names = [name for name in range(regressors.shape[1]) if name != 0]
        found = Gee(family=family, variance="robust", **settings).estimate(drawn.panel, RNG)
        np.testing.assert_allclose(found.estimate[replicate], margin.margeff[names.index(1)], rtol=1e-7)
        np.testing.assert_allclose(found.std_error[replicate], margin.margeff_se[names.index(1)], rtol=1e-6)


@pytest.mark.parametrize("covariates", [(), ("z",), ("x", "z")], ids=lambda names: "-".join(names) or "none")
@pytest.mark.parametrize("moves", [False, True], ids=["parallel", "staggered"])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_dense_matrices_of_families(family: Family, moves: bool, covariates: tuple[str, ...]) -> None:
    """Cells and matrices of coefficients are only a shorter way of writing families and whole clusters."""
    drawn = draw_families(family, moves=moves, n_replicates=2)
    for settings in ({"working": "exchangeable"}, {"moments": "plain"}, {"working": "independence"}):
        answer = Gee.model_validate({"family": family, "covariates": covariates, **settings})
        dense = [Dense(drawn.regression(replicate, covariates), answer) for replicate in range(2)]
        for report in ("difference",) if family == "gaussian" else ("difference", "link"):
            for variance in VARIANCES:
                stated = answer.model_copy(update={"variance": variance, "report": report})
                found = stated.estimate(drawn.panel, RNG)
                expected = np.array([each.answers(variance, report) for each in dense])
                assert (found.status == Status.OK).all()
                np.testing.assert_allclose(found.estimate, expected[:, 0], rtol=1e-8)
                np.testing.assert_allclose(found.std_error, expected[:, 1], rtol=1e-7)


@pytest.mark.parametrize("report", ["difference", "link"])
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("family", FAMILIES)
def test_two_arms_in_closed_form_equal_the_regression(
    family: Family, variance: GeeVariance, report: str
) -> None:
    """A covariate that never varies is dropped, which leaves two arms to the general search."""
    if family == "gaussian":
        report = "difference"
    panel = draw_families(family, n_replicates=200).panel
    constant = replace(panel, covariates={"c": np.full((1, panel.roster.n_rows), 7.0)})
    for settings in ({"working": "exchangeable"}, {"moments": "plain"}, {"working": "independence"}):
        answer = Gee.model_validate({"family": family, "variance": variance, "report": report, **settings})
        general = answer.model_copy(update={"covariates": ("c",)})
        same(general.estimate(constant, RNG), answer.estimate(panel, RNG))


@pytest.mark.parametrize("covariates", [(), ("z",), ("x",)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_replicate_alone_gives_its_answer_in_the_batch(family: Family, covariates: tuple[str, ...]) -> None:
    """Replicates are separate studies, however many steps the others take."""
    panel = draw_families(family, n_replicates=6).panel
    answer = Gee(family=family, covariates=covariates)
    together = answer.estimate(panel, RNG)
    for at in range(6):
        cells, one = panel.cells, slice(at, at + 1)
        assert cells.ss is not None
        alone = replace(
            panel,
            cells=Cells(cells.n[one], cells.mean[one], cells.ss[one]),
            covariates={name: values[one] for name, values in panel.covariates.items()},
        )
        found = answer.estimate(alone, RNG)
        assert found.estimate[0] == pytest.approx(together.estimate[at], rel=1e-9)
        assert found.std_error[0] == pytest.approx(together.std_error[at], rel=1e-9)


@pytest.mark.parametrize("covariates", [(), ("z",)])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_may_be_authorities_or_workers(family: Family, covariates: tuple[str, ...]) -> None:
    """How deep rows go is a matter of storage."""
    panel = draw_families(family, moves=True).panel
    first = np.searchsorted(panel.roster.authority, np.arange(8))
    flat = replace(
        panel,
        roster=Roster.of_authorities(8),
        cells=panel.cells.pool(panel.roster, "authority"),
        covariates={"z": panel.covariates["z"][:, first]},
    )
    answer = Gee(family=family, covariates=covariates)
    same(answer.estimate(flat, RNG), answer.estimate(panel, RNG))


def test_a_treatment_that_moves_in_some_replicates_has_period_effects_there_alone() -> None:
    """A later change is drawn, so that one replicate has it and another has not."""
    panel = draw_families("gaussian", moves=True, n_replicates=2).panel
    still = np.where(panel.start < NEVER, 0, NEVER)
    both = replace(panel, start=np.concatenate([panel.start, still]))
    found, moved = Gee().estimate(both, RNG), Gee().estimate(panel, RNG)
    parallel = Gee().estimate(replace(panel, start=still), RNG)
    assert found.df.tolist() == [8 - 4, 8 - 2]
    assert found.estimate[0] == pytest.approx(moved.estimate[0], rel=1e-9)
    assert found.std_error[1] == pytest.approx(parallel.std_error[1], rel=1e-9)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_equal_authorities_give_the_difference_of_a_gaussian_fit(family: Family) -> None:
    """With equal sizes every weight is equal, whatever the family, and so are means, scores and leverages."""
    rng = np.random.default_rng(4)
    events = rng.binomial(30, 0.2, (50, 10, 1)).astype(float)
    cells = Cells(np.full((1, 10, 1), 30.0), events / 30, events * (1 - events / 30))
    panel = of_authorities(cells, 4)
    for variance in ("robust", "kauermann_carroll", "mancl_derouen"):
        found = Gee(family=family, variance=variance).estimate(panel, rng)
        same(found, Gee(variance=variance).estimate(panel, rng))


def test_rejection_rates_with_ten_equal_authorities_are_the_exact_ones() -> None:
    """Cluster means are normal, so that every size is that of a t statistic with 8 df times a constant.

    Kauermann and Carroll's is the t test on means, of size .05; the others are tabulated or follow.
    """
    rng = np.random.default_rng(6)
    n_replicates, size = 40_000, 20
    mean = rng.normal(size=(n_replicates, 10, 1)) * np.sqrt(0.05 + 0.95 / size)
    ss = 0.95 * 2 * rng.standard_gamma((size - 1) / 2, (n_replicates, 10, 1))
    panel = of_authorities(Cells(np.full((1, 10, 1), float(size)), mean, ss), 5)
    exact = EXACT["size_G1_5_G0_5"]
    critical = stats.t.ppf(0.975, 8)
    expected = {
        ("kauermann_carroll", "clusters"): 0.05,
        ("kauermann_carroll", "normal"): exact["CR2_z"],
        ("robust", "normal"): exact["CR0_z"],
        ("robust", "clusters"): 2 * stats.t.sf(critical * np.sqrt(4 / 5), 8),
        ("mancl_derouen", "clusters"): 2 * stats.t.sf(critical * np.sqrt(5 / 4), 8),
    }
    for (variance, df), rate in expected.items():
        found = Gee.model_validate({"variance": variance, "df": df}).estimate(panel, rng)
        rejected = (found.p_value < 0.05).mean()
        assert abs(rejected - rate) < 4 * np.sqrt(rate * (1 - rate) / n_replicates), (variance, df)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_a_yes_or_no_of_ten_unequal_authorities_keeps_its_size(family: Family) -> None:
    """Li and Redden: with t, the correction holds at 10 clusters of moderately varying size; z does not.

    Risks are beta, of mean .3 and correlation .05; no exact size exists, so the band is .035 to .065.
    """
    rng = np.random.default_rng(7)
    sizes = np.array([20, 26, 23, 30, 21, 28, 24, 22, 27, 29], dtype=float)[np.newaxis, :, np.newaxis]
    events = rng.binomial(sizes.astype(int), rng.beta(0.3 * 19, 0.7 * 19, (20_000, 10, 1))).astype(float)
    panel = of_authorities(Cells(sizes, events / sizes, events * (1 - events / sizes)), 5)
    t_test, z_test = (Gee(family=family, df=df).estimate(panel, rng) for df in ("clusters", "normal"))
    naive = Gee(family=family, df="normal", variance="robust").estimate(panel, rng)
    assert 0.035 < (t_test.p_value < 0.05).mean() < 0.065
    assert (z_test.p_value < 0.05).mean() > 0.075
    assert (naive.p_value < 0.05).mean() > 0.1
    assert np.nanmean(t_test.estimate) == pytest.approx(0.0, abs=4 * np.nanstd(t_test.estimate) / 20_000**0.5)


def test_standardisation_gives_the_risk_difference_that_was_planted() -> None:
    """With a covariate that matters, the log odds ratio is another number; noise cancels between pairs."""
    rng = np.random.default_rng(8)
    x = np.repeat(rng.normal(size=(1, 200)), 2, axis=1)
    treated = np.arange(400) < 200
    with_it, without = (1 / (1 + np.exp(-(-1 + 1.5 * x + shift))) for shift in (0.8, 0.0))
    mean = np.where(treated, with_it, without) + np.tile([0.02, -0.02], 200)
    n = np.full((1, 400, 1), 200.0)
    cells = Cells(n, mean[:, :, np.newaxis], n * (mean * (1 - mean))[:, :, np.newaxis])
    panel = replace(of_authorities(cells, 200), covariates={"x": x})
    found = Gee(family="binomial", covariates=("x",)).estimate(panel, rng)
    assert found.estimate[0] == pytest.approx((with_it - without).mean(), rel=1e-9)
    link = Gee(family="binomial", covariates=("x",), report="link").estimate(panel, rng)
    assert link.estimate[0] == pytest.approx(0.8, rel=1e-9)


def test_risks_of_0_and_1_are_separated() -> None:
    """A logit runs off there, while a Gaussian fit of the same cells has an answer; others are undisturbed."""
    rng = np.random.default_rng(9)
    events = rng.binomial(10, 0.4, (4, 8, 1)).astype(float)
    events[1, :4] = 0.0
    events[2, 4:] = 10.0
    cells = Cells(np.full((1, 8, 1), 10.0), events / 10, events * (1 - events / 10))
    panel = replace(of_authorities(cells, 4), covariates={"z": rng.normal(size=(4, 8))})
    for covariates in ((), ("z",)):
        for report in ("difference", "link"):
            for variance in VARIANCES:
                answer = Gee(family="binomial", covariates=covariates, report=report, variance=variance)
                found = answer.estimate(panel, rng)
                assert found.status.tolist() == [0, Status.SEPARATION, Status.SEPARATION, 0]
                assert np.isnan(found.estimate).tolist() == [False, True, True, False]
        counts = Gee(family="poisson", covariates=covariates).estimate(panel, rng)
        assert counts.status.tolist() == [0, Status.SEPARATION, 0, 0]
    assert not Gee().estimate(panel, rng).failed.any()


def test_an_outcome_out_of_range_is_an_answer_or_a_counted_failure() -> None:
    """A shaded yes or no may exceed 1 in a cell; a continuous outcome has no logit at all."""
    rng = np.random.default_rng(10)
    n = np.full((1, 8, 1), 10.0)
    mean = 0.5 + rng.normal(0, 0.1, (20, 8, 1))
    mean[0, 0] = 1.2
    for covariates in ((), ("z",)):
        panel = replace(
            of_authorities(Cells(n, mean, n + 0 * mean), 4), covariates={"z": rng.normal(size=(1, 8))}
        )
        answer = Gee(family="binomial", covariates=covariates)
        assert not answer.estimate(panel, rng).failed.any()
        wide = replace(panel, cells=Cells(n, 40 * (mean - 0.5), n + 0 * mean))
        found = answer.estimate(wide, rng)
        assert (found.status >= Status.NOT_CONVERGED).any()
        assert np.isnan(found.estimate[found.failed]).all()


def test_a_correlation_that_is_none_gives_way_to_independence() -> None:
    """Means that agree too well in unequal authorities have one below -1 / (29), as statsmodels would use it."""
    n = np.array([4.0, 30, 8, 25, 15, 6])[np.newaxis, :, np.newaxis]
    mean = np.array([0.02, 0.0, -0.01, 0.01, 0.0, 0.02])[np.newaxis, :, np.newaxis]
    panel = of_authorities(Cells(n, mean, n - 1), 3)
    found = Gee().estimate(panel, RNG)
    assert found.status == Status.BOUNDARY
    assert not found.failed.any()
    free = Gee(working="independence").estimate(panel, RNG)
    assert found.estimate == pytest.approx(free.estimate)
    assert found.std_error == pytest.approx(free.std_error)


def test_families_alone_in_their_authorities_have_no_pairs_and_correlate_with_nobody() -> None:
    """The correlation has nothing to be estimated from, and does not matter."""
    rng = np.random.default_rng(11)
    panel = of_authorities(Cells(np.ones((1, 12, 1)), rng.normal(size=(5, 12, 1)), np.zeros((1, 12, 1))), 5)
    same(Gee().estimate(panel, rng), Gee(working="independence").estimate(panel, rng))


@pytest.mark.parametrize("covariates", [(), ("z",)])
@pytest.mark.parametrize("family", FAMILIES)
def test_failures_are_counted_and_disturb_no_other_replicate(
    family: Family, covariates: tuple[str, ...]
) -> None:
    """An arm without anybody, and an outcome that does not vary."""
    panel = draw_families(family, n_replicates=5).panel
    n, mean = panel.cells.n.copy(), panel.cells.mean.copy()
    assert panel.cells.ss is not None
    ss = panel.cells.ss.copy()
    n[1, panel.treated[0, :, 1]] = 0.0
    mean[3], ss[3] = 1.0, 0.0
    broken = replace(panel, cells=Cells(n, np.where(n > 0, mean, np.nan), np.where(n > 0, ss, 0.0)))
    for variance in VARIANCES:
        answer = Gee(family=family, covariates=covariates, variance=variance)
        found, whole = answer.estimate(broken, RNG), answer.estimate(panel, RNG)
        assert found.status[1::2].tolist() == [Status.TOO_FEW_CLUSTERS, Status.NO_VARIATION]
        assert not found.failed[::2].any()
        np.testing.assert_allclose(found.estimate[[0, 2, 4]], whole.estimate[[0, 2, 4]], rtol=1e-9)


def test_one_treated_authority_has_a_robust_error_and_no_correction() -> None:
    """Its residual is 0 whatever the outcome, which two corrections would divide by 0."""
    rng = np.random.default_rng(12)
    n = np.full((1, 9, 1), 5.0)
    cells = Cells(n, rng.normal(size=(6, 9, 1)), 4 * rng.random((6, 9, 1)) + 2)
    panel = replace(of_authorities(cells, 1), covariates={"z": rng.normal(size=(6, 9))})
    expected = {"robust": Status.OK, "fay_graubard": Status.OK}
    for covariates in ((), ("z",)):
        for variance in VARIANCES:
            for working in ("exchangeable", "independence"):
                answer = Gee(variance=variance, covariates=covariates, working=working)
                found = answer.estimate(panel, rng)
                assert (found.status == expected.get(variance, Status.TOO_FEW_CLUSTERS)).all()


@pytest.mark.parametrize("df", ["clusters", "normal"])
@pytest.mark.parametrize("variance", VARIANCES)
def test_one_authority_in_each_arm_leaves_nothing_to_judge_by(variance: GeeVariance, df: str) -> None:
    """Each mean is fitted exactly."""
    cells = Cells(np.array([[[5.0], [7.0]]]), np.array([[[0.1], [0.7]]]), np.full((1, 2, 1), 3.0))
    panel = of_authorities(cells, 1)
    for settings, given in (
        ({}, panel),
        ({"covariates": ["c"]}, replace(panel, covariates={"c": np.ones((1, 2))})),
    ):
        answer = Gee.model_validate({"variance": variance, "df": df, **settings})
        assert answer.estimate(given, RNG).status == Status.TOO_FEW_CLUSTERS


def test_a_covariate_that_is_the_arm_is_singular_and_a_copy_is_dropped() -> None:
    """The effect cannot be told from the first; the second takes nothing away."""
    panel = draw_families("binomial").panel
    arm = replace(panel, covariates={"arm": 2.0 * panel.treated[:, :, 1]})
    assert (Gee(family="binomial", covariates=("arm",)).estimate(arm, RNG).status == Status.SINGULAR).all()
    twice = replace(panel, covariates={"z": panel.covariates["z"], "copy": 3 - 2 * panel.covariates["z"]})
    once = Gee(family="binomial", covariates=("z",)).estimate(panel, RNG)
    same(Gee(family="binomial", covariates=("z", "copy")).estimate(twice, RNG), once)


def test_a_row_without_its_covariate_does_not_count() -> None:
    """Complete cases, as software takes them."""
    panel = draw_families("poisson").panel
    x = panel.covariates["x"].copy()
    x[:, 2] = np.nan
    n = panel.cells.n.copy()
    n[:, 2] = 0.0
    answer = Gee(family="poisson", covariates=("x",))
    missing = answer.estimate(replace(panel, covariates={"x": x}), RNG)
    cells = Cells(n, np.where(n > 0, panel.cells.mean, np.nan), panel.cells.ss)
    same(missing, answer.estimate(replace(panel, cells=cells), RNG))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_authority_that_nobody_was_seen_in_does_not_count(family: Family) -> None:
    """Neither its arm nor its degree of freedom."""
    panel = draw_families(family).panel
    n = panel.cells.n.copy()
    n[:, panel.roster.authority == 7] = 0.0
    cells = Cells(n, np.where(n > 0, panel.cells.mean, np.nan), np.where(n > 0, panel.cells.ss, 0.0))
    kept = panel.roster.authority < 7
    row = np.arange(kept.sum())
    assert panel.cells.ss is not None
    fewer = replace(
        panel,
        roster=Roster(panel.roster.authority[kept], row, row),
        cells=Cells(panel.cells.n[:, kept], panel.cells.mean[:, kept], panel.cells.ss[:, kept]),
        start=panel.start[:, :7],
        covariates={name: values[:, kept] for name, values in panel.covariates.items()},
    )
    for covariates in ((), ("x",)):
        answer = Gee(family=family, covariates=covariates)
        found = answer.estimate(replace(panel, cells=cells), RNG)
        same(found, answer.estimate(fewer, RNG))
        assert (found.df == 7 - 2 - len(covariates)).all()


def test_what_an_answer_lacks_is_said() -> None:
    """A missing covariate or sum of squares must not become a number; independence needs none."""
    panel = draw_families("gaussian").panel
    with pytest.raises(ValueError, match="no covariate 'poverty'"):
        Gee(covariates=("poverty",)).estimate(panel, RNG)
    bare = replace(panel, cells=Cells(panel.cells.n, panel.cells.mean))
    with pytest.raises(ValueError, match="sums of squares"):
        Gee().estimate(bare, RNG)
    free = Gee(working="independence")
    same(free.estimate(bare, RNG), free.estimate(panel, RNG))
    assert (Gee().needs, free.needs) == ("cells", "means")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"report": "link"}, "report has no effect"),
        ({"working": "independence", "moments": "plain"}, "moments has no effect"),
        ({"covariates": ["x", "x"]}, "twice"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], said: str) -> None:
    """What changes nothing is a misunderstanding."""
    with pytest.raises(ValidationError, match=said):
        Gee.model_validate(settings)
