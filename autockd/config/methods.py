"""What a study may say about each distillation method: one class per method, chosen by `name`.

The formulas stand in `autockd.distillation.methods`, one file per method of the same name.
Symbols in brackets are those of Jafari et al., "Continuation KD", Findings of EMNLP 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from autockd.config.base import Config

SmoothingShape = Literal["step", "linear", "cosine", "exponential"]
RampShape = Literal["linear", "cosine", "power", "step"]
Granularity = Literal["epoch", "step"]
MarginMode = Literal["none", "relative", "dead_zone", "absolute"]
Reduction = Literal["mean", "sum"]
Hinge = Literal["sample", "batch"]

_ROUNDING = 1e-9

_STANDARDISED_TEMPERATURE = 2.0
"""Base temperature of Sun et al. (CVPR 2024)."""


def schedule_length(fraction: float, ticks: int) -> int:
    """Ticks that a schedule over `fraction` of `ticks` lasts: max(1, floor(rho * n))."""
    return max(1, math.floor(fraction * ticks + _ROUNDING))


class NoDistillation(Config):
    """The hard loss alone: the baseline that every method must beat."""

    name: Literal["none"] = "none"


class _OfLogits(Config):
    """A method whose logits may be standardised, `standardise_logits`; its temperature is then another by default."""

    @model_validator(mode="wrap")
    @classmethod
    def _has_the_temperature_of_its_logits(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, Mapping) or given.get("standardise_logits") is not True or "temperature" in given:
            return validate(given)
        method = validate({**given, "temperature": _STANDARDISED_TEMPERATURE})
        method.model_fields_set.discard("temperature")  # what was filled in, nobody has set
        return method


class _SoftenedKD(_OfLogits):
    """(1 - alpha) * CE + alpha * tau^2 * KL(teacher || student), both softened by tau; who teaches is the method's."""

    name: str
    alpha: float = Field(default=0.9, ge=0, le=1)
    """Share of the soft loss; 1 - alpha is the share of the hard loss."""
    temperature: float = Field(default=4.0, gt=0)
    """Softmax temperature tau of both networks."""
    standardise_logits: bool = False
    """Whether each sample's logits are first brought to mean 0 and deviation 1 (Sun et al., CVPR 2024); tau is then 2,
    as it is there, unless it is named."""


class HintonKD(_SoftenedKD):
    """The loss of Hinton et al. (2015), with the study's teacher."""

    name: Literal["kd"] = "kd"


class AssistantKD(_SoftenedKD):
    """The same loss, with the study's assistant as the teacher (Mirzadeh et al., AAAI 2020)."""

    name: Literal["takd"] = "takd"


class DecoupledKD(_OfLogits):
    """CE plus KD split into target and other classes, each with a weight of its own (Zhao et al., CVPR 2022)."""

    name: Literal["dkd"] = "dkd"
    target_weight: float = Field(default=1.0, ge=0)
    """Alpha: weight of TCKD, what the teacher says of the right class against all others."""
    other_weight: float = Field(default=8.0, ge=0)
    """Beta: weight of NCKD, what it says of the others among themselves; the paper has 2 to 8."""
    temperature: float = Field(default=4.0, gt=0)
    """Softmax temperature tau of both networks."""
    warmup: float = Field(default=0.083, ge=0, le=1)
    """Share of the run over which the soft loss grows from nothing to its weight; 20 of 240 epochs in the paper."""
    standardise_logits: bool = False
    """Whether each sample's logits are first brought to mean 0 and deviation 1 (Sun et al., CVPR 2024); tau is then 2,
    as it is there, unless it is named."""


class Dist(Config):
    """CE plus what the correlations of softmax outputs miss, over classes and over the batch (Huang et al., 2022)."""

    name: Literal["dist"] = "dist"
    sample_weight: float = Field(default=1.0, ge=0)
    """Beta: weight of 1 - Pearson's correlation over the classes of a sample."""
    class_weight: float = Field(default=1.0, ge=0)
    """Gamma: weight of 1 - Pearson's correlation over the samples of a batch, class by class."""
    temperature: float = Field(default=1.0, gt=0)
    """Softmax temperature tau of both networks."""


class Smoothed(Config):
    """The schedule of phi, shared by the methods that grow the teacher's logits from 1/T_max to their full size."""

    smoothing_start: int = Field(default=20, ge=1)
    """T_max: phi starts at 1/T_max, or at 2/T_max where the step shape has fewer than two ticks for each value. A study
    of texts has 10 by itself."""
    schedule_fraction: float = Field(default=1.0, gt=0, le=1)
    """rho: the share of the smoothed run after which phi has reached 1."""
    smoothing_shape: SmoothingShape = "step"
    """How phi grows; only `step` is in the paper (its Algorithm 1)."""
    granularity: Granularity = "epoch"
    """Whether schedules advance once an epoch (the paper) or once a training step (for runs of few epochs)."""
    reduction: Reduction = "mean"
    """Over the classes of a squared logit difference: `mean` (all known code) or `sum` (as printed)."""

    def smoothed_length(self, ticks: int) -> int:
        """Ticks over which phi grows, of a run of `ticks`."""
        return schedule_length(self.schedule_fraction, ticks)


class AnnealingKD(Smoothed):
    """Regress the smoothed teacher, then train on labels from the best weights so far (Jafari et al., 2021)."""

    name: Literal["annealing"] = "annealing"
    stage_fraction: float = Field(default=0.5, gt=0, lt=1)
    """The share of the run that belongs to stage one; `schedule_fraction` counts within it."""

    def smoothed_length(self, ticks: int) -> int:
        """Ticks over which phi grows: a part of stage one."""
        return schedule_length(self.schedule_fraction, schedule_length(self.stage_fraction, ticks))


class ContinuationKD(Smoothed):
    """Continuation KD, equations 3 to 5 and Algorithm 1 with T clamped at 1."""

    name: Literal["continuation"] = "continuation"
    hard_loss_ramp: float = Field(default=0.75, gt=0, le=1)
    """s: the share of the run over which psi ramps up; afterwards psi is 1. A study of texts has 2/3 by itself."""
    hard_loss_peak: float = Field(default=1.0, ge=0, le=1)
    """psi_max: where the ramp ends, before psi becomes 1. A study of texts has 0.5 by itself."""
    soft_loss_weight: float = Field(default=1.0, ge=0)
    """w_kd: factor on the soft loss; 1 in the paper."""
    margin: float = Field(default=0.0, ge=0)
    """The hinge's margin, in the unit that `margin_mode` names."""
    margin_mode: MarginMode = "relative"
    """Unit of `margin`: `relative` is E[z_T^2], `dead_zone` E[z_T^2]/T_max, `absolute` 1; `none` has no margin."""
    ramp_shape: RampShape = "linear"
    """How psi rises to psi_max; only `linear` is in the paper."""
    ramp_power: float = Field(default=2.0, gt=0)
    """Exponent of the `power` ramp."""
    hinge: Hinge = "sample"
    """Whether the hinge acts on each sample (as printed) or on the batch mean."""
    anneal_teacher: bool = True
    """Ablation (Table 7): false freezes phi on the teacher's logits at 1."""
    anneal_margin: bool = True
    """Ablation (Table 7): false freezes phi on the margin at 1."""
    anneal_hard_loss: bool = True
    """Ablation (Table 7): false freezes psi at `frozen_hard_loss`."""
    frozen_hard_loss: float = Field(default=0.5, ge=0, le=1)
    """psi of every step when `anneal_hard_loss` is false."""

    @model_validator(mode="after")
    def _margin_is_used(self) -> Self:
        if self.margin_mode == "none" and self.margin != 0:
            raise ValueError(
                f"margin is {self.margin:g} but margin_mode is 'none', which ignores it; "
                "set margin to 0 or margin_mode to 'relative'"
            )
        return self

    def margin_value(self, second_moment: float | None) -> float:
        """The absolute margin m, given E[z_T^2], the teacher's mean squared logit on the training set.

        That may be None where there is no margin, or it is absolute.
        """
        if self.margin == 0 or self.margin_mode == "absolute":
            return self.margin
        assert second_moment is not None, "a margin in the teacher's unit needs its second moment"
        unit = second_moment / self.smoothing_start if self.margin_mode == "dead_zone" else second_moment
        return self.margin * unit


MethodConfig = Annotated[
    NoDistillation | HintonKD | AssistantKD | DecoupledKD | Dist | AnnealingKD | ContinuationKD,
    Field(discriminator="name"),
]

METHOD_CONFIGS: dict[str, type[Config]] = {
    "none": NoDistillation,
    "kd": HintonKD,
    "takd": AssistantKD,
    "dkd": DecoupledKD,
    "dist": Dist,
    "annealing": AnnealingKD,
    "continuation": ContinuationKD,
}
