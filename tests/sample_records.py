"""Records that many tests need and few look into: where a study ran, and its teacher."""

from __future__ import annotations

from typing import Any

from autockd.records import Provenance, TeacherRecord

PROVENANCE = Provenance(
    autockd="0.1.0", python="3.11", platform="Linux", host="ada", cpus=2, gpus=(), versions={}, git_commit=None
)


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
