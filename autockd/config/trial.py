"""TrialConfig: all that decides the mathematics of one trial, and how a point of the space becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from autockd.config.base import Config
from autockd.config.methods import METHOD_CONFIGS, AnnealingKD, MethodConfig, Smoothed
from autockd.config.models import ModelConfig
from autockd.config.schema import StudyConfig
from autockd.config.space import AnyDimension, Params, active_params, as_number
from autockd.config.text_defaults import method_settings
from autockd.config.training import TRAINING_DIMENSIONS, TrainingConfig, require_restorable
from autockd.hashing import content_hash

STUDENT_DIMENSIONS = {"student_depth": "depth", "student_width": "width", "student_layers": "layers"}
"""Names in a search space, and the field of the student's model that each sets."""

_SIZES = ("batch_size", *STUDENT_DIMENSIONS)
"""Dimensions by which trials differ in the memory that they take."""


class TrialConfig(Config):
    """All that decides the mathematics of one trial, apart from the task and the teacher."""

    method: MethodConfig
    training: TrainingConfig
    student: ModelConfig
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _rows_can_be_put_back(self) -> Self:
        require_restorable(self.student, self.training)
        return self

    @model_validator(mode="after")
    def _schedule_fits_the_run(self) -> Self:
        method = self.method
        if not isinstance(method, Smoothed):
            return self
        if method.smoothing_shape == "step" and method.granularity == "epoch":
            length = method.smoothed_length(self.training.epochs)
            if method.smoothing_start > length:
                share = f"schedule_fraction {method.schedule_fraction:g} of {self.training.epochs}"
                if isinstance(method, AnnealingKD):
                    share = f"{share} in the first stage, stage_fraction {method.stage_fraction:g}"
                raise ValueError(
                    f"smoothing_start is {method.smoothing_start}, beyond the schedule of {length} epochs "
                    f"({share}): phi would never "
                    f"reach 1; lower smoothing_start to at most {length}, train for more epochs, "
                    "or set granularity: step"
                )
        return self

    @property
    def fingerprint(self) -> str:
        """Content address: equal for equal mathematics."""
        return content_hash(self.model_dump(mode="json"))


def trial_config(study: StudyConfig, params: Mapping[str, object]) -> TrialConfig:
    """The trial at one point of the study's space.

    Args:
        study: the study; its own values hold wherever `params` is silent.
        params: values by dimension name. `method` switches to that method's own defaults; names that only other
            methods know are refused.

    Raises:
        pydantic.ValidationError: a value breaks a rule; its location starts with method, training or student.
    """
    rest = dict(params)
    name = str(rest.pop("method", study.method.name))
    is_own = name == study.method.name
    method = study.method.model_dump() if is_own else method_settings(study.task.kind, {"name": name})
    training = study.training.model_dump()
    student = study.student.model.model_dump()
    for key, value in rest.items():
        if key in TRAINING_DIMENSIONS:
            training[key] = value
        elif key in STUDENT_DIMENSIONS:
            student[STUDENT_DIMENSIONS[key]] = value
        else:
            method[key] = value
    return TrialConfig.model_validate({"method": method, "training": training, "student": student, "seed": study.seed})


def baseline_config(study: StudyConfig, method: MethodConfig) -> TrialConfig:
    """The study's own trial with another method."""
    return TrialConfig(method=method, training=study.training, student=study.student.model, seed=study.seed)


def largest_training(study: StudyConfig) -> tuple[ModelConfig, TrainingConfig]:
    """The student and the training that take the most memory of all that may be proposed."""
    space = study.search.space
    largest = {name: max(dimension.corners, key=as_number) for name, dimension in space.items() if name in _SIZES}
    student, training = study.student.model, study.training
    sizes = {field: largest[name] for name, field in STUDENT_DIMENSIONS.items() if name in largest}
    batch = {name: value for name, value in largest.items() if name in TRAINING_DIMENSIONS}
    return (
        type(student).model_validate({**student.model_dump(), **sizes}),
        TrainingConfig.model_validate({**training.model_dump(), **batch}),
    )


def default_params(study: StudyConfig) -> Params:
    """The study's own values at the dimensions of its space: the first trial that is enqueued."""
    values: dict[str, object] = {"method": study.method.name}
    values |= {name: getattr(study.training, name) for name in TRAINING_DIMENSIONS}
    values |= {
        name: getattr(study.student.model, field)
        for name, field in STUDENT_DIMENSIONS.items()
        if getattr(study.student.model, field, None) is not None
    }
    values |= study.method.model_dump(exclude={"name"})
    space = conditioned_space(study)
    own = {name: space[name].own(values[name]) for name in space if name in values}
    return active_params(space, own)  # type: ignore[return-value]


def conditioned_space(study: StudyConfig) -> dict[str, AnyDimension]:
    """The space with the conditions that go without saying: a method's field exists only under methods that have it."""
    space = dict(study.search.space)
    if "method" not in space:
        return space
    for name, dimension in study.search.space.items():
        owners = tuple(method for method in study.methods if name in METHOD_CONFIGS[method].model_fields)
        if owners and name != "method" and "method" not in dimension.when and len(owners) < len(study.methods):
            space[name] = dimension.model_copy(update={"when": {**dimension.when, "method": owners}})
    return space
