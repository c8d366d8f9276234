"""Plan an evaluation by simulation: trials, contrast studies and quasi-experiments on the same authorities.

>>> import design_sim
>>> sweep = design_sim.load("sofs-small-20v20")
>>> results = design_sim.run(sweep, replicates=100)
>>> results.performance.query("measure == 'power'").shape
(4, 18)

A public name is imported when it is first used, so that the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from design_sim.analysis import Analysis, analyse
    from design_sim.attained import Attained, attained_power
    from design_sim.calibration import Calibration, calibrate
    from design_sim.certificate.trials import Certificate, certify
    from design_sim.error_budget import Budget, budget
    from design_sim.errors import DesignSimError, ScenarioError
    from design_sim.estimands import Estimand
    from design_sim.figures import figure
    from design_sim.results import Results, run
    from design_sim.scenario import Scenario
    from design_sim.study import Answer, Study
    from design_sim.sweep import Sweep, load, parse, presets

_HOMES = {
    "Analysis": "analysis",
    "analyse": "analysis",
    "Answer": "study",
    "Attained": "attained",
    "attained_power": "attained",
    "Budget": "error_budget",
    "Calibration": "calibration",
    "Certificate": "certificate.trials",
    "DesignSimError": "errors",
    "Estimand": "estimands",
    "Results": "results",
    "Scenario": "scenario",
    "ScenarioError": "errors",
    "Study": "study",
    "Sweep": "sweep",
    "budget": "error_budget",
    "calibrate": "calibration",
    "certify": "certificate.trials",
    "figure": "figures",
    "load": "sweep",
    "parse": "sweep",
    "presets": "sweep",
    "run": "results",
}

__all__ = [
    "Analysis",
    "analyse",
    "Answer",
    "Attained",
    "attained_power",
    "Budget",
    "Calibration",
    "Certificate",
    "DesignSimError",
    "Estimand",
    "Results",
    "Scenario",
    "ScenarioError",
    "Study",
    "Sweep",
    "budget",
    "calibrate",
    "certify",
    "figure",
    "load",
    "parse",
    "presets",
    "run",
]


def __getattr__(name: str) -> object:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
