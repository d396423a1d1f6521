"""A study that takes seconds, whose trials complete, fail and are stopped early; and how it goes if nothing happens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from autockd.config.loading import parse_study
from autockd.config.schema import StudyConfig
from autockd.data import Task, load_task
from autockd.records import Event, PrecisionChoice, RungReached, TrialFinished, TrialStarted
from autockd.search.book import StudyBook
from autockd.search.proposal import Proposal
from autockd.search.stages import fill_bank, ready_teacher
from autockd.search.worker import TrialWorker, WorkerSetting
from autockd.training.teacher import TeacherSpec

TRIALS, PARALLEL = 18, 2

STUDY = f"""
name: tiny
seed: 7
task: {{source: digits, limit_train: 240, validation_fraction: 0.4, limit_test: 60, augmentation: {{crop_padding: 1}}}}
teacher:
  model: {{family: cifar_resnet, depth: 8, width: 8}}
  training: {{epochs: 8, batch_size: 16, learning_rate: 0.1}}
student:
  model: {{family: cifar_resnet, depth: 8, width: 2}}
method: {{name: continuation, smoothing_start: 4, granularity: step, margin_mode: none}}
training: {{epochs: 4, batch_size: 16, learning_rate: 0.1}}
search:
  trials: {TRIALS}
  space:
    learning_rate: {{type: float, low: 0.01, high: 0.5, log: true}}
    smoothing_start: {{type: int, low: 1, high: 8}}
    soft_loss_weight: {{type: choice, choices: [1.0, 0.5, 0.2, 0.1, 1.0e+38]}}
  enqueue: [{{soft_loss_weight: 1.0e+38}}]
  stopping: {{rule: fraction, reduction_factor: 2}}
resources: {{parallel_trials: {PARALLEL}, precision: fp32}}
export: {{onnx: false}}
"""
"""A soft loss of weight 1e38 overflows: the enqueued trial fails, and so does every fifth of the sampled ones."""


def config_of(*overrides: str) -> StudyConfig:
    return parse_study(STUDY, "study.yaml", Path.cwd(), overrides)


@dataclass
class Story:
    """What a ledger says of trials, apart from moments and costs."""

    params: dict[int, dict[str, Any]] = field(default_factory=dict)
    outcomes: dict[int, dict[str, Any]] = field(default_factory=dict)
    rungs: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Story:
        story = cls()
        for event in events:
            if isinstance(event, TrialStarted):
                story.params[event.trial] = event.params
            elif isinstance(event, TrialFinished):
                fields = {"state", "value", "best_epoch", "epochs", "reason", "of_its_point", "rung", "weights"}
                story.outcomes[event.trial] = event.model_dump(include=fields)
            elif isinstance(event, RungReached):
                verdict = (event.rung, event.epochs, event.value, event.peers, event.threshold, event.stopped)
                story.rungs.setdefault(event.trial, []).append(verdict)
        return story


def undisturbed(folder: Path, *overrides: str) -> Story:
    """The search of the tiny study in this process, one trial after the other: without Ray, MLflow or a mishap.

    Told once for all studies that differ only in what these trials do not have: Ray's resources, and MLflow.
    """
    plain = config_of()
    apart = {"resources": plain.resources, "tracking": plain.tracking}
    return _search(folder, config_of(*overrides).model_copy(update=apart).model_dump_json())


@cache
def _search(folder: Path, study: str) -> Story:
    config = StudyConfig.model_validate_json(study)
    setting, task = _prepared(folder)
    events: list[Event] = []
    journal = folder / "optuna.journal"
    book = StudyBook(config, journal, events.append, parallel=PARALLEL, direction=task.direction)
    running: list[Proposal] = []
    while True:
        while proposal := book.propose():
            running.append(proposal)
        if not running:
            return Story.of(events)
        worker = TrialWorker(setting, task, running.pop(0))
        while True:
            report = worker.advance()
            if book.report(report):
                worker.forget()  # the next search in this folder has trials of the same numbers
                break


@cache
def _prepared(folder: Path) -> tuple[WorkerSetting, Task]:
    """The teacher and its bank, left in the cache for all studies."""
    config = config_of()
    task, _ = load_task(config.task)
    teacher: TeacherSpec = ready_teacher(config, task, folder / "teacher" / "model.safetensors", 1, "cpu", "fp32")
    fill_bank(teacher, task, "cpu", 1, config.training.epochs, shard=0, shards=1)
    precision = PrecisionChoice(precision="fp32", channels_last=False, threads=1, device="cpu", reason="pinned")
    return WorkerSetting(study=folder, teacher=teacher, precision=precision), task
