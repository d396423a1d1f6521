"""What every distillation method promises the trainer, for each method that a study can name."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from autockd.config.methods import METHOD_CONFIGS
from autockd.distillation import Method, Run, make_method

SECOND_MOMENT = 4.0
RUNS = [Run(1, 1), Run(1, 7), Run(5, 3), Run(40, 1), Run(25, 4)]
BOUNDED = {"hard_weight": (0, 1), "smoothing": (0, 1), "margin": (0, math.inf), "temperature": (1e-9, math.inf)}

each_method = pytest.mark.parametrize("name", METHOD_CONFIGS)
each_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.epochs}x{run.steps_per_epoch}")


def method_of(name: str, **settings: Any) -> Method:
    """The method, with the knobs that `settings` name where it has them."""
    fields = METHOD_CONFIGS[name].model_fields
    config = METHOD_CONFIGS[name](**{key: value for key, value in settings.items() if key in fields})
    return make_method(config)


def batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 8, 5, generator=generator, dtype=dtype)
    return student.requires_grad_(), 3 * teacher, torch.randint(5, (8,), generator=generator)


@each_method
def test_it_is_made_from_its_configuration(name: str) -> None:
    method = method_of(name)
    assert method.conventions.strip().startswith(("L =", "stage 1: L ="))
    assert "mean over samples" in method.conventions
    assert isinstance(method.teacher_outputs, frozenset)
    told = method.warnings(Run(1, 1), SECOND_MOMENT)
    assert bool(told) == (name == "annealing"), "of the usual values, its second stage alone can have no step"
    assert all(isinstance(warning, str) and warning for warning in told)


@each_method
@each_run
def test_its_plan_has_a_finite_row_for_every_step(name: str, run: Run) -> None:
    plan = method_of(name, smoothing_start=1).plan(run, SECOND_MOMENT)
    assert plan.run == run
    assert plan.table.shape == (run.steps, len(plan.columns))
    assert plan.table.dtype == torch.float64
    assert plan.table.device.type == "cpu"
    assert plan.table.isfinite().all()
    assert len(set(plan.columns)) == len(plan.columns)
    for column, (low, high) in BOUNDED.items():
        if column in plan.columns:
            assert all(low <= value <= high for value in plan.column(column)), column


@each_method
@each_run
def test_its_restarts_are_steps_within_the_run(name: str, run: Run) -> None:
    restarts = method_of(name, smoothing_start=1).plan(run, SECOND_MOMENT).restarts
    assert list(restarts) == sorted(set(restarts))
    assert all(0 < step < run.steps for step in restarts)


@each_method
def test_its_plan_is_a_function_of_its_arguments(name: str) -> None:
    method = method_of(name, margin=0.1)
    first, second = (method.plan(Run(40, 2), SECOND_MOMENT) for _ in range(2))
    assert torch.equal(first.table, second.table)
    assert (first.columns, first.restarts) == (second.columns, second.restarts)


@each_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_row_gives_a_finite_loss_and_gradient(name: str, dtype: torch.dtype) -> None:
    method = method_of(name, smoothing_start=5, margin=0.1)
    plan = method.plan(Run(10, 1), SECOND_MOMENT)
    for step in range(10):
        student, teacher, targets = batch(dtype)
        parts = method.loss({"logits": student}, {"logits": teacher}, targets, plan.row(step))
        parts.total.backward()
        scalars = [part for part in (parts.total, parts.hard, parts.soft, parts.active) if part is not None]
        assert all(part.dim() == 0 and part.isfinite() for part in scalars)
        assert parts.total.item() >= 0
        assert student.grad is not None
        assert student.grad.isfinite().all()


@each_method
def test_the_teacher_gets_no_gradient(name: str) -> None:
    method = method_of(name, smoothing_start=5)
    plan = method.plan(Run(10, 1), SECOND_MOMENT)
    for step in range(10):
        student, teacher, targets = batch()
        teacher.requires_grad_()
        method.loss({"logits": student}, {"logits": teacher}, targets, plan.row(step)).total.backward()
        assert teacher.grad is None
        assert student.grad is not None
        assert student.grad.abs().sum() > 0


@each_method
def test_it_needs_no_other_output_of_the_teacher_than_it_says(name: str) -> None:
    method = method_of(name)
    student, teacher, targets = batch()
    given = {"logits": teacher} if "logits" in method.teacher_outputs else {}
    assert set(given) == method.teacher_outputs
    row = method.plan(Run(40, 1), SECOND_MOMENT).row(0)
    assert method.loss({"logits": student}, given, targets, row).total.isfinite()


@each_method
def test_rows_of_numbers_and_of_tensors_give_the_same_loss(name: str) -> None:
    method = method_of(name, smoothing_start=5, margin=0.1)
    plan = method.plan(Run(10, 1), SECOND_MOMENT)
    student, teacher, targets = batch(torch.float64)
    for step in range(10):
        tensors = dict(zip(plan.columns, plan.table[step].unbind(), strict=True))
        outputs = {"logits": student}, {"logits": teacher}, targets
        numbers, on_device = method.loss(*outputs, plan.row(step)), method.loss(*outputs, tensors)
        torch.testing.assert_close(numbers.total, on_device.total, rtol=1e-12, atol=1e-12)


@each_method
def test_a_loss_leaves_its_inputs_alone(name: str) -> None:
    method = method_of(name, smoothing_start=5)
    student, teacher, targets = batch()
    before = [tensor.detach().clone() for tensor in (student, teacher, targets)]
    row = method.plan(Run(10, 1), SECOND_MOMENT).row(0)
    row_before = dict(row)
    method.loss({"logits": student}, {"logits": teacher}, targets, row)
    assert all(torch.equal(old, new) for old, new in zip(before, (student, teacher, targets), strict=True))
    assert row == row_before


@each_method
def test_the_order_of_the_samples_does_not_matter(name: str) -> None:
    method = method_of(name, smoothing_start=5, margin=0.1)
    student, teacher, targets = batch(torch.float64)
    row = method.plan(Run(10, 1), SECOND_MOMENT).row(4)
    order = torch.arange(len(targets)).flip(0)
    one = method.loss({"logits": student}, {"logits": teacher}, targets, row)
    other = method.loss({"logits": student[order]}, {"logits": teacher[order]}, targets[order], row)
    torch.testing.assert_close(one.total, other.total)


@pytest.mark.parametrize("name", [name for name in METHOD_CONFIGS if name != "dkd"])  # which sets a class apart
def test_a_regression_has_a_loss_too(name: str) -> None:
    method = method_of(name, smoothing_start=5)
    student = torch.tensor([[0.5], [1.5]], requires_grad=True)
    teacher, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 3.0])
    for step in (0, 9):
        parts = method.loss(
            {"logits": student}, {"logits": teacher}, targets, method.plan(Run(10, 1), SECOND_MOMENT).row(step)
        )
        assert parts.hard.item() == pytest.approx((0.25 + 2.25) / 2)
        assert parts.total.isfinite()


@each_method
def test_it_says_truly_whether_a_batch_has_parts(name: str) -> None:
    """A trial that runs out of memory computes a batch in parts, if the loss is a mean over samples."""
    method = method_of(name, smoothing_start=5, margin=0.1)
    student, teacher, targets = batch(torch.float64)
    row = method.plan(Run(10, 1), SECOND_MOMENT).row(4)

    def loss(part: slice) -> Tensor:
        return method.loss({"logits": student[part]}, {"logits": teacher[part]}, targets[part], row).total

    in_parts = (3 * loss(slice(0, 3)) + 5 * loss(slice(3, 8))) / 8
    assert torch.isclose(loss(slice(0, 8)), in_parts, rtol=1e-9).item() == method.is_mean_over_samples
    assert method.is_mean_over_samples == (name != "dist")
