"""What a bundle says about its model, for people: README.md, the model card."""

from __future__ import annotations

from autockd.config.models import CifarResNet, Encoder, TorchvisionModel
from autockd.export.description import BundleConfig, ImageBundleConfig, TextBundleConfig


def model_card(config: BundleConfig, *, parameters: int, onnx: bool) -> str:
    """The text of README.md, in Markdown.

    Args:
        config: what is said of the model.
        parameters: number of its trainable values.
        onnx: whether the bundle has a model.onnx.
    """
    kind = _image_parts(config, onnx=onnx) if isinstance(config, ImageBundleConfig) else _text_parts(config, onnx=onnx)
    head, inputs, outputs, *usage = kind
    trial = "" if config.trial is None else f", trial {config.trial}"
    metric = config.metric.replace("_", " and ").capitalize()
    scores = {"validation": config.validation, "test": config.test, **config.others}
    facts = [
        f"Architecture: {_architecture(config.architecture)}, {parameters:,} parameters",
        inputs,
        outputs,
        *(f"{metric}, {split} split: {_number(value)}" for split, value in scores.items()),
        f"Written by autockd {config.provenance.autockd}",
    ]
    listing = "\n".join(f"- {fact}" for fact in facts)
    title = f"# {config.study}{trial}\n\n{head} trained by knowledge distillation (method: {config.method}).\n\n"
    front = "" if isinstance(config, ImageBundleConfig) else _FRONT
    return front + "\n".join([f"{title}{listing}\n", *usage, _FILES])


def _image_parts(config: ImageBundleConfig, *, onnx: bool) -> list[str]:
    height, width = config.image_size
    parts = [
        "An image classifier",
        f"Input: {config.channels} x {height} x {width} (channels, height, width), pixels 0..255",
        f"Output: one logit for each of {len(config.classes)} classes, named in autockd.json",
        _IMAGES_IN_TORCH,
    ]
    return [*parts, _IMAGES_IN_ONNX.format(channels=config.channels, height=height, width=width)] if onnx else parts


def _text_parts(config: TextBundleConfig, *, onnx: bool) -> list[str]:
    what = "pairs of texts" if config.pairs else "texts"
    texts = '["The first text of a pair."], ["The second."]' if config.pairs else '["A text."]'
    form = {"texts": texts, "max_length": config.max_length}
    output = f"one logit for each of {len(config.classes)} classes, named in config.json"
    if not config.classes:
        known = "" if config.score_range is None else " for scores of {:g} to {:g}".format(*config.score_range)
        output = f"one number, the score{known}; it may run past either end"
    parts = [
        "A text classifier" if config.classes else "A text encoder with one output, a score,",
        f"Input: {what} of up to {config.max_length} tokens; longer ones are cut",
        f"Output: {output}",
        _TEXTS_IN_TRANSFORMERS.format(**form),
    ]
    return [*parts, _TEXTS_IN_ONNX.format(**form)] if onnx else parts


def _architecture(model: CifarResNet | TorchvisionModel | Encoder) -> str:
    if isinstance(model, TorchvisionModel):
        return f"torchvision's {model.name}"
    if isinstance(model, CifarResNet):
        widths = "-".join(map(str, model.stage_widths))
        return f"CIFAR ResNet-{model.depth} with {widths} channels, shortcut {model.shortcut}"
    if model.initial == "random":
        return "a transformers encoder, trained from fresh weights"
    return f"a transformers encoder, {_layers(model.layers)} of the pretrained one it started from"


def _layers(layers: int | tuple[int, ...] | None) -> str:
    if layers is None:
        return "all layers"
    if isinstance(layers, tuple):
        return f"layers {', '.join(map(str, layers))}"
    return "1 layer" if layers == 1 else f"{layers} layers"


def _number(metric: float | None) -> str:
    return "not recorded" if metric is None else f"{metric:.4f}"


_FRONT = """---
library_name: transformers
pipeline_tag: text-classification
tags: [knowledge-distillation]
---

"""

_IMAGES_IN_TORCH = """## Use with autockd (PyTorch)

```python
from pathlib import Path
from autockd.export import load_bundle

bundle = load_bundle(Path("."))  # this folder; every file is checked against manifest.json first
logits = bundle.predict(images)  # uint8 [N, C, H, W] -> float32 [N, K]
```
"""

_IMAGES_IN_ONNX = """## Use with onnxruntime alone

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
images = np.zeros((1, {channels}, {height}, {width}), dtype=np.uint8)  # your images
pixels = images.astype(np.float32) / 255  # the graph normalises them itself
logits = session.run(["logits"], {{"pixels": pixels}})[0]
```
"""

_TEXTS_IN_TRANSFORMERS = """## Use with transformers alone

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")  # this folder
model = AutoModelForSequenceClassification.from_pretrained(".")
tokens = tokenizer({texts}, truncation=True, max_length={max_length}, padding=True, return_tensors="pt")
logits = model(**tokens).logits
```
"""

_TEXTS_IN_ONNX = """## Use with onnxruntime

```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
tokens = tokenizer({texts}, truncation=True, max_length={max_length}, padding=True, return_tensors="np")
logits = session.run(["logits"], dict(tokens))[0]
```
"""

_FILES = """## Files

`autockd.json` says where the model comes from and how it was judged, `parity.json` how closely the files reproduce it
on validation samples, and `manifest.json` the SHA-256 and size of every other file. No file holds code.
"""
