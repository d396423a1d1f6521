"""What a study may say about a model, chosen by `family`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from autockd.config.base import Config

Shortcut = Literal["A", "B"]


class CifarResNet(Config):
    """The CIFAR ResNet of He et al. (2016), section 4.2: 6n+2 layers in three stages of basic blocks."""

    family: Literal["cifar_resnet"] = "cifar_resnet"
    depth: int = Field(default=8, ge=8)
    """Number of weighted layers, 6n + 2: 8, 14, 20, ... 110."""
    width: int = Field(default=16, ge=1)
    """Channels of the first stage; the second and third have twice and four times as many."""
    widths: tuple[int, int, int] | None = None
    """Channels of the three stages, where they are not width, 2 * width, 4 * width."""
    shortcut: Shortcut = "A"
    """Where the shape changes: A pads with zeros (no parameters), B is a 1x1 convolution."""
    weights: Path | None = None
    """safetensors, or a PyTorch state dict that loads with `weights_only`."""

    @field_validator("depth")
    @classmethod
    def _six_n_plus_two(cls, depth: int) -> int:
        if (depth - 2) % 6:
            below = 6 * ((depth - 2) // 6) + 2
            raise ValueError(
                f"a CIFAR ResNet has 6n+2 layers, {depth} is none; the nearest are {below} and {below + 6}"
            )
        return depth

    @field_validator("widths")
    @classmethod
    def _widths_do_not_shrink(cls, widths: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if widths is not None and not (1 <= widths[0] <= widths[1] <= widths[2]):
            raise ValueError(f"widths must be positive and must not shrink from stage to stage, not {widths}")
        return widths

    @property
    def stage_widths(self) -> tuple[int, int, int]:
        """Channels of the three stages."""
        return self.widths or (self.width, 2 * self.width, 4 * self.width)


class TorchvisionModel(Config):
    """Any classifier of torchvision, by the name that `torchvision.models.list_models` gives it."""

    family: Literal["torchvision"] = "torchvision"
    name: str = "resnet18"
    """Such as resnet18, mobilenet_v3_small, efficientnet_b0, vit_b_16."""
    small_image_stem: bool | None = None
    """Stride 1 and no pooling in the stem, for images of 64 pixels or fewer; null decides by the image size."""
    weights: Path | None = None
    """safetensors, or a PyTorch state dict that loads with `weights_only`."""


ModelConfig = Annotated[CifarResNet | TorchvisionModel, Field(discriminator="family")]
