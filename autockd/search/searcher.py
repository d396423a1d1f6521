"""Ray Tune's two sides of a study's book: StudySearcher is asked for trials, StudyScheduler is told how they go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from autockd.errors import EnvironmentProblem
from autockd.search.proposal import Book
from autockd.search.trainable import read_report

LOST = "its worker ended without a result (killed, hung, out of memory, or its node was lost); no retry is left"


def say_lost(number: int) -> str:
    """Why a trial ended whose worker said nothing."""
    return LOST


class StudySearcher(Searcher):  # type: ignore[misc]
    """Has no state of its own: trials are numbered, recorded and told in the book.

    Args:
        book: the study's book.
        explain: says why a trial, by its number, ended without an outcome.
    """

    def __init__(self, book: Book, explain: Callable[[int], str] = say_lost) -> None:
        super().__init__()
        self._book: Book | None = book
        self._explain = explain
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial's configuration, None to be asked again later, or FINISHED."""
        assert self._book is not None
        proposal = self._book.propose()
        if proposal is None:
            return Searcher.FINISHED if self._book.finished else None
        self._numbers[trial_id] = proposal.number
        return {**asdict(proposal), "config": proposal.config.model_dump(mode="json")}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended: with its outcome, stopped at a rung and closed already, or by the loss of its worker."""
        assert self._book is not None
        if result is not None and (report := read_report(result)):
            self._book.report(report)
        number = self._numbers[trial_id]
        self._book.give_up(number, self._explain(number))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are not what a study resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """Without the book: open files do not travel, and no copy of a searcher may propose trials."""
        return {**self.__dict__, "_book": None, "_explain": say_lost}


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Passes every report on to the book, and stops the trials that the book stops."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book: Book | None = book

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

    def __getstate__(self) -> dict[str, Any]:
        """Without the book, as the searcher."""
        return {**self.__dict__, "_book": None}
