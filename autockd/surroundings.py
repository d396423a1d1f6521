"""The process that a study runs in may be somebody else's: what it changes there, and what it must not meet there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def restoring(names: Iterable[str]) -> Iterator[None]:
    """Put environment variables back, at the end, as they are now."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    with restoring(values):
        os.environ.update(values)
        yield


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Within this torch makes tensors of float32 on the CPU, whatever defaults this process has set."""
    import torch

    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        if torch.get_default_device().type == "cpu":
            yield
        else:
            with torch.device("cpu"):
                yield
    finally:
        torch.set_default_dtype(dtype)
