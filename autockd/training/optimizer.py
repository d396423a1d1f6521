"""Optimizers of a training run, fused where torch can."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import torch
from torch import nn

from autockd.config.training import TrainingConfig


class _WithoutDynamo(torch.optim.Optimizer):
    """An optimizer's methods as they are beneath what torch wraps around them for its compiler, which nobody here asks.

    The wraps import `torch._dynamo` when they are first called: in a worker, two fifths of the time and a fifth of the
    memory that torch itself takes.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class SGD(_WithoutDynamo, torch.optim.SGD):
    """torch's."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class AdamW(_WithoutDynamo, torch.optim.AdamW):
    """torch's."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD that decays every parameter, or AdamW that spares biases and normalisation; both fused."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimizer == "sgd":
        return SGD(
            parameters,
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            fused=True,
        )
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=config.learning_rate, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every parameter group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Scale gradients down to this norm, of all together, where it is larger; as `clip_grad_norm_`, bit for bit.

    On a CPU gradients that need no scaling are not multiplied by one, which takes as long as to read them all again.
    """
    changed = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in changed if parameter.grad is not None])
    if norm.device.type == "cpu" and most / (norm + _ROUNDING) >= 1:
        return
    nn.utils.clip_grads_with_norm_(changed, most, norm)


_ROUNDING = 1e-6
"""What torch adds to a norm before it divides."""
