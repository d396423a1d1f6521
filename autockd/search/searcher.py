"""Ray Tune's two sides of a study's book: StudySearcher is asked for trials, StudyScheduler is told how they go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from autockd.errors import EnvironmentProblem
from autockd.search.proposal import Book, Proposal
from autockd.search.trainable import read_report

AGAIN_AT_MOST = 3
"""Times that a trial which found a dead worker is given to Tune once more."""


class StudySearcher(Searcher):  # type: ignore[misc]
    """Knows what Tune runs now; trials are numbered, recorded and told in the book.

    Args:
        book: the study's book.
        explain: says why a trial, by its number, ended without an outcome.
    """

    def __init__(self, book: Book, explain: Callable[[int], str]) -> None:
        super().__init__()
        self._book: Book | None = book
        self._explain: Callable[[int], str] | None = explain
        self._running: dict[str, Proposal] = {}
        self._again: list[Proposal] = []
        self._times: Counter[int] = Counter()
        self._problem: Exception | None = None

    def suggest(self, trial_id: str) -> Any:
        """The next trial's configuration, None to be asked again later, or FINISHED.

        Raises what has kept the book from taking a trial's end.
        """
        assert self._book is not None
        if self._problem is not None:
            raise self._problem
        proposal = self._again.pop(0) if self._again else self._book.propose()
        if proposal is None:
            is_over = self._book.all_proposed and not self._running  # one that runs may have to be suggested again
            return Searcher.FINISHED if is_over else None
        self._running[trial_id] = proposal
        return {**asdict(proposal), "config": proposal.config.model_dump(mode="json")}

    def suggest_again(self, trial_id: str) -> None:
        """A trial could not be given to a worker; it is suggested once more, if that is not too often."""
        proposal = self._running.get(trial_id)
        if proposal is not None and self._times[proposal.number] < AGAIN_AT_MOST:
            self._times[proposal.number] += 1
            self._again.append(self._running.pop(trial_id))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended: with its outcome, stopped at a rung and closed already, or by the loss of its worker.

        What is raised here Tune would take for a mishap of the trial, which it would then start again and give up. So
        it is kept until Tune asks for the next trial.
        """
        assert self._book is not None
        assert self._explain is not None
        if self._problem is not None or trial_id not in self._running:
            return
        number = self._running[trial_id].number
        try:
            if result is not None and (report := read_report(result)):
                self._book.report(report)
            self._book.give_up(number, self._explain(number))
        except Exception as problem:  # a full disk, or whoever watches
            self._problem = problem
        else:
            del self._running[trial_id]

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are not what a study resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """Without the book: open files do not travel, and no copy of a searcher may propose trials."""
        return {**self.__dict__, "_book": None, "_explain": None, "_problem": None}


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes every report on to the book, and stops the trials that the book stops.

    Args:
        book: the study's book.
        searcher: suggests the book's trials.
    """

    def __init__(self, book: Book, searcher: StudySearcher) -> None:
        super().__init__()
        self._book: Book | None = book
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A trial goes on, or ends at a rung.

        Raises:
            EnvironmentProblem: its worker says that no trial can go on there.
        """
        assert self._book is not None
        report = read_report(result)
        if report is not None and report.problem:
            raise EnvironmentProblem(report.problem)
        stops = report is not None and self._book.report(report)
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A trial ends without an outcome; Tune tells the searcher next.

        Where a trial is given to a worker that had another, and that has died meanwhile, Tune takes it for a mishap of
        the trial, or for two: for the first it may put it back among those that wait (and tells of it as of an error),
        and gives it up for the second.
        """
        resetting = getattr(tune_controller, "_resetting_trials", ())  # Tune's own; without it no trial is tried again
        if trial in resetting and trial.status != Trial.ERROR:
            self._searcher.suggest_again(trial.trial_id)

    def __getstate__(self) -> dict[str, Any]:
        """Without the book, as the searcher."""
        return {**self.__dict__, "_book": None}
