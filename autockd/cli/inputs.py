"""Whether the files that a study names are there: what can be said without reading them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autockd.config import StudyConfig
from autockd.config.models import Encoder
from autockd.config.tasks import Glue, HuggingFace, ImageFolder, Npz, Text, Torchvision, can_only_be_local
from autockd.errors import Problem
from autockd.folders import expanded


def input_problems(study: StudyConfig, source: str) -> list[Problem]:
    """Every file or folder that the study of the file `source` needs and that is not there."""
    return [Problem(field, message, remedy, source) for field, message, remedy in _missing(study)]


def _missing(study: StudyConfig) -> Iterator[tuple[str, str, str]]:
    yield from _missing_data(study)
    models = {"teacher": study.teacher.model, "student": study.student.model}
    if study.assistant is not None:
        models["assistant"] = study.assistant.model
    for field, model in models.items():
        if model.weights is not None and not model.weights.is_file():
            yield (
                f"{field}.model.weights",
                f"there is no file {model.weights}",
                "name a file of weights, or remove the key to start without",
            )
        if isinstance(model, Encoder) and model.path is not None and _is_missing(model.path):
            yield (
                f"{field}.model.path",
                f"there is no folder {model.path}",
                "name a local folder with an encoder, or a hub id such as distilbert/distilroberta-base",
            )


def _missing_data(study: StudyConfig) -> Iterator[tuple[str, str, str]]:
    task = study.task
    if isinstance(task, Npz) and not task.path.is_file():
        yield "task.path", f"there is no file {task.path}", "name an .npz file"
    if isinstance(task, ImageFolder) and not task.path.is_dir():
        yield "task.path", f"there is no folder {task.path}", "name a folder with one folder of images a class"
    if isinstance(task, HuggingFace) and _are_missing(task.path):
        yield "task.path", f"there is no folder {task.path}", "name a local folder, or a hub id such as uoft-cs/cifar10"
    if isinstance(task, Glue | Text) and _are_missing(task.path):
        yield "task.path", f"there is nothing at {task.path}", "name a local folder or file, or a hub id"
    if isinstance(task, Text) and task.test_file is not None and not task.test_file.is_file():
        yield "task.test_file", f"there is no file {task.test_file}", "name a file of test samples, or remove the key"
    if isinstance(task, Torchvision) and not task.download and not task.root.is_dir():
        remedy = "name the data's folder, or set task.download: true and a task.root that you may write"
        yield "task.root", f"there is no folder {task.root}", remedy


def _are_missing(path: str) -> bool:
    """Whether no data are there, nor may be on the hub, where data sets have an owner."""
    return _is_missing(path) or ("/" not in path and not Path(path).exists())


def _is_missing(path: str) -> bool:
    """Whether it is not there, and no hub id either."""
    return can_only_be_local(path) and not expanded(path).exists()
