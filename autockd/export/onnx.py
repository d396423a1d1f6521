"""The ONNX model of a bundle: one file, whose first dimension, and that of text's length, are free."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autockd.errors import ExportError, reason_of

OPSET = 18
"""What torch's exporter emits without a conversion, and what every onnxruntime since 1.14 runs."""
OUTPUT = "logits"

_PROTOBUF_LIMIT = 2**31 - 2**24
"""A protobuf file ends at 2 GiB; the rest is room for the graph."""


def export_onnx(model: nn.Module, path: Path, examples: Mapping[str, Tensor], free: Mapping[int, str]) -> None:
    """Write a model as ONNX and check the file.

    Args:
        model: in eval mode, on the CPU; takes the examples by name to logits [batch, K].
        path: the .onnx file; the weights are inside it.
        examples: the inputs to trace it on, by name; no free dimension may be 1 (it would be taken for a constant).
        free: names of the dimensions that are free, by their index; the same for all inputs.

    Raises:
        ExportError: the model has a part that ONNX cannot express, or is too large for one file.
    """
    import onnx

    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > _PROTOBUF_LIMIT:
        raise ExportError(f"{path.name}: {size} bytes of weights do not fit one ONNX file -> set export.onnx: false")
    try:
        program = _trace(model, examples, free)
        _forget_sources(program.model)
        program.save(path, external_data=False)
        onnx.checker.check_model(path, full_check=True)
    except (RuntimeError, onnx.checker.ValidationError) as error:
        raise ExportError(
            f"{path.name}: the model cannot be exported: {reason_of(error)} -> set export.onnx: false"
        ) from error


class OnnxModel:
    """An ONNX model in onnxruntime: CPU, one thread.

    Args:
        path: the file.
        inputs: names of what it must take, in any order; it must give `logits`.

    Raises:
        ExportError: onnxruntime refuses the file, or it has other inputs or outputs.
    """

    def __init__(self, path: Path, inputs: Sequence[str]) -> None:
        self._path = path
        self._session = open_session(path)
        taken = [value.name for value in self._session.get_inputs()]
        given = [value.name for value in self._session.get_outputs()]
        if sorted(taken) != sorted(inputs) or given != [OUTPUT]:
            raise ExportError(
                f"{path}: takes {taken} to {given}, not {list(inputs)} to {[OUTPUT]} -> export the study again"
            )

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits, float32 [N, K], of one batch.

        Raises:
            ExportError: the graph fails on it.
        """
        [logits] = call(self._path, self._session, {name: tensor.numpy() for name, tensor in inputs.items()})
        return torch.from_numpy(logits)


def open_session(path: Path) -> Any:
    """An ONNX model in onnxruntime: CPU, one thread.

    Raises:
        ExportError: onnxruntime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise ExportError(
            f"{path}: onnxruntime cannot load it: {reason_of(error)} -> export the study again"
        ) from error


def call(path: Path, session: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of a model, by its session, for one batch; its path is for the error.

    Raises:
        ExportError: the graph fails on it.
    """
    try:
        outputs: list[np.ndarray] = session.run(None, inputs)
    except Exception as error:  # as above
        shapes = {name: list(value.shape) for name, value in inputs.items()}
        raise ExportError(
            f"{path}: fails on a batch of {shapes}: {reason_of(error)} -> export the study again"
        ) from error
    return outputs


def _trace(model: nn.Module, examples: Mapping[str, Tensor], free: Mapping[int, str]) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name")  # that several inputs have it in common, as they should
        return torch.onnx.export(
            model,
            (),
            kwargs=dict(examples),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(examples),
            output_names=[OUTPUT],
            dynamic_shapes={name: dict(free) for name in examples},
            verbose=False,
        )


def _forget_sources(model: Any) -> None:
    """Drop the stack traces that torch writes into every node: they hold file paths of this machine."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
