"""Metrics of tasks, from logits and labels, or from predicted and true scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from autockd.config.tasks import MetricName
from autockd.facts import Direction


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """Share of samples whose largest logit is the label's, 0..1.

    Args:
        logits: float [N, K]; a row with a NaN counts as wrong.
        targets: int64 [N], N at least 1.
    """
    correct = (logits.argmax(dim=1) == targets.to(logits.device)) & ~logits.isnan().any(dim=1)
    return int(correct.sum()) / len(targets)


def f1(logits: Tensor, targets: Tensor) -> float:
    """F1 of class 1 of two, 2 TP / (2 TP + FP + FN), 0..1; 0 where nobody has or is given that class.

    Args:
        logits: float [N, 2]; a row with a NaN counts as the wrong class.
        targets: int64 [N].
    """
    from sklearn.metrics import f1_score

    assert logits.shape[1] == 2, "F1 is of two classes"
    predicted, labels = _predictions(logits, targets)
    return float(f1_score(labels, predicted, labels=[1], average=None, zero_division=0.0)[0])


def accuracy_f1(logits: Tensor, targets: Tensor) -> float:
    """Mean of accuracy and F1, which GLUE's leaderboard averages for mrpc and qqp."""
    return (accuracy(logits, targets) + f1(logits, targets)) / 2


def matthews(logits: Tensor, targets: Tensor) -> float:
    """Matthews correlation, -1..1; 0 where all predictions, or all labels, are of one class.

    Args:
        logits: float [N, K]; a row with a NaN counts as a wrong class, the one after the label's.
        targets: int64 [N].
    """
    from sklearn.metrics import matthews_corrcoef

    predicted, labels = _predictions(logits, targets)
    if _constant(predicted) or _constant(labels):
        return 0.0
    return float(matthews_corrcoef(labels, predicted))


def pearson(logits: Tensor, targets: Tensor) -> float:
    """Pearson's correlation of predicted and true scores, -1..1.

    Zero by definition where a prediction is not finite, or where all predictions or all scores are the same.

    Args:
        logits: float [N, 1] or [N].
        targets: float [N].
    """
    from scipy.stats import pearsonr

    return _correlation(pearsonr, logits, targets)


def spearman(logits: Tensor, targets: Tensor) -> float:
    """Spearman's rank correlation of predicted and true scores, -1..1; ties share their mean rank. Zero as Pearson's.

    Args:
        logits: float [N, 1] or [N].
        targets: float [N].
    """
    from scipy.stats import spearmanr

    return _correlation(spearmanr, logits, targets)


def pearson_spearman(logits: Tensor, targets: Tensor) -> float:
    """Mean of both correlations, which GLUE's leaderboard averages for stsb."""
    return (pearson(logits, targets) + spearman(logits, targets)) / 2


@dataclass(frozen=True)
class Metric:
    """How predictions are judged.

    Attributes:
        name: what study files and records call it.
        direction: whether more of it is better.
        compute: from logits, float [N, K] or [N, 1], and targets, [N], to a finite number.
    """

    name: MetricName
    direction: Direction
    compute: Callable[[Tensor, Tensor], float]


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "maximize", accuracy),
        Metric("f1", "maximize", f1),
        Metric("accuracy_f1", "maximize", accuracy_f1),
        Metric("matthews", "maximize", matthews),
        Metric("pearson", "maximize", pearson),
        Metric("spearman", "maximize", spearman),
        Metric("pearson_spearman", "maximize", pearson_spearman),
    )
}
"""Every metric by its name."""


def _predictions(logits: Tensor, targets: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Class indices, predicted and true; what is not a number is predicted wrong."""
    labels = targets.cpu()
    wrong = (labels + 1) % logits.shape[1]
    predicted = wrong.where(logits.isnan().any(dim=1).cpu(), logits.argmax(dim=1).cpu())
    return predicted.numpy(), labels.numpy()


def _correlation(measure: Callable[..., Any], logits: Tensor, targets: Tensor) -> float:
    predicted, scores = (values.detach().cpu().double().flatten().numpy() for values in (logits, targets))
    if not np.isfinite(predicted).all() or _constant(predicted) or _constant(scores):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns where values are nearly the same
        value = float(measure(predicted, scores).statistic)
    return value if np.isfinite(value) else 0.0


def _constant(values: NDArray[Any]) -> bool:
    return bool((values == values[0]).all())
