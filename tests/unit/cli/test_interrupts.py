"""The second Ctrl-C: what it leaves of the terminal."""

from __future__ import annotations

import io
import os
import signal

import pytest

from autockd.cli.exits import INTERRUPTED
from autockd.cli.interrupts import ending_at_second_interrupt

SHOW_CURSOR = "\x1b[?25h"


class Ended(BaseException):
    """In place of the process's end."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "written"), [(Terminal(), SHOW_CURSOR), (io.StringIO(), ""), (None, "")])
def test_the_cursor_that_the_live_view_hid_comes_back(
    stream: io.StringIO | None, written: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []

    def end(code: int) -> None:
        ended.append(code)
        raise Ended

    monkeypatch.setenv("TERM", "xterm")
    for forcing in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(forcing, raising=False)
    monkeypatch.setattr("sys.__stderr__", stream)
    monkeypatch.setattr("os._exit", end)
    with pytest.raises(Ended), ending_at_second_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
    assert ended == [INTERRUPTED]
    assert "ended at once" in capsys.readouterr().err
    assert (stream.getvalue() if stream else "") == written
