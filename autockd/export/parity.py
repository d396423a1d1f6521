"""Parity: what the files of a bundle compute is what the student computed, on real validation samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from autockd.data.metrics import METRICS
from autockd.data.task import Split
from autockd.errors import ExportError
from autockd.export.student import Runtime
from autockd.records import Record

TOLERANCE = 1e-3
"""Largest difference of a logit, as a share of the largest absolute logit."""
TIE = 1e-5
"""Two logits this close, as the same share, are a tie: fp32 sums in another order may swap them."""

_SINGLES = 8


class Comparison(Record):
    """One runtime, compared with the student in torch, fp32, in memory."""

    runtime: str
    """Such as `onnxruntime 1.32.0`."""
    batch_sizes: tuple[int, ...]
    max_difference: float
    """Largest absolute difference of a logit."""
    tolerance: float
    agreement: float
    """Share of predictions with the same class, ties counted as the same; 1 unless something is wrong."""
    ties: int
    """Predictions that differ because two logits of the student are equal up to rounding."""
    value: float
    """The metric on the examples."""


class Parity(Record):
    """What parity.json holds."""

    examples: int
    metric: str
    value: float
    """The metric of the student in memory, on the examples."""
    comparisons: tuple[Comparison, ...]


def compare(
    runtime: str, run: Runtime, reference: Tensor, examples: Split, *, metric: str, batch_size: int
) -> Comparison:
    """Run the examples in batches, and some of them one by one, and compare with the student's logits.

    Args:
        runtime: its name, for the record and for messages.
        run: the runtime under test.
        reference: [N, K], the student's logits.
        examples: N samples.
        metric: name of the metric.
        batch_size: samples of a batch.

    Raises:
        ExportError: a logit differs by more than the tolerance, or a prediction differs that is no tie.
    """
    singles = torch.arange(min(_SINGLES, len(examples)))
    whole = run(examples.inputs, batch_size)
    logits = torch.cat([whole, *(run(examples.take(single).inputs, 1) for single in singles[:, None])])
    expected = torch.cat([reference, reference[singles]])
    if logits.shape != expected.shape:
        raise ExportError(
            f"{runtime}: yields logits of shape {tuple(logits.shape)}, not {tuple(expected.shape)} "
            f"-> {_remedy(runtime)}"
        )
    unit = float(expected.abs().max())
    different, ties = _disagreements(expected, logits, TIE * unit)
    comparison = Comparison(
        runtime=runtime,
        batch_sizes=(1, min(batch_size, len(examples))),
        max_difference=float((logits - expected).abs().max()),
        tolerance=TOLERANCE * unit,
        agreement=1 - different / len(logits),
        ties=ties,
        value=METRICS[metric].compute(whole, examples.targets),
    )
    _insist(comparison)
    return comparison


def _remedy(runtime: str) -> str:
    if "onnx" in runtime:
        return "do not use this export; set export.onnx: false, or report the model"
    return "do not use this student: its answers depend on what is in a batch with a sample; report the model"


def _disagreements(expected: Tensor, logits: Tensor, tie: float) -> tuple[int, int]:
    """Predictions that differ and are no ties, and those that are. One output is a score, and never differs here."""
    chosen = logits.argmax(1)
    differs = chosen != expected.argmax(1)
    gap = expected.amax(1) - expected.gather(1, chosen[:, None])[:, 0]
    is_tie = differs & (gap <= tie)
    return int((differs & ~is_tie).sum()), int(is_tie.sum())


def _insist(comparison: Comparison) -> None:
    if not comparison.max_difference <= comparison.tolerance < math.inf:  # so that NaN and infinity fail too
        raise ExportError(
            f"{comparison.runtime}: logits differ from the student's by {comparison.max_difference:.3g}, "
            f"more than {comparison.tolerance:.3g} -> {_remedy(comparison.runtime)}"
        )
    if comparison.agreement < 1:
        raise ExportError(
            f"{comparison.runtime}: only {comparison.agreement:.4f} of the predictions are the student's "
            f"-> {_remedy(comparison.runtime)}"
        )
