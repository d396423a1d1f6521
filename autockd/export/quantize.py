"""An ONNX model's int8 twin, made by onnxruntime: static where samples calibrate it, dynamic where none are given.

Static: weights of convolutions and linear layers are int8 per output channel, activations uint8 with ranges that the
calibration samples had. Dynamic: weights are int8, and the ranges of activations are taken from each batch as it comes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from autockd.errors import ExportError, reason_of

CALIBRATION_SAMPLES = 256
"""Training samples, at most, that static quantisation takes the ranges of activations from."""

Batch = Mapping[str, np.ndarray]


def calibration_rows(count: int) -> list[int]:
    """Which of `count` samples, 1 or more, calibrate: evenly spaced from the first to the last; always the same."""
    return [round(row) for row in np.linspace(0, count - 1, min(count, CALIBRATION_SAMPLES))]


def quantize_static(source: Path, target: Path, batches: Sequence[Batch]) -> None:
    """Write the int8 twin of a convolutional model.

    Args:
        source: model.onnx in fp32.
        target: the int8 file.
        batches: inputs by name to calibrate on.

    Raises:
        ExportError: onnxruntime cannot quantise it.
    """
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, found: Iterator[Batch]) -> None:
            self._found = found

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._found, None)
            return None if batch is None else dict(batch)

    with _prepared(source) as prepared:
        quantization.quantize_static(
            prepared,
            target,
            Reader(iter(batches)),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # Without VNNI, x86 adds products of uint8 and int8 in 16 bits, which 8-bit weights overflow: the same file
            # would be less accurate there. With 7 bits it is as accurate on every machine.
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def quantize_dynamic(source: Path, target: Path) -> None:
    """Write the int8 twin of a transformer, its embeddings in int8 too; needs no samples.

    Args:
        source: model.onnx in fp32.
        target: the int8 file.

    Raises:
        ExportError: onnxruntime cannot quantise it.
    """
    from onnxruntime import quantization

    with _prepared(source) as prepared:
        quantization.quantize_dynamic(
            prepared, target, per_channel=True, reduce_range=True, weight_type=quantization.QuantType.QInt8
        )


@contextmanager
def _prepared(source: Path) -> Iterator[Path]:
    """The model with its shapes inferred and constants folded, as quantisation wants it, in a file for the block."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory(prefix="autockd-int8-") as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            yield prepared
        except Exception as error:  # whatever onnx, onnxruntime and protobuf raise has no common base
            raise ExportError(
                f"{source}: cannot be quantised to int8: {type(error).__name__}: {reason_of(error)} "
                "-> set export.int8: false"
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that onnxruntime gives through the root logger, for it is to its caller, not to the user."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)
