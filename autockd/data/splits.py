"""Which rows of a data set train, validate and test: stratified by class, a function of the seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autockd.config.tasks import TaskConfig, Torchvision
from autockd.data.sources.raw import Indices, RawImages, data_error, listed


@dataclass(frozen=True)
class Rows:
    """Rows of each split, int64, ascending.

    Attributes:
        train, validation: rows of the source's training samples; they share none.
        test: rows of the source's test samples or, where it has none, further rows of its training samples.
    """

    train: Indices
    validation: Indices
    test: Indices


def choose_rows(raw: RawImages, config: TaskConfig) -> Rows:
    """The rows of each split: first a test split where there is none, then the limits, then the validation split.

    Raises:
        DataError: a class has too few images to stand in every split.
    """
    _check_classes(raw)
    train = np.arange(len(raw.train.targets))
    if raw.test is not None:
        test, test_targets = np.arange(len(raw.test.targets)), raw.test.targets
    else:
        assert not isinstance(config, Torchvision)
        train, test = _split(raw, train, "test_fraction", config.test_fraction, config.seed)
        test_targets = raw.train.targets
    if config.limit_train is not None:
        train = train[stratified_sample(raw.train.targets[train], config.limit_train, config.seed)]
    if config.limit_test is not None:
        test = test[stratified_sample(test_targets[test], config.limit_test, config.seed)]
    train, validation = _split(raw, train, "validation_fraction", config.validation_fraction, config.seed)
    return Rows(train, validation, test)


def stratified_split(targets: Indices, held: int, seed: int) -> tuple[Indices, Indices]:
    """Rows that stay and rows that are held out, in the proportions of the classes.

    Args:
        targets: int64 [N], class indices; every class that occurs must occur twice.
        held: how many rows to hold out; they and the rest must be at least as many as the classes.
        seed: below 2^32.

    Returns:
        Ascending rows, [N - held] and [held].
    """
    from sklearn.model_selection import train_test_split

    rest, out = train_test_split(np.arange(len(targets)), test_size=held, stratify=targets, random_state=seed)
    return np.sort(rest), np.sort(out)


def stratified_sample(targets: Indices, limit: int, seed: int) -> Indices:
    """At most `limit` rows in the proportions of the classes, ascending; any limit from 1 will do.

    In random order, the k-th of a class's n rows stands at (k + 1/2) / n of the way; the first `limit` are taken. So
    a smaller limit's rows are among a larger one's.
    """
    order = np.random.RandomState(seed).permutation(len(targets))  # its stream is the same in every NumPy
    place = np.empty(len(targets))
    for index in np.unique(targets):
        members = order[targets[order] == index]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(order[np.argsort(place[order], kind="stable")[:limit]])


def _split(raw: RawImages, rows: Indices, field: str, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """`rows` less a stratified fraction of them, and that fraction."""
    targets = raw.train.targets[rows]
    counts = np.bincount(targets, minlength=len(raw.classes))
    few = int(counts.argmin())
    if counts[few] < 2:
        images = f"{counts[few]} image{'' if counts[few] == 1 else 's'}"
        message = f"the class {raw.classes[few]!r} has {images}, too few to be split: at least 2 are needed"
        remedy = "add images of it, remove the class, or raise limit_train where it is set"
        raise data_error(f"task.{field}", message, remedy)
    held = math.ceil(fraction * len(rows))
    if not len(counts) <= held <= len(rows) - len(counts):
        message = f"{fraction:g} splits {len(rows)} images into {len(rows) - held} and {held}"
        remedy = f"choose a fraction that gives each side an image for each of the {len(counts)} classes"
        raise data_error(f"task.{field}", message, remedy)
    rest, out = stratified_split(targets, held, seed)
    lost = np.flatnonzero(np.bincount(targets[rest], minlength=len(counts)) == 0)
    if len(lost):
        message = f"{fraction:g} leaves no training image of {listed([raw.classes[index] for index in lost])}"
        raise data_error(f"task.{field}", message, "lower it")
    return rows[rest], rows[out]


def _check_classes(raw: RawImages) -> None:
    """Every class must have training images, and there must be two of them."""
    if len(raw.classes) < 2:
        message = f"the data set has {len(raw.classes)} class ({listed(raw.classes)})"
        raise data_error("task", message, "at least two are needed to classify")
    for part in filter(None, (raw.train, raw.test)):
        outside = part.targets[(part.targets < 0) | (part.targets >= len(raw.classes))]
        if len(outside):
            message = f"a label is {outside[0]}, but there are {len(raw.classes)} classes"
            raise data_error("task", message, "number the classes from 0 and give every image a label")
    counts = np.bincount(raw.train.targets, minlength=len(raw.classes))
    if empty := [raw.classes[index] for index in np.flatnonzero(counts == 0)]:
        message = f"no training image has the class {listed(empty)}"
        raise data_error("task", message, "add images, or remove the class and number the others without gaps")
