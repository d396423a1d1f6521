"""From a trial of a study to a bundle, and from a bundle back to its metric."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from torch import nn

from autockd.config.models import Encoder, ModelConfig
from autockd.config.schema import StudyConfig
from autockd.config.tasks import Glue, HuggingFace, TaskConfig, Text
from autockd.config.trial import TrialConfig, baseline_config, trial_config
from autockd.data import ImageTask, Task, Texts, TextTask, load_task
from autockd.distillation import Run, compile_plan
from autockd.errors import ConfigError, ExportError, Problem, StudyError, TrialFailed
from autockd.export import (
    ImageBundleConfig,
    ImageStudent,
    Student,
    TextBundleConfig,
    TextStudent,
    evaluate_bundle,
    load_bundle,
    write_bundle,
)
from autockd.models import TextEncoder, count_parameters, load_tokenizer, load_weights
from autockd.provenance import provenance
from autockd.records import Exported, TrialStarted
from autockd.report import StudySummary, TrialRow
from autockd.tracking import events
from autockd.training.networks import based_on, build_network, student_model

BUNDLE, LEDGER = "bundle", "ledger.jsonl"


def export_trial(
    config: StudyConfig,
    folder: Path,
    row: TrialRow,
    summary: StudySummary,
    task: Task,
    *,
    to: Path | None = None,
    onnx: bool = True,
    force: bool = False,
) -> Exported:
    """Write one trial's student as a bundle and prove that it gives the same answers.

    Raises:
        StudyError: the trial left no student.
        ExportError: the target exists, or the bundle does not reproduce the student.
    """
    if row.weights is None:
        raise StudyError(f"trial {row.trial} is {row.state} and left no student; `autockd status` lists those that did")
    started = _started(folder, row.trial)
    trial = TrialConfig.model_validate(started.config)
    bare = trial.student.model_copy(update={"weights": None})  # what it started from may have moved
    architecture = based_on(bare, folder / "teacher")
    model = build_network(architecture, task, seed=trial.seed)
    load_weights(model, folder / row.weights)
    scored = next((scored for scored in summary.evaluated if scored.trial == row.trial), None)
    description: dict[str, Any] = {
        "architecture": trial.student,
        "classes": task.classes,
        "metric": task.metric,
        "direction": task.direction,
        "validation": scored.validation if scored else row.value,
        "test": scored.test if scored else None,
        "others": scored.others if scored else {},
        "study": config.name,
        "trial": row.trial,
        "method": row.method,
        "conventions": started.conventions,
        "task": json.loads(config.task.model_dump_json()),
        "provenance": provenance(Path.cwd()),
    }
    student = _student(architecture, model, task, description)
    info = write_bundle(to or folder / BUNDLE, student, examples=task.validation, onnx=onnx, force=force)
    return Exported(time=time.time(), trial=row.trial, bundle=str(info.folder), manifest_hash=info.manifest_hash)


def _student(architecture: ModelConfig, model: nn.Module, task: Task, description: dict[str, Any]) -> Student:
    """A trained network with what a bundle says of it."""
    if isinstance(task, ImageTask):
        shape = {"channels": task.channels, "image_size": task.image_size, "mean": task.mean, "std": task.std}
        return ImageStudent(ImageBundleConfig(**description, **shape), model)
    assert isinstance(task, TextTask), "there are tasks of images and of texts"
    assert isinstance(architecture, Encoder), "texts are read by encoders"
    assert isinstance(model, TextEncoder), "which are built as such"
    assert isinstance(task.train.inputs, Texts), "of a text task"
    limits = {
        "pairs": task.train.inputs.second is not None,
        "max_length": task.max_length,
        "score_range": task.score_range,
    }
    return TextStudent(TextBundleConfig(**description, **limits), model, load_tokenizer(architecture))


def chosen_row(summary: StudySummary, trial: int | None) -> TrialRow:
    """The row of a trial, by its number, or of the best.

    Raises:
        StudyError: there is no such trial.
    """
    number = summary.best_trial if trial is None else trial
    row = next((row for row in summary.trials if row.trial == number), None)
    if row is None:
        what = "no trial has succeeded yet" if trial is None else f"there is no trial {trial}"
        raise StudyError(f"{summary.study}: {what}; it has {len(summary.trials)}, see `autockd status {summary.study}`")
    return row


def evaluate_on(bundle: Path, config: TaskConfig | None, split: str, runtime: str) -> dict[str, float | str | int]:
    """The metric of a bundle on a split; see `autockd.study.evaluate`."""
    loaded = load_bundle(bundle)
    if config is None:
        if loaded.config.task is None:
            raise ExportError(f"{bundle}: names no data set; give a study file with one, --data FILE")
        config = _trusted(loaded.config.task, bundle)
    if runtime not in ("torch", "onnx"):
        raise ExportError(f"runtime: {runtime!r} is none -> use torch or onnx")
    task, held_out = load_task(config)
    splits = {"test": held_out.split, "validation": task.validation, **held_out.others}
    if split not in splits:
        raise ExportError(f"split: there is no {split!r} -> use {', '.join(splits)}")
    samples = splits[split]
    value = evaluate_bundle(loaded, samples, runtime="onnx" if runtime == "onnx" else "torch")
    recorded = {"test": loaded.config.test, "validation": loaded.config.validation, **loaded.config.others}.get(split)
    result: dict[str, float | str | int] = {
        "bundle": str(bundle),
        "split": split,
        "runtime": runtime,
        "samples": len(samples),
        "metric": loaded.config.metric,
        "value": value,
    }
    return result if recorded is None else {**result, "recorded": recorded}


def _trusted(task: TaskConfig, bundle: Path) -> TaskConfig:
    """A bundle's own data set, as far as it may be read unasked: a bundle may come from anywhere.

    Raises:
        ExportError: it lies on the network, or is not on this machine.
    """
    if task.source == "torchvision":
        return task.model_copy(update={"download": False})
    if isinstance(task, HuggingFace | Glue | Text) and not Path(task.path).expanduser().exists():
        raise ExportError(f"{bundle}: its data set {task.path!r} is not on this machine; name it yourself, --data FILE")
    return task


def check_study(config: StudyConfig) -> list[str]:
    """Load the data, build both models with their weights, compile the study's own plan; trains nothing."""
    task, held_out = load_task(config.task)
    found = [
        f"data: {task.name}, {len(task.train)} training, {len(task.validation)} validation and "
        f"{len(held_out.split)} test {_samples(task)}"
    ]
    found += check_models(config, task)
    check_plans(config, task)
    trial = trial_config(config, {})
    run = Run.of(len(task.train), trial.training.batch_size, trial.training.epochs)
    found.append(
        f"trial: {trial.method.name}, {trial.training.epochs} epochs of {run.steps_per_epoch} steps; "
        f"{config.search.trials} trials over {', '.join(config.search.space) or 'no dimension'}"
    )
    return found


def check_models(config: StudyConfig, task: Task) -> list[str]:
    """Build teacher and student with their weights, to fail now rather than on a worker; says what they are.

    Raises:
        ModelError: an architecture or a file of weights is not usable.
    """
    found = []
    for role, model in (("teacher", config.teacher.model), ("student", student_model(config))):
        built = build_network(model, task, seed=0)
        weights = f", weights from {model.weights}" if model.weights else ""
        found.append(f"{role}: {count_parameters(built):,} parameters{weights}")
    return found


def check_plans(config: StudyConfig, task: Task) -> None:
    """Compile the study's own setting and its baselines, whose schedules may not fit into the steps of a run.

    Raises:
        ConfigError: one does not fit.
    """
    baselines = ((f"search.baselines.{place}", each) for place, each in enumerate(config.search.baselines))
    trials = {"method": trial_config(config, {}), **{field: baseline_config(config, each) for field, each in baselines}}
    problems = []
    for field, trial in trials.items():
        try:
            compile_plan(trial, len(task.train), 1.0)
        except TrialFailed as error:
            message, _, remedy = str(error).partition("; ")
            problems.append(Problem(f"{field}.smoothing_start", message, remedy, config.name))
    if problems:
        raise ConfigError(problems)


def _samples(task: Task) -> str:
    """Such as `images of 1x8x8, 10 classes, 9 views of each`."""
    kinds = f"{len(task.classes)} classes" if task.classes else "a score each"
    if isinstance(task, ImageTask):
        height, width = task.image_size
        views = f"{task.views.count} view{'s' if task.views.count > 1 else ''} of each"
        return f"images of {task.channels}x{height}x{width}, {kinds}, {views}"
    return f"texts, {kinds}"


def _started(folder: Path, trial: int) -> TrialStarted:
    for event in events(folder / LEDGER):
        if isinstance(event, TrialStarted) and event.trial == trial:
            return event
    raise StudyError(f"{folder}: the ledger has no trial {trial}")
