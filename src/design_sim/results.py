"""Results: what a run found, as tables, and as the sentence that reads them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from design_sim.estimators import Status
from design_sim.failures import failure_words
from design_sim.performance import Headline, headline, performance
from design_sim.simulate import Progress, Tallies, simulate
from design_sim.study import Answer, Study
from design_sim.sweep import Case, Sweep
from design_sim.tally import Tally

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Judged:
    """One answer of one study in one case, with its tally."""

    case: Case
    design: str
    answer_name: str
    study: Study
    answer: Answer
    tally: Tally

    @property
    def labels(self) -> dict[str, Any]:
        """The columns that say which answer this is, the varied settings first."""
        estimand = self.answer.estimand
        return {
            **self.case.settings,
            "design": self.design,
            "outcome": self.study.design.outcome,
            "answer": self.answer_name,
            "estimator": self.answer.estimator.estimator,
            "estimand": estimand.rung,
            "average": estimand.average,
            "weights": estimand.weights,
            "exit": estimand.exit,
            "component": estimand.component or "",
            "clusters": self.study.clusters_of(self.answer),
        }

    @cached_property
    def headline(self) -> Headline:
        """What is shown first of this answer."""
        return headline(self.tally)


@dataclass(frozen=True)
class Results:
    """What a run found.

    Parameters
    ----------
    sweep : Sweep
        What was asked.
    tallies : list of Tallies
        For each case, a tally by design and answer.
    """

    sweep: Sweep
    tallies: list[Tallies]

    @cached_property
    def judged(self) -> list[Judged]:
        """Every answer of every study and case, in the file's order."""
        return list(self._judge())

    def _judge(self) -> Iterator[Judged]:
        for case, tallies in zip(self.sweep.cases, self.tallies, strict=True):
            for (design, answer), tally in tallies.items():
                study = case.scenario.studies[design]
                yield Judged(case, design, answer, study, study.answers[answer], tally)

    @cached_property
    def performance(self) -> "DataFrame":
        """Every measure in long form.

        Columns: one for each varied setting, then design, outcome, answer, estimator, estimand, average,
        weights, exit, component, clusters (what the analysis takes as independent), measure, value, mcse (its
        Monte Carlo standard error), replicates (as requested), failures (failed analyses among them), their
        reasons, such as "12 singular, 3 not converged", and boundary (analyses with a variance estimated as
        0, which are no failures).
        """
        from pandas import DataFrame

        return DataFrame(
            [
                {
                    **judged.labels,
                    "measure": measured.measure,
                    "value": measured.value,
                    "mcse": measured.mcse,
                    "replicates": self.sweep.replicates,
                    "failures": judged.tally.failed,
                    "reasons": failure_words(judged.tally),
                    "boundary": judged.tally.ended(Status.BOUNDARY),
                }
                for judged in self.judged
                for measured in performance(judged.tally)
            ]
        )


def run(
    sweep: Sweep, replicates: int | None = None, jobs: int = 1, progress: Progress | None = None
) -> Results:
    """Run every case of a sweep.

    Parameters
    ----------
    sweep : Sweep
        From `load`.
    replicates : int, optional
        In the place of the file's number.
    jobs : int
        Processes; the numbers are the same for any.
    progress : callable, optional
        Called with (blocks done, blocks in all).
    """
    sweep = sweep if replicates is None else replace(sweep, replicates=replicates)
    tallies = simulate([case.scenario for case in sweep.cases], sweep.replicates, jobs, progress)
    return Results(sweep, tallies)
