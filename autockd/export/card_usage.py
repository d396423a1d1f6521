"""How a bundle is used, in the words and code of its model card."""

from __future__ import annotations

IMAGES_IN_TORCH = """## Use with autockd (PyTorch)

```python
from pathlib import Path
from autockd.export import load_bundle

bundle = load_bundle(Path("."))  # this folder; every file is checked against manifest.json first
logits = bundle.predict(images)  # uint8 [N, C, H, W] -> float32 [N, K]
```"""

IMAGES_IN_ONNX = """## Use with onnxruntime alone

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
images = np.zeros((1, {channels}, {height}, {width}), dtype=np.uint8)  # your images
pixels = images.astype(np.float32) / 255  # the graph normalises them itself
logits = session.run(["logits"], {{"pixels": pixels}})[0]
```"""

TEXTS_IN_TRANSFORMERS = """## Use with transformers alone

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")  # this folder
model = AutoModelForSequenceClassification.from_pretrained(".")
tokens = tokenizer({texts}, truncation=True, max_length={max_length}, padding=True, return_tensors="pt")
logits = model(**tokens).logits
```"""

TEXTS_IN_ONNX = """## Use with onnxruntime

```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
tokens = tokenizer({texts}, truncation=True, max_length={max_length}, padding=True, return_tensors="np")
logits = session.run(["logits"], dict(tokens))[0]
```"""

FILES = """## Files

`autockd.json` says where the model comes from and how it was judged, `parity.json` how closely the files reproduce it
on validation samples,{figures} and `manifest.json` the SHA-256 and size of every other file. No file holds code.
"""
FIGURES = " `figures.json` what the ONNX models cost and give,"
