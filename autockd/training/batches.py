"""The batches of an epoch, and their parts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from autockd.data.feeds import Feed, NetworkInput
from autockd.data.order import EpochOrder


@dataclass(frozen=True)
class Batch:
    """One training step's samples, on the device.

    Attributes:
        inputs: as the network takes them.
        targets: int64 or float32 [B].
        rows: which part of the epoch's order this is.
    """

    inputs: NetworkInput
    targets: Tensor
    rows: slice

    def split(self, parts: int) -> Iterator[Batch]:
        """The same samples in up to `parts` pieces of nearly equal size, in order."""
        size = -(-len(self.targets) // parts)
        while size < len(self.targets) and (size == 1 or len(self.targets) % size == 1):
            size += 1  # batch normalisation of a single sample may have no deviation
        for start in range(0, len(self.targets), size):
            piece = slice(start, min(start + size, len(self.targets)))
            rows = slice(self.rows.start + piece.start, self.rows.start + piece.stop)
            yield Batch(_piece(self.inputs, piece), self.targets[piece], rows)


def typical_batch(feed: Feed, order: EpochOrder, batch_size: int) -> EpochOrder:
    """The samples of that whole batch of an epoch whose length is next to the mean; of images the first one's.

    Args:
        feed: the samples.
        order: of the epoch, as the feed arranged it.
        batch_size: samples of a batch; an epoch of fewer is one batch.
    """
    batches = _batches(order, batch_size)
    if len(batches) > 1 and len(batches[-1].indices) < batch_size:
        batches.pop()
    widths = [feed.width(batch.indices) or 0 for batch in batches]
    mean = sum(widths) / len(widths)
    return min(zip(batches, widths, strict=True), key=lambda batch: abs(batch[1] - mean))[0]


def largest_batch(feed: Feed, order: EpochOrder, batch_size: int) -> EpochOrder:
    """The same of the one with the most numbers, padding included; it need not be whole."""
    return max(_batches(order, batch_size), key=lambda batch: len(batch.indices) * (feed.width(batch.indices) or 1))


def _batches(order: EpochOrder, batch_size: int) -> list[EpochOrder]:
    parts = zip(torch.split(order.indices, batch_size), torch.split(order.views, batch_size), strict=True)
    return list(itertools.starmap(EpochOrder, parts))


class Batches:
    """Training batches of a split."""

    def __init__(self, feed: Feed, targets: Tensor, batch_size: int) -> None:
        """Cut the samples of a feed into batches.

        Args:
            feed: the samples.
            targets: int64 or float32 [N], on the feed's device.
            batch_size: samples of a batch; the last of an epoch may have fewer.
        """
        self._feed = feed
        self._targets = targets
        self._batch_size = batch_size

    def epoch(self, order: EpochOrder) -> Iterator[Batch]:
        """The batches of one epoch."""
        indices, views = order.indices.to(self._targets.device), order.views.to(self._targets.device)
        for start in range(0, len(indices), self._batch_size):
            rows = slice(start, min(start + self._batch_size, len(indices)))
            width = self._feed.width(order.indices[rows])
            yield Batch(self._feed.read(indices[rows], views[rows], width), self._targets[indices[rows]], rows)


def _piece(inputs: NetworkInput, piece: slice) -> NetworkInput:
    if isinstance(inputs, Tensor):
        return inputs[piece]
    return {name: tensor[piece] for name, tensor in inputs.items()}
