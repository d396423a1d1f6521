"""Method: what a distillation method is to the rest of the program."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from autockd.distillation.losses import Coefficient
from autockd.distillation.plan import Plan, Run

Outputs = Mapping[str, Tensor]
"""What a network gives for a batch, by name: `logits`, float [B, C]."""

Row = Mapping[str, Coefficient]
"""One row of a plan."""

TeacherRole = Literal["teacher", "assistant"]
"""Who may teach: the study's teacher, or the assistant that has learned from it."""


@dataclass(frozen=True)
class LossParts:
    """A batch's loss and what it is made of, all 0-dim.

    Attributes:
        total: what is minimised.
        hard: the loss against labels, unweighted.
        soft: the loss against the teacher, unweighted; None for a method without one.
        active: share of samples whose hinge is active, 0..1; None for a method without a hinge.
    """

    total: Tensor
    hard: Tensor
    soft: Tensor | None = None
    active: Tensor | None = None

    def stacked(self) -> Tensor:
        """The four of them, [4], without gradients; NaN for what a method lacks."""
        absent = torch.full_like(self.total, math.nan)
        values = (self.total, self.hard, self.soft, self.active)
        return torch.stack([absent if value is None else value.to(self.total.dtype) for value in values]).detach()


class Method(Protocol):
    """A distillation method with its configuration: a plan made before training, and a pure loss."""

    @property
    def taught_by(self) -> TeacherRole:
        """Whose outputs the loss is given."""
        ...

    @property
    def teacher_outputs(self) -> frozenset[str]:
        """Names of the teacher's outputs that the loss needs; empty for none."""
        ...

    @property
    def is_mean_over_samples(self) -> bool:
        """Whether a batch's loss is the mean of its samples' losses, so that it can be computed in parts."""
        ...

    @property
    def conventions(self) -> str:
        """How the loss is scaled and reduced, for the record."""
        ...

    def plan(self, run: Run, second_moment: float | None) -> Plan:
        """The coefficients of every step.

        Args:
            run: the length of the run.
            second_moment: E[z_T^2], the mean squared logit of the teacher over the training set and the classes; None
                where no trial of the study has a margin.
        """
        ...

    def loss(self, student: Outputs, teacher: Outputs, targets: Tensor, row: Row) -> LossParts:
        """The loss of one batch under one row of the plan."""
        ...

    def warnings(self, run: Run, second_moment: float | None) -> tuple[str, ...]:
        """What a user should know before any GPU time is spent.

        Args:
            run: the length of the run.
            second_moment: as of `plan`, or None while nobody knows it.
        """
        ...


class LogitMethod:
    """What most methods share: the study's teacher gives logits, and the loss is a mean over samples."""

    taught_by: TeacherRole = "teacher"
    teacher_outputs: frozenset[str] = frozenset({"logits"})
    is_mean_over_samples: bool = True

    def warnings(self, run: Run, second_moment: float | None) -> tuple[str, ...]:
        """Nothing that a user should know beforehand."""
        return ()
