"""What each event says in MLflow's words: params, tags and metrics, as plain dictionaries.

A trial has at most 15 metric keys. Category values stay short and every dimension of the space is there (`na` where it
does not apply), because MLflow's parallel coordinates cut names and drop runs that lack a param.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from autockd.config.training import TRAINING_DIMENSIONS
from autockd.config.trial import STUDENT_DIMENSIONS
from autockd.records import (
    BankRecord,
    EpochRecord,
    Evaluated,
    PrecisionChoice,
    StudyFinished,
    StudyStarted,
    TeacherRecord,
    TrialFinished,
    TrialStarted,
)

NOT_APPLICABLE = "na"
_COEFFICIENTS = ("hard_weight", "smoothing", "margin", "learning_rate")
_NOT_PARAMS = frozenset({"note", "smoke"})

Metrics = dict[str, float | None]
"""Metrics of one moment; None is left out."""


def study_params(config: Mapping[str, Any]) -> dict[str, str]:
    """The resolved configuration as dotted keys; its note and smoke overrides are left out."""
    return dict(_flat({key: value for key, value in config.items() if key not in _NOT_PARAMS}))


def study_tags(event: StudyStarted) -> dict[str, str]:
    """The note, the versions and the machine."""
    origin = event.provenance
    tags = {
        "mlflow.note.content": str(event.config.get("note") or ""),
        "mlflow.source.name": "autockd",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": origin.git_commit or "",
        "autockd.config_hash": event.config_hash,
        "autockd.task_fingerprint": event.task_fingerprint,
        "autockd.version": origin.autockd,
        "autockd.python": origin.python,
        "autockd.platform": origin.platform,
        "autockd.host": origin.host,
        "autockd.cpus": str(origin.cpus),
        "autockd.gpus": ", ".join(origin.gpus) or "none",
    }
    tags |= {f"autockd.versions.{package}": version for package, version in origin.versions.items()}
    return {key: value for key, value in tags.items() if value}


def precision_tags(choice: PrecisionChoice) -> dict[str, str]:
    """The arithmetic of training, and why."""
    return {
        "autockd.device": choice.device,
        "autockd.precision": choice.precision,
        "autockd.channels_last": str(choice.channels_last).lower(),
        "autockd.threads": str(choice.threads),
        "autockd.precision_reason": choice.reason,
    }


def teacher_tags(teacher: TeacherRecord) -> dict[str, str]:
    """Which teacher it is."""
    return {"autockd.teacher": teacher.weights_hash, "autockd.teacher_origin": teacher.origin}


def teacher_metrics(teacher: TeacherRecord, metric: str) -> Metrics:
    """The teacher's validation metric, size and cost."""
    return {
        f"teacher_val_{metric}": teacher.metric,
        "teacher_parameters": teacher.parameters,
        "teacher_bytes": teacher.bytes,
        "teacher_seconds": teacher.seconds,
        "teacher_second_moment": teacher.second_moment,
    }


def bank_metrics(bank: BankRecord) -> Metrics:
    """How full the teacher bank is and how often it was asked."""
    names = ("entries", "filled", "hits", "misses", "seconds", "checked", "max_difference")
    return {f"bank_{name}": getattr(bank, name) for name in names}


def trial_name(event: TrialStarted) -> str:
    """Such as `007 continuation`."""
    return f"{event.trial:03d} {event.method}"


def trial_tags(event: TrialStarted) -> dict[str, str]:
    """What a trial is, apart from its numbers."""
    return {
        "autockd.role": event.role,
        "autockd.method": event.method,
        "autockd.fingerprint": event.fingerprint,
        "autockd.conventions": event.conventions,
        "autockd.state": "running",
    }


def trial_params(event: TrialStarted, space: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The point of the space, method and main training values, with `log10_` twins of log-scaled dimensions."""
    values: dict[str, Any] = {"method": event.method, "seed": event.config.get("seed")}
    values |= _fields(event.config.get("training", {}), {name: name for name in TRAINING_DIMENSIONS})
    values |= _fields(event.config.get("student", {}), STUDENT_DIMENSIONS)
    values |= event.params
    # A baseline has no point; what its own method is set to stands in for it.
    fallback = event.config.get("method", {}) if event.role == "baseline" else {}
    for name, dimension in space.items():
        value = values.setdefault(name, fallback.get(name, NOT_APPLICABLE))
        if dimension.get("log"):
            values[f"log10_{name}"] = _log10(value)
    return {key: str(value) for key, value in values.items()}


def epoch_metrics(record: EpochRecord, metric: str) -> Metrics:
    """The learning curves: 11 keys."""
    return {
        f"val_{metric}": record.metric,
        "loss": record.loss,
        "hard_loss": record.hard_loss,
        "soft_loss": record.soft_loss,
        "active_fraction": record.active_fraction,
        **{name: record.coefficients.get(name) for name in _COEFFICIENTS},
        "images_per_second": record.images_per_second,
        "epoch_seconds": record.train_seconds + record.evaluate_seconds,
    }


def trial_metrics(event: TrialFinished, metric: str) -> Metrics:
    """The outcome: four more keys."""
    return {
        f"best_val_{metric}": event.value,
        "best_epoch": event.best_epoch,
        "trial_seconds": event.seconds,
        "student_parameters": event.parameters,
    }


def outcome_tags(event: TrialFinished) -> dict[str, str]:
    """How a trial ended, and why if it was not complete."""
    tags = {"autockd.state": event.state, "autockd.reason": event.reason, "autockd.weights": event.weights or ""}
    return {key: value for key, value in tags.items() if value}


def evaluation_metrics(event: Evaluated, metric: str) -> Metrics:
    """One final model on both splits, under `teacher`, `best`, or a baseline's label."""
    whose = event.label if event.subject == "baseline" else event.subject
    return {
        f"val_{metric}_{whose}": event.validation,
        f"test_{metric}_{whose}": event.test,
        f"parameters_{whose}": event.parameters,
        f"bytes_{whose}": event.bytes,
    }


def study_metrics(event: StudyFinished, metric: str) -> Metrics:
    """Counts of trials, the best value, and wall seconds by stage."""
    return {
        "trials_complete": event.complete,
        "trials_pruned": event.pruned,
        "trials_failed": event.failed,
        f"best_val_{metric}": event.best_value,
        **{f"seconds_{stage}": seconds for stage, seconds in event.seconds.items()},
    }


def _fields(section: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {name: section[field] for name, field in names.items() if section.get(field) is not None}


def _log10(value: Any) -> str:
    is_positive = isinstance(value, int | float) and value > 0
    return f"{math.log10(value):.6g}" if is_positive else NOT_APPLICABLE


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, default=str)
