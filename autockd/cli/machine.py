"""GPUs and disks of this machine, as far as they can be tried at once."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from autockd.errors import reason_of


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        name: as its driver says.
        memory: bytes.
        bf16: whether it computes in bfloat16.
        computes: whether this torch has code for it.
    """

    name: str
    memory: int
    bf16: bool
    computes: bool


def gpus() -> list[Device]:
    """The GPUs that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return []
    return [_gpu(index) for index in range(torch.cuda.device_count())]


def _gpu(index: int) -> Device:
    import torch

    from autockd.training.peaks import computes_on

    properties = torch.cuda.get_device_properties(index)
    with torch.cuda.device(index):
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return Device(properties.name, properties.total_memory, has_bf16, computes_on(torch.device("cuda", index)))


def nearest_folder(path: Path) -> Path:
    """The path itself, or the closest thing above it that can be seen: where it would be made."""
    return next(candidate for candidate in (path, *path.parents) if os.access(candidate, os.F_OK))


def why_not_writable(folder: Path) -> str | None:
    """Why no file can be made in a folder that exists, tried with a nameless one; None if one can.

    Permission bits alone do not tell: they do not bind root, and say nothing of read-only mounts.
    """
    if not folder.is_dir():
        return "it is not a folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return reason_of(error).lower()


def free_space(folder: Path) -> int:
    """Free bytes where a folder is."""
    return shutil.disk_usage(folder).free
