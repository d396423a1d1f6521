"""Texts as they are: every network has a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from autockd.hashing import bytes_hash


@dataclass(frozen=True)
class Texts:
    """Sentences or pairs of sentences.

    Attributes:
        first: one text a sample.
        second: the other text of each pair, as many; None where samples are single texts.
    """

    first: tuple[str, ...]
    second: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        assert self.second is None or len(self.second) == len(self.first), "a pair has two texts"

    def __len__(self) -> int:
        return len(self.first)

    def __repr__(self) -> str:
        return f"Texts({len(self)} {'sentences' if self.second is None else 'pairs'})"

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """(first,) or (first, second), as a tokenizer takes them."""
        return (self.first,) if self.second is None else (self.first, self.second)

    def take(self, indices: torch.Tensor) -> Texts:
        """The samples at `indices`, int64 [M], in that order."""
        rows = indices.tolist()
        return Texts(*(tuple(column[row] for row in rows) for column in self.columns))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hex) of all texts; where one ends and whether they are pairs counts."""
        return bytes_hash(*(part for column in self.columns for part in _framed(column)))


def _framed(column: tuple[str, ...]) -> Iterator[bytes | memoryview]:
    """The lengths of the texts in bytes, and the bytes."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in column]
    yield np.array([len(text) for text in encoded], dtype="<i8").data
    yield b"".join(encoded)
