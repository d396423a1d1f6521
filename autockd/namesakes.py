"""A study whose name is taken: what lies there, and how to go on with it or beside it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from autockd.config.loading import parse_study, read_file
from autockd.config.schema import StudyConfig
from autockd.errors import ConfigError
from autockd.folders import CONFIG, LEDGER, study_argument
from autockd.history import differences, may_change
from autockd.tracking.ledger import in_use

_SHOWN = 3
"""Differences that are named."""


def has_begun(folder: Path) -> bool:
    """Whether a study's folder has a history."""
    ledger = folder / LEDGER
    return ledger.exists() and ledger.stat().st_size > 0


def about_namesake(config: StudyConfig, folder: Path) -> str:
    """What to do where a study has begun in the folder that a new one would have.

    Args:
        config: the new one, with absolute paths.
        folder: where the other one is.
    """
    resume = f"autockd resume {study_argument(folder)}"
    there = _saved(folder)
    changes = differences(there, config) if there else {}
    said, own = "", "go on with it"
    if changes:
        shown = [f"{field}: {before} -> {now}" for field, (before, now) in list(changes.items())[:_SHOWN]]
        more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        said = f" with other settings ({', '.join(shown)}{more})"
        own = "go on with it as it is there"
        if all(may_change(field) for field in changes):
            own = "go on with it"
            resume += "".join(f" {shlex.quote(f'{field}={_as_override(now)}')}" for field, (_, now) in changes.items())
    another = f"begin another with `name={config.name}-2` added to the command"
    if in_use(folder / LEDGER):
        return (
            f"a study of this name runs now{said}; stop it with `autockd stop {study_argument(folder)}`, or {another}"
        )
    return f"a study of this name exists{said}; {own} (`{resume}`), {another}, or delete the folder"


def _saved(folder: Path) -> StudyConfig | None:
    """The study that a folder holds; None where its file cannot be read."""
    try:
        return parse_study(read_file(folder / CONFIG), str(folder / CONFIG), folder, is_begun=True)
    except ConfigError:
        return None


def _as_override(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
