"""Dimensions whose every value would train the same student are refused; those that something brings to use are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.config import parse_study
from autockd.errors import ConfigError

STUDY = """\
name: tiny
task: {source: digits}
teacher: {model: {family: cifar_resnet, depth: 20}}
student: {model: {family: cifar_resnet, depth: 8}}
method: {name: continuation}
"""
SPACES = {
    "momentum": "{type: float, low: 0.5, high: 0.9}",
    "ramp_power": "{type: float, low: 1.5, high: 4.0}",
    "frozen_hard_loss": "{type: float, low: 0.2, high: 0.8}",
    "hard_loss_ramp": "{type: float, low: 0.3, high: 1.0}",
    "hard_loss_peak": "{type: float, low: 0.3, high: 1.0}",
    "schedule_fraction": "{type: float, low: 0.5, high: 1.0}",
    "smoothing_start": "{type: int, low: 1, high: 20}",
}
FROZEN = ("method.anneal_teacher=false", "method.anneal_margin=false")


def wrong(name: str, *overrides: str, more: str = "") -> str:
    """What is wrong with a space of that dimension; empty where nothing is."""
    text = f"{STUDY}search:\n  space:\n    {name}: {SPACES[name]}\n{more}"
    try:
        parse_study(text, "study.yaml", Path("/studies"), overrides)
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.field == f"search.space.{name}"
        return problem.message
    return ""


@pytest.mark.parametrize(
    ("name", "overrides", "why"),
    [
        ("momentum", ["training.optimizer=adamw"], "optimizer is adamw"),
        ("ramp_power", [], "ramp_shape is linear"),
        ("frozen_hard_loss", [], "anneal_hard_loss is true"),
        ("hard_loss_ramp", ["method.anneal_hard_loss=false"], "anneal_hard_loss is false"),
        ("hard_loss_peak", ["method.ramp_shape=step"], "ramp_shape is step"),
        ("schedule_fraction", FROZEN, "anneal_teacher is false and anneal_margin is false"),
        ("smoothing_start", FROZEN, "anneal_teacher is false and anneal_margin is false and margin_mode is relative"),
    ],
)
def test_a_dimension_that_changes_nothing_is_refused_with_what_would_change_that(
    name: str, overrides: list[str], why: str
) -> None:
    assert wrong(name, *overrides) == f"changes nothing while {why}; remove it, or change that"


@pytest.mark.parametrize(
    ("name", "overrides", "more"),
    [
        ("momentum", [], ""),
        ("ramp_power", ["method.ramp_shape=power"], ""),
        ("ramp_power", [], "    ramp_shape: {type: choice, choices: [linear, power]}\n"),
        ("frozen_hard_loss", ["method.anneal_hard_loss=false"], ""),
        ("hard_loss_ramp", [], ""),
        ("schedule_fraction", ["method.anneal_teacher=false"], ""),
        ("smoothing_start", [*FROZEN, "method.margin_mode=dead_zone", "method.margin=0.5"], ""),
        ("frozen_hard_loss", [], "    method: {type: choice, choices: [kd, continuation]}\n"),
    ],
)
def test_one_that_matters_somewhere_is_not(name: str, overrides: list[str], more: str) -> None:
    assert wrong(name, *overrides, more=more) == ""
