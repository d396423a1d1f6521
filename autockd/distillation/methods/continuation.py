"""Continuation KD: Jafari, Kobyzev, Rezagholizadeh, Poupart, Ghodsi, Findings of EMNLP 2022, equations 3 to 5."""

from __future__ import annotations

from torch import Tensor

from autockd.config.methods import ContinuationKD as ContinuationKDConfig
from autockd.distillation.losses import HARD, hard_loss, hinge, squared_distance
from autockd.distillation.methods.base import LogitMethod, LossParts, Outputs, Row
from autockd.distillation.plan import Plan, Run
from autockd.distillation.schedules import hard_weight, smoothing


class ContinuationKD(LogitMethod):
    """L = psi * L_task + (1 - psi) * w_kd * max(0, d(x) - m * phi), d the squared distance of z_S to phi * z_T."""

    def __init__(self, config: ContinuationKDConfig) -> None:
        self.config = config
        self.is_mean_over_samples = config.hinge == "sample"

    @property
    def conventions(self) -> str:
        """Weights and reductions, with the unit of the margin, and what an ablation holds still."""
        config = self.config
        per = "each sample" if config.hinge == "sample" else "the batch mean"
        margin = "m * phi" if config.anneal_margin else "m"
        target = "phi * z_T" if config.anneal_teacher else "z_T"
        psi = "" if config.anneal_hard_loss else f"psi: {config.frozen_hard_loss:g} throughout; "
        return (
            f"L = psi * H + (1 - psi) * w_kd * max(0, d - {margin}); {psi}d = {config.reduction} over classes of "
            f"(z_S - {target})^2; hinge on {per}; mean over samples; margin unit: {config.margin_mode}; {HARD}"
        )

    def plan(self, run: Run, second_moment: float | None) -> Plan:
        """Psi as hard_weight, w_kd as soft_weight, phi as smoothing, and the annealed margin m * phi."""
        config = self.config
        ticks = run.ticks(config.granularity)
        length = config.smoothed_length(ticks)
        at = [run.tick(step, config.granularity) for step in range(run.steps)]
        phi = [smoothing(config.smoothing_shape, tick, length, config.smoothing_start) for tick in at]
        psi = [self._psi(tick, ticks) for tick in at]
        margin = config.margin_value(second_moment)
        return Plan.of(
            run,
            {
                "hard_weight": psi,
                "soft_weight": [config.soft_loss_weight] * run.steps,
                "smoothing": phi if config.anneal_teacher else [1.0] * run.steps,
                "margin": [margin * value for value in phi] if config.anneal_margin else [margin] * run.steps,
            },
        )

    def _psi(self, tick: int, ticks: int) -> float:
        config = self.config
        if not config.anneal_hard_loss:
            return config.frozen_hard_loss
        return hard_weight(
            config.ramp_shape,
            tick,
            ticks,
            ramp=config.hard_loss_ramp,
            peak=config.hard_loss_peak,
            power=config.ramp_power,
        )

    def loss(self, student: Outputs, teacher: Outputs, targets: Tensor, row: Row) -> LossParts:
        """Equation 3, with the hinge of equation 4 on each sample or on the batch mean."""
        hard = hard_loss(student["logits"], targets)
        distance = squared_distance(student["logits"], teacher["logits"], row["smoothing"], self.config.reduction)
        if self.config.hinge == "batch":
            distance = distance.mean()
        soft, active = hinge(distance, row["margin"])
        psi = row["hard_weight"]
        total = psi * hard + (1 - psi) * row["soft_weight"] * soft
        return LossParts(total=total, hard=hard, soft=soft, active=active)

    def warnings(self, run: Run, second_moment: float | None) -> tuple[str, ...]:
        """The dead zone: a new student, z_S near 0, is at distance phi^2 * E[z_T^2], perhaps inside the margin."""
        config = self.config
        if not config.margin or config.reduction == "sum":
            return ()
        if second_moment is None:
            if config.margin_mode == "absolute":
                return ()
            second_moment = 1.0  # the margin is in units of it, whatever it is
        if not (margin := config.margin_value(second_moment)):
            return ()
        plan = self.plan(run, second_moment)
        pairs = zip(plan.column("smoothing"), plan.column("margin"), strict=True)
        bounds = [margin * phi * phi * second_moment / annealed for phi, annealed in pairs]
        dead = next((step for step, bound in enumerate(bounds) if margin < bound * (1 - 1e-9)), run.steps)
        if dead == 0:
            return ()
        remedy = "lower `margin`" + ("" if config.margin_mode == "dead_zone" else " or use margin_mode: dead_zone")
        return (
            f"dead zone: the margin ({margin:.4g}) is not below {bounds[0]:.4g}, which forgives all that a new student "
            "is off by (phi^2 * E[z_T^2], over phi where the margin is annealed), so the soft loss is likely to be "
            f"zero for the first {dead / run.steps:.0%} of the run; {remedy}",
        )
