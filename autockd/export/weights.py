"""A model from a bundle's config.json and model.safetensors, after a check that the two belong together."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from autockd.config.models import CifarResNet
from autockd.errors import ExportError, ModelError
from autockd.export.card import BundleConfig
from autockd.models import build_model, load_weights

Shape = tuple[int, ...]

_REMEDY = "export the study again, or fetch an undamaged copy of the bundle"


def build_with_weights(config: BundleConfig, path: Path) -> nn.Module:
    """The model of a bundle, in eval mode on the CPU.

    Raises:
        ExportError: the weights cannot be read, or are not those of the architecture.
    """
    found = _shapes(path)
    try:
        if isinstance(config.architecture, CifarResNet):
            _check_sizes(config, config.architecture.depth, path, found)
        model = _build(config)
        load_weights(model, path)
    except ModelError as error:
        raise ExportError(f"{path}: {error} -> {_REMEDY}") from error
    return model.eval()


def _check_sizes(config: BundleConfig, depth: int, path: Path, found: dict[str, Shape]) -> None:
    """Compare all shapes before any memory is taken: a false depth or width, free numbers both, could exhaust it."""
    if depth > len(found):
        raise ExportError(f"{path}: has {len(found)} tensors, too few for a model of {depth} layers -> {_REMEDY}")
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in _build(config).state_dict().items()}
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise ExportError(
                f"{path}: tensor {name!r} is {_say(found.get(name))}, where the architecture in config.json "
                f"has {_say(expected.get(name))} -> {_REMEDY}"
            )


def _build(config: BundleConfig) -> nn.Module:
    return build_model(
        config.architecture,
        classes=len(config.classes),
        channels=config.channels,
        image_size=config.image_size,
        seed=0,
    )


def _shapes(path: Path) -> dict[str, Shape]:
    """Shape by name of the tensors in a safetensors file; reads its header alone."""
    try:
        with safe_open(path, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ExportError(f"{path}: is not a sound safetensors file: {error} -> {_REMEDY}") from error


def _say(shape: Shape | None) -> str:
    return "missing" if shape is None else f"of shape {list(shape)}"
