from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import get_model, vision_transformer

from autockd.config.models import TorchvisionModel
from autockd.errors import ModelError
from autockd.models import build_torchvision


def build(
    name: str, size: tuple[int, int], channels: int = 3, small: bool | None = None, classes: int = 7
) -> nn.Module:
    config = TorchvisionModel(name=name, small_image_stem=small)
    return build_torchvision(config, classes=classes, channels=channels, image_size=size)


@functools.cache
def on_small_images(name: str) -> nn.Module:
    """Of 32 pixels a side: built once, and looked at by several tests."""
    return build(name, (32, 32))


@pytest.fixture
def shallow_vits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vision transformers of one layer, for what only their stem decides."""
    make = vision_transformer._vision_transformer

    def shallow(**settings: Any) -> nn.Module:
        return make(**settings | {"num_layers": 1})

    monkeypatch.setattr(vision_transformer, "_vision_transformer", shallow)


@pytest.fixture
def quick_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the slowest of all ways to draw weights, for what they do not decide."""
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, *_, **__: tensor)


def first_conv(model: nn.Module) -> nn.Conv2d:
    return next(part for part in model.modules() if isinstance(part, nn.Conv2d))


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        ("mobilenet_v3_small", 1, (28, 28)),
        ("squeezenet1_1", 1, (8, 8)),
        ("regnet_y_400mf", 3, (33, 47)),
        ("inception_v3", 3, (32, 32)),
        ("swin_t", 3, (28, 28)),
        ("vit_b_32", 1, (8, 8)),
    ],
)
def test_families_run_on_small_images(name: str, channels: int, size: tuple[int, int]) -> None:
    require_logits(build(name, size, channels), channels, size)


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5", "densenet121", "googlenet"])
def test_more_families_run_on_small_images(name: str) -> None:
    require_logits(on_small_images(name), 3, (32, 32))


def require_logits(model: nn.Module, channels: int, size: tuple[int, int]) -> None:
    assert model.training
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
    with torch.no_grad():
        logits = model(torch.randn(2, channels, *size))
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("name", "pool"), [("resnet18", "maxpool"), ("shufflenet_v2_x0_5", "maxpool"), ("densenet121", "features.pool0")]
)
def test_the_stem_of_a_convnet_keeps_small_images_whole(name: str, pool: str) -> None:
    model = on_small_images(name)
    stem = first_conv(model)
    assert (stem.kernel_size, stem.stride, stem.padding) == ((3, 3), (1, 1), (1, 1))
    assert isinstance(model.get_submodule(pool), nn.Identity)


def test_pooling_inside_the_blocks_is_left_alone() -> None:
    pools = [name for name, part in on_small_images("googlenet").named_modules() if isinstance(part, nn.MaxPool2d)]
    assert "maxpool1" not in pools
    assert {"maxpool2", "maxpool3", "maxpool4", "inception3a.branch4.0"} <= set(pools)


def test_a_stem_without_stride_is_left_as_it_is() -> None:
    with torch.device("meta"):
        model = build("vgg11", (32, 32))
    assert first_conv(model).stride == (1, 1)
    assert isinstance(model.get_submodule("features.2"), nn.MaxPool2d)


@pytest.mark.parametrize(("size", "small"), [((224, 224), None), ((32, 32), False)])
def test_otherwise_the_architecture_is_torchvisions_own(size: tuple[int, int], small: bool | None) -> None:
    with torch.device("meta"):
        ours, theirs = build("resnet18", size, small=small), get_model("resnet18", weights=None, num_classes=7)
    assert str(ours) == str(theirs)


def test_the_small_stem_can_be_asked_for_on_large_images() -> None:
    assert first_conv(build("resnet18", (96, 96), small=True)).stride == (1, 1)


@pytest.mark.usefixtures("shallow_vits")
@pytest.mark.parametrize(("side", "patch"), [(32, 4), (33, 3)])
def test_vit_patches_divide_the_image(side: int, patch: int) -> None:
    model = build("vit_b_32", (side, side))
    assert first_conv(model).stride == first_conv(model).kernel_size == (patch, patch)
    assert model.get_parameter("encoder.pos_embedding").shape[1] == (side // patch) ** 2 + 1


def test_vit_without_the_small_stem_keeps_its_patches() -> None:
    with torch.device("meta"):
        model = build("vit_b_32", (64, 64), small=False)
    assert first_conv(model).stride == (32, 32)
    assert model.get_parameter("encoder.pos_embedding").shape[1] == 2 * 2 + 1


def test_a_replaced_stem_keeps_the_scale_of_its_outputs() -> None:
    torch.manual_seed(0)
    theirs, ours = first_conv(get_model("resnet18", weights=None)), first_conv(build("resnet18", (32, 32), channels=1))
    assert ours.in_channels == 1
    wide, narrow = torch.randn(8, 3, 32, 32), torch.randn(8, 1, 32, 32)
    assert ours(narrow).std().item() == pytest.approx(theirs(wide).std().item(), rel=0.15)


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(ModelError, match=r"no classifier named 'resnet81' -> did you mean .*resnet18"):
        build("resnet81", (32, 32))
    with pytest.raises(ModelError, match="list_models"):
        build("zzzz", (32, 32))


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize(
    ("name", "size", "small"),
    [
        ("inception_v3", (8, 8), None),
        ("maxvit_t", (32, 32), None),
        ("vit_b_32", (32, 48), None),
        ("vit_b_32", (40, 40), False),
    ],
)
def test_an_image_size_that_cannot_run_is_named_with_a_remedy(
    name: str, size: tuple[int, int], small: bool | None
) -> None:
    with pytest.raises(ModelError, match=rf"name: {name} cannot run on images of {size[0]}x{size[1]} .* -> resize"):
        build(name, size, small=small)
