from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from autockd.search.halt import STOP, Halt, forget_request


def press(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_search(tmp_path: Path, number: int) -> None:
    halt = Halt(tmp_path)
    with halt.listening(), halt.search(None):
        assert not halt.is_asked
        press(number)
        assert halt.is_asked


def test_outside_of_the_search_it_stops_at_once(tmp_path: Path) -> None:
    halt = Halt(tmp_path)
    with pytest.raises(KeyboardInterrupt), halt.listening():
        press()
    assert halt.is_asked


def test_the_second_is_somebody_elses(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        halt = Halt(tmp_path)
        with halt.listening(), halt.search(None):
            press()
            assert heard == []
            press()
            assert heard == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_put_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Halt(tmp_path).listening():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_in_another_thread_signals_are_left_alone(tmp_path: Path) -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def listen() -> None:
        with Halt(tmp_path).listening():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [before]


def test_a_stop_file_asks_too(tmp_path: Path) -> None:
    halt = Halt(tmp_path)
    assert not halt.is_asked
    (tmp_path / STOP).touch()
    assert halt.is_asked
    forget_request(tmp_path)
    forget_request(tmp_path)
    assert not halt.is_asked


def test_time_is_counted_while_searching(tmp_path: Path) -> None:
    halt = Halt(tmp_path)
    assert not halt.is_out_of_time
    with halt.search(100.0):
        assert not halt.is_out_of_time
    with halt.search(-1.0):
        assert halt.is_out_of_time
    with halt.search(None):
        assert not halt.is_out_of_time
