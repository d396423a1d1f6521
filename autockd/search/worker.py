"""One trial on a worker, with torch alone: trains, keeps checkpoints and weights, turns mishaps into outcomes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from autockd.config.trial import TrialConfig
from autockd.data.task import Task
from autockd.errors import AutockdError
from autockd.folders import cache_folder
from autockd.models import count_parameters, save_weights
from autockd.records import EpochRecord, PrecisionChoice, TrialOutcome, TrialReport
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.checkpoint import load_checkpoint, save_checkpoint
from autockd.training.teacher import TeacherSpec
from autockd.training.trainer import Trainer

REPORT_EVERY = 0.5
"""Seconds of training after which a worker reports; short epochs are reported together."""

CHECKPOINT_EVERY = 30.0
"""Seconds of training between two checkpoints."""


@dataclass(frozen=True)
class WorkerSetting:
    """What all trials of a study share, apart from the task's arrays."""

    study: Path
    """The study's folder; every node can reach it."""
    teacher: TeacherSpec
    precision: PrecisionChoice


def open_bank(teacher: TeacherSpec, task: Task, device: torch.device) -> TeacherBank:
    """This node's bank of a teacher for a task."""
    identity = BankIdentity.of(teacher.identity, task)
    return TeacherBank(cache_folder() / "banks", identity, lambda: teacher.load(task, device))


def trial_folder(study: Path, number: int) -> Path:
    """Where a trial keeps its checkpoint and its weights."""
    return study / "trials" / f"{number:04d}"


class TrialWorker:
    """Runs one trial in slices of about half a second; goes on from the trial's checkpoint if there is one."""

    def __init__(self, setting: WorkerSetting, task: Task, number: int, trial: TrialConfig) -> None:
        self._setting = setting
        self._task = task
        self._number = number
        self._trial = trial
        self._folder = trial_folder(setting.study, number)
        self._began = self._saved = time.monotonic()
        self._trainer: Trainer | None = None
        self._bank: TeacherBank | None = None
        self._epochs: Iterator[EpochRecord] = iter(())

    def advance(self) -> TrialReport:
        """Train for a while. The last report has the outcome; an exception of the trial becomes a failed one."""
        records: list[EpochRecord] = []
        try:
            outcome = self._advance(records)
        except AutockdError as error:
            outcome = self._failed(str(error))
        except Exception as error:  # a trial must never end the study
            where = "".join(traceback.format_tb(error.__traceback__)[-2:])
            outcome = self._failed(f"{type(error).__name__}: {error}\n{where}".strip())
        return TrialReport(trial=self._number, records=tuple(records), outcome=outcome)

    def _advance(self, records: list[EpochRecord]) -> TrialOutcome | None:
        trainer = self._trainer or self._start()
        self._save_when_due(trainer)
        deadline = time.monotonic() + REPORT_EVERY
        for record in self._epochs:
            records.append(record)
            if time.monotonic() > deadline and record.epoch < self._trial.training.epochs:
                return None
        return self._finish(trainer)

    def _save_when_due(self, trainer: Trainer) -> None:
        """Keep a checkpoint, of reported epochs alone: a worker that is lost leaves no gap in the record."""
        if time.monotonic() - self._saved > CHECKPOINT_EVERY:
            save_checkpoint(self._folder / "checkpoint.pt", trainer.state_dict())
            self._saved = time.monotonic()

    def _start(self) -> Trainer:
        if self._trial.method.name != "none":
            self._bank = open_bank(self._setting.teacher, self._task, torch.device(self._setting.precision.device))
        trainer = Trainer(
            self._trial,
            self._task,
            self._setting.precision,
            bank=self._bank,
            second_moment=self._setting.teacher.record.second_moment,
        )
        if state := load_checkpoint(self._folder / "checkpoint.pt"):
            trainer.load_state_dict(state)
        self._trainer = trainer
        self._epochs = trainer.fit()
        return trainer

    def _finish(self, trainer: Trainer) -> TrialOutcome:
        self._folder.mkdir(parents=True, exist_ok=True)
        save_weights(trainer.best_weights, self._folder / "best.safetensors")
        save_weights(trainer.model, self._folder / "last.safetensors")
        (self._folder / "checkpoint.pt").unlink(missing_ok=True)
        return TrialOutcome(
            state="complete",
            value=trainer.progress.best_metric,
            best_epoch=trainer.progress.best_epoch,
            epochs=trainer.progress.epoch,
            seconds=time.monotonic() - self._began,
            parameters=count_parameters(trainer.model),
            weights=str((self._folder / "best.safetensors").relative_to(self._setting.study)),
            bank_hits=self._bank.hits if self._bank else 0,
            bank_misses=self._bank.misses if self._bank else 0,
        )

    def _failed(self, reason: str) -> TrialOutcome:
        return TrialOutcome(
            state="failed",
            reason=reason,
            epochs=self._trainer.progress.epoch if self._trainer else 0,
            seconds=time.monotonic() - self._began,
        )
