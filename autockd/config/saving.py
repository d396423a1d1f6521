"""From a StudyConfig back to a YAML file, every default written out."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from autockd import __version__
from autockd.config.plain_yaml import NUMBERS, NUMBERS_BEGIN
from autockd.config.schema import StudyConfig
from autockd.errors import StudyError
from autockd.folders import CONFIG, LEDGER, write_whole

_OURS = "# autockd "
_MODELS = ("teacher", "assistant")

_HEAD = f"{__version__}, every default written out; versions of packages and machines are in {LEDGER}"


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes words that either version of YAML takes for something else."""


for _tag, _pattern in NUMBERS.items():
    _Dumper.add_implicit_resolver(_tag, _pattern, NUMBERS_BEGIN)


def refuse_foreign(folder: Path) -> None:
    """See to it that a study which begins in a folder writes over nothing that somebody else put there.

    Raises:
        StudyError: it has a study file, or models, which autockd did not write.
    """
    own = folder / CONFIG
    if own.exists() and own.read_text(encoding="utf-8", errors="replace").startswith(_OURS):
        return
    if found := next((path for path in (own, *(folder / name for name in _MODELS)) if path.exists()), None):
        raise StudyError(
            f"{found}: autockd did not write it, and a study of this name would write over it -> move it elsewhere, or "
            "keep studies in another folder with --studies"
        )


def save_study(config: StudyConfig, path: Path) -> None:
    """Write a study so that `load_study` gives it again; a reader sees the old file or the whole new one.

    Raises:
        OSError: the file cannot be written.
    """
    text = yaml.dump(json.loads(config.model_dump_json()), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    write_whole(path, f"{_OURS}{_HEAD}\n{text}")
