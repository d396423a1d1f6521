"""A folder appears whole or not at all, whenever the process dies."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter

from autockd.errors import EnvironmentProblem, ExportError, reason_of
from autockd.export.manifest import MANIFEST, Manifest, read_json


@contextmanager
def staged(target: Path, *, force: bool) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place when the block ends well, and vanishes otherwise.

    With `force` an older bundle at `target` is moved aside, and removed once the new one is in place.

    Raises:
        ExportError: `target` exists and `force` is false, or it is not a bundle.
        EnvironmentProblem: the folder cannot be written.
    """
    target = target.absolute()
    refuse_if_taken(target, force=force)
    stage = _sibling(target, "partial")
    try:
        stage.mkdir(parents=True)
        yield stage
        for path in (*stage.iterdir(), stage):
            _sync(path)
        _put_in_place(stage, target, force=force)
    except OSError as error:
        raise EnvironmentProblem(
            f"{target}: the bundle cannot be written: {reason_of(error)} -> name another folder"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def refuse_if_taken(target: Path, *, force: bool) -> None:
    """See to it that a bundle may be written somewhere.

    Raises:
        ExportError: something stands there, and is not to be replaced, or is no bundle.
    """
    if not os.path.lexists(target):
        return
    if not force:
        raise ExportError(f"{target}: exists already -> name another folder, or replace it by force")
    if not _is_bundle(target):
        raise ExportError(f"{target}: exists and is not a bundle, so it is left alone -> name another folder")


def _is_bundle(folder: Path) -> bool:
    """Whether nothing is lost with the folder but a bundle, be it a damaged one, or it is empty."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    entries = list(folder.iterdir())
    if not entries:
        return True
    try:
        listed = read_json(TypeAdapter(Manifest), folder / MANIFEST).files
    except ExportError:
        return False
    return all(path.name in (MANIFEST, *listed) and path.is_file() and not path.is_symlink() for path in entries)


def _put_in_place(stage: Path, target: Path, *, force: bool) -> None:
    if not (force and target.exists()):
        stage.rename(target)
        _sync(target.parent)
        return
    old = _sibling(target, "old")
    target.rename(old)
    try:
        stage.rename(target)
    except OSError:
        old.rename(target)
        raise
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sibling(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.{kind}")


def _sync(path: Path) -> None:
    """Make a file's bytes, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
