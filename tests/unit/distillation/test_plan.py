"""Plans: the length of a run, tables, and what a trial compiles to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autockd.config.methods import AnnealingKD, ContinuationKD, HintonKD, MethodConfig
from autockd.config.models import CifarResNet
from autockd.config.training import LrSchedule, TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.distillation import Plan, Run, compile_plan, learning_rates
from autockd.errors import TrialFailed


def trial(method: MethodConfig, **training: object) -> TrialConfig:
    return TrialConfig(method=method, training=TrainingConfig(**training), student=CifarResNet(), seed=0)


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(1, 50))
def test_every_sample_has_its_step(samples: int, batch_size: int, epochs: int) -> None:
    run = Run.of(samples, batch_size, epochs)
    assert (run.steps_per_epoch - 1) * batch_size < samples <= run.steps_per_epoch * batch_size
    assert run.steps == epochs * run.steps_per_epoch


def test_ticks_are_epochs_or_steps_counted_from_one() -> None:
    run = Run(epochs=3, steps_per_epoch=2)
    assert (run.ticks("epoch"), run.ticks("step")) == (3, 6)
    assert [run.tick(step, "epoch") for step in range(6)] == [1, 1, 2, 2, 3, 3]
    assert [run.tick(step, "step") for step in range(6)] == [1, 2, 3, 4, 5, 6]


def test_a_plan_is_a_table_of_steps_by_coefficients() -> None:
    plan = Plan.of(Run(2, 1), {"a": [1.0, 2.0], "b": [3.0, 4.0]}, restarts=(1,))
    assert plan.table.dtype == torch.float64
    assert plan.table.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert plan.row(1) == {"a": 2.0, "b": 4.0}
    assert plan.column("b") == [3.0, 4.0]


def test_a_further_column_leaves_the_others_and_the_restarts() -> None:
    plan = Plan.of(Run(2, 1), {"a": [1.0, 2.0]}, restarts=(1,))
    wider = plan.with_column("learning_rate", [0.1, 0.2])
    assert wider.row(0) == {"a": 1.0, "learning_rate": 0.1}
    assert wider.restarts == (1,)
    assert plan.columns == ("a",)


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(AssertionError, match="every step"):
        Plan.of(Run(2, 1), {"a": [1.0]})


def test_learning_rates_are_the_peak_times_the_schedule_at_every_step() -> None:
    training = TrainingConfig(learning_rate=0.4, lr_schedule=LrSchedule(milestones=(0.5,), factor=0.1))
    assert learning_rates(training, Run(2, 3)) == pytest.approx([0.4] * 3 + [0.04] * 3)


def test_a_trial_compiles_to_its_method_and_the_learning_rate() -> None:
    plan = compile_plan(trial(HintonKD(), epochs=3, batch_size=4, learning_rate=0.3), samples=10, second_moment=1.0)
    assert plan.table.shape == (9, len(plan.columns))
    assert plan.columns[-1] == "learning_rate"
    assert plan.column("learning_rate")[0] == pytest.approx(0.3)


def test_a_short_run_by_steps_starts_at_its_smallest_phi_and_ends_at_one() -> None:
    method = ContinuationKD(smoothing_start=20, granularity="step")
    plan = compile_plan(trial(method, epochs=2, batch_size=32), samples=1600, second_moment=1.0)
    phi, psi = plan.column("smoothing"), plan.column("hard_weight")
    assert plan.run.steps == 100
    assert phi[0] == pytest.approx(1 / 20, abs=1e-12)
    assert (phi[-1], psi[-1]) == (1.0, 1.0)
    assert len(set(phi)) == 20


@pytest.mark.parametrize("shape", ["step", "linear", "cosine", "exponential"])
@settings(deadline=None, max_examples=25)
@given(epochs=st.integers(1, 3), steps=st.integers(20, 60))
def test_every_shape_ends_at_one_by_steps(shape: str, epochs: int, steps: int) -> None:
    method = ContinuationKD(smoothing_start=10, smoothing_shape=shape, granularity="step")
    phi = compile_plan(trial(method, epochs=epochs, batch_size=1), samples=steps, second_moment=1.0).column("smoothing")
    assert phi[0] == pytest.approx(1 / 10, abs=1e-12)
    assert phi[-1] == 1.0


@pytest.mark.parametrize(
    ("method", "length"),
    [
        (ContinuationKD(smoothing_start=20, granularity="step"), 12),
        (ContinuationKD(smoothing_start=20, granularity="step", schedule_fraction=0.5), 6),
        (AnnealingKD(smoothing_start=20, granularity="step", stage_fraction=0.25), 3),
    ],
)
def test_too_few_steps_for_the_schedule_fail_the_trial_with_its_numbers(method: MethodConfig, length: int) -> None:
    with pytest.raises(TrialFailed, match=rf"smoothing_start is 20, beyond the schedule of {length} steps"):
        compile_plan(trial(method, epochs=3, batch_size=10), samples=40, second_moment=1.0)


def test_as_many_steps_as_values_of_phi_are_enough() -> None:
    method = ContinuationKD(smoothing_start=12, granularity="step")
    phi = compile_plan(trial(method, epochs=3, batch_size=10), samples=40, second_moment=1.0).column("smoothing")
    assert phi[-1] == 1.0


def test_a_shape_without_steps_needs_no_minimum_length() -> None:
    method = ContinuationKD(smoothing_start=20, smoothing_shape="linear", granularity="step")
    plan = compile_plan(trial(method, epochs=1, batch_size=10), samples=40, second_moment=1.0)
    assert plan.column("smoothing")[0] == pytest.approx(1 / 20)
    assert plan.column("smoothing")[-1] == 1.0
