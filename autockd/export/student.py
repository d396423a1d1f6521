"""Student: a model that can leave the study, with all that it takes to feed it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from autockd.data.texts import Texts
from autockd.export.description import BundleConfig
from autockd.models import ENCODER_WEIGHTS

Inputs = Tensor | Texts
"""Images, uint8 [N, C, H, W]; or texts."""

Runtime = Callable[[Inputs, int], Tensor]
"""Inputs and how many of them to run at a time, to logits, float32 [N, outputs] on the CPU, in the inputs' order."""

WEIGHTS = ENCODER_WEIGHTS
"""Of every student, for those of an encoder have to be called so: transformers looks for no other name."""


class Student(Protocol):
    """A student of one kind of data."""

    @property
    def config(self) -> BundleConfig:
        """What its bundle says of it."""

    @property
    def model(self) -> nn.Module:
        """In eval mode, but for a student that is yet to be copied; it may be moved to another device."""

    @property
    def batch_size(self) -> int:
        """Inputs that are run at a time unless a caller says otherwise: as many as trials are evaluated with."""

    @property
    def parity_examples(self) -> int:
        """Inputs that prove a bundle of it."""

    def check(self, inputs: Inputs) -> None:
        """Refuse inputs that it cannot take.

        Raises:
            ExportError: they are of another kind or shape, or there are none.
        """

    def copied(self) -> Student:
        """The same student with a model of its own, on the CPU, in fp32 and eval mode."""

    def in_torch(self) -> Runtime:
        """The model itself, where it is, in the arithmetic of its weights: fp32, whatever a trial was evaluated in.

        On a GPU torch may round what convolutions take to TF32, unless it is told not to.
        """

    def in_onnx(self, path: Path) -> Runtime:
        """The ONNX model at `path` in onnxruntime, on the CPU.

        Raises:
            ExportError: onnxruntime refuses the file, or it does not take what this student takes.
        """

    def save(self, folder: Path) -> None:
        """Write all that it is made of, but what `config` says, as plain data.

        Raises:
            EnvironmentProblem: the folder cannot be written.
        """

    def save_onnx(self, path: Path, examples: Inputs) -> None:
        """Write the model, on the CPU, as ONNX, traced on two or more examples.

        Raises:
            ExportError: the model has a part that ONNX cannot express, or is too large for one file.
        """

    def save_int8(self, source: Path, path: Path, training: Inputs) -> None:
        """Write the int8 twin of the ONNX model at `source`.

        Args:
            source: what `save_onnx` wrote.
            path: the int8 file.
            training: training samples, some of which calibrate it where it is quantised statically.

        Raises:
            ExportError: onnxruntime cannot quantise it.
        """

    def feed(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """What the ONNX model takes for these inputs, as one batch."""

    def example(self) -> dict[str, np.ndarray]:
        """The same for one made-up sample."""
