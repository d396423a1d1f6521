"""What a source hands over: labels at once, pixels when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from autockd.errors import DataError, Problem

Indices = NDArray[np.int64]
"""Row numbers, or class indices: int64 [N]."""


@dataclass(frozen=True)
class Samples:
    """The samples of one part of a data set. Rows are chosen by their labels, and only chosen rows are decoded.

    Attributes:
        targets: int64 [N], class indices.
        read: from rows, int64 [M], to their images, uint8 [M, C, H, W].
    """

    targets: Indices
    read: Callable[[Indices], torch.Tensor]


@dataclass(frozen=True)
class RawImages:
    """A data set as its source knows it.

    Attributes:
        name: short name, such as `cifar10`.
        classes: name of each class, by index.
        train: samples to train and validate on.
        test: samples to test on; None where the source has none, and some of `train` must be set aside.
    """

    name: str
    classes: tuple[str, ...]
    train: Samples
    test: Samples | None = None


_MOST_CLASSES = 100_000


def data_error(field: str, message: str, remedy: str = "") -> DataError:
    """A DataError that names the field, such as `task.path`, the rule with the value that breaks it, and the remedy."""
    return DataError(str(Problem(field, message, remedy)))


def numbered_classes(*targets: Indices) -> tuple[str, ...]:
    """Names for classes that have none: "0", "1", ... up to the largest label.

    Raises:
        DataError: it is so large that labels must be something else.
    """
    largest = max(int(part.max(initial=-1)) for part in targets)
    if largest >= _MOST_CLASSES:
        raise data_error("task", f"labels go up to {largest}, so they number no classes", "number classes from 0 on")
    return tuple(str(index) for index in range(1 + largest))


def listed(names: Sequence[object], most: int = 12) -> str:
    """Names for a message, such as `'a', 'b'`; a long list is cut."""
    shown = ", ".join(repr(name) for name in names[:most])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > most else shown or "none"
