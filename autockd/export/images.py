"""Classifiers of images as students: their weights, and how pixels become logits."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from autockd.config.models import CifarResNet
from autockd.data.image_feed import Normalisation, evaluation_batch
from autockd.data.texts import Texts
from autockd.errors import ExportError, ModelError
from autockd.export.description import ImageBundleConfig
from autockd.export.manifest import AGAIN
from autockd.export.onnx import OnnxModel, export_onnx
from autockd.export.quantize import calibration_rows, quantize_static
from autockd.export.student import WEIGHTS, Inputs, Runtime
from autockd.export.weights import tensor_shapes
from autockd.models import build_model, load_weights, save_weights

PIXELS = "pixels"
"""Input of the ONNX graph: float32 [batch, C, H, W] in 0..1; the graph normalises them itself."""

_CALIBRATION_BATCH = 32


@dataclass(frozen=True, eq=False)
class ImageStudent:
    """A classifier of normalised images, float32 [B, C, H, W]; see `Student`."""

    config: ImageBundleConfig
    model: nn.Module
    parity_examples: int = 512

    @classmethod
    def read(cls, config: ImageBundleConfig, folder: Path) -> Self:
        """The student of a bundle, after a check that description and weights belong together.

        Raises:
            ExportError: the weights cannot be read, or are not those of the architecture.
        """
        path = folder / WEIGHTS
        shapes = tensor_shapes(path)
        if len(config.classes) > max((max(shape, default=0) for shape in shapes.values()), default=0):
            raise ExportError(f"{path}: no tensor is large enough for {len(config.classes)} classes -> {AGAIN}")
        if isinstance(config.architecture, CifarResNet):
            _refuse_too_large(config.architecture, [math.prod(shape) for shape in shapes.values()], path)
        try:
            model = build_model(
                config.architecture,
                classes=len(config.classes),
                channels=config.channels,
                image_size=config.image_size,
                seed=0,
            )
            load_weights(model, path)
        except ModelError as error:
            raise ExportError(f"{path}: {error} -> {AGAIN}") from error
        return cls(config, model.eval())

    @property
    def batch_size(self) -> int:
        """As `Student` says, on the model's device: of small images 512, on a CPU 64."""
        return evaluation_batch(self._device, self.config.channels * math.prod(self.config.image_size))

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def check(self, inputs: Inputs) -> None:
        """Refuse what is not uint8 [N, C, H, W] of the bundle's channels and size."""
        wanted = (self.config.channels, *self.config.image_size)
        form = f"uint8 [N, {', '.join(map(str, wanted))}] with N >= 1"
        if not isinstance(inputs, Tensor):
            raise ExportError(f"images: this bundle takes {form} as a torch tensor, not {_instead(inputs)}")
        if inputs.dtype != torch.uint8 or inputs.dim() != 4 or tuple(inputs.shape[1:]) != wanted or not len(inputs):
            told = "" if self.config.preprocessing is None else ", as `read` in the bundle's README.md does with files"
            raise ExportError(
                f"images: this bundle takes {form}, not {str(inputs.dtype).removeprefix('torch.')} "
                f"{list(inputs.shape)} -> convert or resize them{told}"
            )

    def copied(self) -> Self:
        """As `Student` says."""
        return replace(self, model=copy.deepcopy(self.model).cpu().float().eval())

    def in_torch(self) -> Runtime:
        """As `Student` says."""
        device = self._device
        normalise = Normalisation.of(self.config, device)

        @torch.inference_mode()
        def run(inputs: Inputs, batch_size: int) -> Tensor:
            assert isinstance(inputs, Tensor), "checked before"
            batches = torch.split(inputs, batch_size)
            return torch.cat([self.model(normalise(images.to(device))).float().cpu() for images in batches])

        return run

    def in_onnx(self, path: Path) -> Runtime:
        """As `Student` says."""
        onnx = OnnxModel(path, (PIXELS,))

        def run(inputs: Inputs, batch_size: int) -> Tensor:
            assert isinstance(inputs, Tensor), "checked before"
            return torch.cat([onnx.run({PIXELS: to_pixels(images)}) for images in torch.split(inputs, batch_size)])

        return run

    def save(self, folder: Path) -> None:
        """As `Student` says."""
        save_weights(self.model, folder / WEIGHTS)

    def save_onnx(self, path: Path, examples: Inputs) -> None:
        """As `Student` says."""
        assert isinstance(examples, Tensor), "checked before"
        model = PixelModel(self.model, self.config.mean, self.config.std).eval()
        export_onnx(model, path, {PIXELS: to_pixels(examples[:2])}, {0: "batch"})

    def save_int8(self, source: Path, path: Path, training: Inputs) -> None:
        """As `Student` says; static, calibrated on training images without augmentation."""
        assert isinstance(training, Tensor), "checked before"
        chosen = training[torch.tensor(calibration_rows(len(training)))]
        quantize_static(source, path, [self.feed(images) for images in torch.split(chosen, _CALIBRATION_BATCH)])

    def feed(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """As `Student` says."""
        assert isinstance(inputs, Tensor), "checked before"
        return {PIXELS: to_pixels(inputs).numpy()}

    def example(self) -> dict[str, np.ndarray]:
        """As `Student` says: an image of the training set's mean colour."""
        mean = torch.tensor(self.config.mean).view(1, -1, 1, 1)
        return {PIXELS: mean.expand(1, -1, *self.config.image_size).contiguous().numpy()}


class PixelModel(nn.Module):
    """A classifier with its normalisation in front, for programs that know neither mean nor std.

    Args:
        model: takes normalised images, float32 [B, C, H, W], to logits [B, K].
        mean, std: per channel, of pixels scaled to 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None])
        self.register_buffer("std", torch.tensor(std)[None, :, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [B, K] of pixels, float32 [B, C, H, W] in 0..1."""
        logits: Tensor = self.model((pixels - self.mean) / self.std)
        return logits


def to_pixels(images: Tensor) -> Tensor:
    """Images, uint8, as float32 in 0..1 on the CPU."""
    return images.cpu().to(torch.float32) / 255


def _instead(inputs: object) -> str:
    """What was given in place of images, and the remedy."""
    if isinstance(inputs, np.ndarray):
        return f"a numpy array, {inputs.dtype} {list(inputs.shape)} -> make a tensor of it with torch.from_numpy"
    given = repr(inputs) if isinstance(inputs, Texts) else f"a {type(inputs).__name__}"
    return f"{given} -> give it images"


def _refuse_too_large(architecture: CifarResNet, sizes: list[int], path: Path) -> None:
    """Bound the model by its weights before it is built: its depth and width are free, and could exhaust memory.

    All but the first of the third stage's (depth - 2) / 3 convolutions have 9 * width^2 weights, and the rest of the
    model is of the same order.
    """
    depth, width = architecture.depth, architecture.stage_widths[2]
    least = ((depth - 2) // 3 - 1) * 9 * width**2
    if depth > len(sizes) or least > sum(sizes):
        raise ExportError(
            f"{path}: {sum(sizes)} values in {len(sizes)} tensors are too few for the architecture in autockd.json, "
            f"{depth} layers of up to {width} channels -> {AGAIN}"
        )
