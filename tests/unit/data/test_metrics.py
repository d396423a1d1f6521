from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from autockd.config.tasks import ClassMetric, ScoreMetric
from autockd.data.metrics import METRICS, accuracy

NAN = math.nan


def logits(*predicted: int, classes: int = 2) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()


def compute(metric: str, outputs: Tensor, targets: list[int] | list[float]) -> float:
    return METRICS[metric].compute(outputs, torch.tensor(targets))


# TP 2, FN 1, FP 1, TN 1
PREDICTED, LABELS = logits(1, 1, 0, 1, 0), [1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("accuracy", 3 / 5),
        ("f1", 2 * 2 / (2 * 2 + 1 + 1)),
        ("accuracy_f1", (3 / 5 + 2 / 3) / 2),
        ("matthews", (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2)),
    ],
)
def test_metrics_of_two_classes(metric: str, value: float) -> None:
    assert compute(metric, PREDICTED, LABELS) == pytest.approx(value)
    assert compute(metric, 100 * PREDICTED - 7, LABELS) == pytest.approx(value), "only the order of logits counts"


def test_f1_is_of_class_one() -> None:
    flipped = [1 - label for label in LABELS]
    assert compute("f1", PREDICTED.flip(1), flipped) == pytest.approx(1 / 2), "TP 1, FN 1, FP 1 of the other class"


def test_matthews_of_three_classes() -> None:
    # c = 3 right of s = 4; predicted 2, 1, 1 and true 1, 1, 2 times: (3*4 - 5) / sqrt((16 - 6) * (16 - 6))
    assert compute("matthews", logits(0, 1, 2, 0, classes=3), [0, 1, 2, 2]) == pytest.approx(7 / 10)


# deviations from the means 2.5 and 2: (-1.5, -.5, .5, 1.5) and (-1, -1, 0, 2); ranks 1, 2, 3, 4 and 1.5, 1.5, 3, 4
SCORES, TRUE = torch.tensor([[1.0], [2.0], [3.0], [4.0]]), [1.0, 1.0, 2.0, 4.0]
PEARSON = 5 / math.sqrt(5 * 6)
SPEARMAN = (1.5 + 0.5 + 0.25 + 2.25) / math.sqrt(5 * 4.5)


@pytest.mark.parametrize(
    ("metric", "value"),
    [("pearson", PEARSON), ("spearman", SPEARMAN), ("pearson_spearman", (PEARSON + SPEARMAN) / 2)],
)
def test_metrics_of_scores(metric: str, value: float) -> None:
    assert compute(metric, SCORES, TRUE) == pytest.approx(value)
    assert compute(metric, SCORES.flatten(), TRUE) == pytest.approx(value)
    assert compute(metric, -3 * SCORES + 1, TRUE) == pytest.approx(-value), "scale and shift do not count, sign does"


def test_perfect_predictions_have_one() -> None:
    for metric in get_args(ClassMetric):
        assert compute(metric, logits(*LABELS), LABELS) == pytest.approx(1)
    for metric in get_args(ScoreMetric):
        assert compute(metric, torch.tensor(TRUE)[:, None], TRUE) == pytest.approx(1)


@pytest.mark.parametrize(
    ("metric", "predicted", "labels", "value"),
    [
        ("matthews", [1, 1, 1], [0, 1, 1], 0),
        ("matthews", [0, 1, 1], [1, 1, 1], 0),
        ("matthews", [1, 1, 1], [1, 1, 1], 0),
        ("matthews", [0], [0], 0),
        ("f1", [0, 0], [0, 0], 0),
        ("f1", [0, 0], [1, 0], 0),
        ("f1", [1, 1], [0, 0], 0),
        ("f1", [1, 1], [1, 1], 1),
        ("accuracy_f1", [0, 0], [0, 0], 0.5),
    ],
)
def test_one_class_alone_is_defined(metric: str, predicted: list[int], labels: list[int], value: float) -> None:
    assert compute(metric, logits(*predicted), labels) == value


@pytest.mark.parametrize("metric", get_args(ScoreMetric))
@pytest.mark.parametrize(
    ("predicted", "scores"),
    [
        ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [4.0, 4.0, 4.0]),
        ([1.0, NAN, 3.0], [1.0, 2.0, 3.0]),
        ([1.0, math.inf, 3.0], [1.0, 2.0, 3.0]),
        ([1.0], [1.0]),
    ],
)
def test_what_does_not_correlate_is_zero(metric: str, predicted: list[float], scores: list[float]) -> None:
    assert compute(metric, torch.tensor(predicted)[:, None], scores) == 0


def test_predictions_that_are_nearly_the_same_give_no_warning() -> None:
    nearly = torch.tensor([[1e7], [1e7], [1e7 + 1]])
    assert compute("pearson", nearly, [1.0, 1.0, 2.0]) == pytest.approx(1)
    tiny = torch.tensor([[1.0], [1.0 + 1e-15]], dtype=torch.float64)
    assert -1 <= compute("pearson", tiny, [1.0, 2.0]) <= 1


def test_a_row_that_is_not_a_number_is_wrong() -> None:
    broken = PREDICTED.clone()
    broken[0, 0] = NAN
    assert compute("accuracy", broken, LABELS) == 2 / 5, "TP 1, FN 2, FP 1, TN 1"
    assert compute("f1", broken, LABELS) == pytest.approx(2 * 1 / (2 * 1 + 2 + 1))
    assert compute("matthews", broken, LABELS) == pytest.approx((1 * 1 - 1 * 2) / math.sqrt(2 * 3 * 2 * 3))
    broken[4, 0] = NAN
    assert compute("f1", broken, LABELS) == pytest.approx(2 * 1 / (2 * 1 + 2 + 2)), "TP 1, FN 2, FP 2, TN 0"
    assert compute("matthews", broken, LABELS) == pytest.approx((1 * 0 - 2 * 2) / math.sqrt(3 * 3 * 2 * 2))
    for metric in get_args(ClassMetric):
        assert compute(metric, torch.full((4, 2), NAN), [0, 1, 0, 1]) <= 0


def test_low_precision_is_accepted() -> None:
    assert compute("matthews", PREDICTED.bfloat16(), LABELS) == compute("matthews", PREDICTED, LABELS)
    assert compute("pearson", SCORES.bfloat16(), TRUE) == pytest.approx(PEARSON)


def test_every_name_that_a_study_may_say_has_a_metric() -> None:
    assert set(METRICS) == {*get_args(ClassMetric), *get_args(ScoreMetric)}
    assert all(metric.name == name and metric.direction == "maximize" for name, metric in METRICS.items())
    assert METRICS["accuracy"].compute is accuracy
