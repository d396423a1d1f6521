"""Records that many tests need and few look into: where a study ran, its teacher, an epoch of a trial."""

from __future__ import annotations

from typing import Any

from autockd.config import StudyConfig
from autockd.records import EpochRecord, Provenance, StudyStarted, TeacherRecord

PROVENANCE = Provenance(
    autockd="0.1.0", python="3.11", platform="Linux", host="ada", cpus=2, gpus=(), versions={}, git_commit=None
)


def study_started(study: StudyConfig, **changes: Any) -> StudyStarted:
    """The start of a study of classes, but for what changes."""
    values: dict[str, Any] = {
        "time": 0.0,
        "study": study.name,
        "config": study.model_dump(mode="json"),
        "config_hash": "c",
        "metric": "accuracy",
        "direction": "maximize",
        "task_fingerprint": "data",
        "provenance": PROVENANCE,
    }
    return StudyStarted(**values | changes)


def teacher_record(**changes: Any) -> TeacherRecord:
    """A ResNet-20's, but for what changes."""
    values: dict[str, Any] = {
        "weights_hash": "cd" * 32,
        "weights_path": "teacher.safetensors",
        "parameters": 269_434,
        "bytes": 1_093_000,
        "metric": 0.98,
        "second_moment": 12.5,
        "origin": "trained",
        "seconds": 20.0,
    }
    return TeacherRecord(**values | changes)


def epoch_record(epoch: int = 1, metric: float = 0.5, **changes: Any) -> EpochRecord:
    """An epoch of a step, a second of training and one of validation, the best so far, but for what changes."""
    values: dict[str, Any] = {
        "epoch": epoch,
        "step": epoch,
        "metric": metric,
        "best_metric": metric,
        "best_epoch": epoch,
        "loss": 1.0,
        "hard_loss": 1.0,
        "train_seconds": 1.0,
        "evaluate_seconds": 1.0,
        "samples_per_second": 1.0,
    }
    return EpochRecord(**values | changes)
