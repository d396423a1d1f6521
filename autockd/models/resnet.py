"""The CIFAR ResNet of He et al., "Deep Residual Learning for Image Recognition" (2016), section 4.2.

6n + 2 weighted layers: a 3x3 stem, three stages of n basic blocks, global average pooling, one linear layer. Modules
have the names of the well-known CIFAR code (conv1, bn1, layer1..3, linear), so that its state dicts load as they are.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from autockd.config.models import Shortcut


class ResNet6n2(nn.Module):
    """CIFAR ResNet; takes float [B, channels, H, W] of any size from 1x1 up, returns logits [B, classes].

    Args:
        depth: 6n + 2, the number of weighted layers on the longest path: 8, 14, 20, ... 110.
        widths: channels of the three stages, which must not shrink; the paper has (16, 32, 64).
        shortcut: "A" pads with zeros and has no parameters, "B" is a 1x1 convolution with batch norm.
        classes: number of logits.
        channels: channels of an image.

    Weights are drawn from the global CPU generator: convolutions and the linear layer Kaiming-normal (He et al., 2015,
    equation 10), batch norms are the identity.
    """

    def __init__(
        self, depth: int, widths: tuple[int, int, int], shortcut: Shortcut, *, classes: int, channels: int = 3
    ) -> None:
        super().__init__()
        assert depth >= 8
        assert depth % 6 == 2
        blocks = (depth - 2) // 6
        self.conv1 = _conv3x3(channels, widths[0], stride=1)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = _stage(blocks, widths[0], widths[0], stride=1, shortcut=shortcut)
        self.layer2 = _stage(blocks, widths[0], widths[1], stride=2, shortcut=shortcut)
        self.layer3 = _stage(blocks, widths[1], widths[2], stride=2, shortcut=shortcut)
        self.linear = nn.Linear(widths[2], classes)
        self.apply(_initialise)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, classes] of normalised images [B, C, H, W]."""
        features = F.relu(self.bn1(self.conv1(images)), inplace=True)
        features = self.layer3(self.layer2(self.layer1(features)))
        pooled = F.avg_pool2d(features, features.shape[2:])  # not mean(): its gradient loses the memory format
        return cast(torch.Tensor, self.linear(pooled.flatten(1)))


class BasicBlock(nn.Module):
    """relu(shortcut(x) + BN(conv(relu(BN(conv(x)))))), both convolutions 3x3; [B, in, H, W] to [B, out, H/s, W/s]."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv3x3(outputs, outputs, stride=1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, shortcut)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The block's output; odd sides are rounded up where it strides."""
        residual = F.relu(self.bn1(self.conv1(features)), inplace=True)
        residual = self.bn2(self.conv2(residual))
        residual += self.shortcut(features)
        return F.relu(residual, inplace=True)


class PaddedShortcut(nn.Module):
    """Option A: every stride-th pixel, and zeros for the new channels, half of them on each side."""

    def __init__(self, added: int, stride: int) -> None:
        super().__init__()
        self.before, self.after = added // 2, added - added // 2
        self.stride = stride

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to [B, C + added, ceil(H / stride), ceil(W / stride)]."""
        kept = F.avg_pool2d(features, 1, self.stride)  # not a slice: its gradient loses the memory format
        return F.pad(kept, (0, 0, 0, 0, self.before, self.after))


def _shortcut(inputs: int, outputs: int, stride: int, shortcut: Shortcut) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if shortcut == "A":
        return PaddedShortcut(outputs - inputs, stride)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _stage(blocks: int, inputs: int, outputs: int, *, stride: int, shortcut: Shortcut) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride=stride, shortcut=shortcut)
    others = (BasicBlock(outputs, outputs, stride=1, shortcut=shortcut) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


def _conv3x3(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
