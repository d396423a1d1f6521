"""Schedules against Algorithm 1, values worked out by hand, and properties that hold for every shape."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autockd.config.methods import RampShape, SmoothingShape
from autockd.config.training import LrSchedule
from autockd.distillation.schedules import hard_weight, learning_rate_factor, smoothing, temperature

PAIRS = [(200, 20), (30, 10), (20, 7), (100, 10), (7, 3)]
SMOOTHING_SHAPES = get_args(SmoothingShape)
RAMP_SHAPES = get_args(RampShape)

WRITTEN_OUT = {
    (7, 3): [3, 2, 2, 1, 1, 1, 1],
    (20, 7): [7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    (30, 10): [10, 10, 9, 9, 9, 8, 8, 8, 7, 7, 7, 6, 6, 6, 5, 5, 5, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1, 1],
}
"""T_i by epoch, counted out with pencil and paper."""


def counted_down(epochs: int, start: int) -> list[int]:
    """Algorithm 1 as a loop over epochs: T falls by one whenever k epochs have passed, but not below 1."""
    pace, values, current = max(1, epochs // start), [], start
    for epoch in range(1, epochs + 1):
        if epoch % pace == 0 and current > 1:
            current -= 1
        values.append(current)
    return values


@pytest.mark.parametrize(("epochs", "start"), WRITTEN_OUT)
def test_temperature_equals_the_written_list(epochs: int, start: int) -> None:
    assert [temperature(i, epochs, start) for i in range(1, epochs + 1)] == WRITTEN_OUT[epochs, start]


@pytest.mark.parametrize(("epochs", "start"), PAIRS)
def test_temperature_follows_algorithm_1_with_the_clamp(epochs: int, start: int) -> None:
    values = [temperature(i, epochs, start) for i in range(1, epochs + 1)]
    assert values == counted_down(epochs, start)
    assert values[0] == start
    assert values[-1] == 1


@pytest.mark.parametrize(
    ("epochs", "start", "overshoot"), [(200, 20, 1.05), (30, 10, 1.10), (20, 7, 11 / 7), (7, 3, 1 + 1 / 3)]
)
def test_phi_is_clamped_where_the_paper_overshoots(epochs: int, start: int, overshoot: float) -> None:
    printed = 1 - (start - epochs // (epochs // start) - 1) / start
    assert printed == pytest.approx(overshoot), "what Algorithm 1 gives as printed"
    assert smoothing("step", epochs, epochs, start) == 1.0


def test_fewer_ticks_than_temperatures_divide_by_nothing() -> None:
    assert [temperature(i, 3, 5) for i in (1, 2, 3)] == [4, 3, 2]


def test_a_start_of_one_sees_the_whole_teacher_at_once() -> None:
    assert {smoothing(shape, i, 9, 1) for shape in SMOOTHING_SHAPES for i in range(1, 10)} == {1.0}


@pytest.mark.parametrize(
    ("shape", "start", "expected"),
    [
        ("linear", 4, [0.25, 0.4375, 0.625, 0.8125, 1.0]),
        ("cosine", 5, [0.2, 0.2 + 0.4 * (1 - math.sqrt(0.5)), 0.6, 0.2 + 0.4 * (1 + math.sqrt(0.5)), 1.0]),
        ("exponential", 16, [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0]),
        ("step", 2, [0.5, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_smoothing_values_by_hand(shape: SmoothingShape, start: int, expected: list[float]) -> None:
    assert [smoothing(shape, i, 5, start) for i in range(1, 6)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", SMOOTHING_SHAPES)
def test_phi_stays_at_one_after_its_schedule(shape: SmoothingShape) -> None:
    assert [smoothing(shape, i, 10, 5) for i in range(10, 30)] == [1.0] * 20


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential"])
def test_a_schedule_of_one_tick_is_over_with_it(shape: SmoothingShape) -> None:
    """Or phi would stay at its smallest value for the whole run."""
    assert [smoothing(shape, i, 1, 5) for i in (1, 2, 3)] == [1.0] * 3


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(SMOOTHING_SHAPES), st.integers(1, 300), st.integers(1, 40))
def test_phi_is_bounded_rises_and_ends_at_one(shape: SmoothingShape, length: int, start: int) -> None:
    assume(start <= length)
    phi = [smoothing(shape, i, length, start) for i in range(1, length + 1)]
    assert all(1 / start - 1e-12 <= value <= 1.0 for value in phi)
    assert all(later >= earlier for earlier, later in pairwise(phi))
    assert phi[-1] == 1.0


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(SMOOTHING_SHAPES), st.integers(1, 40), st.integers(2, 12))
def test_phi_starts_at_its_smallest_value(shape: SmoothingShape, start: int, pace: int) -> None:
    """With at least two ticks a temperature; with one, Algorithm 1 has already left T_max on its first tick."""
    assert smoothing(shape, 1, start * pace, start) == pytest.approx(1 / start, abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 300), st.integers(1, 40))
def test_step_takes_every_temperature_once_for_the_same_time(length: int, start: int) -> None:
    assume(start <= length)
    values = [temperature(i, length, start) for i in range(0, length + 1)]
    assert sorted(set(values), reverse=True) == list(range(start, 0, -1))
    assert {values.count(t) for t in set(values) - {1}} <= {length // start}


@pytest.mark.parametrize(
    ("shape", "power", "expected"),
    [
        ("linear", 2.0, [0.1, 0.2, 0.3, 0.4]),
        ("cosine", 2.0, [0.2 * (1 - math.sqrt(0.5)), 0.2, 0.2 * (1 + math.sqrt(0.5)), 0.4]),
        ("power", 2.0, [0.025, 0.1, 0.225, 0.4]),
        ("power", 0.5, [0.2, 0.4 * math.sqrt(0.5), 0.4 * math.sqrt(0.75), 0.4]),
        ("step", 2.0, [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_hard_weight_by_hand(shape: RampShape, power: float, expected: list[float]) -> None:
    """Eight ticks, a ramp over half of them up to 0.4, then 1."""
    values = [hard_weight(shape, i, 8, ramp=0.5, peak=0.4, power=power) for i in range(1, 9)]
    assert values == pytest.approx([*expected, 1.0, 1.0, 1.0, 1.0], abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(RAMP_SHAPES),
    st.integers(1, 300),
    st.floats(0.01, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.1, 8.0),
)
def test_hard_weight_is_bounded_rises_and_ends_at_one(
    shape: RampShape, ticks: int, ramp: float, peak: float, power: float
) -> None:
    psi = [hard_weight(shape, i, ticks, ramp=ramp, peak=peak, power=power) for i in range(1, ticks + 1)]
    assert all(0.0 <= value <= 1.0 for value in psi)
    assert all(later >= earlier for earlier, later in pairwise(psi))
    if ramp <= 0.999:
        assert psi[-1] == 1.0
    elif ramp == 1.0:
        assert psi[-1] == (0.0 if shape == "step" else peak), "a ramp over the whole run ends at its peak"


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 60), st.integers(1, 60))
def test_the_end_of_a_ramp_is_not_lost_to_rounding(ramp_ticks: int, rest: int) -> None:
    """A ramp over 2/3 of 30 epochs are 20 epochs, whatever the float 2/3 * 30 is."""
    ticks = ramp_ticks + rest
    psi = [hard_weight("linear", i, ticks, ramp=ramp_ticks / ticks, peak=0.5) for i in range(1, ticks + 1)]
    assert psi[ramp_ticks - 1] == pytest.approx(0.5, abs=1e-12)
    assert psi[ramp_ticks:] == [1.0] * rest


def factors(schedule: LrSchedule, steps: int) -> list[float]:
    return [learning_rate_factor(schedule, step, steps) for step in range(steps)]


def test_learning_rate_falls_tenfold_at_half_and_three_quarters() -> None:
    assert factors(LrSchedule(), 200) == pytest.approx([1.0] * 100 + [0.1] * 50 + [0.01] * 50, rel=1e-12)


def test_milestones_are_fractions_of_any_run() -> None:
    schedule = LrSchedule(milestones=(0.3, 0.6), factor=0.5)
    assert factors(schedule, 10) == [1.0] * 3 + [0.5] * 3 + [0.25] * 4


def test_warmup_rises_linearly_to_the_peak() -> None:
    values = factors(LrSchedule(shape="constant", warmup=0.4), 10)
    assert values == pytest.approx([0.2, 0.4, 0.6, 0.8, *[1.0] * 6])


def test_no_step_of_a_warmup_and_none_of_a_milestone_is_lost_to_rounding() -> None:
    """0.29 * 100 is 28.999999999999996 as a float, and 0.55 * 100 is 55.00000000000001."""
    assert factors(LrSchedule(shape="constant", warmup=0.29), 100)[27:30] == pytest.approx([28 / 30, 29 / 30, 1.0])
    assert factors(LrSchedule(shape="step", milestones=(0.55,)), 100)[54:56] == pytest.approx([1.0, 0.1])


def test_the_decay_starts_at_the_peak_where_the_warmup_ends() -> None:
    linear, cosine = (factors(LrSchedule(shape=shape, warmup=0.5), 8) for shape in ("linear", "cosine"))
    assert linear == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.75, 0.5, 0.25])
    assert (cosine[4], cosine[6]) == (1.0, pytest.approx(0.5))


def test_milestones_count_from_the_start_of_the_run_with_a_warmup_too() -> None:
    values = factors(LrSchedule(shape="step", warmup=0.2, milestones=(0.5,)), 10)
    assert values == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1])


def test_cosine_and_linear_start_at_the_peak_and_end_near_zero() -> None:
    cosine, linear = (factors(LrSchedule(shape=shape), 1000) for shape in ("cosine", "linear"))
    assert cosine[0] == linear[0] == 1.0
    assert cosine[500] == pytest.approx(0.5)
    assert linear[250] == pytest.approx(0.75)
    assert 0 < cosine[-1] < 1e-5
    assert linear[-1] == pytest.approx(1e-3)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(["constant", "step", "cosine", "linear"]), st.integers(1, 300), st.floats(0, 0.95))
def test_learning_rate_rises_once_and_never_leaves_its_bounds(shape: str, steps: int, warmup: float) -> None:
    values = factors(LrSchedule(shape=shape, warmup=warmup), steps)
    peak = values.index(max(values))
    assert all(0 < value <= 1 for value in values)
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
