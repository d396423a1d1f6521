"""How long one call of an ONNX model takes in onnxruntime on the CPU of this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autockd.export.onnx import call, open_session
from autockd.records import Record

_WARM_UP = 5
"""Calls of each model before any is timed."""
_LEAST = 10
"""Calls that are timed even where they are slow."""
_MOST = 100
"""Calls that are timed where they are not."""
_SECONDS = 3.0
"""Time for one model and batch size, after which no further call is begun."""


class CallTime(Record):
    """Time of one call, in milliseconds."""

    median: float
    p95: float
    """The 95th percentile."""


def onnx_timings(paths: Sequence[Path], batches: Mapping[int, Mapping[str, np.ndarray]]) -> list[dict[int, CallTime]]:
    """How long a call of each model takes, on one thread, by batch size.

    The models' calls take turns, so that a machine that is busy now and then is so for all of them. 100 are timed,
    after some that are not; fewer, but 10 at least, where they would take long.

    Args:
        paths: the .onnx files.
        batches: the models' inputs by name, each of the batch size that is its key.

    Raises:
        ExportError: onnxruntime cannot load a model, or it fails on a batch.
    """
    sessions = [open_session(path) for path in paths]
    found: list[dict[int, CallTime]] = [{} for _ in paths]
    for size, batch in batches.items():
        for times, milliseconds in zip(found, _calls(paths, sessions, batch), strict=True):
            p95 = float(np.percentile(milliseconds, 95))
            times[size] = CallTime(median=float(np.median(milliseconds)), p95=p95)
    return found


def _calls(paths: Sequence[Path], sessions: Sequence[Any], batch: Mapping[str, np.ndarray]) -> list[list[float]]:
    """Milliseconds of each call, by session."""
    milliseconds: list[list[float]] = [[] for _ in sessions]
    inputs = dict(batch)
    for path, session in zip(paths, sessions, strict=True):
        for _ in range(_WARM_UP):
            call(path, session, inputs)
    deadline = time.perf_counter() + _SECONDS * len(sessions)
    for run in range(_MOST):
        if run >= _LEAST and time.perf_counter() > deadline:
            break
        for found, path, session in zip(milliseconds, paths, sessions, strict=True):
            began = time.perf_counter()
            call(path, session, inputs)
            found.append((time.perf_counter() - began) * 1000)
    return milliseconds
