"""One trial on a worker, with torch alone: trains, keeps checkpoints and weights, turns mishaps into outcomes."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from autockd.config.methods import MethodConfig
from autockd.config.trial import TrialConfig
from autockd.data.task import Task
from autockd.distillation import make_method
from autockd.errors import AutockdError, EnvironmentProblem, StudyError, TrialFailed, unexpected
from autockd.folders import CHECKPOINT
from autockd.limits import Work
from autockd.models import save_weights
from autockd.records import EpochRecord, PrecisionChoice, RungResult, TrialOutcome, TrialReport
from autockd.search.meter import Meter
from autockd.search.proposal import Proposal
from autockd.search.stopping import compressed
from autockd.search.watchdog import FIRST_PATIENCE, Watchdog
from autockd.tracking.redaction import redact
from autockd.training.bank import TeacherBank
from autockd.training.checkpoint import load_checkpoint, save_checkpoint
from autockd.training.memory import bound_memory, is_out_of_memory, release_memory
from autockd.training.teacher import TeacherSpec
from autockd.training.tracing import StepTracer
from autockd.training.trainer import Trainer

REPORT_EVERY = 0.5
"""Seconds of training after which a worker reports; short epochs are reported together."""

BROKEN = "gpu_failure.txt"
"""In a trial's folder: what a GPU said before its worker left."""

PROFILE = "trace.json"
"""In a trial's folder: the trace of some of its steps."""

CHECKPOINT_EVERY, CHECKPOINT_SHARE = 30.0, 0.05
"""Seconds of training between two checkpoints, and the share of a trial's time that these may take at most."""


Measure = Callable[[TrialConfig, Task, Path, int], dict[str, float]]
"""Costs of a trained student by name, from its trial, the task, its weights and its number of parameters."""


@dataclass(frozen=True)
class WorkerSetting:
    """What all trials of a study share, apart from the task's arrays.

    Attributes:
        study: the study's folder; every node can reach it.
        teacher: the teacher, for its bank; students that are cut from a teacher are cut from it.
        precision: arithmetic, threads and device.
        gpus: a trial's share of GPUs.
        timeout: seconds after which a trial fails; None is never.
        hang_factor: see `Watchdog`.
        assistant: the assistant, where a method learns from one.
        measure: what a trained student costs; None where no cost is searched.
        traced: number of the trial of which some steps are traced; None traces none.
        cuda_graphs: whether steps on a GPU are captured and replayed.
    """

    study: Path
    teacher: TeacherSpec
    precision: PrecisionChoice
    gpus: float = 0.0
    timeout: float | None = None
    hang_factor: float = 10.0
    assistant: TeacherSpec | None = None
    measure: Measure | None = None
    traced: int | None = None
    cuda_graphs: bool = False

    def teacher_of(self, method: MethodConfig) -> TeacherSpec:
        """Who teaches a method's students."""
        if make_method(method).taught_by == "teacher":
            return self.teacher
        assert self.assistant is not None, "a study whose methods need an assistant has one"
        return self.assistant


class TrialWorker:
    """Runs one trial in slices of about half a second; goes on from the trial's checkpoint if there is one.

    A trial is a sequence of legs, each a training run of its own: one, or, on the ladder, its whole schedule compressed
    to the epochs of each rung and then in full.
    """

    def __init__(self, setting: WorkerSetting, task: Task, proposal: Proposal) -> None:
        self._setting = setting
        self._task = task
        self._proposal = proposal
        self._folder = proposal.folder(setting.study)
        self._checkpoint = self._folder / CHECKPOINT
        self._meter = Meter(setting.gpus)
        self._watchdog = Watchdog(self._folder, setting.hang_factor, proposal.slowest_epoch)
        self._saved, self._saving = time.monotonic(), 0.0
        self._is_new = True
        self._legs = _legs(proposal)
        self._leg = 0
        self._micro_batches = 1
        self._tracer = StepTracer(self._folder / PROFILE) if proposal.number == setting.traced else None
        self._trainer: Trainer | None = None
        self._epochs: Iterator[EpochRecord] = iter(())
        self._bank: TeacherBank | None = None
        self._report: TrialReport | None = None

    @property
    def number(self) -> int:
        """The trial's."""
        return self._proposal.number

    def advance(self) -> TrialReport:
        """Train for a while. The last report has the outcome; an exception of the trial becomes a failed one.

        One with a `problem` is of a machine on which no trial can go on: it comes to no outcome, and is not kept.

        After a loss the first report is the last one that the lost worker had kept, for it may not have arrived.
        """
        records: list[EpochRecord] = []
        rung, outcome, problem, work = None, None, "", None
        try:
            self._watchdog.expect()
            if self._is_new and (kept := self._go_on()):
                return kept
            rung = self._train(records)
            work = self._work()
            if rung is None and self._is_at_the_end:
                outcome = self._finish()
        except EnvironmentProblem as error:
            problem = str(error)
            self._trainer, self._is_new = None, True  # it may be within an epoch: what is kept is the last checkpoint
        except AutockdError as error:
            outcome = self._failed(str(error), of_its_point=isinstance(error, TrialFailed))
        except Exception as error:  # a trial must never end the study
            outcome = self._after_mishap(error)
        finally:
            self._watchdog.rest()
        number, cost = self.number, self._meter.cost()
        told = {"records": tuple(records), "rung": rung, "outcome": outcome, "problem": problem, "work": work}
        report = TrialReport(trial=number, **told, **cost)
        if problem:
            return report
        self._report = report
        if outcome is not None:
            self._trainer = None
            try:
                if self._tracer is not None:
                    self._tracer.close()
                self.save()
            except EnvironmentProblem as error:
                return TrialReport(trial=number, problem=str(error), **cost)
        return report

    def save(self) -> None:
        """Keep a checkpoint, with the last report: whoever goes on from it tells it again."""
        if self._report is None or self._is_new:  # a checkpoint that is there has not been read yet
            return
        state = {
            "leg": self._leg,
            "micro_batches": self._micro_batches,
            "cost": self._meter.cost(),
            "report": self._report.model_dump_json(),
            "trainer": self._trainer.state_dict() if self._trainer else None,
        }
        began = time.monotonic()
        save_checkpoint(self._checkpoint, state)
        self._saved = time.monotonic()
        self._saving = self._saved - began

    def forget(self) -> None:
        """The trial's end is recorded: its checkpoint is of no use."""
        self._checkpoint.unlink(missing_ok=True)

    def _go_on(self) -> TrialReport | None:
        """Go on from the trial's checkpoint; the report in it, or None where there is no usable checkpoint."""
        self._is_new = False
        (self._folder / BROKEN).unlink(missing_ok=True)  # of another attempt
        try:
            state = load_checkpoint(self._checkpoint)
        except StudyError:  # the disk failed, or the machine did while it was written: the trial starts again
            self.forget()
            return None
        if state is None:
            return None
        self._leg = state["leg"]
        self._micro_batches = max(self._micro_batches, state["micro_batches"])
        self._meter.go_on_from(state["cost"])
        if state["trainer"] is not None:
            self._start_leg().load_state_dict(state["trainer"])
        report = TrialReport.model_validate_json(state["report"])
        return report.model_copy(update={"trial": self._proposal.number})  # a finalist's place may be another now

    def _train(self, records: list[EpochRecord]) -> RungResult | None:
        """Train until a rung, the end of a leg, or until a report is due."""
        trainer = self._trainer or self._start_leg()
        if time.monotonic() - self._saved > max(CHECKPOINT_EVERY, self._saving / CHECKPOINT_SHARE):
            self._watchdog.expect(FIRST_PATIENCE)  # a disk that many write to at once may be slow
            self.save()
            self._watchdog.expect()
        deadline = time.monotonic() + REPORT_EVERY
        for record in self._epochs:
            self._note_life(record)
            if not self._is_compressed:  # the record of a trial is that of its own run
                records.append(record)
            if not self._proposal.ladder and record.epoch in self._proposal.rungs:
                return self._rung(record.epoch, record.best_metric)
            if time.monotonic() > deadline and record.epoch < trainer.trial.training.epochs:
                return None
        return self._end_leg(trainer) if self._is_compressed else None

    def _note_life(self, record: EpochRecord) -> None:
        self._watchdog.learn(record.train_seconds + record.evaluate_seconds)
        self._watchdog.expect()
        limit = self._setting.timeout
        if limit is not None and self._meter.seconds > limit:
            raise TrialFailed(f"it ran longer than resources.trial_timeout, {limit:g} s")

    def _rung(self, epochs: int, value: float) -> RungResult:
        number = self._proposal.first_rung + self._proposal.rungs.index(epochs)
        return RungResult(rung=number, epochs=epochs, value=value)

    @property
    def _is_compressed(self) -> bool:
        return self._leg < len(self._legs) - 1

    @property
    def _is_at_the_end(self) -> bool:
        trainer = self._trainer
        return trainer is not None and trainer.progress.epoch == self._proposal.config.training.epochs

    def _start_leg(self) -> Trainer:
        trial, setting = self._legs[self._leg], self._setting
        teacher, device = setting.teacher_of(trial.method), torch.device(setting.precision.device)
        bound_memory(setting.gpus, device)
        if self._micro_batches > 1:
            release_memory()  # of the attempt that had too little: the exception that ended it held on to it until now
        if trial.method.name != "none" and self._bank is None:
            # A node that has joined since has an empty bank: its teacher then answers for longer than an epoch takes.
            patiently = partial(self._watchdog.expect, FIRST_PATIENCE)
            self._bank = teacher.bank(self._task, device, before_answers=patiently)
        self._trainer = Trainer(
            trial,
            self._task,
            setting.precision,
            bank=self._bank,
            second_moment=teacher.record.second_moment,
            micro_batches=self._micro_batches,
            base=setting.teacher.folder,
            tracer=self._tracer,
            cuda_graphs=setting.cuda_graphs and device.type == "cuda",
        )
        self._epochs = self._trainer.fit()
        return self._trainer

    def _end_leg(self, trainer: Trainer) -> RungResult:
        """A compressed run is over; the next leg starts anew, once the verdict is to go on."""
        rung = self._rung(trainer.trial.training.epochs, trainer.progress.best_metric)
        self._trainer = None
        self._leg += 1
        return rung

    def _work(self) -> Work | None:
        """What the epochs of its own run took at the least, so far."""
        if self._trainer is None or self._is_compressed or (whole := self._trainer.work()) is None:
            return None
        return whole.times(self._trainer.progress.epoch / self._trainer.trial.training.epochs)

    def _finish(self) -> TrialOutcome:
        trainer = self._trainer
        assert trainer is not None, "only a trained student is finished"
        self._folder.mkdir(parents=True, exist_ok=True)
        best = self._folder / "best.safetensors"
        save_weights(trainer.best_weights, best)
        return TrialOutcome(
            state="complete",
            value=trainer.progress.best_metric,
            best_epoch=trainer.progress.best_epoch,
            epochs=trainer.progress.epoch,
            parameters=trainer.parameters,
            costs=self._costs(trainer.trial, trainer.parameters),
            weights=str(best.relative_to(self._setting.study)),
            bank_hits=self._bank.hits if self._bank else 0,
            bank_misses=self._bank.misses if self._bank else 0,
            micro_batches=self._micro_batches,
            work=self._work(),
            **self._meter.cost(),
        )

    def _costs(self, trial: TrialConfig, parameters: int) -> dict[str, float]:
        """What the trained student costs, where that is searched; it may take longer than an epoch."""
        if self._setting.measure is None:
            return {}
        self._watchdog.expect(FIRST_PATIENCE)
        return self._setting.measure(trial, self._task, self._folder / "best.safetensors", parameters)

    def _failed(self, reason: str, *, of_its_point: bool = False) -> TrialOutcome:
        epochs = self._trainer.progress.epoch if self._trainer and not self._is_compressed else 0
        cost = self._meter.cost()
        return TrialOutcome(
            state="failed",
            reason=redact(reason),
            of_its_point=of_its_point,
            epochs=epochs,
            micro_batches=self._micro_batches,
            **cost,
        )

    def _after_mishap(self, error: Exception) -> TrialOutcome | None:
        """A failed outcome; None where the trial can go on with less memory, from its checkpoint or anew."""
        if isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error):
            self._leave()
        text = unexpected(error)
        if not is_out_of_memory(error):
            where = "".join(traceback.format_tb(error.__traceback__)[-2:])
            return self._failed(f"{text}\n{where}".strip())
        can_split = make_method(self._proposal.config.method).is_mean_over_samples
        if self._micro_batches > 1 or not can_split:
            why = "with half of each batch at a time, too" if can_split else "and its loss cannot be computed in parts"
            is_shared = 0 < self._setting.gpus < 1
            share = f"more of the GPU (resources.gpus_per_trial is {self._setting.gpus:.3g}) or " if is_shared else ""
            reason = f"out of memory ({why}); {share}a smaller batch_size or student would fit: {text}"
            return self._failed(reason, of_its_point=not is_shared)
        self._micro_batches = 2
        self._trainer, self._is_new = None, True
        return None

    def _leave(self) -> None:
        """End this process: where a GPU has failed, it may fail every trial after. Tune starts this one on another."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / BROKEN).write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)


def _legs(proposal: Proposal) -> list[TrialConfig]:
    shorter = [compressed(proposal.config, epochs) for epochs in proposal.rungs] if proposal.ladder else []
    return [*shorter, proposal.config]
