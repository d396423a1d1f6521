"""Texts as an encoder takes them: tokenized once, resident, and padded no further than their batch needs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from autockd.data.order import EpochOrder
from autockd.models.tokens import EVALUATION_BATCH, Tokens

WINDOW = 32
"""Batches among whose samples those of like length are put together."""

ANSWER_BATCH = 32
"""Samples of a forward pass of `TextFeed.answering`."""

_ANSWER_MULTIPLE = 16

NetworkTokens = dict[str, Tensor]


class TextFeed:
    """The tokens of a split, on the network's device. A text has one view: itself."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._lengths = tokens.lengths.cpu()
        self.tokens = int(self._lengths.sum())

    def __len__(self) -> int:
        return len(self._lengths)

    def width(self, rows: Tensor) -> int:
        """Tokens of the longest, rounded up."""
        return self._tokens.padded(int(self._lengths[rows].max()))

    def read(self, rows: Tensor, views: Tensor, width: int | None = None) -> NetworkTokens:
        """Tokens, attention mask and, where the encoder has them, token types: int64 [B, longest of the batch]."""
        return self._tokens.batch(rows, length=width)

    def arrange(self, order: EpochOrder, batch_size: int) -> EpochOrder:
        """Batches of like length, from windows of 32 batches of the shuffled samples.

        A window's samples are sorted by length and cut into batches, which stand in the order of their first sample
        in `order`: as random as that. A smaller batch comes last in the epoch, as ever, of samples that chance has put
        there: each of them counts for more than another, and the longest would do so in every epoch of a small set.
        """
        windows = torch.split(torch.arange(len(order.indices)), WINDOW * batch_size)
        places = torch.cat([self._by_length(order.indices, window, batch_size) for window in windows])
        return EpochOrder(order.indices[places], order.views[places])

    def _by_length(self, indices: Tensor, window: Tensor, batch_size: int) -> Tensor:
        whole = len(window) // batch_size * batch_size
        kept, rest = window[:whole], window[whole:]
        batches = kept[self._lengths[indices[kept]].argsort(stable=True)].view(-1, batch_size)
        return torch.cat([batches[batches.amin(dim=1).argsort()].flatten(), rest])

    def evaluation(self) -> Iterator[tuple[Tensor, NetworkTokens]]:
        """By rising length."""
        return self._tokens.by_length(EVALUATION_BATCH)

    def answering(self, rows: Tensor, views: Tensor) -> Iterator[tuple[Tensor, NetworkTokens]]:
        """By length rounded up to 16 tokens, always as many samples."""
        rounded = -(-self._lengths[rows] // _ANSWER_MULTIPLE) * _ANSWER_MULTIPLE
        rounded = rounded.clamp(max=self._tokens.longest)
        batches, filled = [], [rows[:0]]
        for length in torch.unique(rounded).tolist():
            for places in torch.split((rounded == length).nonzero()[:, 0], ANSWER_BATCH):
                batches.append((length, places))
                filled.append(rows[torch.cat([places, places[:1].expand(ANSWER_BATCH - len(places))])])
        there = torch.cat(filled).to(self._tokens.ids.device)  # once: whoever copies to a GPU waits for it
        for (length, places), chosen in zip(batches, torch.split(there, ANSWER_BATCH), strict=False):
            yield places, self._tokens.batch(chosen, length=length)
