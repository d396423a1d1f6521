"""Calibration and agreement, beside torchmetrics and scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import confusion_matrix

from autockd.training.diagnosis import BINS, diagnose

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(5, (400,), generator=GENERATOR)
LOGITS = torch.randn(400, 5, generator=GENERATOR) + 1.5 * torch.nn.functional.one_hot(LABELS, 5)
TEACHER = LOGITS + torch.randn(400, 5, generator=GENERATOR)


def test_the_calibration_error_is_torchmetrics() -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error  # takes seconds, of each worker

    found = diagnose(LOGITS, LABELS, TEACHER)
    assert found.ece == pytest.approx(float(multiclass_calibration_error(LOGITS, LABELS, 5, n_bins=BINS)), abs=1e-6)
    assert found.ece > 0.01, "or this shows little"


def test_the_bins_add_up() -> None:
    found = diagnose(LOGITS, LABELS, TEACHER)
    assert len(found.counts) == len(found.confidence) == len(found.accuracy) == BINS
    assert sum(found.counts) == len(LABELS)
    right = sum(count * share for count, share in zip(found.counts, found.accuracy, strict=True))
    assert right == pytest.approx(int((LOGITS.argmax(1) == LABELS).sum()))
    for place, (count, confidence) in enumerate(zip(found.counts, found.confidence, strict=True)):
        assert count == 0 or place / BINS <= confidence <= (place + 1) / BINS


def test_shares_by_class_are_sklearns() -> None:
    found = diagnose(LOGITS, LABELS, TEACHER)
    shares = confusion_matrix(LABELS, LOGITS.argmax(1), normalize="true").diagonal()
    assert found.class_accuracy == pytest.approx(tuple(shares))
    same = LOGITS.argmax(1) == TEACHER.argmax(1)
    assert found.class_agreement == pytest.approx([float(same[each == LABELS].double().mean()) for each in range(5)])
    assert found.agreement == pytest.approx(float(same.double().mean()))
    assert diagnose(TEACHER, LABELS, TEACHER).agreement == 1.0


def test_a_sure_answer_is_in_the_last_bin() -> None:
    found = diagnose(torch.tensor([[1e4, 0.0], [0.0, 1e4]]), torch.tensor([0, 0]), torch.tensor([[1.0, 0.0]] * 2))
    assert (found.counts[-1], found.confidence[-1], found.accuracy[-1], found.ece) == (2, 1.0, 0.5, 0.5)
    assert (found.class_accuracy[0], found.class_agreement[0]) == (0.5, 0.5)


def test_what_is_not_a_number_is_wrong_and_unsure() -> None:
    found = diagnose(torch.tensor([[math.nan, 0.0], [2.0, 0.0]]), torch.tensor([0, 0]), torch.tensor([[1.0, 0.0]] * 2))
    assert (found.counts[0], found.confidence[0], found.accuracy[0]) == (1, 0.0, 0.0)
    assert found.class_accuracy[0] == found.agreement == 0.5
    assert math.isfinite(found.ece)


def test_a_class_without_samples_has_no_share() -> None:
    found = diagnose(LOGITS[:4], torch.zeros(4, dtype=torch.int64), TEACHER[:4])
    assert all(math.isnan(share) for share in (*found.class_accuracy[1:], *found.class_agreement[1:]))
    assert type(found).model_validate_json(found.model_dump_json()).counts == found.counts
