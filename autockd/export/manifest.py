"""The manifest of a bundle: SHA-256 and size of every file, and the check that the folder holds these and no others
but what a file manager, git or the Hugging Face hub leaves, which is never read.

It detects damage and additions, not forgery: who can write the folder can write a manifest that fits. What a bundle
may make the program do is therefore bounded elsewhere too: its files are plain data, and nothing in it is code.
"""

from __future__ import annotations

import os
from collections.abc import Sequence, Set
from pathlib import Path, PurePath
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from autockd.errors import ExportError, UsageError, reason_of
from autockd.folders import BUNDLE, entries_of
from autockd.hashing import file_hash
from autockd.records import Record

MANIFEST = "manifest.json"
SUFFIXES = (".json", ".md", ".onnx", ".safetensors", ".txt")
"""What a bundle's files may be: formats that hold no code. Pickles (.pt, .pth, .bin, .pkl) are not among them."""

_LEFT_BY_THE_HUB = frozenset({".cache", ".git", ".gitattributes"})
"""What is in the folder of a bundle that came through git or the Hugging Face hub, or goes there."""
_MOST_NAMED = 5

Value = TypeVar("Value")

JSON_LIMIT = 16 << 20
"""Bytes of the largest description or manifest that is read."""
AGAIN = "export the study again, or fetch an undamaged copy of the bundle"
"""The remedy for a damaged bundle."""


class FileEntry(Record):
    """One file of a bundle."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Record):
    """Every file of a bundle but the manifest itself."""

    format_version: Literal[1] = 1
    files: dict[str, FileEntry]


def write_manifest(folder: Path) -> str:
    """Write the manifest of a folder's files; returns the manifest's own SHA-256 (hex)."""
    paths = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    files = {path.name: FileEntry(sha256=file_hash(path), bytes=path.stat().st_size) for path in paths}
    (folder / MANIFEST).write_text(Manifest(files=files).model_dump_json(indent=2) + "\n", encoding="utf-8")
    return file_hash(folder / MANIFEST)


def verify_manifest(folder: Path) -> Manifest:
    """Check that a folder holds exactly the files of its manifest, unchanged.

    Raises:
        UsageError: there is no such folder.
        ExportError: the folder or its manifest cannot be read, or a file is missing, added, renamed, changed, or of a
            kind that a bundle does not hold (a link, a folder, a pickle); the message names it.
    """
    present = _plain_files(folder)
    if MANIFEST not in present:
        raise ExportError(f"{folder}: {MANIFEST} is missing, so this is not a bundle -> name a folder that holds one")
    manifest = read_json(TypeAdapter(Manifest), folder / MANIFEST)
    for name in manifest.files:
        _check_name(folder, name)
    _refuse_other_names(folder, present - {MANIFEST}, manifest.files.keys())
    for name, entry in manifest.files.items():
        _check_file(folder / name, entry)
    return manifest


def read_json(model: TypeAdapter[Value], path: Path) -> Value:
    """Read a JSON file of a bundle into its record.

    Raises:
        ExportError: it cannot be read, is larger than 16 MiB, or does not have the record's fields.
    """
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise ExportError(f"{path}: is larger than {JSON_LIMIT} bytes -> {AGAIN}")
        return model.validate_json(path.read_bytes())
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {reason_of(error)} -> {AGAIN}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "(whole file)"
        raise ExportError(f"{path}: {field}: {first['msg']} -> {AGAIN}") from None


def _plain_files(folder: Path) -> set[str]:
    """Names in the folder, all of them regular files of a bundle's formats."""
    try:
        if not folder.is_dir():
            raise UsageError(f"{folder}: there is no such folder -> name a bundle's folder")
        if not os.path.lexists(folder / MANIFEST):
            inside = folder / BUNDLE
            remedy = f"did you mean {inside}?" if (inside / MANIFEST).is_file() else "name a bundle's folder"
            raise ExportError(f"{folder}: is no bundle, {MANIFEST} is missing -> {remedy}")
        found = sorted(path for path in entries_of(folder) if not _is_left_by_the_hub(path))
        for path in found:
            if path.is_symlink():
                raise ExportError(
                    f"{path}: is a symbolic link, a bundle has none -> put the file itself in its place; from the "
                    "Hugging Face hub snapshot_download(..., local_dir=...) fetches the files themselves"
                )
            if not path.is_file():
                raise ExportError(f"{path}: is not a regular file, a bundle has no others -> remove it")
            if path.suffix not in SUFFIXES:
                raise ExportError(f"{path}: a bundle holds only {', '.join(SUFFIXES)} files -> remove it")
    except OSError as error:
        raise ExportError(f"{folder}: cannot be read: {reason_of(error)} -> name a bundle's folder") from error
    return {path.name for path in found}


def _is_left_by_the_hub(path: Path) -> bool:
    """Whether it is to be passed over, which no link is; nobody looks into such a folder."""
    return path.name in _LEFT_BY_THE_HUB and not path.is_symlink() and (path.is_file() or path.is_dir())


def _check_name(folder: Path, name: str) -> None:
    """A listed name is one path component, with a bundle's suffix, and not the manifest's."""
    plain = PurePath(name).name == name and not set(name) & set("/\\:\0") and not name.startswith(".")
    if not plain or PurePath(name).suffix not in SUFFIXES or name == MANIFEST:
        raise ExportError(
            f"{folder / MANIFEST}: files: {name!r} is not the plain name of a {', '.join(SUFFIXES)} file -> {AGAIN}"
        )


def _refuse_other_names(folder: Path, present: Set[str], listed: Set[str]) -> None:
    """Refuse names that are in the folder or in its manifest alone."""
    added, missing = sorted(present - listed), sorted(listed - present)
    if added and missing:
        raise ExportError(
            f"{folder}: {MANIFEST} has {_some(missing)} where the folder has {_some(added)}; was a file renamed? -> "
            f"give it its own name again, or {AGAIN}"
        )
    if added:
        raise ExportError(f"{folder / added[0]}: is not in {MANIFEST} -> remove it from the bundle's folder")
    if missing:
        raise ExportError(f"{folder / missing[0]}: is in {MANIFEST} but missing -> {AGAIN}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_MOST_NAMED])) + (", ..." if len(names) > _MOST_NAMED else "")


def _check_file(path: Path, entry: FileEntry) -> None:
    size = path.stat().st_size
    if size != entry.bytes:
        raise ExportError(f"{path}: has {size} bytes where {MANIFEST} says {entry.bytes} -> {AGAIN}")
    if file_hash(path) != entry.sha256:
        raise ExportError(f"{path}: its SHA-256 is not the one in {MANIFEST} -> {AGAIN}")
