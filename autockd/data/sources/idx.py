"""The idx format of the MNIST family (yann.lecun.com/exdb/mnist): big-endian header, then bytes."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from autockd.data.sources.raw import data_error

PARTS = {"train": "train", "test": "t10k"}
"""Beginning of the file names of each split."""

_UNSIGNED_BYTES = 0x08


def find_idx(folder: Path) -> dict[str, Path] | None:
    """The four files of an MNIST-like set by `train-images`, `train-labels`, `test-images`, `test-labels`.

    Each may be plain or `.gz`. None if one of them is missing.
    """
    found: dict[str, Path] = {}
    for split, beginning in PARTS.items():
        for content, axes in (("images", 3), ("labels", 1)):
            plain = folder / f"{beginning}-{content}-idx{axes}-ubyte"
            existing = [path for path in (plain, plain.with_name(f"{plain.name}.gz")) if path.is_file()]
            if not existing:
                return None
            found[f"{split}-{content}"] = existing[0]
    return found


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an idx file, plain or `.gz`.

    Raises:
        DataError: the file is damaged or holds nothing, or does not hold unsigned bytes with `axes` axes.
    """
    data = _read_bytes(path)
    start = 4 + 4 * axes
    if len(data) < start or data[:4] != bytes([0, 0, _UNSIGNED_BYTES, axes]):
        message = f"{path} is not an idx file of unsigned bytes with {axes} axes"
        raise data_error("task.root", message, "put the original file there")
    shape = tuple(int(size) for size in np.frombuffer(data, dtype=">u4", count=axes, offset=4))
    if len(data) - start != prod(shape):
        message = f"{path} holds {len(data) - start} bytes after its header, but its shape is {list(shape)}"
        raise data_error("task.root", message, "put the original file there")
    if 0 in shape:
        raise data_error(
            "task.root", f"{path} holds nothing: its shape is {list(shape)}", "put the original file there"
        )
    return cast(NDArray[np.uint8], np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape))


def _read_bytes(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise data_error("task.root", f"{path} cannot be read: {error}", "put the original file there") from error
