"""A model from a bundle's config.json and model.safetensors, after a check that the two belong together."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from autockd.config.models import CifarResNet
from autockd.errors import ExportError, ModelError
from autockd.export.card import BundleConfig
from autockd.models import build_model, load_weights

_REMEDY = "export the study again, or fetch an undamaged copy of the bundle"


def build_with_weights(config: BundleConfig, path: Path) -> nn.Module:
    """The model of a bundle, in eval mode on the CPU.

    Raises:
        ExportError: the weights cannot be read, or are not those of the architecture.
    """
    sizes = _sizes(path)
    if isinstance(config.architecture, CifarResNet):
        _refuse_too_large(config.architecture, sizes, path)
    try:
        model = _build(config)
        load_weights(model, path)
    except ModelError as error:
        raise ExportError(f"{path}: {error} -> {_REMEDY}") from error
    return model.eval()


def _refuse_too_large(architecture: CifarResNet, sizes: list[int], path: Path) -> None:
    """Bound the model by its weights before it is built: its depth and width are free, and could exhaust memory.

    All but the first of the third stage's (depth - 2) / 3 convolutions have 9 * width^2 weights, and the rest of the
    model is of the same order.
    """
    depth, width = architecture.depth, architecture.stage_widths[2]
    least = ((depth - 2) // 3 - 1) * 9 * width**2
    if depth > len(sizes) or least > sum(sizes):
        raise ExportError(
            f"{path}: {sum(sizes)} values in {len(sizes)} tensors are too few for the architecture in config.json, "
            f"{depth} layers of up to {width} channels -> {_REMEDY}"
        )


def _build(config: BundleConfig) -> nn.Module:
    return build_model(
        config.architecture,
        classes=len(config.classes),
        channels=config.channels,
        image_size=config.image_size,
        seed=0,
    )


def _sizes(path: Path) -> list[int]:
    """Number of values of each tensor in a safetensors file; reads its header alone."""
    try:
        with safe_open(path, framework="pt") as tensors:
            return [math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()]  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ExportError(f"{path}: is not a sound safetensors file: {error} -> {_REMEDY}") from error
