"""What charts show of a comparison: the arms, and what each of them searches."""

from __future__ import annotations

from typing import Any

from autockd.config import StudyConfig
from autockd.tracking.chart_axes import axis_param, number_param, slice_param
from autockd.tracking.charted_space import charted_space

MODEL = {"family": "cifar_resnet", "depth": 8}
RATE = {"type": "float", "low": 0.05, "high": 0.3, "log": True}


def config(compare: list[dict[str, Any]], space: dict[str, Any], **more: Any) -> dict[str, Any]:
    """As a ledger has it."""
    data = {
        "name": "rivals",
        "task": {"source": "digits"},
        "teacher": {"model": MODEL},
        "student": {"model": MODEL},
        "compare": compare,
        "search": {"space": space},
    }
    return StudyConfig.model_validate(data | more).model_dump(mode="json")


def test_what_every_arm_searches_is_there_once_with_the_arm_before_it() -> None:
    rivals = [
        {"name": "none"},
        {"name": "kd"},
        {"name": "kd", "standardise_logits": True},
        {"name": "dkd"},
        {"name": "continuation", "granularity": "step"},
    ]
    space = charted_space(config(rivals, {"learning_rate": RATE}))
    assert list(space)[:4] == ["arm", "learning_rate", "alpha", "temperature"]
    assert {"target_weight", "warmup", "smoothing_start", "soft_loss_weight", "margin"} <= space.keys()
    assert space["arm"]["choices"] == ["none", "kd", "kd-std", "dkd", "continuation"]
    assert space["learning_rate"]["when"] == {}
    assert space["alpha"]["when"] == {"arm": ["kd", "kd-std"]}
    assert space["temperature"]["when"] == {"arm": ["kd", "kd-std", "dkd"]}
    assert space["margin"]["when"] == {"arm": ["continuation"], "margin_mode": "dead_zone"}
    assert axis_param(space, "arm") == "axis_arm"
    assert axis_param(space, "learning_rate") == number_param(space, "learning_rate") == "log10_learning_rate"
    assert axis_param(space, "temperature") == "axis_temperature"
    assert number_param(space, "temperature") is None
    assert slice_param(space, "temperature") == "log10_temperature"


def test_a_range_holds_the_values_of_every_arm() -> None:
    space = charted_space(config([{"name": "kd"}, {"name": "dist"}], {}))
    assert (space["temperature"]["low"], space["temperature"]["high"]) == (1.0, 10.0)
    assert space["temperature"]["log"] is True
    assert axis_param(space, "temperature") == "log10_temperature", "both arms have it"


def test_a_choice_in_one_arm_and_a_range_in_another_are_names_on_one_axis() -> None:
    """The study's own space is of kd under one condition, so dkd has its usual range."""
    choice = {"type": "choice", "choices": [2, 4], "when": {"alpha": 0.5}}
    searched = {"alpha": {"type": "choice", "choices": [0.5, 1.0]}, "temperature": choice}
    space = charted_space(config([{"name": "kd"}, {"name": "dkd"}], searched, method={"name": "kd"}))
    assert space["temperature"]["choices"] == [2, 4, 1.0, 10.0]
    assert axis_param(space, "temperature") == "axis_temperature"


def test_without_a_comparison_it_is_the_space_of_the_file() -> None:
    assert charted_space({"search": {"space": {"learning_rate": RATE}}}) == {"learning_rate": RATE}
    assert charted_space({}) == {}


def test_a_comparison_of_another_version_has_what_its_file_says() -> None:
    other = config([{"name": "kd"}], {"learning_rate": RATE}) | {"compare": [{"name": "of-tomorrow"}]}
    assert charted_space(other)["learning_rate"]["low"] == 0.05
    assert "arm" not in charted_space(other)
