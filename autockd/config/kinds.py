"""What fits together: the kind of a task, its networks, and the methods that its targets allow."""

from __future__ import annotations

from collections.abc import Iterator

from autockd.config.models import Encoder, ModelConfig
from autockd.config.packages import package_path
from autockd.config.schema import StudyConfig

NEED_CLASSES = frozenset({"dkd", "dist"})
"""Methods whose losses are about the relations among classes."""


def kind_mistakes(study: StudyConfig) -> Iterator[tuple[str, str]]:
    """Dotted fields and messages: networks of another kind than the task, encoders without a base, unfit methods."""
    for field, model in (("teacher.model", study.teacher.model), ("student.model", study.student.model)):
        if message := _misfit(model, study.task.kind):
            yield f"{field}.family", message
        if isinstance(model, Encoder) and (message := _missing_package(model.path or "")):
            yield f"{field}.path", message
    if isinstance(study.teacher.model, Encoder) and study.teacher.model.path is None:
        yield "teacher.model.path", "is required: a hub id, or a local folder with the encoder that it starts from"
    if study.task.is_regression:
        for name in sorted(NEED_CLASSES & {*study.methods, *(b.name for b in study.search.baselines)}):
            yield "method", f"{name} compares classes, and this task has scores; use kd, annealing or continuation"
        for field, method in (("method", study.method), *(("search.baselines", b) for b in study.search.baselines)):
            if getattr(method, "standardise_logits", False):
                yield f"{field}.standardise_logits", "is true, but a score alone has no deviation; set it to false"


def _misfit(model: ModelConfig, kind: str) -> str:
    if kind == "text" and not isinstance(model, Encoder):
        return f"{model.family} takes images, and this task is of texts; use family: encoder"
    if kind == "image" and isinstance(model, Encoder):
        return "encoder takes texts, and this task is of images; use family: cifar_resnet or torchvision"
    return ""


def _missing_package(path: str) -> str:
    try:
        package_path(path)
    except LookupError as error:
        return f"is {path!r}, but {error}; install it with pip, or name a folder or a hub id"
    return ""
