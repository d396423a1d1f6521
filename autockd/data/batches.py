"""Resident batches: images stay where they are trained on, and one epoch is a few tensor operations a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from autockd.data.task import Task
from autockd.data.views import order_of_epoch


@dataclass(frozen=True)
class Normalisation:
    """From pixels to network inputs: (pixel / 255 - mean) / std for each channel.

    Attributes:
        scale, shift: float32 [1, C, 1, 1]; an input is pixel * scale + shift.
        channels_last: whether inputs get the channels_last memory format.
    """

    scale: torch.Tensor
    shift: torch.Tensor
    channels_last: bool = False

    @classmethod
    def of(cls, task: Task, device: torch.device, *, channels_last: bool = False) -> Normalisation:
        """The normalisation of a task's images, on a device."""
        mean = torch.tensor(task.mean, device=device).view(1, -1, 1, 1)
        std = torch.tensor(task.std, device=device).view(1, -1, 1, 1)
        return cls(1 / (255 * std), -mean / std, channels_last)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [B, C, H, W] to float32 of the same shape."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return torch.addcmul(self.shift, images.to(torch.float32, memory_format=layout), self.scale)


@dataclass(frozen=True)
class EpochOrder:
    """Which view of which sample is trained on when, in one epoch: a function of the data seed and the epoch alone.

    Attributes:
        indices: int64 [N], samples in training order.
        views: int64 [N], the view of each.
    """

    indices: torch.Tensor
    views: torch.Tensor

    @classmethod
    def of(cls, task: Task, epoch: int) -> EpochOrder:
        """The order of one epoch, counted from 1."""
        samples = len(task.train)
        indices = order_of_epoch(samples, task.seed, epoch)
        return cls(indices, task.views.of_epoch(samples, task.seed, epoch)[indices])


@dataclass(frozen=True)
class Batch:
    """One training step's samples, on the device.

    Attributes:
        inputs: float32 [B, C, H, W], normalised.
        targets: int64 [B].
        rows: which part of the epoch's order this is.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    rows: slice

    def split(self, parts: int) -> Iterator[Batch]:
        """The same samples in up to `parts` pieces of nearly equal size, in order."""
        size = -(-len(self.targets) // parts)
        for start in range(0, len(self.targets), size):
            piece = slice(start, min(start + size, len(self.targets)))
            rows = slice(self.rows.start + piece.start, self.rows.start + piece.stop)
            yield Batch(self.inputs[piece], self.targets[piece], rows)


class Batches:
    """Training batches of a task; the padded images live on the device as uint8."""

    def __init__(self, task: Task, batch_size: int, normalise: Normalisation) -> None:
        self._views = task.views
        self._batch_size = batch_size
        self._normalise = normalise
        device = normalise.scale.device
        self._padded = task.views.pad(task.train.inputs.to(device))
        self._targets = task.train.targets.to(device)

    def epoch(self, order: EpochOrder) -> Iterator[Batch]:
        """The batches of one epoch; the last may be smaller."""
        device = self._padded.device
        indices, views = order.indices.to(device), order.views.to(device)
        for start in range(0, len(indices), self._batch_size):
            rows = slice(start, min(start + self._batch_size, len(indices)))
            images = self._views.render(self._padded, indices[rows], views[rows])
            yield Batch(self._normalise(images), self._targets[indices[rows]], rows)
