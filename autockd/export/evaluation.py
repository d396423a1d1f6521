"""The metric of a bundle on a split: the recorded one again, or that of new data."""

from __future__ import annotations

from typing import Literal

import torch

from autockd.data.metrics import accuracy
from autockd.data.task import Split
from autockd.errors import DataError, ExportError
from autockd.export.bundle import Bundle, check_images
from autockd.export.inference import in_batches
from autockd.export.onnx import onnx_runtime


def evaluate_bundle(
    bundle: Bundle, split: Split, batch_size: int = 512, runtime: Literal["torch", "onnx"] = "torch"
) -> float:
    """Accuracy, 0..1, of a bundle on a split; the recorded metric again on the same split, where that was in fp32.

    Args:
        bundle: from `load_bundle`.
        split: images and labels, on any device.
        batch_size: images at a time.
        runtime: torch, on the model's device, or model.onnx in onnxruntime on the CPU.

    Raises:
        ExportError: the bundle's metric is not accuracy, it has no model.onnx, or the images do not fit it.
        DataError: a label is not one of the bundle's classes.
    """
    if bundle.config.metric != "accuracy":
        raise ExportError(f"metric: {bundle.config.metric!r} cannot be evaluated -> only 'accuracy' can")
    _check_labels(bundle, split)
    return accuracy(_logits(bundle, split.inputs, batch_size, runtime), split.targets.cpu())


def _logits(bundle: Bundle, images: torch.Tensor, batch_size: int, runtime: str) -> torch.Tensor:
    if runtime == "torch":
        return bundle.predict(images, batch_size)
    if bundle.onnx_path is None:
        raise ExportError(f"{bundle.folder}: has no model.onnx -> export with ONNX, or evaluate with torch")
    check_images(images, bundle.config)
    return in_batches(onnx_runtime(bundle.onnx_path), images, batch_size)


def _check_labels(bundle: Bundle, split: Split) -> None:
    classes = len(bundle.config.classes)
    if len(split) and not 0 <= int(split.targets.min()) <= int(split.targets.max()) < classes:
        raise DataError(
            f"targets: labels run from {int(split.targets.min())} to {int(split.targets.max())}, "
            f"but the bundle has {classes} classes, 0 to {classes - 1} -> evaluate on the data set it was trained for"
        )
