"""Ctrl-C: once asks a study to stop, which it does cleanly; twice ends this process there and then."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from autockd.cli.exits import INTERRUPTED
from autockd.cli.output import console, say


@contextmanager
def ending_at_second_interrupt() -> Iterator[None]:
    """What a running study hears first reaches this handler only when it comes again."""
    before = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, frame: FrameType | None) -> None:
    try:
        say("ended at once: what is finished is kept; `autockd resume STUDY` goes on")
        if sys.__stderr__ is not None:  # the live view, which hid the cursor there, stands in for sys.stderr
            console(sys.__stderr__).show_cursor()
    finally:
        os._exit(INTERRUPTED)
