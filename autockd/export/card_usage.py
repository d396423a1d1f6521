"""How a bundle is used, in the words and code of its model card."""

from __future__ import annotations

from autockd.config.tasks import Digits, Npz, TaskConfig, Torchvision
from autockd.export.description import BundleConfig, ImageBundleConfig, Preprocessing, TextBundleConfig

_READ = '''

def read(file):
    """The pixels of an image file, made as those of the training data: uint8 [{channels}, {height}, {width}]."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("{mode}")
    image = image.resize(({width}, {height}), Image.Resampling.BILINEAR)  # the aspect is not kept, nothing is cut off
    return np.array(image).reshape({height}, {width}, {channels}).transpose(2, 0, 1)

'''
_FILES_READ = """files = ["../photo.png"]  # yours; not in this folder, which holds the bundle's files alone
images = np.stack([read(file) for file in files])"""
_ZEROS = "images = np.zeros((1, {channels}, {height}, {width}), dtype=np.uint8)  # your images"

_IMAGES_IN_AUTOCKD = """## Use with autockd (PyTorch)

```python
from pathlib import Path

import numpy as np
import torch
{pillow}from autockd.export import load_bundle
{read}
bundle = load_bundle(Path("."))  # this folder; every file is checked against manifest.json first
{images}
logits = bundle.predict(torch.from_numpy(images))  # float32 [N, K]
names = [bundle.config.classes[index] for index in logits.argmax(1).tolist()]
```"""

_IMAGES_IN_ONNX = """## Use with onnxruntime alone

```python
import json
from pathlib import Path

import numpy as np
import onnxruntime
{pillow}{read}
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
{images}
pixels = images.astype(np.float32) / 255  # the graph normalises them itself
logits = session.run(["logits"], {{"pixels": pixels}})[0]
classes = json.loads(Path("autockd.json").read_text(encoding="utf-8"))["classes"]
names = [classes[index] for index in logits.argmax(1)]
```"""

_TEXTS_IN_TRANSFORMERS = """## Use with transformers alone

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")  # this folder
model = AutoModelForSequenceClassification.from_pretrained(".")
tokens = tokenizer({lists}, truncation=True, max_length={max_length}, padding=True, return_tensors="pt")
logits = model(**tokens).logits
{in_transformers}
```"""

_TEXTS_IN_ONNX = """## Use with onnxruntime

```python
import onnxruntime
from transformers import AutoConfig, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
tokens = tokenizer({lists}, truncation=True, max_length={max_length}, padding=True, return_tensors="np")
logits = session.run(["logits"], dict(tokens))[0]
{in_onnx}
```"""

_TEXTS_IN_AUTOCKD = """## Use with autockd (PyTorch)

```python
from pathlib import Path

from autockd.data import Texts
from autockd.export import load_bundle

bundle = load_bundle(Path("."))  # this folder; every file is checked against manifest.json first
logits = bundle.predict(Texts({tuples}))  # float32 [N, outputs]
{in_autockd}
```"""

_NAME = "name = {names}[int(logits[0].argmax())]"
_SCORE = "score = logits[0, 0].item()"

_FROM_THE_HUB = """autockd takes a folder of real files, and the cache of the Hugging Face hub has links: fetch the
files by `huggingface_hub.snapshot_download("OWNER/NAME", local_dir="FOLDER")`."""

FILES = """## Files

`autockd.json` says where the model comes from and how it was judged, `parity.json` how closely the files reproduce it
on validation samples,{figures} and `manifest.json` the SHA-256 and size of every other file. No file holds code.
"""
FIGURES = " `figures.json` what the ONNX models cost and give,"


def usage(config: BundleConfig, *, onnx: bool) -> list[str]:
    """Sections that say how to run it, with code that does as it stands; `onnx` is whether there is such a model."""
    return _of_images(config, onnx=onnx) if isinstance(config, ImageBundleConfig) else _of_texts(config, onnx=onnx)


def preprocessing_text(made: Preprocessing, task: TaskConfig | None) -> str:
    """How images are made ready, and how the data that it was trained on differ in that."""
    mode = "grey" if made.mode == "L" else "RGB (grey ones too)"
    text = (
        f"Preprocessing: files are turned as EXIF says, converted to {mode} and resized to {made.height} x "
        f"{made.width} (height, width), whatever the aspect, by Pillow's bilinear filter, as `read` below does"
    )
    return text + _of_its_data(task)


def _of_its_data(task: TaskConfig | None) -> str:
    if task is None or task.kind == "text":
        return ""
    text = "; values of 0..16 in its own data were scaled to 0..255" if isinstance(task, Digits) else ""
    if task.image_size is None:
        return f"{text}; its own data had this size, and none were resized"
    if isinstance(task, Digits | Npz | Torchvision):
        text += "; arrays in its own data were resized by torch's bilinear filter, antialiased, and differ by 1 at most"
    return text


def _of_images(config: ImageBundleConfig, *, onnx: bool) -> list[str]:
    height, width = config.image_size
    made = config.preprocessing
    form = {"channels": config.channels, "height": height, "width": width, "mode": made and made.mode}
    parts = {
        "pillow": "" if made is None else "from PIL import Image, ImageOps\n",
        "read": "" if made is None else _READ.format(**form),
        "images": _ZEROS.format(**form) if made is None else _FILES_READ,
    }
    sections = [_IMAGES_IN_AUTOCKD, _FROM_THE_HUB, *([_IMAGES_IN_ONNX] if onnx else [])]
    return [section.format(**parts) for section in sections]


def _of_texts(config: TextBundleConfig, *, onnx: bool) -> list[str]:
    texts = ("The first text of a pair.", "The second.") if config.pairs else ("A text.",)
    names = {
        "in_transformers": "model.config.id2label",
        "in_onnx": 'AutoConfig.from_pretrained(".").id2label',
        "in_autockd": "bundle.config.classes",
    }
    parts = {
        "lists": ", ".join(f'["{text}"]' for text in texts),
        "tuples": ", ".join(f'("{text}",)' for text in texts),
        "max_length": config.max_length,
        **{place: _NAME.format(names=where) if config.classes else _SCORE for place, where in names.items()},
    }
    sections = [_TEXTS_IN_TRANSFORMERS, *([_TEXTS_IN_ONNX] if onnx else []), _TEXTS_IN_AUTOCKD, _FROM_THE_HUB]
    return [section.format(**parts) for section in sections]
