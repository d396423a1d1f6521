"""A folder of images by class: `train/<class>/**` and `test/<class>/**`, or `<class>/**` alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from autockd.config.tasks import ImageFolder
from autockd.data.sources.images import Item, decode, opened
from autockd.data.sources.raw import Indices, RawImages, Samples, data_error, listed

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = frozenset({*_JPEG, ".png", ".bmp", ".webp", ".avif", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
"""Files that count as images, in lower case; other files are not looked at."""

_PARTS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})
"""Names of folders, in lower case, that hold folders of classes. Beside others they may be classes themselves."""

_LAYOUT = "lay the images out as train/<class>/*.png and test/<class>/*.png, or as <class>/*.png"


def read_folder(config: ImageFolder) -> RawImages:
    """Images by class; the classes are the names of the training folders, sorted.

    With a `train` folder that has folders of its own, `test` beside it is the test split, and other folders are not
    read then. Without one, every folder is a class. A class's images may lie in folders of its own. Hidden files and
    folders are passed over.

    Raises:
        DataError: there is no such folder, no class, an empty class, or a class that only the test split has.
    """
    path = config.path
    if not path.is_dir():
        raise data_error("task.path", f"there is no folder {path}", "name an existing folder")
    split = bool(_folders(path / "train"))
    folders = _folders(path)
    named = [each for each in folders if each.name.lower() in _PARTS]
    parts = [each.name for each in named if _folders(each) or len(named) == len(folders)]
    if parts and not split:
        raise data_error("task.path", f"{path} has {listed(parts)}, which are parts and no classes", _LAYOUT)
    train_root, test_root = (path / "train", path / "test") if split else (path, None)
    classes = _classes(train_root)
    train = _samples(train_root, classes, config.image_size)
    if test_root is None or not test_root.is_dir():
        if others := [folder.name for folder in folders if split and folder != train_root]:
            message = f"beside {train_root} there is no folder test, but {listed(others)}"
            raise data_error("task.path", message, "call the folder of the test images test, or move the others away")
        return RawImages(config.name, classes, train)
    if extra := sorted(set(_classes(test_root)) - set(classes)):
        message = f"{test_root} has {listed(extra)}, which {train_root} has not"
        raise data_error("task.path", message, "give each class training images, or remove it")
    test_classes = [name if (test_root / name).is_dir() else None for name in classes]
    return RawImages(config.name, classes, train, _samples(test_root, test_classes, config.image_size))


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _classes(root: Path) -> tuple[str, ...]:
    classes = tuple(path.name for path in _folders(root))
    if not classes:
        raise data_error("task.path", f"{root} has no folder, so no class", _LAYOUT)
    for name in classes:
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # as archives of other systems leave them
            raise data_error("task.path", f"the name of the class folder {name!a} in {root} is no UTF-8", "rename it")
    return classes


def _samples(root: Path, classes: Sequence[str | None], image_size: int | None) -> Samples:
    """Samples of the classes' folders; a class that has none here is None, and keeps its index."""
    files: list[Path] = []
    targets: list[int] = []
    for index, name in enumerate(classes):
        found = _images(root / name) if name is not None else []
        files += found
        targets += [index] * len(found)

    def read(rows: Indices) -> torch.Tensor:
        return decode(_items(files, rows), len(rows), image_size)

    return Samples(np.array(targets, dtype=np.int64), read)


def _images(folder: Path) -> list[Path]:
    files = [path for path in _within(folder) if path.suffix.lower() in SUFFIXES]
    if not files:
        known = " ".join(sorted(SUFFIXES))
        raise data_error("task.path", f"the class folder {folder} has no image ({known})", "add images, or remove it")
    return sorted(files)


def _within(folder: Path) -> Iterator[Path]:
    """What lies in a folder and in those below it, whether it can be opened or not; nothing hidden.

    Links to folders are followed, once each.
    """
    seen = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(here))
        folders[:] = [
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(here, name)) not in seen
        ]
        yield from (Path(here, name) for name in names if not name.startswith("."))


def _items(files: Sequence[Path], rows: Indices) -> Iterator[Item]:
    for row in rows:
        yield str(files[row]), partial(opened, files[row])
