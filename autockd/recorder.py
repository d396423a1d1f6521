"""What a running study does with an event: the ledger first, then MLflow, then whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autockd.errors import reason_of, unexpected
from autockd.records import Event, Noted
from autockd.tracking import Ledger, MlflowSink
from autockd.tracking.redaction import redact_record


class Recorder:
    """Hands every event on, in this order: ledger, MLflow, watcher.

    Also keeps the wall time of each stage; `tracking` is the part of all of them that writing events down takes.
    """

    def __init__(self, ledger: Ledger, sink: MlflowSink | None, watch: Callable[[Event], None]) -> None:
        self._ledger = ledger
        self._sink = sink
        self._watch = watch
        self.seconds: dict[str, float] = {}

    def record(self, event: Event) -> None:
        """Write an event down, without credentials; it is on disk when this returns."""
        event = redact_record(event)
        with self.stage("tracking"):
            self._ledger.append(event)
            if self._sink is not None:
                self._sink.start()
                self._sink.submit(event)
        self._watch(event)

    def choice(self, text: str) -> None:
        """Note a choice that the program made, with its reason."""
        self.record(Noted(time=time.time(), kind="choice", text=text))

    def warn(self, text: str) -> None:
        """Note something that the user should know."""
        self.record(Noted(time=time.time(), kind="warning", text=text))

    def show(self, text: str) -> None:
        """Tell whoever watches how far something is; it is not written down."""
        self._watch(Noted(time=time.time(), kind="progress", text=text))

    @contextmanager
    def harmless(self, what: str) -> Iterator[None]:
        """Tell of an error within, and go on: no study fails for what can be made again of its ledger.

        Args:
            what: the error keeps from being done, such as "the report was not written".
        """
        try:
            yield
        except Exception as error:  # whatever a chart or the disk has against it
            self.warn(f"{what} ({reason_of(error) if isinstance(error, OSError) else unexpected(error)})")

    def artifact(self, path: Path) -> None:
        """Copy a file to the study's run in MLflow."""
        if self._sink is not None:
            self._sink.log_artifact(path)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the wall time of a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
