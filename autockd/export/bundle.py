"""Bundles: a student as a folder of plain data that is written whole, proves itself, and loads without training code.

- model.safetensors: weights
- autockd.json: input, classes, metrics, provenance (BundleConfig)
- config.json, tokenizer.json, ...: of a text encoder, as transformers saves it
- model.onnx: pixels or tokens to logits, optional
- model.int8.onnx: the same with int8 weights, optional
- parity.json: how closely the files reproduce the student (Parity)
- figures.json: size, latency and, with int8, metrics of the ONNX models (Figures)
- README.md: model card
- manifest.json: SHA-256 and size of every other file
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from autockd.data.metrics import METRICS
from autockd.data.task import Split
from autockd.errors import ExportError
from autockd.export.card import model_card
from autockd.export.description import BUNDLE_CONFIG, BundleConfig, ImageBundleConfig
from autockd.export.figures import Figures, OnnxPrecision, measure
from autockd.export.folders import staged
from autockd.export.graph import check_graph
from autockd.export.images import ImageStudent
from autockd.export.manifest import MANIFEST, read_json, verify_manifest, write_manifest
from autockd.export.parity import Parity, compare
from autockd.export.student import WEIGHTS, Inputs, Student
from autockd.export.texts import TextStudent
from autockd.hashing import file_hash
from autockd.models import count_parameters
from autockd.records import Record
from autockd.surroundings import plain_tensors

DESCRIPTION, PARITY, FIGURES, CARD = "autockd.json", "parity.json", "figures.json", "README.md"
ONNX, INT8 = "model.onnx", "model.int8.onnx"


@dataclass(frozen=True)
class BundleInfo:
    """A bundle that was written.

    Attributes:
        folder: where it lies, an absolute path.
        manifest_hash: SHA-256 (hex) of manifest.json, which names every other file's.
        parity: what parity.json holds.
        figures: what figures.json holds; None for a bundle without ONNX.
    """

    folder: Path
    manifest_hash: str
    parity: Parity
    figures: Figures | None = None


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle that was verified and loaded.

    Attributes:
        folder: where it lies.
        student: its model, and how that is fed.
        manifest_hash: SHA-256 (hex) of manifest.json.
    """

    folder: Path
    student: Student
    manifest_hash: str

    @property
    def config(self) -> BundleConfig:
        """What it says about its model."""
        return self.student.config

    @property
    def model(self) -> nn.Module:
        """The network in eval mode, on the CPU; it may be moved.

        It takes normalised images, float32 [B, C, H, W], or tokens by name, each int64 [B, L].
        """
        return self.student.model

    @property
    def onnx_path(self) -> Path | None:
        """The ONNX model, where the bundle has one."""
        return self._existing(ONNX)

    @property
    def int8_path(self) -> Path | None:
        """The int8 ONNX model, where the bundle has one."""
        return self._existing(INT8)

    @property
    def figures(self) -> Figures | None:
        """What its ONNX models cost and give, where the bundle says so.

        Raises:
            ExportError: figures.json is not what it must be.
        """
        path = self._existing(FIGURES)
        return None if path is None else read_json(TypeAdapter(Figures), path)

    def _existing(self, name: str) -> Path | None:
        path = self.folder / name
        return path if path.exists() else None

    @plain_tensors()
    def predict(self, inputs: Inputs, batch_size: int | None = None) -> Tensor:
        """Logits, float32 [N, outputs] on the CPU.

        Args:
            inputs: images, uint8 [N, C, H, W], or `Texts`.
            batch_size: inputs at a time; None takes 64, of images on a GPU 512, and fewer where they are large.

        Raises:
            ExportError: the inputs are not what the bundle takes.
        """
        self.student.check(inputs)
        return self.student.in_torch()(inputs, batch_size or self.student.batch_size)


@plain_tensors()
def write_bundle(
    folder: Path,
    student: Student,
    *,
    examples: Split,
    onnx: bool,
    int8: Split | None = None,
    test: Split | None = None,
    force: bool = False,
) -> BundleInfo:
    """Write a student as a bundle: proven on real samples first, then put in place in one step.

    Args:
        folder: the bundle's folder; without `force` it must not exist.
        student: is copied, not changed.
        examples: two or more validation samples to prove parity on; the first 512 images or 128 texts are used.
            An int8 model is judged on all of them.
        onnx: whether to write and check model.onnx too, and time it.
        int8: training samples for model.int8.onnx, which needs `onnx`; None writes none.
        test: the test split to judge the int8 model on, only where the study has opened it for this student.
        force: whether a bundle that lies at `folder` is replaced.

    Raises:
        ExportError: `folder` is taken, the model is not what its description says, or a file does not reproduce it.
        EnvironmentProblem: the folder cannot be written.
    """
    assert onnx or int8 is None, "int8 is made from the ONNX model"
    proof = _checked(student, examples)
    student = student.copied()
    with staged(folder, force=force) as stage:
        student.save(stage)
        (stage / DESCRIPTION).write_text(student.config.to_json(), encoding="utf-8")
        parity = _prove(stage, student, proof, onnx=onnx)
        _write_record(stage / PARITY, parity)
        figures = _measure(stage, student, examples, int8, test) if onnx else None
        card = model_card(student.config, parameters=count_parameters(student.model), figures=figures)
        (stage / CARD).write_text(card, encoding="utf-8")
        manifest_hash = write_manifest(stage)
    return BundleInfo(folder.absolute(), manifest_hash, parity, figures)


@plain_tensors()
def load_bundle(folder: str | Path) -> Bundle:
    """Verify a bundle against its manifest and load it; runs no code from the folder.

    Raises:
        UsageError: there is no such folder.
        ExportError: a file is missing, added, changed or not what it must be; the message names it.
    """
    folder = Path(folder)
    manifest = verify_manifest(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if name not in manifest.files:
            raise ExportError(f"{folder}: {name} is missing, a bundle must have it -> export the study again")
    for name in manifest.files:
        if name.endswith(".onnx"):
            check_graph(folder / name)
    return Bundle(folder, _read_student(folder), file_hash(folder / MANIFEST))


def _read_student(folder: Path) -> Student:
    config = read_json(BUNDLE_CONFIG, folder / DESCRIPTION)
    if isinstance(config, ImageBundleConfig):
        return ImageStudent.read(config, folder)
    return TextStudent.read(config, folder)


def _measure(stage: Path, student: Student, examples: Split, training: Split | None, test: Split | None) -> Figures:
    """Write the int8 model, where there are training samples for it, and the figures of all ONNX models in `stage`."""
    files: dict[OnnxPrecision, Path] = {"fp32": stage / ONNX}
    if training is not None:
        student.check(training.inputs)
        files["int8"] = stage / INT8
        student.save_int8(stage / ONNX, stage / INT8, training.inputs)
        check_graph(stage / INT8)
    figures = measure(student, files, examples, test)
    _write_record(stage / FIGURES, figures)
    return figures


def _write_record(path: Path, record: Record) -> None:
    path.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _prove(stage: Path, student: Student, examples: Split, *, onnx: bool) -> Parity:
    """Compare what the files in `stage` compute with the student in memory."""
    rebuilt = _read_student(stage)
    metric, batch_size = student.config.metric, student.batch_size
    reference = student.in_torch()(examples.inputs, batch_size)
    runtimes = {f"torch {torch.__version__}": rebuilt.in_torch()}
    if onnx:
        import onnxruntime

        rebuilt.save_onnx(stage / ONNX, examples.inputs)
        runtimes[f"onnxruntime {onnxruntime.__version__}"] = rebuilt.in_onnx(stage / ONNX)
    comparisons = tuple(
        compare(name, run, reference, examples, metric=metric, batch_size=batch_size) for name, run in runtimes.items()
    )
    value = METRICS[metric].compute(reference, examples.targets)
    return Parity(examples=len(examples), metric=metric, value=value, comparisons=comparisons)


def _checked(student: Student, examples: Split) -> Split:
    student.check(examples.inputs)
    if len(examples.inputs) < 2 or len(examples.inputs) != len(examples.targets):
        raise ExportError(
            f"examples: parity needs at least 2 samples with a target each, not {len(examples.inputs)} samples and "
            f"{len(examples.targets)} targets -> give it samples of the validation split"
        )
    return examples.take(torch.arange(min(len(examples), student.parity_examples)))
