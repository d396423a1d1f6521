"""Running out of memory: how it shows, and what can be given back."""

from __future__ import annotations

import gc

import torch

_CPU_ALLOCATOR = "can't allocate memory"
"""What PyTorch's allocator of ordinary memory says, in a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device, or the machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _CPU_ALLOCATOR in str(error)


def release_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
