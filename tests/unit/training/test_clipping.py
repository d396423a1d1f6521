"""Gradients are scaled down as torch does it, bit for bit, in every step of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.records import PrecisionChoice
from autockd.training.optimizer import clip_gradients
from autockd.training.trainer import Trainer


@pytest.mark.parametrize("most", [1e-3, 1.0, 7.3, 1e3, None])
def test_gradients_are_those_of_torch(most: float | None) -> None:
    """To the last bit, where the norm is just what it may be (None) too."""

    def parameters() -> list[nn.Parameter]:
        generator = torch.Generator().manual_seed(0)
        made = [nn.Parameter(torch.zeros(shape)) for shape in ((5, 3), (4,), (2, 2, 2))]
        for parameter in made[:2]:  # the last one was not used
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        return made

    if most is None:
        most = nn.utils.get_total_norm([each.grad for each in parameters() if each.grad is not None]).item()

    ours, theirs = parameters(), parameters()
    clip_gradients(ours, most)
    nn.utils.clip_grad_norm_(theirs, most)
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert torch.equal(mine.grad, other.grad)
    assert ours[2].grad is None


def test_gradients_that_are_not_finite_are_as_torch_leaves_them() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([1.0, float("inf"), 2.0])
    clip_gradients([parameter], 1.0)
    assert torch.equal(parameter.grad.isnan(), torch.tensor([False, True, False]))


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_is_as_long_as_the_gradients_may_be(
    parts: int, task: Task, fp32: PrecisionChoice, make_trial: Callable[..., TrialConfig]
) -> None:
    """All weights together, whether or not the batch is computed in parts."""
    rate, most = 0.5, 1e-3
    plain = {"momentum": 0.0, "weight_decay": 0.0, "lr_schedule": {"shape": "constant"}}
    trial = make_trial("none", epochs=1, batch_size=len(task.train), learning_rate=rate, max_grad_norm=most, **plain)
    trainer = Trainer(trial, task, fp32, micro_batches=parts)
    before = nn.utils.parameters_to_vector(trainer.model.parameters()).detach().clone()
    assert [record.step for record in trainer.fit()] == [1]
    change = nn.utils.parameters_to_vector(trainer.model.parameters()).detach() - before
    assert change.norm().item() == pytest.approx(rate * most, rel=1e-3)
