"""From a StudyConfig back to a YAML file, every default written out."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from autockd.config.schema import StudyConfig


def save_study(config: StudyConfig, path: Path) -> None:
    """Write a study so that `load_study` gives it again; a reader sees the old file or the whole new one.

    Raises:
        OSError: the file cannot be written.
    """
    text = yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False, allow_unicode=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
