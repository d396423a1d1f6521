"""The searches that are compared: autockd's with its settings, and Ray's own OptunaSearch with ASHA."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.curves import Curves, Lots
from harness.simulation import Sighting, Simulation, Slice
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler
from ray.tune.search.optuna import OptunaSearch

from autockd.config import StudyConfig
from autockd.records import Event, RungResult, TrialOutcome, TrialReport, TrialStarted
from autockd.search.book import StudyBook
from autockd.search.proposals import suggest_params
from autockd.search.searcher import StudyScheduler, StudySearcher
from autockd.search.trainable import REPORT


class Contestant(Protocol):
    """A way to search."""

    def search(self, curves: Curves, seed: int, workers: int, budget: float) -> list[Sighting]:
        """Search the table, by its runs of seed `seed % curves.seeds`, for `budget` epochs on each worker."""


@dataclass
class Ours:
    """autockd's search: the real book, searcher and scheduler.

    Attributes:
        study: its configuration, but for the seed.
        events: what the last search wrote down.
    """

    study: StudyConfig
    events: list[Event] = field(default_factory=list)

    def search(self, curves: Curves, seed: int, workers: int, budget: float) -> list[Sighting]:
        """Search in a folder of its own, in memory where there is such a place."""
        self.events = []
        with tempfile.TemporaryDirectory(dir=_memory()) as folder:
            study = self.study.model_copy(update={"seed": seed})
            journal = Path(folder) / "optuna.journal"
            book = StudyBook(study, journal, self.events.append, parallel=workers, direction="maximize")
            worker = _Worker(curves, seed % curves.seeds, self.events)
            searcher = StudySearcher(book, "trial {} is lost".format)
            return Simulation(searcher, StudyScheduler(book, searcher), worker.run, workers, budget).run()


class _Worker:
    """Plays the reports that TrialWorker would make."""

    def __init__(self, curves: Curves, seed: int, events: list[Event]) -> None:
        self._curves = curves
        self._seed = seed
        self._events = events
        self._lots = Lots(curves)

    def run(self, config: dict[str, Any]) -> Iterator[Slice]:
        number, rungs = config["number"], config["rungs"]
        point = self._point(number)
        records = self._curves.records(self._seed, point)
        shown = None if self._curves.roles[point] == "baseline" else point
        begin = 0
        for rung, epochs in enumerate(rungs, start=1):
            run = self._curves.accuracy[epochs if config["ladder"] else self._curves.epochs][self._seed, point]
            result = RungResult(rung=rung, epochs=epochs, value=run[:epochs].max())
            told = () if config["ladder"] else tuple(records[begin:epochs])
            cost = epochs if config["ladder"] else epochs - begin
            yield Slice(cost, _told(TrialReport(trial=number, records=told, rung=result)), shown, result.value, False)
            begin = 0 if config["ladder"] else epochs
        last = records[-1]
        outcome = TrialOutcome(
            state="complete", value=last.best_metric, best_epoch=last.best_epoch, epochs=self._curves.epochs
        )
        report = TrialReport(trial=number, records=tuple(records[begin:]), outcome=outcome)
        yield Slice(self._curves.epochs - begin, _told(report), shown, last.best_metric, True)

    def _point(self, number: int) -> int:
        started = next(
            event for event in reversed(self._events) if isinstance(event, TrialStarted) and event.trial == number
        )
        if started.role in ("baseline", "default"):
            return self._curves.roles.index(started.role)
        return self._lots.draw(started.params)


@dataclass
class RayDefault:
    """OptunaSearch with ASHA by epoch, both as they come, told the best metric so far after every epoch.

    Attributes:
        reduction_factor: of ASHA; Ray's default is 4. None is no early stopping.
    """

    reduction_factor: float | None = 4

    def search(self, curves: Curves, seed: int, workers: int, budget: float) -> list[Sighting]:
        """Search a space with the same conditions, defined by running."""

        def space(trial: Any) -> None:
            suggest_params(trial, curves.space)

        searcher = OptunaSearch(space, metric="accuracy", mode="max", seed=seed)
        scheduler = FIFOScheduler()
        if self.reduction_factor is not None:
            scheduler = AsyncHyperBandScheduler(
                metric="accuracy", mode="max", max_t=curves.epochs, reduction_factor=self.reduction_factor
            )
        lots = Lots(curves)

        def run(config: dict[str, Any]) -> Iterator[Slice]:
            point = lots.draw(config)
            run = curves.accuracy[curves.epochs][seed % curves.seeds, point]
            for epoch, best in enumerate(itertools.accumulate(run.tolist(), max), start=1):
                done = epoch == curves.epochs
                yield Slice(1, {"accuracy": best, "training_iteration": epoch, "done": done}, point, best, done)

        return Simulation(searcher, scheduler, run, workers, budget).run()


def _told(report: TrialReport) -> dict[str, Any]:
    return {REPORT: report.model_dump_json(), "done": report.outcome is not None}


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
