"""One owner at a time: an advisory lock on a file, which the kernel gives back however its process ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_RETRY_SECONDS = 0.05


class FileLock:
    """An exclusive `flock`. The file stays when the lock goes, and names its last owner.

    Args:
        path: the lock file; its folder must exist.
        patience: seconds that `with` waits for another owner to let go.
    """

    def __init__(self, path: Path, patience: float = 0.0) -> None:
        self.path = path
        self._patience = patience
        self._descriptor: int | None = None

    def acquire(self, patience: float = 0.0) -> bool:
        """Take the lock, trying for `patience` seconds; False where another process, or another FileLock, has it.

        Raises:
            OSError: the lock file cannot be written.
        """
        deadline = time.monotonic() + patience
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        while not _flock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return False
            time.sleep(_RETRY_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go; harmless where the lock is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def owner(self) -> str:
        """Who took the lock last, such as `process 4711 on ada`."""
        try:
            return self.path.read_text(encoding="utf-8").strip() or "another process"
        except OSError:
            return "another process"

    def __enter__(self) -> Self:
        if not self.acquire(self._patience):
            raise TimeoutError(f"{self.path} is held by {self.owner}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def is_locked(path: Path) -> bool:
    """Whether somebody holds the FileLock of this path now."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not _flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
