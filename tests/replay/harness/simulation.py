"""Ray Tune's part in a search, on a simulated clock: what its controller asks and tells a searcher and a scheduler.

The order of the calls is that of Ray 2.60 (`TuneController._process_trial_result` and `stop_trial`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher


@dataclass(frozen=True)
class Slice:
    """What a worker does between two reports.

    Attributes:
        cost: how long it takes, in epochs.
        result: what it tells Tune then; `done` in it ends the trial.
        point: the recorded run that is replayed; None for a baseline.
        value: the best validation metric that this trial has shown until then.
        is_whole: whether the whole run is trained then.
    """

    cost: float
    result: dict[str, Any]
    point: int | None
    value: float
    is_whole: bool


@dataclass(frozen=True)
class Sighting:
    """A slice that has ended, and when."""

    time: float
    trial: int
    slice: Slice


@dataclass
class Trial:
    """As much of Tune's trial as schedulers look at."""

    trial_id: str
    number: int
    slices: Iterator[Slice]
    next: Slice | None = None


Start = Callable[[dict[str, Any]], Iterator[Slice]]
"""Runs a trial, given what the searcher suggested."""


@dataclass
class Simulation:
    """A search in progress.

    Attributes:
        searcher, scheduler: Tune's interfaces, with the real classes behind them.
        start: runs a trial on a worker.
        workers: trials at a time.
        budget: epochs that each worker has time for; a run that is not over by then is lost.
        sightings: every slice that ended, in the order of time.
    """

    searcher: Searcher
    scheduler: TrialScheduler
    start: Start
    workers: int
    budget: float
    sightings: list[Sighting] = field(default_factory=list)
    started: int = 0
    _running: list[tuple[float, int, Trial]] = field(default_factory=list)

    def run(self) -> list[Sighting]:
        """Search until the searcher has no more to suggest, or until the budget is spent."""
        now = 0.0
        while True:
            while len(self._running) < self.workers and (trial := self._suggested()):
                self._go_on(trial, now)
            if not self._running:
                return self.sightings
            now, _, trial = heapq.heappop(self._running)
            if now > self.budget:
                return self.sightings
            assert trial.next is not None
            self.sightings.append(Sighting(now, trial.number, trial.next))
            if not self._ends(trial, trial.next.result):
                self._go_on(trial, now)

    def _suggested(self) -> Trial | None:
        trial_id = f"{self.started:08d}"
        config = self.searcher.suggest(trial_id)
        if config is None or config == Searcher.FINISHED:
            assert self._running or config is not None, "the searcher waits for nothing"
            return None
        trial = Trial(trial_id, self.started, self.start(config))
        self.started += 1
        self.scheduler.on_trial_add(None, trial)
        return trial

    def _go_on(self, trial: Trial, now: float) -> None:
        trial.next = next(trial.slices)
        heapq.heappush(self._running, (now + trial.next.cost, trial.number, trial))

    def _ends(self, trial: Trial, result: dict[str, Any]) -> bool:
        stops = result["done"] or self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP
        if stops:
            self.scheduler.on_trial_complete(None, trial, result)
            self.searcher.on_trial_complete(trial.trial_id, result=result)
        else:
            self.searcher.on_trial_result(trial.trial_id, result)
        return bool(stops)
