"""What a bundle says about its model: config.json for programs, README.md for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from autockd.config.models import CifarResNet, ModelConfig, TorchvisionModel
from autockd.config.tasks import TaskConfig
from autockd.records import Provenance, Record

Side = Annotated[int, Field(ge=1, le=4096)]
Deviation = Annotated[FiniteFloat, Field(gt=0)]


class BundleConfig(Record):
    """Everything that is needed to rebuild and judge an exported model, but its weights."""

    format_version: Literal[1] = 1
    architecture: ModelConfig
    """Without a `weights` path: a bundle's weights are its own."""
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    """Name of each class, by index."""
    channels: Annotated[int, Field(ge=1, le=64)]
    image_size: tuple[Side, Side]
    """Height and width in pixels."""
    mean: tuple[FiniteFloat, ...]
    """Per channel, of pixels scaled to 0..1; subtracted."""
    std: tuple[Deviation, ...]
    """Per channel, of pixels scaled to 0..1; divided by."""
    metric: str = "accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"
    validation: float | None = None
    """The metric on the validation split, as recorded."""
    test: float | None = None
    """The metric on the test split, as recorded."""
    study: str
    trial: int | None = None
    method: str
    """Name of the distillation method."""
    conventions: str = ""
    """How the method's losses are scaled and reduced."""
    task: TaskConfig | None = None
    """The data set that its metrics are of, to evaluate it on again; its paths are those of the machine it ran on."""
    provenance: Provenance

    @field_validator("architecture", mode="before")
    @classmethod
    def _without_weights(cls, architecture: Any) -> Any:
        if isinstance(architecture, CifarResNet | TorchvisionModel):
            return architecture.model_copy(update={"weights": None})
        if isinstance(architecture, Mapping) and architecture.get("weights") is not None:
            raise ValueError("a bundle's architecture names no weights file")
        return architecture

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values for {self.channels} channels")
        return self

    def to_json(self) -> str:
        """The text of config.json."""
        return self.model_dump_json(indent=2, exclude={"architecture": {"weights"}}) + "\n"


def model_card(config: BundleConfig, *, parameters: int, onnx: bool) -> str:
    """The text of README.md, in Markdown.

    Args:
        config: what is said of the model.
        parameters: number of its trainable values.
        onnx: whether the bundle has a model.onnx.
    """
    parts = [_summary(config, parameters), _USE_TORCH]
    if onnx:
        height, width = config.image_size
        parts.append(_USE_ONNX.format(channels=config.channels, height=height, width=width))
    return "\n".join([*parts, _FILES])


def _summary(config: BundleConfig, parameters: int) -> str:
    height, width = config.image_size
    trial = "" if config.trial is None else f", trial {config.trial}"
    return f"""# {config.study}{trial}

An image classifier trained by knowledge distillation (method: {config.method}).

- Architecture: {_architecture(config.architecture)}, {parameters:,} parameters
- Input: {config.channels} x {height} x {width} (channels, height, width), pixels 0..255
- Output: one logit for each of {len(config.classes)} classes, named in config.json
- {config.metric.capitalize()}, validation split: {_number(config.validation)}
- {config.metric.capitalize()}, test split: {_number(config.test)}
- Written by autockd {config.provenance.autockd}
"""


def _architecture(model: ModelConfig) -> str:
    if isinstance(model, TorchvisionModel):
        return f"torchvision's {model.name}"
    widths = "-".join(map(str, model.stage_widths))
    return f"CIFAR ResNet-{model.depth} with {widths} channels, shortcut {model.shortcut}"


def _number(metric: float | None) -> str:
    return "not recorded" if metric is None else f"{metric:.4f}"


_USE_TORCH = """## Use with autockd (PyTorch)

```python
from pathlib import Path
from autockd.export import load_bundle

bundle = load_bundle(Path("."))  # this folder; every file is checked against manifest.json first
logits = bundle.predict(images)  # uint8 [N, C, H, W] -> float32 [N, K]
```
"""

_USE_ONNX = """## Use with onnxruntime alone

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
images = np.zeros((1, {channels}, {height}, {width}), dtype=np.uint8)  # your images
pixels = images.astype(np.float32) / 255  # the graph normalises them itself
logits = session.run(["logits"], {{"pixels": pixels}})[0]
```
"""

_FILES = """## Files

`config.json` says what the model is and where it comes from, `parity.json` how closely the files reproduce it on
validation images, and `manifest.json` the SHA-256 and size of every other file. No file holds code.
"""
