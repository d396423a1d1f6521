from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from autockd.errors import EnvironmentProblem, StudyError
from autockd.records import BankReady, BankRecord, Evaluated, Event
from autockd.tracking.ledger import Ledger, events, in_use, read_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "digits" / "ledger.jsonl"


def evaluated(trial: int, test: float = 0.5, label: str = "none") -> Evaluated:
    return Evaluated(
        time=1.25 + trial,
        subject="baseline",
        label=label,
        trial=trial,
        validation=0.1,
        test=test,
        parameters=1,
        bytes=4,
    )


def write(path: Path, count: int) -> list[Event]:
    written: list[Event] = [evaluated(trial) for trial in range(count)]
    with Ledger(path) as ledger:
        for event in written:
            ledger.append(event)
    return written


def test_what_is_appended_comes_back(path: Path, study: list[Event]) -> None:
    with Ledger(path) as ledger:
        for event in study:
            ledger.append(event)
        assert events(path) == study, "while it is open"
    assert events(path) == study


def test_a_nan_survives(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.append(evaluated(1, test=math.nan))
    (event,) = events(path)
    assert isinstance(event, Evaluated)
    assert math.isnan(event.test)


def test_lines_are_json_whatever_the_text_holds(path: Path) -> None:
    label = 'a "quoted"\nline \u2028 and {"event": 1}}'
    with Ledger(path) as ledger:
        ledger.append(evaluated(1, label=label))
    (line,) = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert json.loads(line)["event"]["label"] == label
    assert events(path) == [evaluated(1, label=label)]


def test_reopening_goes_on_at_the_end(path: Path) -> None:
    write(path, 2)
    write(path, 1)
    assert [event.time for event in read_events(path)] == [1.25, 2.25, 1.25]


@pytest.mark.parametrize("left", [1, 7, 40, -2, -1])
def test_a_torn_last_line_is_ignored_and_then_cut_off(path: Path, left: int) -> None:
    written = write(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:left])
    assert events(path) == written[:2]
    with Ledger(path) as ledger:
        assert path.read_bytes() == b"".join(lines[:2])
        ledger.append(written[2])
    assert events(path) == written


def test_a_last_line_whose_bytes_were_lost_is_cut_off(path: Path) -> None:
    written = write(path, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + bytes(len(lines[1]) - 1) + b"\n")
    with Ledger(path):
        assert path.read_bytes() == lines[0]
    assert events(path) == written[:1]


def test_a_damaged_line_in_the_middle_names_file_and_line(path: Path) -> None:
    write(path, 3)
    path.write_bytes(path.read_bytes().replace(b'"trial":1', b'"trial":7'))
    with pytest.raises(StudyError, match=rf"{path}:2: this line is damaged"):
        events(path)
    with pytest.raises(StudyError, match=rf"{path}:2"):
        Ledger(path)
    assert not in_use(path)


def test_an_event_of_another_version_is_refused(path: Path) -> None:
    import zlib

    body = b'{"event":"evaluated","time":1.0,"colour":"red"}'
    path.parent.mkdir()
    path.write_bytes(b'{"crc32":"%08x","event":%b}\n' % (zlib.crc32(body), body))
    with pytest.raises(StudyError, match="open the study with the version that wrote it"):
        events(path)


def test_a_missing_ledger_says_so(path: Path) -> None:
    with pytest.raises(StudyError, match="'digits' is not a study that has been started"):
        events(path)


def test_a_second_writer_is_refused(path: Path) -> None:
    with Ledger(path) as first:
        assert in_use(path)
        with pytest.raises(StudyError, match=rf"study 'digits' is in use by process {os.getpid()} on .*autockd stop"):
            Ledger(path)
        first.append(evaluated(1))
    assert not in_use(path)
    write(path, 1)


def test_who_asks_whether_it_is_in_use_keeps_no_writer_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question takes the lock for an instant, which is over when the writer asks again."""
    write(path, 1)
    asking = os.open(f"{path}.lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    with monkeypatch.context() as patch:
        patch.setattr("autockd.tracking.locks.time.sleep", lambda seconds: os.close(asking))
        with Ledger(path) as ledger:
            ledger.append(evaluated(1))
    assert len(events(path)) == 2


def test_another_process_is_refused_and_a_killed_one_leaves_no_lock(path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom autockd.tracking.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\nprint('open', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StudyError, match=f"in use by process {other.pid}"):
            Ledger(path)
        other.kill()
        other.wait()
    write(path, 1)


def test_threads_append_whole_lines(path: Path) -> None:
    with Ledger(path) as ledger:

        def work(offset: int) -> None:
            for trial in range(20):
                ledger.append(evaluated(offset + trial))

        threads = [threading.Thread(target=work, args=(100 * k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    trials = sorted(event.trial for event in events(path) if isinstance(event, Evaluated) and event.trial is not None)
    assert trials == sorted(100 * k + trial for k in range(4) for trial in range(20))


def test_a_full_disk_leaves_the_events_before(path: Path) -> None:
    """A limit on the file's size makes write() fall short, as a full disk does."""
    code = (
        "import signal, resource, sys\nfrom pathlib import Path\n"
        "from autockd.errors import EnvironmentProblem\nfrom autockd.records import BankReady, BankRecord\n"
        "from autockd.tracking.ledger import Ledger\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "bank = BankRecord(key='k', entries=1, filled=1, hits=1, misses=1, seconds=1, checked=1, max_difference=0)\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "try:\n    for k in range(100): ledger.append(BankReady(time=k, bank=bank))\n"
        "except EnvironmentProblem as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout
    kept = events(path)
    assert 1 < len(kept) < 100
    assert path.read_bytes().endswith(b"}\n")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_each_event_is_on_disk_before_the_next_one_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is the name of a new file, in its folder."""
    calls: list[tuple[str, str]] = []
    write, sync = os.write, os.fsync

    def noted_write(descriptor: int, data: bytes) -> int:
        calls.append(("write", kind_of(descriptor)))
        return write(descriptor, data)

    def noted_sync(descriptor: int) -> None:
        calls.append(("fsync", kind_of(descriptor)))
        sync(descriptor)

    def kind_of(descriptor: int) -> str:
        found = os.fstat(descriptor)
        places = {"ledger": path.stat(), "folder": path.parent.stat()}
        return next(name for name, place in places.items() if os.path.samestat(found, place))

    with Ledger(path) as ledger, monkeypatch.context() as noted:
        noted.setattr(os, "write", noted_write)
        noted.setattr(os, "fsync", noted_sync)
        ledger.append(evaluated(0))
        assert calls == [("write", "ledger"), ("fsync", "ledger"), ("fsync", "folder")]
        ledger.append(evaluated(1))
        assert calls[3:] == [("write", "ledger"), ("fsync", "ledger")]


@pytest.mark.parametrize("failing", ["a write that falls short", "a write that fails", "a sync"])
def test_an_append_that_failed_midway_leaves_no_trace_before_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    old, lost, new = (evaluated(trial) for trial in range(3))
    write = os.write

    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_half(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[: len(data) // 2])

    def write_half_and_fail(descriptor: int, data: bytes) -> NoReturn:
        write_half(descriptor, data)
        refuse()

    with Ledger(path) as ledger:
        ledger.append(old)
        before = path.read_bytes()
        with monkeypatch.context() as full:
            if failing == "a sync":
                full.setattr(os, "fsync", refuse)
            else:
                full.setattr(os, "write", write_half if "short" in failing else write_half_and_fail)
            with pytest.raises(EnvironmentProblem, match=r"cannot write .*No space left"):
                ledger.append(lost)
        assert path.read_bytes() == before
        ledger.append(new)
    assert len(path.read_bytes().splitlines()) == 2
    assert events(path) == [old, new]


def test_an_unwritable_folder_is_a_problem_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        Ledger(tmp_path / "file" / "ledger.jsonl")


def test_a_ledger_that_cannot_be_opened_is_let_go(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        Ledger(path)
    assert not in_use(path)


def test_a_reader_in_the_middle_of_whose_line_a_writer_is_stops_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read a part of it; the rest, which is written by then, would be no line of its own."""
    written = write(path, 3)
    first, second, third = path.read_bytes().splitlines(keepends=True)

    @contextlib.contextmanager
    def caught(_: Path) -> Iterator[Iterator[bytes]]:
        yield iter([first, second[:40], second[40:], third])

    monkeypatch.setattr("autockd.tracking.ledger._open", caught)
    assert events(path) == written[:1]


def test_readers_see_whole_events_while_a_writer_writes(path: Path) -> None:
    bank = BankRecord(key="k" * 3000, entries=1, filled=1, hits=1, misses=1, seconds=1, checked=1, max_difference=0)
    a_look_begins = threading.Event()
    lengths: list[int] = []

    def write() -> None:
        for number in range(1, 60):
            if number in (20, 40):  # the rest is written while somebody reads
                a_look_begins.clear()
                assert a_look_begins.wait(30)
            ledger.append(BankReady(time=number, bank=bank))

    with Ledger(path) as ledger:
        ledger.append(BankReady(time=0, bank=bank))
        writer = threading.Thread(target=write)
        writer.start()
        while writer.is_alive():
            a_look_begins.set()
            times = [event.time for event in events(path)]
            assert times == list(range(len(times)))
            lengths.append(len(times))
        writer.join()
    assert lengths == sorted(lengths)
    assert len(lengths) >= 2
    assert 0 < lengths[0] <= 40, "the writer had not come to its end"
    assert len(events(path)) == 60
