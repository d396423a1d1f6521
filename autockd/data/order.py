"""What is trained on when."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from autockd.data.task import Task
from autockd.data.views import order_of_epoch


@dataclass(frozen=True)
class EpochOrder:
    """Which view of which sample is trained on when, in one epoch: a function of the data seed and the epoch alone.

    Attributes:
        indices: int64 [N], samples in training order.
        views: int64 [N], the view of each.
    """

    indices: torch.Tensor
    views: torch.Tensor

    @classmethod
    def of(cls, task: Task, epoch: int) -> EpochOrder:
        """The order of one epoch, counted from 1."""
        samples = len(task.train)
        indices = order_of_epoch(samples, task.seed, epoch)
        return cls(indices, task.views.of_epoch(samples, task.seed, epoch)[indices])
