from __future__ import annotations

import pytest
import torch

from autockd.config.models import Shortcut
from autockd.models import PaddedShortcut, ResNet6n2, count_parameters

PAPER = (16, 32, 64)


@pytest.mark.parametrize(
    ("depth", "shortcut", "parameters"),
    [
        (8, "A", 75_290),
        (8, "B", 78_042),
        (20, "A", 269_722),
        (20, "B", 272_474),
        (110, "A", 1_727_962),
        (110, "B", 1_730_714),
    ],
)
def test_parameter_counts_are_exact(depth: int, shortcut: Shortcut, parameters: int) -> None:
    with torch.device("meta"):
        model = ResNet6n2(depth, PAPER, shortcut, classes=10)
    assert count_parameters(model) == parameters


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("widths", [(4, 8, 16), (5, 5, 5), (3, 4, 11)])
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (7, 13), (1, 1)])
def test_any_width_and_size_gives_finite_logits_and_gradients(
    shortcut: Shortcut, widths: tuple[int, int, int], size: tuple[int, int]
) -> None:
    model = ResNet6n2(8, widths, shortcut, classes=7, channels=1)
    logits = model(torch.randn(3, 1, *size))
    logits.square().sum().backward()
    assert logits.shape == (3, 7)
    assert logits.isfinite().all()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_stages_halve_the_sides_twice_and_round_up() -> None:
    model = ResNet6n2(8, (4, 8, 16), "A", classes=10)
    features = model.layer1(model.conv1(torch.randn(2, 3, 9, 13)))
    assert features.shape == (2, 4, 9, 13)
    features = model.layer2(features)
    assert features.shape == (2, 8, 5, 7)
    assert model.layer3(features).shape == (2, 16, 3, 4)


def test_shortcut_a_keeps_every_second_pixel_and_pads_channels_on_both_sides() -> None:
    features = torch.randn(2, 4, 5, 6)
    padded = PaddedShortcut(added=5, stride=2)(features)
    assert padded.shape == (2, 9, 3, 3)
    torch.testing.assert_close(padded[:, 2:6], features[:, :, ::2, ::2], rtol=0, atol=0)
    assert not padded[:, :2].any()
    assert not padded[:, 6:].any()


def test_a_silent_residual_leaves_the_shortcut_alone() -> None:
    block = ResNet6n2(8, PAPER, "A", classes=10).layer2[0]
    torch.nn.init.zeros_(block.bn2.weight)
    features = torch.randn(2, 16, 8, 8)
    output = block(features)
    torch.testing.assert_close(output[:, 8:24], features[:, :, ::2, ::2].relu())
    assert not output[:, :8].any()
    assert not output[:, 24:].any()


def test_shortcut_b_is_a_convolution_only_where_the_shape_changes() -> None:
    names = dict(ResNet6n2(14, PAPER, "B", classes=10).named_parameters())
    convolutions = {name: tuple(tensor.shape) for name, tensor in names.items() if name.endswith("shortcut.0.weight")}
    assert convolutions == {
        "layer2.0.shortcut.0.weight": (32, 16, 1, 1),
        "layer3.0.shortcut.0.weight": (64, 32, 1, 1),
    }


def test_convolutions_and_the_linear_layer_start_kaiming_normal() -> None:
    torch.manual_seed(0)
    model = ResNet6n2(20, PAPER, "A", classes=100)
    for weight in (model.layer3[1].conv1.weight, model.linear.weight):
        fan_in = weight[0].numel()
        assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
        assert weight.abs().max() > 3 * weight.std()  # a normal has tails, a uniform has none


def test_channels_last_and_bf16_give_the_same_logits_up_to_rounding() -> None:
    torch.manual_seed(0)
    model = ResNet6n2(8, PAPER, "A", classes=10).eval()
    images = torch.randn(4, 3, 16, 16)
    wanted = model(images)
    fast = model.to(memory_format=torch.channels_last)
    last = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(last), wanted, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = fast(last).float()
    assert (rounded - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_shortcut_a_stays_in_channels_last() -> None:
    features = torch.randn(2, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    assert PaddedShortcut(added=4, stride=2)(features).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_the_graph_is_captured_whole_with_a_free_batch_size(shortcut: Shortcut) -> None:
    model = ResNet6n2(8, (4, 8, 16), shortcut, classes=10, channels=1).eval()
    batch = torch.export.Dim("batch")
    captured = torch.export.export(model, (torch.randn(2, 1, 8, 8),), dynamic_shapes=({0: batch},)).module()
    images = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(captured(images), model(images))
