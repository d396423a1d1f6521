from __future__ import annotations

from typing import Any

import pytest

from autockd.tracking.chart_axes import axis_param, number_param, slice_param, twins

SPACE: dict[str, dict[str, Any]] = {
    "learning_rate": {"type": "float", "low": 0.01, "high": 1.0, "log": True, "when": {}},
    "hard_loss_ramp": {"type": "float", "low": 0.3, "high": 1.0, "log": False},
    "margin_mode": {"type": "choice", "choices": ["none", "dead_zone"]},
    "margin": {"type": "float", "low": 0.01, "high": 1.0, "log": True, "when": {"margin_mode": "dead_zone"}},
    "smoothing_shape": {"type": "choice", "choices": ["step", "exponential", "exponential-fast"]},
    "batch_size": {"type": "choice", "choices": [32, 64]},
    "student_width": {"type": "choice", "choices": [8, 16], "when": {"margin_mode": "none"}},
}
LONGEST = 10
"""Characters of a name that parallel coordinates show."""


@pytest.mark.parametrize(
    ("name", "shown", "number", "slice_"),
    [
        ("learning_rate", "log10_learning_rate", "log10_learning_rate", "log10_learning_rate"),
        ("hard_loss_ramp", "hard_loss_ramp", "hard_loss_ramp", "hard_loss_ramp"),
        ("margin_mode", "margin_mode", None, "margin_mode"),
        ("margin", "axis_margin", None, "log10_margin"),
        ("smoothing_shape", "axis_smoothing_shape", None, "axis_smoothing_shape"),
        ("batch_size", "batch_size", "batch_size", "batch_size"),
        ("student_width", "axis_student_width", None, "axis_student_width"),
    ],
)
def test_what_charts_show_of_a_dimension(name: str, shown: str, number: str | None, slice_: str) -> None:
    assert axis_param(SPACE, name) == shown
    assert number_param(SPACE, name) == number
    assert slice_param(SPACE, name) == slice_


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("learning_rate", 0.1, {"log10_learning_rate": "-1"}),
        ("learning_rate", "na", {"log10_learning_rate": "na"}),
        ("hard_loss_ramp", 0.5, {}),
        ("margin", 0.02, {"log10_margin": "-1.69897", "axis_margin": "1:0.032"}),
        ("margin", 0.1, {"log10_margin": "-1", "axis_margin": "2:0.1"}),
        ("margin", 1.0, {"log10_margin": "0", "axis_margin": "4:1"}),
        ("margin", 0.0, {"log10_margin": "na", "axis_margin": "1:0.032"}),
        ("margin", 7.0, {"log10_margin": "0.845098", "axis_margin": "4:1"}),
        ("margin", "na", {"log10_margin": "na", "axis_margin": "na"}),
        ("smoothing_shape", "step", {"axis_smoothing_shape": "step"}),
        ("smoothing_shape", "exponential", {"axis_smoothing_shape": "exponenti"}),
        ("smoothing_shape", "exponential-fast", {"axis_smoothing_shape": "exponent2"}),
        ("smoothing_shape", "something of a baseline", {"axis_smoothing_shape": "something"}),
        ("student_width", 16, {"axis_student_width": "=16"}),
        ("student_width", "na", {"axis_student_width": "na"}),
    ],
)
def test_the_twins_of_a_value(name: str, value: object, expected: dict[str, str]) -> None:
    assert twins(SPACE, name, value) == expected


def test_names_on_an_axis_are_short_and_distinct() -> None:
    names = [f"a-long-name-that-differs-at-its-end-{number}" for number in range(12)]
    space = {"x": {"type": "choice", "choices": names}}
    shown = {twins(space, "x", name)["axis_x"] for name in names}
    assert len(shown) == 12
    assert max(map(len, shown)) < LONGEST


def test_the_bands_of_a_number_stand_in_its_order() -> None:
    space = {"x": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True, "when": {"y": 1}}, "y": {"choices": [1, 2]}}
    shown = [twins(space, "x", 10 ** (exponent / 10))["axis_x"] for exponent in range(-50, -29)]
    assert shown == sorted(shown)
    assert len(set(shown)) == 4
    assert max(map(len, shown)) < LONGEST


def test_where_methods_are_searched_their_fields_are_not_in_every_trial() -> None:
    space = SPACE | {"method": {"type": "choice", "choices": ["kd", "continuation"]}}
    assert axis_param(space, "hard_loss_ramp") == "axis_hard_loss_ramp"
    assert axis_param(space, "learning_rate") == "log10_learning_rate"
    assert axis_param(space, "method") == "axis_method"


def test_a_range_of_one_value_has_a_place() -> None:
    space = {"x": {"type": "int", "low": 3, "high": 3, "when": {"y": 1}}}
    assert twins(space, "x", 3) == {"axis_x": "4:3"}
