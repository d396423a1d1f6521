"""Knowledge distillation of Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015)."""

from __future__ import annotations

from torch import Tensor

from autockd.config.methods import HintonKD as HintonKDConfig
from autockd.distillation.losses import hard_loss, softened_kl, standardised
from autockd.distillation.methods.base import LossParts, Outputs, Row
from autockd.distillation.plan import Plan, Run


class HintonKD:
    """L = (1 - alpha) * CE + alpha * tau^2 * KL(softmax(z_T / tau) || softmax(z_S / tau))."""

    teacher_outputs = frozenset({"logits"})
    is_mean_over_samples = True

    def __init__(self, config: HintonKDConfig) -> None:
        self.config = config

    @property
    def conventions(self) -> str:
        """Weights and reductions."""
        logits = "standardised logits" if self.config.standardise_logits else "logits"
        return (
            "L = (1 - alpha) * CE + alpha * tau^2 * KL(T || S); KL of softened softmax outputs of "
            f"{logits}, summed over classes, mean over samples"
        )

    def plan(self, run: Run, second_moment: float) -> Plan:
        """Constant weights and temperature."""
        return Plan.of(
            run,
            {
                "hard_weight": [1 - self.config.alpha] * run.steps,
                "soft_weight": [self.config.alpha] * run.steps,
                "temperature": [self.config.temperature] * run.steps,
            },
        )

    def loss(self, student: Outputs, teacher: Outputs, targets: Tensor, row: Row) -> LossParts:
        """Both losses, weighted; the soft part includes tau^2."""
        hard = hard_loss(student["logits"], targets)
        of_student, of_teacher = student["logits"], teacher["logits"]
        if self.config.standardise_logits:
            of_student, of_teacher = standardised(of_student), standardised(of_teacher)
        soft = softened_kl(of_student, of_teacher, row["temperature"])
        return LossParts(total=row["hard_weight"] * hard + row["soft_weight"] * soft, hard=hard, soft=soft)

    def warnings(self, run: Run, second_moment: float) -> tuple[str, ...]:
        """None."""
        return ()
