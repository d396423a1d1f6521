"""Any torchvision classifier by name, made to fit a task: its classes, its channels, and its image size.

torchvision's architectures are drawn for 224 pixels: their first layers divide each side by 2, 4 or 16. On small
images the stem is adapted instead, as He et al. (2016, section 4.2) do for CIFAR:

    strided convolution     becomes 3x3 with stride 1, and the pooling of the stem is left out
    patches (vit)           shrink until there are at least 7 on each side
    patches (swin, convnext)    shrink until there are at least 14 on each side, for three halvings follow
    already stride 1 (vgg)  stays as it is, with its pooling
"""

from __future__ import annotations

import difflib
import math
from typing import Any

import torch
from torch import nn

from autockd.config.models import TorchvisionModel
from autockd.errors import ModelError, reason_of

SMALL_IMAGE = 64
"""Pixels of the shorter side up to which the stem is adapted, unless the configuration says otherwise."""


def build_torchvision(
    config: TorchvisionModel, *, classes: int, channels: int, image_size: tuple[int, int]
) -> nn.Module:
    """A torchvision classifier with fresh weights, drawn from the global CPU generator.

    Args:
        config: its name, and whether its stem is adapted to small images; `weights` is not looked at.
        classes: number of logits.
        channels: channels of an image.
        image_size: height and width in pixels.

    Returns:
        A module from float [B, channels, H, W] to logits [B, classes]; auxiliary classifiers are left out.

    Raises:
        ModelError: no such model, or it cannot run at this image size.
    """
    from torchvision.models import get_model

    _require_known(config.name)
    small = _adapts_stem(config, image_size)
    try:
        options = _builder_options(config.name, image_size, small)
        model: nn.Module = get_model(config.name, weights=None, num_classes=classes, **options)
        _fit_stem(model, config.name, channels, image_size, small)
        _probe(model, classes, channels, image_size)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise _cannot_run(config.name, image_size, error) from error
    return model


def _require_known(name: str) -> None:
    import torchvision.models

    known = torchvision.models.list_models(module=torchvision.models)
    if name in known:
        return
    nearest = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(nearest)}?" if nearest else "give one of torchvision.models.list_models()"
    raise ModelError(f"name: torchvision has no classifier named {name!r} -> {remedy}")


def _adapts_stem(config: TorchvisionModel, image_size: tuple[int, int]) -> bool:
    if config.small_image_stem is None:
        return min(image_size) <= SMALL_IMAGE
    return config.small_image_stem


def _builder_options(name: str, image_size: tuple[int, int], small: bool) -> dict[str, Any]:
    """What some builders must be told beyond the number of classes."""
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    if name.startswith("maxvit"):
        # Its attention grid is laid out for a stem of stride 2, which the adapted stem has not.
        return {"input_size": tuple(side * 2 if small else side for side in image_size)}
    if name.startswith("vit_"):
        if image_size[0] != image_size[1]:
            raise ValueError("a vision transformer takes square images only")
        drawn = int(name.rsplit("_", 1)[1])
        patch = _patch(drawn, image_size, least=7) if small else drawn
        # As many positions as the image will have patches; `_fit_stem` then puts in the patch size itself.
        return {"image_size": image_size[0] // patch * drawn if small else image_size[0]}
    return {}


def _fit_stem(model: nn.Module, name: str, channels: int, image_size: tuple[int, int], small: bool) -> None:
    """Replace the first convolution where its channels or its stride do not suit the images."""
    place, old = next((place, part) for place, part in model.named_modules() if isinstance(part, nn.Conv2d))
    kernel, stride, padding = old.kernel_size[0], old.stride[0], int(old.padding[0])
    if small and kernel == stride > 1:
        kernel = stride = _patch(kernel, image_size, least=7 if name.startswith("vit_") else 14)
    elif small and stride > 1:
        kernel, stride, padding = 3, 1, 1
        _drop_stem_pool(model)
    if (channels, kernel, stride) != (old.in_channels, old.kernel_size[0], old.stride[0]):
        model.set_submodule(place, _conv_like(old, channels, kernel, stride, padding))
    if name.startswith("vit_"):
        model.image_size, model.patch_size = image_size[0], stride  # type: ignore[assignment]


def _conv_like(old: nn.Conv2d, channels: int, kernel: int, stride: int, padding: int) -> nn.Conv2d:
    """A convolution of another shape; its outputs keep the variance that the architecture's initialisation gives."""
    conv = nn.Conv2d(channels, old.out_channels, kernel, stride, padding, bias=old.bias is not None)
    scale = math.sqrt(old.weight[0].numel() / conv.weight[0].numel())
    nn.init.normal_(conv.weight, std=old.weight.std().item() * scale)
    conv.bias = old.bias
    return conv


def _drop_stem_pool(model: nn.Module) -> None:
    """Turn the first max-pooling of the trunk into the identity; those inside blocks are left alone."""
    features = getattr(model, "features", None)
    trunk = features if isinstance(features, nn.Module) else model
    for name, part in trunk.named_children():
        if isinstance(part, nn.MaxPool2d):
            trunk.set_submodule(name, nn.Identity())
            return


def _patch(drawn: int, image_size: tuple[int, int], least: int) -> int:
    """The largest patch, at most as drawn, that divides both sides and leaves `least` patches on the shorter one."""
    limit = max(1, min(drawn, min(image_size) // least))
    common = math.gcd(*image_size)
    return max(patch for patch in range(1, limit + 1) if common % patch == 0)


def _probe(model: nn.Module, classes: int, channels: int, image_size: tuple[int, int]) -> None:
    """One forward of shapes alone (meta device): nothing is computed and the model keeps its weights."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    images = torch.empty(2, channels, *image_size, device="meta")
    model.eval()
    with torch.no_grad():
        logits = torch.func.functional_call(model, shapes, (images,))
    model.train()
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, classes):
        raise ValueError(f"it does not return logits of shape [2, {classes}]")


def _cannot_run(name: str, image_size: tuple[int, int], error: Exception) -> ModelError:
    return ModelError(
        f"name: {name} cannot run on images of {image_size[0]}x{image_size[1]} pixels ({reason_of(error)}) "
        "-> resize the images, or name a model that suits their size, such as resnet18 or mobilenet_v3_small"
    )
