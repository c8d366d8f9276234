"""How fast is a replicate, beside a Python peer that does the same work in the same sitting?

Run with `python experiments/speed.py` after `pip install '.[bench]'`; it writes results/speed/. Each row
times one study together with its null twin: draws, allocation, analysis and tally. The peer draws the
same kind of numbers with NumPy and analyses study and twin one replicate at a time. `draws` is the time
that NumPy takes for nothing but the random numbers of our own run.
"""

import csv
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.regression.mixed_linear_model import VCSpec
from threadpoolctl import threadpool_limits

from design_sim.simulate import simulate
from design_sim.sweep import parse, preset_text
from design_sim.world.settings import block_size

OUT = Path(__file__).parents[1] / "results" / "speed"
TRIAL = """
[world]
authorities = {clusters}
uptake = 1.0
quality = {{permanent_share = 1.0}}
fidelity = {{mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}}
[outcomes.y]
kind = "continuous"
source = "survey"
effect = 0.3
icc = {{authority = 0.05}}
[designs.trial]
kind = "cluster_rct"
outcome = "y"
authorities = {clusters}
sample = {{teams = 1, workers = 1, families = {families}}}
answers.answer = {{estimator = "{estimator}", estimand = "offered"}}
"""
PANEL = """
[world]
authorities = 150
uptake = 1.0
time = {years_before = 5, years_after = 5}
fidelity = {mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}
[outcomes.y]
kind = "continuous"
source = "record"
effect = 0.3
authority_sd = 1.0
family_sd = 10.0
[designs.panel]
kind = "difference_in_differences"
outcome = "y"
adopters = 75
years_before = 5
years_after = 5
answers.answer = {estimator = "two_way_fixed_effects", variance = "CR1S", estimand = "offered"}
"""
BOOTSTRAP = PANEL.replace(
    '"two_way_fixed_effects", variance = "CR1S"',
    '"wild_bootstrap", model = "two_way_fixed_effects", draws = 999, interval = false',
)
WEDGE = """
[world]
authorities = 18
uptake = 1.0
time = {years_before = 1, years_after = 6}
quality = {permanent_share = 1.0}
fidelity = {mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}
[outcomes.y]
kind = "continuous"
source = "survey"
effect = 0.3
icc = {authority = 0.05}
[designs.wedge]
kind = "stepped_wedge"
outcome = "y"
authorities = 18
steps = 6
sample = {teams = 1, workers = 1, families = 20}
answers.answer = {estimator = "mixed_model", period_effects = true, estimand = "offered"}
"""
CONTRAST = """
[world]
authorities = 4
uptake = 1.0
quality = {permanent_share = 1.0}
workers = {per_team = 20}
fidelity = {mean = 1.0, authority_sd = 0.0, worker_sd = 0.0, years_to_80_percent = 0.0}
[outcomes.y]
kind = "continuous"
source = "survey"
effect = 0.3
icc = {authority = 0.05, worker = 0.10}
[designs.contrast]
kind = "contrast"
outcome = "y"
pilots = 2
comparisons = 2
sample = {teams = 1, workers = 20, families = 3}
answers.answer = {estimator = "mixed_model", levels = ["authority", "worker"], estimand = "offered"}
"""
LOSSES = "[designs.contrast.measurement]\nconsent = 0.8\n"
RNG = np.random.Generator(np.random.SFC64(1))


def ours(text: str, replicates: int) -> float:
    """Median microseconds a replicate over five runs, after one that does not count."""
    scenario = parse(text, "speed").cases[0].scenario
    simulate([scenario], replicates)
    return statistics.median(timed(lambda: simulate([scenario], replicates), replicates) for _ in range(5))


def timed(work: Callable[[], object], replicates: int) -> float:
    """Microseconds a replicate of one piece of work."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / replicates * 1e6


def peer(analyse: Callable[[], None], times: int) -> float:
    """Median microseconds a replicate of a peer, over five runs after one that does not count."""
    analyse()
    return statistics.median(timed(lambda: [analyse() for _ in range(times)], times) for _ in range(5))


def draws(normals: int, uniforms: int, replicates: int = 4_096) -> float:
    """Microseconds a replicate for nothing but the random numbers."""

    def only_draw() -> None:
        RNG.standard_normal((replicates, normals))
        RNG.random((replicates, max(uniforms, 1)))

    return statistics.median(timed(only_draw, replicates) for _ in range(5))


def trial_data(clusters: int, families: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One trial: outcomes without effect, arm, cluster."""
    cluster = np.repeat(np.arange(clusters), families)
    treated = np.zeros(clusters)
    treated[RNG.permutation(clusters)[: clusters // 2]] = 1.0
    outcome = 0.05**0.5 * RNG.standard_normal(clusters)[cluster] + 0.95**0.5 * RNG.standard_normal(
        cluster.size
    )
    return outcome, treated[cluster], cluster


def statsmodels_ols(clusters: int, families: int) -> None:
    """One trial and its null twin by OLS with clustered standard errors, on arrays."""
    outcome, treated, cluster = trial_data(clusters, families)
    design = np.column_stack([np.ones(cluster.size), treated])
    for effect in (0.3, 0.0):
        fit = sm.OLS(outcome + effect * treated, design).fit(cov_type="cluster", cov_kwds={"groups": cluster})
        _ = fit.params[1], fit.bse[1], fit.pvalues[1]


def statsmodels_mixed(clusters: int, families: int) -> None:
    """One trial and its null twin by a random-intercept model."""
    outcome, treated, cluster = trial_data(clusters, families)
    design = np.column_stack([np.ones(cluster.size), treated])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for effect in (0.3, 0.0):
            fit = sm.MixedLM(outcome + effect * treated, design, cluster).fit()
            _ = fit.params[1], fit.bse[1], fit.pvalues[1]


def statsmodels_wedge() -> None:
    """One stepped wedge and its null twin by Hussey and Hughes' model, on arrays."""
    authority, occasion, _ = (index.ravel() for index in np.indices((18, 7, 20)))
    step = RNG.permutation(18) % 6
    treated = (occasion > step[authority]) * 1.0
    outcome = 0.05**0.5 * RNG.standard_normal(18)[authority]
    outcome += 0.95**0.5 * RNG.standard_normal(authority.size)
    design = np.column_stack([occasion[:, np.newaxis] == np.arange(7), treated]).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for effect in (0.3, 0.0):
            fit = sm.MixedLM(outcome + effect * treated, design, authority).fit()
            _ = fit.params[-2], fit.bse[-2], fit.pvalues[-2]


def statsmodels_workers(consent: float) -> None:
    """One 2 v 2 contrast and its null twin with random intercepts of authorities and workers, on arrays."""
    worker = np.repeat(np.arange(80), RNG.binomial(3, consent, 80))
    authority = worker // 20
    treated = (authority < 2) * 1.0
    outcome = 0.05**0.5 * RNG.standard_normal(4)[authority] + 0.1**0.5 * RNG.standard_normal(80)[worker]
    outcome += 0.85**0.5 * RNG.standard_normal(worker.size)
    design = np.column_stack([np.ones(worker.size), treated])
    members = [worker[authority == unit] for unit in range(4)]
    workers = [(own[:, np.newaxis] == np.unique(own)).astype(float) for own in members]
    names = [[str(one) for one in np.unique(own)] for own in members]
    spec = VCSpec(["worker"], [names], [workers])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for effect in (0.3, 0.0):
            intercept = np.ones((worker.size, 1))
            model = sm.MixedLM(outcome + effect * treated, design, authority, intercept, exog_vc=spec)
            fit = model.fit()
            _ = fit.params[1], fit.bse[1], fit.pvalues[1]


def panel_frame() -> pd.DataFrame:
    """One panel of 150 authorities by 10 years, 75 of them treated from the sixth on."""
    unit, year = np.repeat(np.arange(150), 10), np.tile(np.arange(10), 150)
    adopter = np.isin(unit, RNG.permutation(150)[:75])
    outcome = RNG.standard_normal(150)[unit] + RNG.standard_normal(1_500)
    return pd.DataFrame({"unit": unit, "year": year, "d": (adopter & (year >= 5)) * 1.0, "y": outcome})


def pyfixest_panel() -> None:
    """One panel and its null twin by pyfixest."""
    import pyfixest

    frame = panel_frame()
    for effect in (0.3, 0.0):
        fit = pyfixest.feols(
            "z ~ d | unit + year", frame.assign(z=frame.y + effect * frame.d), vcov={"CRV1": "unit"}
        )
        _ = fit.coef(), fit.se(), fit.pvalue()


def linearmodels_panel() -> None:
    """One panel and its null twin by linearmodels."""
    from linearmodels.panel import PanelOLS

    frame = panel_frame().set_index(["unit", "year"])
    for effect in (0.3, 0.0):
        model = PanelOLS(frame.y + effect * frame.d, frame[["d"]], entity_effects=True, time_effects=True)
        fit = model.fit(cov_type="clustered", cluster_entity=True)
        _ = fit.params, fit.std_errors, fit.pvalues


def wildboottest_panel() -> None:
    """One panel and its null twin by wildboottest, spared the dummies of authorities by demeaning."""
    from wildboottest.wildboottest import WildboottestCL

    frame = panel_frame()
    years = [frame.year == year for year in range(1, 10)]
    regressors = np.column_stack([frame.d, *years]).astype(float).reshape(150, 10, 10)
    regressors = (regressors - regressors.mean(axis=1, keepdims=True)).reshape(1_500, 10)
    for effect in (0.3, 0.0):
        outcome = (frame.y + effect * frame.d).to_numpy()
        restriction = (np.arange(10) == 0) * 1.0
        test = WildboottestCL(
            X=regressors, Y=outcome, cluster=frame.unit.to_numpy(), R=restriction, B=999, parallel=False
        )
        test.get_scores(bootstrap_type="11", impose_null=True)
        test.get_weights(weights_type="rademacher")
        test.get_numer()
        test.get_denom()
        test.get_tboot()
        test.get_vcov()
        test.get_tstat()
        test.get_pvalue()


def rows() -> list[dict[str, object]]:
    """The table: our time, the peer's, their ratio, and the draws alone."""
    regression, mixed = "clustered_regression", "mixed_model"
    small, many = (TRIAL.format(clusters=20, families=n, estimator=regression) for n in (30, 3_000))
    tasks = [
        ("T1a", "20 authorities x 30 families, CR2", small, 65_536, "statsmodels OLS, clustered",
         lambda: statsmodels_ols(20, 30), 200, (40, 20)),
        ("T1a x 100", "20 authorities x 3,000 families, CR2", many,
         65_536, "statsmodels OLS, clustered", lambda: statsmodels_ols(20, 3_000), 10, (40, 20)),
        ("T1b", "20 authorities x 30 families, REML with Satterthwaite",
         TRIAL.format(clusters=20, families=30, estimator=mixed), 65_536, "statsmodels MixedLM",
         lambda: statsmodels_mixed(20, 30), 10, (80, 20)),
        ("T2a", "150 authorities x 200 families, CR2",
         TRIAL.format(clusters=150, families=200, estimator=regression), 16_384, "statsmodels OLS, clustered",
         lambda: statsmodels_ols(150, 200), 20, (300, 150)),
        ("T3", "stepped wedge, 18 authorities x 7 occasions x 20 families, Hussey-Hughes", WEDGE, 16_384,
         "statsmodels MixedLM", statsmodels_wedge, 5, (270, 18)),
        ("T4a", "difference-in-differences, 150 authorities x 10 years, clustered", PANEL, 4_096,
         "linearmodels PanelOLS", linearmodels_panel, 10, (3_000, 300)),
        ("T4a", "difference-in-differences, 150 authorities x 10 years, clustered", PANEL, 4_096,
         "pyfixest feols", pyfixest_panel, 10, (3_000, 300)),
        ("T4b", "the same panel, wild cluster bootstrap, 999 draws, no interval", BOOTSTRAP, 4_096,
         "wildboottest", wildboottest_panel, 1, (3_000, 2_640)),
        ("T5", "2 v 2, 20 workers x 3 families, three-level REML", CONTRAST, 16_384,
         "statsmodels MixedLM", lambda: statsmodels_workers(1.0), 2, (244, 8)),
        ("T5", "the same, families lost: workers with 0 to 3", CONTRAST + LOSSES, 16_384,
         "statsmodels MixedLM", lambda: statsmodels_workers(0.8), 2, (244, 88)),
    ]  # fmt: skip
    table = []
    for task, what, text, replicates, name, analyse, times, numbers in tasks:
        own, other = ours(text, replicates), peer(analyse, times)
        row = {
            "task": task,
            "what": what,
            "microseconds": round(own, 2),
            "draws": round(draws(*numbers), 2),
            "peer": name,
            "peer_microseconds": round(other),
            "ratio": round(other / own),
        }
        print(row, flush=True)
        table.append(row)
    return table


def main_job() -> str:
    """Wall time and peak memory of the main job on two processes, all outputs written."""
    experiment = Path(__file__).parent / "next_evaluation.toml"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "design_sim", "run", str(experiment), "--out", folder, "--jobs", "2"]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return (
        f"next_evaluation, 2,000 replicates with null twins and all outputs, two processes: {seconds:.1f} s, "
        f"largest process {peak:.2f} GB."
    )


ENGLAND = {
    "authority rows, seven outcomes on record": "",
    "worker rows, 24 workers in each of 151 authorities": """
[outcomes.engagement]
kind = "continuous"
source = "survey"
effect = 0.3
icc = {authority = 0.03, team = 0.02, worker = 0.08}
[designs.engagement]
kind = "difference_in_differences"
outcome = "engagement"
adopters = 9
years_before = 5
years_after = 5
sample = {teams = 4, workers = 6, families = 10}
answers.change = {estimator = "cluster_means", change = true, estimand = "offered", average = "adopters"}
""",
}
"""England over ten years, and what is added to the preset for either depth."""
_MEASURED = """
import resource, sys, time
from threadpoolctl import threadpool_limits
from design_sim.simulate import simulate
from design_sim.sweep import parse, preset_text
from design_sim.world.settings import block_size
scenario = parse(sys.stdin.read(), "england").cases[0].scenario
with threadpool_limits(1):
    simulate([scenario], 1)
    start = time.process_time()
    simulate([scenario], int(sys.argv[1]))
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def england() -> list[str]:
    """Cost and peak memory of the preset world at ten years, at the depth of authorities and of workers."""
    lines = []
    for depth, added in ENGLAND.items():
        text = preset_text("england").replace(
            "years_before = 2\nyears_after = 2", "years_before = 5\nyears_after = 5"
        )
        if added:
            text = text.split("[designs.rereferral]")[0] + added
            kept = text.index("[outcomes.second_plan]"), text.index("[outcomes.engagement]")
            text = text[: kept[0]] + text[kept[1] :]
        replicates = 5 * block_size(parse(text, "england").cases[0].scenario.world)
        command = [sys.executable, "-c", _MEASURED, str(replicates)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        seconds, peak = map(float, done.stdout.split())
        lines.append(
            f"England over ten years, {depth}: {seconds / replicates * 1e3:.1f} ms a replicate with its null "
            f"twins, one core, peak {peak:.2f} GB."
        )
        print(lines[-1], flush=True)
    return lines


def write(table: list[dict[str, object]], notes: list[str]) -> None:
    """The table as CSV and as Markdown."""
    OUT.mkdir(parents=True, exist_ok=True)
    with (OUT / "speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    lines = [
        "# Speed",
        "",
        "Microseconds a replicate, one core, a study together with its null twin, draws included; medians of",
        f"five runs. Python {platform.python_version()}, NumPy {np.__version__}.",
        "",
        "| task | what | ours | draws alone | peer | peer's | ratio |",
        "|---|---|---:|---:|---|---:|---:|",
        *("| {} |".format(" | ".join(str(value) for value in row.values())) for row in table),
        "",
        *(line for note in notes for line in (note, "")),
    ]
    (OUT / "README.md").write_text("\n".join(lines))


if __name__ == "__main__":
    # A process inherits its parent's peak of memory: what is measured in processes of its own comes first.
    notes = [main_job(), *england()]
    with threadpool_limits(1):
        measured = rows()
    write(measured, notes)
