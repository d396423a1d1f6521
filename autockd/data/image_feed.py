"""Images as a network takes them: resident as uint8, cut out and normalised a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from autockd.data.order import EpochOrder
from autockd.data.views import Views

EVALUATION_BATCH, EVALUATION_BATCH_ON_CPU = 512, 64
"""Images a forward pass: a GPU wants many; on a CPU what lies between two layers should stay in the caches."""

ANSWER_BATCH, ANSWER_BATCH_ON_CPU = 256, 64
"""Images of a forward pass of `ImageFeed.answering`; fewer on a CPU for the same reason."""

_FEWEST, _MOST_VALUES = 32, 2**22
"""Of large images a forward pass has fewer: as many as have 4 million values, but 32 at least. Their first layers hold
tens of times as much, and trials that share a GPU have a part of its memory."""


_LARGE = 2**15
"""Values of an image from which on its padding is not resident: workers then share the images, of which there is no
other copy."""


def evaluation_batch(device: torch.device, values: int) -> int:
    """Images of a forward pass where a metric is computed.

    Args:
        device: the network's.
        values: pixels of an image, times its channels.
    """
    return min(EVALUATION_BATCH_ON_CPU if device.type == "cpu" else EVALUATION_BATCH, _fitting_batch(values))


def _fitting_batch(values: int) -> int:
    """Images of so many values that memory has room for."""
    return max(_FEWEST, _MOST_VALUES // values)


class _Standardised(Protocol):
    """What knows mean and standard deviation of its images, per channel, of pixels scaled to 0..1."""

    @property
    def mean(self) -> tuple[float, ...]: ...

    @property
    def std(self) -> tuple[float, ...]: ...


@dataclass(frozen=True)
class Normalisation:
    """From pixels to network inputs: (pixel / 255 - mean) / std for each channel.

    Attributes:
        scale, shift: float32 [1, C, 1, 1]; an input is pixel * scale + shift.
        channels_last: whether inputs get the channels_last memory format.
    """

    scale: Tensor
    shift: Tensor
    channels_last: bool = False

    @classmethod
    def of(cls, images: _Standardised, device: torch.device, *, channels_last: bool = False) -> Normalisation:
        """The normalisation of the images of a task, or of a bundle, on a device."""
        mean = torch.tensor(images.mean, device=device).view(1, -1, 1, 1)
        std = torch.tensor(images.std, device=device).view(1, -1, 1, 1)
        return cls(1 / (255 * std), -mean / std, channels_last)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to float32 of the same shape."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return torch.addcmul(self.shift, images.to(torch.float32, memory_format=layout), self.scale)


class ImageFeed:
    """Resident uint8 images, cut out and normalised by a few tensor operations a batch."""

    def __init__(self, images: Tensor, views: Views, normalise: Normalisation) -> None:
        """Put the images where the network is.

        Args:
            images: uint8 [N, C, H, W].
            views: the views that `read` is asked for.
            normalise: from pixels to inputs, on the network's device.
        """
        self._device = normalise.scale.device
        self._views = views
        self._normalise = normalise
        self._values = images.shape[1:].numel()
        self._is_large = self._values > _LARGE
        images = images.to(self._device)
        self._images = images if self._is_large else views.pad(images)

    tokens = None

    def __len__(self) -> int:
        return len(self._images)

    def width(self, rows: Tensor) -> None:
        """None: images are of one size."""

    def read(self, rows: Tensor, views: Tensor, width: int | None = None) -> Tensor:
        """float32 [B, C, H, W]."""
        images, rows, views = self._images, rows.to(self._device), views.to(self._device)
        if self._is_large:
            images, rows = self._views.pad(images[rows]), torch.arange(len(rows), device=self._device)
        return self._normalise(self._views.render(images, rows, views))

    def arrange(self, order: EpochOrder, batch_size: int) -> EpochOrder:
        """As it is: images of one size cost the same in any batch."""
        return order

    def evaluation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """In order."""
        rows, size = torch.arange(len(self)), evaluation_batch(self._device, self._values)
        there = rows.to(self._device)  # once: whoever copies to a GPU waits for all that it has to do
        for part, chosen in zip(torch.split(rows, size), torch.split(there, size), strict=True):
            yield part, self.read(chosen, torch.full_like(chosen, self._views.identity))

    def answering(self, rows: Tensor, views: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """In order, always as many images."""
        most = ANSWER_BATCH_ON_CPU if self._device.type == "cpu" else ANSWER_BATCH
        size = min(most, _fitting_batch(self._values))
        places = torch.arange(len(rows))
        filled = torch.cat([places, places[:1].expand(-len(rows) % size)])
        rows, views = rows[filled].to(self._device), views[filled].to(self._device)  # once, as above
        for start in range(0, len(places), size):
            batch = slice(start, start + size)
            yield places[batch], self.read(rows[batch], views[batch])
