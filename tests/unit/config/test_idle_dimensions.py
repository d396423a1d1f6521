"""Dimensions whose every value would train the same student are refused; those that something brings to use are not."""

from __future__ import annotations

from contextlib import nullcontext
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
    "temperature": "{type: float, low: 1.0, high: 8.0}",
    "standardise_logits": "{type: choice, choices: [true, false]}",
    "warmup": "{type: float, low: 0.0, high: 0.3}",
    "hinge": "{type: choice, choices: [sample, batch]}",
    "margin_mode": "{type: choice, choices: [none, dead_zone]}",
    "margin": "{type: float, low: 0.01, high: 0.9, when: {margin_mode: dead_zone}}",
    "reduction": "{type: choice, choices: [mean, sum]}",
    "soft_loss_weight": "{type: float, low: 0.1, high: 1.0}",
    "alpha": "{type: choice, choices: [0.0, 0.5]}",
}
KD = "method={name: kd, alpha: 0.0}"
ONES = ("method.anneal_hard_loss=false", "method.frozen_hard_loss=1.0")
FROZEN = ("method.anneal_teacher=false", "method.anneal_margin=false")


ASSISTANT = "assistant={model: {family: cifar_resnet, depth: 14}}"


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
        ("temperature", [KD], "alpha is 0"),
        ("standardise_logits", ["method={name: takd, alpha: 0}", ASSISTANT], "alpha is 0"),
        (
            "warmup",
            ["method={name: dkd, target_weight: 0, other_weight: 0}"],
            "target_weight is 0 and other_weight is 0",
        ),
        ("hinge", [], "margin is 0"),
        ("margin_mode", ["method.margin_mode=none"], "margin is 0"),
        ("smoothing_start", ["method.soft_loss_weight=0"], "soft_loss_weight is 0"),
        ("reduction", ["method.soft_loss_weight=0"], "soft_loss_weight is 0"),
        ("smoothing_start", ONES, "anneal_hard_loss is false and frozen_hard_loss is 1"),
        ("soft_loss_weight", ONES, "anneal_hard_loss is false and frozen_hard_loss is 1"),
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
        ("temperature", [KD], f"    alpha: {SPACES['alpha']}\n"),
        ("warmup", ["method={name: dkd, target_weight: 0}"], ""),
        (
            "hinge",
            ["method.margin_mode=none"],
            f"    margin_mode: {SPACES['margin_mode']}\n    margin: {SPACES['margin']}\n",
        ),
        ("hinge", ["method.margin=0.1"], ""),
        ("smoothing_start", ["method.soft_loss_weight=0.5"], f"    soft_loss_weight: {SPACES['soft_loss_weight']}\n"),
        ("smoothing_start", ["method.anneal_hard_loss=false"], ""),
        ("reduction", [], ""),
    ],
)
def test_one_that_matters_somewhere_is_not(name: str, overrides: list[str], more: str) -> None:
    assert wrong(name, *overrides, more=more) == ""


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        ("[linear, cosine]", "changes nothing while ramp_shape is linear or cosine; remove it, or change that"),
        ("[linear, power]", ""),
    ],
)
def test_a_switch_is_judged_by_the_values_that_it_takes(shapes: str, why: str) -> None:
    assert wrong("ramp_power", more=f"    ramp_shape: {{type: choice, choices: {shapes}}}\n") == why


@pytest.mark.parametrize(("shape", "is_idle"), [("step", True), ("linear", False), ("[step, linear]", False)])
def test_as_far_as_the_dimension_exists_there(shape: str, is_idle: bool) -> None:
    text = f"""{STUDY}search:
  space:
    ramp_shape: {{type: choice, choices: [linear, step]}}
    hard_loss_peak: {{type: float, low: 0.3, high: 1.0, when: {{ramp_shape: {shape}}}}}
"""
    told = pytest.raises(ConfigError, match=r"space\.hard_loss_peak: changes nothing while ramp_shape is step;")
    with told if is_idle else nullcontext():
        parse_study(text, "study.yaml", Path("/studies"))


def test_a_dimension_whose_conditions_never_hold_together_is_refused() -> None:
    text = f"""{STUDY}search:
  space:
    margin_mode: {{type: choice, choices: [none, relative, dead_zone]}}
    hinge: {{type: choice, choices: [sample, batch], when: {{margin_mode: relative}}}}
    margin: {{type: float, low: 0.01, high: 0.9, when: {{margin_mode: WHERE, hinge: batch}}}}
"""
    where = Path("/studies")
    assert parse_study(text.replace("WHERE", "relative"), "study.yaml", where).search.space
    with pytest.raises(ConfigError, match=r"search\.space\.margin: never exists, for its conditions never hold tog"):
        parse_study(text.replace("WHERE", "dead_zone"), "study.yaml", where)


@pytest.mark.parametrize(
    ("name", "method"),
    [("temperature", "{name: kd}"), ("standardise_logits", "{name: kd}"), ("reduction", "{name: annealing}")],
)
def test_what_tells_classes_apart_changes_nothing_of_scores(name: str, method: str) -> None:
    text = f"""\
name: scores
task: {{source: text, path: ./x.csv, problem: PROBLEM}}
teacher: {{model: {{family: encoder, path: ./bert}}}}
student: {{model: {{family: encoder}}}}
method: {method}
search: {{space: {{{name}: {SPACES[name]}}}}}
"""
    assert parse_study(text.replace("PROBLEM", "classification"), "study.yaml", Path("/studies"))
    with pytest.raises(ConfigError, match=f"search.space.{name}: changes nothing while task is of scores; remove it"):
        parse_study(text.replace("PROBLEM", "regression"), "study.yaml", Path("/studies"))


def test_a_weight_of_what_two_classes_cannot_tell_is_refused() -> None:
    text = """
name: x
task: {source: glue, task: TASK, path: ./glue}
teacher: {model: {family: encoder, path: ./bert}}
student: {model: {family: encoder}}
method: {name: dkd}
search: {space: {other_weight: {type: float, low: 1, high: 8}}}
"""
    assert parse_study(text.replace("TASK", "mnli"), "study.yaml", Path("/studies"))
    with pytest.raises(ConfigError, match=r"other_weight: changes nothing while task is of two classes; remove it"):
        parse_study(text.replace("TASK", "cola"), "study.yaml", Path("/studies"))


def test_a_space_with_more_points_than_can_be_looked_at_is_accepted() -> None:
    names = ("anneal_teacher", "anneal_margin", "anneal_hard_loss")
    lines = [f"    {name}: {{type: choice, choices: [true, false]}}\n" for name in names]
    shapes = (
        "    ramp_shape: {type: choice, choices: [linear, cosine, step]}\n    ramp_power: {type: float, low: 1, high: 3"
    )
    many = ", ".join(map(str, range(2, 400)))
    text = f"{STUDY}search:\n  space:\n{''.join(lines)}    batch_size: {{type: choice, choices: [{many}]}}\n{shapes}"
    with pytest.raises(ConfigError, match="ramp_power: changes nothing"):
        parse_study(f"{text}}}\n", "study.yaml", Path("/studies"))
    found = parse_study(f"{text}, when: {{batch_size: 32}}}}\n", "study.yaml", Path("/studies"))
    assert "ramp_power" in found.search.space
