"""What a study may say about a model, chosen by `family`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

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
    """Stride 1 and no pooling in the stem, for images of 64 pixels or fewer; null decides by the image size, and must
    be decided where weights are given for such images."""
    weights: Path | None = None
    """safetensors, or a PyTorch state dict that loads with `weights_only`."""


class Encoder(Config):
    """Any text encoder of transformers, with a head for the task; its tokenizer is that of its base."""

    family: Literal["encoder"] = "encoder"
    path: str | None = None
    """The base: a local folder with config, safetensors and tokenizer (relative paths count from the study file), or
    a hub id such as `distilbert/distilroberta-base`. Null, for a student only, is the teacher as fine-tuned."""
    revision: str | None = None
    """Commit, tag or branch of a hub model."""
    layers: int | tuple[int, ...] | None = None
    """Layers kept: null keeps all; a number keeps so many, evenly spread from the first to the last (1 keeps the
    first); a list names those to keep, counted from 0, such as [0, 2, 5]."""
    initial: Literal["pretrained", "random"] = "pretrained"
    """Whether to start from the base's weights, or from fresh ones and take only its shape and tokenizer."""
    hidden_size: PositiveInt | None = None
    """Width of a fresh encoder, a multiple of `heads`; null keeps the base's."""
    heads: PositiveInt | None = None
    """Attention heads of a fresh encoder; null keeps the base's."""
    intermediate_size: PositiveInt | None = None
    """Width inside the feed-forward blocks of a fresh encoder; null keeps the base's."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Probability at all places where the architecture has dropout; null keeps the base's probabilities."""
    trim_vocabulary: bool | None = None
    """Train without the rows of the word embedding that no text of the task needs, and put them back in what is saved:
    the same result with less work and memory. Null does so wherever it can: not with weight decay of SGD."""
    weights: Path | None = None
    """safetensors of a whole classifier of this shape, fine-tuned on the task."""

    @field_validator("layers")
    @classmethod
    def _layers_rise(cls, layers: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if isinstance(layers, int) and layers < 1:
            raise ValueError(f"an encoder keeps at least one layer, not {layers}")
        if isinstance(layers, tuple):
            rising = all(below < above for below, above in itertools.pairwise(layers))
            if not layers or layers[0] < 0 or not rising:
                raise ValueError(f"layers are counted from 0 and must rise, such as [0, 2, 5], not {list(layers)}")
        return layers

    @model_validator(mode="after")
    def _shape_is_fresh(self) -> Self:
        sizes = [name for name in ("hidden_size", "heads", "intermediate_size") if getattr(self, name) is not None]
        if sizes and self.initial == "pretrained":
            raise ValueError(
                f"{', '.join(sizes)} cannot be set for pretrained weights; leave out, or set initial: random"
            )
        if isinstance(self.layers, tuple) and self.initial == "random":
            raise ValueError(f"fresh layers are all alike; give their number, layers: {len(self.layers)}")
        if self.revision is not None and self.path is None:
            raise ValueError("revision is of a hub model; name that by path")
        return self


ImageModelConfig = CifarResNet | TorchvisionModel

ModelConfig = Annotated[CifarResNet | TorchvisionModel | Encoder, Field(discriminator="family")]


def bare(config: ModelConfig) -> ModelConfig:
    """The architecture without the file of weights that it starts from, which may have moved."""
    return config.model_copy(update={"weights": None})
