"""Texts as numbers: tokenized once, kept without padding, padded batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autockd.config.models import Encoder
from autockd.errors import ModelError, reason_of
from autockd.models.hub import base_folder, quiet_transformers

EVALUATION_BATCH = 64
"""Samples of a forward pass where a metric is computed."""

_CHUNK = 4096
"""Texts that are tokenized at a time: enough for the tokenizer's threads, few enough for the memory."""

_READING = {"local_files_only": True, "trust_remote_code": False}

_TYPES = "token_type_ids"

_SEGMENTED = ("xlnet",)
"""Architectures that take token types without a `type_vocab_size` in their configuration."""


def load_tokenizer(config: Encoder) -> Any:
    """The fast tokenizer of an encoder's base. It pads on the right and gives token types where the encoder has them.

    Args:
        config: the encoder.

    Raises:
        ModelError: there is no such base, or it has no fast tokenizer with words and a padding token, or one that knows
            more words than the encoder.
    """
    from transformers import AutoConfig, AutoTokenizer

    folder = base_folder(config)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, **_READING)
            shape = AutoConfig.from_pretrained(folder, **_READING)
    except Exception as error:  # whatever an arbitrary file makes the reader stumble over is the file's fault
        raise ModelError(
            f"path: {folder} has no tokenizer that can be read ({reason_of(error, with_file=True)}) "
            "-> save one there with save_pretrained"
        ) from error
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise ModelError(
            f"path: the tokenizer of {folder} is no fast one with a padding token -> save it there with a "
            "tokenizer.json and a pad_token"
        )
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # what transformers makes where there are no files of one
        raise ModelError(
            f"path: the tokenizer of {folder} knows no word, for its vocabulary is not there -> save the tokenizer "
            "beside the model with save_pretrained"
        )
    words, rows = len(tokenizer), getattr(shape, "vocab_size", None)
    if rows is not None and words > rows:
        raise ModelError(
            f"path: {folder}: its tokenizer knows {words} words and its encoder only {rows} -> resize the embeddings "
            "(model.resize_token_embeddings), or save the tokenizer without the added tokens"
        )
    return _fitted(tokenizer, shape)


def _fitted(tokenizer: Any, shape: Any) -> Any:
    """No longer than the encoder has positions, padded on the right, and token types where both can have them.

    So it is wherever it is saved and read again.
    """
    tokenizer.padding_side = "right"
    for ours in ("is_local", *_READING):  # of how it was read, which is not to be saved with it
        tokenizer.init_kwargs.pop(ours, None)
    positions = getattr(shape, "max_position_embeddings", None)
    if positions:
        longest = positions // 8 * 8  # some count positions from their padding's on, and have as many more: 514 are 512
        if shape.model_type in _FROM_PADDING:
            longest = min(longest, positions - (shape.pad_token_id or 0) - 1)
        tokenizer.model_max_length = min(tokenizer.model_max_length, max(longest, 1))
    names = list(tokenizer.model_input_names)
    if getattr(shape, "type_vocab_size", 0) < 2 and shape.model_type not in _SEGMENTED:
        names = [name for name in names if name != _TYPES]
    elif _TYPES not in names and _tells_pairs_apart(tokenizer):
        names.append(_TYPES)
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    return tokenizer


def _tells_pairs_apart(tokenizer: Any) -> bool:
    """Whether it gives the second text of a pair a type of its own where it is asked for types."""
    return any(tokenizer("a", "b", return_token_type_ids=True)[_TYPES])


_FROM_PADDING = (
    "camembert",
    "data2vec-text",
    "longformer",
    "mpnet",
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
"""Architectures whose first position is the one after their padding's id."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of all samples of a split, one sample after the other.

    Attributes:
        ids: int32 [total], special tokens included.
        offsets: int64 [N + 1]; sample i has ids[offsets[i] : offsets[i + 1]].
        types: int8 [total], 0 for the first text of a pair and 1 for the second; None where the encoder takes none.
        pad_id: the id that fills the shorter samples of a batch.
    """

    ids: Tensor
    offsets: Tensor
    types: Tensor | None
    pad_id: int

    @classmethod
    def of(cls, tokenizer: Any, columns: Sequence[Sequence[str]], max_length: int) -> Tokens:
        """Tokenize texts, or pairs of texts.

        Args:
            tokenizer: as `load_tokenizer` gives it.
            columns: one sequence of N texts, or two for pairs.
            max_length: tokens of a sample, special ones included; the longer text of a pair is cut first. An encoder
                with fewer positions sets a lower limit.
        """
        assert len(columns) in (1, 2)
        assert len({len(column) for column in columns}) == 1
        typed = _TYPES in tokenizer.model_input_names
        ids, types, lengths = [], [], [np.zeros(1, np.int64)]
        for encoded in _encoded(tokenizer, columns, min(max_length, tokenizer.model_max_length)):
            lengths.append(np.array([len(sample) for sample in encoded["input_ids"]], np.int64))
            ids.append(_flat(encoded["input_ids"], np.int32))
            if typed:
                types.append(_flat(encoded[_TYPES], np.int8))
        return cls(
            torch.from_numpy(np.concatenate(ids or [np.zeros(0, np.int32)])),
            torch.from_numpy(np.concatenate(lengths).cumsum()),
            torch.from_numpy(np.concatenate(types or [np.zeros(0, np.int8)])) if typed else None,
            int(tokenizer.pad_token_id),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of each sample, int64 [N]."""
        return self.offsets.diff()

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sample."""
        return int(self.lengths.max())

    def to(self, device: torch.device | str) -> Tokens:
        """The same tokens on a device."""
        types = self.types if self.types is None else self.types.to(device)
        return replace(self, ids=self.ids.to(device), offsets=self.offsets.to(device), types=types)

    def by_length(self, batch_size: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """All samples by rising length: the rows of each batch, int64 [B] on the CPU, and the batch."""
        lengths, order = self.lengths.cpu().sort(stable=True)
        there = order.to(self.offsets.device)  # once, as the lengths: whoever copies from or to a GPU waits for it
        parts = (torch.split(part, batch_size) for part in (order, there, lengths))
        for rows, chosen, rising in zip(*parts, strict=True):
            yield rows, self.batch(chosen, length=self.padded(int(rising[-1])))

    def padded(self, length: int, multiple: int = 8) -> int:
        """Tokens that a batch is padded to whose longest sample has `length`."""
        return min(-(-length // multiple) * multiple, self.longest)

    def batch(self, rows: Tensor, *, multiple: int = 8, length: int | None = None) -> dict[str, Tensor]:
        """Samples as the encoder takes them, on the tokens' device.

        Args:
            rows: int64 [B], indices of samples.
            multiple: the longest of the batch is rounded up to a multiple of it, but not beyond the longest of all.
            length: pad to so many tokens instead; at least the longest of the batch.

        Returns:
            input_ids, attention_mask and, where the encoder takes them, token_type_ids: int64 [B, L].
        """
        rows = rows.to(self.offsets.device)
        starts, lengths = self.offsets[rows], self.lengths[rows]
        if length is None:
            length = self.padded(int(lengths.max()), multiple)
        places = torch.arange(length, device=rows.device)
        real = places < lengths[:, None]  # [B, L]
        sources = (starts[:, None] + places).clamp(max=len(self.ids) - 1)  # beyond a sample's end: not looked at
        batch = {"input_ids": torch.where(real, self.ids[sources].long(), self.pad_id), "attention_mask": real.long()}
        if self.types is not None:
            batch[_TYPES] = torch.where(real, self.types[sources].long(), 0)
        return batch


def _encoded(tokenizer: Any, columns: Sequence[Sequence[str]], max_length: int) -> Iterator[Any]:
    for start in range(0, len(columns[0]), _CHUNK):
        texts = [list(column[start : start + _CHUNK]) for column in columns]
        yield tokenizer(
            *texts, truncation="longest_first", max_length=max_length, padding=False, return_attention_mask=False
        )


def _flat(samples: Sequence[Sequence[int]], kind: type[np.number[Any]]) -> np.ndarray[Any, Any]:
    return np.fromiter(itertools.chain.from_iterable(samples), kind)
