"""NumPy archives: `np.savez(path, x_train=..., y_train=..., x_test=..., y_test=..., classes=...)`."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from autockd.config.tasks import Npz
from autockd.data.sources.images import Pixels, array_samples
from autockd.data.sources.raw import Indices, RawImages, Samples, data_error, listed, numbered_classes
from autockd.errors import reason_of

Arrays = Mapping[str, NDArray[Any]]

_UNREADABLE = (
    *(ValueError, OSError, EOFError, RuntimeError, MemoryError, OverflowError, SyntaxError),
    *(TokenError, zipfile.BadZipFile, zlib.error),
)
"""What NumPy raises for a file that is none of its own, is damaged or locked, or claims more than there is room for."""
_KNOWN = ("x_train", "y_train", "x_test", "y_test", "classes")
_SAVE = "np.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"


def read_npz(config: Npz) -> RawImages:
    """Images uint8 [N, H, W] or [N, H, W, C], C = 1 or 3, with integer labels [N] or [N, 1].

    `x_test` and `y_test` may be left out together; `classes`, an array of strings, may be left out. Other arrays
    are not read.

    Raises:
        DataError: the file is missing, holds pickled objects, or its arrays are not of that kind.
    """
    arrays = _load(config.path)
    train = _samples(arrays, "train", config.image_size)
    test = None
    if "x_test" in arrays or "y_test" in arrays:
        _require(arrays, "x_test", "y_test")
        test = _samples(arrays, "test", config.image_size)
    labels = [part.targets for part in (train, test) if part is not None]
    return RawImages(config.name, _classes(arrays, numbered_classes(*labels)), train, test)


def _load(path: Path) -> Arrays:
    if not path.is_file():
        raise data_error("task.path", f"there is no file {path}", f"write it with {_SAVE}")
    try:
        with path.open("rb") as stream:
            return _members(np.load(stream, allow_pickle=False), path)
    except _UNREADABLE as error:
        message = f"{path} is not a NumPy archive ({reason_of(error)})"
        raise data_error("task.path", message, f"use {_SAVE}") from error


def _members(archive: Any, path: Path) -> Arrays:
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise data_error("task.path", f"{path} holds a single array", f"use {_SAVE}")
    _require(archive.files, "x_train", "y_train")
    return {name: _member(archive, name, path) for name in archive.files if name in _KNOWN}


def _member(archive: Mapping[str, NDArray[Any]], name: str, path: Path) -> NDArray[Any]:
    try:
        found = archive[name]
    except _UNREADABLE as error:
        if "allow_pickle" not in str(error):
            message = f"{name} in {path} cannot be read: {error}"
            raise data_error("task.path", message, "write the file again") from error
        message = f"{name} in {path} holds pickled Python objects, which are never loaded"
        remedy = "save numbers or strings: astype(np.uint8), astype(np.int64), astype(str)"
        raise data_error("task.path", message, remedy) from error
    if not isinstance(found, np.ndarray):  # but bytes, of a file in the archive that NumPy did not write
        raise data_error("task.path", f"{name} in {path} is no NumPy array", f"use {_SAVE}")
    return found


def _require(names: Collection[str], *wanted: str) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        message = f"the archive lacks {listed(missing)}; it has {listed(sorted(names))}"
        raise data_error("task.path", message, f"use {_SAVE}")


def _samples(arrays: Arrays, part: str, image_size: int | None) -> Samples:
    images = _images(arrays[f"x_{part}"], f"x_{part}")
    labels = _labels(arrays[f"y_{part}"], f"y_{part}")
    if len(images) != len(labels):
        message = f"x_{part} holds {len(images)} images, but y_{part} {len(labels)} labels"
        raise data_error("task.path", message, "give each image one label")
    return array_samples(images, labels, image_size)


def _images(images: NDArray[Any], name: str) -> Pixels:
    if images.dtype != np.uint8:
        scaled = images.dtype.kind == "f" and images.size > 0 and images.min() >= 0 and images.max() <= 1
        recipe = f"(255 * {name}).round().astype(np.uint8)" if scaled else f"{name}.astype(np.uint8)"
        message = f"{name} must be uint8, pixels 0..255, not {images.dtype}"
        raise data_error("task.path", message, f"save {recipe}" + ("" if scaled else ", once its values are 0..255"))
    shape = images.shape
    if len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        message = f"{name} has its channels before its rows: {list(shape)}"
        raise data_error("task.path", message, f"save {name}.transpose(0, 2, 3, 1)")
    if not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))) or 0 in shape:
        message = f"{name} must be [N, H, W] or [N, H, W, C] with C 1 or 3, none of them 0, not {list(shape)}"
        raise data_error("task.path", message, "save it in one of these shapes")
    return images


def _labels(labels: NDArray[Any], name: str) -> Indices:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        remedy = f"save one class index an image, such as {name}.argmax(1) of one-hot rows"
        raise data_error("task.path", f"{name} must be [N] or [N, 1], not {list(labels.shape)}", remedy)
    if labels.dtype.kind not in "iu":
        message = f"{name} must hold integers, not {labels.dtype}"
        remedy = "save class indices 0..K-1: astype(np.int64), or np.unique(..., return_inverse=True)"
        raise data_error("task.path", message, remedy)
    for label in (int(labels.min(initial=0)), int(labels.max(initial=0))):
        if not 0 <= label <= np.iinfo(np.int64).max:
            kind = "negative label" if label < 0 else "label"
            raise data_error("task.path", f"{name} holds the {kind} {label}", "number the classes from 0")
    return cast(Indices, labels.astype(np.int64))


def _classes(arrays: Arrays, numbered: tuple[str, ...]) -> tuple[str, ...]:
    names = arrays.get("classes")
    if names is None:
        return numbered
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) < len(numbered):
        message = f"classes must be {len(numbered)} strings, [K], not {names.dtype} {list(names.shape)}"
        raise data_error("task.path", message, "save np.array(['first', 'second', ...])")
    return tuple(str(name) for name in names)
