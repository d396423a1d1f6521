"""Folders for what a search writes again and again: in memory, where an fsync costs nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")


def memory_folder() -> tempfile.TemporaryDirectory[str]:
    """A new folder, in memory if this machine has such a place; whoever asks for it removes it."""
    is_there = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
    return tempfile.TemporaryDirectory(dir=_MEMORY if is_there else None)
