"""The teacher itself, asked about some views of some training samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from autockd.config.models import ModelConfig
from autockd.data.feeds import Feed
from autockd.data.task import Task
from autockd.limits import Work
from autockd.models.folding import folded
from autockd.records import Precision
from autockd.training.evaluation import forward
from autockd.training.networks import make_feed
from autockd.training.work import epoch_work

ANSWERS = 5
"""Raised where answers are computed otherwise than before: what is kept of them was rounded otherwise."""

AT_ONCE = 8192
"""Pairs whose logits are on the device at a time."""


@dataclass(frozen=True)
class LiveTeacher:
    """A frozen network in eval mode.

    Attributes:
        config: its architecture, which says how it takes samples.
        model: returns [B, outputs].
        task: whose training samples it is asked about.
        device: where it runs.
        precision: arithmetic of its forward pass.
        threads: batches that it answers for side by side, on a CPU.
    """

    config: ModelConfig
    model: nn.Module
    task: Task
    device: torch.device
    precision: Precision = "fp32"
    threads: int = 1

    def logits(self, indices: Tensor, views: Tensor) -> Tensor:
        """Logits of each (sample, view) pair: int64 [B] each to float32 [B, outputs] on the CPU."""
        answers = torch.empty(len(indices), self.task.outputs)
        for start in range(0, len(indices), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            batches = self._feed.answering(indices[part], views[part])
            answers[part] = forward(
                self._ready, batches, device=self.device, precision=self.precision, threads=self.threads
            )
        return answers

    def second_moment(self) -> float:
        """E[z_T^2]: mean over training samples (no augmentation) and outputs of the squared logits."""
        return self._unchanged(len(self.task.train)).double().square().mean().item()

    def difference(self, other: LiveTeacher, samples: int) -> float:
        """Largest difference to another's logits of the first samples, relative to the largest of those."""
        own, reference = self._unchanged(samples), other._unchanged(samples)
        return ((own - reference).abs().max() / reference.abs().max()).item()

    def _unchanged(self, samples: int) -> Tensor:
        """Logits of the first training samples, without augmentation."""
        indices = torch.arange(min(samples, len(self.task.train)))
        return self.logits(indices, torch.full_like(indices, self.task.views.identity))

    def work(self) -> Work | None:
        """What answering once for each training sample takes at the least."""
        return epoch_work(self.model.to(self.device), self._feed, training=False)

    @cached_property
    def _ready(self) -> nn.Module:
        model = self.model.to(self.device).to(memory_format=torch.channels_last)
        return folded(model.requires_grad_(False).eval(), self.precision)

    @cached_property
    def _feed(self) -> Feed:
        return make_feed(self.config, self.task, self.task.train, self.device, augmented=True, channels_last=True)
