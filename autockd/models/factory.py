"""From what a study says about an image classifier to the model."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from autockd.config.models import CifarResNet, ImageModelConfig, TorchvisionModel
from autockd.errors import ModelError
from autockd.models.resnet import ResNet6n2
from autockd.models.vision import SMALL_IMAGE, build_torchvision
from autockd.models.weights import load_weights


def build_model(
    config: ImageModelConfig, *, classes: int, channels: int, image_size: tuple[int, int], seed: int
) -> nn.Module:
    """The model that `config` describes, on the CPU, in training mode, in float32.

    Args:
        config: its family, shape, and the file of its weights, if any.
        classes: number of logits.
        channels: channels of an image.
        image_size: height and width of an image in pixels.
        seed: of the fresh weights: the same seed gives the same weights, and no global generator is touched.

    Returns:
        A module from normalised images, float [B, channels, H, W], to logits [B, classes].

    Raises:
        ModelError: no such model, it cannot run at this image size, or its weights do not load.
    """
    _require_known_stem(config, image_size)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the generators of all GPUs as well.
        torch.default_generator.manual_seed(seed)
        model = _fresh(config, classes, channels, image_size)
    if config.weights is not None:
        load_weights(model, config.weights)
    return model


def _require_known_stem(config: ImageModelConfig, image_size: tuple[int, int]) -> None:
    """Weights of torchvision's own stem may have the shapes of an adapted one, and would answer otherwise in it."""
    if not isinstance(config, TorchvisionModel) or config.weights is None or min(image_size) > SMALL_IMAGE:
        return
    if config.small_image_stem is None:
        raise ModelError(
            f"small_image_stem: weights are given, which do not tell whether {config.name} had its stem adapted to "
            f"images of {image_size[1]}x{image_size[0]} pixels -> set it to false for torchvision's own architecture, "
            "to true for weights that autockd trained"
        )


def _fresh(config: ImageModelConfig, classes: int, channels: int, image_size: tuple[int, int]) -> nn.Module:
    match config:
        case CifarResNet():
            return ResNet6n2(config.depth, config.stage_widths, config.shortcut, classes=classes, channels=channels)
        case TorchvisionModel():
            return build_torchvision(config, classes=classes, channels=channels, image_size=image_size)
        case _:
            assert_never(config)
