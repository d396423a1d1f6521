"""What a worker imports before it has anything to do.

Importing torch, Tune and transformers takes a worker as long as many trials. A study needs one worker that makes its
teacher ready, and then one for each trial that runs; those of the trials import theirs while the first is at work.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

from autockd.garbage import look_seldom

if TYPE_CHECKING:
    from autockd.config.schema import StudyConfig

_KIND = "AUTOCKD_PRELOAD"
_FIRST = "AUTOCKD_FIRST"
_NO_GPU = "AUTOCKD_NO_GPU"

FIRST = {"env_vars": {_FIRST: "1"}}
"""Ray's runtime environment of the worker that makes things ready. So Ray starts one of its own for that: a worker that
has run a function never becomes a trial's."""

_ALWAYS = ("autockd.search.stages",)
_TRIALS = ("autockd.search.trainable",)
"""What the first worker does without: all else waits for it, and Tune takes a second."""

_MODULES = {
    "image": _ALWAYS,
    "torchvision": (*_ALWAYS, "torchvision.models"),
    "text": (
        *_ALWAYS,
        "transformers.masking_utils",
        "transformers.modeling_layers",
        "transformers.modeling_utils",
        "transformers.models.auto.tokenization_auto",
    ),
}

_NICE = 19
"""The niceness of a trial's worker meanwhile. Ray's workers have 15, and so get two and a half times its share."""


def kind_of_workers(study: StudyConfig) -> str:
    """By the study's task, and by the family of its networks: `image`, `torchvision` or `text`."""
    parts = (study.teacher, study.assistant, study.student)
    is_theirs = any(part is not None and part.model.family == "torchvision" for part in parts)
    return "torchvision" if is_theirs else study.task.kind


def preloading(kind: str | None) -> dict[str, str]:
    """Environment variables with which Ray has its workers on this machine import what tasks of a kind need.

    All of them look for garbage seldom, and do without what a machine without a GPU has no use for.

    Args:
        kind: see `kind_of_workers`; None has a worker import what it needs once it needs it.
    """
    import torch

    assert kind is None or kind in _MODULES
    told = {"RAY_preload_python_modules": "autockd.search.preloaded"}
    if kind is not None:
        told[_KIND] = kind
    if not torch.cuda.is_available():
        told[_NO_GPU] = "1"
    return told


def start_first() -> None:
    """Have Ray start the worker that will make things ready; it takes all cores for as long as it imports."""
    import ray

    remote = ray.remote(num_cpus=ray.cluster_resources()["CPU"], runtime_env=FIRST)(_import_nothing)
    remote.remote()


def _import_nothing() -> None:
    """What it has to import it has imported before it does this."""


def preload() -> None:
    """Look for garbage seldom; import what a worker of this kind needs, where Ray has started this process for that.

    A thread of its own does it, for whoever has stood back may not step forward again.
    """
    look_seldom()
    if _NO_GPU in os.environ:
        _do_without_triton()
    kind = os.environ.get(_KIND)
    if kind is not None:
        is_first = _FIRST in os.environ
        modules = _MODULES[kind] if is_first else (*_TRIALS, *_MODULES[kind])
        thread = threading.Thread(target=_import, args=(modules,), kwargs={"stands_back": not is_first})
        thread.start()
        thread.join()


def _do_without_triton() -> None:
    """Have this process find no compiler of GPU kernels: torch looks for it, and loads its 70 MB where it is there."""
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # who says that it has not found it


def _import(modules: tuple[str, ...], *, stands_back: bool) -> None:
    if stands_back and sys.platform == "linux":  # elsewhere it would be of the whole process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    for name in modules:
        importlib.import_module(name)
