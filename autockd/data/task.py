"""Task: all that a trial may see of a data set. The test split is not in it; it travels alone, as HeldOut."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autockd.data.texts import Texts
from autockd.data.views import Views
from autockd.facts import Direction


@dataclass(frozen=True)
class Split:
    """Samples of one split, resident in memory.

    Attributes:
        inputs: images, uint8 [N, C, H, W], pixels 0..255; or texts.
        targets: class indices 0..K-1, int64 [N]; or scores, float32 [N].
    """

    inputs: torch.Tensor | Texts
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: torch.Tensor) -> Split:
        """The samples at `indices`, int64 [M], in that order."""
        chosen = self.inputs.take(indices) if isinstance(self.inputs, Texts) else self.inputs[indices]
        return Split(chosen, self.targets[indices])

    def __reduce__(self) -> tuple[Callable[..., Split], tuple[Any, ...]]:
        """Its tensors travel as arrays: Ray keeps these once on a machine, and lets all workers there read them."""
        inputs = self.inputs if isinstance(self.inputs, Texts) else self.inputs.numpy()
        return _arrived, (inputs, self.targets.numpy())


def _arrived(inputs: Texts | NDArray[np.uint8], targets: NDArray[Any]) -> Split:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes to a split
        return Split(inputs if isinstance(inputs, Texts) else torch.from_numpy(inputs), torch.from_numpy(targets))


@dataclass(frozen=True, kw_only=True)
class Task:
    """What trials learn from and are compared on.

    Attributes:
        name: short name, such as `digits`; in lower case, of the MLflow experiment too.
        train: training samples.
        validation: samples that trials are compared on.
        classes: name of each class, by index; empty where targets are scores.
        seed: the data seed: of the splits, the order of samples and their views.
        metric: name of the validation metric.
        direction: whether more of the metric is better.
        views: the finite set of augmented views of a training sample.
        fingerprint: SHA-256 of everything above.
    """

    name: str
    train: Split
    validation: Split
    classes: tuple[str, ...]
    seed: int
    metric: str = "accuracy"
    direction: Direction = "maximize"
    views: Views = field(default_factory=Views)
    fingerprint: str = ""

    @property
    def outputs(self) -> int:
        """Numbers that a network gives for a sample: a logit for each class, or one score."""
        return len(self.classes) or 1


@dataclass(frozen=True, kw_only=True)
class ImageTask(Task):
    """Images of one size, each of one class.

    Attributes:
        mean, std: per channel, of pixels scaled to 0..1: over the training split, unless the study gives others.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def images(self) -> torch.Tensor:
        """The training images."""
        assert isinstance(self.train.inputs, torch.Tensor), "an image task has images"
        return self.train.inputs


@dataclass(frozen=True, kw_only=True)
class TextTask(Task):
    """Sentences or pairs of sentences, each of one class or with one score.

    Attributes:
        max_length: tokens after which a sample is cut, whoever's tokens they are.
        score_range: the least and the largest score there can be, where that is known.
        chosen: which columns were taken and why, where the study leaves that open; not part of the fingerprint.
    """

    max_length: int
    score_range: tuple[float, float] | None = None
    chosen: str = ""


@dataclass(frozen=True)
class HeldOut:
    """The test split, kept from trials; nothing is scored on it before the final evaluation.

    Attributes:
        split: the test split.
        fingerprint: its SHA-256.
        others: further splits to report, by name, such as `mismatched`.
    """

    split: Split
    fingerprint: str
    others: Mapping[str, Split] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"HeldOut({len(self.split)} samples, {self.fingerprint[:12]})"
