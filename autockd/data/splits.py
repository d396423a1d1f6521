"""Which rows of a data set train, validate and test: stratified by class or score, a function of the seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autockd.config.tasks import Glue, TaskConfig, Torchvision
from autockd.data.sources.raw import Indices, RawImages, data_error, listed
from autockd.data.sources.raw_text import RawTexts, Scores

SCORE_BANDS = 10
"""Bands of scores, from low to high, each as large, that take the part of classes where there are none."""


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


def choose_rows(raw: RawImages | RawTexts, config: TaskConfig) -> Rows:
    """The rows of each split: first a test split where there is none, then the limits, then the validation split.

    Raises:
        DataError: a class, or the whole, has too few samples to stand in every split, or all scores of one are equal.
    """
    chooser = _Chooser(raw.train.targets, raw.classes, config)
    chooser.check(raw.test.targets if raw.test is not None else None)
    train = np.arange(len(raw.train.targets))
    if raw.test is not None:
        test = limited_rows(raw.test.targets, config)
    else:
        assert not isinstance(config, Torchvision | Glue)
        train, test = chooser.split(train, "test_fraction", config.test_fraction)
        test = test[limited_rows(raw.train.targets[test], config)]
    if config.limit_train is not None:
        train = train[stratified_sample(_strata(raw.train.targets[train]), config.limit_train, config.seed)]
    train, validation = chooser.split(train, "validation_fraction", config.validation_fraction)
    if config.is_regression:
        tested = (raw.test or raw.train).targets[test]
        targets = {"training": raw.train.targets[train], "validation": raw.train.targets[validation], "test": tested}
        _require_different_scores(targets)
    return Rows(train, validation, test)


def _require_different_scores(targets: Mapping[str, NDArray[Any]]) -> None:
    """Of equal scores there is nothing to learn, and no correlation."""
    for part, scores in targets.items():
        if scores.min() == scores.max():
            message = f"every {part} example has the score {scores[0]:g}, and two scores are needed"
            raise data_error("task", message, "add examples, or raise limit_train or limit_test where it is set")


def limited_rows(targets: Indices | Scores, config: TaskConfig) -> Indices:
    """Rows of test samples: all, or as many as `limit_test` says, stratified."""
    if config.limit_test is None:
        return np.arange(len(targets))
    return stratified_sample(_strata(targets), config.limit_test, config.seed)


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


def _strata(targets: NDArray[Any], bands: int = SCORE_BANDS) -> Indices:
    """Classes as they are; of scores, the band of each, by its rank: int64 [N]."""
    if targets.dtype == np.int64:
        return targets
    band: Indices = np.empty(len(targets), dtype=np.int64)
    band[np.argsort(targets, kind="stable")] = np.arange(len(targets)) * bands // len(targets)
    return band


@dataclass(frozen=True)
class _Chooser:
    """Splits training rows, and says what is wrong with a data set that cannot be split.

    Attributes:
        targets: class indices, int64 [N]; or scores, float32 [N].
        classes: name of each class; empty where there are scores.
        config: the task.
    """

    targets: Indices | Scores
    classes: tuple[str, ...]
    config: TaskConfig

    @property
    def _sample(self) -> str:
        return "image" if self.config.kind == "image" else "example"

    def split(self, rows: Indices, field: str, fraction: float) -> tuple[Indices, Indices]:
        """`rows` less a stratified fraction of them, and that fraction."""
        held = math.ceil(fraction * len(rows))
        divide = self._by_score if self.config.is_regression else self._by_class
        rest, out = divide(self.targets[rows], held, field, fraction)
        return rows[rest], rows[out]

    def _by_score(self, targets: NDArray[Any], held: int, field: str, fraction: float) -> tuple[Indices, Indices]:
        smaller = min(held, len(targets) - held)
        if smaller < 2:
            message = f"{fraction:g} splits {len(targets)} examples into {len(targets) - held} and {held}"
            raise data_error(f"task.{field}", message, "choose a fraction that gives each side two at least")
        return stratified_split(_strata(targets, min(SCORE_BANDS, smaller)), held, self.config.seed)

    def _by_class(self, targets: NDArray[Any], held: int, field: str, fraction: float) -> tuple[Indices, Indices]:
        counts = np.bincount(targets, minlength=len(self.classes))
        if len(few := np.flatnonzero(counts < 2)):
            names = listed([self.classes[index] for index in few])
            message = f"fewer than 2 {self._sample}s are left to be split of {names}"
            remedy = f"add {self._sample}s (training, validation and test split need one each), or remove the classes"
            raise data_error(f"task.{field}", message, f"{remedy}, or raise limit_train where it is set")
        if not len(counts) <= held <= len(targets) - len(counts):
            message = f"{fraction:g} splits {len(targets)} {self._sample}s into {len(targets) - held} and {held}"
            remedy = f"choose a fraction that gives each side an {self._sample} for each of the {len(counts)} classes"
            raise data_error(f"task.{field}", message, remedy)
        rest, out = stratified_split(targets, held, self.config.seed)
        lost = np.flatnonzero(np.bincount(targets[rest], minlength=len(counts)) == 0)
        if len(lost):
            names = listed([self.classes[index] for index in lost])
            raise data_error(f"task.{field}", f"{fraction:g} leaves no training {self._sample} of {names}", "lower it")
        return rest, out

    def check(self, test: Indices | Scores | None) -> None:
        """Every class must have training samples, and there must be two of them. Scores are judged later."""
        if self.config.is_regression:
            return
        if len(self.classes) < 2:
            message = f"the data set has {len(self.classes)} class ({listed(self.classes)})"
            raise data_error("task", message, "at least two are needed to classify")
        for part in (self.targets,) if test is None else (self.targets, test):
            outside = part[(part < 0) | (part >= len(self.classes))]
            if len(outside):
                message = f"a label is {outside[0]}, but there are {len(self.classes)} classes"
                raise data_error("task", message, f"number the classes from 0 and give every {self._sample} a label")
        counts = np.bincount(self.targets, minlength=len(self.classes))
        if empty := [self.classes[index] for index in np.flatnonzero(counts == 0)]:
            message = f"no training {self._sample} has the class {listed(empty)}"
            remedy = f"add {self._sample}s, or remove the class and number the others without gaps"
            raise data_error("task", message, remedy)
