"""DIST of Huang, You, Wang, Qian and Xu, "Knowledge Distillation from A Stronger Teacher" (NeurIPS 2022)."""

from __future__ import annotations

from torch import Tensor

from autockd.config.methods import Dist as DistConfig
from autockd.distillation.losses import hard_loss, uncorrelated
from autockd.distillation.methods.base import LogitMethod, LossParts, Outputs, Row
from autockd.distillation.plan import Plan, Run


class Dist(LogitMethod):
    """L = CE + tau^2 * (beta * (1 - Pearson over classes) + gamma * (1 - Pearson over samples)) of softmax outputs."""

    is_mean_over_samples = False  # a class is compared over the whole batch
    conventions = (
        "L = CE + tau^2 * (beta * (1 - r over classes, mean over samples) + gamma * (1 - r over samples, mean over "
        "classes)); r is Pearson's correlation of softmax outputs at tau"
    )

    def __init__(self, config: DistConfig) -> None:
        self.config = config

    def plan(self, run: Run, second_moment: float | None) -> Plan:
        """Constant weights and temperature."""
        return Plan.constant(run, hard_weight=1.0, soft_weight=1.0, temperature=self.config.temperature)

    def loss(self, student: Outputs, teacher: Outputs, targets: Tensor, row: Row) -> LossParts:
        """Cross-entropy and both relations."""
        tau = row["temperature"]
        of_student, of_teacher = (outputs["logits"].div(tau).softmax(dim=1) for outputs in (student, teacher))
        by_sample = uncorrelated(of_student, of_teacher, dim=1)
        by_class = uncorrelated(of_student, of_teacher, dim=0)
        hard = hard_loss(student["logits"], targets)
        soft = tau**2 * (self.config.sample_weight * by_sample + self.config.class_weight * by_class)
        return LossParts(total=row["hard_weight"] * hard + row["soft_weight"] * soft, hard=hard, soft=soft)
