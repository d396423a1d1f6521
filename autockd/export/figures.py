"""What the ONNX models of a bundle cost and give, measured where they are written: figures.json."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from autockd.data.metrics import METRICS
from autockd.data.task import Split
from autockd.errors import ExportError
from autockd.export.latency import CallTime, onnx_timings
from autockd.export.student import Student
from autockd.facts import sign_of
from autockd.records import Record

OnnxPrecision = Literal["fp32", "int8"]

TIMED_BATCHES = (1, 32)
"""Samples of one call that is timed."""
MOST_LOSS = 0.02
"""Of the metric, on the validation samples; an int8 model that loses more is worth a warning."""
LEAST_AGREEMENT = 0.95
"""Share of validation samples that an int8 model should give the student's class to."""


class ModelFigures(Record):
    """One ONNX model of a bundle."""

    precision: OnnxPrecision
    file: str
    bytes: int
    latency: dict[int, CallTime]
    """By the samples of a call."""
    validation: float | None = None
    """The metric on all validation samples; None where it was not measured, for parity proves it."""
    test: float | None = None
    """The metric on the test split, where the study had opened that for this student."""
    agreement: float | None = None
    """Share of validation samples with the class that the student in torch gives; None as above, and for scores."""
    max_difference: float | None = None
    """Largest absolute difference of a logit from the student's, on the same samples."""


class Figures(Record):
    """What figures.json holds."""

    runtime: str
    """Such as `onnxruntime 1.32.0`, on the CPU."""
    threads: int = 1
    metric: str
    examples: int
    """Validation samples."""
    batch_size: int | None = None
    """Samples at a time, where metrics were measured."""
    shapes: dict[int, dict[str, tuple[int, ...]]]
    """Of the inputs that were timed, by the samples of a call."""
    models: tuple[ModelFigures, ...]
    warnings: tuple[str, ...] = ()
    """What the int8 model loses that a user should know of, in sentences."""


def measure(
    student: Student, files: Mapping[OnnxPrecision, Path], validation: Split, test: Split | None = None
) -> Figures:
    """Time the ONNX models of a student and, where one is in int8, judge them on all samples.

    Args:
        student: in memory, in fp32.
        files: its ONNX models; `fp32` is among them.
        validation: all validation samples.
        test: the test split, only where the study has opened it for this student.

    Raises:
        ExportError: a model gives no number for some sample.
    """
    import onnxruntime

    batches = {size: student.feed(_repeated(validation, size).inputs) for size in TIMED_BATCHES}
    timings = onnx_timings(list(files.values()), batches)
    models = [
        ModelFigures(precision=precision, file=path.name, bytes=path.stat().st_size, latency=found)
        for (precision, path), found in zip(files.items(), timings, strict=True)
    ]
    if "int8" in files:
        reference = student.in_torch()(validation.inputs, student.batch_size)
        models = [_judged(model, files[model.precision], student, reference, validation, test) for model in models]
    metric = student.config.metric
    return Figures(
        runtime=f"onnxruntime {onnxruntime.__version__}",
        metric=metric,
        examples=len(validation),
        batch_size=student.batch_size if "int8" in files else None,
        shapes={size: {name: values.shape for name, values in batch.items()} for size, batch in batches.items()},
        models=tuple(models),
        warnings=tuple(_warnings({model.precision: model for model in models}, metric)),
    )


def _judged(
    model: ModelFigures, path: Path, student: Student, reference: Tensor, validation: Split, test: Split | None
) -> ModelFigures:
    run, compute = student.in_onnx(path), METRICS[student.config.metric].compute
    logits = run(validation.inputs, student.batch_size)
    on_test = None if test is None else run(test.inputs, student.batch_size)
    for name, found in (("validation", logits), ("test", on_test)):
        if found is not None and not bool(found.isfinite().all()):
            raise ExportError(
                f"{path.name}: gives NaN or infinity for a {name} sample -> do not use this export, set export.int8: "
                "false"
            )
    is_score = reference.shape[1] == 1
    return model.model_copy(
        update={
            "validation": compute(logits, validation.targets),
            "test": None if test is None or on_test is None else compute(on_test, test.targets),
            "agreement": None if is_score else float((logits.argmax(1) == reference.argmax(1)).double().mean()),
            "max_difference": float((logits - reference).abs().max()),
        }
    )


def _warnings(models: Mapping[str, ModelFigures], metric: str) -> Iterator[str]:
    """What a user of the int8 model should know; of a metric that fell below what it could, and of other answers."""
    fp32, int8 = models["fp32"], models.get("int8")
    if int8 is None or int8.validation is None or fp32.validation is None:
        return
    loss = sign_of(METRICS[metric].direction) * (fp32.validation - int8.validation)
    if loss > MOST_LOSS or math.isnan(loss):
        yield (
            f"the int8 model's validation {metric} is {int8.validation:.4f}, that of fp32 {fp32.validation:.4f}: it "
            f"loses more than {MOST_LOSS:g}"
        )
    if int8.agreement is not None and int8.agreement < LEAST_AGREEMENT:
        yield (
            f"the int8 model agrees with fp32 on {int8.agreement:.1%} of the validation samples, fewer than "
            f"{LEAST_AGREEMENT:.0%}"
        )


def _repeated(split: Split, count: int) -> Split:
    """The first samples, from the beginning again where there are too few."""
    return split.take(torch.arange(count) % len(split))
