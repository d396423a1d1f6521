"""How long one call of an ONNX model takes in onnxruntime on the CPU of this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autockd.errors import ExportError, reason_of

_WARM_UP = 5
"""Calls of each model before any is timed."""
_LEAST = 10
"""Calls that are timed even where they are slow."""
_SECONDS = 3.0
"""Time for one model and batch size, after which no further call is begun."""


class Timing(NamedTuple):
    """Time of one call, in milliseconds."""

    median: float
    p95: float
    """The 95th percentile."""


def onnx_latency(
    path: Path, batches: Mapping[int, Mapping[str, np.ndarray]], *, threads: int = 1, runs: int = 100
) -> dict[int, float]:
    """Median time of one call, in milliseconds, by batch size.

    Args:
        path: the .onnx file.
        batches: the model's inputs by name, each of the batch size that is its key.
        threads: that onnxruntime computes with.
        runs: calls that are timed, after some that are not; fewer, but 10 at least, where they would take long.

    Raises:
        ExportError: onnxruntime cannot load the model, or it fails on a batch.
    """
    [timings] = onnx_timings([path], batches, threads=threads, runs=runs)
    return {size: timing.median for size, timing in timings.items()}


def onnx_timings(
    paths: Sequence[Path], batches: Mapping[int, Mapping[str, np.ndarray]], *, threads: int = 1, runs: int = 100
) -> list[dict[int, Timing]]:
    """Times of several models on the same batches, as `onnx_latency`.

    Their calls take turns, so that a machine that is busy now and then is so for all of them.
    """
    sessions = [_session(path, threads) for path in paths]
    found: list[dict[int, Timing]] = [{} for _ in paths]
    for size, batch in batches.items():
        for timings, milliseconds in zip(found, _calls(paths, sessions, batch, runs), strict=True):
            timings[size] = Timing(float(np.median(milliseconds)), float(np.percentile(milliseconds, 95)))
    return found


def _calls(
    paths: Sequence[Path], sessions: Sequence[Any], batch: Mapping[str, np.ndarray], runs: int
) -> list[list[float]]:
    """Milliseconds of each call, by session."""
    milliseconds: list[list[float]] = [[] for _ in sessions]
    inputs = dict(batch)
    for path, session in zip(paths, sessions, strict=True):
        for _ in range(_WARM_UP):
            _call(path, session, inputs)
    deadline = time.perf_counter() + _SECONDS * len(sessions)
    for run in range(runs):
        if run >= _LEAST and time.perf_counter() > deadline:
            break
        for found, path, session in zip(milliseconds, paths, sessions, strict=True):
            began = time.perf_counter()
            _call(path, session, inputs)
            found.append((time.perf_counter() - began) * 1000)
    return milliseconds


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise ExportError(
            f"{path}: onnxruntime cannot load it: {reason_of(error)} -> export the study again"
        ) from error


def _call(path: Path, session: Any, inputs: dict[str, np.ndarray]) -> None:
    try:
        session.run(None, inputs)
    except Exception as error:  # as above
        shapes = {name: list(value.shape) for name, value in inputs.items()}
        raise ExportError(
            f"{path}: fails on a batch of {shapes}: {reason_of(error)} -> export the study again"
        ) from error
