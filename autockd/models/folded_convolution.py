"""A convolution that does at once what stands behind it in a network that only answers."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autockd.facts import Precision


class FoldedConvolution(nn.Module):
    """A convolution, the batch normalisation behind it in eval mode, a sum and a ReLU, as far as they are there.

    The normalisation is a factor and a shift for each channel, which the weights have instead. On a CPU oneDNN does sum
    and ReLU while the results are at hand, without a pass over the memory for each.

    Args:
        convolution: of zero-padded images; it and what follows it stay as they are.
        normalisation: by running statistics.
        relu: whether a ReLU is the last.
        precision: the arithmetic; in bf16 inputs are rounded to it, and so are the weights, once they are folded.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, convolution: nn.Conv2d, normalisation: nn.BatchNorm2d | None, *, relu: bool, precision: Precision
    ) -> None:
        super().__init__()
        self._source = (convolution, normalisation)  # in a tuple, for they are parts of the network and not of this one
        self._relu = relu
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        padding = cast(tuple[int, int], convolution.padding)
        self._shape = (convolution.stride, padding, convolution.dilation, convolution.groups)
        self.register_buffer("weight", None, persistent=False)
        self.register_buffer("bias", None, persistent=False)
        self.fold()

    @torch.no_grad()
    def fold(self) -> None:
        """Take the weights as convolution and normalisation have them now."""
        convolution, normalisation = self._source
        weight, bias = convolution.weight.detach(), convolution.bias
        if normalisation is not None:
            factor, shift = _affine(normalisation)
            weight = weight * factor[:, None, None, None]
            bias = shift if bias is None else shift + bias * factor
        self.weight = weight.to(self._dtype)
        self.bias = None if bias is None else bias.detach().to(self._dtype)
        self._is_finite = bool(weight.isfinite().all() and (bias is None or bias.isfinite().all()))

    def forward(self, images: Tensor, other: Tensor | float | None = None) -> Tensor:
        """[B, C, H, W] to [B, K, H', W']; `other`, mostly of that shape, is added before the ReLU."""
        images = images.to(self._dtype)
        stride, padding, dilation, groups = self._shape
        is_plain = other is None or self._may_be_added(other, images)
        if is_plain and self._is_finite and _has_onednn(images):  # whose ReLU makes zeros of what is no number
            # What torch.compile makes of it on a CPU.
            how = (self.weight, self.bias, padding, stride, dilation, groups)
            if other is None:
                alone = torch.ops.mkldnn._convolution_pointwise
                return cast(Tensor, alone(images, *how, "relu" if self._relu else "none", [], ""))
            both = torch.ops.mkldnn._convolution_pointwise.binary
            return cast(Tensor, both(images, other, *how, "add", 1.0, "relu" if self._relu else None, [], ""))
        found = F.conv2d(images, self.weight, self.bias, stride, padding, dilation, groups)
        found = found if other is None else found + other
        return F.relu(found, inplace=True) if self._relu else found

    def _may_be_added(self, other: object, images: Tensor) -> bool:
        """Whether oneDNN adds it: of the kind that the convolution gives, in channels_last, without groups."""
        if self._shape[3] > 1 or not _is_channels_last(images):
            return False
        axes = zip(images.shape[2:], self.weight.shape[2:], *self._shape[:3], strict=True)
        sides = [(side + 2 * pad - gap * (size - 1) - 1) // step + 1 for side, size, step, pad, gap in axes]
        return (
            isinstance(other, Tensor)
            and other.dtype == self._dtype
            and other.shape == (len(images), len(self.weight), *sides)
        )


def _affine(normalisation: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Factor and shift of each channel [C] that a normalisation is in eval mode."""
    mean, variance = normalisation.running_mean, normalisation.running_var
    assert mean is not None, "it is one by running statistics"
    assert variance is not None, "which are of both kinds"
    factor = torch.rsqrt(variance + normalisation.eps)
    if not normalisation.affine:
        return factor, -mean * factor
    factor = factor * normalisation.weight
    return factor, normalisation.bias - mean * factor


def _is_channels_last(images: Tensor) -> bool:
    """Whether they are so beyond doubt: without an extent, or with one channel, both formats are the same."""
    _, channels, height, width = images.shape
    is_clear = channels > 1 and height * width > 1
    return is_clear and images.is_contiguous(memory_format=torch.channels_last)


def _has_onednn(images: Tensor) -> bool:
    """Whether oneDNN computes on images as they are here."""
    is_there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if images.device.type != "cpu" or not is_there or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    return images.dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
