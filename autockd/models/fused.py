"""K networks of one shape as a single one: grouped convolutions, stacked normalisation, a batched last layer.

Every tensor of the fused network is those of the K networks one after the other, in dimension 0. What one of them
computes does not depend on the others.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autockd.models.resnet import PaddedShortcut, ResNet6n2


class FusedResNet(nn.Module):
    """K ResNets of one shape; takes float [B, channels, H, W], the same for all, and returns logits [B, K, classes].

    Args:
        networks: the K networks; they are copied.
    """

    def __init__(self, networks: Sequence[ResNet6n2]) -> None:
        super().__init__()
        self.count = len(networks)
        self.network = copy.deepcopy(networks[0])
        _fuse(self.network, list(networks))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of all networks."""
        return cast(Tensor, self.network(images.repeat(1, self.count, 1, 1)))

    def state_of(self, place: int) -> dict[str, Tensor]:
        """The state of one of the networks, as its own `state_dict` would give it."""
        return {
            name: tensor.detach().clone() if tensor.ndim == 0 else tensor.detach().chunk(self.count)[place].clone()
            for name, tensor in self.network.state_dict().items()
        }


class FusedLinear(nn.Module):
    """K linear layers, each on its own features.

    Args:
        layers: the layers.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.count = len(layers)
        self.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]))

    def forward(self, features: Tensor) -> Tensor:
        """[B, K * inputs] to [B, K, outputs]."""
        stacked = features.view(len(features), self.count, -1).transpose(0, 1)  # [K, B, inputs]
        weights = self.weight.view(self.count, -1, stacked.shape[2])
        biases = self.bias.view(self.count, 1, -1)
        return torch.baddbmm(biases, stacked, weights.transpose(1, 2)).transpose(0, 1)


class FusedPadding(nn.Module):
    """The shortcut that pads with zero channels, on each side of each network's own channels.

    Args:
        shortcut: that of one network.
        count: K.
    """

    def __init__(self, shortcut: PaddedShortcut, count: int) -> None:
        super().__init__()
        self.shortcut, self.count = shortcut, count

    def forward(self, features: Tensor) -> Tensor:
        """[B, K * C, H, W] to [B, K * (C + added), H', W']."""
        kept = F.avg_pool2d(features, 1, self.shortcut.stride)
        apart = kept.reshape(len(kept), self.count, -1, *kept.shape[2:])
        return F.pad(apart, (0, 0, 0, 0, self.shortcut.before, self.shortcut.after)).flatten(1, 2)


def _fuse(target: nn.Module, networks: list[nn.Module]) -> None:
    """Replace the layers of `target`, a copy of the first network, by those of all."""
    for name, child in target.named_children():
        peers = [cast(nn.Module, getattr(network, name)) for network in networks]
        if isinstance(child, nn.Conv2d):
            setattr(target, name, _convolution([cast(nn.Conv2d, peer) for peer in peers]))
        elif isinstance(child, nn.BatchNorm2d):
            setattr(target, name, _normalisation([cast(nn.BatchNorm2d, peer) for peer in peers]))
        elif isinstance(child, nn.Linear):
            setattr(target, name, FusedLinear([cast(nn.Linear, peer) for peer in peers]))
        elif isinstance(child, PaddedShortcut):
            setattr(target, name, FusedPadding(child, len(peers)))
        else:
            _fuse(child, peers)


def _convolution(layers: Sequence[nn.Conv2d]) -> nn.Conv2d:
    first, count = layers[0], len(layers)
    fused = nn.Conv2d(
        first.in_channels * count,
        first.out_channels * count,
        cast(tuple[int, int], first.kernel_size),
        cast(tuple[int, int], first.stride),
        cast(tuple[int, int], first.padding),
        groups=count,
        bias=False,
    )
    fused.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
    return fused


def _normalisation(layers: Sequence[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    fused = copy.deepcopy(layers[0])
    fused.num_features *= len(layers)
    for name in ("weight", "bias"):
        setattr(fused, name, nn.Parameter(torch.cat([getattr(layer, name).detach() for layer in layers])))
    for name in ("running_mean", "running_var"):
        setattr(fused, name, torch.cat([getattr(layer, name).detach() for layer in layers]))
    return fused
