"""Task: all that a trial may see of a data set. The test split is not in it; it travels alone, as HeldOut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from autockd.data.views import Views

Kind = Literal["image"]
Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Split:
    """Samples of one split, resident in memory.

    Attributes:
        inputs: uint8 [N, C, H, W], pixels 0..255.
        targets: int64 [N], class indices 0..K-1.
    """

    inputs: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: torch.Tensor) -> Split:
        """The samples at `indices`, int64 [M], in that order."""
        return Split(self.inputs[indices], self.targets[indices])

    def to(self, device: torch.device) -> Split:
        """The same samples on another device."""
        return Split(self.inputs.to(device), self.targets.to(device))


@dataclass(frozen=True)
class Task:
    """What trials learn from and are compared on.

    Attributes:
        name: short name, such as `digits`; names the MLflow experiment.
        train: training samples.
        validation: samples that trials are compared on.
        classes: name of each class, by index.
        mean, std: per channel over the training split, of pixels scaled to 0..1.
        views: the finite set of augmented views of a training image.
        seed: the data seed: of the splits, the order of samples and their views.
        fingerprint: SHA-256 of everything above.
        metric: name of the validation metric.
        direction: whether more of the metric is better.
    """

    name: str
    train: Split
    validation: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    views: Views
    seed: int
    fingerprint: str
    kind: Kind = "image"
    metric: str = "accuracy"
    direction: Direction = "maximize"

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.inputs.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return self.train.inputs.shape[2], self.train.inputs.shape[3]

    def to(self, device: torch.device) -> Task:
        """The same task with its arrays on another device."""
        return replace(self, train=self.train.to(device), validation=self.validation.to(device))


@dataclass(frozen=True)
class HeldOut:
    """The test split, sealed: nothing but the final evaluation is given one."""

    split: Split
    fingerprint: str

    def __repr__(self) -> str:
        return f"HeldOut({len(self.split)} samples, {self.fingerprint[:12]})"
