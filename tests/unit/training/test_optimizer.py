from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from autockd.config.training import TrainingConfig
from autockd.training.optimizer import make_optimizer, set_learning_rate


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def shapes(group: dict[str, list[nn.Parameter]]) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in group["params"]]


def test_sgd_decays_every_parameter() -> None:
    config = TrainingConfig(optimizer="sgd", learning_rate=0.3, momentum=0.8, nesterov=True, weight_decay=0.01)
    optimizer = make_optimizer(network(), config)
    assert isinstance(optimizer, torch.optim.SGD)
    (group,) = optimizer.param_groups
    assert len(group["params"]) == 6
    named = ("lr", "momentum", "nesterov", "weight_decay", "fused")
    assert [group[name] for name in named] == [0.3, 0.8, True, 0.01, True]


def test_adamw_spares_biases_and_normalisation() -> None:
    optimizer = make_optimizer(network(), TrainingConfig(optimizer="adamw", learning_rate=0.3, weight_decay=0.01))
    assert isinstance(optimizer, torch.optim.AdamW)
    decayed, spared = optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    assert shapes(decayed) == [(3, 1, 3, 3), (2, 12)]
    assert shapes(spared) == [(3,), (3,), (3,), (2,)]
    assert [(group["lr"], group["fused"]) for group in optimizer.param_groups] == [(0.3, True)] * 2


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_frozen_parameters_stay(name: str) -> None:
    model = network()
    model[0].requires_grad_(False)
    optimizer = make_optimizer(model, TrainingConfig(optimizer=name))  # type: ignore[arg-type]
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {*model[1].parameters(), *model[3].parameters()}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_every_group_gets_the_learning_rate(name: str) -> None:
    model = network()
    optimizer = make_optimizer(model, TrainingConfig(optimizer=name, weight_decay=0))  # type: ignore[arg-type]
    set_learning_rate(optimizer, 0.0)
    before = [parameter.clone() for parameter in model.parameters()]
    model(torch.randn(4, 1, 4, 4)).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    set_learning_rate(optimizer, 0.1)
    optimizer.step()
    assert not any(torch.equal(old, new) for old, new in zip(before[-2:], list(model.parameters())[-2:], strict=True))


def test_nesterov_without_a_momentum_is_refused() -> None:
    with pytest.raises(ValidationError, match="nesterov needs a momentum above 0"):
        TrainingConfig(momentum=0.0, nesterov=True)
    TrainingConfig(optimizer="adamw", learning_rate=0.001, momentum=0.0, nesterov=True)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_its_steps_are_torchs_bit_for_bit(name: str) -> None:
    """With momentum and decay, from a state that was kept, with gradients recorded around it or not."""
    config = TrainingConfig(optimizer=name, learning_rate=0.1, momentum=0.9, weight_decay=0.1)  # type: ignore[arg-type]
    ours, theirs = network(), network()
    optimizer = make_optimizer(ours, config)
    own = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[name]
    assert type(optimizer) is not own
    other = own(make_optimizer(theirs, config).param_groups)
    for number in range(4):
        if number == 2:
            kept = optimizer.state_dict()
            optimizer = make_optimizer(ours, config)
            optimizer.load_state_dict(kept)
        for model, chosen in ((ours, optimizer), (theirs, other)):
            chosen.zero_grad()
            assert all(parameter.grad is None for parameter in model.parameters())
            model(torch.ones(4, 1, 4, 4)).square().sum().backward()
            with torch.set_grad_enabled(number % 2 == 0):
                chosen.step()
    assert all(torch.equal(mine, its) for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert not torch.equal(ours[0].weight, network()[0].weight)  # type: ignore[arg-type,index]
