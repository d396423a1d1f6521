"""How a bundle is used, in the words and code of its model card."""

from __future__ import annotations

IMAGES_IN_AUTOCKD = """## Use with autockd (PyTorch)

```python
from pathlib import Path

import torch
from autockd.export import load_bundle

bundle = load_bundle(Path("."))  # this folder; every file is checked against manifest.json first
images = torch.zeros(1, {shape}, dtype=torch.uint8)  # your images
logits = bundle.predict(images)  # float32 [N, K]
```"""

IMAGES_IN_ONNX = """## Use with onnxruntime alone

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
images = np.zeros((1, {shape}), dtype=np.uint8)  # your images
pixels = images.astype(np.float32) / 255  # the graph normalises them itself
logits = session.run(["logits"], {{"pixels": pixels}})[0]
```"""

TEXTS_IN_TRANSFORMERS = """## Use with transformers alone

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")  # this folder
model = AutoModelForSequenceClassification.from_pretrained(".")
tokens = tokenizer({lists}, truncation=True, max_length={max_length}, padding=True, return_tensors="pt")
logits = model(**tokens).logits
```"""

TEXTS_IN_ONNX = """## Use with onnxruntime

```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
tokens = tokenizer({lists}, truncation=True, max_length={max_length}, padding=True, return_tensors="np")
logits = session.run(["logits"], dict(tokens))[0]
```"""

TEXTS_IN_AUTOCKD = """## Use with autockd (PyTorch)

```python
from pathlib import Path

from autockd.data import Texts
from autockd.export import load_bundle

bundle = load_bundle(Path("."))  # this folder; every file is checked against manifest.json first
logits = bundle.predict(Texts({tuples}))  # float32 [N, outputs]
```"""

FROM_THE_HUB = """autockd takes a folder of real files, and the cache of the Hugging Face hub has links: fetch the files
by `huggingface_hub.snapshot_download("OWNER/NAME", local_dir="FOLDER")`."""

FILES = """## Files

`autockd.json` says where the model comes from and how it was judged, `parity.json` how closely the files reproduce it
on validation samples,{figures} and `manifest.json` the SHA-256 and size of every other file. No file holds code.
"""
FIGURES = " `figures.json` what the ONNX models cost and give,"
