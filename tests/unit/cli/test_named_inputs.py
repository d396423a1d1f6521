"""The files that a study names, checked without torch and all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autockd.cli.validating import check_named, validated
from autockd.config import StudyConfig
from autockd.errors import ConfigError


def study(task: dict[str, Any], weights: Path | None = None) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "tiny",
            "task": task,
            "teacher": {"model": {"family": "cifar_resnet", "depth": 8, "weights": weights}},
            "student": {"model": {"family": "torchvision", "name": "resnet18", "weights": weights}},
            "search": {"trials": 2},
        }
    )


def missing(config: StudyConfig) -> list[str]:
    try:
        check_named(config, "s.yaml")
    except ConfigError as error:
        return [problem.field for problem in error.problems]
    return []


def test_all_that_is_missing_is_reported_at_once_with_the_value_and_a_remedy(tmp_path: Path) -> None:
    config = study({"source": "npz", "path": tmp_path / "none.npz"}, tmp_path / "none.safetensors")
    with pytest.raises(ConfigError) as caught:
        check_named(config, "s.yaml")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines[1:]] == [
        "task.path",
        "teacher.model.weights",
        "student.model.weights",
    ]
    assert f"s.yaml: task.path: there is no file {tmp_path / 'none.npz'} -> name an .npz file" in lines[1]


def test_a_file_whose_trials_would_all_be_the_same_is_not_valid(tmp_path: Path) -> None:
    """A run refuses it too, before anything else."""
    text = "name: s\ntask: {source: digits}\nteacher: {model: {}}\nstudent: {model: {}}\nsearch: {trials: 9}\n"
    (tmp_path / "s.yaml").write_text(text.replace("{}", "{family: cifar_resnet}"))
    with pytest.raises(ConfigError, match=r"search.space: is empty, so that of 9 trials all after the first 2"):
        validated(str(tmp_path / "s.yaml"), [], as_json=False)
    assert validated(str(tmp_path / "s.yaml"), ["search.trials=2"], as_json=False).search.trials == 2


def test_a_short_run_may_leave_out_points_and_values_that_a_whole_study_may_not(tmp_path: Path) -> None:
    text = """\
name: s
task: {source: digits}
teacher: {model: {family: cifar_resnet}}
student: {model: {family: cifar_resnet}}
method: {name: kd}
search:
  trials: 4
  space: {epochs: {type: int, low: 100, high: 300}, temperature: {type: float, low: 1, high: 8}}
  enqueue: [{temperature: 1.0}, {temperature: 2.0}]
smoke: {training.epochs: 1, search.trials: 2, search.space.epochs: {type: int, low: 1, high: 1}}
"""
    file = tmp_path / "s.yaml"
    file.write_text(text)
    assert validated(str(file), [], as_json=False).search.trials == 4
    told = (
        r"s\.yaml: search\.trials: is 3, of which 2 come before the 2 points of search\.enqueue -> set it to 4 at least"
    )
    with pytest.raises(ConfigError, match=told):
        validated(str(file), ["search.trials=3"], as_json=False)
    one = ["training.epochs=1", "search.space.epochs={type: int, low: 1, high: 1}"]
    with pytest.raises(
        ConfigError, match=r"search\.space\.epochs: has one value alone, 1 -> write training\.epochs: 1"
    ):
        validated(str(file), one, as_json=False)


@pytest.mark.parametrize(
    ("task", "field"),
    [
        ({"source": "digits"}, None),
        ({"source": "folder", "path": "{missing}"}, "task.path"),
        ({"source": "folder", "path": "{here}"}, None),
        ({"source": "npz", "path": "{here}"}, "task.path"),
        ({"source": "torchvision", "dataset": "CIFAR10", "root": "{missing}"}, "task.root"),
        ({"source": "torchvision", "dataset": "CIFAR10", "root": "{missing}", "download": True}, None),
        ({"source": "huggingface", "path": "uoft-cs/cifar10"}, None),
        ({"source": "huggingface", "path": "{missing}"}, "task.path"),
        ({"source": "huggingface", "path": "./no-such-folder"}, "task.path"),
        ({"source": "text", "path": "{missing}/reviews.csv"}, "task.path"),
        ({"source": "text", "path": "reviews.csv"}, "task.path"),
        ({"source": "text", "path": "pandas"}, "task.path"),
        ({"source": "text", "path": "owner/reviews"}, None),
        ({"source": "glue", "task": "rte"}, None),
    ],
)
def test_each_source_needs_its_own(task: dict[str, Any], field: str | None, tmp_path: Path) -> None:
    places = {"{missing}": str(tmp_path / "missing"), "{here}": str(tmp_path)}
    filled = {key: places.get(value, value) if isinstance(value, str) else value for key, value in task.items()}
    assert missing(study(filled)) == ([field] if field else [])


def test_what_is_to_be_downloaded_needs_a_folder_that_may_be_written(tmp_path: Path) -> None:
    config = study({"source": "torchvision", "dataset": "CIFAR10", "root": str(tmp_path / "missing")})
    with pytest.raises(ConfigError, match=r"or set task\.download: true and a task\.root that you may write"):
        check_named(config, "s.yaml")


@pytest.mark.parametrize(
    ("path", "is_missing"), [("./bert", True), ("{here}", False), ("google-bert/bert-base", False)]
)
def test_encoders_that_can_only_be_local_must_be_there(path: str, is_missing: bool, tmp_path: Path) -> None:
    encoder = {"family": "encoder", "path": path.replace("{here}", str(tmp_path))}
    config = StudyConfig.model_validate(
        {
            "name": "texts",
            "task": {"source": "glue", "task": "rte"},
            "teacher": {"model": encoder},
            "student": {"model": {"family": "encoder", "layers": 2}},
            "assistant": {"model": encoder},
            "search": {"trials": 2},
        }
    )
    assert missing(config) == (["teacher.model.path", "assistant.model.path"] if is_missing else [])
