"""A trial's schedules before any GPU time is spent."""

from __future__ import annotations

import itertools

from autockd.config.arms import Arm, arms_of
from autockd.config.methods import ContinuationKD, Smoothed
from autockd.config.schema import StudyConfig
from autockd.config.trial import TrialConfig, trial_config
from autockd.distillation import Plan, compile_plan, make_method
from autockd.distillation.space_warnings import NOMINAL_STEPS, space_warnings
from autockd.errors import ConfigError, TrialFailed
from autockd.records import Record
from autockd.text import spread

_MOST_STEPS = 1000


class Preview(Record):
    """A plan at its training steps, or where there are many, at a thousand of them: first and last, evenly spread.

    The margin is in units of E[z_T^2], the teacher's mean squared logit, which is not known before it is trained; an
    absolute one in that of the squared logits.
    """

    method: str
    epochs: int
    epoch: list[int]
    """To which each step belongs, from 1."""
    progress: list[float]
    """How far the run has come with each step: 0 at the first, 1 at the last."""
    columns: dict[str, list[float]]
    """hard_weight (psi), smoothing (phi), margin, learning_rate, ... as far as the method has them."""
    notes: tuple[str, ...]


def preview(study: StudyConfig) -> Preview:
    """The schedules of the study's own trial, without data and without a teacher.

    Of a comparison, those of the last method that has a schedule.

    Raises:
        ConfigError: the schedule does not fit into the run.
    """
    arms = arms_of(study)
    trial = _previewed(arms)
    try:
        plan = compile_plan(trial, NOMINAL_STEPS * trial.training.batch_size, 1.0)
    except TrialFailed as error:
        message = f"{error.message}, if an epoch has {NOMINAL_STEPS} steps"
        raise ConfigError.of("method.smoothing_start", message, error.remedy, study.name) from error
    steps = spread(plan.run.steps, _MOST_STEPS)
    return Preview(
        method=trial.method.name,
        epochs=trial.training.epochs,
        epoch=[step // NOMINAL_STEPS + 1 for step in steps],
        progress=[step / (plan.run.steps - 1) for step in steps],
        columns={name: plan.table[steps, column].tolist() for column, name in enumerate(plan.columns)},
        notes=(*_notes(arms, trial, plan), *_margin_unit(trial), *_compared(arms)),
    )


def early_warnings(study: StudyConfig, samples: int) -> tuple[str, ...]:
    """What can be said against the same trial's schedules, and the space, before there is a teacher.

    Args:
        study: the study, whose plans fit into their runs.
        samples: training samples of its task.
    """
    arms = arms_of(study, samples)
    trial = _previewed(arms)
    return _notes(arms, trial, compile_plan(trial, samples, 1.0))


def _previewed(arms: tuple[Arm, ...]) -> TrialConfig:
    arm = next((arm for arm in reversed(arms) if isinstance(arm.study.method, Smoothed)), arms[-1])
    return trial_config(arm.study, {})


def _notes(arms: tuple[Arm, ...], trial: TrialConfig, plan: Plan) -> tuple[str, ...]:
    return (
        *make_method(trial.method).warnings(plan.run, None),
        *itertools.chain.from_iterable(space_warnings(arm.study, None) for arm in arms),
        *_teacher_seen(trial, plan),
    )


def _margin_unit(trial: TrialConfig) -> tuple[str, ...]:
    method = trial.method
    if not isinstance(method, ContinuationKD) or not method.margin or method.margin_mode == "absolute":
        return ()
    return ("margin: as if E[z_T^2], the teacher's mean squared logit, were 1",)


def _compared(arms: tuple[Arm, ...]) -> tuple[str, ...]:
    others = [arm.label for arm in arms if arm.label]
    return (f"one of the methods that are compared: {', '.join(others)}",) if others else ()


def unused_teacher(trial: TrialConfig, plan: Plan) -> tuple[str, ...]:
    """That a run of continuation is one without a teacher, if it is."""
    if trial.method.name != "continuation" or _most_seen(plan) is not None:
        return ()
    return ("the soft loss never has a weight (psi is 1, or soft_loss_weight 0): the teacher is not used",)


def _most_seen(plan: Plan) -> float | None:
    """The largest phi at which the soft loss has a weight; None where it never has one."""
    columns = (plan.column(name) for name in ("hard_weight", "soft_weight", "smoothing"))
    return max((phi for psi, weight, phi in zip(*columns, strict=True) if psi < 1 and weight), default=None)


def _teacher_seen(trial: TrialConfig, plan: Plan) -> tuple[str, ...]:
    """How much of the teacher the soft loss ever sees: phi may reach 1 only after the soft loss has lost its weight."""
    if trial.method.name != "continuation" or (seen := _most_seen(plan)) is None or seen > 1 - 1e-9:
        return unused_teacher(trial, plan)
    return (
        f"while the soft loss has weight (psi below 1), phi reaches only {seen:.2f}: the student never regresses the "
        "whole teacher; a smaller schedule_fraction or a larger hard_loss_ramp changes that",
    )
