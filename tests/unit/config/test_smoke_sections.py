"""A section below `smoke` leaves what it does not name; another method, model or task takes the place of the file's."""

from __future__ import annotations

from pathlib import Path

import pytest

from autockd.config import StudyConfig, parse_study

STUDY = """\
name: tiny
task: {source: digits, augmentation: {flip: true}}
teacher: {model: {family: cifar_resnet, depth: 20, width: 8}, training: {epochs: 9, batch_size: 8}}
student: {model: {family: cifar_resnet, depth: 8}}
method: {name: continuation, smoothing_start: 4, granularity: step}
training: {epochs: 40, batch_size: 64, lr_schedule: {shape: cosine, warmup: 0.1}}
search: {trials: 20, space: {learning_rate: {type: float, low: 0.1, high: 0.3}}}
finalists: {seeds: 3, top: 5}
"""


def smoke(section: str) -> StudyConfig:
    return parse_study(f"{STUDY}smoke: {section}\n", "study.yaml", Path("/s"), smoke=True)


def test_what_a_section_of_smoke_does_not_name_stays_as_the_file_has_it() -> None:
    found = smoke("{training: {epochs: 2, lr_schedule: {warmup: 0.5}}, search: {trials: 3}, finalists: {seeds: 1}}")
    assert (found.training.epochs, found.training.batch_size, found.training.learning_rate) == (2, 64, 0.2)
    assert (found.training.lr_schedule.shape, found.training.lr_schedule.warmup) == ("cosine", 0.5)
    assert (found.search.trials, list(found.search.space)) == (3, ["learning_rate"])
    assert (found.finalists.seeds, found.finalists.top) == (1, 5)


def test_so_it_is_two_sections_down() -> None:
    found = smoke("{teacher: {model: {depth: 8}, training: {epochs: 1}}, task: {limit_train: 100}}")
    assert found.teacher.model.model_dump(include={"depth", "width"}) == {"depth": 8, "width": 8}
    assert (found.teacher.training.epochs, found.teacher.training.batch_size) == (1, 8)
    assert found.task.model_dump(include={"limit_train", "augmentation"}) == {
        "limit_train": 100,
        "augmentation": {"crop_padding": 0, "flip": True},
    }


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("{method: {name: kd}, search: {space: {learning_rate: {type: choice, choices: [0.2, 0.1]}}}}", "alpha", 0.9),
        ("{method: {smoothing_start: 2}}", "granularity", "step"),
        ("{method: {name: continuation, smoothing_start: 2}}", "granularity", "step"),
    ],
)
def test_another_kind_takes_the_place_of_what_it_is_none_of(section: str, field: str, value: object) -> None:
    assert getattr(smoke(section).method, field) == value


def test_a_dotted_field_is_set_as_a_whole() -> None:
    found = smoke("{training.lr_schedule: {warmup: 0.5}, training: {epochs: 3}}")
    assert (found.training.lr_schedule.shape, found.training.lr_schedule.warmup, found.training.epochs) == (
        "step",
        0.5,
        3,
    )
