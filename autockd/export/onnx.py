"""The ONNX model of a bundle: one file, pixels in, logits out, any batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from autockd.errors import ExportError
from autockd.export.inference import PixelModel, Runtime, to_pixels

OPSET = 18
"""What torch's exporter emits without a conversion, and what every onnxruntime since 1.14 runs."""
INPUT, OUTPUT = "pixels", "logits"

_PROTOBUF_LIMIT = 2**31 - 2**24
"""A protobuf file ends at 2 GiB; the rest is room for the graph."""


def export_onnx(model: PixelModel, path: Path, examples: torch.Tensor) -> None:
    """Write a model as ONNX and check the file.

    The graph takes `pixels`, float32 [batch, C, H, W] in 0..1, normalises them, and yields `logits`, [batch, K].

    Args:
        model: in eval mode, on the CPU.
        path: the .onnx file; the weights are inside it.
        examples: uint8 [N, C, H, W], N >= 2 (a batch of one would be exported as a constant).

    Raises:
        ExportError: the model has a part that ONNX cannot express, or is too large for one file.
    """
    import onnx

    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > _PROTOBUF_LIMIT:
        raise ExportError(f"{path}: {size} bytes of weights do not fit one ONNX file -> set export.onnx: false")
    try:
        program = _trace(model, to_pixels(examples[:2]))
        _forget_sources(program.model)
        program.save(path, external_data=False)
        onnx.checker.check_model(path, full_check=True)
    except (RuntimeError, onnx.checker.ValidationError) as error:
        raise ExportError(
            f"{path}: the model cannot be exported: {_first_line(error)} -> set export.onnx: false"
        ) from error


def onnx_runtime(path: Path) -> Runtime:
    """The ONNX model at `path` in onnxruntime: CPU, one thread.

    Raises:
        ExportError: onnxruntime refuses the file, or it does not take `pixels` to `logits`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise ExportError(f"{path}: onnxruntime cannot load it: {_first_line(error)} -> export again") from error
    names = [[value.name for value in values] for values in (session.get_inputs(), session.get_outputs())]
    if names != [[INPUT], [OUTPUT]]:
        raise ExportError(f"{path}: takes {names[0]} to {names[1]}, not {INPUT!r} to {OUTPUT!r} -> export again")

    def run(images: torch.Tensor) -> torch.Tensor:
        try:
            outputs = session.run([OUTPUT], {INPUT: to_pixels(images).cpu().numpy()})
        except Exception as error:  # as above
            raise ExportError(f"{path}: fails on a batch of {len(images)}: {_first_line(error)}") from error
        return torch.from_numpy(outputs[0])

    return run


def _trace(model: PixelModel, pixels: torch.Tensor) -> Any:
    return torch.onnx.export(
        model,
        (pixels,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )


def _forget_sources(model: Any) -> None:
    """Drop the stack traces that torch writes into every node: they hold file paths of this machine."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
