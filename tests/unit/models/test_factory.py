from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from autockd.config.models import CifarResNet, ModelConfig, TorchvisionModel
from autockd.errors import ModelError
from autockd.models import ResNet6n2, build_model, count_parameters, save_weights, weights_hash

DIGITS = CifarResNet(depth=8, width=4)
CONFIGS = [DIGITS, TorchvisionModel(name="shufflenet_v2_x0_5")]


def build(config: ModelConfig, seed: int = 0, classes: int = 10) -> nn.Module:
    return build_model(config, classes=classes, channels=1, image_size=(8, 8), seed=seed)


def digest(model: nn.Module) -> str:
    return weights_hash(model.state_dict())


@pytest.mark.parametrize("config", CONFIGS)
def test_the_seed_alone_decides_the_weights(config: ModelConfig) -> None:
    torch.manual_seed(1)
    first = digest(build(config, seed=5))
    torch.manual_seed(2)
    assert digest(build(config, seed=5)) == first
    assert digest(build(config, seed=6)) != first


@pytest.mark.parametrize("config", CONFIGS)
def test_the_global_generator_is_untouched(config: ModelConfig) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build(config, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.initial_seed() == 3


@pytest.mark.parametrize("config", CONFIGS)
def test_a_model_is_float32_on_the_cpu_and_ready_to_train(config: ModelConfig) -> None:
    model = build(config, classes=6)
    assert model.training
    assert {(parameter.dtype, parameter.device.type) for parameter in model.parameters()} == {(torch.float32, "cpu")}
    assert model(torch.randn(4, 1, 8, 8)).shape == (4, 6)


def test_the_configuration_reaches_the_resnet() -> None:
    config = CifarResNet(depth=20, widths=(6, 6, 9), shortcut="B")
    model = build(config)
    assert isinstance(model, ResNet6n2)
    assert [len(stage) for stage in (model.layer1, model.layer2, model.layer3)] == [3, 3, 3]
    assert [stage[0].conv1.out_channels for stage in (model.layer1, model.layer2, model.layer3)] == [6, 6, 9]
    assert count_parameters(model) == count_parameters(ResNet6n2(20, (6, 6, 9), "B", classes=10, channels=1))


@pytest.mark.parametrize("config", CONFIGS)
def test_given_weights_are_loaded(config: ModelConfig, tmp_path: Path) -> None:
    trained = build(config, seed=1)
    save_weights(trained, tmp_path / "teacher.safetensors")
    given = {"weights": tmp_path / "teacher.safetensors"} | ({"small_image_stem": True} if config != DIGITS else {})
    loaded = build(config.model_copy(update=given), seed=2)
    assert digest(loaded) == digest(trained)


@pytest.mark.parametrize("stem", [None, False, True])
def test_given_weights_for_small_images_need_their_stem_named(stem: bool | None, tmp_path: Path) -> None:
    """Those of mobilenets have the same shapes with either."""
    trained = build(TorchvisionModel(name="mobilenet_v2", small_image_stem=bool(stem)), seed=1)
    save_weights(trained, tmp_path / "teacher.safetensors")
    given = TorchvisionModel(name="mobilenet_v2", small_image_stem=stem, weights=tmp_path / "teacher.safetensors")
    if stem is None:
        with pytest.raises(ModelError, match=r"small_image_stem: weights are given, .*false for torchvision's own"):
            build(given)
        return
    loaded = build(given, seed=2)
    assert digest(loaded) == digest(trained)
    first = next(part for part in loaded.modules() if isinstance(part, nn.Conv2d))
    assert first.stride == ((1, 1) if stem else (2, 2))


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save_weights(build(DIGITS, classes=10), tmp_path / "ten.safetensors")
    with pytest.raises(
        ModelError, match=r"ten\.safetensors does not fit ResNet6n2: 2 of another shape: linear\.weight"
    ):
        build(CifarResNet(depth=8, width=4, weights=tmp_path / "ten.safetensors"), classes=11)
