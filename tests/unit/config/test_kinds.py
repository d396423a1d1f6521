"""What fits a task, and which trials have a margin, for which alone a teacher's second moment is computed."""

from __future__ import annotations

from typing import Any

import pytest

from autockd.config.kinds import kind_mistakes, uses_margin
from autockd.config.schema import StudyConfig
from autockd.config.trial import trial_config
from autockd.distillation import compile_plan

RATE = {"type": "float", "low": 0.01, "high": 1.0, "log": True}
MARGIN = {"type": "float", "low": 0.001, "high": 0.1, "log": True}
NAMES = {"type": "choice", "choices": ["kd", "continuation"]}
MODES = {"type": "choice", "choices": ["none", "relative"]}


def study_of(method: dict[str, Any], space: dict[str, Any] | None = None, **changes: Any) -> StudyConfig:
    baselines = changes.pop("baselines", [])
    return StudyConfig.model_validate(
        {
            "name": "s",
            "task": {"source": "digits"},
            "teacher": {"model": {"family": "cifar_resnet", "depth": 20}},
            "student": {"model": {"family": "cifar_resnet", "depth": 8}},
            "method": method,
            "training": {"epochs": 20, "batch_size": 32, "learning_rate": 0.1},
            "search": {"space": {"learning_rate": RATE, **(space or {})}, "baselines": baselines},
        }
        | changes
    )


CONTINUATION = {"name": "continuation", "smoothing_start": 4}
WITHOUT = {
    "kd": study_of({"name": "kd"}, baselines=[{"name": "none"}]),
    "continuation": study_of(CONTINUATION),
    "continuation, none": study_of(CONTINUATION | {"margin_mode": "none"}),
    "modes of no margin": study_of(CONTINUATION, {"margin_mode": MODES}),
    "compared": study_of({"name": "kd"}, compare=[{"name": "none"}, {"name": "annealing"}]),
}
WITH = {
    "its own": study_of(CONTINUATION | {"margin": 0.01}),
    "absolute": study_of(CONTINUATION | {"margin": 0.01, "margin_mode": "absolute"}),
    "searched": study_of(CONTINUATION, {"margin": MARGIN}),
    "searched with the method": study_of({"name": "kd"}, {"method": NAMES, "margin": MARGIN}),
    "a baseline's": study_of({"name": "kd"}, baselines=[CONTINUATION | {"margin": 0.01}]),
    "compared": study_of({"name": "kd"}, compare=[{"name": "none"}, CONTINUATION]),
}


@pytest.mark.parametrize("study", WITHOUT.values(), ids=WITHOUT)
def test_without_margins_plans_need_no_second_moment(study: StudyConfig) -> None:
    assert not uses_margin(study)
    if not study.compare:
        compile_plan(trial_config(study, {}), 320, None)


@pytest.mark.parametrize("study", WITH.values(), ids=WITH)
def test_a_margin_is_found_wherever_a_trial_may_have_it(study: StudyConfig) -> None:
    assert uses_margin(study)


def test_data_of_a_package_that_is_not_there_are_a_mistake_of_the_task() -> None:
    text = study_of({"name": "kd"}).model_dump() | {"task": {"source": "npz", "path": "package:absent/data.npz"}}
    ((field, message),) = kind_mistakes(StudyConfig.model_validate(text))
    assert field == "task.path"
    assert "the package absent is not installed" in message
