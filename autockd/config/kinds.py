"""What fits together: the kind of a task, its networks, and the methods that its targets allow."""

from __future__ import annotations

from collections.abc import Iterator

from autockd.config.arms import arms_of
from autockd.config.methods import ContinuationKD, MethodConfig
from autockd.config.models import Encoder, ModelConfig
from autockd.config.packages import package_path
from autockd.config.schema import StudyConfig
from autockd.config.training import require_restorable

NEED_CLASSES = frozenset({"dkd", "dist"})
"""Methods whose losses are about the relations among classes."""

NEED_ASSISTANT = frozenset({"takd"})
"""Methods whose teacher is the study's assistant."""

_FIT_SCORES = "use kd, annealing or continuation"


def kind_mistakes(study: StudyConfig) -> Iterator[tuple[str, str]]:
    """Dotted fields and messages: networks of another kind than the task, encoders without a base, unfit methods."""
    models = {"teacher.model": study.teacher.model, "student.model": study.student.model}
    if study.assistant is not None:
        models["assistant.model"] = study.assistant.model
    if message := _missing_package(str(getattr(study.task, "path", None) or "")):
        yield "task.path", message
    for field, model in models.items():
        if message := _misfit(model, study.task.kind):
            yield f"{field}.family", message
        if isinstance(model, Encoder) and (message := _missing_package(model.path or "")):
            yield f"{field}.path", message
    if isinstance(study.teacher.model, Encoder) and study.teacher.model.path is None:
        yield "teacher.model.path", "is required: a hub id, or a local folder with the encoder that it starts from"
    try:
        require_restorable(study.student.model, study.training)
    except ValueError as error:
        yield "student.model.trim_vocabulary", str(error)
    yield from _assistant_mistakes(study)
    if study.task.is_regression:
        yield from _regression_mistakes(study)


def uses_teacher(study: StudyConfig) -> bool:
    """Whether any trial of the study asks the teacher."""
    return bool(_names(study) - {"none"})


def uses_assistant(study: StudyConfig) -> bool:
    """Whether any trial of the study learns from the assistant."""
    return bool(NEED_ASSISTANT & _names(study))


def uses_margin(study: StudyConfig) -> bool:
    """Whether any trial of the study may have a margin, whose size and sense depend on its teacher's logits."""
    for arm in arms_of(study):
        methods = (arm.study.method, *arm.study.search.baselines)
        if any(isinstance(method, ContinuationKD) and method.margin > 0 for method in methods):
            return True
        if "margin" in arm.study.search.space:
            return True
    return False


def _names(study: StudyConfig) -> set[str]:
    """Every method that a trial may have."""
    return {*study.methods, *(() if study.compare else (each.name for each in study.search.baselines))}


def _assistant_mistakes(study: StudyConfig) -> Iterator[tuple[str, str]]:
    if study.assistant is None and uses_assistant(study):
        yield (
            "assistant",
            "is required, for takd learns from it: the model between teacher and student, such as "
            "{model: {family: ..., ...}, training: {...}}",
        )
    if study.assistant is not None and not uses_assistant(study):
        yield "assistant", "teaches nobody here: takd is no method of this study; remove it, or use takd"


def _regression_mistakes(study: StudyConfig) -> Iterator[tuple[str, str]]:
    rivals = {f"compare.{place}": method for place, method in enumerate(study.compare)}
    for name in sorted(NEED_CLASSES & _names(study)):
        fields = [field for field, method in rivals.items() if method.name == name] or ["method"]
        yield from ((field, f"{name} compares classes, and this task has scores; {_FIT_SCORES}") for field in fields)
    used: list[tuple[str, MethodConfig]] = [*rivals.items()]
    if not study.compare:
        used = [("method", study.method), *(("search.baselines", each) for each in study.search.baselines)]
    if study.assistant is not None:
        used.append(("assistant.method", study.assistant.method))
    for field, method in used:
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
