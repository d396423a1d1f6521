"""A network whose convolutions do what stands behind them answers as it did."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from autockd.config.models import CifarResNet, ImageModelConfig, Shortcut, TorchvisionModel
from autockd.facts import Precision
from autockd.models import build_model, folded_convolution
from autockd.models.folded_convolution import FoldedConvolution
from autockd.models.folding import folded, refold

SIDE = 16
"""Pixels: enough for the last layers of each network, and a quarter of the work of 32."""


def sums(network: nn.Module) -> int:
    """How many convolutions of a folded network add a shortcut too."""
    assert isinstance(network, fx.GraphModule)
    nodes = [node for node in network.graph.nodes if str(node.target).startswith("folded_")]
    assert all(isinstance(network.get_submodule(str(node.target)), FoldedConvolution) for node in nodes)
    return sum(len(node.args) == 2 for node in nodes)


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


@pytest.fixture(params=[True, False], ids=["oneDNN", "plain"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to compute a folded convolution."""
    if not request.param:
        monkeypatch.setattr(folded_convolution, "_has_onednn", lambda _: False)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("config", "left", "added"),
    [
        (CifarResNet(depth=20), 0, 9),
        (CifarResNet(depth=8, shortcut="B"), 0, 3),
        (TorchvisionModel(name="resnet18"), 0, 8),
        (TorchvisionModel(name="mobilenet_v3_small"), 0, 6),
        (TorchvisionModel(name="regnet_y_400mf"), 0, 16),
        (TorchvisionModel(name="densenet121"), 62, 0),  # these stand before convolutions
    ],
    ids=lambda value: getattr(value, "name", None) or str(getattr(value, "depth", value)),
)
def test_its_answers_are_the_same(config: ImageModelConfig, left: int, added: int) -> None:
    network = trained(config)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    quick = folded(network)
    assert (normalisations(quick), sums(quick)) == (left, added)
    images = torch.randn(8, 3, SIDE, SIDE)
    with torch.no_grad():
        assert_close(quick(images), network(images))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_in_bf16_they_are_as_close_as_the_networks_own(shortcut: Shortcut) -> None:
    network = trained(CifarResNet(depth=14, shortcut=shortcut)).to(memory_format=torch.channels_last)
    quick = folded(network, "bf16")
    images = torch.randn(32, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    with torch.no_grad():
        exact = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            own, found = network(images).float(), quick(images)
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).norm() < 1.5 * (own - exact).norm()


def test_weights_that_change_are_taken_over_when_it_is_asked_for() -> None:
    network = trained(CifarResNet(depth=8)).train()
    quick = folded(network)
    assert network.training
    images = torch.randn(8, 3, SIDE, SIDE)
    with torch.no_grad():
        before = quick(images)
        for _ in range(3):
            network(images)
        for parameter in network.parameters():
            parameter.mul_(1.1)
        network.eval()
        assert not torch.allclose(quick(images), network(images), rtol=1e-2)
        refold(quick)
        assert_close(quick(images), network(images))
        assert not torch.allclose(quick(images), before, rtol=1e-2)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_no_number_stays_none(precision: Precision) -> None:
    """Or weights that are none would answer like others, and could be the best so far."""
    network = trained(CifarResNet(depth=8))
    quick = folded(network, precision)
    with torch.no_grad():
        network.get_parameter("layer1.0.conv1.weight")[1, 0, 0, 0] = torch.nan
        refold(quick)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            for asked in (network, quick):
                assert asked(torch.ones(2, 3, SIDE, SIDE)).isnan().all()


def test_a_network_that_trains_is_followed_as_it_answers() -> None:
    network = Dropping().train()
    quick = folded(network)
    assert network.training
    images = torch.randn(4, 3, SIDE, SIDE)
    with torch.no_grad():
        assert_close(quick(images), network.eval()(images))


class Block(nn.Module):
    """Parts of which the networks below are made, with statistics that change something."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm, self.plain = nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)
        self.relu = nn.ReLU(inplace=True)
        with torch.no_grad():
            for norm in (self.norm, self.plain):
                norm(3 + 2 * torch.randn(32, 3, 4, 4))
        self.eval()


class Dropping(Block):
    """Asks for its training flag while it computes."""

    def forward(self, images: Tensor) -> Tensor:
        return F.dropout(self.norm(self.one(images)), training=self.training)


class Changing(Block):
    """Changes in place what a convolution has read, before the sum with what that gives."""

    def forward(self, images: Tensor) -> Tensor:
        features = images + 0
        found = self.norm(self.one(features))
        features.mul_(2)
        return F.relu(found + features)


class ChangingByFunction(Block):
    """The same, by functions whose name or argument says so."""

    def forward(self, images: Tensor) -> Tensor:
        features = images + 0
        found = self.norm(self.one(features))
        other = torch.relu_(features)
        again = self.plain(self.two(features))
        torch.neg(features, out=features)
        return F.relu(F.relu(found + other) + again)


class Changed(Block):
    """The sum is written over what is added, which is read again."""

    def forward(self, images: Tensor) -> Tensor:
        features = images + 0
        kept = features
        features.add_(self.norm(self.one(features)))
        found: Tensor = kept + self.two(F.relu(features))
        return found


class Spread(Block):
    """Adds one number for each channel, and what is of another kind."""

    def forward(self, images: Tensor) -> Tensor:
        found = self.norm(self.one(images)) + images.mean((0, 2, 3), keepdim=True)
        return F.relu(self.plain(self.two(found + images.shape[0])) + images.double())


class Counted(Block):
    """Adds a number that it takes from the shape."""

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.norm(self.one(images)) + images.shape[0])


class Doubled(Block):
    """Adds a result to itself, and a multiple of something; has a bias, and none."""

    def forward(self, images: Tensor) -> Tensor:
        found = self.norm(self.one(images))
        again = self.plain(self.two(F.relu(found + found)))
        return torch.add(again, images, alpha=3)


class ReadTwice(Block):
    """What normalisation and sum give is read by others too; one ReLU stands in several places."""

    def forward(self, images: Tensor) -> Tensor:
        normal = self.norm(self.one(images))
        added = torch.add(images, self.plain(self.two(self.relu(normal + 0))))
        found: Tensor = self.relu(added + 0) - added + normal
        return found


class Strided(Block):
    """Every second pixel, with gaps, in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 3, 3, stride=2, padding=2, dilation=2, groups=3)

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(F.avg_pool2d(images, 1, 2) + self.norm(self.wide(images)))


class Padded(Block):
    """Convolutions that are padded otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.around = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular")
        self.same = nn.Conv2d(3, 3, 3, padding="same")

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = F.relu(self.same(self.norm(self.around(images)))) + self.plain(self.one(images))
        return found


class Pooled(Block):
    """Adds to an image of one pixel, whose memory format nobody can tell."""

    def forward(self, images: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(images, 1)
        return F.relu(self.norm(self.one(pooled)) + pooled)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05)])
@pytest.mark.parametrize(
    "kind", [Changing, ChangingByFunction, Changed, Spread, Counted, Doubled, ReadTwice, Strided, Padded, Pooled]
)
def test_odd_networks_answer_as_they_did(
    kind: type[Block], precision: Precision, tolerance: float, layout: torch.memory_format
) -> None:
    network = kind().to(memory_format=layout)
    quick = folded(network, precision)
    assert isinstance(quick, fx.GraphModule)
    images = torch.randn(4, 3, SIDE, SIDE).to(memory_format=layout)
    with torch.no_grad():
        expected = network(images)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            for _ in range(2):
                assert_close(quick(images).float(), expected.float(), tolerance)


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
