"""What a study may say about each method: defaults, ranges, and the unit of the margin."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from autockd.config.methods import (
    METHOD_CONFIGS,
    AnnealingKD,
    ContinuationKD,
    DecoupledKD,
    HintonKD,
    MethodConfig,
    schedule_length,
)
from autockd.config.training import LrSchedule, TrainingConfig

METHODS: TypeAdapter[Any] = TypeAdapter(MethodConfig)


@pytest.mark.parametrize(("name", "config"), METHOD_CONFIGS.items())
def test_the_table_names_each_method_as_it_names_itself(name: str, config: type) -> None:
    assert config().name == name
    assert type(METHODS.validate_python({"name": name})) is config


def test_continuation_defaults_are_those_of_the_paper_for_cifar() -> None:
    config = ContinuationKD()
    assert (config.smoothing_start, config.schedule_fraction) == (20, 1.0)
    assert (config.hard_loss_ramp, config.hard_loss_peak, config.soft_loss_weight) == (0.75, 1.0, 1.0)
    assert (config.margin, config.margin_mode) == (0.0, "relative")
    assert (config.smoothing_shape, config.ramp_shape) == ("step", "linear")
    assert (config.reduction, config.hinge, config.granularity) == ("mean", "sample", "epoch")
    assert config.anneal_teacher
    assert config.anneal_margin
    assert config.anneal_hard_loss


def test_training_defaults_are_the_first_authors_for_cifar() -> None:
    training = TrainingConfig()
    assert (training.epochs, training.batch_size, training.learning_rate) == (200, 32, 0.2)
    assert (training.optimizer, training.momentum, training.weight_decay) == ("sgd", 0.9, 1e-4)
    assert (training.lr_schedule.shape, training.lr_schedule.milestones) == ("step", (0.5, 0.75))
    assert training.lr_schedule.factor == 0.1


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (ContinuationKD, "smoothing_start", 0),
        (ContinuationKD, "smoothing_start", 2.5),
        (ContinuationKD, "schedule_fraction", 0),
        (ContinuationKD, "schedule_fraction", 1.01),
        (ContinuationKD, "hard_loss_ramp", 0),
        (ContinuationKD, "hard_loss_ramp", 1.1),
        (ContinuationKD, "hard_loss_peak", 1.5),
        (ContinuationKD, "hard_loss_peak", -0.1),
        (ContinuationKD, "soft_loss_weight", -1),
        (ContinuationKD, "margin", -0.1),
        (ContinuationKD, "margin", float("nan")),
        (ContinuationKD, "soft_loss_weight", float("inf")),
        (ContinuationKD, "margin_mode", "percent"),
        (ContinuationKD, "smoothing_shape", "quadratic"),
        (ContinuationKD, "ramp_power", 0),
        (ContinuationKD, "frozen_hard_loss", 2),
        (ContinuationKD, "T_max", 20),
        (HintonKD, "alpha", 1.1),
        (HintonKD, "temperature", 0),
        (AnnealingKD, "stage_fraction", 1),
        (AnnealingKD, "stage_fraction", 0),
        (AnnealingKD, "margin", 0.1),
    ],
)
def test_a_value_beyond_its_range_is_refused_under_its_own_name(config: type, field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**{field: value})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_a_configuration_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ContinuationKD().margin = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("mode", "margin", "expected"),
    [("none", 0.0, 0.0), ("relative", 0.03, 0.24), ("dead_zone", 0.5, 0.2), ("absolute", 0.7, 0.7)],
)
def test_the_margin_in_its_unit(mode: str, margin: float, expected: float) -> None:
    """E[z_T^2] = 8 and T_max = 20: the dead zone begins at 0.4."""
    config = ContinuationKD(margin=margin, margin_mode=mode, smoothing_start=20)
    assert config.margin_value(8.0) == pytest.approx(expected)
    if mode in ("none", "absolute"):
        assert config.margin_value(None) == expected


def test_a_margin_that_its_mode_ignores_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValidationError, match=r"margin is 0\.1 but margin_mode is 'none'.*set margin to 0"):
        ContinuationKD(margin=0.1, margin_mode="none")


@pytest.mark.parametrize(
    ("fraction", "ticks", "length"),
    [(1.0, 200, 200), (0.5, 7, 3), (0.25, 3, 1), (0.1, 1, 1), (2 / 3, 30, 20), (0.7, 10, 7), (0.29, 100, 29)],
)
def test_schedule_length_is_the_floor_but_at_least_one(fraction: float, ticks: int, length: int) -> None:
    assert schedule_length(fraction, ticks) == length


@given(st.floats(1e-3, 1.0), st.integers(1, 10_000))
def test_schedule_length_stays_within_the_run(fraction: float, ticks: int) -> None:
    length = schedule_length(fraction, ticks)
    assert 1 <= length <= ticks
    assert length == 1 or abs(length - fraction * ticks) < 1 + 1e-6


def test_annealing_counts_its_schedule_within_stage_one() -> None:
    assert AnnealingKD(stage_fraction=0.5).smoothed_length(40) == 20
    assert AnnealingKD(stage_fraction=0.5, schedule_fraction=0.5).smoothed_length(40) == 10
    assert ContinuationKD(schedule_fraction=0.5).smoothed_length(40) == 20


@pytest.mark.parametrize("milestones", [(0.75, 0.5), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0), (100.0,)])
def test_milestones_must_be_rising_fractions(milestones: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="rising fractions between 0 and 1"):
        LrSchedule(milestones=milestones)


@pytest.mark.parametrize("kind", [HintonKD, DecoupledKD])
def test_standardised_logits_have_a_temperature_of_their_own(kind: type[HintonKD | DecoupledKD]) -> None:
    """Sun et al. (CVPR 2024): 2, for logits of deviation 1 are almost alike at 4."""
    method = kind.model_validate({"standardise_logits": True})
    assert (method.temperature, "temperature" in method.model_fields_set) == (2.0, False)
    assert kind(standardise_logits=True).temperature == 2.0
    assert kind(standardise_logits=True, temperature=4.0).temperature == 4.0
    assert kind(standardise_logits=False).temperature == kind().temperature == 4.0
