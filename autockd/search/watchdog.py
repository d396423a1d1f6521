"""Ends a worker's process that makes no progress, and leaves behind where it hung.

Tune starts the trial again on another worker, from its checkpoint. The watch is kept by a thread in C, which fires even
where Python itself is stuck.
"""

from __future__ import annotations

import faulthandler
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from autockd.errors import cannot_write

PATIENCE = 60.0
"""Seconds of silence that are always allowed."""

FIRST_PATIENCE = 7200.0
"""Seconds that an epoch may take before the length of any epoch of such a student is known."""

TRACE = "hang.txt"
"""In a trial's folder: what every thread of a worker did when it was given up."""


class Watchdog:
    """Watches over the epochs of one trial.

    Args:
        folder: the trial's folder.
        factor: how many times its longest epoch so far a trial may be silent.
        slowest: seconds of the longest epoch of such a student; None where none is known.
    """

    def __init__(self, folder: Path, factor: float, slowest: float | None) -> None:
        self._path = folder / TRACE
        self._factor = factor
        self._slowest = slowest
        self._stream: TextIO | None = None

    @property
    def limit(self) -> float:
        """Seconds until the next sign of life is due."""
        return FIRST_PATIENCE if self._slowest is None else max(PATIENCE, self._factor * self._slowest)

    def expect(self, patience: float | None = None) -> None:
        """A sign of life: the next one is due within the limit, or so many seconds.

        Raises:
            EnvironmentProblem: the trial's folder cannot be written.
        """
        if self._stream is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._path.open("a", encoding="utf-8")
            except OSError as error:
                raise cannot_write("traces", self._path, error) from error
        faulthandler.dump_traceback_later(patience or self.limit, exit=True, file=self._stream)

    def learn(self, seconds: float) -> None:
        """An epoch took so long."""
        self._slowest = max(seconds, self._slowest or 0.0)

    def rest(self) -> None:
        """Nothing is due: the worker waits to be told to go on."""
        faulthandler.cancel_dump_traceback_later()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            with suppress(FileNotFoundError):  # another worker may have this trial now
                if self._path.stat().st_size == 0:  # else an attempt hung before this one
                    self._path.unlink()
