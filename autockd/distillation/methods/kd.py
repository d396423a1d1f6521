"""Knowledge distillation of Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015)."""

from __future__ import annotations

from torch import Tensor

from autockd.config.methods import AssistantKD as AssistantKDConfig
from autockd.config.methods import HintonKD as HintonKDConfig
from autockd.distillation.losses import HARD, hard_loss, softened_kl, squared_distance, standardised
from autockd.distillation.methods.base import LogitMethod, LossParts, Outputs, Row
from autockd.distillation.plan import Plan, Run


class HintonKD(LogitMethod):
    """L = (1 - alpha) * CE + alpha * tau^2 * KL(softmax(z_T / tau) || softmax(z_S / tau))."""

    def __init__(self, config: HintonKDConfig | AssistantKDConfig) -> None:
        self.config = config

    @property
    def conventions(self) -> str:
        """Weights and reductions."""
        logits = "standardised logits" if self.config.standardise_logits else "logits"
        return (
            f"L = (1 - alpha) * H + alpha * tau^2 * KL(T || S); KL of softened softmax outputs of {logits}, summed "
            f"over classes, mean over samples; {HARD}, and for scores (z_S - z_T)^2 stands in place of tau^2 * KL"
        )

    def plan(self, run: Run, second_moment: float | None) -> Plan:
        """Constant weights and temperature."""
        config = self.config
        return Plan.constant(
            run, hard_weight=1 - config.alpha, soft_weight=config.alpha, temperature=config.temperature
        )

    def loss(self, student: Outputs, teacher: Outputs, targets: Tensor, row: Row) -> LossParts:
        """Both losses, weighted; the soft part includes tau^2."""
        hard = hard_loss(student["logits"], targets)
        soft = self._soft(student["logits"], teacher["logits"], targets, row)
        return LossParts(total=row["hard_weight"] * hard + row["soft_weight"] * soft, hard=hard, soft=soft)

    def _soft(self, student: Tensor, teacher: Tensor, targets: Tensor, row: Row) -> Tensor:
        if targets.is_floating_point():  # a score has no distribution to soften
            return squared_distance(student, teacher, smoothing=1.0, reduction="mean").mean()
        if self.config.standardise_logits:
            student, teacher = standardised(student), standardised(teacher)
        return softened_kl(student, teacher, row["temperature"])
