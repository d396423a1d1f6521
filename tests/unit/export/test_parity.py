"""Parity fails when it must, and forgives nothing but rounding."""

from __future__ import annotations

import pytest
import torch

from autockd.data.metrics import accuracy
from autockd.errors import ExportError
from autockd.export.inference import Runtime
from autockd.export.parity import Comparison, compare

IMAGES = torch.arange(4, dtype=torch.uint8)[:, None, None, None]
LABELS = torch.tensor([0, 1, 2, 2])
REFERENCE = torch.tensor([[4.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0], [1.0, 1.0, 0.0]])


def _runtime(logits: torch.Tensor) -> Runtime:
    """A runtime that knows the logits of each image by the image's one pixel."""
    return lambda images: logits[images.flatten().long()]


def _compare(logits: torch.Tensor, reference: torch.Tensor = REFERENCE) -> Comparison:
    return compare("test 1.0", _runtime(logits), reference, IMAGES, LABELS)


def test_equal_logits_agree() -> None:
    comparison = _compare(REFERENCE.clone())
    assert comparison.max_difference == 0
    assert (comparison.agreement, comparison.ties) == (1, 0)
    assert comparison.accuracy == 0.75
    assert comparison.batch_sizes == (1, 4)


def test_tolerance_follows_the_size_of_the_logits() -> None:
    assert _compare(REFERENCE).tolerance == pytest.approx(4e-3)
    assert _compare(REFERENCE / 100, REFERENCE / 100).tolerance == pytest.approx(4e-5)
    assert _compare(REFERENCE * 0, REFERENCE * 0).tolerance == 0
    assert _compare(REFERENCE + 3e-3).max_difference == pytest.approx(3e-3, rel=1e-3)
    with pytest.raises(ExportError, match=r"test 1\.0: logits differ from the student's by 0\.005, more than 0\.004"):
        _compare(REFERENCE + 5e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_fail(value: float) -> None:
    broken = REFERENCE.clone()
    broken[0, 2] = value
    for logits, reference in ((broken, REFERENCE), (REFERENCE, broken), (broken, broken)):
        with pytest.raises(ExportError, match="logits differ"):
            _compare(logits, reference)


def test_swapped_tie_is_forgiven_and_counted() -> None:
    swapped = REFERENCE.clone()
    swapped[3, 1] += 1e-6
    comparison = _compare(swapped)
    assert comparison.agreement == 1
    assert comparison.ties == 2  # once in the batch, once alone


def test_other_prediction_within_tolerance_still_fails() -> None:
    reference = REFERENCE.clone()
    reference[3, 0] += 1e-3
    logits = reference.clone()
    logits[3, 1] += 2e-3
    with pytest.raises(ExportError, match=r"only 0\.7500 of the predictions"):
        _compare(logits, reference)


def test_fixed_batch_fails() -> None:
    def ignores_all_but_the_first(images: torch.Tensor) -> torch.Tensor:
        return REFERENCE[:1]

    with pytest.raises(ExportError, match="yields logits of shape"):
        compare("test 1.0", ignores_all_but_the_first, REFERENCE, IMAGES, LABELS)


def test_difference_in_a_batch_of_one_alone_is_seen() -> None:
    def wrong_when_alone(images: torch.Tensor) -> torch.Tensor:
        return _runtime(REFERENCE)(images) + (1.0 if len(images) == 1 else 0.0)

    with pytest.raises(ExportError, match="logits differ from the student's by 1,"):
        compare("test 1.0", wrong_when_alone, REFERENCE, IMAGES, LABELS)


def test_accuracy_is_a_fraction_and_a_nan_is_never_right() -> None:
    assert accuracy(torch.eye(3), torch.tensor([0, 1, 0])) == 2 / 3
    assert accuracy(torch.full((2, 3), torch.nan), torch.tensor([0, 0])) == 0
