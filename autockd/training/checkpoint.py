"""Checkpoints of a training run: tensors and plain data, written atomically, read without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from autockd.errors import StudyError, cannot_write
from autockd.folders import whole_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state so that a kill at any moment leaves the old file or the new one, whole.

    Raises:
        EnvironmentProblem: the file cannot be written; the old one stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as draft, draft.open("wb") as stream:
            torch.save(state, stream)
    except torch.AcceleratorError:  # while tensors were copied from a GPU
        raise
    except (OSError, RuntimeError) as error:  # torch turns what its stream raises into one of its own
        raise cannot_write("checkpoint", path, error) from error


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state that was saved last; None if there is none.

    Raises:
        StudyError: the file cannot be read as plain tensors.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a damaged file makes the reader stumble over; its advice is to run code
        reason = type(error).__name__
        raise StudyError(f"{path}: the checkpoint is damaged ({reason}); delete it to start this run again") from error
    return state
