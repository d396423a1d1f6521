"""From a trial's configuration to its plan."""

from __future__ import annotations

from autockd.config.methods import Smoothed
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.distillation.methods import make_method
from autockd.distillation.plan import Plan, Run
from autockd.distillation.schedules import learning_rate_factor
from autockd.errors import TrialFailed


def learning_rates(training: TrainingConfig, run: Run) -> list[float]:
    """The learning rate of every step."""
    factors = (learning_rate_factor(training.lr_schedule, step, run.steps) for step in range(run.steps))
    return [training.learning_rate * factor for factor in factors]


def compile_plan(trial: TrialConfig, samples: int, second_moment: float | None) -> Plan:
    """Every coefficient of a trial, the learning rate among them.

    Args:
        trial: the trial.
        samples: training samples of its task.
        second_moment: E[z_T^2] of its teacher; None where it has no margin.

    Raises:
        TrialFailed: a step-wise schedule does not fit into the run's steps.
    """
    training = trial.training
    run = Run.of(samples, training.batch_size, training.epochs)
    method = trial.method
    if isinstance(method, Smoothed) and method.smoothing_shape == "step":
        length = method.smoothed_length(run.ticks(method.granularity))
        if method.smoothing_start > length:
            raise TrialFailed(
                f"smoothing_start is {method.smoothing_start}, beyond the schedule of {length} steps",
                f"lower it to at most {length}, or train for more epochs",
            )
    plan = make_method(method).plan(run, second_moment)
    return plan.with_column("learning_rate", learning_rates(training, run))
