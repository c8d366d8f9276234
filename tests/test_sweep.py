"""Scenario files: every fault at once, by its path, in words that help; and the cases of a sweep."""

from pathlib import Path

import pytest

from design_sim.designs.cluster_rct import ClusterRCT
from design_sim.errors import ScenarioError
from design_sim.sweep import load, parse, presets

EXPERIMENTS = sorted(Path(__file__).parents[1].glob("experiments/*.toml"))
GOOD = """# Can a trial see it?
[world]
authorities = 60
[outcomes.rereferral]
kind = "binary"
source = "record"
mean = 0.209
effect = -0.03
[designs.trial]
kind = "cluster_rct"
outcome = "rereferral"
authorities = 40
[designs.trial.answers.means]
estimator = "cluster_means"
estimand = "offered"
"""


def faults_of(text: str, **changes: object) -> list[str]:
    """The faults that a file is refused for."""
    with pytest.raises(ScenarioError) as refused:
        parse(text, "test", changes)  # type: ignore[arg-type]
    return refused.value.faults


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("[world]", "sed = 1\n[world]", "sed: unknown key; did you mean 'seed'?"),
        ("[world]", "seed = -1\n[world]", "seed: -1 is not within 0 to 2^63 - 1"),
        ("[world]", "alpha = 1.5\n[world]", "alpha: 1.5 is not within 0.0001 to 0.5"),
        ("[world]", "replicates = true\n[world]", "replicates: found true; allowed: a whole number"),
        (
            "[world]",
            "window = [6, 24]\n[world]",
            "window: found [6, 24]; allowed: two rising multiples of 12",
        ),
        ("[world]", "resolution = 'fine'\n[world]", "resolution: found 'fine'; allowed: 'auto'"),
        ("= 60", "= 60.5", "world.authorities: found 60.5; allowed: a whole number"),
        ("= 60", "= 60\nuptake = nan", "world.uptake: found nan; allowed: a finite number"),
        ("= 60", "= 60\nfidelity.mean = 1.4", "world.fidelity.mean: 1.4 is above 1, the most"),
        ("= 60", "= 60\nfidelity.maen = 0.4", "world.fidelity.maen: unknown key; did you mean 'mean'?"),
        ("= 60", "= 60\nfidelity.authority_sd = 0.6", "world.fidelity: a mean of 0.6 cannot be had"),
        ("= 60", "= 60\nadoption.bad_year_weight = 1.0", "world.adoption: bad_year_weight needs bad_year"),
        ("= 60", "= 60\ntime.years_after = 1", "designs.trial.year: 2 is above world.time.years_after, 1"),
        ('"binary"', '"binry"', "outcomes.rereferral: found kind 'binry', source 'record'; allowed: kind ="),
        ("effect = -0.03", "", "outcomes.rereferral.effect: missing"),
        ("-0.03", "-0.3", "outcomes.rereferral: a mean of 0.209 moved by -0.3 would leave 0 to 1"),
        ("-0.03", '-0.15\neffect_scale = "probability"', "outcomes.rereferral: an effect of -0.15 on the"),
        ('"cluster_rct"', '"cluster_rtc"', "designs.trial.kind: found 'cluster_rtc'; did you mean"),
        (
            'outcome = "rereferral"',
            'outcome = "referral"',
            "designs.trial.outcome: 'referral' is not an outcome",
        ),
        ("= 40", "= 61", "designs.trial.authorities: 61 authorities wanted, and the world has 60"),
        ("= 40", "= 40\ntreated = 40", "designs.trial: treated 40 leaves none of 40"),
        (
            "= 40",
            "= 40\nsample = {teams = 1, workers = 1, families = 1}",
            "designs.trial.sample: has no effect",
        ),
        ('"offered"', '"ofered"', "designs.trial.answers.means.estimand: found 'ofered'; allowed: 'offered'"),
        ('"offered"', '"offered"\nweighted_by = "x"', "designs.trial.answers.means.weighted_by: found 'x'"),
        (
            '"offered"',
            '"offered"\naverage = "adopters"',
            "designs.trial.answers.means.average: 'adopters' needs",
        ),
        ('"offered"', '"offered"\nchange = true', "designs.trial.answers.means: needs the outcome before"),
        ('"offered"', '"offered"\nchagne = true', "means.chagne: unknown key; did you mean 'change'?"),
        ('"cluster_means"', '"means"', "designs.trial.answers.means.estimator: found 'means'"),
        ("# Can", "x = [1\n# Can", "is not valid TOML"),
        ("# Can", f"x = {'[' * 900}\n# Can", "is nested more than 20 levels deep"),
        ("# Can", f"seed = {'9' * 5_000}\n# Can", "holds a number of too many digits"),
        ("= 60", "= 60\nsize.log_mean = 1.0", "world.size: with log_mean 1 and log_sd 0.61 fewer than one"),
        ("= 60", "= 60\nuptake = 2020-01-01", "world.uptake: found a date or time; allowed: a number"),
        ("[world]", "resolution = 'unit'\n[world]", "designs.trial: would hold"),
    ],
)
def test_a_fault_is_told_by_its_path_with_what_was_found(old: str, new: str, fault: str) -> None:
    """One clear line for each kind of mistake."""
    assert old in GOOD
    found = faults_of(GOOD.replace(old, new, 1))
    assert any(fault in line for line in found), found


def test_all_faults_are_told_at_once() -> None:
    """A user mends a file in one go, faults of parts and faults between parts alike."""
    text = GOOD.replace("= 40", "= 400").replace('"offered"', '"ofered"').replace("= 60", "= 60\nx = 1")
    text += '[designs.other]\nkind = "contrast"\noutcome = "nothing"\npilots = 100\ncomparisons = 1\n'
    paths = {line.split(":")[0] for line in faults_of(text.replace("x = 1", ""))}
    assert {"designs.trial.answers.means.estimand", "designs.other.outcome"} <= paths
    assert {"designs.other.answers", "designs.other.pilots and comparisons"} <= paths


def test_an_outcome_that_no_design_uses_is_refused() -> None:
    """A setting without effect is refused, never ignored."""
    unused = '[outcomes.days]\nkind = "continuous"\nsource = "survey"\neffect = 1.0\n'
    assert faults_of(GOOD + unused) == [
        "outcomes.days: no design uses it; remove it, or name it in a design's `outcome`"
    ]


def test_a_surveyed_outcome_needs_a_sample() -> None:
    """Nobody's answers can be collected from nobody."""
    text = (
        GOOD.replace('"binary"', '"continuous"').replace('"record"', '"survey"').replace("mean = 0.209", "")
    )
    assert faults_of(text) == [
        "designs.trial.sample: missing; outcome 'rereferral' is surveyed and needs a sample"
    ]


def test_a_sweep_is_the_full_grid_in_the_files_order() -> None:
    """Every combination is a case, with its settings beside it."""
    text = GOOD + '[sweep]\n"designs.trial.authorities" = [10, 20]\n"world.fidelity.mean" = [0.4, 0.5, 0.6]\n'
    sweep = parse(text, "test")
    assert sweep.varied == ("designs.trial.authorities", "world.fidelity.mean")
    assert [tuple(case.settings.values()) for case in sweep.cases][:4] == [
        (10, 0.4), (10, 0.5), (10, 0.6), (20, 0.4),
    ]  # fmt: skip
    design = sweep.cases[3].scenario.studies["trial"].design
    assert isinstance(design, ClusterRCT)
    assert design.authorities == 20
    assert sweep.cases[3].scenario.world.fidelity.mean == 0.4


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('"designs.trail.authorities" = [1]', "the file has no designs.trail; did you mean 'trial'?"),
        ('"world.fidelity.mean" = 0.5', "allowed: a list of values"),
        ('"world.fidelity.mean" = []', "found an empty list; allowed: a list of values"),
        ('"world.fidelity.mean" = [0.5, 0.5]', "a value stands there twice"),
        (
            '"world.fidelity.mean" = [0.5, 1.5]',
            "1.5 is above 1, the most (in the sweep, where world.fidelity.mean",
        ),
        ('"wrld.fidelity.mean" = [0.5]', "unknown key; did you mean 'world'?"),
        ('"seed" = [1, 2]', "seed cannot be varied"),
        ('"designs.trial.authorities" = [1, [2]]', "found a list among the values"),
    ],
)
def test_a_fault_of_a_sweep_names_the_setting_and_the_case(line: str, fault: str) -> None:
    """A value that cannot be run is found before anything runs."""
    found = faults_of(f"{GOOD}[sweep]\n{line}\n")
    assert any(fault in one for one in found), found


def test_settings_can_be_changed_from_outside() -> None:
    """What `--set` gives takes the place of the file's value, or of a default."""
    sweep = parse(GOOD, "test", {"designs.trial.authorities": 12, "world.fidelity.mean": 0.5})
    scenario = sweep.cases[0].scenario
    assert scenario.world.fidelity.mean == 0.5
    assert scenario.studies["trial"].design.authorities == 12  # type: ignore[attr-defined]


def test_a_sweep_cannot_be_set_from_outside() -> None:
    """What would be read after the grid was made must not be ignored."""
    assert "in the file only" in faults_of(GOOD, **{"sweep.world": 1})[0]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    """Some editors write one at the start of every file."""
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load(tmp_path / "marked.toml").cases


def test_a_change_of_a_varied_setting_is_refused() -> None:
    """Two values in two places: neither may win in silence."""
    text = GOOD + '[sweep]\n"designs.trial.authorities" = [10, 20]\n'
    assert "set it in one place only" in faults_of(text, **{"designs.trial.authorities": 12})[0]


def test_files_that_cannot_be_read_are_faults(tmp_path: Path) -> None:
    """Missing, a folder, or not text: a message with the file's name."""
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.toml", tmp_path, tmp_path / "bytes.toml"):
        with pytest.raises(ScenarioError, match=str(path)):
            load(path)


@pytest.mark.parametrize("name", list(presets()))
def test_every_preset_loads(name: str) -> None:
    """A packaged scenario must run as it stands."""
    assert load(name).cases


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_loads_and_states_its_aim(path: Path) -> None:
    """The first line says what the file is for."""
    assert path.read_text().startswith("# ")
    assert load(path).cases


@pytest.mark.parametrize("estimator", ["logistic_mixed_model", "poisson_mixed_model"])
def test_a_model_of_events_is_refused_for_other_outcomes(estimator: str) -> None:
    """A mean of a scale, or a share that observers shade, is no number of events."""
    events = GOOD.replace('"cluster_means"', f'"{estimator}"')
    parse(events, "test")
    scale = 'kind = "continuous"\nsource = "record"\nauthority_sd = 1.0\nfamily_sd = 4.0'
    continuous = events.replace('kind = "binary"\nsource = "record"\nmean = 0.209', scale)
    (fault,) = faults_of(continuous)
    assert fault.startswith("designs.trial.answers.means.estimator: outcome 'rereferral' is continuous, and")
    surveyed = events.replace('"record"', '"survey"').replace(
        "authorities = 40",
        "authorities = 40\nsample = {teams = 1, workers = 1, families = 9}\nmeasurement.observer_bias = 0.1",
    )
    (fault,) = faults_of(surveyed)
    assert "measurement.observer_bias moves off whole numbers" in fault
