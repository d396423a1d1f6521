"""Where things are kept: studies beside the user's work, what can be computed again in a cache."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

STUDIES_ENV = "AUTOCKD_STUDIES"
CACHE_ENV = "AUTOCKD_CACHE"
ANOTHER_CACHE = f"set {CACHE_ENV} to another folder"

CONFIG, LEDGER, BUNDLE, REPORT = "study.yaml", "ledger.jsonl", "bundle", "report"
"""In a study's folder: its configuration, what happened, the student that it exported, and its report."""

CHECKPOINT = "checkpoint.pt"
"""In the folder of a trial, or of a finalist's run, for as long as it is not over."""

_DRAFT = re.compile(r"\..+\.[0-9a-f]{12}(\.partial|\.old)?|\.draft-\w+")

DRAFTS = ".draft-"
"""How the names of folders begin in which several files are made that then move out."""

LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What file managers leave, unasked, in a folder that somebody looks at."""


def expanded(path: str | Path) -> Path:
    """The path with `~` as the home that it means; as it is written where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's own raises then


def studies_folder() -> Path:
    """The folder of all studies: $AUTOCKD_STUDIES, or `studies` in the current folder."""
    return expanded(os.environ.get(STUDIES_ENV) or "studies").absolute()


def cache_folder() -> Path:
    """Trained teachers and banks of this node: $AUTOCKD_CACHE, or `autockd` in the user's cache folder."""
    if named := os.environ.get(CACHE_ENV):
        return expanded(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return expanded(base).absolute() / "autockd"


def study_argument(folder: Path) -> str:
    """How a command names a study: by its name where commands look for it, else by its folder; quoted for a shell."""
    with suppress(FileNotFoundError):  # the current folder may be gone, and then commands look nowhere
        folder = folder.absolute()
        if folder.parent == studies_folder():
            return shlex.quote(folder.name)
    return shlex.quote(str(folder))


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the whole new one.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place beside `path` for a file that takes its place when the block ends well, and vanishes otherwise.

    A reader sees the old file or the whole new one, even after a power cut.

    Raises:
        OSError: it cannot be written; what stood there stands there still.
    """
    draft = draft_of(path)
    try:
        draft.touch(exist_ok=False)
        usual = draft.stat().st_mode
        draft.unlink()
        yield draft
        with suppress(OSError):  # not every file system has permissions
            draft.chmod(usual)  # some libraries write files that nobody else may read
        sync_to_disk(draft)
        draft.replace(path)
        with suppress(OSError):  # it is there; not every file system has folders that can be waited for
            sync_to_disk(path.parent)
    finally:
        with suppress(OSError):  # after success it has moved on
            draft.unlink()


def draft_of(path: Path) -> Path:
    """A new name beside a path for what is to take its place."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}")


def is_draft(name: str) -> bool:
    """Whether a file or folder of this name was to take another's place, and its writer was killed."""
    return _DRAFT.fullmatch(name) is not None


@contextmanager
def whole_folder(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """A folder beside `target` that takes its place, as a whole, when the block ends well, and vanishes otherwise.

    Args:
        target: an absolute path; the folders above it are made where they are missing.
        replace: whether what stands there by then is moved aside, and removed once the new folder is in place.

    Raises:
        OSError: it cannot be written; what stood there stands there again.
    """
    draft = draft_of(target).name
    stage, old = (target.with_name(f"{draft}.{kind}") for kind in ("partial", "old"))
    try:
        stage.mkdir(parents=True)
        yield stage
        for path in (*stage.iterdir(), stage):
            sync_to_disk(path)
        with alone_in(target.parent):
            try:
                if replace and target.exists():
                    target.rename(old)
                stage.rename(target)
                with suppress(OSError):  # as above; what stood there may go
                    sync_to_disk(target.parent)
            finally:
                if old.exists() and not target.exists():
                    old.rename(target)
                shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold off others who put a whole folder into this one: while theirs takes a place, nothing stands there."""
    with ExitStack() as held:
        with suppress(OSError):  # it may not be there yet; not every file system has locks
            descriptor = os.open(folder, os.O_RDONLY)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def sync_to_disk(path: Path) -> None:
    """Wait until a file's bytes, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def entries_of(folder: Path) -> list[Path]:
    """What lies in a folder, in no order; without `LITTER`, as far as that is plain files.

    Raises:
        OSError: it cannot be read.
    """
    return [path for path in folder.iterdir() if path.name not in LITTER or path.is_symlink() or not path.is_file()]
