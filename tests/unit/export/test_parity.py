"""Parity fails when it must, and forgives nothing but rounding."""

from __future__ import annotations

import pytest
import torch

from autockd.data.task import Split
from autockd.errors import ExportError
from autockd.export.parity import Comparison, compare
from autockd.export.student import Inputs, Runtime

IMAGES = torch.arange(4, dtype=torch.uint8)[:, None, None, None]
LABELS = torch.tensor([0, 1, 2, 2])
REFERENCE = torch.tensor([[4.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0], [1.0, 1.0, 0.0]])


def _runtime(logits: torch.Tensor) -> Runtime:
    """A runtime that knows the logits of each image by the image's one pixel."""

    def run(images: Inputs, batch_size: int) -> torch.Tensor:
        assert isinstance(images, torch.Tensor)
        return logits[images.flatten().long()]

    return run


def _compare(logits: torch.Tensor, reference: torch.Tensor = REFERENCE) -> Comparison:
    return _compare_run(_runtime(logits), reference)


def _compare_run(run: Runtime, reference: torch.Tensor = REFERENCE) -> Comparison:
    return compare("test 1.0", run, reference, Split(IMAGES, LABELS), metric="accuracy", batch_size=512)


def test_equal_logits_agree() -> None:
    comparison = _compare(REFERENCE.clone())
    assert comparison.max_difference == 0
    assert (comparison.agreement, comparison.ties) == (1, 0)
    assert comparison.value == 0.75
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
    def ignores_all_but_the_first(images: Inputs, batch_size: int) -> torch.Tensor:
        return REFERENCE[:1]

    with pytest.raises(ExportError, match="yields logits of shape"):
        _compare_run(ignores_all_but_the_first)


def test_difference_in_a_batch_of_one_alone_is_seen() -> None:
    def wrong_when_alone(images: Inputs, batch_size: int) -> torch.Tensor:
        return _runtime(REFERENCE)(images, batch_size) + (1.0 if len(images) == 1 else 0.0)

    with pytest.raises(ExportError, match="logits differ from the student's by 1,"):
        _compare_run(wrong_when_alone)


def test_scores_are_compared_by_their_difference_alone() -> None:
    scores, targets = torch.tensor([[1.0], [3.0], [2.0], [5.0]]), torch.tensor([1.0, 2.0, 3.0, 5.0])

    def compare_scores(answers: torch.Tensor) -> Comparison:
        examples = Split(IMAGES, targets)
        return compare("test 1.0", _runtime(answers), scores, examples, metric="pearson", batch_size=2)

    comparison = compare_scores(scores + 4e-3)
    assert comparison.batch_sizes == (1, 2)
    assert comparison.agreement == 1
    assert comparison.value == pytest.approx(7.75 / 8.75)  # covariance over variance, the same for both
    with pytest.raises(ExportError, match="logits differ"):
        compare_scores(scores + 6e-3)


@pytest.mark.parametrize(
    ("runtime", "remedy"), [("onnxruntime 1.32", "set export.onnx: false"), ("torch 2.14", "batch")]
)
def test_the_remedy_is_of_what_went_wrong(runtime: str, remedy: str) -> None:
    with pytest.raises(ExportError, match=remedy):
        compare(runtime, _runtime(REFERENCE + 1), REFERENCE, Split(IMAGES, LABELS), metric="accuracy", batch_size=4)
