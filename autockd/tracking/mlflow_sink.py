"""A study's way into MLflow while it runs.

The ledger holds every event before MLflow hears of it. So the sink may drop, wait and start over: whatever happens to
MLflow, the search goes on, and what was missed is read from the ledger at the next contact, or by `sync` afterwards.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from autockd.errors import unexpected
from autockd.records import Event
from autockd.tracking.ledger import read_events
from autockd.tracking.mlflow_projection import Projection
from autockd.tracking.mlflow_runs import RunUpdate
from autockd.tracking.mlflow_store import MlflowStore
from autockd.tracking.redaction import redact

_CAPACITY = 10_000
_SHARE_OF_TIME = 0.05
"""The sink works at most this share of the time, so that it does not take cores from trials."""
_MAX_PAUSE = 30.0
_LAST_TRIES = 3


@dataclass(frozen=True)
class SinkSummary:
    """What became of a study's events.

    Attributes:
        delivered: events that are in MLflow.
        missed: events that are not, or not known to be; `sync` brings them there from the ledger.
        errors: failed attempts to reach MLflow.
        last_error: the last of them, without credentials.
        experiment_id, run_id: where the study stands in MLflow, if it got there.
        artifacts_missed: files that were not copied.
        registered: what became of the bundle in the model registry, in a sentence; empty for a study without one.
        is_live: whether a driver is writing the study, and brings its events to MLflow itself.
        warning: what the user should know about MLflow's store; empty where there is nothing.
    """

    delivered: int
    missed: int
    errors: int = 0
    last_error: str | None = None
    experiment_id: str | None = None
    run_id: str | None = None
    artifacts_missed: tuple[Path, ...] = ()
    registered: str = ""
    is_live: bool = False
    warning: str = ""


class MlflowSink:
    """Writes events to MLflow from a thread of its own; nothing it meets there reaches the caller.

    It starts with what the ledger holds, so a study that is resumed catches up; and after a failure, or when more
    events wait than it keeps, it starts again from there. While it is behind it keeps no events at all.

    Args:
        uri: MLflow's tracking URI; credentials come from the environment.
        experiment: the experiment's name: the task.
        study_name: the study's name.
        ledger: the study's ledger, which already holds every event that is submitted.
        interval: seconds between writes, at least.
        capacity: events that may wait; where there are more, the sink reads them from the ledger.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        study_name: str,
        *,
        ledger: Path,
        interval: float = 1.0,
        capacity: int = _CAPACITY,
    ) -> None:
        self._store = MlflowStore(uri, experiment, study_name)
        self._ledger = ledger
        self._interval = interval
        self._capacity = capacity
        self._projection = Projection()
        self._refused: set[int | None] = set()
        self._mutex = threading.Lock()
        self._is_behind = True
        self._waiting: list[Event] = []
        self._artifacts: dict[Path, None] = {}
        self._failed_artifacts: dict[Path, None] = {}
        self._submitted = self._taken = self._written = self._errors = 0
        self._last_error: str | None = None
        self._deadline = math.inf
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-sink", daemon=True)

    def start(self) -> None:
        """Begin to write; returns at once, and is harmless when repeated."""
        if not self.has_begun:
            self._thread.start()

    @property
    def has_begun(self) -> bool:
        """Whether it was started; one that never was has asked nothing of MLflow."""
        return self._thread.ident is not None

    def submit(self, event: Event) -> None:
        """Hand over an event that is in the ledger; returns at once and never raises."""
        with self._mutex:
            self._submitted += 1
            if self._is_behind:
                return
            self._waiting.append(event)
            if len(self._waiting) > self._capacity:
                self._fall_behind()

    def log_artifact(self, path: Path) -> None:
        """Copy a file to the study's run, in the background; given again, it is copied again."""
        with self._mutex:
            self._artifacts[path] = None

    def close(self, timeout: float = 30.0) -> SinkSummary:
        """Write what is left, end every open run, and say what became of it all.

        Args:
            timeout: seconds that this takes at most; a server that cannot be reached is given up after some three.
        """
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        with self._mutex:
            return SinkSummary(
                delivered=self._written,
                missed=self._submitted - self._written,
                errors=self._errors,
                last_error=self._last_error,
                experiment_id=self._store.experiment_id,
                run_id=self._store.run_id,
                artifacts_missed=tuple(self._failed_artifacts | self._artifacts),
                warning=self._store.warning,
            )

    def _work(self) -> None:
        failures = 0
        while True:
            is_last = self._closing.is_set()
            spent = 0.0
            try:
                spent = self._deliver(is_last=is_last)
                if is_last:
                    return
                failures = 0
            except Exception as error:  # whatever MLflow, a driver or the network raises, the search goes on
                self._recover(error)
                failures += 1
                if is_last and (failures >= _LAST_TRIES or time.monotonic() > self._deadline):
                    return
            self._pause(spent, failures, is_last=is_last)

    def _pause(self, spent: float, failures: int, *, is_last: bool) -> None:
        """Between writes, longer after slow ones; after failures, twice as long each time. Closing cuts it short."""
        if is_last:
            time.sleep(self._interval)
            return
        back_off = self._interval * 2 ** min(failures, 10)
        self._closing.wait(min(max(back_off, spent / _SHARE_OF_TIME), _MAX_PAUSE))

    def _deliver(self, *, is_last: bool) -> float:
        """Write all that is new; the last time, end what is still open too.

        Returns:
            Seconds that it took, the first contact left out.
        """
        if is_last and self._errors:
            self._store.forget()  # a request that was given up may have made a run meanwhile
        self._store.connect()
        began = time.monotonic()
        for update in self._news(is_last=is_last):
            self._write(update)
        with self._mutex:
            self._written = self._taken
        self._upload(is_last=is_last)
        return time.monotonic() - began

    def _news(self, *, is_last: bool) -> list[RunUpdate]:
        """What MLflow does not know yet. Runs that it did not take before come last, lest they hold up the others."""
        with self._mutex:
            was_behind, self._is_behind = self._is_behind, False
            waiting, self._waiting = self._waiting, []
            self._taken = self._submitted
        if was_behind:
            self._projection = Projection()
            for event in read_events(self._ledger):
                self._projection.apply(event)
        for event in waiting:
            self._projection.apply(event)
        if is_last:
            self._projection.interrupt()
        return sorted(self._projection.take(), key=lambda update: update.trial in self._refused)

    def _write(self, update: RunUpdate) -> None:
        assert self._projection.study_id is not None, "there are no updates before the study's start"
        self._check_time()
        try:
            self._store.write(self._projection.study_id, update)
        except Exception:
            self._refused.add(update.trial)
            if self._store.run_id is None:  # the study's own run must come first
                self._refused.clear()
            raise
        self._refused.discard(update.trial)

    def _upload(self, *, is_last: bool) -> None:
        """Copy files; what MLflow does not take holds nothing up, and is tried once more at the end."""
        if is_last:
            with self._mutex:
                self._artifacts, self._failed_artifacts = self._failed_artifacts | self._artifacts, {}
        while self._artifacts and self._store.run_id is not None:
            with self._mutex:
                path = next(iter(self._artifacts))
                self._failed_artifacts[path] = self._artifacts.pop(path)
            try:
                self._check_time()
                self._store.log_artifact(path)
            except FileNotFoundError as error:
                self._count(error)
            except Exception as error:
                self._count(error)
                continue
            with self._mutex:
                del self._failed_artifacts[path]

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise TimeoutError("the study ended before MLflow had taken everything")

    def _recover(self, error: Exception) -> None:
        """What is in MLflow is no longer known; the ledger tells the story from its beginning."""
        self._count(error)
        self._store.forget()
        with self._mutex:
            self._fall_behind()

    def _fall_behind(self) -> None:
        """The ledger will be read again, so nothing needs to wait."""
        self._is_behind = True
        self._waiting.clear()

    def _count(self, error: Exception) -> None:
        with self._mutex:
            self._errors += 1
            self._last_error = redact(unexpected(error))
