"""The metric of a bundle on a split: the recorded one again, or that of new data."""

from __future__ import annotations

from typing import Literal

from autockd.data.metrics import METRICS
from autockd.data.task import Split
from autockd.errors import DataError, ExportError
from autockd.export.bundle import Bundle
from autockd.export.student import Runtime
from autockd.limits import Record
from autockd.surroundings import plain_tensors

RuntimeName = Literal["torch", "onnx", "int8"]


class Evaluation(Record):
    """A bundle's metric on a split."""

    bundle: str
    split: str
    runtime: RuntimeName
    samples: int
    metric: str
    value: float
    """A fraction for accuracy (0.95, not 95)."""
    classes: str | None = None
    """How classes were matched, where that was by number."""
    recorded: float | None = None
    """What the bundle says of this split of its own data; None on other data, and where it says nothing."""


@plain_tensors()
def evaluate_bundle(
    bundle: Bundle, split: Split, batch_size: int | None = None, runtime: RuntimeName = "torch"
) -> float:
    """The bundle's metric on a split; on the same split the recorded one again, where that was in fp32.

    Another machine may round otherwise, and so may another batch size: of an int8 model of texts noticeably.

    Args:
        bundle: from `load_bundle`.
        split: samples, on any device.
        batch_size: samples at a time; None takes as many as trials are evaluated with on the model's device.
        runtime: torch, on the model's device; or model.onnx, or model.int8.onnx, in onnxruntime on the CPU.

    Raises:
        ExportError: the bundle has no such model, or the samples do not fit it.
        DataError: a target is not one of the bundle's classes, or not a score.
    """
    bundle.student.check(split.inputs)
    _check_targets(bundle, split)
    logits = _runtime(bundle, runtime)(split.inputs, batch_size or bundle.student.batch_size)
    return METRICS[bundle.config.metric].compute(logits, split.targets.cpu())


def _runtime(bundle: Bundle, runtime: str) -> Runtime:
    if runtime == "torch":
        return bundle.student.in_torch()
    path = bundle.int8_path if runtime == "int8" else bundle.onnx_path
    if path is None:
        name, how = ("model.int8.onnx", "int8") if runtime == "int8" else ("model.onnx", "ONNX")
        raise ExportError(f"{bundle.folder}: has no {name} -> export with {how}, or evaluate with torch")
    return bundle.student.in_onnx(path)


def _check_targets(bundle: Bundle, split: Split) -> None:
    classes, is_scores = len(bundle.config.classes), split.targets.is_floating_point()
    if is_scores != (classes == 0):
        kinds = ("classes", "scores") if is_scores else ("scores", "classes")
        raise DataError(
            f"targets: the bundle was trained for {kinds[0]}, and these are {kinds[1]} -> evaluate on a data set like "
            "that it was trained for"
        )
    if classes and len(split) and not 0 <= int(split.targets.min()) <= int(split.targets.max()) < classes:
        raise DataError(
            f"targets: labels run from {int(split.targets.min())} to {int(split.targets.max())}, "
            f"but the bundle has {classes} classes, 0 to {classes - 1} -> evaluate on the data set it was trained for"
        )
