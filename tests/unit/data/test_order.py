from __future__ import annotations

import torch

from autockd.data.order import EpochOrder
from autockd.data.task import Task


def test_an_epochs_order_has_every_sample_once_and_each_with_its_own_view(task: Task) -> None:
    order = EpochOrder.of(task, 3)
    assert sorted(order.indices.tolist()) == list(range(len(task.train)))
    by_sample = task.views.of_epoch(len(task.train), task.seed, 3)
    assert order.views.tolist() == [by_sample[index].item() for index in order.indices.tolist()]


def test_an_epochs_order_is_a_function_of_seed_and_epoch(task: Task) -> None:
    torch.manual_seed(1)
    first = EpochOrder.of(task, 1)
    torch.manual_seed(2)
    again, other = EpochOrder.of(task, 1), EpochOrder.of(task, 2)
    assert torch.equal(first.indices, again.indices)
    assert torch.equal(first.views, again.views)
    assert not torch.equal(first.indices, other.indices)
    assert not torch.equal(first.views.sort().values, other.views.sort().values)
