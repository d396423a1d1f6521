"""From a StudyConfig back to a YAML file, every default written out."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from autockd.config.schema import StudyConfig
from autockd.folders import write_whole


def save_study(config: StudyConfig, path: Path) -> None:
    """Write a study so that `load_study` gives it again; a reader sees the old file or the whole new one.

    Raises:
        OSError: the file cannot be written.
    """
    text = yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False, allow_unicode=True)
    write_whole(path, text)
