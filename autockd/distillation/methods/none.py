"""No distillation: the hard loss alone, the baseline that every method must beat."""

from __future__ import annotations

from torch import Tensor

from autockd.config.methods import NoDistillation as NoDistillationConfig
from autockd.distillation.losses import HARD, hard_loss
from autockd.distillation.methods.base import LossParts, Outputs, Row, TeacherRole
from autockd.distillation.plan import Plan, Run


class NoDistillation:
    """L = L_task."""

    taught_by: TeacherRole = "teacher"
    teacher_outputs: frozenset[str] = frozenset()
    is_mean_over_samples = True
    conventions = f"L = H, mean over samples; {HARD}"

    def __init__(self, config: NoDistillationConfig) -> None:
        self.config = config

    def plan(self, run: Run, second_moment: float | None) -> Plan:
        """A table without method coefficients, but for the weight 1 of the hard loss."""
        return Plan.of(run, {"hard_weight": [1.0] * run.steps})

    def loss(self, student: Outputs, teacher: Outputs, targets: Tensor, row: Row) -> LossParts:
        """The hard loss of the student's logits."""
        hard = hard_loss(student["logits"], targets)
        return LossParts(total=hard, hard=hard)

    def warnings(self, run: Run, second_moment: float | None) -> tuple[str, ...]:
        """None."""
        return ()
