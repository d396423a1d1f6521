"""Feeds: the samples of a split as a network takes them, in batches.

A feed belongs to a split, a kind of network and a device. Whoever trains or evaluates asks it for network inputs by
sample and view, and knows nothing of pixels or tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor

from autockd.data.order import EpochOrder

NetworkInput = Tensor | Mapping[str, Tensor]
"""What a network is called with: images, float32 [B, C, H, W], or tensors [B, L] of tokens by name."""


class Feed(Protocol):
    """The samples of one split, for one network."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    @property
    def tokens(self) -> int | None:
        """Tokens of all samples together, without padding; None for images."""
        ...

    def read(self, rows: Tensor, views: Tensor, width: int | None = None) -> NetworkInput:
        """Inputs of some samples: int64 [B] each, on any device, to inputs on the feed's device.

        With the samples' `width`, nothing of the device has to be waited for.
        """
        ...

    def width(self, rows: Tensor) -> int | None:
        """How long a batch of these samples, int64 [B] on the CPU, is in tokens; None for images."""
        ...

    def arrange(self, order: EpochOrder, batch_size: int) -> EpochOrder:
        """The order in which an epoch's samples are best put into batches; a function of the arguments alone."""
        ...

    def evaluation(self) -> Iterator[tuple[Tensor, NetworkInput]]:
        """Every sample once, without augmentation: rows, int64 [B] on the CPU, and their inputs."""
        ...

    def answering(self, rows: Tensor, views: Tensor) -> Iterator[tuple[Tensor, NetworkInput]]:
        """Some samples, such that a network's answer for one does not depend on the others.

        Kernels are chosen by shape, and another kernel rounds differently; so the shape of a batch depends on a
        sample alone, and a batch that is not full is filled up.

        Yields:
            Places in `rows`, int64 [B] on the CPU, and inputs of at least as many samples, those first.
        """
        ...


def in_order(batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """What a network gave for batches, [N, outputs], by sample.

    Args:
        batches: one at least; rows, int64 [B] on the CPU, that are 0..N-1 together, and answers, [B, outputs].
    """
    rows, answers = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return answers[rows.argsort().to(answers.device)]
