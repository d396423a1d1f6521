from __future__ import annotations

import math
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from autockd.search.halt import _START, STOP, Halt, forget_request


def press(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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


def test_after_the_search_it_stops_at_once_again(tmp_path: Path) -> None:
    halt = Halt(tmp_path)
    with halt.search(None):
        pass
    with pytest.raises(KeyboardInterrupt), halt.listening():
        press()


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


def test_ray_gives_no_study_three_seconds_to_end_in(tmp_path: Path) -> None:
    """Its own handler of SIGTERM sets an alarm, and calls ours."""
    signal.alarm(100)
    with pytest.raises(KeyboardInterrupt), Halt(tmp_path).listening():
        press(signal.SIGTERM)
    assert signal.alarm(0) == 0


def test_a_terminal_that_ends_says_so_twice(tmp_path: Path) -> None:
    """The kernel does, and the shell that ends with it; there is nobody who could mean the second one."""
    halt = Halt(tmp_path)
    with halt.listening(), halt.search(None):
        press(signal.SIGHUP)
        press(signal.SIGHUP)
        assert halt.is_asked
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_what_is_ignored_is_ignored_still(tmp_path: Path) -> None:
    """As for a study that `nohup` has started."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        halt = Halt(tmp_path)
        with halt.listening():
            press(signal.SIGHUP)
        assert not halt.is_asked
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back(tmp_path: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with Halt(tmp_path).listening():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in numbers] == before


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
    for left in (0.0, -1.0):
        with halt.search(left):
            assert halt.is_out_of_time
    with halt.search(None):
        assert not halt.is_out_of_time


def test_a_handler_that_was_not_set_from_python_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("autockd.search.halt.signal.getsignal", lambda number: None)
    with Halt(tmp_path).listening():
        monkeypatch.undo()
        assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGTERM) is before


def test_its_time_begins_with_the_work_that_is_heard_of_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has to start costs a search nothing; one that never tells anything does not keep it going."""
    now = 1000.0
    monkeypatch.setattr("autockd.search.halt.time", SimpleNamespace(monotonic=lambda: now))
    halt = Halt(tmp_path)
    with halt.search(10.0):
        now = 1020.0
        assert not halt.is_out_of_time
        halt.heard(2.0)
        halt.heard(0.0)  # of another one
        now = 1027.9
        assert not halt.is_out_of_time
        now = 1028.0
        assert halt.is_out_of_time
    with halt.search(10.0):
        now += 10.0 + _START
        assert halt.is_out_of_time
    with halt.search(10.0):
        halt.heard(math.inf)  # of unknown length
        now += 10.0
        assert halt.is_out_of_time


def test_a_search_that_is_asked_to_stop_says_once_that_it_has_heard(tmp_path: Path) -> None:
    said: list[str] = []
    halt = Halt(tmp_path, said.append)
    with halt.search(None):
        assert not halt.ends_search
        (tmp_path / STOP).touch()
        assert halt.ends_search
        assert halt.ends_search
    assert [text.partition(":")[0] for text in said] == ["stopping"]
