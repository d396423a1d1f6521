"""FinalistBook: the best trials and the baselines once more, with fresh seeds. It knows the record, no Ray, no Optuna.

Nothing is proposed that was not decided before: a run with its seed rests on no other run. All finalists have the same
seeds, and the runs go seed by seed, so that whenever they end early, finalists can be compared in pairs.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from autockd.config.trial import TrialConfig
from autockd.records import (
    EpochFinished,
    Event,
    FinalistFinished,
    StudyResumed,
    TrialOutcome,
    TrialReport,
    TrialStarted,
)
from autockd.search.meter import cost_of
from autockd.search.pace import Pace
from autockd.search.proposal import Proposal, finalist_folder


def fresh_seeds(seed: int, count: int) -> tuple[int, ...]:
    """The seeds of a study's finalists: the numbers after its own. So more of them leave the first as they were."""
    return tuple(range(seed + 1, seed + 1 + count))


class FinalistBook:
    """The one place where finalists' runs are given out and closed; there are no rungs, so none is stopped early."""

    def __init__(
        self,
        starts: Sequence[TrialStarted],
        seeds: Sequence[int],
        record: Callable[[Event], None],
        *,
        parallel: int,
        history: Iterable[Event] = (),
    ) -> None:
        """Plan the runs that the history does not have.

        Args:
            starts: the trials that run again.
            seeds: fresh seeds, for each of them.
            record: writes an event down before anything else hears of it.
            parallel: runs at a time.
            history: the events of the study so far.
        """
        trials = {start.trial: TrialConfig.model_validate(start.config) for start in starts}
        self._runs = [(trial, seed) for seed in seeds for trial in trials]
        self._trials = trials
        self._record = record
        self._parallel = parallel
        self._open: dict[int, TrialOutcome] = {}
        self._pace = Pace()
        done = set()
        for event in history:
            if isinstance(event, FinalistFinished):
                done.add((event.trial, event.seed))
            elif isinstance(event, StudyResumed):
                self._pace = Pace()  # it may go on where an epoch takes longer
            elif isinstance(event, EpochFinished) and event.trial in trials:
                self._pace.note(trials[event.trial], event.record)
        self._closed = {number: None for number, run in enumerate(self._runs) if run in done}
        self._waiting = deque(number for number in range(len(self._runs)) if number not in self._closed)

    @property
    def all_proposed(self) -> bool:
        """Whether every run has been proposed."""
        return not self._waiting

    @property
    def is_over(self) -> bool:
        """Whether every run has an outcome."""
        return len(self._closed) == len(self._runs)

    @property
    def left(self) -> int:
        """Runs that have no outcome yet."""
        return len(self._runs) - len(self._closed)

    @property
    def closed(self) -> tuple[int, ...]:
        """Places of the runs that have an outcome."""
        return tuple(self._closed)

    def folder(self, study: Path, number: int) -> Path:
        """Where a run keeps its checkpoint and its weights, in the study's folder."""
        return finalist_folder(study, *self._runs[number])

    def propose(self) -> Proposal | None:
        """The next run; None while as many run as may, and when all are given out.

        One that ran when the study stopped goes on from the checkpoint in its folder.
        """
        if not self._waiting or len(self._open) >= self._parallel:
            return None
        number = self._waiting.popleft()
        self._open[number] = TrialOutcome(state="failed")
        trial, seed = self._runs[number]
        config = self._trials[trial].model_copy(update={"seed": seed})
        return Proposal(number, config, slowest_epoch=self._pace.longest(config), trial=trial, seed=seed)

    def report(self, report: TrialReport) -> bool:
        """Take what a worker tells; whether the run has ended."""
        if report.trial in self._open:
            for record in report.records:
                self._pace.note(self._trials[self._runs[report.trial][0]], record)
            known = self._open[report.trial]
            epochs = max([known.epochs, *(record.epoch for record in report.records)])
            self._open[report.trial] = known.model_copy(update={**cost_of(report), "epochs": epochs})
            if report.outcome is not None:
                self._close(report.trial, report.outcome)
        return report.trial in self._closed

    def give_up(self, number: int, reason: str) -> None:
        """Close a run as failed, with what is known of its cost; the others go on."""
        if number in self._open:
            self._close(number, self._open[number].model_copy(update={"reason": reason}))

    def _close(self, number: int, outcome: TrialOutcome) -> None:
        trial, seed = self._runs[number]
        self._record(FinalistFinished(time=time.time(), trial=trial, seed=seed, **outcome.model_dump()))
        del self._open[number]
        self._closed[number] = None
