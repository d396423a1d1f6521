"""From pixels to logits, in torch and as the module that becomes the ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from autockd.data.image_feed import Normalisation

Runtime = Callable[[torch.Tensor], torch.Tensor]
"""Images, uint8 [N, C, H, W], to logits, float32 [N, K] on the CPU."""


class PixelModel(nn.Module):
    """A classifier with its normalisation in front, for programs that know neither mean nor std.

    Args:
        model: takes normalised images, float32 [B, C, H, W], to logits [B, K].
        mean, std: per channel, of pixels scaled to 0..1.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None])
        self.register_buffer("std", torch.tensor(std)[None, :, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of pixels, float32 [B, C, H, W] in 0..1."""
        logits: torch.Tensor = self.model((pixels - self.mean) / self.std)
        return logits


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """Images, uint8, as float32 in 0..1."""
    return images.to(torch.float32) / 255


def torch_runtime(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> Runtime:
    """A classifier in eval mode, run where it is, with the very arithmetic that trials are evaluated with."""
    device = next(model.parameters()).device
    means, deviations = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (mean, std))
    normalise = Normalisation(1 / (255 * deviations), -means / deviations)

    @torch.inference_mode()
    def run(images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(normalise(images.to(device)))
        return logits.float().cpu()

    return run


def in_batches(run: Runtime, images: torch.Tensor, batch_size: int) -> torch.Tensor:
    """What `run` makes of the images, `batch_size` at a time: [N, K]."""
    return torch.cat([run(images[start : start + batch_size]) for start in range(0, len(images), batch_size)])
