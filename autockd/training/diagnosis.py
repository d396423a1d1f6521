"""How a classifier is wrong, beyond how often: whether it knows when, for which classes, and whether as its teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from autockd.records import Diagnosis

BINS = 15
"""Equally wide bins of confidence (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017)."""


def diagnose(logits: Tensor, targets: Tensor, teacher: Tensor) -> Diagnosis:
    """Calibration, and right answers and the teacher's by class.

    Args:
        logits: float [N, K] of the classifier; a row with a NaN is a wrong answer of confidence 0.
        targets: int64 [N], N at least 1.
        teacher: float [N, K], the teacher's logits for the same samples.

    Returns:
        Shares of a class that has no sample are NaN.
    """
    answers, confidences = _answers(logits)
    labels = targets.cpu()
    right = (answers == labels).double()
    same = (answers == _answers(teacher)[0]).double()
    places = (confidences * BINS).long().clamp(max=BINS - 1)  # a confidence of 1 is in the last bin
    counts = torch.bincount(places, minlength=BINS)
    filled = counts.clamp(min=1)
    confidence = torch.bincount(places, weights=confidences, minlength=BINS) / filled
    accuracy = torch.bincount(places, weights=right, minlength=BINS) / filled
    return Diagnosis(
        ece=float((counts * (confidence - accuracy).abs()).sum() / len(labels)),
        confidence=tuple(confidence.tolist()),
        accuracy=tuple(accuracy.tolist()),
        counts=tuple(counts.tolist()),
        class_accuracy=_by_class(right, labels, logits.shape[1]),
        class_agreement=_by_class(same, labels, logits.shape[1]),
        agreement=float(same.mean()),
    )


def _answers(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The class that each row names, -1 for none, and its probability, float64; both on the CPU."""
    probabilities = logits.detach().cpu().double().softmax(dim=1)
    confidences, answers = probabilities.max(dim=1)
    is_none = probabilities.isnan().any(dim=1)
    return answers.masked_fill(is_none, -1), confidences.masked_fill(is_none, 0.0)


def _by_class(hits: Tensor, labels: Tensor, classes: int) -> tuple[float, ...]:
    samples = torch.bincount(labels, minlength=classes)
    return tuple((torch.bincount(labels, weights=hits, minlength=classes) / samples).tolist())
