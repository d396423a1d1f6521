"""The ledger: a study's events, appended and never changed. Everything else about a study is rebuilt from it.

One line an event, `{"crc32":"<8 hex digits>","event":{...}}`, the checksum being that of the event's bytes. A line
counts once it is on disk. A crash can tear the last line only: readers ignore it, the next writer cuts it off.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from autockd.errors import EnvironmentProblem, StudyError, cannot_write
from autockd.folders import study_argument, sync_to_disk
from autockd.records import EVENTS, Event
from autockd.tracking.locks import FileLock, is_locked

_HEAD = b'{"crc32":"'
_MIDDLE = b'","event":'
_TAIL = b"}\n"
_BODY = slice(len(_HEAD) + 8 + len(_MIDDLE), -len(_TAIL))
_PATIENCE = 0.3
"""Seconds to wait for the lock: a reader that asks `in_use` holds it for an instant."""


class Ledger:
    """A ledger that is open for writing; it has one writer at a time, and any number of readers.

    Args:
        path: the file, `<studies>/<study>/ledger.jsonl`; it and its folder are made where they are missing.

    Raises:
        StudyError: another process writes this ledger, or a line before the last is damaged.
        EnvironmentProblem: the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.Lock()
        self._lock = FileLock(_lock_path(path))
        self._descriptor = -1
        self._folder_is_synced = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self._size = _repair(path)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            self._lock.release()
            raise _not_writable(path, error) from error
        except StudyError:
            self._lock.release()
            raise

    def append(self, event: Event) -> None:
        """Add an event; on return it is on disk. May be called from any thread.

        Raises:
            EnvironmentProblem: the disk is full or fails; the ledger then ends with the event before.
        """
        body = event.model_dump_json().encode()
        line = b"".join([_HEAD, b"%08x" % zlib.crc32(body), _MIDDLE, body, _TAIL])
        with self._mutex:
            assert self._descriptor >= 0, "a closed ledger takes no events"
            try:
                self._write(line)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                raise _not_writable(self.path, error) from error
            self._size += len(line)

    def close(self) -> None:
        """Let the next writer in; harmless when repeated."""
        with self._mutex:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take_lock(self) -> None:
        if not self._lock.acquire(_PATIENCE):
            folder = self.path.parent
            raise StudyError(
                f"study {folder.name!r} is in use by {self._lock.owner} ({self.path}): "
                f"wait for it to end, stop it with `autockd stop {study_argument(folder)}`, "
                "or give this run another name"
            )

    def _write(self, line: bytes) -> None:
        if os.write(self._descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._descriptor)
        if not self._folder_is_synced:
            sync_to_disk(self.path.parent)
            self._folder_is_synced = True


def read_events(path: Path) -> Iterator[Event]:
    """The events of a ledger, oldest first; a torn last line is left out. Needs no lock.

    Raises:
        StudyError: there is no such ledger, a line before the last is damaged, or an event is of another version.
    """
    for number, (_, body) in enumerate(_intact(path), start=1):
        try:
            yield EVENTS.validate_json(body)
        except ValidationError as error:
            raise StudyError(
                f"{path}:{number}: this event is not one that this version of autockd writes "
                f"({error.errors()[0]['msg']}); open the study with the version that wrote it"
            ) from error


def events(path: Path) -> list[Event]:
    """All events of a ledger, as `read_events`."""
    return list(read_events(path))


def in_use(path: Path) -> bool:
    """Whether a process has this ledger open for writing."""
    return is_locked(_lock_path(path))


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _intact(path: Path) -> Iterator[tuple[int, bytes]]:
    """Where each intact line ends, in bytes, and the JSON of its event."""
    end = damaged = 0
    with _open(path) as stream:
        for number, line in enumerate(stream, start=1):
            if damaged:
                raise StudyError(
                    f"{path}:{damaged}: this line is damaged, and lines follow it: the file was changed from outside "
                    "or the disk is failing; restore it from a copy, or delete the line to give up its event"
                )
            if not line.endswith(b"\n"):
                return  # torn, or a writer is in the middle of it
            if (body := _checked(line)) is None:
                damaged = number
                continue
            end += len(line)
            yield end, body


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Iterator[bytes]]:
    try:
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError:
        raise StudyError(f"{path} does not exist: {path.parent.name!r} is not a study that has been started") from None


def _checked(line: bytes) -> bytes | None:
    """The event's JSON, or None where the line is not what was written."""
    body = line[_BODY]
    expected = b"".join([_HEAD, b"%08x" % zlib.crc32(body), _MIDDLE, body, _TAIL])
    return body if line == expected else None


def _repair(path: Path) -> int:
    """Cut off a torn last line; the size in bytes of what stays."""
    if not path.exists():
        return 0
    end = max((end for end, _ in _intact(path)), default=0)
    if path.stat().st_size > end:
        with path.open("r+b") as stream:
            stream.truncate(end)
            os.fsync(stream.fileno())
    return end


def _not_writable(path: Path, error: OSError) -> EnvironmentProblem:
    return cannot_write("ledger", path, error)
