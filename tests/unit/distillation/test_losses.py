"""Losses against sums written out by hand, with their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from autockd.distillation.losses import hard_loss, hinge, softened_kl, squared_distance


def logits(*rows: list[float], grad: bool = False) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64, requires_grad=grad)


def softmax(row: list[float]) -> list[float]:
    exponentials = [math.exp(value) for value in row]
    return [value / sum(exponentials) for value in exponentials]


STUDENT = [[1.5, -0.5, 0.25], [-2.0, 0.5, 1.0]]
TEACHER = [[3.0, -1.0, 0.5], [0.0, 2.0, -4.0]]


def test_hard_loss_is_cross_entropy_for_classes() -> None:
    expected = -(math.log(softmax(STUDENT[0])[2]) + math.log(softmax(STUDENT[1])[0])) / 2
    assert hard_loss(logits(*STUDENT), torch.tensor([2, 0])).item() == pytest.approx(expected, rel=1e-12)


def test_hard_loss_is_squared_error_for_a_regression() -> None:
    predictions, targets = logits([1.0], [4.0], [0.0]), torch.tensor([2.0, 2.0, 0.0], dtype=torch.float64)
    assert hard_loss(predictions, targets).item() == pytest.approx(5 / 3)


@pytest.mark.parametrize("tau", [1.0, 2.0, 4.0])
def test_softened_kl_is_a_sum_over_classes_and_a_mean_over_samples(tau: float) -> None:
    total = 0.0
    for student, teacher in zip(STUDENT, TEACHER, strict=True):
        p, q = softmax([z / tau for z in teacher]), softmax([z / tau for z in student])
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    expected = tau**2 * total / len(STUDENT)
    assert softened_kl(logits(*STUDENT), logits(*TEACHER), tau).item() == pytest.approx(expected, rel=1e-12)


def test_kl_runs_from_teacher_to_student() -> None:
    forward = softened_kl(logits(*STUDENT), logits(*TEACHER), 1.0)
    backward = softened_kl(logits(*TEACHER), logits(*STUDENT), 1.0)
    assert abs(forward.item() - backward.item()) > 0.1


def test_kl_of_equal_networks_is_zero_and_constant_offsets_do_not_matter() -> None:
    student = logits(*STUDENT)
    assert softened_kl(student, student + 7.0, 3.0).item() == pytest.approx(0.0, abs=1e-12)


def test_the_gradient_keeps_its_size_at_high_temperature() -> None:
    """Hinton et al., equation 4: with tau^2 and zero-mean logits it tends to (z_S - z_T) / C per sample."""
    student, teacher = logits([2.0, -1.0, -1.0], grad=True), logits([-3.0, 1.0, 2.0])
    softened_kl(student, teacher, 1e5).backward()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 3, rtol=1e-4, atol=1e-4)


def test_kl_is_finite_for_extreme_logits_in_single_precision() -> None:
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = softened_kl(student, torch.tensor([[-1e4, 1e4, 0.0]]), 1.0)
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_squared_distance_by_hand() -> None:
    distance = squared_distance(logits([1.0, 2.0], [0.0, 4.0]), logits([4.0, 0.0], [2.0, 2.0]), 0.5, "mean")
    assert distance.tolist() == [(1.0 + 4.0) / 2, (1.0 + 9.0) / 2]


def test_sum_over_classes_is_c_times_the_mean() -> None:
    mean, total = (squared_distance(logits(*STUDENT), logits(*TEACHER), 0.3, how) for how in ("mean", "sum"))
    torch.testing.assert_close(total, 3 * mean)


def test_smoothing_scales_the_teacher_alone() -> None:
    assert squared_distance(logits([0.5, 1.0]), logits([1.0, 2.0]), 0.5, "sum").item() == 0.0


def test_hinge_by_hand() -> None:
    value, active = hinge(torch.tensor([0.5, 1.0, 3.0, 2.0]), 1.0)
    assert value.item() == pytest.approx((0 + 0 + 2 + 1) / 4)
    assert active.item() == 0.5, "a distance equal to the margin is not active"


def test_a_hinge_on_the_batch_mean_is_active_or_not() -> None:
    assert [part.item() for part in hinge(torch.tensor(3.0), 1.0)] == [2.0, 1.0]
    assert [part.item() for part in hinge(torch.tensor(0.5), 1.0)] == [0.0, 0.0]


def test_inside_the_margin_loss_and_gradient_are_exactly_zero() -> None:
    student = logits([0.9, 2.1, -0.1], [1.0, 1.0, 1.0], grad=True)
    value, active = hinge(squared_distance(student, logits([1, 2, 0], [0.9, 1.1, 1]), 1.0, "mean"), 0.05)
    value.backward()
    assert value.item() == 0.0
    assert active.item() == 0.0
    assert student.grad is not None
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_only_samples_outside_the_margin_get_a_gradient() -> None:
    student = logits([0.1, 0.0], [3.0, 0.0], grad=True)
    value, _ = hinge(squared_distance(student, logits([0, 0], [0, 0]), 1.0, "mean"), 1.0)
    value.backward()
    assert student.grad is not None
    assert student.grad.tolist() == [[0.0, 0.0], [1.5, 0.0]]


@pytest.mark.parametrize("smoothing", [0.5, torch.tensor(0.5, dtype=torch.float64)])
def test_numbers_and_tensors_of_the_plan_mean_the_same(smoothing: float | Tensor) -> None:
    distance = squared_distance(logits(*STUDENT), logits(*TEACHER), smoothing, "mean")
    torch.testing.assert_close(distance, squared_distance(logits(*STUDENT), logits(*TEACHER), 0.5, "mean"))
    torch.testing.assert_close(
        softened_kl(logits(*STUDENT), logits(*TEACHER), smoothing), softened_kl(logits(*STUDENT), logits(*TEACHER), 0.5)
    )


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = logits(*STUDENT, grad=True), logits(*TEACHER, grad=True)
    total = softened_kl(student, teacher, 2.0) + hinge(squared_distance(student, teacher, 0.5, "mean"), 0.1)[0]
    total.backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


def test_gradients_agree_with_finite_differences() -> None:
    student, teacher = logits(*STUDENT, grad=True), logits(*TEACHER)
    assert gradcheck(lambda z: softened_kl(z, teacher, 3.0), (student,))
    assert gradcheck(lambda z: hinge(squared_distance(z, teacher, 0.4, "sum"), 0.7)[0], (student,))
    assert gradcheck(lambda z: hard_loss(z, torch.tensor([2, 0])), (student,))
