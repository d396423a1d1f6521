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
from autockd.training.networks import make_feed
from autockd.training.work import epoch_work


@dataclass(frozen=True)
class LiveTeacher:
    """A frozen network in eval mode, in fp32.

    Attributes:
        config: its architecture, which says how it takes samples.
        model: returns [B, outputs].
        task: whose training samples it is asked about.
        device: where it runs.
    """

    config: ModelConfig
    model: nn.Module
    task: Task
    device: torch.device

    @torch.inference_mode()
    def logits(self, indices: Tensor, views: Tensor) -> Tensor:
        """Logits of each (sample, view) pair: int64 [B] each to float32 [B, outputs] on the CPU."""
        model = self._ready
        answers = torch.empty(len(indices), self.task.outputs)
        for places, inputs in self._feed.answering(indices, views):
            answers[places] = model(inputs).float()[: len(places)].cpu()
        return answers

    def second_moment(self) -> float:
        """E[z_T^2]: mean over training samples (no augmentation) and outputs of the squared logits."""
        indices = torch.arange(len(self.task.train))
        views = torch.full_like(indices, self.task.views.identity)
        return self.logits(indices, views).double().square().mean().item()

    def work(self) -> Work | None:
        """What answering once for each training sample takes at the least."""
        return epoch_work(self._ready, self._feed, training=False)

    @cached_property
    def _ready(self) -> nn.Module:
        model = self.model.to(self.device).to(memory_format=torch.channels_last)
        return model.requires_grad_(False).eval()

    @cached_property
    def _feed(self) -> Feed:
        return make_feed(self.config, self.task, self.task.train, self.device, augmented=True, channels_last=True)
