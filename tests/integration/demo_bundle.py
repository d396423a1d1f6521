"""A bundle of an untrained student, whose ONNX model is none of torch's, which takes long to write."""

from __future__ import annotations

from pathlib import Path

import torch
from sample_records import PROVENANCE
from small_graph import save_small_graph

from autockd.config.models import CifarResNet
from autockd.data.task import Split
from autockd.export import ImageBundleConfig, ImageStudent, write_bundle
from autockd.export.manifest import write_manifest
from autockd.models import build_model
from autockd.records import Event, Exported


def write_demo_bundle(folder: Path) -> str:
    """Write it where nothing is; gives the hash of its manifest."""
    architecture = CifarResNet(depth=8, width=2)
    config = ImageBundleConfig(
        architecture=architecture,
        classes=("a", "b"),
        channels=1,
        image_size=(8, 8),
        mean=(0.5,),
        std=(0.5,),
        test=0.89,
        study="digits-demo",
        trial=1,
        method="none",
        provenance=PROVENANCE,
    )
    model = build_model(architecture, classes=2, channels=1, image_size=(8, 8), seed=0)
    images = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_bundle(folder, ImageStudent(config, model), examples=Split(images, torch.zeros(4).long()), onnx=False)
    save_small_graph(folder / "model.onnx", 1, 8, 8)
    return write_manifest(folder)


def with_hash(event: Event, manifest_hash: str) -> Event:
    """The event, or that of a bundle's export with this hash."""
    return event.model_copy(update={"manifest_hash": manifest_hash}) if isinstance(event, Exported) else event
