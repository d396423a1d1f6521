"""torchvision's classification data sets, by name. What a class of theirs is, its signature says."""

from __future__ import annotations

import difflib
import errno
import inspect
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autockd.config.tasks import Torchvision
from autockd.data.sources.idx import find_idx, read_idx
from autockd.data.sources.images import array_samples, decode
from autockd.data.sources.raw import RawImages, Samples, data_error, listed, numbered_classes
from autockd.errors import DataError

IDX_FAMILY = ("MNIST", "FashionMNIST", "KMNIST")
"""Sets whose four idx files, plain or .gz, are read from wherever they lie: `root`, or `root/<name>/raw`."""

_BASES = ("ImageFolder", "DatasetFolder", "FakeData", "VisionDataset")
_MISSING = (OSError, RuntimeError, EOFError, ImportError)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def read_torchvision(config: Torchvision) -> RawImages:
    """A data set of torchvision with a training and a test split and one integer label an image.

    CIFAR's files are pickles; torchvision opens them only if their MD5 is the published one.

    Raises:
        DataError: there is no such set, it is no such classification set, or its files are missing or damaged.
    """
    kind = _find(config.dataset)
    if config.dataset in IDX_FAMILY:
        for folder in (config.root, config.root / config.dataset / "raw"):
            if files := find_idx(folder):
                return _read_idx_family(config.name, kind, files, config.image_size)
    train_set, test_set = _open(kind, config, train=True), _open(kind, config, train=False)
    train, test = (_samples(part, config) for part in (train_set, test_set))
    return RawImages(config.name, _classes(train_set, train, test), train, test)


def _find(dataset: str) -> Any:
    """The class of that name, if it is one that a study can use."""
    from torchvision import datasets

    known = [name for name in datasets.__all__ if _usable(getattr(datasets, name))]
    if dataset in known:
        return getattr(datasets, dataset)
    close = difflib.get_close_matches(dataset.lower(), [name.lower() for name in known], n=3, cutoff=0.5)
    names = [name for name in known if name.lower() in close]
    remedy = f"did you mean {listed(names)}?" if names else "such as 'CIFAR10', 'CIFAR100', 'FashionMNIST', 'SVHN'"
    if dataset in datasets.__all__:
        message = f"torchvision's {dataset} is not a set of labelled images with a training and a test split"
        raise data_error("task.dataset", message, remedy)
    raise data_error("task.dataset", f"torchvision has no data set {dataset!r}", remedy)


def _usable(kind: Any) -> bool:
    """Whether the class needs a root alone and lets one choose between a training and a test split."""
    if not inspect.isclass(kind) or kind.__name__ in _BASES:
        return False
    parameters = inspect.signature(kind).parameters
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    required = [p.name for p in parameters.values() if p.default is p.empty and p.kind not in variable]
    labelled = "target_transform" in parameters or any(p.kind in variable for p in parameters.values())
    return required == ["root"] and labelled and _split_arguments(parameters, train=True) is not None


def _split_arguments(parameters: Mapping[str, inspect.Parameter], *, train: bool) -> dict[str, Any] | None:
    """The argument that chooses the split; None where the class has none."""
    if "train" in parameters and parameters["train"].default is True:
        return {"train": train}
    if "split" in parameters and parameters["split"].default in ("train", "trainval"):
        return {"split": parameters["split"].default if train else "test"}
    return None


def _open(kind: Any, config: Torchvision, *, train: bool) -> Any:
    parameters = inspect.signature(kind).parameters
    arguments = _split_arguments(parameters, train=train) or {}
    if "download" in parameters or config.download:
        arguments["download"] = config.download
    try:
        with warnings.catch_warnings():
            # CIFAR's pickles date from NumPy 1, and NumPy 2.4 warns of the flags in them.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            return kind(root=str(config.root), **arguments)
    except _MISSING as error:
        raise _missing(config, error) from error
    except (ValueError, TypeError) as error:
        message = f"torchvision cannot open {config.dataset}: {error}"
        raise data_error("task.dataset", message, "choose another, or read its images with source: folder") from error


def _missing(config: Torchvision, error: Exception) -> DataError:
    if config.download and getattr(error, "errno", None) in _FORBIDDEN:
        message = f"{config.dataset} cannot be written to {config.root} ({error})"
        return data_error("task.root", message, "name another task.root, which you may write")
    message = f"the files of {config.dataset} in {config.root} are missing, damaged or unreachable ({error})"
    if config.download:
        remedy = "check the network and the space on disk, or put the files there yourself"
        return data_error("task.root", message, remedy)
    family = ", or its four idx files themselves" if config.dataset in IDX_FAMILY else ""
    place = f"put the files there as torchvision lays them out{family}"
    return data_error("task.root", message, f"set download: true, or {place}")


def _read_idx_family(name: str, kind: Any, files: Mapping[str, Path], image_size: int | None) -> RawImages:
    def part(split: str) -> Samples:
        images = read_idx(files[f"{split}-images"], axes=3)
        targets = read_idx(files[f"{split}-labels"], axes=1).astype(np.int64)
        if len(images) != len(targets):
            message = f"{files[f'{split}-images']} holds {len(images)} images, but there are {len(targets)} labels"
            raise data_error("task.root", message, "put the original files there")
        return array_samples(images, targets, image_size)

    return RawImages(name, tuple(kind.classes), part("train"), part("test"))


def _samples(dataset: Any, config: Torchvision) -> Samples:
    targets = getattr(dataset, "targets", getattr(dataset, "labels", None))
    images = getattr(dataset, "data", None)
    if images is not None and targets is not None:
        pixels, labels = np.asarray(images), np.asarray(targets)
        if pixels.dtype == np.uint8 and labels.ndim == 1 and len(pixels) == len(labels):
            return array_samples(pixels, labels.astype(np.int64), config.image_size)
    return _decoded_samples(dataset, config)


def _decoded_samples(dataset: Any, config: Torchvision) -> Samples:
    """Samples of a set that only yields them one by one: all are decoded, and kept."""
    targets: list[int] = []

    def open_row(row: int) -> Any:
        image, label = _checked(dataset[row], config.dataset)
        targets.append(label)
        return image

    items = ((f"{config.dataset}[{row}]", partial(open_row, row)) for row in range(len(dataset)))
    images = decode(items, len(dataset), config.image_size)
    return array_samples(images.numpy(), np.array(targets, dtype=np.int64), config.image_size)


def _checked(sample: Any, dataset: str) -> tuple[Any, int]:
    from PIL.Image import Image

    image, *labels = sample
    if not isinstance(image, Image) or len(labels) != 1 or not isinstance(labels[0], int | np.integer):
        if isinstance(image, Image):
            image.close()
        found = ", ".join(type(value).__name__ for value in sample)
        message = f"a sample of torchvision's {dataset} is not an image with a class, but ({found})"
        raise data_error("task.dataset", message, "choose a classification data set")
    return image, int(labels[0])


def _classes(dataset: Any, train: Samples, test: Samples) -> tuple[str, ...]:
    names = getattr(dataset, "classes", None) or numbered_classes(train.targets, test.targets)
    return tuple(name if isinstance(name, str) else ", ".join(map(str, name)) for name in names)
