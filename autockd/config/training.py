"""What a study may say about a training run, of a student or of a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from autockd.config.base import Config
from autockd.config.models import Encoder, ModelConfig

_ADAMW_RATE = 1e-3


class LrSchedule(Config):
    """The learning rate over the run, in fractions of the run."""

    shape: Literal["constant", "step", "cosine", "linear"] = "step"
    """step multiplies by `factor` at each milestone; cosine and linear fall to zero at the end."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Fractions of the run at which the step shape falls."""
    factor: float = Field(default=0.1, gt=0, le=1)
    """What the step shape multiplies by at a milestone."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the run over which the learning rate first rises linearly from zero."""

    @field_validator("milestones")
    @classmethod
    def _milestones_rise(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < m < 1 for m in milestones) or list(milestones) != sorted(set(milestones)):
            raise ValueError(f"milestones must be rising fractions between 0 and 1, not {list(milestones)}")
        return milestones


class TrainingConfig(Config):
    """One training run. By default that of Jafari et al. (2022) for CIFAR: its epochs, batch size and learning rate.

    What the paper leaves open is as in the first author's release of Annealing KD: SGD with momentum 0.9, weight decay
    1e-4, and a tenth of the learning rate from 1/2 and again from 3/4 of the run.
    A study of texts has those of `autockd.config.text_defaults` instead.
    """

    epochs: int = Field(default=200, ge=1)
    """Passes over the training samples."""
    batch_size: int = Field(default=32, ge=1)
    """Samples per step; a last batch that is smaller is used too."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW with betas 0.9 and 0.999."""
    learning_rate: float = Field(default=0.2, gt=0)
    """Peak learning rate; where AdamW is chosen and none is named, 1e-3, torch's own."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD."""
    nesterov: bool = False
    """Whether SGD's momentum is Nesterov's."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """L2 penalty on all parameters (SGD), or decoupled decay that spares biases and normalisation (AdamW)."""
    lr_schedule: LrSchedule = LrSchedule()
    """The learning rate over the run."""
    max_grad_norm: float | None = Field(default=None, gt=0)
    """Gradients are scaled down to this norm, of all parameters together, where it is larger; null never."""

    @model_validator(mode="wrap")
    @classmethod
    def _has_the_rate_of_its_optimizer(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(given, Mapping) or given.get("optimizer") != "adamw" or "learning_rate" in given:
            return validate(given)
        training = validate({**given, "learning_rate": _ADAMW_RATE})
        training.model_fields_set.discard("learning_rate")  # what was filled in, nobody has set
        return training

    @model_validator(mode="after")
    def _has_a_momentum(self) -> Self:
        if self.nesterov and self.optimizer == "sgd" and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


TRAINING_DIMENSIONS = ("learning_rate", "weight_decay", "batch_size", "momentum", "epochs")
"""Fields of TrainingConfig that a search space may name."""


def trims_vocabulary(model: ModelConfig, training: TrainingConfig) -> bool:
    """Whether this recipe trains a model without the rows of its word embedding that no text needs."""
    return isinstance(model, Encoder) and model.trim_vocabulary is not False and _is_restorable(training)


def require_restorable(model: ModelConfig, training: TrainingConfig) -> None:
    """Refuse trimming where rows that are away cannot be put back as they would have become.

    Raises:
        ValueError: the optimizer's weight decay is part of the gradient, so that momentum would have moved them.
    """
    if isinstance(model, Encoder) and model.trim_vocabulary and not _is_restorable(training):
        raise ValueError(
            "trim_vocabulary needs optimizer adamw, or sgd with weight_decay 0: the rows that are trimmed could not be "
            f"put back as weight_decay {training.weight_decay:g} would have left them"
        )


def _is_restorable(training: TrainingConfig) -> bool:
    return training.optimizer != "sgd" or training.weight_decay == 0
