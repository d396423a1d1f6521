"""What a study of texts has where its file says nothing: the paper's recipe for GLUE in the place of that for CIFAR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

from autockd.config.methods import MethodConfig
from autockd.config.training import TrainingConfig

_RECIPE: dict[str, Any] = {"epochs": 30, "batch_size": 64}
_SCHEDULE: dict[str, Any] = {"shape": "linear"}
_ADAMW: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 2e-5, "weight_decay": 0.01, "max_grad_norm": 1.0}
"""Epochs, batch size and learning rate are the paper's; the rest, which it does not state, is usual for encoders."""

_TEACHING: dict[str, Any] = {"epochs": 3, "batch_size": 32}
"""Of a teacher, which the paper says nothing of."""

_METHODS: dict[str, dict[str, Any]] = {
    "continuation": {"smoothing_start": 10, "hard_loss_ramp": 2 / 3, "hard_loss_peak": 0.5},
    "annealing": {"smoothing_start": 10},
}


def method_settings(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A method's settings, its name among them, with what a study of this kind of task has where they say nothing."""
    own = _METHODS.get(str(settings.get("name")), {}) if kind == "text" else {}
    return {**own, **settings}


def with_text_defaults(study: Mapping[str, Any]) -> dict[str, Any]:
    """The same study with what is of texts where it says nothing.

    Args:
        study: its sections, as plain data or as configurations, of which what was set explicitly stays.
    """
    filled = dict(study)
    filled["method"] = _method(study.get("method", {"name": "continuation"}))
    filled["training"] = _training(study.get("training", {}), _RECIPE)
    others = {"teacher": _teacher, "assistant": _teacher, "search": _search, "compare": _methods}
    return filled | {name: fill(study[name]) for name, fill in others.items() if name in study}


def _teacher(given: Any) -> Any:
    if isinstance(given, BaseModel):
        given = {name: getattr(given, name) for name in given.model_fields_set}
    if isinstance(given, Mapping):
        return {**given, "training": _training(given.get("training", {}), _TEACHING)}
    return given


def _search(given: Any) -> Any:
    if isinstance(given, BaseModel):
        baselines = TypeAdapter(tuple[MethodConfig, ...]).validate_python(_methods(given.baselines))  # type: ignore[attr-defined]
        return given.model_copy(update={"baselines": baselines})
    if isinstance(given, Mapping) and "baselines" in given:
        return {**given, "baselines": _methods(given["baselines"])}
    return given


def _methods(given: Any) -> Any:
    return [_method(each) for each in given] if isinstance(given, list | tuple) else given


def _method(given: Any) -> Any:
    if isinstance(given, BaseModel):
        given = {**given.model_dump(exclude_unset=True), "name": given.name}  # type: ignore[attr-defined]
    return method_settings("text", given) if isinstance(given, Mapping) else given


def _training(given: Any, length: Mapping[str, Any]) -> Any:
    if isinstance(given, TrainingConfig):
        given = given.model_dump(exclude_unset=True)
    if not isinstance(given, Mapping):
        return given
    if given.get("optimizer", "adamw") != "adamw":
        return {**length, **given}
    schedule = given.get("lr_schedule", {})
    if isinstance(schedule, Mapping):
        schedule = {**_SCHEDULE, **schedule}
    return {**length, **_ADAMW, **given, "lr_schedule": schedule}
