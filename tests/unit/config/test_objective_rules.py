from __future__ import annotations

from pathlib import Path

import pytest

from autockd.config.loading import parse_study
from autockd.config.objective_rules import architecture_points
from autockd.config.schema import StudyConfig
from autockd.errors import ConfigError

STUDY = """
name: s
task: {source: digits}
teacher: {model: {family: cifar_resnet, depth: 8}}
student: {model: {family: cifar_resnet, depth: 8, width: 4}}
method: {name: kd}
search:
  objectives: [latency_ms, parameters]
  space:
    learning_rate: {type: float, low: 0.01, high: 1.0, log: true}
    student_width: {type: choice, choices: [4, 8]}
"""


def study(*overrides: str) -> StudyConfig:
    return parse_study(STUDY, "s.yaml", Path.cwd(), overrides)


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        study(*overrides)
    return [f"{problem.field}: {problem.message}" for problem in caught.value.problems]


def test_a_study_with_objectives_and_a_pick_is_valid() -> None:
    config = study("export.pick=latency_ms <= 2 and accuracy >= 0.9", "search.sampler=nsga2")
    assert config.search.objectives == ("latency_ms", "parameters")


@pytest.mark.parametrize("rule", ["fraction", "ladder"])
def test_no_trial_of_several_objectives_is_stopped_early(rule: str) -> None:
    (problem,) = problems(f"search.stopping.rule={rule}")
    assert problem.startswith(f"search.stopping.rule: is {rule}, but a search for several objectives stops no trial")
    assert problem.endswith("set it to none, or leave search.objectives out")
    (problem,) = problems("search.objectives=[]", "search.sampler=nsga2", f"search.stopping.rule={rule}")
    assert problem.startswith(f"search.stopping.rule: is {rule}, but nsga2 breeds from whole runs alone")
    assert study("search.objectives=[]", f"search.stopping.rule={rule}").search.stopping.rule == rule


@pytest.mark.parametrize(
    "space",
    [
        "{learning_rate: {type: float, low: 0.1, high: 1.0}}",
        "{student_width: {type: choice, choices: [4]}}",
        "{student_depth: {type: int, low: 8, high: 8}}",
    ],
)
def test_students_that_all_cost_the_same_are_refused(space: str) -> None:
    (problem,) = problems(f"search.space={space}", "search.enqueue_defaults=false")
    assert problem == (
        "search.objectives: every student of this space costs the same; add student_depth or student_width to "
        "search.space with two values or more, or leave search.objectives out"
    )


def test_a_family_without_dimensions_says_so() -> None:
    space = "search.space={learning_rate: {type: float, low: 0.1, high: 1.0}}"
    (problem,) = problems("student.model={family: torchvision, name: resnet18}", space)
    assert "a student of the family torchvision has no dimension" in problem


def test_a_cost_is_named_once_and_is_one_that_there_is() -> None:
    assert problems("search.objectives=[bytes, bytes]") == [
        "search.objectives: names a cost twice: bytes, bytes; name each once"
    ]
    (problem,) = problems("search.objectives=[latency]")
    assert "'latency_ms', 'latency_ms_batch32', 'parameters' or 'bytes'" in problem


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        ("latency_ms <= 2 ms", "'latency_ms <= 2 ms' is no constraint"),
        ("bytes <= 2", "bytes is not measured by this study; add it to search.objectives, or pick by parameters"),
        ("latency <= 2", "'latency' is neither a cost nor a metric; did you mean 'latency_ms'?"),
        (
            "pearson >= 0.9",
            "'pearson' is neither a cost nor a metric; it can be one of latency_ms, parameters, accuracy",
        ),
    ],
)
def test_a_pick_that_cannot_be_is_refused_before_the_run(pick: str, message: str) -> None:
    (problem,) = problems(f"export.pick={pick}")
    assert problem.startswith("export.pick: ")
    assert message in problem


def test_parameters_are_known_without_objectives() -> None:
    assert study("search.objectives=[]", "export.pick=parameters <= 9000").export.pick == "parameters <= 9000"


def test_the_students_of_a_space_are_counted() -> None:
    depth = "student_depth: {type: int, low: 8, high: 20, step: 6}"
    space = f"search.space={{student_width: {{type: choice, choices: [4, 8]}}, {depth}}}"
    expected = [{"student_width": width, "student_depth": depth} for width in (4, 8) for depth in (8, 14, 20)]
    assert architecture_points(study(space), 6) == expected
    assert architecture_points(study(space), 5) is None
    assert architecture_points(study(), 9) == [{"student_width": 4}, {"student_width": 8}]


def test_a_study_of_scores_is_picked_by_a_metric_of_scores() -> None:
    task = (
        "task={source: glue, path: data, task: stsb}",
        "teacher.model={family: encoder, path: base}",
        "student.model={family: encoder}",
        "search.objectives=[]",
        "search.space={learning_rate: {type: float, low: 0.00001, high: 0.001}}",
    )
    assert study(*task, "export.pick=pearson >= 0.9").export.pick == "pearson >= 0.9"
    (problem,) = problems(*task, "export.pick=accuracy >= 0.9")
    assert "'accuracy' is neither a cost nor a metric" in problem


def test_a_student_may_be_without_a_dimension() -> None:
    space = (
        "search.space={student_width: {type: choice, choices: [4, 8]}, "
        "student_depth: {type: choice, choices: [8, 14], when: {student_width: 8}}}"
    )
    points = architecture_points(study(space), 9)
    assert points is not None
    assert len(points) == 6
    assert architecture_points(study(space), 5) is None
    assert {"student_width": 4} in points
    assert {"student_width": 8, "student_depth": 14} in points


def test_a_wide_space_is_not_enumerated() -> None:
    assert architecture_points(study("search.space={student_width: {type: int, low: 1, high: 64}}"), 32) is None
