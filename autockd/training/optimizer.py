"""Optimizers of a training run, fused where torch can."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from autockd.config.training import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD that decays every parameter, or AdamW that spares biases and normalisation; both fused."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
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
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


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
