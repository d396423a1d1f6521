"""Memory: what a process takes, what of a shared GPU's is its own, how running out shows, what can be given back."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from autockd.processor import told_by

_Found = TypeVar("_Found")

_NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED", "ALLOCATION_FAILED")
"""What PyTorch's allocator of ordinary memory says, in a plain RuntimeError; CUDA where it wants memory for itself; and
its libraries."""

_CONTEXT = 600 << 20
"""Bytes of a GPU that a process takes before its first tensor: its context, and the code of libraries."""


_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PEAK_ALONE = "5"
"""Written to the second, it has Linux forget the most memory that the process has had so far."""


def peak_memory(run: Callable[[], object]) -> int | None:
    """Bytes that this process has for itself, at the most, while a function runs; None where the system does not say.

    What it shares with others is not counted: the code of libraries, and Ray's store.
    """
    trim_memory()
    try:
        _CLEAR.write_text(_PEAK_ALONE)
    except OSError:
        return None
    run()
    told = told_by(_STATUS)
    try:
        most, *shared = (int(told[name].split()[0]) for name in ("VmHWM", "RssFile", "RssShmem"))
    except (KeyError, IndexError, ValueError):
        return None
    return 1024 * (most - sum(shared))


def memory_share(gpus: float, total: int) -> float:
    """The fraction of a GPU's memory that tensors of one process may take.

    Args:
        gpus: the process's share of the GPU, below 1.
        total: bytes of the GPU.
    """
    return max(gpus / 2, gpus - _CONTEXT / total)


def bound_memory(gpus: float, device: torch.device) -> None:
    """Keep this process to its share of a GPU: one that wants more runs out of memory, and not those beside it."""
    if device.type == "cuda" and 0 < gpus < 1:
        index = torch.cuda.current_device() if device.index is None else device.index
        total = torch.cuda.get_device_properties(index).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_share(gpus, total), index)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception says that a device, or the machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)


def if_it_fits(run: Callable[[], _Found]) -> _Found | None:
    """What a function returns; None where there is not memory enough for it."""
    try:
        return run()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    release_memory()  # out here, for the error holds on to it
    return None


def release_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim_memory()


def trim_memory() -> None:
    """Give the machine what this process has freed: glibc keeps what lies between pieces that are in use.

    It takes milliseconds. Elsewhere than with glibc nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
