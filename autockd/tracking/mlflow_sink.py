"""A study's way into MLflow while it runs.

The ledger holds every event before MLflow hears of it. So the sink may drop, wait and start over: whatever happens to
MLflow, the search goes on, and what was missed is read from the ledger at the next contact, or by `sync` afterwards.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

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
_LAST_TRIES = 2


@dataclass(frozen=True)
class SinkSummary:
    """What became of a study's events.

    Attributes:
        delivered: events that are in MLflow.
        missed: events that are not; `sync` brings them there from the ledger.
        errors: failed attempts to reach MLflow.
        last_error: the last of them, without credentials.
        experiment_id, run_id: where the study stands in MLflow, if it got there.
        artifacts_missed: files that were not copied.
    """

    delivered: int
    missed: int
    errors: int = 0
    last_error: str | None = None
    experiment_id: str | None = None
    run_id: str | None = None
    artifacts_missed: tuple[Path, ...] = ()


class MlflowSink:
    """Writes events to MLflow from a thread of its own; nothing it meets there reaches the caller.

    Args:
        uri: MLflow's tracking URI; credentials come from the environment.
        experiment: the experiment's name: the task.
        study_name: the study's name.
        ledger: the study's ledger, where it already holds every event that is submitted. With it the sink starts
            with what the ledger holds (a resumed study), and catches up by itself after any loss.
        interval: seconds between writes, at least.
        capacity: events that may wait; more are dropped, for the ledger has them.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        study_name: str,
        *,
        ledger: Path | None = None,
        interval: float = 1.0,
        capacity: int = _CAPACITY,
    ) -> None:
        self._store = MlflowStore(uri, experiment, study_name)
        self._ledger = ledger
        self._interval = interval
        self._queue: queue.Queue[Event] = queue.Queue(capacity)
        self._projection = Projection()
        self._updates: deque[RunUpdate] = deque()
        self._artifacts: dict[Path, None] = {}
        self._is_behind = ledger is not None and ledger.exists()
        self._mutex = threading.Lock()
        self._submitted = self._dropped = self._unwritten = self._errors = 0
        self._last_error: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-sink", daemon=True)

    def start(self) -> None:
        """Begin to write; returns at once."""
        self._thread.start()

    def submit(self, event: Event) -> None:
        """Hand over an event that is in the ledger; returns at once and never raises."""
        with self._mutex:
            self._submitted += 1
            try:
                self._queue.put_nowait(event)
            except queue.Full:
                self._dropped += 1
                self._is_behind = self._ledger is not None

    def log_artifact(self, path: Path) -> None:
        """Copy a file to the study's run, in the background; given again, it is copied again."""
        with self._mutex:
            self._artifacts[path] = None

    def close(self, timeout: float = 30.0) -> SinkSummary:
        """Write what is left, end every open run, and say what became of it all.

        Args:
            timeout: seconds to wait; a server that does not answer is given up sooner.
        """
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        with self._mutex:
            missed = self._dropped + self._unwritten + self._queue.qsize()
            return SinkSummary(
                delivered=self._submitted - missed,
                missed=missed,
                errors=self._errors,
                last_error=self._last_error,
                experiment_id=self._store.experiment_id,
                run_id=self._store.run_id,
                artifacts_missed=tuple(self._artifacts),
            )

    def _work(self) -> None:
        failures = 0
        while True:
            is_last = self._closing.is_set()
            started = time.monotonic()
            try:
                self._deliver()
                if is_last:
                    self._end_open_runs()
                    return
                failures = 0
            except Exception as error:  # whatever MLflow, a driver or the network raises, the search goes on
                self._recover(error)
                failures += 1
                if is_last and failures > _LAST_TRIES:
                    return
            spent = time.monotonic() - started
            self._pause(spent, failures, is_last=is_last)

    def _pause(self, spent: float, failures: int, *, is_last: bool) -> None:
        """Between writes, longer after slow ones; after failures, twice as long each time. Closing cuts it short."""
        if is_last:
            time.sleep(self._interval)
            return
        back_off = self._interval * 2 ** min(failures, 10)
        self._closing.wait(min(max(back_off, spent / _SHARE_OF_TIME), _MAX_PAUSE))

    def _deliver(self) -> None:
        """Write all that is waiting."""
        self._store.connect()
        while self._updates or self._refill():
            self._write_updates()
            self._upload()

    def _write_updates(self) -> None:
        assert self._projection.study_id is not None, "there are no updates before the study's start"
        while self._updates:
            self._store.write(self._projection.study_id, self._updates[0])
            self._updates.popleft()
        self._unwritten = 0

    def _refill(self) -> bool:
        """Turn what came since the last time into updates; False where there is nothing to do."""
        with self._mutex:
            catch_up, self._is_behind = self._is_behind, False
            waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
            self._unwritten += len(waiting)
            if catch_up:
                self._unwritten += self._dropped
                self._dropped = 0
        if catch_up:
            assert self._ledger is not None, "only a ledger lets the sink catch up"
            self._projection = Projection()
            waiting = [*read_events(self._ledger), *waiting]
        unplaced = sum(not self._projection.apply(event) for event in waiting)
        if unplaced and not catch_up:
            with self._mutex:
                self._dropped += unplaced
                self._unwritten -= unplaced
        self._updates.extend(self._projection.take())
        return bool(self._updates) or (bool(self._artifacts) and self._store.run_id is not None)

    def _upload(self) -> None:
        while self._artifacts:
            with self._mutex:
                path = next(iter(self._artifacts))
                del self._artifacts[path]
            try:
                self._store.log_artifact(path)
            except FileNotFoundError as error:
                self._count(error)
            except BaseException:
                self.log_artifact(path)
                raise

    def _end_open_runs(self) -> None:
        self._projection.interrupt()
        self._updates.extend(self._projection.take())
        if self._updates:
            self._write_updates()

    def _recover(self, error: Exception) -> None:
        """What is in MLflow is no longer known; the ledger, where there is one, tells the story from its beginning."""
        self._count(error)
        self._store.forget()
        if self._ledger is not None and self._ledger.exists():
            self._updates.clear()
            with self._mutex:
                self._is_behind = True

    def _count(self, error: Exception) -> None:
        with self._mutex:
            self._errors += 1
            self._last_error = redact(f"{type(error).__name__}: {error}")
