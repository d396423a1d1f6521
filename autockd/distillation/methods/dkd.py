"""Decoupled KD of Zhao, Cui, Song, Qiu and Liang, "Decoupled Knowledge Distillation" (CVPR 2022)."""

from __future__ import annotations

from torch import Tensor

from autockd.config.methods import DecoupledKD as DecoupledKDConfig
from autockd.distillation.losses import decoupled_kl, hard_loss, standardised
from autockd.distillation.methods.base import LossParts, Outputs, Row, TeacherRole
from autockd.distillation.plan import Plan, Run


class DecoupledKD:
    """L = CE + w * (alpha * TCKD + beta * NCKD), w growing from 0 to 1 over the warm-up. For classification alone."""

    taught_by: TeacherRole = "teacher"
    teacher_outputs = frozenset({"logits"})
    is_mean_over_samples = True

    def __init__(self, config: DecoupledKDConfig) -> None:
        self.config = config

    @property
    def conventions(self) -> str:
        """Weights and reductions."""
        logits = "standardised logits" if self.config.standardise_logits else "logits"
        return f"L = CE + w * (alpha * TCKD + beta * NCKD) of {logits}, each with tau^2, mean over samples; w warms up"

    def plan(self, run: Run, second_moment: float | None) -> Plan:
        """The warm-up as soft_weight; the rest is constant."""
        ticks = self.config.warmup * run.steps
        growing = [min(1.0, (step + 1) / ticks) if ticks else 1.0 for step in range(run.steps)]
        return Plan.of(
            run,
            {
                "hard_weight": [1.0] * run.steps,
                "soft_weight": growing,
                "temperature": [self.config.temperature] * run.steps,
            },
        )

    def loss(self, student: Outputs, teacher: Outputs, targets: Tensor, row: Row) -> LossParts:
        """Cross-entropy and both parts of the decoupled KL."""
        of_student, of_teacher = student["logits"], teacher["logits"]
        hard = hard_loss(of_student, targets)
        if self.config.standardise_logits:
            of_student, of_teacher = standardised(of_student), standardised(of_teacher)
        target, others = decoupled_kl(of_student, of_teacher, targets, row["temperature"])
        soft = self.config.target_weight * target + self.config.other_weight * others
        return LossParts(total=row["hard_weight"] * hard + row["soft_weight"] * soft, hard=hard, soft=soft)

    def warnings(self, run: Run, second_moment: float | None) -> tuple[str, ...]:
        """None."""
        return ()
