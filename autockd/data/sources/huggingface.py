"""Data sets of the Hugging Face hub, and local folders in the same layout."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from autockd.config.tasks import HuggingFace
from autockd.data.sources.hub import (
    LABELS,
    choose_column,
    class_targets,
    holds,
    load_splits,
    require_columns,
    split_name,
    split_named,
)
from autockd.data.sources.images import Item, decode, opened
from autockd.data.sources.raw import Indices, RawImages, Samples, data_error

_ROWS_AT_A_TIME = 1000


def read_huggingface(config: HuggingFace) -> RawImages:
    """A data set with one image column and one label column.

    Columns that are not named are found by their type. Labels may be class labels, integers or strings; the latter
    two become classes in sorted order. No code of the data set is ever run. The library's own cache (`HF_HOME`)
    holds what it fetches and converts.

    Raises:
        DataError: there is no such data set, subset, split or column, or labels are missing.
    """
    if config.test_split == config.train_split:
        message = f"is {config.test_split!r}, the training split itself"
        raise data_error("task.test_split", message, "name another split, or null to set test_fraction aside")
    splits = load_splits(config.path, config.subset, config.revision, {config.train_split, config.test_split})
    parts = [split_named(splits, "train_split", config.train_split)]
    if config.test_split is not None:
        parts.append(split_named(splits, "test_split", config.test_split))
    image_column, label_column = _image_column(parts[0], config.image_column), _label_column(parts[0], config)
    for part in parts[1:]:
        require_columns(part, image_column, label_column)
    classes, targets = class_targets(parts, label_column)
    samples = [
        _samples(part, image_column, labels, config.image_size) for part, labels in zip(parts, targets, strict=True)
    ]
    return RawImages(config.name, classes, *samples)


def _image_column(dataset: Any, named: str | None) -> str:
    import datasets

    def holds_images(feature: Any) -> bool:
        encoded = isinstance(feature, dict) and set(feature) == {"bytes", "path"}  # a Parquet file without metadata
        return encoded or isinstance(feature, datasets.Image)

    candidates = [name for name, feature in dataset.features.items() if holds_images(feature)]
    return choose_column(dataset, "image_column", named, candidates, "images")


def _label_column(dataset: Any, config: HuggingFace) -> str:
    import datasets

    features = dataset.features.items()
    classes = [name for name, feature in features if isinstance(feature, datasets.ClassLabel)]
    values = [name for name, feature in features if holds(feature, LABELS)]
    candidates = [*classes, *values] if config.label_column is not None else classes or values
    return choose_column(dataset, "label_column", config.label_column, candidates, "class labels, integers or strings")


def _image_of(decoder: Any, value: Any) -> Any:
    if value is None:
        raise ValueError("there is none")
    if value["bytes"] is not None:
        image = opened(io.BytesIO(value["bytes"]))
    elif value["path"] and Path(value["path"]).is_file():
        image = opened(Path(value["path"]))
    else:
        return decoder.decode_example(value)  # in an archive, or somewhere else
    return image if decoder.mode is None else image.convert(decoder.mode)


def _samples(dataset: Any, column: str, targets: Indices, image_size: int | None) -> Samples:
    import datasets

    encoded = dataset.select_columns(column).cast_column(column, datasets.Image(decode=False))
    feature = dataset.features[column]
    decoder = feature if isinstance(feature, datasets.Image) else datasets.Image()

    def items(rows: Indices) -> Iterator[Item]:
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            chunk = rows[start : start + _ROWS_AT_A_TIME].tolist()
            for row, value in zip(chunk, encoded[chunk][column], strict=True):
                yield f"row {row} of {split_name(dataset)}", partial(_image_of, decoder, value)

    def read(rows: Indices) -> torch.Tensor:
        return decode(items(rows), len(rows), image_size)

    return Samples(targets, read)
