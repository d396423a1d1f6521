"""A teacher without batch normalisation of its own answers as with it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from autockd.config.models import CifarResNet, ImageModelConfig, TorchvisionModel
from autockd.models import build_model
from autockd.models.folding import folded

SIDE = 16
"""Pixels: enough for the last layers of each network, and a quarter of the work of 32."""


def normalisations(network: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def trained(config: ImageModelConfig) -> nn.Module:
    """A network whose statistics and scales are not those that it began with."""
    network = build_model(config, classes=10, channels=3, image_size=(SIDE, SIDE), seed=0).train()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for _ in range(3):
            network(torch.randn(8, 3, SIDE, SIDE))
    return network.eval()


@pytest.mark.parametrize(
    ("config", "left"),
    [
        (CifarResNet(depth=20), 0),
        (CifarResNet(depth=8, shortcut="B"), 0),
        (TorchvisionModel(name="resnet18"), 0),
        (TorchvisionModel(name="mobilenet_v3_small"), 0),
        (TorchvisionModel(name="densenet121"), 62),  # these stand before convolutions
    ],
    ids=lambda value: getattr(value, "name", None) or str(getattr(value, "depth", value)),
)
def test_its_answers_are_the_same(config: ImageModelConfig, left: int) -> None:
    network = trained(config)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    quick = folded(network)
    assert normalisations(quick) == left < normalisations(network)
    images = torch.randn(8, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = network(images)
        found = quick(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items()), "a copy was folded"


class Fickle(nn.Module):
    """Looks at its input, which nobody knows before it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.normalisation = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.normalisation(self.convolution(images))
        return features if bool(images.sum() > 0) else -features


class Thrifty(nn.Module):
    """Has one convolution in two places, each with a normalisation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.second(self.convolution(self.first(self.convolution(images))))
        return features


def test_what_cannot_be_followed_stays_as_it_is() -> None:
    plain = nn.Sequential(nn.Linear(3, 4))
    for network in (Fickle().eval(), Thrifty().eval()):
        assert folded(network) is network
    assert folded(plain) is plain
