"""Where things are kept: studies beside the user's work, what can be computed again in a cache."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

STUDIES_ENV = "AUTOCKD_STUDIES"
CACHE_ENV = "AUTOCKD_CACHE"
ANOTHER_CACHE = f"set {CACHE_ENV} to another folder"

CONFIG, LEDGER, BUNDLE, REPORT = "study.yaml", "ledger.jsonl", "bundle", "report"
"""In a study's folder: its configuration, what happened, the student that it exported, and its report."""

CHECKPOINT = "checkpoint.pt"
"""In the folder of a trial, or of a finalist's run, for as long as it is not over."""


def studies_folder() -> Path:
    """The folder of all studies: $AUTOCKD_STUDIES, or `studies` in the current folder."""
    return Path(os.environ.get(STUDIES_ENV) or "studies").expanduser().absolute()


def cache_folder() -> Path:
    """Trained teachers and banks of this node: $AUTOCKD_CACHE, or `autockd` in the user's cache folder."""
    if named := os.environ.get(CACHE_ENV):
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser().absolute() / "autockd"


def study_argument(folder: Path) -> str:
    """How a command names a study: by its name where commands look for it, else by its folder; quoted for a shell."""
    folder = folder.absolute()
    return shlex.quote(folder.name if folder.parent == studies_folder() else str(folder))


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the whole new one.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
