"""Bundles: a student as a folder of plain data that is written whole, proves itself, and loads without training code.

- model.safetensors: weights
- config.json: architecture, input, metrics, provenance (BundleConfig)
- model.onnx: pixels to logits, optional
- parity.json: how closely the files reproduce the student (Parity)
- README.md: model card
- manifest.json: SHA-256 and size of every other file
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from autockd.data.metrics import accuracy
from autockd.errors import ExportError
from autockd.export.card import BundleConfig, model_card
from autockd.export.folders import staged
from autockd.export.inference import PixelModel, Runtime, in_batches, torch_runtime
from autockd.export.manifest import MANIFEST, read_json, verify_manifest, write_manifest
from autockd.export.onnx import export_onnx, onnx_runtime
from autockd.export.parity import Parity, compare
from autockd.export.weights import build_with_weights
from autockd.hashing import file_hash
from autockd.models import count_parameters, save_weights

CONFIG, WEIGHTS, ONNX, PARITY, CARD = "config.json", "model.safetensors", "model.onnx", "parity.json", "README.md"
MAX_EXAMPLES = 512


@dataclass(frozen=True)
class BundleInfo:
    """A bundle that was written.

    Attributes:
        folder: where it lies, an absolute path.
        manifest_hash: SHA-256 (hex) of manifest.json, which names every other file's.
        bytes: size of all its files.
        parity: what parity.json holds.
    """

    folder: Path
    manifest_hash: str
    bytes: int
    parity: Parity


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle that was verified and loaded.

    Attributes:
        folder: where it lies.
        config: what it says about its model.
        model: the student in eval mode; takes normalised images, float32 [B, C, H, W]. On the CPU, and may be moved.
        manifest_hash: SHA-256 (hex) of manifest.json.
    """

    folder: Path
    config: BundleConfig
    model: nn.Module
    manifest_hash: str

    @property
    def onnx_path(self) -> Path | None:
        """The ONNX model, where the bundle has one."""
        path = self.folder / ONNX
        return path if path.exists() else None

    def predict(self, images: torch.Tensor, batch_size: int = MAX_EXAMPLES) -> torch.Tensor:
        """Logits, float32 [N, K] on the CPU, of images, uint8 [N, C, H, W].

        Raises:
            ExportError: the images are not of the dtype or shape that the bundle takes.
        """
        check_images(images, self.config)
        return in_batches(_runtime(self.model, self.config), images, batch_size)


def write_bundle(
    folder: Path,
    *,
    model: nn.Module,
    card: BundleConfig,
    examples: torch.Tensor,
    labels: torch.Tensor,
    onnx: bool,
    force: bool = False,
) -> BundleInfo:
    """Write a student as a bundle: proven on real images first, then put in place in one step.

    Args:
        folder: the bundle's folder; it must not exist.
        model: the student; it is copied, not changed.
        card: what config.json will say.
        examples: uint8 [N, C, H, W], N >= 2 validation images to prove parity on; the first 512 are used.
        labels: int64 [N], their classes.
        onnx: whether to write and check model.onnx too.
        force: whether a bundle that lies at `folder` is replaced.

    Raises:
        ExportError: `folder` is taken, the model is not what `card` says, or a file does not reproduce it.
        EnvironmentProblem: the folder cannot be written.
    """
    examples, labels = examples[:MAX_EXAMPLES].cpu(), labels[:MAX_EXAMPLES].cpu()
    _check_examples(examples, labels, card)
    student = copy.deepcopy(model).cpu().float().eval()
    with staged(folder, force=force) as stage:
        save_weights(student, stage / WEIGHTS)
        (stage / CONFIG).write_text(card.to_json(), encoding="utf-8")
        parity = _prove(stage, student, examples, labels, onnx=onnx)
        (stage / PARITY).write_text(parity.model_dump_json(indent=2) + "\n", encoding="utf-8")
        text = model_card(card, parameters=count_parameters(student), onnx=onnx)
        (stage / CARD).write_text(text, encoding="utf-8")
        manifest_hash = write_manifest(stage)
        size = sum(path.stat().st_size for path in stage.iterdir())
    return BundleInfo(folder.absolute(), manifest_hash, size, parity)


def load_bundle(folder: Path) -> Bundle:
    """Verify a bundle against its manifest and load it; runs no code from the folder.

    Raises:
        ExportError: a file is missing, added, changed or not what it must be; the message names it.
    """
    manifest = verify_manifest(folder)
    for name in (CONFIG, WEIGHTS):
        if name not in manifest.files:
            raise ExportError(f"{folder}: {name} is missing, a bundle must have it -> export the study again")
    config = read_json(BundleConfig, folder / CONFIG)
    return Bundle(folder, config, build_with_weights(config, folder / WEIGHTS), file_hash(folder / MANIFEST))


def check_images(images: torch.Tensor, config: BundleConfig) -> None:
    """Refuse images that are not uint8 [N, C, H, W] of the bundle's channels and size.

    Raises:
        ExportError: they are not.
    """
    wanted = (config.channels, *config.image_size)
    if images.dtype != torch.uint8 or images.dim() != 4 or tuple(images.shape[1:]) != wanted or not len(images):
        raise ExportError(
            f"images: this bundle takes uint8 [N, {', '.join(map(str, wanted))}] with N >= 1, "
            f"not {str(images.dtype).removeprefix('torch.')} {list(images.shape)} -> convert or resize them"
        )


def _prove(stage: Path, student: nn.Module, examples: torch.Tensor, labels: torch.Tensor, *, onnx: bool) -> Parity:
    """Compare what the files in `stage` compute with the student in memory."""
    config = read_json(BundleConfig, stage / CONFIG)
    rebuilt = build_with_weights(config, stage / WEIGHTS)
    reference = _runtime(student, config)(examples)
    runtimes = {f"torch {torch.__version__}": _runtime(rebuilt, config)}
    if onnx:
        import onnxruntime

        export_onnx(PixelModel(rebuilt, config.mean, config.std).eval(), stage / ONNX, examples)
        runtimes[f"onnxruntime {onnxruntime.__version__}"] = onnx_runtime(stage / ONNX)
    comparisons = tuple(compare(name, run, reference, examples, labels) for name, run in runtimes.items())
    return Parity(examples=len(examples), accuracy=accuracy(reference, labels), comparisons=comparisons)


def _runtime(model: nn.Module, config: BundleConfig) -> Runtime:
    return torch_runtime(model, config.mean, config.std)


def _check_examples(examples: torch.Tensor, labels: torch.Tensor, card: BundleConfig) -> None:
    check_images(examples, card)
    if len(examples) < 2 or labels.shape != examples.shape[:1]:
        raise ExportError(
            f"examples: parity needs at least 2 images with a label each, not {len(examples)} images "
            f"and labels {list(labels.shape)} -> give it images of the validation split"
        )
