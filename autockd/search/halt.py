"""Why a search ends before its last trial: its time is over, somebody asked it to stop, or a signal does, as Ctrl-C."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

STOP = "stop"
"""A file of this name in a study's folder asks whoever runs it to stop; so it is asked from any machine."""

_START = 120.0
"""Seconds that workers have to start, beside the search's time."""

_STOPPING = "stopping: what runs is kept, which can take as long as it tells of nothing; Ctrl-C again ends at once"

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def forget_request(folder: Path) -> None:
    """Withdraw what has been answered, or was too late to be."""
    (folder / STOP).unlink(missing_ok=True)


class Halt:
    """Asked again and again by a running study.

    Args:
        folder: the study's folder.
        say: tells whoever watches that the search has heard it.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] | None = None) -> None:
        self._request = folder / STOP
        self._say = say
        self._is_interrupted = False
        self._is_patient = False
        self._left: float | None = None
        self._began = 0.0
        self._deadline = math.inf

    @property
    def is_asked(self) -> bool:
        """Whether somebody wants the study to stop now."""
        return self._is_interrupted or self._request.exists()

    @property
    def ends_search(self) -> bool:
        """Whether the search must end now; that somebody wants it to is acknowledged once, for ending takes a while."""
        is_asked = self.is_asked
        if is_asked and self._say is not None:
            self._say(_STOPPING)
            self._say = None
        return is_asked or self.is_out_of_time

    @property
    def is_out_of_time(self) -> bool:
        """Whether the search has used up its time."""
        return time.monotonic() >= self._deadline

    def check(self) -> None:
        """End a wait that nobody wants any more.

        Raises:
            KeyboardInterrupt: somebody wants the study to stop now.
        """
        if self.is_asked:
            raise KeyboardInterrupt

    @contextmanager
    def search(self, seconds: float | None) -> Iterator[None]:
        """While the search runs, with so many seconds left for it, Ctrl-C waits until its trials are kept.

        The seconds are those of trials: workers start before. See `heard`.
        """
        self._left, self._began, self._deadline = seconds, time.monotonic(), math.inf
        if seconds is not None:
            self._deadline = self._began + seconds + (_START if seconds > 0 else 0.0)
        self._is_patient = True
        try:
            yield
        finally:
            self._is_patient = False

    def heard(self, seconds: float) -> None:
        """A worker has told of work that took so long; the search's time runs since the first of it began."""
        if self._left is not None:
            self._deadline = max(self._began, time.monotonic() - seconds) + self._left
            self._left = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the first Ctrl-C (or SIGTERM, or the end of the terminal): the study stops cleanly.

        The second is whoever's it was before. Where `nohup` has it that the terminal's end is ignored, it is.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's; a stop file still works
            return
        now = {number: signal.getsignal(number) for number in _SIGNALS}
        ignored = (signal.SIGHUP, signal.SIG_IGN)
        before = {  # one that was not set from Python could not be set again
            number: handler for number, handler in now.items() if handler is not None and (number, handler) != ignored
        }

        def listen(number: int, frame: FrameType | None) -> None:
            self._is_interrupted = True
            restore()
            if number == signal.SIGTERM:
                signal.alarm(0)  # Ray hears it first, and would abort this process 3 s later
            if number == signal.SIGHUP:
                signal.signal(number, signal.SIG_IGN)  # a shell that ends says again what the terminal's end has said
            if not self._is_patient:
                raise KeyboardInterrupt

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        for number in before:
            signal.signal(number, listen)
        try:
            yield
        finally:
            restore()
