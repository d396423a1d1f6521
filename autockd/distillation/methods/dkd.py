"""Decoupled KD of Zhao, Cui, Song, Qiu and Liang, "Decoupled Knowledge Distillation" (CVPR 2022)."""

from __future__ import annotations

from torch import Tensor

from autockd.config.methods import DecoupledKD as DecoupledKDConfig
from autockd.distillation.losses import decoupled_kl, hard_loss, standardised
from autockd.distillation.methods.base import LogitMethod, LossParts, Outputs, Row
from autockd.distillation.plan import Plan, Run


class DecoupledKD(LogitMethod):
    """L = CE + w * (alpha * TCKD + beta * NCKD), w growing from 0 to 1 over the warm-up. For classification alone."""

    def __init__(self, config: DecoupledKDConfig) -> None:
        self.config = config

    @property
    def conventions(self) -> str:
        """Weights and reductions."""
        logits = "standardised logits" if self.config.standardise_logits else "logits"
        return f"L = CE + w * (alpha * TCKD + beta * NCKD) of {logits}, each with tau^2, mean over samples; w warms up"

    def plan(self, run: Run, second_moment: float | None) -> Plan:
        """The warm-up as soft_weight; the rest is constant."""
        warm = self.config.warmup * run.steps
        growing = [min(1.0, (step + 1) / warm) if warm else 1.0 for step in range(run.steps)]
        constant = Plan.constant(run, hard_weight=1.0, temperature=self.config.temperature)
        return constant.with_column("soft_weight", growing)

    def loss(self, student: Outputs, teacher: Outputs, targets: Tensor, row: Row) -> LossParts:
        """Cross-entropy and both parts of the decoupled KL."""
        of_student, of_teacher = student["logits"], teacher["logits"]
        hard = hard_loss(of_student, targets)
        if self.config.standardise_logits:
            of_student, of_teacher = standardised(of_student), standardised(of_teacher)
        target, others = decoupled_kl(of_student, of_teacher, targets, row["temperature"])
        soft = self.config.target_weight * target + self.config.other_weight * others
        return LossParts(total=row["hard_weight"] * hard + row["soft_weight"] * soft, hard=hard, soft=soft)
