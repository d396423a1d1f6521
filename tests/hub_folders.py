"""Folders as git and the Hugging Face hub leave them, with traps for whoever looks where nothing is to be read."""

from __future__ import annotations

import os
from pathlib import Path


def through_the_hub(folder: Path) -> None:
    """Add what `git clone` and `snapshot_download(local_dir=...)` leave: with pipes, whose readers wait for ever."""
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    for inner in (".git/hooks", ".cache/huggingface/download"):
        (folder / inner).mkdir(parents=True)
        (folder / inner / "root").symlink_to("/")
        for name in ("README.md.metadata", "config.json", "model.safetensors"):
            os.mkfifo(folder / inner / name)
            os.mkfifo(folder / inner.partition("/")[0] / name)
