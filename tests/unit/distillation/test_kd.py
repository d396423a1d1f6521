"""Hinton's distillation: weights, temperature and their meaning."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from autockd.config.methods import HintonKD
from autockd.distillation import LossParts, Run, make_method

STUDENT = torch.tensor([[1.0, -0.5, 0.25], [-2.0, 0.5, 1.0]], dtype=torch.float64)
TEACHER = torch.tensor([[3.0, -1.0, 0.5], [0.0, 2.0, -4.0]], dtype=torch.float64)
TARGETS = torch.tensor([0, 1])


def loss_of(config: HintonKD) -> LossParts:
    method = make_method(config)
    return method.loss({"logits": STUDENT}, {"logits": TEACHER}, TARGETS, method.plan(Run(2, 1), 1.0).row(0))


def test_weights_and_temperature_are_constant() -> None:
    plan = make_method(HintonKD(alpha=0.7, temperature=3.0)).plan(Run(2, 2), 1.0)
    assert plan.row(0) == pytest.approx({"hard_weight": 0.3, "soft_weight": 0.7, "temperature": 3.0})
    assert plan.row(3) == plan.row(0)
    assert plan.restarts == ()


def test_alpha_weights_the_soft_loss() -> None:
    parts = loss_of(HintonKD(alpha=0.7, temperature=3.0))
    assert parts.soft is not None
    assert parts.total.item() == pytest.approx(0.3 * parts.hard.item() + 0.7 * parts.soft.item())
    assert parts.active is None


def test_alpha_0_is_the_hard_loss_and_alpha_1_the_soft_loss() -> None:
    assert loss_of(HintonKD(alpha=0)).total.item() == pytest.approx(F.cross_entropy(STUDENT, TARGETS).item())
    only_soft = loss_of(HintonKD(alpha=1))
    assert only_soft.soft is not None
    assert only_soft.total.item() == only_soft.soft.item()


def test_the_soft_loss_includes_tau_squared() -> None:
    tau = 4.0
    plain = F.kl_div(F.log_softmax(STUDENT / tau, 1), F.softmax(TEACHER / tau, 1), reduction="sum") / len(STUDENT)
    parts = loss_of(HintonKD(temperature=tau))
    assert parts.soft is not None
    assert parts.soft.item() == pytest.approx(16 * plain.item())


def test_a_student_that_equals_its_teacher_has_no_soft_loss() -> None:
    method = make_method(HintonKD(alpha=1.0))
    outputs = {"logits": TEACHER}
    assert method.loss(outputs, outputs, TARGETS, method.plan(Run(1, 1), 1.0).row(0)).total.item() == pytest.approx(0)


def test_conventions_name_both_weights_and_the_reduction() -> None:
    conventions = make_method(HintonKD()).conventions
    assert "(1 - alpha) * H" in conventions
    assert "alpha * tau^2 * KL" in conventions
    assert "mean over samples" in conventions
