"""Where a bundle may be written: it appears whole or not at all, whenever the process dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter

from autockd.errors import EnvironmentProblem, ExportError, reason_of
from autockd.export.manifest import MANIFEST, Manifest, read_json
from autockd.folders import entries_of, whole_folder

_ANOTHER = "name another folder (--to DIR; in Python to=)"


@contextmanager
def staged(target: Path, *, force: bool) -> Iterator[Path]:
    """A temporary folder that becomes the bundle at `target`, as `whole_folder`; with `force` in an older one's place.

    Raises:
        ExportError: `target` exists and `force` is false, or it is not a bundle.
        EnvironmentProblem: the folder cannot be written.
    """
    target = target.absolute()
    refuse_if_taken(target, force=force)
    try:
        with whole_folder(target, replace=force) as stage:
            yield stage
    except OSError as error:
        raise EnvironmentProblem(f"{target}: the bundle cannot be written: {reason_of(error)} -> {_ANOTHER}") from error


def refuse_if_taken(target: Path, *, force: bool) -> None:
    """See to it that a bundle may be written somewhere.

    Raises:
        ExportError: something stands there, and is not to be replaced, or is no bundle.
    """
    if not os.path.lexists(target):
        return
    if not force:
        raise ExportError(
            f"{target}: exists already -> {_ANOTHER}, or replace what is there (--force; in Python force=True)"
        )
    if not _is_bundle(target):
        raise ExportError(f"{target}: exists and is not a bundle alone, so it is left as it is -> {_ANOTHER}")


def _is_bundle(folder: Path) -> bool:
    """Whether nothing is lost with the folder but a bundle, be it a damaged one, or it is empty."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    entries = entries_of(folder)
    if not entries:
        return True
    try:
        listed = read_json(TypeAdapter(Manifest), folder / MANIFEST).files
    except ExportError:
        return False
    return all(path.name in (MANIFEST, *listed) and path.is_file() and not path.is_symlink() for path in entries)
