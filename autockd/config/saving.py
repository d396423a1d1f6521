"""From a StudyConfig back to a YAML file, every default written out."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from autockd import __version__
from autockd.config.loading import NUMBERS, NUMBERS_BEGIN
from autockd.config.schema import StudyConfig
from autockd.folders import LEDGER, write_whole

_HEAD = f"autockd {__version__}, every default written out; versions of packages and machines are in {LEDGER}"


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes words that either version of YAML takes for something else."""


for _tag, _pattern in NUMBERS.items():
    _Dumper.add_implicit_resolver(_tag, _pattern, NUMBERS_BEGIN)


def save_study(config: StudyConfig, path: Path) -> None:
    """Write a study so that `load_study` gives it again; a reader sees the old file or the whole new one.

    Raises:
        OSError: the file cannot be written.
    """
    text = yaml.dump(json.loads(config.model_dump_json()), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    write_whole(path, f"# {_HEAD}\n{text}")
