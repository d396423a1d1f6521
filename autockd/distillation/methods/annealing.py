"""Annealing KD: Jafari, Rezagholizadeh, Sharma, Ghodsi, EACL 2021.

Stage one regresses the teacher's logits while phi grows; stage two trains on labels, from the best weights of stage
one. It is Continuation KD with margin 0 and a psi that steps from 0 to 1.
"""

from __future__ import annotations

from torch import Tensor

from autockd.config.methods import AnnealingKD as AnnealingKDConfig
from autockd.config.methods import schedule_length
from autockd.distillation.losses import HARD, hard_loss, squared_distance
from autockd.distillation.methods.base import LogitMethod, LossParts, Outputs, Row
from autockd.distillation.plan import Plan, Run
from autockd.distillation.schedules import smoothing


class AnnealingKD(LogitMethod):
    """Stage one: L = mean-MSE(z_S, phi * z_T). Stage two: L = CE."""

    def __init__(self, config: AnnealingKDConfig) -> None:
        self.config = config

    @property
    def conventions(self) -> str:
        """Both stages with their reductions."""
        return (
            f"stage 1: L = {self.config.reduction} over classes, mean over samples, of (z_S - phi * z_T)^2; "
            f"stage 2: L = H, mean over samples, from the best weights of stage 1; {HARD}"
        )

    def plan(self, run: Run, second_moment: float | None) -> Plan:
        """hard_weight 0 then 1, and phi; training restarts from the best weights where stage two begins."""
        config = self.config
        ticks = run.ticks(config.granularity)
        length = config.smoothed_length(ticks)
        boundary = schedule_length(config.stage_fraction, ticks)
        at = [run.tick(step, config.granularity) for step in range(run.steps)]
        weights = [float(tick > boundary) for tick in at]  # 0 in stage one, 1 in stage two
        phi = [smoothing(config.smoothing_shape, tick, length, config.smoothing_start) for tick in at]
        restarts = tuple(step for step in range(1, run.steps) if weights[step] != weights[step - 1])
        return Plan.of(run, {"hard_weight": weights, "smoothing": phi}, restarts)

    def loss(self, student: Outputs, teacher: Outputs, targets: Tensor, row: Row) -> LossParts:
        """The loss of the stage that the row belongs to."""
        hard = hard_loss(student["logits"], targets)
        soft = squared_distance(student["logits"], teacher["logits"], row["smoothing"], self.config.reduction).mean()
        weight = row["hard_weight"]
        return LossParts(total=weight * hard + (1 - weight) * soft, hard=hard, soft=soft)

    def warnings(self, run: Run, second_moment: float | None) -> tuple[str, ...]:
        """A run so short that stage two has no step."""
        if any(self.plan(run, second_moment).column("hard_weight")):
            return ()
        return ("stage two has no step, so the labels are never learned from; train longer or lower stage_fraction",)
