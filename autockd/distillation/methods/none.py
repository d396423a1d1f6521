"""No distillation: the hard loss alone, the baseline that every method must beat."""

from __future__ import annotations

from torch import Tensor

from autockd.config.methods import NoDistillation as NoDistillationConfig
from autockd.distillation.losses import HARD, hard_loss
from autockd.distillation.methods.base import LogitMethod, LossParts, Outputs, Row
from autockd.distillation.plan import Plan, Run


class NoDistillation(LogitMethod):
    """L = L_task."""

    teacher_outputs = frozenset[str]()
    conventions = f"L = H, mean over samples; {HARD}"

    def __init__(self, config: NoDistillationConfig) -> None:
        self.config = config

    def plan(self, run: Run, second_moment: float | None) -> Plan:
        """A table without method coefficients, but for the weight 1 of the hard loss."""
        return Plan.constant(run, hard_weight=1.0)

    def loss(self, student: Outputs, teacher: Outputs, targets: Tensor, row: Row) -> LossParts:
        """The hard loss of the student's logits."""
        hard = hard_loss(student["logits"], targets)
        return LossParts(total=hard, hard=hard)
