"""From a study's `task` to tensors: read, split, measure, seal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from autockd.config.tasks import ImageTaskConfig, TaskConfig, TextTaskConfig
from autockd.data.metrics import METRICS
from autockd.data.sources.digits import read_digits
from autockd.data.sources.folder import read_folder
from autockd.data.sources.glue import read_glue
from autockd.data.sources.huggingface import read_huggingface
from autockd.data.sources.images import equalise, require_memory
from autockd.data.sources.npz import read_npz
from autockd.data.sources.raw import Indices, RawImages, data_error, listed
from autockd.data.sources.raw_text import RawTexts, TextPart
from autockd.data.sources.text import read_text
from autockd.data.sources.torchvision_sets import read_torchvision
from autockd.data.splits import choose_rows, limited_rows
from autockd.data.task import HeldOut, ImageTask, Split, Task, TextTask
from autockd.data.texts import Texts
from autockd.data.views import Views
from autockd.hashing import bytes_hash, content_hash

READERS: Mapping[str, Callable[[Any], RawImages]] = {
    "digits": read_digits,
    "torchvision": read_torchvision,
    "huggingface": read_huggingface,
    "folder": read_folder,
    "npz": read_npz,
}
"""The reader of each source.

A new source is its file and a line here; and in these places, each of which `tests/contract/test_source_places.py`
looks at:

- `autockd.config.tasks`: its configuration class, in `ImageTaskConfig` or `TextTaskConfig`; in `is_on_hub` if its
  `path` may be a hub id;
- `autockd.config.loading._HUB_OR_LOCAL`, for the same sources: other paths are of type `Path`;
- `autockd.cli.inputs._missing_data`: that its data are there, as far as this can be told without reading them;
- `autockd.history.MOVED`: its fields that say where data lie, if they are others than `path`, `root` and `test_file`;
- `autockd.data.splits.choose_rows`: named in the assertion if it has no `test_fraction`, as it always has a test split;
- `autockd.export.card_metadata.dataset_name`: what people call its data, if it has no `path`;
- `autockd.exporting._trusted`, and what that asks: what a bundle, which may come from anywhere, may have read unasked.

`autockd.export.card_usage._of_its_data` tells of images that it resizes as arrays, not with Pillow.
"""

TEXT_READERS: Mapping[str, Callable[[Any], RawTexts]] = {"glue": read_glue, "text": read_text}
"""The same for texts; what their files leave open is told in `RawTexts.chosen`."""

_OF_TWO_CLASSES = ("f1", "accuracy_f1")
_LEVELS = 256
_STATISTICS_CHUNK = 4096


def load_task(config: TaskConfig) -> tuple[Task, HeldOut]:
    """What trials may see of a data set, and apart from it the sealed test split.

    Raises:
        DataError: the data set cannot be read, split as the configuration says, or judged by the metric.
    """
    if config.kind == "text":
        return _load_texts(config)
    return _load_images(config)


def _load_texts(config: TextTaskConfig) -> tuple[Task, HeldOut]:
    """Scores are stratified by their tenths, classes by class."""
    raw = TEXT_READERS[config.source](config)
    if raw.metric in _OF_TWO_CLASSES and len(raw.classes) != 2:
        message = f"{raw.metric} is of two classes, but there are {listed(raw.classes)}"
        raise data_error("task.metric", message, "choose accuracy or matthews")
    rows = choose_rows(raw, config)
    task = TextTask(
        name=raw.name,
        train=_split_of(raw.train, rows.train),
        validation=_split_of(raw.train, rows.validation),
        classes=raw.classes,
        seed=config.seed,
        metric=raw.metric,
        direction=METRICS[raw.metric].direction,
        max_length=config.max_length,
        score_range=raw.score_range,
        chosen=raw.chosen,
    )
    test = _split_of(raw.test or raw.train, rows.test)
    others = {name: _split_of(part, limited_rows(part.targets, config)) for name, part in raw.others.items()}
    hashes = {"classes": raw.classes, "test": _split_hash(test)}
    hashes |= {name: _split_hash(split) for name, split in others.items()}
    return replace(task, fingerprint=_fingerprint(task)), HeldOut(test, content_hash(hashes), others)


def _split_of(part: TextPart, rows: Indices) -> Split:
    return Split(part.texts.take(torch.from_numpy(rows)), torch.from_numpy(part.targets[rows]))


def _load_images(config: ImageTaskConfig) -> tuple[Task, HeldOut]:
    """Mean and standard deviation are given, or those of the training split alone."""
    raw = READERS[config.source](config)
    train, validation, test = _read_splits(raw, config)
    assert isinstance(train.inputs, torch.Tensor), "an image task has images"
    mean, std = _given_statistics(config, train.inputs.shape[1]) or channel_statistics(train.inputs)
    views = _views(config, min(train.inputs.shape[2:]))
    task = ImageTask(
        name=raw.name,
        train=train,
        validation=validation,
        classes=raw.classes,
        seed=config.seed,
        views=views,
        mean=mean,
        std=std,
    )
    held_out = HeldOut(test, content_hash({"classes": raw.classes, "test": _split_hash(test)}))
    return replace(task, fingerprint=_fingerprint(task)), held_out


def _views(config: ImageTaskConfig, side: int) -> Views:
    """The views of images whose shorter side has so many pixels."""
    views = Views(config.augmentation.crop_padding, config.augmentation.flip)
    if views.crop_padding >= side:
        message = f"is {views.crop_padding}, so that crops may miss images, which have {side} pixels a side"
        raise data_error("task.augmentation.crop_padding", message, f"set it to {side - 1} at most; an eighth is usual")
    return views


def _given_statistics(config: ImageTaskConfig, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation of each channel, as the configuration gives them; None where it does not."""
    if config.mean is None or config.std is None:
        return None
    if len(config.mean) not in (1, channels):
        message = f"gives {len(config.mean)} channels, and the images have {channels}"
        raise data_error("task.mean", message, "give a number for each channel, or one for all; so for std")
    repeats = channels // len(config.mean)
    return config.mean * repeats, config.std * repeats


def _read_splits(raw: RawImages, config: ImageTaskConfig) -> tuple[Split, Split, Split]:
    rows = choose_rows(raw, config)
    test = raw.test or raw.train
    sources = {"train": (raw.train, rows.train), "validation": (raw.train, rows.validation), "test": (test, rows.test)}
    require_memory(sum(len(chosen) for _, chosen in sources.values()), raw.train.read(rows.train[:1]))
    images = equalise({name: samples.read(chosen) for name, (samples, chosen) in sources.items()})
    train, validation, held = (
        Split(images[name], torch.from_numpy(samples.targets[chosen])) for name, (samples, chosen) in sources.items()
    )
    return train, validation, held


def channel_statistics(images: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation per channel, of pixels scaled to 0..1.

    Counts grey levels instead of adding floats: exact, whatever the order, and without a float copy of the images.
    The standard deviation is at least one grey level, 1/255, so that a constant channel can be normalised.

    Args:
        images: uint8 [N, C, H, W].
    """
    counts = torch.zeros(images.shape[1], _LEVELS, dtype=torch.int64)
    for chunk in torch.split(images, _STATISTICS_CHUNK):
        for channel, pixels in enumerate(chunk.unbind(1)):
            counts[channel] += torch.bincount(pixels.flatten(), minlength=_LEVELS)
    levels = torch.arange(_LEVELS)
    total = images.shape[0] * images.shape[2] * images.shape[3]
    first = [int(count) for count in (counts * levels).sum(1)]
    second = [int(count) for count in (counts * levels**2).sum(1)]
    largest = _LEVELS - 1
    mean = tuple(one / total / largest for one in first)
    std = tuple(
        max(1.0, math.sqrt(total * two - one**2) / total) / largest for one, two in zip(first, second, strict=True)
    )
    return mean, std


def _fingerprint(task: Task) -> str:
    return content_hash(
        {
            "name": task.name,
            "train": _split_hash(task.train),
            "validation": _split_hash(task.validation),
            "classes": task.classes,
            **_particulars(task),
            "views": [task.views.crop_padding, task.views.flip],
            "seed": task.seed,
            "metric": task.metric,
            "direction": task.direction,
        }
    )


def _particulars(task: Task) -> dict[str, object]:
    match task:
        case ImageTask():
            return {"kind": "image", "mean": task.mean, "std": task.std}
        case TextTask():
            return {"kind": "text", "max_length": task.max_length, "score_range": task.score_range}
    raise AssertionError("there are two kinds of tasks")


def _split_hash(split: Split) -> str:
    if isinstance(split.inputs, Texts):
        return content_hash([split.inputs.content_hash, bytes_hash(split.targets.numpy().data)])
    shape = np.array(split.inputs.shape, dtype=np.int64)
    return bytes_hash(shape.data, split.inputs.numpy().data, split.targets.numpy().data)
