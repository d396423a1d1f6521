"""Trials that would train the same student again, or never run, and numbers with which none would end well."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.config import StudyConfig, parse_study
from autockd.config.budget import wasted_problems
from autockd.errors import ConfigError

STUDY = """\
name: tiny
task: {source: digits}
teacher: {model: {family: cifar_resnet, depth: 20}}
student: {model: {family: cifar_resnet, depth: 8}}
method: {name: kd}
"""
TWO = "search.space={learning_rate: {type: float, low: 0.1, high: 0.3}, temperature: {type: float, low: 1, high: 8}}"


def study(*overrides: str, is_begun: bool = False) -> StudyConfig:
    return parse_study(STUDY, "study.yaml", Path("/s"), overrides, is_begun=is_begun)


def mistakes(*overrides: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        study(*overrides)
    return {problem.field: problem.message for problem in caught.value.problems}


# -- dimensions of one value


def wasted(*overrides: str) -> list[str]:
    return [f"{problem.message} -> {problem.remedy}" for problem in wasted_problems(study(*overrides))]


@pytest.mark.parametrize(
    ("space", "value", "place"),
    [
        ("learning_rate: {type: choice, choices: [0.1]}", "0.1", "training.learning_rate: 0.1"),
        ("learning_rate: {type: float, low: 0.1, high: 0.1}", "0.1", "training.learning_rate: 0.1"),
        ("learning_rate: {type: float, low: 0.1, high: 0.2, step: 5}", "0.1", "training.learning_rate: 0.1"),
        ("student_width: {type: int, low: 8, high: 8}", "8", "student.model.width: 8"),
        ("temperature: {type: choice, choices: [2.0]}", "2", "method.temperature: 2"),
        ("standardise_logits: {type: choice, choices: [true]}", "true", "method.standardise_logits: true"),
        ("method: {type: choice, choices: [dkd]}", "dkd", "method.name: dkd"),
    ],
)
def test_a_dimension_of_one_value_is_refused_with_where_to_write_it(space: str, value: str, place: str) -> None:
    (told,) = wasted(f"search.space={{{space}}}", "search.enqueue_defaults=false")
    assert told == f"has one value alone, {value} -> write {place}, and leave the dimension out wherever it is named"


@pytest.mark.parametrize(
    "overrides",
    [
        ["search.space={learning_rate: {type: choice, choices: [0.1, 0.2]}}"],
        [
            "search.space={batch_size: {type: choice, choices: [16, 32]}, "
            "learning_rate: {type: choice, choices: [0.1], when: {batch_size: 16}}}"
        ],
        ["search.space={method: {type: choice, choices: [kd, dkd]}, warmup: {type: choice, choices: [0.2]}}"],
        ["search.space={method: {type: choice, choices: [kd, dkd]}, temperature: {type: choice, choices: [2.0]}}"],
        [
            "search.space={momentum: {type: float, low: 0.1, high: 0.3}, temperature: {type: choice, choices: [2.0]}}",
            "compare=[{name: kd}, {name: dkd}]",
            "search.enqueue_defaults=false",
        ],
    ],
)
def test_one_value_that_no_setting_can_have_in_its_place_is_not(overrides: list[str]) -> None:
    """Under a condition, or of a method that is not the study's own, a dimension alone can say it."""
    assert wasted("search.enqueue_defaults=false", *overrides) == []


# -- first trials


def test_there_is_a_trial_for_every_point_to_try_first() -> None:
    points = "search.enqueue=[{learning_rate: 0.1}, {learning_rate: 0.2}, {learning_rate: 0.3}]"
    assert wasted(TWO, points, "search.trials=5") == []
    assert wasted(TWO, points, "search.trials=4") == [
        "is 4, of which 2 come before the 3 points of search.enqueue -> set it to 5 at least, or name fewer points"
    ]
    assert wasted(TWO, points, "search.trials=4", "search.enqueue_defaults=false") == []
    assert wasted(TWO, points, "search.trials=4", "search.baselines=[]") == []


def test_equal_baselines_would_train_the_same_student_again() -> None:
    assert mistakes(TWO, "search.baselines=[{name: kd}, {name: none}, {name: kd, alpha: 0.9}]") == {
        "search.baselines.2": "is the same as search.baselines.0; remove one of them"
    }
    assert study(TWO, "search.baselines=[{name: kd}, {name: kd, alpha: 0.5}]")


def test_so_would_equal_points_that_leave_nothing_to_be_sampled() -> None:
    whole = "{learning_rate: 0.1, temperature: 2.0}"
    assert mistakes(TWO, f"search.enqueue=[{whole}, {{learning_rate: 0.1}}, {whole}]") == {
        "search.enqueue.2": "is the same as search.enqueue.0; remove one of them"
    }
    assert study(TWO, "search.enqueue=[{learning_rate: 0.1}, {learning_rate: 0.1}]"), "temperature is sampled"


def test_a_point_is_whole_with_the_dimensions_that_exist_there() -> None:
    space = (
        "search.space={batch_size: {type: choice, choices: [16, 32]}, "
        "learning_rate: {type: float, low: 0.1, high: 0.3, when: {batch_size: 16}}}"
    )
    assert list(mistakes(space, "search.enqueue=[{batch_size: 32}, {batch_size: 32}]")) == ["search.enqueue.1"]
    assert study(space, "search.enqueue=[{batch_size: 16}, {batch_size: 16}]")


# -- values that are none


def test_a_condition_names_a_value() -> None:
    space = (
        "search.space={batch_size: {type: choice, choices: [16, 32]}, "
        "temperature: {type: float, low: 1, high: 8, when: {batch_size: []}}}"
    )
    assert mistakes(space) == {
        "search.space.temperature.when": "batch_size needs one value at least, at which this dimension exists, not []"
    }


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        ("learning_rate: {type: choice, choices: [true, 0.1]}", "at True: must be a number, not true or false"),
        (
            "batch_size: {type: choice, choices: ['32.0', 64]}",
            "at 32.0: must be a number, not a word; leave the quotes",
        ),
        (
            "temperature: {type: choice, choices: ['2', 4.0]}",
            "at 2: must be a number, not a word; leave the quotes out",
        ),
        (
            "student_width: {type: choice, choices: ['8', 16]}",
            "at 8: must be a number, not a word; leave the quotes out",
        ),
    ],
)
def test_words_and_true_are_no_numbers(dimension: str, message: str) -> None:
    (found,) = mistakes(f"search.space={{{dimension}}}", "search.enqueue_defaults=false").items()
    assert found[0] == f"search.space.{dimension.partition(':')[0]}"
    assert found[1].startswith(message)


def test_nor_are_they_of_layers() -> None:
    text = STUDY.replace("{source: digits}", "{source: glue, task: rte}").replace("cifar_resnet, depth: 8", "encoder")
    text = text.replace("cifar_resnet, depth: 20", "encoder, path: bert-base-uncased")
    space = "search.space={student_layers: {type: choice, choices: ['2', 1]}}"
    with pytest.raises(ConfigError, match=r"search\.space\.student_layers: at 2: must be a number, not a word"):
        parse_study(text, "study.yaml", Path("/s"), (space, "search.enqueue_defaults=false"))


# -- numbers beyond all use


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("seed=9223372036854775708", "seed"),
        ("teacher.seed=18446744073709551616", "teacher.seed"),
        ("training.batch_size=1000000000000000000", "training.batch_size"),
        ("teacher.training.batch_size=2147483648", "teacher.training.batch_size"),
        ("method.temperature=1e200", "method.temperature"),
        ("search.baselines=[{name: none}, {name: kd, temperature: 1001}]", "search.baselines.1.temperature"),
        ("compare=[{name: kd}, {name: dkd, temperature: 1e10}]", "compare.1.temperature"),
        ("search.space={temperature: {type: float, low: 1, high: 1e10}}", "search.space.temperature.high"),
        ("search.space={batch_size: {type: choice, choices: [32, 4294967296]}}", "search.space.batch_size.choices.1"),
    ],
)
def test_a_number_beyond_all_use_is_refused_where_it_stands(override: str, field: str) -> None:
    (found,) = mistakes(override).items()
    assert found[0] == field
    assert " at most" in found[1]
    assert study(override, is_begun=True), "what has begun can be read whatever rules came later"


def test_the_largest_that_can_be_used_are_accepted() -> None:
    limits = ("seed=9223372036854775707", "training.batch_size=2147483647", "method.temperature=1000")
    assert study(*limits).seed + 100 < 2**63


# -- rows that cannot be put back


def test_a_student_whose_rows_cannot_be_put_back_is_told_where_it_says_so() -> None:
    text = STUDY.replace("{source: digits}", "{source: glue, task: rte}")
    text = text.replace("cifar_resnet, depth: 8", "encoder, trim_vocabulary: true")
    text = text.replace("cifar_resnet, depth: 20", "encoder, path: bert-base-uncased")
    with pytest.raises(ConfigError) as caught:
        parse_study(text, "study.yaml", Path("/s"), ("training.optimizer=sgd",))
    (problem,) = caught.value.problems
    assert problem.field == "student.model.trim_vocabulary"
    assert problem.source == "study.yaml:4"
