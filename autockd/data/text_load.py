"""Texts by split: read from their source, chosen as the study says, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autockd.config.tasks import MetricName, TextTaskConfig
from autockd.data.sources.glue import read_glue
from autockd.data.sources.raw import Indices, data_error, listed
from autockd.data.sources.raw_text import RawTexts, TextPart
from autockd.data.sources.text import read_text
from autockd.data.splits import choose_rows, limited_rows

TEXT_READERS: Mapping[str, Callable[[Any], RawTexts]] = {"glue": read_glue, "text": read_text}
"""The reader of each source of texts."""

_OF_TWO_CLASSES = ("f1", "accuracy_f1")


@dataclass(frozen=True)
class TextSplits:
    """The samples of each split of a text task.

    Attributes:
        name: short name, such as `rte`.
        train: samples to train on.
        validation: samples that trials are compared on.
        test: samples that nothing but the final evaluation sees.
        others: further such samples, by name: `mismatched` of mnli.
        classes: name of each class, by index; empty where targets are scores.
        metric: what predictions are judged by.
        score_range: least and greatest score, on the data's own scale; None where targets are classes.
    """

    name: str
    train: TextPart
    validation: TextPart
    test: TextPart
    others: Mapping[str, TextPart]
    classes: tuple[str, ...]
    metric: MetricName
    score_range: tuple[float, float] | None


def read_text_splits(config: TextTaskConfig) -> TextSplits:
    """The splits of a text task. Scores are stratified by their tenths, classes by class.

    Raises:
        DataError: the data cannot be read, split as the configuration says, or judged by the metric.
    """
    raw = TEXT_READERS[config.source](config)
    if raw.metric in _OF_TWO_CLASSES and len(raw.classes) != 2:
        message = f"{raw.metric} is of two classes, but there are {listed(raw.classes)}"
        raise data_error("task.metric", message, "choose accuracy or matthews")
    rows = choose_rows(raw, config)
    return TextSplits(
        name=raw.name,
        train=_take(raw.train, rows.train),
        validation=_take(raw.train, rows.validation),
        test=_take(raw.test or raw.train, rows.test),
        others={name: _take(part, limited_rows(part.targets, config)) for name, part in raw.others.items()},
        classes=raw.classes,
        metric=raw.metric,
        score_range=raw.score_range,
    )


def _take(part: TextPart, rows: Indices) -> TextPart:
    return TextPart(part.texts.take(torch.from_numpy(rows)), part.targets[rows])
