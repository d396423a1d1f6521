"""From a study of one method to a comparison of several: each with what the study's own method says of it."""

from __future__ import annotations

from collections.abc import Sequence

from autockd.config.arms import STANDARDISED, arm_labels
from autockd.config.kinds import NEED_ASSISTANT, NEED_CLASSES
from autockd.config.methods import METHOD_CONFIGS, AnnealingKD, ContinuationKD, MethodConfig
from autockd.config.schema import SearchConfig, StudyConfig
from autockd.config.text_defaults import method_settings
from autockd.errors import UsageError

LABELS = ("none", "kd", "kd-std", "takd", "takd-std", "dkd", "dkd-std", "dist", "annealing", "continuation")
"""What can be compared without more being said of it."""

USUAL = ("none", "kd", "kd-std", "takd", "dkd", "dist", "annealing", "continuation")
"""What is compared unless somebody says otherwise, as far as it fits."""


def comparison(study: StudyConfig, labels: Sequence[str] | None = None) -> StudyConfig:
    """The study with methods to compare: those that are named, else its own, else all that fit it.

    Baselines and points to try first go, since each method is searched; so does an assistant that none of them needs.

    Args:
        study: the study; what its own method shares with another one, such as `smoothing_start`, holds there too.
        labels: methods by name, with `-std` for standardised logits; None leaves the choice to the study.

    Raises:
        UsageError: a label names no method.
    """
    if labels is None and study.compare:
        return study
    known = dict(zip(arm_labels(study.compare), study.compare, strict=True))
    if unknown := [label for label in labels or () if label not in known and label not in LABELS]:
        names = ", ".join(dict.fromkeys([*known, *LABELS]))
        raise UsageError(f"--methods: {unknown[0]!r} is no method -> name some of {names}, with commas between them")
    wanted = [label for label in USUAL if _fits(study, label)] if labels is None else labels
    compare = tuple(known.get(label) or _usual_method(study, label) for label in wanted)
    search = study.search.model_copy(update={"baselines": SearchConfig().baselines, "enqueue": ()})
    assistant = study.assistant if any(method.name in NEED_ASSISTANT for method in compare) else None
    return study.model_copy(update={"compare": compare, "search": search, "assistant": assistant})


def _fits(study: StudyConfig, label: str) -> bool:
    name = label.removesuffix(STANDARDISED)
    if name in NEED_ASSISTANT:
        return study.assistant is not None
    if study.task.is_binary:
        return name == label  # two standardised logits say which is larger and no more: the loss has no gradient
    return not study.task.is_regression or (name == label and name not in NEED_CLASSES)


def _usual_method(study: StudyConfig, label: str) -> MethodConfig:
    """The study's own method, or another one with its usual values where the study's own has none."""
    name, own = label.removesuffix(STANDARDISED), study.method
    fields = METHOD_CONFIGS[name].model_fields.keys() - {"name"}
    values = {
        field: value for field, value in own.model_dump(exclude={"name"}, exclude_unset=True).items() if field in fields
    }
    if "standardise_logits" in fields:
        values["standardise_logits"] = name != label
    settings = method_settings(study.task.kind, {"name": name, **values})
    return _in_time(METHOD_CONFIGS[name].model_validate(settings), study)  # type: ignore[arg-type]


def _in_time(method: MethodConfig, study: StudyConfig) -> MethodConfig:
    """A staircase of phi that is too long for its schedule's epochs is shortened if the study wants it, else climbed
    step by step; the study's own method stays as it is written.
    """
    is_shared = "method" in study.model_fields_set and isinstance(study.method, AnnealingKD | ContinuationKD)
    is_own = is_shared and method.name == study.method.name
    if is_own or not isinstance(method, AnnealingKD | ContinuationKD) or method.granularity == "step":
        return method
    length = method.smoothed_length(study.training.epochs)
    if method.smoothing_shape != "step" or method.smoothing_start <= length:
        return method
    return method.model_copy(update={"smoothing_start": length} if is_shared else {"granularity": "step"})
