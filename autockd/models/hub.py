"""Folders of transformers models: local ones, and those that the Hugging Face hub keeps.

Everything is read from a folder on this machine: of a hub model, the files that are needed are fetched into the hub's
own cache first, safetensors only. So there is one way to read, and neither pickles nor code are ever on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autockd.config.models import Encoder
from autockd.errors import ModelError, reason_of
from autockd.folders import expanded

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
_KERNELS = ("attn_implementation", "attn_implementation_internal", "experts_implementation")
_PLAIN_KERNELS = (None, "eager", "sdpa")
_NEEDED = ("*.json", "*.txt", "*.model", "model*.safetensors")


def base_folder(config: Encoder) -> Path:
    """The folder with the encoder that `config` starts from; a hub model is fetched, or found in the hub's cache.

    Args:
        config: the encoder; its `path` is a local folder, where there is one of that name, or else a hub id.

    Raises:
        ModelError: there is no such folder or hub model, or the hub cannot be reached and its cache has no such model.
    """
    folder = _found(config)
    _require_plain(folder)
    return folder


def _found(config: Encoder) -> Path:
    if config.path is None:
        raise ModelError("path: an encoder starts from another one -> name a local folder or a hub id")
    folder = expanded(config.path)
    if folder.is_dir():
        if config.revision is not None:
            raise ModelError(f"revision: {folder} is a local folder, which has none -> leave revision out")
        return folder
    if folder.exists() or not _HUB_ID.fullmatch(config.path):
        raise ModelError(f"path: {config.path} is no folder -> name a folder with a transformers model, or a hub id")
    return _fetched(config.path, config.revision)


def _require_plain(folder: Path) -> None:
    """Refuse what transformers would fetch code for on behalf of a config.json, whatever it is told."""
    try:
        settings = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return  # whoever reads it next says so
    for name, value in _settings(settings):
        kernels = name.strip("_") in _KERNELS and value not in _PLAIN_KERNELS
        if kernels or (name == "quantization_config" and value):
            raise ModelError(
                f"path: {folder / 'config.json'} sets {name}, for which transformers may fetch and run other code -> "
                "name a model that does without, or remove the key"
            )


def _settings(settings: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, those of nested objects as well."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield name, value
            yield from _settings(value)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice from transformers: what matters of it becomes an error of ours."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _fetched(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        with quiet_transformers():
            return Path(
                snapshot_download(name, revision=revision, allow_patterns=list(_NEEDED), ignore_patterns=["*/*"])
            )
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"path: {name} is no folder here and not in the hub's cache, and the Hugging Face hub cannot be reached "
            "-> name a local folder with the model, or download it once where there is a network (`hf download "
            f"{name}`)"
        ) from error
    except Exception as error:  # proxies and broken connections raise what the hub's library passes through
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"path: the Hugging Face hub does not give {name}{at} ({reason_of(error)}) -> check the id and "
            "revision, and that HF_TOKEN allows it"
        ) from error
