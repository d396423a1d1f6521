"""What a study is refused for before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from autockd.checking import check_models
from autockd.config.schema import StudyConfig
from autockd.data import Task
from autockd.errors import ConfigError

DEEP = {"family": "torchvision", "name": "resnet18"}
"""Its last stage sees a digit of 8x8 pixels as one."""
SHALLOW = {"family": "cifar_resnet", "depth": 8, "width": 4}


def study(teacher: dict[str, Any], student: dict[str, Any], taught: int, batch_size: int) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "checked",
            "task": {"source": "digits"},
            "teacher": {"model": teacher, "training": {"batch_size": taught}},
            "student": {"model": student},
            "training": {"batch_size": batch_size},
        }
    )


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (study(SHALLOW, DEEP, 32, 17), "training.batch_size: is 17,.* such as 18$"),
        (study(SHALLOW, DEEP, 32, 1), "training.batch_size: is 1,.* such as 2$"),
        (study(DEEP, SHALLOW, 119, 32), "teacher.training.batch_size: is 119,.* such as 120$"),
    ],
)
def test_a_last_batch_of_one_image_is_refused_where_it_cannot_be_trained_on(
    config: StudyConfig, field: str, task: Task
) -> None:
    with pytest.raises(ConfigError, match=field) as raised:
        check_models(config, task)
    assert "the last of 120 images is a batch of its own" in str(raised.value)


def test_the_size_that_is_named_leaves_no_single_image_either(task: Task) -> None:
    odd = replace(task, train=task.train.take(torch.arange(119)))  # of which 2 leaves one, too
    with pytest.raises(ConfigError, match=r"such as 3$"):
        check_models(study(SHALLOW, DEEP, 32, 1), odd)


@pytest.mark.parametrize(
    "config", [study(SHALLOW, SHALLOW, 119, 17), study(DEEP, DEEP, 32, 16), study(SHALLOW, DEEP, 119, 18)]
)
def test_any_other_is_trained_on(config: StudyConfig, task: Task) -> None:
    assert len(check_models(config, task)) == 2
