"""The folder of each test here lies in memory: journals and checkpoints are synced to disk with every line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_folders import memory_folder


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with memory_folder() as folder:
        yield Path(folder)
