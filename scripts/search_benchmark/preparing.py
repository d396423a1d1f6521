"""Before any clock runs: data, a trained teacher, a student's first weights, the list of configurations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from autockd.config.loading import parse_study
from autockd.config.models import Encoder
from autockd.config.schema import StudyConfig
from autockd.data import HeldOut, ImageTask, Task, TextTask, load_task
from autockd.models import ENCODER_WEIGHTS, load_tokenizer, save_encoder, save_weights
from autockd.processor import cpu_has_bf16, usable_cores
from autockd.search.stages import ready_teacher
from autockd.training.memory import release_memory
from autockd.training.networks import based_on, build_network
from search_benchmark.profiles import Plan
from search_benchmark.setting import WORKERS, Setting, sobol_points

TRIALS_PER_GPU = 4


def prepare(plan: Plan, folder: Path, data: Path | None) -> Setting:
    """Make everything that all arms share; a teacher of the same comparison that stands there is taken again.

    Args:
        plan: the comparison.
        folder: where to.
        data: folder of the data set, for tasks that need one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    forget_other(study_of(plan, data), folder)
    study = parse_study(yaml.safe_dump(study_of(plan, data)), "the benchmark's study", folder)
    task, held_out = load_task(study.task)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    teacher = folder / "teacher" / ENCODER_WEIGHTS
    if not teacher.exists():
        ready_teacher(study, task, teacher, usable_cores(), device, "fp32")
        release_memory()  # a GPU's is for the arms
    save_student(study, task, folder)
    save_data(task, held_out, folder)
    setting = Setting(
        folder=str(folder),
        kind=plan.kind,
        points=sobol_points(plan.space, plan.trials),
        epochs=plan.training["epochs"],
        batch_size=plan.training["batch_size"],
        classes=task.outputs,
        mean=list(task.mean) if isinstance(task, ImageTask) else [],
        std=list(task.std) if isinstance(task, ImageTask) else [],
        teacher=plan.teacher,
        student=plan.student,
        padding=plan.task.get("augmentation", {}).get("crop_padding", 0),
        max_length=plan.task.get("max_length", 0),
        parallel=TRIALS_PER_GPU if device == "cuda" else usable_cores(),
        gpus=1 / TRIALS_PER_GPU if device == "cuda" else 0.0,
        bf16=torch.cuda.is_bf16_supported(including_emulation=False) if device == "cuda" else cpu_has_bf16(),
        validation=len(task.validation),
    )
    setting.save()
    return setting


def forget_other(study: Mapping[str, Any], folder: Path) -> None:
    """Throw away a teacher, and a choice of loader workers, that are of another comparison in the same folder."""
    kept, this = folder / "study.json", json.dumps(study, sort_keys=True)
    if not kept.exists() or kept.read_text(encoding="utf-8") != this:
        shutil.rmtree(folder / "teacher", ignore_errors=True)
        (folder / WORKERS).unlink(missing_ok=True)
        kept.write_text(this, encoding="utf-8")


def study_of(plan: Plan, data: Path | None) -> dict[str, Any]:
    """The study whose trials are the configurations, but for these and for weights."""
    task = plan.task if data is None or plan.task["source"] == "digits" else {**plan.task, "path": str(data)}
    recipe: dict[str, Any] = {"optimizer": "sgd", "lr_schedule": {"shape": "cosine"}}
    peak = 0.1
    first = {"learning_rate": 0.05, "lr_schedule": {"shape": "cosine", "warmup": 0.2}}  # a deep net needs a warm-up
    if plan.kind == "text":
        recipe = {"optimizer": "adamw", "max_grad_norm": 1.0, "lr_schedule": {"shape": "linear", "warmup": 0.1}}
        peak, first = 1e-4, {"learning_rate": 1e-4}
    batch = {"batch_size": plan.training["batch_size"]}
    return {
        "name": "benchmark",
        "task": task,
        "teacher": {
            "model": plan.teacher,
            "training": {**recipe, **batch, **first, "epochs": plan.teacher_epochs},
        },
        "student": {"model": plan.student},
        "method": {"name": "kd"},
        "training": {**recipe, **plan.training, "learning_rate": peak},
        "search": {"space": dict(plan.space), "baselines": [], "enqueue_defaults": False},
        "resources": dict(plan.resources),
        "export": {"onnx": False},  # no other arm writes one: they keep the best student's weights, as this one does
    }


def save_student(study: StudyConfig, task: Task, folder: Path) -> None:
    """The weights that every trial of every arm starts from."""
    target = folder / "student" / ENCODER_WEIGHTS
    target.parent.mkdir(exist_ok=True)
    config = based_on(study.student.model, folder / "teacher")
    network = build_network(config, task, seed=study.seed)
    if isinstance(config, Encoder):
        save_encoder(network, target.parent, load_tokenizer(config))  # type: ignore[arg-type]
    else:
        save_weights(network, target)


def save_data(task: Task, held_out: HeldOut, folder: Path) -> None:
    """Arrays, or texts, by split: what a user's own code would have in memory."""
    splits = {"train": task.train, "validation": task.validation, "test": held_out.split}
    if isinstance(task, TextTask):
        texts = {
            name: {"columns": [list(c) for c in split.inputs.columns], "targets": split.targets.tolist()}  # type: ignore[union-attr]
            for name, split in splits.items()
        }
        (folder / "data.json").write_text(json.dumps(texts), encoding="utf-8")
        return
    arrays = {}
    for name, split in splits.items():
        assert isinstance(split.inputs, torch.Tensor)
        arrays[f"x_{name}"] = split.inputs.permute(0, 2, 3, 1).contiguous().numpy()
        arrays[f"y_{name}"] = split.targets.numpy()
    np.savez(folder / "data.npz", **arrays)
