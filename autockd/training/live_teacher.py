"""The teacher itself, asked for the logits of some views of some training samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from autockd.data.batches import Normalisation
from autockd.data.task import Task

FORWARD_BATCH = 256
"""Images of a forward pass. Always this many (a short batch is filled up), so that an entry does not depend on its
neighbours: kernels are chosen by shape, and another kernel rounds differently."""


@dataclass(frozen=True)
class LiveTeacher:
    """A frozen network in eval mode, in fp32.

    Attributes:
        model: returns logits [B, K].
        task: whose training samples it is asked for.
        device: where it runs.
    """

    model: nn.Module
    task: Task
    device: torch.device

    @torch.inference_mode()
    def logits(self, indices: Tensor, views: Tensor) -> Tensor:
        """Logits of each (sample, view) pair: int64 [B] each to float32 [B, K] on the CPU."""
        if len(indices) == 0:
            return torch.empty(0, len(self.task.classes))
        model = self._ready
        parts = []
        for rows, columns in zip(torch.split(indices, FORWARD_BATCH), torch.split(views, FORWARD_BATCH), strict=True):
            missing = FORWARD_BATCH - len(rows)
            padded_rows = torch.cat([rows, rows[:1].expand(missing)]).to(self.device)
            padded_columns = torch.cat([columns, columns[:1].expand(missing)]).to(self.device)
            images = self.task.views.render(self._padded, padded_rows, padded_columns)
            parts.append(model(self._normalise(images)).float()[: len(rows)].cpu())
        return torch.cat(parts)

    def second_moment(self) -> float:
        """E[z_T^2]: mean over training samples (no augmentation) and classes of the squared logits."""
        indices = torch.arange(len(self.task.train))
        views = torch.full_like(indices, self.task.views.identity)
        return self.logits(indices, views).double().square().mean().item()

    @cached_property
    def _ready(self) -> nn.Module:
        model = self.model.to(self.device).to(memory_format=torch.channels_last)
        return model.requires_grad_(False).eval()

    @cached_property
    def _padded(self) -> Tensor:
        return self.task.views.pad(self.task.train.inputs.to(self.device))

    @cached_property
    def _normalise(self) -> Normalisation:
        return Normalisation.of(self.task, self.device, channels_last=True)
