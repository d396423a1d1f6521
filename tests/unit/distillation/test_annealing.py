"""Annealing KD: its two stages, and the identity that makes it a special case of Continuation KD."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from autockd.config.methods import AnnealingKD, ContinuationKD, MethodConfig
from autockd.distillation import Plan, Row, Run, make_method


def value_and_gradient(config: MethodConfig, row: Row) -> tuple[float, Tensor]:
    generator = torch.Generator().manual_seed(7)
    student, teacher = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    student.requires_grad_()
    targets = torch.tensor([0, 1, 2, 3, 4, 0])
    total = make_method(config).loss({"logits": student}, {"logits": teacher}, targets, row).total
    total.backward()
    assert student.grad is not None
    return total.item(), student.grad


def plan_of(config: MethodConfig, run: Run) -> Plan:
    return make_method(config).plan(run, 3.0)


SHARED = [
    {"smoothing_start": 7},
    {"smoothing_start": 7, "reduction": "sum"},
    {"smoothing_start": 4, "smoothing_shape": "cosine"},
    {"smoothing_start": 10, "granularity": "step"},
]


@pytest.mark.parametrize("shared", SHARED, ids=["paper", "sum", "cosine", "by step"])
@pytest.mark.parametrize(("stage", "within"), [(0.5, 1.0), (0.7, 1.0), (0.5, 0.8)])
def test_continuation_with_margin_0_and_a_step_psi_is_annealing(
    shared: dict[str, object], stage: float, within: float
) -> None:
    """Row by row in loss and gradient, where rho is taken of the whole run so that both phi agree."""
    run = Run(epochs=20, steps_per_epoch=3)
    annealing = AnnealingKD(stage_fraction=stage, schedule_fraction=within, **shared)
    continuation = ContinuationKD(
        margin=0.0, ramp_shape="step", hard_loss_ramp=stage, schedule_fraction=stage * within, **shared
    )
    left, right = plan_of(annealing, run), plan_of(continuation, run)
    assert left.column("smoothing") == right.column("smoothing")
    for step in range(run.steps):
        value, gradient = value_and_gradient(annealing, left.row(step))
        same_value, same_gradient = value_and_gradient(continuation, right.row(step))
        assert value == pytest.approx(same_value, rel=1e-12)
        torch.testing.assert_close(gradient, same_gradient, rtol=1e-12, atol=1e-14)


def test_stage_one_regresses_and_stage_two_classifies() -> None:
    plan = plan_of(AnnealingKD(smoothing_start=5, stage_fraction=0.6), Run(10, 2))
    assert plan.column("hard_weight") == [0.0] * 12 + [1.0] * 8


@pytest.mark.parametrize("granularity", ["epoch", "step"])
def test_training_restarts_from_the_best_weights_where_stage_two_begins(granularity: str) -> None:
    plan = plan_of(AnnealingKD(smoothing_start=5, stage_fraction=0.6, granularity=granularity), Run(10, 2))
    assert plan.restarts == (12,)
    assert plan.column("hard_weight")[11:13] == [0.0, 1.0]


def test_phi_reaches_one_within_stage_one() -> None:
    phi = plan_of(AnnealingKD(smoothing_start=10, stage_fraction=0.5), Run(40, 1)).column("smoothing")
    assert phi[0] == pytest.approx(0.1)
    assert phi[16] < 1.0
    assert phi[17:] == [1.0] * 23


def test_the_stages_have_the_losses_of_the_paper() -> None:
    student = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    teacher = torch.tensor([[4.0, 2.0]], dtype=torch.float64)
    method = make_method(AnnealingKD())
    one = method.loss({"logits": student}, {"logits": teacher}, torch.tensor([1]), {"hard_weight": 0, "smoothing": 0.5})
    two = method.loss({"logits": student}, {"logits": teacher}, torch.tensor([1]), {"hard_weight": 1, "smoothing": 1.0})
    assert one.total.item() == pytest.approx((1 + 4) / 2)
    assert two.total.item() == pytest.approx(torch.nn.functional.cross_entropy(student, torch.tensor([1])).item())


def test_a_run_of_two_epochs_has_both_stages() -> None:
    plan = plan_of(AnnealingKD(smoothing_start=1), Run(2, 1))
    assert plan.column("hard_weight") == [0.0, 1.0]
    assert plan.restarts == (1,)
