"""StudySearcher: Ray Tune asks it for trials and tells it results; it passes both on to the study's book."""

from __future__ import annotations

import json
from typing import Any

from ray.tune.search import Searcher

from autockd.records import TrialOutcome
from autockd.search.book import StudyBook
from autockd.search.trainable import read_report

LOST = "its worker ended without a result (killed, out of memory, or its node was lost) and the retries are used up"


class StudySearcher(Searcher):  # type: ignore[misc]
    """Has no state of its own: trials are numbered, recorded and told in the book."""

    def __init__(self, book: StudyBook) -> None:
        super().__init__()
        self._book: StudyBook | None = book
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial's configuration, None to be asked again later, or FINISHED."""
        assert self._book is not None
        proposal = self._book.propose()
        if proposal is None:
            return Searcher.FINISHED if self._book.finished else None
        self._numbers[trial_id] = proposal.number
        return {"number": proposal.number, "trial": json.loads(proposal.config.model_dump_json())}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial goes on."""
        self._take(result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended, with its outcome or by the loss of its worker."""
        assert self._book is not None
        if result is not None:
            self._take(result)
        self._book.close(self._numbers[trial_id], TrialOutcome(state="failed", reason=LOST))

    def _take(self, result: dict[str, Any]) -> None:
        assert self._book is not None
        if report := read_report(result):
            self._book.report(report)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are not what a study resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""

    def __getstate__(self) -> dict[str, Any]:
        """Without the book: open files do not travel, and no copy of a searcher may propose trials."""
        return {**self.__dict__, "_book": None}
